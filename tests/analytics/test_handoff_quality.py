"""How well a handoff went: its parts, its score, and what is known without contents."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maslens.analytics.facts import compute
from maslens.analytics.frames import AGENT_RUNS, HANDOFFS, LLM_CALLS, TOOL_CALLS, empty
from maslens.analytics.handoff_quality import LOST_IF_CHANGED, PARTS, SEVERITY, handoff_quality
from maslens.analytics.retention import retention

from tests.analytics.made_spans import Trace, frame

Frames = tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]


def rows(shape: Any, *given: dict[str, Any]) -> pl.DataFrame:
    same = {"session_id": "s", "trace_id": "t"}
    if not given:
        return empty(shape)
    made = pl.DataFrame([same | row for row in given], orient="row", infer_schema_length=None)
    cast = made.with_columns(pl.col(name).cast(shape[name]) for name in made.columns)
    return pl.concat([empty(shape), cast], how="diagonal")


def desk(*, handoff: dict[str, Any] | None = None, target: dict[str, Any] | None = None) -> Frames:
    """triage looks order 7 up and hands over at 50; billing begins at 60, looks it up again, then refunds."""
    edge = {"span_id": "h", "source": "triage", "target": "billing", "mode": "pass_control", "at": 50} | {
        "outcome": "", "source_run_id": "1", "target_run_id": "2", "context_hash_sent": "", "context_hash_received": "",
    }  # fmt: skip
    runs = rows(
        AGENT_RUNS,
        {"run_id": "1", "agent": "triage", "started_at": 0, "status": "ok", "llm_calls": 1, "tool_calls": 1},
        {"run_id": "2", "agent": "billing", "started_at": 60, "status": "ok", "llm_calls": 2, "tool_calls": 2}
        | (target or {}),
    )
    calls = rows(
        LLM_CALLS,
        {
            "span_id": "l1",
            "run_id": "2",
            "agent": "billing",
            "at": 61,
            "input_tokens": 100,
            "output_tokens": 20,
            "cost_usd": 0.5,
        },
        {
            "span_id": "l2",
            "run_id": "2",
            "agent": "billing",
            "at": 71,
            "input_tokens": 7,
            "output_tokens": 7,
            "cost_usd": 0.1,
        },
    )
    tools = rows(
        TOOL_CALLS,
        {
            "span_id": "x",
            "run_id": "1",
            "agent": "triage",
            "tool": "lookup",
            "arguments_hash": "7",
            "at": 10,
            "status": "ok",
        },
        {
            "span_id": "y",
            "run_id": "2",
            "agent": "billing",
            "tool": "lookup",
            "arguments_hash": "7",
            "at": 65,
            "status": "ok",
        },
        {
            "span_id": "z",
            "run_id": "2",
            "agent": "billing",
            "tool": "refund",
            "arguments_hash": "7",
            "at": 75,
            "status": "ok",
        },
    )
    return rows(HANDOFFS, edge | (handoff or {})), runs, calls, tools


def only(frames: Frames, spans: pl.DataFrame | None = None) -> dict[str, Any]:
    return handoff_quality(*frames, spans).row(0, named=True)


def test_what_can_be_counted_by_hand() -> None:
    row = only(desk())
    assert {part: row[part] for part in PARTS} == {
        "failed": 0.0, "bounced": 0.0, "repeated": 0.5, "re_asked": None, "lost": None,
    }  # fmt: skip
    assert (row["waited_ns"], row["repeated_calls"], row["rediscovery_tokens"], row["rediscovery_cost_usd"]) == (
        10,
        1,
        120,
        0.5,
    )
    assert row["score"] == pytest.approx(1 - SEVERITY["repeated"] / 2)
    assert row["coverage"] == pytest.approx(3 / 5)


@pytest.mark.parametrize(
    ("handoff", "target", "part", "value"),
    [
        pytest.param({}, {"status": "error"}, "failed", 1.0, id="the target ended in an error"),
        pytest.param({"outcome": "rejected"}, {}, "failed", 1.0, id="the target refused"),
        pytest.param({"outcome": "completed"}, {}, "failed", 0.0, id="the target finished"),
        pytest.param({"target_run_id": ""}, {}, "failed", None, id="nobody knows how the target ended"),
        pytest.param({"outcome": "returned"}, {}, "bounced", 1.0, id="told to have come back"),
        pytest.param(
            {"outcome": "returned", "mode": "return_to_caller"}, {}, "bounced", 0.0, id="a call that came back"
        ),
        pytest.param({"context_hash_sent": "a", "context_hash_received": "a"}, {}, "lost", 0.0, id="equal hashes"),
        pytest.param(
            {"context_hash_sent": "a", "context_hash_received": "b"}, {}, "lost", LOST_IF_CHANGED, id="unequal"
        ),
        pytest.param({"context_hash_sent": "a"}, {}, "lost", None, id="one hash says nothing"),
    ],
)
def test_part(handoff: dict[str, Any], target: dict[str, Any], part: str, value: float | None) -> None:
    assert only(desk(handoff=handoff, target=target))[part] == value


def test_control_that_comes_straight_back_bounced() -> None:
    handoffs, runs, calls, tools = desk(target={"tool_calls": 0, "llm_calls": 1})
    back = {"span_id": "b", "source": "billing", "target": "triage", "mode": "pass_control", "at": 80, "outcome": "",
            "source_run_id": "2", "target_run_id": "3"}  # fmt: skip
    table = handoff_quality(pl.concat([handoffs, rows(HANDOFFS, back)], how="diagonal"), runs, calls, tools)
    assert table["bounced"].to_list() == [1.0, 0.0]


def spans_of(**contents: str) -> pl.DataFrame:
    """Contents by place: what triage found (x), the transfer (h), what billing was given (2), what it said (l1)."""
    where = {"found": ("x", "ToolResult"), "asked": ("1", "OutputContent"), "passed": ("h", "ToolArguments"),
             "given": ("2", "InputContent"), "said": ("l1", "OutputContent")}  # fmt: skip
    columns = ["InputContent", "OutputContent", "ToolArguments", "ToolResult"]
    told = [
        {"TraceId": "t", "SpanId": where[name][0], **dict.fromkeys(columns, ""), where[name][1]: text}
        for name, text in contents.items()
    ]
    return pl.DataFrame(told)


def test_facts_that_did_not_reach_the_target_are_named() -> None:
    found = '{"order": 7, "amount": 40, "refund_consent": "unknown"}'
    row = only(desk(), spans_of(found=found, passed='{"order": 7, "refund_consent": "confirmed"}', given="please help"))
    assert row["lost_facts"] == ["amount", "refund_consent"]
    assert row["lost"] == 1.0  # 1 kept, 0 missing, -1.4 invented: at worst nothing
    whole = only(desk(), spans_of(found=found, given=found))
    assert (whole["lost"], whole["lost_facts"]) == (0.0, [])


def test_a_question_that_was_asked_before_is_asked_again() -> None:
    before = "What is your order number please?"
    again = only(desk(), spans_of(asked=before, given="x", said="Could you tell me the order number, please?"))
    fresh = only(desk(), spans_of(asked=before, given="x", said="Which card shall we credit?"))
    assert (again["re_asked"], fresh["re_asked"]) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("known", "given", "share"),
    [
        pytest.param('{"a": 1, "b": 2}', '{"a": 1, "b": 2}', 1.0, id="all"),
        pytest.param('{"a": 1, "b": 2}', '{"a": 1}', 0.5, id="one missing"),
        pytest.param('{"a": 1, "b": 2}', '{"a": 1, "b": 3}', 0.5, id="one altered"),
        pytest.param(
            '{"a": 1, "consent": "unknown"}', '{"a": 1, "consent": null}', 1.0, id="not known stays not known"
        ),
        pytest.param('{"a": 1, "consent": "unknown"}', '{"a": 1}', 1 / 2.4, id="a binding fact weighs more"),
        pytest.param('{"a": 1, "consent": "unknown"}', '{"a": 1, "consent": true}', 0.0, id="worse than missing"),
        pytest.param('{"option": "F218|85USD"}', "take option F218|85USD, she said", 1.0, id="told in words"),
        pytest.param('{"price": 40.50}', '{"price": "40.5"}', 1.0, id="figures as text"),
        pytest.param("order A-7731 of 2026-08-22", "about A-7731", 0.5, id="running text"),
        pytest.param('[{"role": "user", "content": "{\\"a\\": 1}"}]', '{"a": 1}', 1.0, id="inside a message"),
        pytest.param("nothing to carry", "anything", None, id="no facts"),
    ],
)
def test_retention(known: str, given: str, share: float | None) -> None:
    found = retention([known], [given]).share
    assert found == (None if share is None else pytest.approx(share))


def test_from_the_products_own_spans() -> None:
    trace = Trace("t", SessionId="s")
    triage = trace.agent("triage", 0, 100)
    trace.call(5, 20, triage, (10, 5))
    trace.tool("lookup", 25, 30, triage, ToolArguments='{"order": 7}', ToolResult='{"order": 7, "amount": 40}')
    trace.tool(
        "transfer_to_billing", 40, 45, triage, Kind="handoff", ToolArguments='{"order": 7}', TransferTarget="billing"
    )
    billing = trace.agent("billing", 110, 200, InputContent='{"order": 7}')
    trace.call(115, 130, billing, (100, 20))
    trace.tool("lookup", 135, 140, billing, ToolArguments='{"order": 7}', ToolResult='{"order": 7, "amount": 40}')
    spans = frame(trace)
    facts = compute(spans)
    row = handoff_quality(facts.handoffs, facts.agent_runs, facts.llm_calls, facts.tool_calls, spans).row(0, named=True)
    assert (row["source"], row["target"], row["repeated"], row["rediscovery_tokens"]) == ("triage", "billing", 1.0, 120)
    assert row["lost_facts"] == ["amount"]


def test_nothing_in_nothing_out() -> None:
    assert handoff_quality(empty(HANDOFFS), empty(AGENT_RUNS), empty(LLM_CALLS), empty(TOOL_CALLS)).is_empty()


VALUES = st.one_of(st.integers(0, 99), st.booleans(), st.sampled_from(["unknown", "red", "F218", "denied"]))


@settings(max_examples=80, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["alpha", "beta", "gamma", "consent", "approval"]), VALUES, min_size=1), st.data()
)
def test_dropping_facts_never_raises_what_was_carried(facts: dict[str, Any], data: st.DataObject) -> None:
    import json

    dropped = data.draw(st.sampled_from(sorted(facts)))
    rest = {key: value for key, value in facts.items() if key != dropped}
    whole, less = (retention([json.dumps(facts)], [json.dumps(given)]).share for given in (facts, rest))
    assert whole == 1.0
    assert less is not None
    assert less <= whole


@settings(max_examples=30, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_and_duplicates_change_nothing(random: Any) -> None:
    def shuffled(table: pl.DataFrame) -> pl.DataFrame:
        twice = pl.concat([table, table.head(1)])
        return twice[random.sample(range(len(twice)), len(twice))]

    handoffs, runs, calls, tools = desk()
    expected = handoff_quality(handoffs, runs, calls, tools)
    assert handoff_quality(shuffled(handoffs), shuffled(runs), calls[::-1], tools[::-1]).equals(expected)
