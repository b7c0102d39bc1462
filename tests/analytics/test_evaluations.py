"""What was said about a session, a run or a handoff, and whose it is."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maslens.analytics.facts import Facts, compute

from tests.analytics.made_spans import START, Trace


def desk() -> tuple[Trace, dict[str, str]]:
    """triage hands to billing, who calls a model."""
    trace = Trace("t" * 32, SessionId="s1")
    root = trace.span("desk", "workflow", 0, 1000)
    triage = trace.agent("triage", 0, 400, root)
    handoff = trace.span(
        "handoff", "handoff", 300, 310, triage, TransferSource="triage", TransferTarget="billing", HandoffId="h1"
    )
    billing = trace.agent("billing", 420, 900, root, HandoffId="h1")
    answer = trace.call(450, 800, billing, ResponseId="resp-1")
    return trace, {"root": root, "triage": triage, "handoff": handoff, "billing": billing, "answer": answer}


def event(trace: str = "t" * 32, span: str = "", **columns: Any) -> dict[str, Any]:
    blank = dict.fromkeys(
        ("SessionId", "AgentName", "ScoreLabel", "Explanation", "EvaluatorType", "EvaluatorId", "TargetType",
         "TargetId", "HandoffId", "TaskOutcome", "HandoffOutcome"), ""
    )  # fmt: skip
    return {
        "Timestamp": START,
        "EventName": "gen_ai.evaluation.result",
        "TraceId": trace,
        "SpanId": span,
        "Origin": "log",
        "EvaluationName": "helpfulness",
        "Score": 0.5,
        "ResponseId": "",
        **blank,
        **columns,
    }


def facts_of(trace: Trace, *events: dict[str, Any]) -> Facts:
    return compute(pl.DataFrame(trace.rows), pl.DataFrame(list(events), infer_schema_length=None))


def test_an_evaluation_belongs_to_the_run_of_its_span() -> None:
    trace, ids = desk()
    row = facts_of(trace, event(span=ids["answer"])).evaluations.row(0, named=True)
    assert (row["session_id"], row["agent"], row["run_id"]) == ("s1", "billing", ids["billing"])
    assert (row["name"], row["score"], row["origin"]) == ("helpfulness", 0.5, "log")


@pytest.mark.parametrize(
    ("columns", "agent"),
    [
        pytest.param({"HandoffId": "h1", "TargetType": "handoff"}, "triage", id="a handoff: who handed over"),
        pytest.param({"TargetType": "agent", "TargetId": "billing"}, "billing", id="an agent by name"),
        pytest.param({"AgentName": "triage"}, "triage", id="whom the event names"),
        pytest.param({"ResponseId": "resp-1"}, "billing", id="the answer it names"),
        pytest.param({"TargetType": "session", "AgentName": "triage"}, "", id="a session: nobody"),
        pytest.param({}, "", id="a trace and no more"),
    ],
)
def test_whose_it_is(columns: dict[str, Any], agent: str) -> None:
    trace, _ = desk()
    assert facts_of(trace, event(**columns)).evaluations["agent"].to_list() == [agent]


def test_one_that_names_only_its_session() -> None:
    trace, _ = desk()
    found = facts_of(trace, event(trace="", SessionId="s1", TargetType="session")).evaluations
    assert found["session_id"].to_list() == ["s1"]


def test_one_of_a_session_that_is_not_here_is_left_to_its_own() -> None:
    trace, _ = desk()
    assert facts_of(trace, event(trace="x" * 32, SessionId="s9")).evaluations.is_empty()


def test_a_label_is_enough_and_nothing_is_not() -> None:
    trace, ids = desk()
    found = facts_of(
        trace,
        event(span=ids["billing"], Score=None, ScoreLabel="good"),
        event(span=ids["billing"], Score=None, EvaluationName="other"),
    ).evaluations
    assert found.select("label", "score").rows() == [("good", None)]


def test_other_events_are_no_evaluations() -> None:
    trace, ids = desk()
    vote = event(span=ids["billing"], EventName="mas.vote.cast", EvaluationName="")
    assert facts_of(trace, vote).evaluations.is_empty()


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(5)), repeats=st.lists(st.integers(0, 4), max_size=5))
def test_order_and_repeats_change_nothing(order: list[int], repeats: list[int]) -> None:
    trace, ids = desk()
    told = [event(span=ids[name], Score=n / 4) for n, name in enumerate(ids)]
    expected = facts_of(trace, *told).evaluations
    assert expected.height == 5
    assert facts_of(trace, *(told[n] for n in [*order, *repeats])).evaluations.equals(expected)


def test_no_events_at_all() -> None:
    trace, _ = desk()
    assert compute(pl.DataFrame(trace.rows)).evaluations.is_empty()


def test_a_run_is_for_the_task_above_it() -> None:
    trace = Trace("t" * 32)
    task = trace.span("write report", "task", 0, 900, TaskName="write report")
    trace.agent("writer", 10, 400, task)
    trace.agent("editor", 410, 800, task, TaskName="", TaskId="task-7")
    trace.agent("idle", 1000, 1100)
    runs = compute(pl.DataFrame(trace.rows, infer_schema_length=None)).agent_runs
    assert dict(runs.select("agent", "task").rows()) == {"writer": "write report", "editor": "task-7", "idle": ""}
