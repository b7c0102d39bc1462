"""Agent runs: which spans are one, and what the agent is called."""

from __future__ import annotations

import polars as pl
import pytest
from maslens.analytics import names
from maslens.analytics.facts import compute

from tests.analytics.made_spans import Trace, edges, frame


def agents(*traces: Trace) -> list[tuple[str, str]]:
    runs = compute(frame(*traces)).agent_runs.sort("started_at", "run_id")
    return list(runs.select("agent", "name_evidence").iter_rows())


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        pytest.param("billing.agent", "billing", id="suffix of Traceloop"),
        pytest.param("invoke_agent billing", "billing", id="operation before the name"),
        pytest.param("researcher._execute_core", "researcher", id="method of CrewAI"),
        pytest.param("manager.run", "manager", id="method of smolagents"),
        pytest.param("billing_4f2c9ab1", "billing", id="hex of an instance"),
        pytest.param(
            "triage_b04d2ccf-3b96-4f5a-b504-fec8a3bfa931/b04d2ccf-3b96-4f5a-b504-fec8a3bfa931", "triage", id="uuid"
        ),
        pytest.param("report_20241105", "report_20241105", id="a date is no instance"),
        pytest.param("billing_agent", "billing_agent", id="a name that ends in agent is a name"),
        pytest.param("Crew Manager", "manager", id="CrewAI's own role"),
        pytest.param("invoke_agent AgentRunner.run", "", id="a runner under its operation"),
    ],
)
def test_an_agent_is_called_what_a_person_would_write_down(written: str, meant: str) -> None:
    assert names.clean(written) == meant


@pytest.mark.parametrize(
    "name", ["OpenAI Agent", "LangGraph", "model", "tools", "unknown", "AgentRunner.run", "call_model"]
)
def test_names_on_the_deny_list_and_sentinels_are_no_agents(name: str) -> None:
    trace = Trace()
    outer = trace.agent("billing", 0, 100)
    inner = trace.span("x", "agent", 5, 90, outer, AgentName=name)
    trace.call(10, 50, inner, (1, 1), AgentName=name)
    assert agents(trace) == [("billing", "agent_name")]


def test_a_run_told_by_node_and_graph_span_of_one_name_is_one_run() -> None:
    trace = Trace()
    inner = trace.agent("billing", 5, 90, trace.agent("billing", 0, 100))
    trace.call(10, 50, inner, (1, 1))
    assert agents(trace) == [("billing", "agent_name")]


def test_an_agent_that_calls_itself_through_a_tool_has_two_runs() -> None:
    trace = Trace()
    tool = trace.tool("ask_self", 10, 90, trace.agent("solver", 0, 100))
    trace.call(20, 50, trace.agent("solver", 15, 80, tool), (1, 1))
    assert [agent for agent, _ in agents(trace)] == ["solver", "solver"]


def test_tasks_and_workflows_posing_as_agents_are_none() -> None:
    trace = Trace(Framework="crewai")
    crew = trace.span("crewai.workflow", "workflow", 0, 100, AgentName="article-crew")
    task = trace.span("research cats.task", "task", 5, 90, crew)
    trace.call(20, 50, trace.agent("researcher", 10, 80, task), (1, 1))
    assert agents(trace) == [("researcher", "agent_name")]


def test_an_agent_span_without_a_name_takes_it_from_the_span_name_or_from_the_agent_around() -> None:
    trace = Trace()
    outer = trace.span("manager.run", "agent", 0, 100)
    trace.call(5, 10, outer, (1, 1))
    turn = trace.span("invoke_agent", "agent", 20, 90, trace.agent("writer", 15, 95, outer))
    trace.call(30, 40, turn, (1, 1))
    assert agents(trace) == [("manager", "span_name"), ("writer", "agent_name")]


def test_one_agent_under_several_spellings_is_one_agent() -> None:
    trace = Trace()
    for begin, name in ((0, "Billing Agent"), (10, "billing_agent"), (20, "Billing Agent")):
        trace.call(begin + 1, begin + 8, trace.agent(name, begin, begin + 9), (1, 1))
    facts = compute(frame(trace))
    assert facts.sessions["agents"].to_list() == [["Billing Agent"]]
    assert facts.handoffs.is_empty()


