"""The schema: what migrating makes of nothing, and that nothing applied is ever changed behind our back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from maslens.analytics import frames
from maslens.analytics.fact_writer import TABLES
from maslens.semconv.dialects.columns import AGENT_SPAN_COLUMNS
from maslens.storage import MigrationError, Store, migrate, open_store, views

from tests.storage.snapshot import SNAPSHOT, snapshot
from tests.storage.test_store import names, request


def test_migrating_from_empty_equals_the_committed_schema(store: Store) -> None:
    """After a wanted change: python -m tests.storage.snapshot"""
    assert snapshot(store) == SNAPSHOT.read_text()


def test_nothing_is_applied_twice(store: Store) -> None:
    applied = store.rows("SELECT count() AS n, uniqExact(name) AS u FROM maslens_migrations")[0]
    assert applied["n"] == applied["u"]
    assert store.migrate() == []


def test_progress_names_what_is_applied(tmp_path: Path) -> None:
    store = open_store(f"chdb://{tmp_path / 'data'}")
    told: list[str] = []
    assert store.migrate(on_progress=told.append) == told
    assert told[0] == "0001_otel_tables.sql"
    assert "agent_spans_mv" in told
    store.close()


def test_an_edited_migration_is_refused_by_name(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = migrate.migrations()
    edited = migrate.Migration(name=first.name, text=first.text + "\n-- changed")
    monkeypatch.setattr(migrate, "migrations", lambda: [edited, *others])
    with pytest.raises(MigrationError, match=r"0001_otel_tables.sql was edited after being applied"):
        store.migrate()


def test_a_migration_that_stopped_half_way_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(f"chdb://{tmp_path / 'data'}")
    first, *others = migrate.migrations()
    broken = migrate.Migration(name=first.name, text=first.text + "\nSELECT nonsense;\n")
    with monkeypatch.context() as patch:
        patch.setattr(migrate, "migrations", lambda: [broken, *others])
        with pytest.raises(Exception, match="nonsense"):
            store.migrate()
    assert store.migrate()[0] == first.name
    store.close()


def test_a_view_is_applied_again_when_its_text_changes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed() -> list[views.View]:
        return [
            views.View(name=view.name, source=view.source, target=view.target,
                       select=view.select.replace("span.name AS SpanName", "upper(span.name) AS SpanName"))
            for view in views.views()
        ]  # fmt: skip

    monkeypatch.setattr(migrate, "views", changed)
    assert store.migrate() == ["otel_traces_decode"]
    store.insert_otlp("traces", request("a"), token="t")
    assert names(store) == ["A"]
    monkeypatch.undo()
    assert store.migrate() == ["otel_traces_decode"]


def test_agent_spans_gets_the_columns_that_dialects_add(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.insert_otlp("traces", request("a"), token="t1")
    store.command("ALTER TABLE agent_spans DROP COLUMN Variant")
    store.command("ALTER TABLE maslens_migrations DELETE WHERE name = 'agent_spans'", {})
    store.migrate()
    store.insert_otlp("traces", request("b"), token="t2")
    assert store.rows("SELECT SpanName, Variant FROM agent_spans ORDER BY SpanName") == [
        {"SpanName": "a", "Variant": ""},
        {"SpanName": "b", "Variant": ""},
    ]


def test_agent_spans_has_the_columns_of_the_dialects(store: Store) -> None:
    there = store.rows(
        "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = 'agent_spans'"
    )
    assert [(row["name"], row["type"]) for row in there] == [(c.name, c.type) for c in AGENT_SPAN_COLUMNS]


@pytest.mark.parametrize("fact", [table.name for table in TABLES])
def test_a_fact_has_the_columns_that_analytics_computes(store: Store, fact: str) -> None:
    assert store.arrow(f"SELECT * FROM {fact}").column_names == list(getattr(frames, fact.upper()))


def test_tables_of_the_exporter_have_its_columns(store: Store) -> None:
    """As its INSERT names them (v0.162); readers depend on nothing else."""
    insert = {
        "otel_traces": "Timestamp TraceId SpanId ParentSpanId TraceState SpanName SpanKind ServiceName"
        " ResourceAttributes ScopeName ScopeVersion SpanAttributes Duration StatusCode StatusMessage"
        " Events.Timestamp Events.Name Events.Attributes Links.TraceId Links.SpanId Links.TraceState Links.Attributes",
        "otel_logs": "Timestamp TraceId SpanId TraceFlags SeverityText SeverityNumber ServiceName Body"
        " ResourceSchemaUrl ResourceAttributes ScopeSchemaUrl ScopeName ScopeVersion ScopeAttributes"
        " LogAttributes EventName",
        "otel_traces_trace_id_ts": "TraceId Start End",
    }
    for table, columns in insert.items():
        assert store.arrow(f"SELECT * FROM {table}").column_names == columns.split()


def test_every_table_filled_by_inserts_remembers_tokens(store: Store) -> None:
    tables = store.rows(
        "SELECT name, create_table_query AS text FROM system.tables"
        " WHERE database = currentDatabase() AND engine LIKE '%MergeTree' AND name != 'maslens_migrations'"
    )
    assert len(tables) > 10
    for table in tables:
        assert re.search(r"non_replicated_deduplication_window = \d{4}", table["text"]), table["name"]


def test_migrations_are_numbered_without_repeats() -> None:
    numbers = [migration.name[:4] for migration in migrate.migrations()]
    assert numbers == sorted(set(numbers))
    for migration in migrate.migrations():
        for statement in migrate.split(migration.text):  # to modify a column or a setting again changes nothing
            text = re.sub(r"--.*", "", statement)
            assert re.search(r"IF NOT EXISTS|OR REPLACE|\bMODIFY\b", text), (
                f"{migration.name} must be safe to run twice"
            )
