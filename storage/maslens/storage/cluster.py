"""The schema's text for a cluster, for whoever may change one: `python -m maslens.storage.cluster NAME` prints it.

The same migrations, with ON CLUSTER and replicated engines. What a node makes of its own inserts for the sidecar stays
on that node: the sidecar goes by block numbers, which a replicated table counts for each partition apart.
docs/cluster.md says what is supported.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from maslens.storage.migrate import APPLIED, agent_spans_table, migrations, split
from maslens.storage.views import views

LOCAL = frozenset(
    {"agent_spans", "agent_events", "log_contents", "sidecar_ledger", "stitch_keys", "maslens_migrations"}
)
_WINDOW = "replicated_deduplication_window = {}, replicated_deduplication_window_seconds = 604800"  # a week
_HEAD = re.compile(
    r"^(CREATE (?:OR REPLACE )?(?:TABLE|VIEW|MATERIALIZED VIEW) (?:IF NOT EXISTS )?|ALTER TABLE )(`[^`]+`|\w+)",
    re.MULTILINE,
)
_ENGINE = re.compile(r"^ENGINE = (\w*MergeTree)\b", re.MULTILINE)


def cluster_schema(cluster: str) -> Iterator[str]:
    """Every statement, in order. Each can be run again."""
    if not re.fullmatch(r"[\w.-]+|\{cluster\}", cluster):
        raise ValueError(f"a cluster's name is letters, digits and _.-, or the macro {{cluster}}; got {cluster!r}")
    for statement in _statements():
        yield on_cluster(statement, cluster)


def on_cluster(statement: str, cluster: str) -> str:
    """One statement of a migration, for all nodes of `cluster`."""
    found = _HEAD.search(statement)
    if found is None:
        raise ValueError(f"do not know how to run on a cluster: {statement[:80]!r}")
    text = f"{statement[: found.end()]} ON CLUSTER '{cluster}'{statement[found.end() :]}"
    if found[2].strip("`") in LOCAL:
        return text
    text = _ENGINE.sub(r"ENGINE = Replicated\1", text)
    return re.sub(r"non_replicated_deduplication_window = (\d+)", lambda window: _WINDOW.format(window[1]), text)


def _statements() -> Iterator[str]:
    yield APPLIED.strip()
    for migration in migrations():
        yield from split(migration.text)
    yield agent_spans_table()
    for view in views():
        yield f"CREATE MATERIALIZED VIEW IF NOT EXISTS {view.name} TO {view.target} AS {view.select.strip()}"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("python -m maslens.storage.cluster NAME")
    print(";\n\n".join(cluster_schema(sys.argv[1])) + ";")