def node(
    trace: Trace, name: str, space: str, begin: float, end: float, under: str = "", kind: str = "step", **more: str
) -> str:
    hints = {"langgraph_checkpoint_ns": space, **more}
    return trace.span(name, kind, begin, end, under, Framework="langgraph", hints=hints)


def test_langgraph_agents_are_the_namespace_segment_before_the_last() -> None:
    trace = Trace()
    root = trace.span("LangGraph", "workflow", 0, 100, Framework="langgraph")
    outer = node(trace, "triage_node", "triage_node:1", 1, 40, root)
    node(trace, "ChatOpenAI", "triage_node:1", 2, 30, outer, "llm")
    outer = node(trace, "billing", "billing:2", 50, 90, root)
    inner = node(trace, "model", "billing:2|model:3", 51, 80, outer)
    node(trace, "ChatOpenAI", "billing:2|model:3", 52, 70, inner, "llm")
    assert agents(trace) == [("triage", "graph_node"), ("billing", "graph_node")]


def test_a_model_span_of_another_library_inside_a_langgraph_node_is_the_nodes_agents() -> None:
    trace = Trace()
    outer = node(trace, "billing", "billing:2", 50, 90)
    inner = node(trace, "ChatOpenAI", "billing:2", 52, 70, outer, "llm")
    trace.call(53, 69, inner, (1, 1), ScopeName="openai")
    assert agents(trace) == [("billing", "graph_node")]


def test_langgraph_agents_made_by_create_agent_name_themselves_and_keep_their_node_as_another_name() -> None:
    trace = Trace()
    outer = node(trace, "desk", "desk:1", 0, 90)
    inner = node(trace, "billing", "desk:1", 1, 89, outer, lc_agent_name="billing")
    model = node(trace, "model", "desk:1|model:2", 2, 80, inner, lc_agent_name="billing")
    node(trace, "ChatOpenAI", "desk:1|model:2", 3, 70, model, "llm", lc_agent_name="billing")
    runs = compute(frame(trace)).agent_runs
    assert runs.select("agent", "run_id").rows() == [("billing", outer)]


def test_a_cancelled_langgraph_agent_whose_model_span_was_dropped_is_still_a_run() -> None:
    trace = Trace()
    outer = node(trace, "weather", "weather:1", 0, 90)
    node(trace, "weather", "weather:1", 1, 89, outer, lc_agent_name="weather")
    assert agents(trace) == [("weather", "graph_agent")]


def test_autogens_moderator_is_an_agent_when_a_model_chooses_the_speaker_and_none_when_a_rule_does() -> None:
    for cls, expected in (
        ("SelectorGroupChatManager", [("selector", "class_name")]),
        ("RoundRobinGroupChatManager", []),
    ):
        trace = Trace(Framework="autogen")
        handled = trace.span(f"autogen process {cls}", "message", 0, 50, hints={"recipient_agent_class": cls})
        trace.span(
            "autogen create writer",
            "message",
            40,
            41,
            handled,
            hints={"messaging.message.type": "GroupChatRequestPublish"},
        )
        assert agents(trace) == expected


def test_magentic_ones_orchestrator_also_worked_on_the_last_answer_when_nobody_was_asked_any_more() -> None:
    trace = Trace(Dialect="autogen", Framework="autogen")
    for at, moderator, message in (
        (0, "MagenticOneOrchestrator", '{"response":{"chat_message":{"id":"1"}}}'),
        (20, "MagenticOneOrchestrator", '{"message":{"id":"1"}}'),
        (40, "RoundRobinGroupChatManager", '{"response":{"chat_message":{"id":"2"}}}'),
    ):
        trace.span("autogen process", "message", at, at + 9,
                   hints={"recipient_agent_class": moderator, "message": message})  # fmt: skip
    assert agents(trace) == [("orchestrator", "class_name")]


def test_llamaindex_agents_share_steps_and_are_told_apart_by_what_goes_in() -> None:
    trace = Trace(Framework="llama_index")
    flow = trace.span("AgentWorkflow.run", "workflow", 0, 100)
    trace.span("AgentWorkflow.init_run", "step", 1, 5, flow, OutputContent="AgentInput(current_agent_name='triage')")
    trace.call(11, 18, trace.span("AgentWorkflow.run_agent_step", "step", 10, 20, flow), (1, 1))
    trace.span(
        "AgentWorkflow.setup_agent", "step", 30, 35, flow, InputContent='{"ev": "x(current_agent_name=\'billing\')"}'
    )
    trace.call(41, 48, trace.span("AgentWorkflow.run_agent_step", "step", 40, 50, flow), (1, 1))
    assert agents(trace) == [("triage", "step_content"), ("billing", "step_content")]


