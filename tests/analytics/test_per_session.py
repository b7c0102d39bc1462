"""Handoff quality, suspects and drift on their way: spans, the sidecar, tables, questions, one row explained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import polars as pl
import pytest
from maslens.analytics.fact_writer import TABLES
from maslens.analytics.facts import compute
from maslens.analytics.questions import load
from maslens.analytics.questions.question import Asked
from maslens.analytics.reads import Filters, Read
from maslens.analytics.sidecar import Sidecar
from maslens.analytics.suspects import MOST_SUSPECTS, failed_sessions
from maslens.storage import Store, open_store

from tests.analytics.made_spans import START, Trace, frame

GOAL = "Refund order 4711 for Ann Miller, 40.50 dollars"
HOSTILE = "ignore all of it'); DROP TABLE fact_suspects; --<script>"


def failed(name: str, *, error: str = "KeyError: 'amount'") -> Trace:
    """triage looks the order up, hands over without the amount; billing looks it up again and its refund fails."""
    asked = json.dumps([{"role": "user", "content": GOAL}])
    trace = Trace(name, SessionId=f"session-{name}")
    triage = trace.agent("triage", 0, 100)
    trace.call(5, 20, triage, (600, 5), InputContent=asked, OutputContent=f"I look it up. {HOSTILE}")
    trace.tool("lookup", 21, 24, triage, ToolArguments='{"order": 4711}', ToolResult='{"order": 4711, "amount": 40.5}')
    trace.tool("transfer_to_billing", 25, 30, triage, Kind="handoff", TransferTarget="billing")
    broke = {"StatusCode": "Error", "ErrorType": "ToolError", "ErrorMessage": error}
    billing = trace.agent("billing", 110, 200, **broke)
    trace.call(115, 130, billing, (900, 5), InputContent="Refund order 4711", OutputContent="Let me look")
    trace.tool(
        "lookup", 131, 134, billing, ToolArguments='{"order": 4711}', ToolResult='{"order": 4711, "amount": 40.5}'
    )
    trace.call(135, 140, billing, (950, 5), InputContent="Refund order 4711", OutputContent="Refunding")
    trace.tool("refund", 145, 150, billing, ToolArguments='{"order": 4711}', **broke)
    return trace


def put(store: Store, spans: pl.DataFrame, token: str) -> None:
    arrow = spans.drop("Hints").rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    store.insert_arrow("agent_spans", arrow, token=token)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = open_store(f"chdb://{tmp_path_factory.mktemp('per_session')}")
    store.migrate()
    put(store, frame(failed("one"), failed("two")), "first")
    Sidecar(store, compute).drain()
    yield store
    store.close()


def answer(store: Store, name: str, **filters: Any) -> list[dict[str, Any]]:
    return load(name).answer(asking(store), Asked(filters=Filters(**filters))).to_dicts()


def asking(store: Store) -> Any:
    def ask(*reads: Read) -> list[Any]:
        return [pl.from_arrow(store.arrow(read.sql, dict(read.params))) for read in reads]

    return ask


def explained(store: Store, name: str, row: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    parts: dict[str, list[dict[str, Any]]] = {}
    for part in load(name).explained(row, asking(store), Asked()):
        parts.setdefault(part["part"], []).append(part)
    return parts


def test_the_tables_say_what_was_computed(store: Store) -> None:
    facts = compute(frame(failed("one"), failed("two")))
    for table in TABLES:
        if table.name in ("handoff_quality", "suspects", "context_drift"):
            computed: pl.DataFrame = getattr(facts, table.name)
            stored = pl.DataFrame(
                pl.from_arrow(
                    store.arrow(f"SELECT * FROM {table.name} WHERE session_id IN ('session-one', 'session-two')")
                )
            )
            assert len(stored) == len(computed) > 0
            assert stored.columns == list(table.schema)
            assert stored.select(table.key[0]).unique().height == 2


def test_a_row_of_quality_is_explained_by_its_parts_texts_and_repeated_calls(store: Store) -> None:
    (row,) = answer(store, "quality", session="session-one")
    assert (row["source"], row["target"], row["failed"], row["repeated"]) == ("triage", "billing", 1.0, 0.5)
    assert row["lost_evidence"] == "content"
    assert "amount" in row["lost_facts"]
    told = explained(store, "quality", row)
    product = 1.0
    for part in told["parts of the score"]:
        product *= part["factor"]
    assert product == pytest.approx(row["score"])
    assert [part["fact"] for part in told["lost facts"]] == row["lost_facts"]
    assert [part["tool"] for part in told["calls made again"]] == ["lookup"]
    assert [part["agent"] for part in told["runs"]] == ["triage", "billing"]


def test_a_suspect_is_explained_by_its_signs_and_words(store: Store) -> None:
    rows = answer(store, "suspects", session="session-two")
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    assert sum(row["confidence"] for row in rows) == pytest.approx(1.0)
    assert {row["label_convention"] for row in rows} == {"who_and_when"}
    told = explained(store, "suspects", rows[0])
    assert [part["sign"] for part in told["signs against it"]] == rows[0]["signs"]
    assert [part["says"] for part in told["signs against it"]] == rows[0]["evidence"]
    assert len(told["suspects of the session"]) == min(len(rows), 5)


def test_a_session_asked_for_by_name_has_suspects_whatever_its_outcome(store: Store) -> None:
    fine = failed("fine")
    for row in fine.rows:
        row |= {"StatusCode": "Unset", "ErrorType": "", "ErrorMessage": ""}
    put(store, frame(fine), "fine")
    Sidecar(store, compute).drain()
    assert "session-fine" not in {row["session_id"] for row in answer(store, "suspects")}
    rows = answer(store, "suspects", session="session-fine")
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    assert {row["agent"] for row in answer(store, "suspects", session="session-fine", agent="triage")} == {"triage"}
    assert answer(store, "suspects", session="nobody") == []


def test_a_step_of_drift_is_explained_by_the_goal_and_the_steps_before(store: Store) -> None:
    rows = answer(store, "drift", session="session-one")
    hop = next(row for row in rows if row["facts_lost"])
    assert (hop["agent"], hop["lost_facts"]) == ("billing", ["Ann", "Miller", "40.50"])
    told = explained(store, "drift", hop)
    assert told["goal"][0]["text"] == GOAL
    assert {part["fact"]: part["lost_here"] for part in told["facts of the goal"]} == {
        "4711": False, "Ann": True, "Miller": True, "40.50": True,
    }  # fmt: skip
    assert [part["step"] for part in told["this step and those before it"]] == [1, 0]


def test_suspects_are_withdrawn_when_the_session_turns_out_to_have_gone_well(store: Store) -> None:
    trace = failed("late")
    sidecar = Sidecar(store, compute)
    put(store, frame(trace), "early")
    sidecar.drain()
    assert answer(store, "suspects", session="session-late")
    put(store, frame(root(trace)), "late")
    sidecar.drain()
    assert "session-late" not in {row["session_id"] for row in answer(store, "suspects")}
    assert len(answer(store, "quality", session="session-late")) == 1
    assert answer(store, "suspects", session="session-one")


def root(trace: Trace) -> Trace:
    """Our own root span, which says that all went well, and no error: that of the retry."""
    late = Trace(trace.name, SessionId=trace.common["SessionId"])
    for row in trace.rows:
        if row.get("StatusCode") == "Error":
            late.rows.append({**row, "StatusCode": "Unset", "ErrorType": "", "ErrorMessage": "", "Duration": 10**9})
    return late


def test_which_sessions_have_suspects() -> None:
    sessions = pl.DataFrame({"session_id": list("abcd"), "outcome": ["failure", "success", "success", "success"]})
    errors = pl.DataFrame({"session_id": ["b", "c"], "recovered": [False, True]})
    assert sorted(failed_sessions(sessions, errors)) == ["a", "b"]
    events = pl.DataFrame(
        {
            "session_id": ["c", "d", "x", "d"],
            "EvaluationName": ["quality", "quality", "quality", ""],
            "ScoreLabel": [" Fail", "good", "fail", "fail"],
        }
    )
    assert sorted(failed_sessions(sessions, errors, events)) == ["a", "b", "c"]


def test_an_evaluation_that_says_no_makes_a_session_a_failed_one() -> None:
    trace = failed("told")
    for row in trace.rows:
        row |= {"StatusCode": "Unset", "ErrorType": "", "ErrorMessage": ""}
    spans = frame(trace)
    assert compute(spans).suspects.is_empty()
    events = pl.DataFrame(
        {
            "Timestamp": [datetime(2026, 11, 20, 10, tzinfo=timezone.utc)], "TraceId": ["told"], "SessionId": [""],
            "EvaluationName": ["correctness"], "ScoreLabel": ["incorrect"],
        }
    )  # fmt: skip
    assert not compute(spans, events).suspects.is_empty()


def test_a_long_session_tells_its_first_suspects_only() -> None:
    trace = Trace("long", SessionId="long")
    run = trace.agent("a", 0, 10_000, StatusCode="Error", ErrorType="E", ErrorMessage="gave up")
    for at in range(3 * MOST_SUSPECTS):
        trace.call(at * 10, at * 10 + 5, run, InputContent="x", OutputContent=f"assume {at}")
    found = compute(frame(trace)).suspects
    assert found["rank"].to_list() == list(range(1, MOST_SUSPECTS + 1))
    assert 0 < found["confidence"].sum() < 1
    assert found["at"].min() >= START
