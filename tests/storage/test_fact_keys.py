"""Fact tables sorted by a number: the same facts as before, however the change was cut off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from maslens.storage import Store, fact_keys, open_store
from maslens.storage.migrate import migrations, split

TABLE = "fact_handoffs"
OLD = {  # as migrations 0004, 0030 and 0032 have them
    table: f"session_id, {', '.join(key)}" for table, key in fact_keys.KEYS.items()
}


@pytest.fixture
def before(tmp_path: Path) -> Iterator[Store]:
    """A store as it was made before the tables were sorted anew, with facts of several versions in it."""
    store = open_store(f"chdb://{tmp_path / 'data'}")
    for migration in migrations():
        for statement in split(migration.text):
            store.command(statement)
    for version, deleted in ((1, 0), (2, 0), (3, 1)):
        store.command(
            f"""
            INSERT INTO {TABLE} (session_id, trace_id, span_id, source, target, at, confidence, version, is_deleted)
            SELECT concat('s', toString(intDiv(number, 10))), 't', toString(number), 'a', 'b', fromUnixTimestamp64Nano(
                toInt64(number)), {version}, {version}, {deleted} FROM numbers(100) WHERE number % {version} = 0"""
        )
    yield store
    store.close()


def keys(store: Store) -> dict[str, str]:
    rows = store.rows("SELECT name, sorting_key FROM system.tables WHERE database = currentDatabase()")
    return {row["name"]: row["sorting_key"] for row in rows}


def facts(store: Store) -> list[dict[str, Any]]:
    return store.rows("SELECT * FROM handoffs ORDER BY session_id, span_id")


def test_every_large_table_is_sorted_by_session_and_number(before: Store) -> None:
    assert {name: key for name, key in keys(before).items() if name in OLD} == OLD
    before.migrate()
    assert {name: key for name, key in keys(before).items() if name in OLD} == dict.fromkeys(OLD, fact_keys.SORTED)


def test_facts_stay_what_they_were(before: Store) -> None:
    told = facts(before)
    assert len(told) == 66  # every third was taken back
    before.migrate()
    assert facts(before) == told
    before.command(
        f"INSERT INTO {TABLE} (session_id, trace_id, span_id, source, target, at, version, is_deleted)"
        " SELECT session_id, trace_id, span_id, source, target, at, 9, 1 FROM handoffs WHERE session_id = 's1'"
    )
    assert facts(before) == [row for row in told if row["session_id"] != "s1"]


def test_a_session_is_still_found_by_the_key(before: Store) -> None:
    before.migrate()
    (row,) = before.rows("EXPLAIN ESTIMATE SELECT * FROM fact_handoffs WHERE session_id = 'nobody'") or [{"rows": 0}]
    assert row["rows"] == 0


def test_wherever_it_is_cut_off_it_can_begin_anew(before: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    told = facts(before)
    monkeypatch.setattr(fact_keys, "KEYS", {TABLE: fact_keys.KEYS[TABLE]})
    for cut in range(len(list(fact_keys.statements(before)))):
        for number, statement in enumerate(fact_keys.statements(before)):
            if number == cut:
                break
            before.command(statement)
        assert facts(before) == told
    before.migrate()
    assert facts(before) == told
    assert not [name for name in keys(before) if name.endswith("_anew")]


def test_a_replicated_table_is_left_alone() -> None:
    class Cluster:
        def rows(self, sql: str, params: dict[str, object] | None = None) -> list[dict[str, Any]]:
            assert "engine = 'ReplacingMergeTree'" in sql
            return []

    assert all("DROP TABLE IF EXISTS" in statement for statement in fact_keys.statements(Cluster()))