def test_the_coworker_in_a_delegation_tools_arguments_did_the_work_under_it() -> None:
    trace = Trace(Framework="crewai")
    boss = trace.agent("manager", 0, 100)
    trace.call(1, 5, boss, (100, 1))
    tool = trace.span("Delegate work to coworker.run", "handoff", 10, 90, boss, ToolName="Delegate work to coworker",
                      ToolArguments='{"task": "x", "coworker": "researcher"}')  # fmt: skip
    trace.call(20, 60, tool, (200, 2))
    facts = compute(frame(trace))
    spent = facts.agent_runs.sort("started_at").select("agent", "input_tokens").rows()
    assert spent == [("manager", 100), ("researcher", 200)]
    assert facts.tool_calls.select("agent", "tool").rows() == [("manager", "delegate_work_to_coworker")]
    assert facts.handoffs.select("source", "target", "mode").rows() == [("manager", "researcher", "return_to_caller")]


def test_plain_model_calls_are_named_by_the_prompt_they_were_given() -> None:
    one, two, three = Trace("a"), Trace("b"), Trace("c")
    one.call(0, 5, "", (1, 1), SystemContent="You are the planner agent.")
    two.call(10, 15, "", (1, 1), SystemContent="You're a helpful agent named 'researcher'.")
    three.call(20, 25, "", (1, 1), SystemContent="You are a helpful assistant.")
    facts = compute(frame(one, two, three))
    named = facts.llm_calls.sort("at").select("agent").to_series().to_list()
    assert named == ["planner", "researcher", "(unattributed)"]


def test_calls_in_turns_under_one_plain_span_are_runs_in_turns() -> None:
    trace = Trace(Dialect="")
    root = trace.span("GET /help", "other", 0, 100, SpanKind="Server")
    for begin, who in ((1, "writer"), (11, "writer"), (21, "critic"), (31, "writer")):
        trace.call(begin, begin + 5, root, (1, 1), SystemContent=f"You are the {who} agent.", Dialect="otel_genai")
    runs = compute(frame(trace)).agent_runs.sort("started_at")
    assert runs.select("agent", "llm_calls").rows() == [("writer", 2), ("critic", 1), ("writer", 1)]


def test_children_of_a_span_that_never_arrived_are_a_run_inside_the_one_around_in_time() -> None:
    trace = Trace()
    boss = trace.agent("manager", 0, 100)
    trace.call(1, 5, boss, (1, 1))
    for begin in (10, 30):
        step = trace.span("Step", "step", begin, begin + 10, "lost")
        trace.call(begin + 1, begin + 9, step, (1, 1), InputContent="You're a helpful agent named 'researcher'.")
    trace.call(60, 70, boss, (1, 1))
    facts = compute(frame(trace))
    runs = facts.agent_runs.sort("started_at").select("agent", "parent_run_id", "llm_calls").rows()
    assert runs == [("manager", "", 2), ("researcher", boss, 2)]
    assert facts.agent_errors.select("agent", "error_type", "recovered").rows() == [("researcher", "span_lost", True)]


def test_a_lost_run_is_not_put_inside_a_run_that_it_holds_itself() -> None:
    trace = Trace()
    trace.span("root", "workflow", 0, 5)
    outer = trace.agent("outer", 10, 50, "lost")
    trace.call(20, 30, trace.agent("inner", 10, 50, outer), (1, 1))
    trace.rows[1], trace.rows[2] = trace.rows[2] | {"SpanId": "t-1"}, trace.rows[1] | {"SpanId": "t-2"}
    trace.rows[1]["ParentSpanId"], trace.rows[3]["ParentSpanId"] = "t-2", "t-1"
    parents = dict(compute(frame(trace)).agent_runs.select("agent", "parent_run_id").iter_rows())
    assert parents == {"outer": "", "inner": "t-2"}


