"""Whether inserts survive the loss of power: settings of the tables, because the engine has none for an insert."""

from __future__ import annotations

from typing import Any, Protocol

# The last two because the embedded engine deletes merged parts at once, while the part that replaces them may still be
# in the system's memory only.
SYNCED = {
    "fsync_after_insert": 1,
    "fsync_part_directory": 1,
    "min_rows_to_fsync_after_merge": 1,
    "min_compressed_bytes_to_fsync_after_merge": 1,
}


class Statements(Protocol):
    def rows(self, sql: str) -> list[dict[str, Any]]: ...
    def command(self, sql: str) -> None: ...


def sync_tables(store: Statements) -> None:
    """From now on an insert returns once every part of it, in every table behind it, is on disk."""
    settings = ", ".join(f"{name} = {value}" for name, value in SYNCED.items())
    for name, synced in _tables(store).items():
        if not synced:
            store.command(f"ALTER TABLE `{name}` MODIFY SETTING {settings}")


def leave_tables_to_the_system(store: Statements) -> None:
    """Undo `sync_tables`."""
    for name, synced in _tables(store).items():
        if synced:
            store.command(f"ALTER TABLE `{name}` RESET SETTING {', '.join(SYNCED)}")


def _tables(store: Statements) -> dict[str, bool]:
    """Every table that holds rows, and whether it has our settings."""
    found = store.rows(
        "SELECT name, engine_full FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
    )
    wanted = [f"{name} = {value}" for name, value in SYNCED.items()]
    return {row["name"]: all(setting in row["engine_full"] for setting in wanted) for row in found}
