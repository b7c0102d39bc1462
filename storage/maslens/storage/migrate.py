"""Bring a store's schema up to date: numbered SQL files once each, then the views whose text has changed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Any, Protocol

from maslens.semconv.dialects.columns import AGENT_SPAN_COLUMNS, Column
from maslens.storage import fact_keys
from maslens.storage.errors import MigrationError
from maslens.storage.views import View, views

APPLIED = """
CREATE TABLE IF NOT EXISTS maslens_migrations
(
    name String,
    checksum String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY name
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One numbered file."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        return checksum(self.text)


class Statements(Protocol):
    """What a migration needs of a store."""

    def rows(self, sql: str, params: dict[str, object] | None = None) -> list[dict[str, Any]]: ...
    def command(self, sql: str, params: dict[str, object] | None = None) -> None: ...


def migrate(store: Statements, *, on_progress: Callable[[str], None] | None = None) -> list[str]:
    """Apply what is missing and return its names. Safe to run twice; an edited migration is refused."""
    store.command(APPLIED)
    known = {row["name"]: row["checksum"] for row in store.rows("SELECT name, checksum FROM maslens_migrations FINAL")}
    done: list[str] = []

    def apply(name: str, text: str, statements: Iterator[str]) -> None:
        for statement in statements:
            store.command(statement)
        store.command(
            "INSERT INTO maslens_migrations (name, checksum) VALUES ({name:String}, {checksum:String})",
            {"name": name, "checksum": checksum(text)},
        )
        done.append(name)
        if on_progress:
            on_progress(name)

    for migration in migrations():
        if migration.name not in known:
            apply(migration.name, migration.text, split(migration.text))
        elif known[migration.name] != migration.checksum:
            raise MigrationError(
                f"{migration.name} was edited after being applied; restore its text and put the change in a new file"
            )
    if known.get("fact_keys") != checksum(fact_keys.text()):
        apply("fact_keys", fact_keys.text(), fact_keys.statements(store))
    table = agent_spans_table()
    if known.get("agent_spans") != checksum(table):
        apply("agent_spans", table, _brought_up(store, table))
    for view in views():
        if known.get(view.name) != checksum(view.select):
            apply(view.name, view.select, iter((_apply_view(store, view),)))
    return done


def migrations() -> list[Migration]:
    """The files of `migrations/`, in the order of their numbers."""
    folder = resources.files("maslens.storage") / "migrations"
    files = sorted(
        (file for file in folder.iterdir() if re.fullmatch(r"\d{4}_\w+\.sql", file.name)), key=lambda file: file.name
    )
    return [Migration(name=file.name, text=file.read_text("utf-8")) for file in files]


def split(text: str) -> Iterator[str]:
    """Statements end with a semicolon at the end of a line."""
    for part in re.split(r";[ \t]*$", text, flags=re.MULTILINE):
        if re.sub(r"--.*", "", part).strip():
            yield part.strip()


def checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def agent_spans_table() -> str:
    """`agent_spans` follows the dialects' columns, so its text is made from them, not written twice."""
    columns = ",\n".join(f"    {_declared(column)}" for column in AGENT_SPAN_COLUMNS)
    return f"""-- Every span of this trace, with what it means to an agent, whatever dialect it came in.
CREATE TABLE IF NOT EXISTS agent_spans
(
{columns}
)
ENGINE = MergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (TraceId, SpanId)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1,
    enable_block_number_column = 1, non_replicated_deduplication_window = 10000,
    {_PARTS}"""


def _brought_up(store: Statements, table: str) -> Iterator[str]:
    """The table; where it was made before, new columns at its end (a view fills by name) and how it is kept now."""
    there = {
        row["name"]
        for row in store.rows(
            "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = {table:String}",
            {"table": "agent_spans"},
        )
    }
    yield table
    if not there:
        return
    for column in AGENT_SPAN_COLUMNS:
        if column.name not in there:
            yield f"ALTER TABLE agent_spans ADD COLUMN IF NOT EXISTS {_declared(column)}"
        elif column.name in _REPEATED:
            yield f"ALTER TABLE agent_spans MODIFY COLUMN {_declared(column)}"
    yield f"ALTER TABLE agent_spans MODIFY SETTING {_PARTS}"


# What every model call repeats: compressed in blocks, and with a window, as migration 0016 has them.
_REPEATED = frozenset({"SystemContent", "InputContent"})
_BLOCKS = "SETTINGS (min_compress_block_size = 16777216, max_compress_block_size = 16777216)"
_PARTS = (
    "min_bytes_for_wide_part = 10485760, min_level_for_wide_part = 1, min_columns_to_activate_adaptive_write_buffer = 1"
)


def _declared(column: Column) -> str:
    if column.name in _REPEATED:
        return f"{column.name} {column.type} CODEC(ZSTD(1, 24)) {_BLOCKS}"
    return f"{column.name} {column.type} CODEC({'Delta(8), ZSTD(1)' if column.name == 'Timestamp' else 'ZSTD(1)'})"


def _apply_view(store: Statements, view: View) -> str:
    exists = store.rows(
        "SELECT 1 AS one FROM system.tables WHERE database = currentDatabase() AND name = {name:String}",
        {"name": view.name},
    )
    if exists:  # in one step: no insert falls between an old view and a new one
        return f"ALTER TABLE {view.name} MODIFY QUERY {view.select}"
    return f"CREATE MATERIALIZED VIEW {view.name} TO {view.target} AS {view.select}"