def test_a_stand_in_for_a_remote_agent_is_not_an_agent_but_its_name_leads_there() -> None:
    trace = Trace()
    desk = trace.agent("frontdesk", 0, 20)
    trace.span("execute_tool transfer_to_agent", "handoff", 10, 11, desk, ToolName="transfer_to_agent",
               ToolArguments='{"agent_name": "billing_remote"}')  # fmt: skip
    proxy = trace.agent("billing_remote", 30, 90)
    served = trace.span("POST /", "other", 35, 80, proxy, SpanKind="Server", ServiceName="billing", Dialect="")
    trace.call(45, 60, trace.agent("billing", 40, 70, served, ServiceName="billing"), (1, 1))
    facts = compute(frame(trace))
    assert facts.agent_runs["agent"].to_list() == ["frontdesk", "billing"]
    assert facts.handoffs.select("source", "target", "evidence").rows() == [("frontdesk", "billing", "tool_name")]


def test_a_runs_own_time_leaves_out_the_runs_inside_of_it() -> None:
    trace = Trace()
    boss = trace.agent("boss", 0, 100)
    trace.agent("one", 10, 50, trace.tool("ask_one", 10, 50, boss))
    trace.agent("two", 30, 60, trace.tool("ask_two", 30, 60, boss))
    runs = compute(frame(trace)).agent_runs.filter(pl.col("agent") == "boss")
    assert runs.select("duration_ns", "self_ns").rows() == [(100_000_000, 50_000_000)]


def test_tools_are_counted_once_and_transfers_named_after_their_target_are_no_tools() -> None:
    trace = Trace()
    agent = trace.agent("billing", 0, 100)
    trace.tool("lookup", 11, 19, trace.tool("lookup", 10, 20, agent), Dialect="mcp")
    trace.span("execute_tool transfer_to_refunds", "handoff", 30, 31, agent, ToolName="transfer_to_refunds")
    assert compute(frame(trace)).tool_calls.select("agent", "tool").rows() == [("billing", "lookup")]


def test_a_node_told_by_the_graph_and_again_by_its_agent_in_another_trace_is_one_run() -> None:
    graph = Trace("g", Dialect="traceloop", Framework="langgraph", SessionId="s")
    space = {"langgraph_checkpoint_ns": "researcher:1f", "langgraph_step": "2"}
    task = graph.span("researcher.task", "task", 0, 90, hints=space)
    graph.call(10, 20, task, hints=space)
    apart = Trace("a", Dialect="agntcy", Framework="langgraph", SessionId="s")
    decorated = apart.agent("researcher", 1, 89, hints=space)
    apart.tool("search", 30, 40, decorated)
    silent = Trace("b", Dialect="agntcy", Framework="langgraph", SessionId="s")
    silent.agent("writer", 100, 110, hints={"langgraph_checkpoint_ns": "writer:2f"})
    assert agents(graph, apart, silent) == [("researcher", "graph_node"), ("writer", "agent_name")]
    assert compute(frame(graph, apart, silent)).tool_calls["agent"].to_list() == ["researcher"]


def test_a_call_beside_the_span_of_its_agent_is_the_agents_and_one_at_another_time_is_nobodys() -> None:
    trace = Trace(Dialect="openlit", Framework="langgraph")
    flow = trace.span("invoke_workflow LangGraph", "workflow", 0, 99)
    trace.call(11, 19, trace.span("invoke_agent call_agent", "agent", 10, 20, flow), (5, 1))
    trace.agent("researcher", 10, 20, flow)
    trace.call(31, 39, trace.span("invoke_agent call_agent", "agent", 30, 40, flow), (7, 1))
    facts = compute(frame(trace))
    assert facts.llm_calls.select("agent", "input_tokens").rows() == [("researcher", 5), ("(unattributed)", 7)]
    assert facts.agent_runs["agent"].to_list() == ["researcher"]


def test_a_workflow_with_a_node_called_model_is_the_agent_of_its_name_and_no_other_is() -> None:
    trace = Trace(Dialect="openlit", Framework="langgraph")
    top = trace.span("invoke_workflow desk", "workflow", 0, 99, WorkflowName="desk")
    for number, name in enumerate(("triage", "billing")):
        begin = 10 + 40 * number
        graph = trace.span(f"invoke_workflow {name}", "workflow", begin, begin + 30, top, WorkflowName=name)
        trace.span("invoke_agent model", "agent", begin + 1, begin + 20, graph)
        trace.call(begin + 2, begin + 19, top, (100 + number, 10))
    found = compute(frame(trace))
    assert found.llm_calls.select("agent", "input_tokens").rows() == [("triage", 100), ("billing", 101)]
    assert edges(found.handoffs, "evidence") == [("triage", "billing", "sequence")]
