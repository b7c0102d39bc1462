"""Sessions: which traces are one, what went wrong in them and how they ended."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from maslens.analytics.facts import Facts, compute
from maslens.analytics.sessions import stitch_keys

from tests.analytics.made_spans import START, Trace, frame

TEAM = "11111111-2222-3333-4444-555555555555"


def one_call(trace: str, at: float = 0, **columns: Any) -> Trace:
    made = Trace(trace)
    made.call(at + 1, at + 9, made.agent("a", at, at + 10, **columns), (1, 1))
    return made


def named(*traces: Trace) -> dict[str, int]:
    return dict(compute(frame(*traces)).sessions.select("session_id", "traces").iter_rows())


def errors(facts: Facts) -> list[tuple[Any, ...]]:
    return facts.agent_errors.select("agent", "error_type", "recovered").rows()


# -- which traces ---------------------------------------------------------------------------------------------------


def test_traces_that_name_one_session_are_one_also_over_services() -> None:
    other = one_call("b", 5_000, SessionId="conv-1", ServiceName="billing")
    assert named(one_call("a", SessionId="conv-1"), other, one_call("c")) == {"conv-1": 2, "c": 1}


def test_the_outermost_span_names_the_session_and_a_delegates_own_conversation_does_not() -> None:
    trace = Trace("a")
    outer = trace.agent("triage", 0, 100, SessionId="conv-1")
    trace.call(20, 30, trace.agent("billing", 10, 90, trace.tool("ask", 5, 95, outer), SessionId="conv-2"), (1, 1))
    assert named(trace, one_call("b", 500, SessionId="conv-2")) == {"conv-1": 1, "conv-2": 1}


def test_one_run_split_over_many_traces_is_joined_by_its_team() -> None:
    traces = []
    for place in range(3):
        made = Trace(f"t{place}", Framework="autogen")
        box = made.span(
            "autogen process", "message", place, place + 1, hints={"messaging.destination": f"x_{TEAM}.(k)-A"}
        )
        made.agent("a", place, place + 1, box)
        traces.append(made)
    assert named(*traces) == {TEAM: 3}


@pytest.mark.parametrize(
    ("links", "types", "dialect", "joined"),
    [
        pytest.param(["a"], ["handoff"], "", True, id="a typed link"),
        pytest.param(["a"], [""], "", True, id="the only link of a plain span"),
        pytest.param(["a", "x"], ["", ""], "", False, id="one of a batch from a queue"),
        pytest.param(["a", "x"], ["", ""], "otel_genai", True, id="links of an agent framework"),
        pytest.param(["a"], ["evaluates"], "otel_genai", False, id="an evaluation of it"),
    ],
)
def test_a_link_joins_traces_when_it_means_the_same_work(
    links: list[str], types: list[str], dialect: str, joined: bool
) -> None:
    later = one_call("b", 100)
    later.span(
        "consume",
        "other",
        100,
        110,
        LinkTraceIds=links,
        LinkSpanIds=["0"] * len(links),
        LinkTypes=types,
        Dialect=dialect,
    )
    assert (named(one_call("a"), later) == {"a": 2}) is joined


def test_traces_that_only_set_something_up_are_no_sessions() -> None:
    trace = Trace("setup")
    trace.span("create_agent triage", "create_agent", 0, 1, AgentName="triage")
    assert compute(frame(trace)).sessions.is_empty()


def test_the_keys_to_collect_a_session_by_cover_all_that_it_is_stitched_by() -> None:
    trace = Trace("a", Framework="autogen")
    agent = trace.agent(
        "x",
        0,
        5,
        SessionId="conv-1",
        AgentId=f"x_{TEAM}/k",
        LinkTraceIds=["b"],
        LinkSpanIds=["0"],
        LinkTypes=["handoff"],
    )
    trace.call(1, 2, agent, (1, 1), ResponseId="resp_1")
    keys = set(stitch_keys(frame(trace)).iter_rows())
    assert keys == {("a", key) for key in ("session:conv-1", f"team:{TEAM}", "trace:a", "trace:b", "answer:resp_1")}


def test_spans_sent_twice_count_once_and_are_told() -> None:
    trace = one_call("a")
    facts = compute(pl.concat([frame(trace), frame(trace)]))
    assert facts.sessions.select("spans", "duplicate_spans", "llm_calls").rows() == [(2, 2, 1)]


def test_of_two_copies_that_differ_the_one_that_says_more_counts_whichever_came_first() -> None:
    told, untold = one_call("a"), one_call("a")
    untold.rows[1].update(InputTokens=None, OutputTokens=None)
    for sent in ((told, untold), (untold, told)):
        facts = compute(pl.concat([frame(trace) for trace in sent], how="diagonal_relaxed"))
        assert facts.sessions.select("input_tokens", "duplicate_spans").rows() == [(1, 2)]


def test_of_a_span_sent_early_and_again_when_it_ended_the_last_one_counts() -> None:
    early = one_call("a")
    ended = one_call("a")
    early.rows[0]["Duration"] = 0
    runs = compute(pl.concat([frame(ended), frame(early)])).agent_runs
    assert runs["duration_ns"].to_list() == [10_000_000]


# -- what went wrong ------------------------------------------------------------------------------------------------

FAILED = {"StatusCode": "Error", "ErrorType": "BadRequestError", "ErrorMessage": "Error code: 400"}


def test_the_status_of_the_root_is_not_the_outcome() -> None:
    trace = Trace()
    root = trace.span("workflow", "workflow", 0, 100, StatusCode="Ok")
    trace.call(10, 20, trace.agent("billing", 5, 90, root), None, **FAILED)
    facts = compute(frame(trace))
    assert (facts.sessions["outcome"].to_list(), errors(facts)) == (
        ["failure"],
        [("billing", "BadRequestError", False)],
    )


def test_an_error_that_passes_through_many_spans_is_one_error_where_it_began() -> None:
    trace = Trace()
    step = trace.span("turn", "step", 6, 80, trace.agent("billing", 5, 90, **FAILED), **FAILED)
    trace.call(10, 20, step, None, **FAILED)
    facts = compute(frame(trace))
    assert len(facts.agent_errors) == 1
    assert facts.agent_runs.select("status", "error_type").rows() == [("error", "BadRequestError")]


def test_an_error_of_an_outer_span_after_the_work_had_gone_on_is_another_error() -> None:
    trace = Trace()
    agent = trace.agent("billing", 0, 100, StatusCode="Error", StatusMessage="Max turns exceeded: {'max_turns': 6}")
    trace.tool("lookup", 10, 20, agent, StatusCode="Error", StatusMessage="RuntimeError: on fire")
    trace.call(30, 40, agent, (1, 1))
    assert errors(compute(frame(trace))) == [
        ("billing", "RuntimeError", True),
        ("billing", "Max turns exceeded", False),
    ]


def test_ok_set_eagerly_does_not_hide_an_exception() -> None:
    trace = Trace()
    agent = trace.agent("billing", 0, 100, StatusCode="Ok")
    trace.call(
        10, 20, agent, None, StatusCode="Ok", ExceptionTypes=["openai.BadRequestError"], ErrorMessage="Error code: 400"
    )
    facts = compute(frame(trace))
    assert errors(facts) == [("billing", "openai.BadRequestError", False)]


@pytest.mark.parametrize(
    "columns",
    [
        {"ExceptionTypes": ["langgraph.errors.ParentCommand"], "StatusCode": "Ok"},
        {
            "ExceptionTypes": ["ParentCommand"],
            "StatusCode": "Error",
            "StatusMessage": "Command(graph='__parent__', update={})",
        },
        {
            "ExceptionTypes": ["Exception"],
            "StatusCode": "Error",
            "ErrorMessage": "ParentCommand(Command(graph='triage:1'))",
        },
        {
            "ExceptionTypes": ["langgraph.errors.GraphInterrupt"],
            "StatusCode": "Error",
            "StatusMessage": "(Interrupt(value='ok?'),)",
        },
        {"StatusCode": "Error", "StatusMessage": "ValueError: Unhandled message in agent container: <class 'x'>"},
    ],
    ids=[
        "OK with an event",
        "error with a bare type",
        "type only in the message",
        "interrupt",
        "echo of another agent's failure",
    ],
)
def test_exceptions_that_steer_are_no_errors(columns: dict[str, Any]) -> None:
    trace = Trace()
    agent = trace.agent("triage", 0, 100, **columns)
    trace.call(10, 20, agent, (1, 1))
    trace.call(110, 120, trace.agent("billing", 105, 150), (1, 1))
    facts = compute(frame(trace))
    assert (errors(facts), facts.sessions["outcome"].to_list()) == ([], ["success"])
    assert facts.agent_runs["status"].unique().to_list() == ["ok"]


def test_a_cancelled_agent_did_not_fail() -> None:
    trace = Trace()
    root = trace.span("workflow", "workflow", 0, 100)
    trace.agent("weather", 1, 90, root, StatusCode="Error", ExceptionTypes=["asyncio.exceptions.CancelledError"])
    trace.call(10, 20, trace.agent("flights", 1, 80, root), None, **FAILED)
    facts = compute(frame(trace))
    status = dict(facts.agent_runs.select("agent", "status").iter_rows())
    assert status == {"weather": "cancelled", "flights": "error"}
    assert facts.sessions.select("outcome", "final_agent").rows() == [("failure", "flights")]


def test_an_error_is_recovered_when_its_agent_went_on() -> None:
    trace = Trace()
    agent = trace.agent("billing", 0, 100)
    trace.tool("lookup", 10, 20, agent, **FAILED)
    trace.call(30, 40, agent, (1, 1))
    facts = compute(frame(trace))
    assert (errors(facts), facts.sessions["outcome"].to_list()) == ([("billing", "BadRequestError", True)], ["success"])


def test_an_error_is_recovered_when_the_caller_went_on() -> None:
    trace = Trace()
    boss = trace.agent("boss", 0, 100)
    trace.call(12, 20, trace.agent("helper", 11, 30, trace.tool("ask", 10, 31, boss)), None, **FAILED)
    trace.call(40, 50, boss, (1, 1))
    facts = compute(frame(trace))
    assert facts.sessions["outcome"].to_list() == ["success"]
    assert errors(facts) == [("helper", "BadRequestError", True)]
    assert dict(facts.agent_runs.select("agent", "status").iter_rows()) == {"boss": "ok", "helper": "error"}


def test_an_error_is_not_recovered_by_siblings_that_ran_at_the_same_time() -> None:
    trace = Trace()
    root = trace.span("workflow", "workflow", 0, 100)
    trace.call(2, 10, trace.agent("flights", 1, 20, root), None, **FAILED)
    trace.call(60, 80, trace.agent("weather", 2, 90, root), (1, 1))
    assert compute(frame(trace)).sessions["outcome"].to_list() == ["failure"]


def test_an_answer_that_never_came_is_a_failure_although_no_span_is_marked() -> None:
    trace = Trace()
    trace.call(1, 10, trace.agent("guard", 0, 20), (1, 1), OutputContent="abuse")
    trace.call(2, 20, trace.agent("triage", 0, 21), None)
    facts = compute(frame(trace))
    assert (errors(facts), facts.sessions["outcome"].to_list()) == ([("triage", "no_answer", False)], ["failure"])
    assert dict(facts.agent_runs.select("agent", "status").iter_rows()) == {"guard": "ok", "triage": "cancelled"}


def test_a_tool_asked_for_last_and_never_carried_out_is_a_failure_although_no_span_is_marked() -> None:
    trace = Trace(Framework="openai_agents")
    agent = trace.agent("billing", 0, 100)
    trace.call(1, 10, agent, (1, 1), OutputContent='[{"type": "tool_call", "name": "lookup"}]')
    trace.tool("lookup", 11, 12, agent)
    trace.call(20, 30, agent, (1, 1), OutputContent='[{"type": "tool_call", "name": "made_up"}]')
    facts = compute(frame(trace))
    assert errors(facts) == [("billing", "tool_not_executed", False)]


def test_a_graph_that_stopped_to_ask_is_partial_until_it_is_resumed() -> None:
    asked = one_call("a", 0, SessionId="s", StatusCode="Error", ExceptionTypes=["langgraph.errors.GraphInterrupt"])
    resumed = one_call("b", 1_000, SessionId="s")
    assert compute(frame(asked)).sessions["outcome"].to_list() == ["partial"]
    assert compute(frame(asked, resumed)).sessions["outcome"].to_list() == ["success"]


def test_an_outcome_that_the_program_tells_counts_first_and_a_later_one_more() -> None:
    trace = Trace("a", Dialect="mas")
    root = trace.span("workflow", "workflow", 0, 100, TaskOutcome="failure", SessionId="s")
    trace.call(10, 20, trace.agent("a", 5, 90, root), (1, 1))
    assert compute(frame(trace)).sessions["outcome"].to_list() == ["failure"]
    late = pl.DataFrame({"Timestamp": [START], "TaskOutcome": ["abandoned"], "TraceId": [""], "SessionId": ["s"]})
    assert compute(frame(trace), late).sessions["outcome"].to_list() == ["abandoned"]
