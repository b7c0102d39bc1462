"""The schema that migrating makes of nothing: `python -m tests.storage.snapshot` writes it down."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from maslens.storage import Store, open_store

SNAPSHOT = Path(__file__).parent / "schema.sql"


def snapshot(store: Store) -> str:
    """Every table and view, of a materialized view its target and a digest of its text.

    The text of `agent_spans_mv` is the dialects' own affair, and tested with them.
    """
    rows = store.rows(
        """
        SELECT name, engine, formatQuery(create_table_query) AS text FROM system.tables
        WHERE database = currentDatabase() AND NOT startsWith(name, '.') ORDER BY name"""
    )
    database = store.rows("SELECT currentDatabase() AS name")[0]["name"]
    return "\n\n".join(_entry(row["engine"], row["text"].replace(f"{database}.", "")) for row in rows) + "\n"


def _entry(engine: str, text: str) -> str:
    if engine != "MaterializedView":
        return f"{text};"
    head, _, select = text.partition("\nAS ")
    digest = "" if " agent_spans_mv " in head else f" -- {hashlib.sha256(select.encode()).hexdigest()[:16]}"
    return f"{head.splitlines()[0]};{digest}"


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        store = open_store(f"chdb://{directory}/data")
        store.migrate()
        SNAPSHOT.write_text(snapshot(store))
        store.close()


if __name__ == "__main__":
    main()
