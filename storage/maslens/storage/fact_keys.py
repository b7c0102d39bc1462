"""How the large fact tables are sorted and compressed, so that reading the newest version of each row stays cheap.

The newest version is found by merging parts in the order of the sort key (FINAL). A key of long texts makes that most
of what a read costs, so behind the session, which rows are looked up by, stands one number made of the rest of it.
A table that was made before is copied; a replicated one is left as it is, since one node alone must not replace it.
Why, and what it saves: docs/adr/060-fact-keys-are-numbers.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

# What tells the facts of one session apart: the rest of the keys of migrations 0004, 0030 and 0032.
KEYS: Mapping[str, Sequence[str]] = {
    "fact_agent_runs": ("trace_id", "run_id"),
    "fact_handoffs": ("trace_id", "span_id", "source", "target", "at"),
    "fact_llm_calls": ("trace_id", "span_id"),
    "fact_tool_calls": ("trace_id", "span_id"),
    "fact_handoff_quality": ("trace_id", "span_id", "source", "target", "at"),
    "fact_context_drift": ("trace_id", "span_id"),
}
SORTED = "session_id, row_key"
# Texts that differ from row to row are worth the slower codec; nearly no read takes them by the hundred thousand.
_SLOW = ("trace_id", "span_id", "run_id", "parent_run_id", "source_run_id", "target_run_id", "handoff_id",
         "context_hash_sent", "context_hash_received", "arguments_hash", "lost_facts")  # fmt: skip


class Statements(Protocol):
    def rows(self, sql: str, params: dict[str, object] | None = None) -> list[dict[str, Any]]: ...


def text() -> str:
    """What this comes to, for the note of what was applied."""
    return repr((dict(KEYS), SORTED, _SLOW))


def statements(store: Statements) -> Iterator[str]:
    """What is still to be done, safe to begin anew wherever it was cut off."""
    there = {
        row["name"]: row["key"]
        for row in store.rows(
            "SELECT name, sorting_key AS key FROM system.tables"
            " WHERE database = currentDatabase() AND engine = 'ReplacingMergeTree'"
        )
    }
    for table, key in KEYS.items():
        yield f"DROP TABLE IF EXISTS {table}_anew"  # what was cut off before
        if table in there and there[table] != SORTED:
            yield from _sorted_anew(store, table, key)


def _sorted_anew(store: Statements, table: str, key: Sequence[str]) -> Iterator[str]:
    anew = f"{table}_anew"
    columns = store.rows(
        "SELECT name, type, default_kind AS kind, default_expression AS made FROM system.columns"
        " WHERE database = currentDatabase() AND table = {table:String} ORDER BY position",
        {"table": table},
    )
    names = [row["name"] for row in columns if not row["kind"]]
    declared = [
        f"    {row['name']} {row['type']} {row['kind']} {row['made']} CODEC({_codec(row['name'], row['kind'])})"
        for row in columns
    ]
    declared.append(f"    row_key UInt64 MATERIALIZED cityHash64({', '.join(key)}) CODEC(NONE)")
    lines = ",\n".join(declared)
    yield f"""
CREATE TABLE {anew}
(
{lines}
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY ({SORTED})
SETTINGS index_granularity = 2048, non_replicated_deduplication_window = 10000"""
    listed = ", ".join(names)
    yield f"INSERT INTO {anew} ({listed}) SELECT {listed} FROM {table}"
    yield f"EXCHANGE TABLES {anew} AND {table}"
    yield f"DROP TABLE {anew}"


def _codec(column: str, kind: str) -> str:
    return "NONE" if kind else "ZSTD(1)" if column in _SLOW else "LZ4"  # what is made are hashes
