"""Bottlenecks, coordination and what else is asked of many sessions, over a real store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
from maslens.analytics.facts import compute
from maslens.analytics.questions import load
from maslens.analytics.questions.question import Asked
from maslens.analytics.reader import Reader
from maslens.analytics.reads import Filters
from maslens.analytics.sidecar import Sidecar
from maslens.storage import Store, open_store

from tests.analytics.made_spans import START, Trace, frame


def desk(name: str, slow: float, *, version: str = "v1", fails: bool = False) -> Trace:
    """triage decides, then asks billing and stock side by side; billing takes `slow` ms, stock 100."""
    trace = Trace(name * 32, SessionId=name)
    root = trace.agent("triage", 0, slow + 40, AgentVersion=version)
    trace.call(0, 10, root, (90, 10))
    tool = trace.tool("ask_billing", 10, 20 + slow, root)
    failed = {"StatusCode": "Error", "ErrorType": "Timeout"} if fails else {}
    run = trace.agent("billing", 20, 20 + slow, tool, AgentVersion=version, **failed)
    trace.call(20, 15 + slow, run, (800, 100))
    other = trace.tool("ask_stock", 10, 120, root)
    trace.agent("stock", 20, 120, other, AgentVersion=version)
    return trace


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = open_store(f"chdb://{tmp_path_factory.mktemp('window')}")
    store.migrate()
    rows = frame(desk("a", 300), desk("b", 500), desk("c", 50, version="v2", fails=True))
    arrow = rows.drop("Hints").rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    store.insert_arrow("agent_spans", arrow, token="window")
    Sidecar(store, compute).drain()
    yield store
    store.close()


def asked(store: Store, name: str, filters: Filters | None = None, **options: Any) -> pl.DataFrame:
    return load(name).answer(Reader(store).frames, Asked(filters=filters or Filters(), options=options))


def explained(store: Store, name: str, filters: Filters | None = None, **options: Any) -> list[dict[str, Any]]:
    question, wanted = load(name), Asked(filters=filters or Filters(), options=options)
    row = question.answer(Reader(store).frames, wanted).row(0, named=True)
    return question.explained(row, Reader(store).frames, wanted)


def test_bottlenecks_of_a_window_by_hand(store: Store) -> None:
    table = asked(store, "bottlenecks")
    assert table["agent"].to_list() == ["billing", "triage", "stock"]
    rows = {row["agent"]: row for row in table.iter_rows(named=True)}
    # billing is on the path for 300 and 500 ms, and would be until stock takes over: 200 and 400 ms earlier
    assert rows["billing"]["critical_ms"] == pytest.approx(800)
    assert rows["billing"]["saves_ms"] == pytest.approx(600)
    assert rows["billing"]["first_in"] == 2
    assert rows["stock"]["critical_ms"] == pytest.approx(100)  # in c, where billing is the quick one
    assert rows["billing"]["saves_share"] == pytest.approx(600 / (340 + 540 + 120), abs=1e-6)


def test_bottlenecks_of_one_session(store: Store) -> None:
    table = asked(store, "bottlenecks", Filters(session="a"))
    assert table.select("agent", "rank", "sessions").rows()[0] == ("billing", 1, 1)
    assert asked(store, "bottlenecks", Filters(agent="stock"))["rank"].to_list() == [3]
    assert asked(store, "bottlenecks", Filters(limit=1)).height == 1


def test_bottlenecks_are_explained_by_a_critical_path(store: Store) -> None:
    parts = explained(store, "bottlenecks")
    path = [part for part in parts if part["part"] == "critical path of b"]
    assert [(part["agent"], part["kind"]) for part in path] == [
        ("triage", "self"), ("billing", "self"), ("triage", "self"),
    ]  # fmt: skip
    assert sum(part["duration_ns"] for part in path) == 540_000_000


def test_coordination_of_a_window(store: Store) -> None:
    row = asked(store, "coordination", by="window").row(0, named=True)
    assert (row["sessions"], row["pattern"], row["agents"], row["edges"], row["depth"]) == (3, "hierarchical", 3, 2, 2)
    assert (row["handoffs"], row["failed"], row["messages"]) == (6, 1, 12)
    assert row["delegation_accuracy"] == pytest.approx(5 / 6)
    assert row["accuracy_if_failure"] is None or row["accuracy_if_failure"] <= row["delegation_accuracy"]
    assert row["coordination_ratio"] == pytest.approx(300 / 3000)
    assert row["started_at"] == START


def test_coordination_by_version_and_by_session(store: Store) -> None:
    by_version = {row["version"]: row for row in asked(store, "coordination", by="version").iter_rows(named=True)}
    assert {version: row["sessions"] for version, row in by_version.items()} == {"v1": 2, "v2": 1}
    assert by_version["v2"]["delegation_accuracy"] == pytest.approx(0.5)
    by_session = asked(store, "coordination", by="session")
    assert sorted(by_session["session_id"]) == ["a", "b", "c"]
    assert asked(store, "coordination", Filters(session="c"))["failed"].to_list() == [1]


def test_coordination_is_explained_by_its_transfers(store: Store) -> None:
    parts = explained(store, "coordination", Filters(session="a"))
    assert {(part["source"], part["target"]) for part in parts if part["part"] == "transfers"} == {
        ("triage", "billing"), ("triage", "stock"),
    }  # fmt: skip
    ways = [part for part in explained(store, "coordination", by="window") if part["part"] == "ways"]
    assert [(way["source"], way["target"], way["handoffs"]) for way in ways] == [
        ("triage", "billing", 3), ("triage", "stock", 3),
    ]  # fmt: skip


def test_teams_of_a_window(store: Store) -> None:
    table = asked(store, "teams")
    assert table.select("task", "members", "sessions", "verdict").rows() == [
        ("triage", ["billing", "stock", "triage"], 3, "too_few"),
    ]  # fmt: skip
    parts = explained(store, "teams")
    assert [part["sessions"] for part in parts if part["part"] == "outcomes by members there"] == [3]
    assert asked(store, "coalitions").is_empty()  # three sessions say nothing


@pytest.mark.parametrize("name", ["bottlenecks", "coordination", "coalitions", "teams"])
@pytest.mark.parametrize("by", ["window", "session", "version"])
def test_a_window_without_sessions_is_no_fault(store: Store, name: str, by: str) -> None:
    assert asked(store, name, Filters(session="nobody"), by=by).is_empty()
    assert asked(store, name, Filters(since=START.replace(year=2099)), by=by).is_empty()
