"""Model calls: each counted once, and unknown usage stays unknown."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from maslens.analytics.facts import compute

from tests.analytics.made_spans import Trace, frame

AgentTokens = dict[str, tuple[int | None, int | None]]


def tokens(calls: pl.DataFrame) -> AgentTokens:
    summed = calls.group_by("agent").agg(pl.col("input_tokens", "output_tokens").sum())
    return {
        agent: (used, made) for agent, used, made in summed.select("agent", "input_tokens", "output_tokens").iter_rows()
    }


@pytest.mark.parametrize("kind", ["agent", "step", "workflow", "chain", "task"])
def test_usage_that_outer_spans_repeat_or_add_up_is_not_counted_again(kind: str) -> None:
    trace = Trace()
    agent = trace.agent("billing", 0, 100, InputTokens=300, OutputTokens=30)
    outer = trace.span("wrapper", kind, 1, 90, agent, InputTokens=300, OutputTokens=30, AgentName="billing")
    trace.call(2, 40, outer, (100, 10))
    trace.call(50, 80, outer, (200, 20))
    calls = compute(frame(trace)).llm_calls
    assert (len(calls), tokens(calls)) == (2, {"billing": (300, 30)})


def test_a_model_span_around_a_model_span_is_one_call() -> None:
    trace = Trace()
    agent = trace.agent("billing", 0, 100)
    outer = trace.call(1, 50, agent, None, ResponseModel="m-2026")
    trace.call(2, 49, outer, (100, 10), RequestModel="m")
    calls = compute(frame(trace)).llm_calls
    assert calls.select("agent", "model", "input_tokens").rows() == [("billing", "m-2026", 100)]


def test_usage_that_only_the_wrapper_tells_belongs_to_the_call_inside() -> None:
    trace = Trace()
    outer = trace.call(1, 50, trace.agent("billing", 0, 100), (100, 10))
    trace.call(2, 49, outer)
    assert tokens(compute(frame(trace)).llm_calls) == {"billing": (100, 10)}


def test_a_model_span_holding_a_tool_that_calls_a_model_is_two_calls() -> None:
    trace = Trace()
    outer = trace.call(1, 90, trace.agent("boss", 0, 100), (100, 10))
    inner = trace.agent("helper", 11, 79, trace.tool("ask_helper", 10, 80, outer))
    trace.call(12, 70, inner, (7, 3))
    assert tokens(compute(frame(trace)).llm_calls) == {"boss": (100, 10), "helper": (7, 3)}


def test_one_call_traced_by_two_libraries_in_two_traces_is_one_by_its_answers_id() -> None:
    main, other = Trace("a"), Trace("b", ScopeName="openai")
    main.call(10, 50, main.agent("billing", 0, 100), (100, 10), ResponseId="resp_1")
    other.call(12, 49, "", (100, 10), ResponseId="resp_1", CacheReadTokens=40)
    facts = compute(frame(main, other))
    assert facts.llm_calls.select("agent", "input_tokens", "cached_tokens").rows() == [("billing", 100, 40)]
    assert facts.sessions["traces"].to_list() == [2]


def test_equal_answer_ids_at_other_times_are_other_calls() -> None:
    first, second = Trace("a"), Trace("b")
    first.call(0, 10, "", (100, 10), ResponseId="resp_1")
    second.call(5_000, 5_010, "", (100, 10), ResponseId="resp_1")
    assert len(compute(frame(first, second)).llm_calls) == 2


def test_one_call_traced_by_two_libraries_without_ids_is_one_by_usage_and_time() -> None:
    main, other = Trace("a"), Trace("b", ScopeName="openai")
    main.call(10, 50, main.agent("billing", 0, 100), (100, 10))
    other.call(12, 49, "", (100, 10))
    assert tokens(compute(frame(main, other)).llm_calls) == {"billing": (100, 10)}


def test_equal_usage_at_the_same_time_by_one_library_is_two_calls() -> None:
    trace = Trace()
    one, two = trace.agent("weather", 0, 100), trace.agent("flights", 0, 100)
    trace.call(10, 50, one, (100, 10))
    trace.call(12, 49, two, (100, 10))
    assert tokens(compute(frame(trace)).llm_calls) == {"weather": (100, 10), "flights": (100, 10)}


def test_a_failed_call_traced_by_two_libraries_is_one_call_and_one_error() -> None:
    main, other = Trace("a"), Trace("b", ScopeName="com.anthropic.sdk.python")
    failed: dict[str, Any] = {"StatusCode": "Error", "ErrorType": "BadRequestError"}
    main.call(0, 50, "", None, SystemContent="You are the writer agent.", **failed)
    other.call(2, 49, "", None, **failed)
    facts = compute(frame(main, other))
    assert facts.llm_calls["agent"].to_list() == ["writer"]
    assert facts.agent_errors.select("agent", "error_type").rows() == [("writer", "BadRequestError")]


def test_what_the_providers_own_sdk_counted_is_believed() -> None:
    main, sdk = Trace("a", ScopeName="traceloop"), Trace("b", ScopeName="com.anthropic.sdk.python")
    main.call(10, 50, main.agent("critic", 0, 100), (411, 42), ResponseId="msg_1")
    sdk.call(12, 49, "", (411, 41), ResponseId="msg_1")
    assert tokens(compute(frame(main, sdk)).llm_calls) == {"critic": (411, 41)}


def test_usage_lost_to_the_attribute_limit_is_unknown_and_never_zero() -> None:
    trace = Trace()
    agent = trace.agent("writer", 0, 100)
    trace.call(1, 40, agent, None, DroppedAttributes=8)
    trace.call(50, 90, agent, (100, 10))
    facts = compute(frame(trace))
    known = facts.llm_calls.sort("at").select("input_tokens", "tokens_known").rows()
    assert known == [(None, False), (100, True)]
    assert facts.agent_runs.select("llm_calls", "input_tokens").rows() == [(2, 100)]


def test_cached_and_reasoning_tokens_are_parts_of_the_counts_not_additions() -> None:
    trace = Trace()
    trace.call(1, 40, trace.agent("writer", 0, 100), (100, 50), CacheReadTokens=80, ReasoningTokens=30)
    run = compute(frame(trace)).agent_runs.select("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
    assert run.rows() == [(100, 80, 50, 30)]


def test_usage_without_any_model_span_is_read_from_the_lowest_span_that_has_it() -> None:
    trace = Trace()
    outer = trace.agent("boss", 0, 100, InputTokens=300, OutputTokens=30)
    trace.agent("helper", 10, 50, trace.tool("ask", 5, 60, outer), InputTokens=100, OutputTokens=10)
    assert tokens(compute(frame(trace)).llm_calls) == {"helper": (100, 10)}


def message(name: str, at: float, trace: str, **text: Any) -> Trace:
    import json

    team = "11111111-2222-3333-4444-555555555555"
    made = Trace(trace, Framework="autogen", Dialect="autogen", ScopeName="autogen SingleThreadedAgentRuntime")
    hints = {"message": json.dumps({"message": text}), "messaging.destination": f"Manager_{team}.({team})-A"}
    made.span(f"autogen process {name}", "message", at, at + 1, hints={**hints, "recipient_agent_class": "Manager"})
    return made


def test_usage_in_autogen_messages_counts_once_however_often_a_message_is_delivered() -> None:
    said = {"id": "m1", "source": "triage", "models_usage": {"prompt_tokens": 101, "completion_tokens": 11}}
    worked = message("triage", 5, "a")
    worked.agent("triage", 0, 4, AgentId="triage_11111111-2222-3333-4444-555555555555/k")
    sent = [message("manager", 6, "b", **said), message("billing", 7, "c", **said)]
    assert tokens(compute(frame(worked, *sent)).llm_calls) == {"triage": (101, 11)}


def test_usage_in_messages_is_left_alone_where_model_calls_were_traced() -> None:
    said = {"id": "m1", "source": "triage", "models_usage": {"prompt_tokens": 101, "completion_tokens": 11}}
    worked = message("triage", 5, "a")
    agent = worked.agent("triage", 0, 4, AgentId="triage_11111111-2222-3333-4444-555555555555/k")
    worked.call(1, 3, agent, (101, 11), ScopeName="openai")
    assert tokens(compute(frame(worked, message("manager", 6, "b", **said))).llm_calls) == {"triage": (101, 11)}


def test_a_span_that_is_no_model_call_and_used_nothing_is_no_call() -> None:
    trace = Trace()
    trace.tool("search", 0, 9, InputTokens=0, OutputTokens=0)
    assert compute(frame(trace)).llm_calls.is_empty()


@pytest.mark.parametrize(
    ("again", "calls"),
    [
        pytest.param({"ResponseId": "r1", "InputTokens": 10, "OutputTokens": 1}, 1, id="the same answer"),
        pytest.param({"InputTokens": 10, "OutputTokens": 1}, 1, id="the same usage at the same time"),
        pytest.param({"ResponseId": "r2", "InputTokens": 20, "OutputTokens": 1}, 2, id="another call"),
    ],
)
def test_a_node_beside_a_call_that_tells_its_usage_again_is_no_second_call(again: dict[str, Any], calls: int) -> None:
    trace = Trace()
    flow = trace.span("flow", "workflow", 0, 99)
    trace.call(1, 9, trace.span("node", "agent", 0, 10, flow), (10, 1), ResponseId="r1")
    trace.span("node", "agent", 0, 10, flow, **again)
    assert len(compute(frame(trace)).llm_calls) == calls


def test_of_two_nodes_that_tell_one_answer_without_a_call_of_its_own_one_counts() -> None:
    trace = Trace()
    for _ in range(2):
        trace.span("node", "agent", 0, 10, ResponseId="r1", InputTokens=10, OutputTokens=1)
    assert len(compute(frame(trace)).llm_calls) == 1


def test_an_agents_sum_is_not_counted_beside_its_calls_when_the_span_between_them_was_lost() -> None:
    trace = Trace()
    trace.agent("a", 0, 99, InputTokens=30, OutputTokens=3)
    trace.call(10, 20, "lost", (10, 1))
    trace.agent("b", 200, 299, InputTokens=7, OutputTokens=1)
    assert compute(frame(trace)).llm_calls["input_tokens"].to_list() == [10, 7]
