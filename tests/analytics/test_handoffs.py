"""Handoff edges: one a transfer, with the strongest evidence there is, and none that the spans do not carry."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from maslens.analytics import names
from maslens.analytics.facts import Facts, compute
from maslens.analytics.handoffs import CONFIDENCE

from tests.analytics.made_spans import Trace, edges, frame


def found(*traces: Trace) -> list[tuple[Any, ...]]:
    return edges(compute(frame(*traces)).handoffs, "mode", "evidence")


def in_turn(*agents: str, **common: Any) -> tuple[Trace, list[str]]:
    """A workflow span and agents under it, one after the other, 100 ms each with 10 ms between."""
    trace = Trace(**common)
    root = trace.span("workflow", "workflow", 0, 110 * len(agents))
    return trace, [trace.agent(agent, 110 * place + 1, 110 * place + 100, root) for place, agent in enumerate(agents)]


PASSED, CALLED = "pass_control", "return_to_caller"


def test_confidence_falls_with_the_evidence() -> None:
    assert list(CONFIDENCE.values()) == sorted(CONFIDENCE.values(), reverse=True)


# -- explicit -------------------------------------------------------------------------------------------------------


def test_a_span_that_says_source_and_target_is_the_edge_and_order_does_not_repeat_it() -> None:
    trace, (triage, _) = in_turn("triage", "billing")
    shown = trace.span("handoff", "handoff", 90, 91, triage, TransferSource="triage", TransferTarget="billing")
    facts = compute(frame(trace))
    assert edges(facts.handoffs, "mode", "evidence", "span_id") == [("triage", "billing", PASSED, "explicit", shown)]
    assert facts.handoffs["confidence"].to_list() == [1.0]


def test_a_handoff_span_posing_as_an_agent_or_a_tool_is_no_run_and_no_tool() -> None:
    trace, (triage, _) = in_turn("triage", "billing")
    trace.span("handoff to billing", "handoff", 90, 91, triage, TransferSource="triage", TransferTarget="billing")
    facts = compute(frame(trace))
    assert (len(facts.agent_runs), len(facts.tool_calls), len(facts.handoffs)) == (2, 0, 1)


def test_a_target_known_only_after_the_fact_is_read_from_the_answer() -> None:
    trace, (triage, _, _) = in_turn("triage", "refunds", "billing")
    trace.call(10, 80, triage, (1, 1), OutputContent='[{"type": "tool_call", "name": "transfer_to_billing"}]')
    trace.span("triage → unknown.handoff", "handoff", 90, 91, triage, TransferSource="triage")
    assert ("triage", "billing", PASSED, "explicit") in found(trace)
    assert ("triage", "refunds", PASSED, "explicit") not in found(trace)


def test_a_target_that_nobody_tells_is_who_comes_next_with_less_confidence() -> None:
    trace, (triage, _) = in_turn("triage", "billing")
    trace.span("triage → unknown.handoff", "handoff", 90, 91, triage, TransferSource="triage")
    handoff = compute(frame(trace)).handoffs
    assert edges(handoff, "evidence") == [("triage", "billing", "explicit")]
    assert handoff["confidence"].to_list() == [pytest.approx(0.9)]


def test_both_sides_of_a_handoff_in_two_traces_are_joined_by_its_id() -> None:
    here, there = Trace("a", SessionId="s"), Trace("b", SessionId="s")
    desk = here.agent("desk", 0, 100)
    here.span("transfer_to_billing", "handoff", 50, 51, desk, ToolName="transfer_to_billing", TransferMode=PASSED,
              HandoffId="h1",
              TransferTarget="billing", ContextHash="sha256:1", ContextSize=120)  # fmt: skip
    there.agent("billing", 5_000, 6_000, HandoffId="h1", ContextHash="sha256:2")
    facts = compute(frame(here, there))
    columns = ("handoff_id", "context_hash_sent", "context_hash_received", "context_size", "outcome")
    assert edges(facts.handoffs, *columns) == [("desk", "billing", "h1", "sha256:1", "sha256:2", 120, "completed")]


def test_a_link_of_type_join_leads_from_every_branch() -> None:
    trace = Trace()
    root = trace.span("workflow", "workflow", 0, 500)
    branches = [trace.agent(agent, 1, 100, root) for agent in ("weather", "flights")]
    trace.agent("aggregator", 200, 300, root, LinkTraceIds=["t", "t"], LinkSpanIds=branches, LinkTypes=["join", "join"])
    joined = [("flights", "aggregator", PASSED, "explicit"), ("weather", "aggregator", PASSED, "explicit")]
    assert found(trace) == joined


def test_an_agent_span_that_names_its_caller_was_called_by_it() -> None:
    trace = Trace()
    trace.agent("desk", 0, 100)
    trace.agent("billing", 20, 80, TransferSource="desk")
    assert found(trace) == [("desk", "billing", CALLED, "explicit")]


# -- tools ----------------------------------------------------------------------------------------------------------


def test_one_transfer_told_by_tool_answer_and_goto_is_one_edge_with_the_strongest_evidence() -> None:
    trace, (triage, _) = in_turn("triage", "billing")
    trace.call(10, 80, triage, (1, 1), OutputContent="transfer_to_billing")
    tool = trace.span("transfer_to_billing", "handoff", 85, 90, triage, ToolName="transfer_to_billing")
    trace.span("goto billing", "handoff", 86, 86, tool, TransferSource="triage", TransferTarget="billing")
    assert found(trace) == [("triage", "billing", PASSED, "explicit")]


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("transfer_to_billing", "{}"),
        ("handoff_to_billing", "{}"),
        ("transfer_to_agent", '{"agent_name": "billing"}'),
        ("handoff_to_agent", '{"message": "x", "agent_name": "billing"}'),
    ],
)
def test_transfer_tools_name_their_target_in_name_or_argument(tool: str, arguments: str) -> None:
    trace, (triage, _) = in_turn("triage", "billing")
    trace.span(f"execute_tool {tool}", "handoff", 90, 91, triage, ToolName=tool, ToolArguments=arguments)
    assert found(trace) == [("triage", "billing", PASSED, "tool_name")]


def test_a_transfer_finds_its_target_under_another_spelling() -> None:
    trace, (triage, _) = in_turn("triage", "Billing Agent")
    trace.span("transfer", "handoff", 90, 91, triage, ToolName="transfer_to_billing_agent")
    assert found(trace) == [("triage", "Billing Agent", PASSED, "tool_name")]


def test_a_transfer_to_a_team_is_to_the_agent_that_the_team_begins_with() -> None:
    trace = Trace(Framework="langgraph")
    boss = _node(trace, "boss", "boss:1", 0, 50, step=1)
    _model(trace, "boss:1|agent:2", 5, 30, boss)
    trace.span(
        "transfer_to_team",
        "handoff",
        40,
        41,
        boss,
        ToolName="transfer_to_team",
        hints={"langgraph_checkpoint_ns": "boss:1|tools:3"},
    )
    team = _node(trace, "team", "team:4", 60, 200, step=2)
    lead = _node(trace, "lead", "team:4|lead:5", 70, 150, team, step=1)
    _model(trace, "team:4|lead:5|agent:6", 75, 140, lead)
    assert found(trace) == [("boss", "lead", PASSED, "tool_name")]


def test_an_answer_that_asks_for_an_agent_that_does_not_exist_is_no_handoff_and_a_failure() -> None:
    trace, (triage, billing) = in_turn("triage", "billing", Framework="openai_agents")
    trace.span("handoff", "handoff", 95, 96, triage, TransferSource="triage", TransferTarget="billing")
    trace.call(120, 150, billing, (1, 1), OutputContent='[{"type": "tool_call", "name": "transfer_to_legal"}]')
    facts = compute(frame(trace))
    assert edges(facts.handoffs) == [("triage", "billing")]
    assert facts.agent_errors.select("agent", "error_type").rows() == [("billing", "tool_not_found")]
    assert facts.sessions["outcome"].to_list() == ["failure"]


def test_two_delegations_to_one_agent_are_two_edges() -> None:
    trace = Trace()
    boss = trace.agent("boss", 0, 300)
    for begin in (10, 110):
        tool = trace.span(
            "delegate",
            "handoff",
            begin,
            begin + 80,
            boss,
            ToolName="delegate_task_to_member",
            ToolArguments='{"member_id": "scout"}',
        )
        trace.agent("scout", begin + 10, begin + 70, tool)
    assert found(trace) == [("boss", "scout", CALLED, "tool_name")] * 2


def test_a_delegate_beside_its_tool_call_is_found_by_name_and_time() -> None:
    trace = Trace(Framework="agno")
    leader = trace.agent("leader", 0, 300)
    trace.span(
        "delegate",
        "handoff",
        10,
        90,
        leader,
        ToolName="delegate_task_to_member",
        ToolArguments='{"member_id": "scout"}',
    )
    trace.agent("scout", 12, 88, leader)
    assert found(trace) == [("leader", "scout", CALLED, "tool_name")]


def people(*traces: Trace) -> list[tuple[Any, ...]]:
    return edges(compute(frame(*traces)).handoffs, "mode", "connection_type", "target_run_id")


def test_people_are_virtual_nodes_in_the_list_of_handoffs() -> None:
    trace, (triage,) = in_turn("triage")
    trace.span("transfer_to_user", "handoff", 90, 91, triage, ToolName="transfer_to_user")
    trace.span("transfer_to_lee", "handoff", 95, 96, triage, TransferTarget="lee", TransferMode=PASSED,
               hints={"mas.handoff.target.type": "human"})  # fmt: skip
    assert people(trace) == [
        ("triage", "user", PASSED, "virtual_node", ""),
        ("triage", "lee", PASSED, "virtual_node", ""),
    ]


def test_a_transfer_to_a_person_that_failed_or_was_only_answered_is_none() -> None:
    trace, (triage,) = in_turn("triage")
    trace.span("transfer_to_user", "handoff", 90, 91, triage, ToolName="transfer_to_user", StatusCode="Error")
    trace.call(92, 93, triage, OutputContent='[{"type": "tool_call", "name": "transfer_to_human"}]')
    assert people(trace) == []


def test_an_agent_called_as_people_are_is_an_agent_where_it_ran() -> None:
    trace, (triage, _) = in_turn("triage", "user_proxy")
    trace.span("transfer", "handoff", 90, 91, triage, ToolName="transfer_to_user_proxy")
    assert [row[:4] for row in people(trace)] == [("triage", "user_proxy", PASSED, "")]


def test_a_person_told_by_tool_and_message_was_asked_once_and_twice_if_told_so_twice() -> None:
    trace = Trace(Dialect="autogen", Framework="autogen")
    triage = trace.agent("triage", 0, 100)
    for at, number in ((10, "m1"), (50, "m2")):
        trace.tool("transfer_to_user", at, at + 1, triage, Kind="handoff")
        message = {"type": "HandoffMessage", "id": number, "source": "triage", "target": "user"}
        trace.span("autogen process", "message", at + 5, at + 6, hints={"message": json.dumps(message)})
    assert people(trace) == [("triage", "user", PASSED, "virtual_node", "")] * 2


def test_what_a_person_hands_over_is_an_edge_from_a_virtual_node() -> None:
    trace = Trace(Dialect="autogen", Framework="autogen")
    message = {"type": "HandoffMessage", "id": "m", "source": "user", "target": "billing"}
    trace.span("autogen process", "message", 0, 1, hints={"message": json.dumps(message)})
    trace.agent("billing", 10, 20)
    assert [row[:4] for row in people(trace)] == [("user", "billing", PASSED, "virtual_node")]


def test_a_transfer_to_an_agent_that_never_ran_is_told_once_and_without_an_outcome() -> None:
    trace, (triage,) = in_turn("triage")
    for begin in (80, 90):
        trace.span("transfer", "handoff", begin, begin + 1, triage, ToolName="transfer_to_billing")
    assert edges(compute(frame(trace)).handoffs, "outcome", "target_run_id") == [("triage", "billing", "", "")]


def test_a_loop_has_an_edge_for_every_round_also_the_last_that_led_to_nothing() -> None:
    trace, runs = in_turn("triage", "billing", "triage", "billing")
    for place, (run, target) in enumerate(zip(runs, ("billing", "triage", "billing", "triage"), strict=True)):
        at = 110 * place + 95
        trace.span(
            "handoff",
            "handoff",
            at,
            at + 1,
            run,
            TransferSource=("triage", "billing")[place % 2],
            TransferTarget=target,
        )
    there, back = ("triage", "billing", PASSED, "explicit"), ("billing", "triage", PASSED, "explicit")
    assert found(trace) == [there, back, there, back]


# -- messages -------------------------------------------------------------------------------------------------------


def test_a_handoff_message_names_both_sides_and_counts_once() -> None:
    team = "11111111-2222-3333-4444-555555555555"
    traces = []
    for place, agent in enumerate(("triage", "billing")):
        made = Trace(f"t{place}", Framework="autogen")
        made.agent(agent, 100 * place, 100 * place + 50, AgentId=f"{agent}_{team}/k")
        traces.append(made)
    text = '{"m": [{"id": "1", "type": "HandoffMessage", "source": "triage", "target": "billing"}]}'
    for place in (2, 3):
        made = Trace(f"t{place}", Framework="autogen")
        made.span(
            "autogen process x", "message", 60, 61, hints={"message": text, "messaging.destination": f"x_{team}.(k)-A"}
        )
        traces.append(made)
    assert found(*traces) == [("triage", "billing", PASSED, "message")]


def test_messages_through_executors_that_are_no_agents_lead_from_agent_to_agent() -> None:
    trace = Trace(Framework="ms_agent_framework")
    root = trace.span("workflow.run", "workflow", 0, 300)
    boxes = {}
    for name, begin in (("writer", 1), ("counter", 110), ("editor", 200)):
        links = [boxes[before] for before in list(boxes)[-1:]]
        box = trace.span(f"executor.process {name}", "step", begin, begin + 90, root, hints={"executor.id": name},
                         LinkSpanIds=links, LinkTraceIds=["t"] * len(links), LinkTypes=[""] * len(links))  # fmt: skip
        if name != "counter":
            trace.agent(name, begin + 1, begin + 80, box)
        boxes[name] = trace.span("message.send", "message", begin + 85, begin + 86, box)
    assert found(trace) == [("writer", "editor", PASSED, "message")]


# -- the graph ------------------------------------------------------------------------------------------------------


def _node(
    trace: Trace, name: str, space: str, begin: float, end: float, under: str = "", step: int = 0, triggers: str = ""
) -> str:
    hints = {"langgraph_checkpoint_ns": space, "langgraph_step": str(step), "langgraph_triggers": triggers}
    return trace.span(name, "step", begin, end, under, hints=hints)


def _model(trace: Trace, space: str, begin: float, end: float, under: str) -> str:
    return trace.call(begin, end, under, (1, 1), hints={"langgraph_checkpoint_ns": space})


def graph(*nodes: tuple[str, int, float, float, str]) -> Trace:
    """A LangGraph run: nodes with a model call each, as (name, step, begin, end, triggers)."""
    trace = Trace(Framework="langgraph")
    root = trace.span("LangGraph", "workflow", 0, 1_000)
    for place, (name, step, begin, end, triggers) in enumerate(nodes):
        node = _node(trace, name, f"{name}:{place}", begin, end, root, step, triggers)
        _model(trace, f"{name}:{place}", begin + 1, end - 1, node)
    return trace


def test_a_fan_out_and_its_join_are_read_from_steps_and_triggers() -> None:
    waiting = '["branch:to:aggregator", "join:weather+flights:aggregator"]'
    trace = graph(("planner", 1, 0, 50, ""), ("weather", 2, 60, 100, ""), ("flights", 2, 61, 200, ""),
                  ("aggregator", 3, 210, 250, waiting))  # fmt: skip
    assert found(trace) == [
        ("planner", "flights", PASSED, "graph_hint"),
        ("planner", "weather", PASSED, "graph_hint"),
        ("weather", "aggregator", PASSED, "graph_hint"),
        ("flights", "aggregator", PASSED, "graph_hint"),
    ]


def test_branches_of_one_agent_that_are_joined_are_as_many_edges() -> None:
    trace = graph(("worker", 1, 0, 50, ""), ("worker", 1, 1, 50, ""), ("aggregator", 2, 60, 90, ""))
    handoffs = compute(frame(trace)).handoffs
    assert edges(handoffs) == [("worker", "aggregator")] * 2
    assert handoffs["at"].n_unique() == 2


def test_nodes_of_one_step_are_not_ordered_although_one_ended_before_the_other_began() -> None:
    trace = graph(("weather", 1, 0, 50, ""), ("flights", 1, 60, 100, ""))
    assert found(trace) == []


def test_a_join_names_only_who_was_waited_for() -> None:
    trace = graph(("weather", 1, 0, 50, ""), ("flights", 1, 1, 60, ""), ("chat", 1, 2, 70, ""),
                  ("aggregator", 2, 100, 150, '["join:weather+flights:aggregator"]'))  # fmt: skip
    assert [edge[:2] for edge in found(trace)] == [("weather", "aggregator"), ("flights", "aggregator")]


def test_the_hand_back_to_a_supervisor_is_the_next_step() -> None:
    trace = graph(("supervisor", 1, 0, 50, ""), ("writer", 2, 60, 100, ""), ("supervisor", 3, 110, 150, ""))
    assert [edge[:2] for edge in found(trace)] == [("supervisor", "writer"), ("writer", "supervisor")]


def test_a_node_that_names_its_parent_is_an_edge_or_a_call_if_the_parent_still_runs() -> None:
    trace = Trace()
    root = trace.span("workflow", "workflow", 0, 500)
    trace.agent("leader", 0, 400, root, NodeId="a1")
    trace.agent("member", 10, 100, root, NodeId="b2", NodeParentId="a1")
    trace.agent("closer", 410, 450, root, NodeId="c3", NodeParentId="a1")
    assert found(trace) == [("leader", "member", CALLED, "graph_hint"), ("leader", "closer", PASSED, "graph_hint")]


def test_a_parent_node_called_start_is_the_user_and_no_edge() -> None:
    trace = Trace()
    trace.agent("triage", 0, 50, NodeId="triage", NodeParentId="start")
    assert found(trace) == []


# -- structure ------------------------------------------------------------------------------------------------------


def test_an_agent_inside_a_tool_of_another_was_called_by_it() -> None:
    trace = Trace()
    tool = trace.tool("ask_weather", 10, 90, trace.agent("planner", 0, 100))
    trace.agent("weather", 11, 89, tool)
    assert found(trace) == [("planner", "weather", CALLED, "structure")]


def test_agents_as_tools_shown_beside_their_caller_are_told_by_tool_name_and_time_even_when_they_overlap() -> None:
    trace = Trace()
    root = trace.span("workflow", "workflow", 0, 300)
    planner = trace.agent("planner", 0, 200, root)
    for place, who in enumerate(("worker1", "worker2")):
        trace.tool(f"ask_{who}", 10 + place, 150 + place, planner)
        trace.agent(who, 12 + place, 140 + place, root)
    trace.agent("writer", 210, 250, root)
    assert found(trace) == [
        ("planner", "worker1", CALLED, "structure"),
        ("planner", "worker2", CALLED, "structure"),
        ("planner", "writer", PASSED, "sequence"),
    ]


def test_an_agent_within_a_guardrail_is_called_by_nobody() -> None:
    trace = Trace()
    check = trace.span("abuse_check", "guardrail", 5, 90, trace.agent("triage", 0, 100))
    trace.agent("guard", 6, 80, check)
    assert found(trace) == []


def test_a_workflow_inside_a_tool_is_called_at_its_entry_and_goes_on_by_itself() -> None:
    trace = Trace()
    tool = trace.tool("ask_specialist", 10, 290, trace.agent("frontdesk", 0, 300))
    root = trace.span("workflow", "workflow", 11, 289, tool)
    trace.agent("specialist", 20, 100, root)
    trace.agent("refunds", 110, 200, root)
    assert found(trace) == [
        ("frontdesk", "specialist", CALLED, "structure"),
        ("specialist", "refunds", PASSED, "sequence"),
    ]


def test_agents_that_only_order_others_hand_nothing_over_and_stand_for_what_is_inside() -> None:
    trace = Trace(Framework="google_adk")
    pipeline = trace.agent("pipeline", 0, 300)
    fanout = trace.agent("fanout", 1, 150, pipeline)
    for place, who in enumerate(("weather", "flights")):
        trace.call(11 + place, 90, trace.agent(who, 10 + place, 100, fanout), (1, 1))
    trace.call(210, 250, trace.agent("aggregator", 200, 290, pipeline), (1, 1))
    assert found(trace) == [
        ("flights", "aggregator", PASSED, "sequence"),
        ("weather", "aggregator", PASSED, "sequence"),
    ]


# -- sequence -------------------------------------------------------------------------------------------------------


def test_agents_one_after_the_other_under_one_span_are_in_sequence() -> None:
    trace, _ = in_turn("researcher", "writer", "writer", "editor")
    assert found(trace) == [("researcher", "writer", PASSED, "sequence"), ("writer", "editor", PASSED, "sequence")]


def test_overlapping_agents_are_never_put_in_an_order() -> None:
    trace = Trace()
    root = trace.span("workflow", "workflow", 0, 300)
    for agent, begin, end in (("a", 0, 100), ("b", 50, 150), ("c", 120, 200)):
        trace.agent(agent, begin, end, root)
    assert found(trace) == []


def test_several_before_several_are_not_paired() -> None:
    trace = Trace()
    root = trace.span("workflow", "workflow", 0, 300)
    for agent, begin, end in (("a", 0, 100), ("b", 1, 90), ("c", 120, 200), ("d", 121, 190)):
        trace.agent(agent, begin, end, root)
    assert found(trace) == []


def test_turns_of_one_session_in_two_traces_are_not_in_sequence() -> None:
    one, two = Trace("a", SessionId="s"), Trace("b", SessionId="s")
    one.agent("triage", 0, 100)
    two.agent("billing", 200, 300)
    assert found(one, two) == []


def test_one_teams_messages_over_many_traces_are_one_sequence_of_speakers() -> None:
    team = "11111111-2222-3333-4444-555555555555"
    traces = []
    for place, agent in enumerate(("writer", "critic", "writer")):
        made = Trace(f"t{place}", Framework="autogen")
        box = made.span(
            "autogen process",
            "message",
            100 * place,
            100 * place + 90,
            hints={"messaging.destination": f"{agent}_{team}.(k)-A"},
        )
        made.agent(agent, 100 * place + 1, 100 * place + 80, box)
        traces.append(made)
    assert [edge[:2] for edge in found(*traces)] == [("writer", "critic"), ("critic", "writer")]


# -- how far it can be trusted --------------------------------------------------------------------------------------


def _origins(facts: Facts) -> float:
    return float(facts.sessions["known_origin_ratio"][0])


def test_the_share_of_runs_with_a_known_origin_counts_entries_and_edges_and_not_the_rest() -> None:
    trace = Trace()
    root = trace.span("workflow", "workflow", 0, 300)
    for agent, begin, end in (("a", 0, 100), ("b", 1, 90), ("c", 120, 200), ("d", 121, 190)):
        trace.agent(agent, begin, end, root)
    assert _origins(compute(frame(trace))) == 0.5


def test_the_outcome_of_a_handoff_is_how_its_target_ended() -> None:
    trace, (triage, _) = in_turn("triage", "billing")
    trace.rows[-1] |= {"StatusCode": "Error", "ErrorType": "BadRequestError"}
    trace.span("handoff", "handoff", 90, 91, triage, TransferTarget="billing")
    assert compute(frame(trace)).handoffs["outcome"].to_list() == ["failed"]


def test_an_outcome_that_became_known_late_replaces_it() -> None:
    trace, (triage, _) = in_turn("triage", "billing")
    trace.span("handoff", "handoff", 90, 91, triage, TransferTarget="billing", HandoffId="h1")
    events = pl.DataFrame({"Timestamp": [1], "HandoffId": ["h1"], "HandoffOutcome": ["rejected"]})
    assert compute(frame(trace), events).handoffs["outcome"].to_list() == ["rejected"]


def test_crewais_parent_node_bears_out_an_order_and_makes_none() -> None:
    trace = Trace(Framework="crewai")
    crew = trace.span("crew.kickoff", "workflow", 0, 500)
    for agent, before, begin, end in (
        ("weather", "", 0, 100),
        ("flights", "weather", 1, 90),
        ("writer", "flights", 120, 200),
    ):
        trace.agent(agent, begin, end, crew, NodeId=agent, NodeParentId=before)
    joined = [("flights", "writer", PASSED, "graph_hint"), ("weather", "writer", PASSED, "sequence")]
    assert found(trace) == joined


def test_a_tool_that_calls_all_members_is_a_call_of_each() -> None:
    trace = Trace(Framework="agno")
    leader = trace.agent("leader", 0, 300)
    trace.span("delegate", "handoff", 10, 200, leader, ToolName="delegate_task_to_members")
    for member in ("one", "two"):
        trace.agent(member, 20, 150, leader)
    assert found(trace) == [("leader", "one", CALLED, "structure"), ("leader", "two", CALLED, "structure")]


def test_a_goto_to_the_end_of_a_graph_leads_to_nobody() -> None:
    trace, (triage, _) = in_turn("triage", "billing", Framework="langgraph")
    trace.span("goto __end__", "handoff", 90, 90, triage, TransferSource="triage")
    assert [edge[3] for edge in found(trace)] == ["sequence"]


def test_a_transfer_goes_to_the_agent_of_that_name_and_not_to_who_is_inside_a_graph_of_that_name() -> None:
    trace = Trace()
    root = trace.span("supervisor", "workflow", 0, 500)
    worker = trace.agent("worker", 0, 100, root)
    trace.span("transfer", "handoff", 90, 91, worker, ToolName="transfer_back_to_supervisor")
    trace.agent("helper", 110, 150, root)
    trace.agent("supervisor", 200, 300, root)
    assert ("worker", "supervisor", PASSED, "tool_name") in found(trace)


def test_a_hint_at_one_of_several_branches_does_not_hide_the_others() -> None:
    trace = Trace(Framework="autogen")
    root = trace.span("GraphFlow.run", "workflow", 0, 500)
    for agent, before, begin, end in (("weather", "", 0, 100), ("flights", "", 1, 90), ("writer", "flights", 120, 200)):
        trace.agent(agent, begin, end, root, NodeId=agent, NodeParentId=before)
    joined = [("flights", "writer", PASSED, "graph_hint"), ("weather", "writer", PASSED, "sequence")]
    assert found(trace) == joined


def agntcy(name: str, begin: float, end: float, **hints: str) -> Trace:
    """Every agent starts a trace of its own."""
    trace = Trace(f"t-{name}-{begin}", Dialect="agntcy", SessionId="app_1")
    trace.agent(
        name, begin, end, hints={f"ioa_observe.{key.replace('__', '.')}": value for key, value in hints.items()}
    )
    return trace


def test_an_agent_that_names_the_one_before_it_is_led_to_by_it_and_by_nobody_if_that_never_ran() -> None:
    traces = [agntcy("triage", 0, 9), agntcy("billing", 10, 19, agent__previous="triage"),
              agntcy("mail", 20, 29, agent__previous="ghost")]  # fmt: skip
    assert found(*traces) == [("triage", "billing", PASSED, "graph_hint")]


def test_branches_name_who_forked_them_and_a_join_the_fork_it_waits_for() -> None:
    branch = {"fork__id": "f1", "fork__parent_name": "planner"}
    traces = [agntcy("planner", 0, 9), agntcy("weather", 10, 30, **branch), agntcy("hotels", 11, 20, **branch),
              agntcy("writer", 40, 50, join__fork_id="f1", agent__previous="hotels"),
              agntcy("other", 40, 50, join__fork_id="f2")]  # fmt: skip
    assert sorted(found(*traces)) == [
        ("hotels", "writer", PASSED, "graph_hint"),
        ("planner", "hotels", PASSED, "graph_hint"),
        ("planner", "weather", PASSED, "graph_hint"),
        ("weather", "writer", PASSED, "graph_hint"),
    ]


def test_an_event_that_says_to_whom_is_an_explicit_edge() -> None:
    trace = Trace()
    root = trace.span("run", "workflow", 0, 99)
    trace.agent("coordinator", 1, 10, root, hints={"delegated_to": "Researcher"})
    trace.agent("researcher", 20, 30, root)
    trace.agent("writer", 40, 50, root)
    assert found(trace) == [
        ("coordinator", "researcher", PASSED, "explicit"),
        ("researcher", "writer", PASSED, "sequence"),
    ]


def test_agents_between_whom_somebody_unknown_called_a_model_are_not_in_sequence() -> None:
    for at, expected in ((25, []), (35, [("a", "b", PASSED, "sequence")])):
        trace = Trace()
        flow = trace.span("flow", "workflow", 0, 99)
        trace.agent("a", 10, 20, flow)
        trace.call(at, at + 1, flow, SpanKind="Client")
        trace.agent("b", 30, 40, flow)
        trace.rows[0]["Framework"] = "langgraph"  # a span whose name is nobody's
        assert found(trace) == expected


def test_who_is_waited_for_further_on_led_nowhere_before() -> None:
    trace = graph(
        ("planner", 1, 0, 9, ""),
        ("fast", 2, 10, 19, "branch:to:fast"),
        ("slow_a", 2, 11, 20, "branch:to:slow_a"),
        ("slow_b", 3, 30, 39, "branch:to:slow_b"),
        ("writer", 4, 50, 59, "join:fast+slow_b:writer"),
    )
    assert sorted(edge[:2] for edge in found(trace)) == [
        ("fast", "writer"),
        ("planner", "fast"),
        ("planner", "slow_a"),
        ("slow_a", "slow_b"),
        ("slow_b", "writer"),
    ]


@pytest.mark.parametrize("name", ["Überweisung", "Dr. No", "planner (v2)"])
def test_a_transfer_finds_its_target_by_the_function_made_of_its_name(name: str) -> None:
    trace, (triage, _) = in_turn("triage", name)
    trace.span("transfer", "handoff", 90, 91, triage, ToolName=f"transfer_to_{names.function(name)}")
    assert [edge[:2] for edge in found(trace)] == [("triage", name)]


def test_a_function_that_could_be_several_agents_leads_to_who_came_next() -> None:
    trace, (triage, *_) = in_turn("triage", "研究者", "翻訳者")
    trace.span("transfer", "handoff", 90, 91, triage, ToolName="transfer_to____")
    facts = compute(frame(trace)).handoffs.filter(pl.col("source") == "triage")
    assert edges(facts, "evidence", "confidence") == [("triage", "研究者", "tool_name", pytest.approx(0.95 * 0.9))]


@pytest.mark.parametrize("name", ["研究者", "O'Neil", 'the "boss"'])
@pytest.mark.parametrize("nested", [False, True])
def test_a_target_in_arguments_is_read_as_it_was_meant(name: str, nested: bool) -> None:
    trace, (triage, _) = in_turn("triage", name)
    arguments = json.dumps({"agent_name": name, "message": "agent_name: x"})
    given = json.dumps({"args": [], "kwargs": arguments}) if nested else arguments
    trace.span("t", "handoff", 90, 91, triage, ToolName="transfer_to_agent", ToolArguments=given)
    assert [edge[:2] for edge in found(trace)] == [("triage", name)]


def test_control_does_not_pass_to_an_agent_inside_another_tool_although_one_is_asked_for_next() -> None:
    trace, (triage, _) = in_turn("triage", "billing")
    trace.call(10, 12, triage, OutputContent='[{"type": "tool_call", "name": "transfer_to_billing"}]')
    tool = trace.tool("ask_billing", 20, 60, triage)
    trace.agent("billing", 21, 59, tool)
    assert [edge[:3] for edge in found(trace)] == [("triage", "billing", PASSED), ("triage", "billing", CALLED)]


def test_semantic_kernels_messages_lead_from_who_made_them_through_who_sent_them() -> None:
    common = {"Dialect": "semantic_kernel", "Framework": "semantic_kernel"}
    one, sent, other = (Trace(name, **common) for name in ("t1", "t2", "t3"))
    box = one.span("agent_runtime process writer_1", "message", 0, 90)
    one.agent("writer", 1, 50, box)
    made = one.span("agent_runtime create critic_1", "message", 51, 60, box)
    link = {"LinkTraceIds": ["t1"], "LinkSpanIds": [made], "LinkTypes": [""]}
    send = sent.span("agent_runtime send critic_1", "message", 52, 89, **link)
    link = {"LinkTraceIds": ["t2"], "LinkSpanIds": [send], "LinkTypes": [""]}
    inner = other.span("agent_runtime process critic_1", "message", 53, 88, **link)
    other.agent("critic", 54, 87, inner)
    assert found(one, sent, other) == [("writer", "critic", PASSED, "message")]


def test_agents_in_two_tools_of_one_step_were_each_called() -> None:
    trace = Trace()
    manager = trace.agent("manager", 0, 100)
    step = trace.span("Step 1", "step", 1, 99, manager)
    for name, begin in (("scout", 10), ("writer", 50)):
        trace.agent(name, begin + 1, begin + 19, trace.tool(f"ask_{name}", begin, begin + 20, step))
    assert [edge[:3] for edge in found(trace)] == [("manager", "scout", CALLED), ("manager", "writer", CALLED)]


def test_an_agent_does_not_go_by_the_name_of_who_called_it() -> None:
    trace = Trace()
    tool = trace.tool("ask_billing", 0, 50, AgentName="triage")
    trace.agent("billing", 1, 49, tool)
    trace.span("transfer", "handoff", 60, 61, TransferSource="triage", TransferTarget="billing", TransferMode=PASSED)
    assert ("billing", "billing") not in [edge[:2] for edge in found(trace)]


def test_a_source_told_outright_that_was_never_seen_is_not_taken_for_who_is_around() -> None:
    trace, (desk, _) = in_turn("desk", "billing")
    trace.span(
        "transfer", "handoff", 90, 91, desk, TransferSource="triage", TransferTarget="billing", TransferMode=PASSED
    )
    assert [edge[:2] for edge in found(trace)] == [("triage", "billing")]


def test_a_message_beside_a_transfer_that_was_told_leads_nowhere_else() -> None:
    trace = Trace(Dialect="ms_agent_framework", Framework="ms_agent_framework")
    first = trace.span("executor.process triage", "step", 0, 20, hints={"executor.id": "triage"})
    triage = trace.agent("triage", 1, 19, first)
    trace.span("t", "handoff", 15, 16, triage, ToolName="transfer_to_billing")
    sent = trace.span("message.send", "message", 18, 19, first)
    link = {"LinkTraceIds": ["t"], "LinkSpanIds": [sent], "LinkTypes": [""]}
    for begin in (30, 60):
        box = trace.span(
            "executor.process billing", "step", begin, begin + 20, hints={"executor.id": "billing"}, **link
        )
        trace.agent("billing", begin + 1, begin + 19, box)
    assert [edge[3] for edge in found(trace)] == ["tool_name"]
