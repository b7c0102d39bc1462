"""The traps that real emitters set, one each: what must be seen, and what must not be taken for it.

Spans are written as the emitters write them, so that the dialects are part of what is tested.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from maslens.analytics.facts import Facts, compute

from tests.analytics.emitted import Emitted, agent_spans, raised

OP, AGENT, TOOL, CONVERSATION = (
    "gen_ai.operation.name",
    "gen_ai.agent.name",
    "gen_ai.tool.name",
    "gen_ai.conversation.id",
)
MODEL, PROVIDER = "gen_ai.request.model", "gen_ai.provider.name"
USED, MADE, CACHED = "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.usage.cache_read.input_tokens"
OI, OI_USED, OI_MADE = "openinference.span.kind", "llm.token_count.prompt", "llm.token_count.completion"


def facts(*traces: Emitted) -> Facts:
    return compute(agent_spans(traces))


def agent(trace: Emitted, name: str, begin: float, end: float, under: str = "", **more: Any) -> str:
    given = {OP: "invoke_agent", AGENT: name, **more.pop("given", {})}
    return trace.span(f"invoke_agent {name}", begin, end, under, given, **more)


def call(trace: Emitted, begin: float, end: float, under: str = "", used: int = 10, made: int = 1, **more: Any) -> str:
    given = {OP: "chat", MODEL: "m", PROVIDER: "openai", USED: used, MADE: made, **more.pop("given", {})}
    return trace.span("chat m", begin, end, under, given, kind="Client", **more)


def tool(trace: Emitted, name: str, begin: float, end: float, under: str = "", **more: Any) -> str:
    return trace.span(f"execute_tool {name}", begin, end, under, {OP: "execute_tool", TOOL: name}, **more)


def tokens(found: Facts) -> list[tuple[Any, ...]]:
    return found.llm_calls.select("agent", "input_tokens", "output_tokens", "tokens_known").rows()


def agents(found: Facts) -> list[str]:
    return found.agent_runs["agent"].to_list()


def edges(found: Facts) -> list[tuple[Any, ...]]:
    return found.handoffs.select("source", "target", "evidence").rows()


def errors(found: Facts) -> list[tuple[Any, ...]]:
    return found.agent_errors.select("agent", "error_type", "recovered").rows()


def outcome(found: Facts) -> str:
    return str(found.sessions["outcome"].item())


# -- tokens ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dropped", "expected"),
    [pytest.param(12, (None, None, False), id="dropped"), pytest.param(0, (0, 0, True), id="told to be none")],
)
def test_usage_dropped_by_the_limit_of_128_attributes_is_unknown_and_never_zero(
    dropped: int, expected: tuple[Any, ...]
) -> None:
    trace = Emitted(scope="openinference.instrumentation.openai")
    told = {} if dropped else {OI_USED: 0, OI_MADE: 0}
    trace.span("ChatCompletion", 0, 9, "", {OI: "LLM", "llm.model_name": "m", **told}, dropped=dropped)
    assert tokens(facts(trace)) == [("(unattributed)", *expected)]


@pytest.mark.parametrize("outer", ["agent", "step", "workflow"])
def test_usage_repeated_or_added_up_on_outer_spans_counts_once(outer: str) -> None:
    trace = Emitted()
    told = {"agent": {OP: "invoke_agent", AGENT: "a"}, "step": {OP: "agent_step"}, "workflow": {OP: "invoke_workflow"}}
    above = trace.span(outer, 0, 99, "", {**told[outer], USED: 30, MADE: 3})
    call(trace, 1, 2, above, 10, 1)
    call(trace, 3, 4, above, 20, 2)
    assert [row[1:3] for row in tokens(facts(trace))] == [(10, 1), (20, 2)]


def test_usage_that_only_an_outer_span_tells_is_not_lost() -> None:
    trace = Emitted()
    agent(trace, "a", 0, 99, given={USED: 30, MADE: 3})
    assert tokens(facts(trace)) == [("a", 30, 3, True)]


@pytest.mark.parametrize(
    ("told", "used"),
    [
        pytest.param(100, 100, id="cached ones are a part"),
        pytest.param(20, 100, id="more cached than used: they come on top"),
    ],
)
def test_cached_tokens_are_in_the_input_count_once(told: int, used: int) -> None:
    trace = Emitted()
    call(trace, 0, 9, used=told, given={CACHED: 80})
    assert facts(trace).llm_calls.select("input_tokens", "cached_tokens").rows() == [(used, 80)]


@pytest.mark.parametrize(
    ("system", "provider", "framework"),
    [
        pytest.param("strands-agents", "", "strands", id="a framework is none"),
        pytest.param("vertex_ai", "gcp.vertex_ai", "", id="an old name of one"),
        pytest.param("openai", "openai", "", id="a provider is one"),
    ],
)
def test_a_framework_posing_as_a_provider(system: str, provider: str, framework: str) -> None:
    trace = Emitted()
    trace.span("chat m", 0, 9, "", {OP: "chat", MODEL: "m", "gen_ai.system": system, USED: 1, MADE: 1})
    spans = agent_spans([trace])
    assert (spans["Provider"].item(), spans["Framework"].item()) == (provider, framework)


def test_one_call_instrumented_twice_by_two_libraries_counts_once_and_two_calls_count_twice() -> None:
    given = {"gen_ai.response.id": "r1"}
    trace = Emitted(scope="opentelemetry.instrumentation.anthropic")
    run = agent(trace, "a", 0, 99)
    call(trace, 1, 9, run, 10, 1, given=given)
    beside = Emitted("u", scope="com.anthropic.sdk.python")  # the provider's own SDK, in a trace of its own
    call(beside, 2, 8, "", 10, 1, given=given)
    call(trace, 20, 29, run, 10, 1, given={"gen_ai.response.id": "r2"})
    assert tokens(facts(trace, beside)) == [("a", 10, 1, True), ("a", 10, 1, True)]


# -- outcomes and errors --------------------------------------------------------------------------------------------


def failing(root_status: str, *, recovers: bool) -> Emitted:
    trace = Emitted()
    run = agent(trace, "a", 0, 99, status=root_status)
    call(trace, 1, 9, run, status="Error", given={"error.type": "RateLimitError", USED: "", MADE: ""})
    if recovers:
        call(trace, 20, 29, run)
    return trace


@pytest.mark.parametrize("root", ["Ok", "Unset"])
def test_the_roots_status_is_not_the_outcome(root: str) -> None:
    assert outcome(facts(failing(root, recovers=False))) == "failure"
    assert outcome(facts(failing(root, recovers=True))) == "success"


@pytest.mark.parametrize(
    ("kind", "failed"),
    [
        pytest.param("langgraph.errors.ParentCommand", False, id="a command to the graph above"),
        pytest.param("langgraph.errors.GraphInterrupt", False, id="a stop to ask somebody"),
        pytest.param("asyncio.exceptions.CancelledError", False, id="a cancelled branch"),
        pytest.param("ValueError", True, id="an error"),
        pytest.param("app.ParentCommandMissing", True, id="an error whose name begins like a command"),
    ],
)
def test_control_flow_exceptions_recorded_as_errors_are_none(kind: str, failed: bool) -> None:
    trace = Emitted()
    run = agent(trace, "a", 0, 99)
    call(trace, 1, 2, run)
    tool(trace, "t", 3, 9, run, status="Error", events=[raised(kind)])
    assert bool(errors(facts(trace))) is failed


@pytest.mark.parametrize("status", ["Ok", "Unset"])
def test_ok_set_eagerly_does_not_hide_an_exception(status: str) -> None:
    trace = Emitted()
    run = agent(trace, "a", 0, 99)
    call(trace, 1, 9, run, status=status, events=[raised("TimeoutError")])
    assert errors(facts(trace)) == [("a", "TimeoutError", False)]
    quiet = Emitted()
    call(quiet, 1, 9, agent(quiet, "a", 0, 99), status=status)
    assert errors(facts(quiet)) == []


def asking(tool_name: str, *, carried_out: bool) -> Emitted:
    """Traceloop for OpenAI Agents leaves no mark where a handoff does not exist."""
    trace = Emitted(scope="opentelemetry.instrumentation.openai_agents", **{"gen_ai.system": "openai"})
    run = agent(trace, "triage", 0, 99)
    call(trace, 1, 9, run)
    tool(trace, "lookup", 10, 12, run)
    asked = [{"role": "assistant", "parts": [{"type": "tool_call", "name": tool_name}]}]
    call(trace, 20, 29, run, given={"gen_ai.output.messages": asked})
    if carried_out:
        tool(trace, tool_name, 30, 31, run)
        agent(trace, "legal", 40, 90)
    return trace


@pytest.mark.parametrize("tools", [[], [{"type": "function", "name": "transfer_to_legal", "parameters": {}}]])
def test_a_response_told_whole_asks_for_none_of_the_tools_that_it_lists(tools: list[dict[str, Any]]) -> None:
    response = {
        "object": "response", "instructions": "use transfer_to_legal", "max_tool_calls": None, "tools": tools,
        "parallel_tool_calls": True, "output": [{"type": "message", "content": [{"text": "no"}]}],
    }  # fmt: skip
    trace = Emitted(scope="logfire.openai_agents")
    kind = "logfire.msg_template"
    run = trace.span("Agent run", 0, 99, given={kind: "Agent run: {name!r}", "name": "triage"})
    trace.span("Function: lookup", 1, 2, run, {kind: "Function: {name}", "name": "lookup"})
    told = {kind: "Responses API", "gen_ai.request.model": "m", "response": response}
    trace.span("Responses API", 10, 20, run, told)
    later = trace.span("Agent run", 100, 120, given={kind: "Agent run: {name!r}", "name": "legal"})
    trace.span("Responses API", 101, 110, later, told)
    found = facts(trace)
    assert (errors(found), outcome(found)) == ([], "success")
    assert {row[2] for row in edges(found)} <= {"sequence"}


def test_a_failure_that_leaves_no_mark_is_found_by_what_was_asked_and_never_carried_out() -> None:
    found = facts(asking("transfer_to_legal", carried_out=False))
    assert errors(found) == [("triage", "tool_not_found", False)]
    assert (outcome(found), edges(found)) == ("failure", [])
    found = facts(asking("transfer_to_legal", carried_out=True))
    assert (errors(found), outcome(found)) == ([], "success")
    assert edges(found) == [("triage", "legal", "tool_name")]


def test_orphans_are_a_run_whose_span_was_lost_and_not_before_the_root_has_come() -> None:
    trace = Emitted(scope="openinference.instrumentation.smolagents")
    root = trace.span("manager.run", 0, 99, "", {OI: "AGENT"})
    trace.span("OpenAIModel.generate", 1, 9, root, {OI: "LLM", OI_USED: 5, OI_MADE: 1})
    given = {OI: "LLM", OI_USED: 7, OI_MADE: 1, "llm.input_messages.0.message.role": "system",
             "llm.input_messages.0.message.content": "You are the researcher agent."}  # fmt: skip
    trace.span("OpenAIModel.generate", 20, 29, "never-came", given)
    found = facts(trace)
    assert agents(found) == ["manager", "researcher"]
    assert ("researcher", "span_lost", True) in errors(found) or ("researcher", "span_lost", False) in errors(found)
    assert found.agent_runs["parent_run_id"].to_list()[1] == root
    waiting = Emitted(scope="openinference.instrumentation.smolagents")
    waiting.span("OpenAIModel.generate", 20, 29, "still-to-come", given)
    assert "span_lost" not in facts(waiting).agent_errors["error_type"].to_list()


DENIED = ("OpenAI Agent", "AgentRunner.run", "LangGraph", "model", "agent", "tools", "strands_agent", "unknown")


# -- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        *(pytest.param(name, False, id=name) for name in DENIED),
        pytest.param("model_checker", True, id="a name with such a word in it"),
        pytest.param("Agent 47", True, id="a name that begins like one"),
    ],
)  # fmt: skip
def test_names_on_the_deny_list_are_no_agents(name: str, is_one: bool) -> None:
    trace = Emitted()
    outer = agent(trace, "billing", 0, 99)
    call(trace, 1, 9, agent(trace, name, 0, 50, outer))
    assert (name in agents(facts(trace))) is is_one


def test_run_ids_posing_as_agent_ids_are_none_and_stable_ids_are_kept() -> None:
    run_id = "6f1b9c1e-0c52-4b52-9d5e-0a8f5f0d3c11"
    trace = Emitted(scope="opentelemetry.instrumentation.langchain")
    agent(trace, "a", 0, 9, given={"gen_ai.agent.id": run_id, "traceloop.span.kind": "agent"})
    stable = Emitted("u")
    agent(stable, "a", 0, 9, given={"gen_ai.agent.id": "asst_billing"})
    told = agent_spans([trace, stable]).select("AgentId", "RunId").rows()
    assert told == [("", run_id), ("asst_billing", "")]


def test_tasks_posing_as_agents_are_none() -> None:
    trace = Emitted(scope="opentelemetry.instrumentation.crewai")
    crew = trace.span("crewai.workflow", 0, 99, "", {OP: "invoke_agent", "traceloop.span.kind": "workflow"})
    given = {OP: "invoke_agent", "traceloop.span.kind": "task", AGENT: "researcher"}
    task = trace.span("research cats.task", 1, 90, crew, given)
    given = {OP: "invoke_agent", "traceloop.span.kind": "agent", AGENT: "researcher"}
    call(trace, 3, 9, trace.span("researcher.agent", 2, 80, task, given))
    assert agents(facts(trace)) == ["researcher"]


def test_handoffs_posing_as_tools_or_agents_are_edges_and_neither_tools_nor_runs() -> None:
    oi = Emitted(scope="openinference.instrumentation.openai_agents")
    first = oi.span("triage", 0, 50, "", {OI: "AGENT", "agent.name": "triage"})
    oi.span("handoff to billing", 40, 41, first, {OI: "TOOL", "input.value": "triage", "output.value": "billing"})
    oi.span("lookup", 42, 43, first, {OI: "TOOL", "tool.name": "lookup"})
    oi.span("billing", 60, 90, "", {OI: "AGENT", "agent.name": "billing"})
    found = facts(oi)
    assert (agents(found), found.tool_calls["tool"].to_list()) == (["triage", "billing"], ["lookup"])
    assert edges(found) == [("triage", "billing", "explicit")]
    openlit = Emitted("u", scope="openlit.instrumentation.openai_agents", **{"telemetry.sdk.name": "openlit"})
    agent(openlit, "triage", 0, 50)
    agent(openlit, "billing", 51, 51, given={"gen_ai.agent.source": "triage"})
    call(openlit, 61, 70, agent(openlit, "billing", 60, 90))
    found = facts(openlit)
    assert (agents(found), edges(found)) == (["triage", "billing"], [("triage", "billing", "explicit")])


def test_a_target_known_only_after_the_fact_is_read_from_the_answer_else_from_who_came_next() -> None:
    for answer, confidence in (("transfer_to_billing", 1.0), ("", 0.9)):
        trace = Emitted(scope="opentelemetry.instrumentation.openai_agents")
        flow = trace.span("Agent Workflow", 0, 99, "", {"traceloop.span.kind": "workflow"})
        first = trace.span("triage.agent", 1, 50, flow, {OP: "invoke_agent", AGENT: "triage"})
        said = [{"role": "assistant", "parts": [{"type": "tool_call", "name": answer}]}] if answer else ""
        call(trace, 2, 9, first, given={"gen_ai.output.messages": said})
        given = {OP: "handoff", "gen_ai.handoff.from_agent": "triage", "gen_ai.handoff.to_agent": "unknown"}
        trace.span("triage → unknown.handoff", 40, 41, first, {**given, "traceloop.span.kind": "handoff"})
        trace.span("billing.agent", 60, 90, flow, {OP: "invoke_agent", AGENT: "billing"})
        found = facts(trace)
        assert edges(found) == [("triage", "billing", "explicit")], answer
        assert found.handoffs["confidence"].to_list() == [pytest.approx(confidence)]


@pytest.mark.parametrize("sentinel", ["", "{}", "[]", '""', "null", "None", "N/A", "<not specified>"])
def test_sentinels_say_nothing(sentinel: str) -> None:
    trace = Emitted(scope="gcp.vertex.agent")
    given = {OP: "execute_tool", TOOL: "lookup", "gcp.vertex.agent.tool_call_args": sentinel, CONVERSATION: sentinel}
    trace.span("execute_tool lookup", 0, 9, "", {**given, "gen_ai.tool.call.id": sentinel})
    spans = agent_spans([trace])
    assert spans.select("ToolArguments", "ToolCallId", "SessionId").rows() == [("", "", "")]
    assert spans["ToolName"].item() == "lookup"


def test_an_agent_without_a_name_is_named_by_its_span_else_by_its_prompt_and_says_so() -> None:
    trace = Emitted(scope="openinference.instrumentation.house")
    trace.span("manager.run", 0, 9, "", {OI: "AGENT"})
    plain = Emitted("u", scope="openinference.instrumentation.openai")
    prompt = {"llm.input_messages.0.message.role": "system",
              "llm.input_messages.0.message.content": "You are the planner agent."}  # fmt: skip
    plain.span("ChatCompletion", 20, 29, "", {OI: "LLM", OI_USED: 1, OI_MADE: 1, **prompt})
    nobody = Emitted("v", scope="openinference.instrumentation.openai")
    nobody.span("ChatCompletion", 40, 49, "", {OI: "LLM", OI_USED: 1, OI_MADE: 1})
    found = facts(trace, plain, nobody)
    assert found.agent_runs.select("agent", "name_evidence").rows() == [
        ("manager", "span_name"),
        ("planner", "system_prompt"),
    ]
    assert [row[0] for row in tokens(found)] == ["planner", "(unattributed)"]


def test_one_agent_under_several_names_is_one_and_two_agents_of_like_names_are_two() -> None:
    trace = Emitted()
    flow = trace.span("flow", 0, 99, "", {OP: "invoke_workflow"})
    first = agent(trace, "Triage", 1, 20, flow)
    tool(trace, "transfer_to_billing_agent", 15, 16, first)
    agent(trace, "Billing Agent", 30, 40, flow)
    agent(trace, "triage", 50, 60, flow)
    agent(trace, "triage2", 70, 80, flow)
    found = facts(trace)
    assert sorted(set(agents(found))) == ["Billing Agent", "Triage", "triage2"]
    assert ("Triage", "Billing Agent", "tool_name") in edges(found)


# -- sessions -------------------------------------------------------------------------------------------------------


def autogen(trace: str, begin: float, name: str, team: str) -> Emitted:
    sent = Emitted(trace, scope="autogen-core", **{"gen_ai.system": "autogen"})
    agent(sent, name, begin, begin + 9, given={"gen_ai.agent.id": f"{name}_{team}/{team}"})
    return sent


def test_one_run_split_over_many_traces_is_one_session_and_two_teams_are_two() -> None:
    one, two = "6f1b9c1e-0c52-4b52-9d5e-0a8f5f0d3c11", "7a1b9c1e-0c52-4b52-9d5e-0a8f5f0d3c22"
    found = facts(autogen("t1", 0, "writer", one), autogen("t2", 10, "critic", one), autogen("t3", 20, "lead", two))
    assert found.sessions.sort("started_at")["traces"].to_list() == [2, 1]
    assert edges(found) == [("writer", "critic", "sequence")]


def test_a_session_over_processes_and_traces_is_one_and_a_delegates_own_conversation_is_not_another() -> None:
    desk = Emitted("t1", service="desk")
    run = agent(desk, "triage", 0, 99, given={CONVERSATION: "conv-7"})
    post = desk.span("POST", 10, 90, tool(desk, "ask_billing", 9, 91, run), kind="Client")
    other = Emitted("t1", service="billing")
    other.spans = [*desk.spans]
    served = other.span("POST /ask", 12, 88, post, kind="Server")
    agent(other, "billing", 13, 87, served, given={CONVERSATION: "its-own"})
    later = Emitted("t2", service="mail")
    agent(later, "mailer", 200, 210, given={CONVERSATION: "conv-7"})
    stranger = Emitted("t3", service="mail")
    agent(stranger, "mailer", 200, 210, given={CONVERSATION: "conv-8"})
    found = compute(agent_spans([other, later, stranger]))
    told = dict(found.sessions.select("session_id", "traces").iter_rows())
    assert told == {"conv-7": 2, "conv-8": 1}
    assert edges(found) == [("triage", "billing", "structure")]


@pytest.mark.parametrize(
    "key",
    [
        "session.id", "gen_ai.conversation.id", "langfuse.session.id", "traceloop.association.properties.session_id",
        "langsmith.metadata.thread_id", "gcp.vertex.agent.session_id", "ai.telemetry.metadata.sessionId",
        "gen_ai.session.id", "mlflow.trace.session",
    ],
)  # fmt: skip
def test_whatever_a_session_is_called_by_it_joins_traces(key: str) -> None:
    """With the marks of its dialect on the span, as it would have."""
    marks: dict[str, dict[str, Any]] = {
        "langfuse.session.id": {"langfuse.observation.type": "generation"},
        "langsmith.metadata.thread_id": {"langsmith.span.kind": "llm"},
        "gcp.vertex.agent.session_id": {"gcp.vertex.agent.invocation_id": "i"},
        "ai.telemetry.metadata.sessionId": {"ai.operationId": "ai.generateText.doGenerate"},
        "gen_ai.session.id": {"gen_ai.span.kind": "LLM"},
        "mlflow.trace.session": {"mlflow.spanType": '"CHAT_MODEL"'},
    }
    value = '"s-1"' if key.startswith("mlflow.") else "s-1"
    traces = []
    for number in range(2):
        trace = Emitted(f"t{number}")
        call(trace, number * 20, number * 20 + 9, given={key: value, **marks.get(key, {})})
        traces.append(trace)
    without = Emitted("t9")
    call(without, 90, 99)
    found = facts(*traces, without)
    assert found.sessions.sort("started_at").select("session_id", "traces").rows() == [("s-1", 2), ("t9", 1)]


def test_an_unknown_dialect_degrades_to_structure_and_the_row_says_so() -> None:
    """Nothing but a model call is known; the plain span around it is who worked."""
    trace = Emitted(scope="house.made")
    outer = trace.span("planner", 0, 99, "", {"house.step": "1"})
    inner = trace.span("searcher", 10, 50, outer, {"house.step": "2"})
    call(trace, 11, 20, inner, 5, 1)
    call(trace, 60, 70, outer, 7, 1)
    found = facts(trace)
    assert found.agent_runs.select("agent", "name_evidence").rows() == [
        ("searcher", "span_name"),
        ("planner", "span_name"),
    ]
    assert sorted(tokens(found)) == [("planner", 7, 1, True), ("searcher", 5, 1, True)]
    silent = Emitted("u", scope="house.made")
    silent.span("GET /", 0, 9, "", {"http.request.method": "GET"}, kind="Server")
    assert facts(silent).sessions.is_empty()


def test_every_trap_is_on_the_page() -> None:
    """docs/handoffs.md lists the traps with the tests that hold them."""
    page = (Path(__file__).parents[2] / "docs" / "handoffs.md").read_text()
    mine = [name for name in globals() if name.startswith("test_") and name != "test_every_trap_is_on_the_page"]
    assert [name for name in mine if name not in page] == []


def test_facts_have_their_columns_whatever_the_emitter_left_out() -> None:
    trace = Emitted()
    trace.span("chat", 0, 9, "", {OP: "chat"})
    found = facts(trace)
    assert found.llm_calls.select(pl.col("model"), "provider", "tokens_known").rows() == [("", "", False)]
