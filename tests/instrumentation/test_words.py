"""Each word of the API, as a far end sees it over OTLP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from maslens.instrumentation import (
    agent,
    consensus,
    experiment,
    feedback,
    handoff,
    handoff_outcome,
    iteration,
    llm,
    monitor_llm,
    session,
    task,
    task_outcome,
    tool,
    vote,
    workflow,
)
from maslens.instrumentation.runtime import runtime

from tests.instrumentation.conftest import Told


def test_an_agent_is_an_invoke_agent_span(told: Told) -> None:
    with agent("triage", role="router", version="2", description="sorts", config_hash="abc"):
        pass
    span = told["invoke_agent triage"]
    assert span.scope == "maslens.instrumentation"
    instance = span.attributes.pop("mas.agent.instance.id")
    assert len(instance) == 16
    assert span.attributes == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "triage",
        "gen_ai.agent.version": "2",
        "gen_ai.agent.description": "sorts",
        "mas.agent.role": "router",
        "mas.agent.config.hash": "abc",
    }


def test_a_workflow_carries_its_session_and_variant_to_everything_inside(told: Told) -> None:
    with (
        workflow("desk", pattern="hierarchical", session="c-1", variant="b", experiment="e-1") as run,
        agent("a"),
        tool("t"),
    ):
        run.outcome("success")
    assert told["invoke_workflow desk"].attributes == {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.workflow.name": "desk",
        "mas.workflow.pattern": "hierarchical",
        "mas.task.outcome": "success",
        "gen_ai.conversation.id": "c-1",
        "mas.experiment.id": "e-1",
        "mas.experiment.variant": "b",
    }
    for name in ("invoke_agent a", "execute_tool t"):
        assert told[name].attributes["gen_ai.conversation.id"] == "c-1"
        assert told[name].attributes["mas.experiment.variant"] == "b"


def test_a_tool_belongs_to_the_agent_that_runs_it(told: Told) -> None:
    with agent("billing") as run, tool("refund", call_id="call_1"):
        pass
    assert told["execute_tool refund"].attributes == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "refund",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": "call_1",
        "gen_ai.agent.name": "billing",
        "mas.agent.instance.id": told["invoke_agent billing"].attributes["mas.agent.instance.id"],
    }
    assert told["execute_tool refund"].parent_id == f"{run.context.span_id:016x}"


def test_a_tools_arguments_and_result_are_recorded_only_where_contents_are(told: Told) -> None:
    @tool
    def refund(order: str, *, amount: int) -> dict[str, int]:
        return {"paid": amount}

    refund("o-1", amount=3)
    runtime.capture_content = True
    refund("o-2", amount=4)
    silent, open_ = [span.attributes for span in told.spans]
    assert "gen_ai.tool.call.arguments" not in silent
    assert open_["gen_ai.tool.call.arguments"] == '{"amount":4,"order":"o-2"}'
    assert open_["gen_ai.tool.call.result"] == '{"paid":4}'


def test_a_handoff_is_one_transfer_span_named_after_the_tool_and_its_target(told: Told) -> None:
    with (
        agent("triage"),
        handoff("billing", trigger="llm_decision", target_type="agent", context_strategy="full", context_tokens=9) as h,
    ):
        pass
    span = told["execute_tool transfer_to_billing billing"]
    assert span.attributes.pop("mas.agent.instance.id")
    assert span.attributes == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "transfer_to_billing",
        "gen_ai.agent.name": "triage",
        "gen_ai.transfer.mode": "pass_control",
        "gen_ai.transfer.target.name": "billing",
        "mas.handoff.id": h.id,
        "mas.handoff.trigger": "llm_decision",
        "mas.handoff.target.type": "agent",
        "mas.context.strategy": "full",
        "mas.context.tokens": 9,
    }


def test_the_agent_named_by_a_handoff_carries_its_id(told: Told) -> None:
    with workflow("w"):
        with agent("triage"), handoff("Billing Desk") as h:
            pass
        with agent("audit"):
            pass
        with agent("billing-desk"):
            pass
        with agent("billing-desk"):
            pass
    assert [span.attributes.get("mas.handoff.id") for span in told.spans if "invoke_agent" in span.name] == [
        None,
        None,
        h.id,
        None,
    ]


def test_siblings_without_a_workflow_find_each_other_too_and_a_later_run_does_not(told: Told) -> None:
    with agent("triage"), handoff("billing") as h:
        pass
    with agent("billing"):
        pass
    with agent("triage"), handoff("billing"):
        pass
    with agent("other"):
        pass
    with agent("billing"):
        pass
    billing = [span for span in told.spans if span.name == "invoke_agent billing"]
    assert [span.attributes.get("mas.handoff.id") for span in billing] == [h.id, None]
    sent = next(span for span in told.spans if span.attributes.get("gen_ai.transfer.mode"))
    assert billing[0].links == [(sent.trace_id, sent.span_id, {"mas.link.type": "handoff", "mas.handoff.id": h.id})]


def test_an_agent_run_inside_the_handoffs_block_takes_it_up_and_its_children_do_not(told: Told) -> None:
    with workflow("w"):
        with agent("lead"), handoff("worker", mode="return_to_caller") as h, agent("worker"), agent("worker"):
            pass
        with agent("worker"):
            pass
    ids = [span.attributes.get("mas.handoff.id") for span in told.spans if span.name == "invoke_agent worker"]
    assert sorted(ids, key=str) == sorted([None, h.id, None], key=str)


def test_an_agent_called_by_another_without_a_handoff_names_its_caller(told: Told) -> None:
    with agent("lead"), agent("worker"):
        pass
    assert told["invoke_agent worker"].attributes["gen_ai.caller.name"] == "lead"
    assert told["invoke_agent worker"].attributes["gen_ai.caller.type"] == "agent"
    assert "gen_ai.caller.name" not in told["invoke_agent lead"].attributes


@pytest.mark.parametrize(
    ("sent", "received", "lossless"),
    [
        pytest.param([{"a": 1, "b": 2}], [{"b": 2, "a": 1}], True, id="the order of keys does not matter"),
        pytest.param([{"a": 1}, {"b": 2}], [{"a": 1}], False, id="a message lost on the way shows"),
        pytest.param("ticket", "ticket", True, id="text"),
    ],
)
def test_equal_hashes_mean_that_nothing_was_lost(told: Told, sent: Any, received: Any, lossless: bool) -> None:
    with workflow("w"):
        with agent("a"), handoff("b", context=sent):
            pass
        with agent("b", context=received):
            pass
    left = told["execute_tool transfer_to_b b"].attributes
    right = told["invoke_agent b"].attributes
    assert (left["mas.context.hash"] == right["mas.context.hash"]) is lossless
    assert left["mas.context.hash"].startswith("sha256:") and len(left["mas.context.hash"]) == 23
    if isinstance(sent, list):
        assert (left["mas.context.message.count"], right["mas.context.message.count"]) == (len(sent), len(received))
    assert (left["mas.context.size"] == right["mas.context.size"]) is lossless


def test_settings_given_as_functions_are_asked_for_the_call_at_hand(told: Told) -> None:
    @agent("b", context=lambda messages: messages)
    def b(messages: list[str]) -> None: ...

    b(["x", "y"])
    assert told["invoke_agent b"].attributes["mas.context.message.count"] == 2


def test_a_task_inside_a_task_names_its_parent_and_its_id_stands_on_children(told: Told) -> None:
    with task("ticket", id="t-1"), task("answer") as inner, agent("a"):
        inner.outcome("partial")
    assert told["task ticket"].attributes["mas.task.id"] == "t-1"
    assert told["task answer"].attributes["mas.task.parent.id"] == "t-1"
    assert told["task answer"].attributes["mas.task.id"] == inner.id == told["invoke_agent a"].attributes["mas.task.id"]
    assert told["task answer"].attributes["mas.task.outcome"] == "partial"


def test_an_iteration_makes_no_span_and_numbers_everything_in_it(told: Told) -> None:
    with agent("writer") as run:
        for turn in (1, 2):
            with iteration(turn, limit=5) as round_, tool(f"draft{turn}"):
                round_.completed(score=0.5 * turn, stop_reason="converged" if turn == 2 else None)
        run.stopped("converged")
    assert [span.attributes.get("mas.iteration.index") for span in told.spans] == [1, 2, None]
    assert told["execute_tool draft2"].attributes["mas.iteration.limit"] == 5
    assert told["invoke_agent writer"].attributes["mas.iteration.stop_reason"] == "converged"
    assert [(log.event, log.attributes["mas.convergence.score"]) for log in told.logs] == [
        ("mas.iteration.completed", 0.5),
        ("mas.iteration.completed", 1.0),
    ]


def test_an_iteration_is_a_span_where_one_is_wanted(told: Told) -> None:
    with iteration(3, span=True), tool("t"):
        pass
    assert told["iteration 3"].attributes == {"mas.operation.name": "iteration", "mas.iteration.index": 3}
    assert told["execute_tool t"].parent_id == told["iteration 3"].span_id


def test_iterations_without_a_number_are_counted(told: Told) -> None:
    @iteration
    def turn() -> None:
        with tool("t"):
            pass

    for _ in range(3):
        turn()
    assert [span.attributes["mas.iteration.index"] for span in told.spans] == [1, 2, 3]


def test_a_model_call_tells_what_it_cost(told: Told) -> None:
    with agent("a"), llm("gpt-4.1-mini", provider="openai") as call:
        call.response(id="r1", model="gpt-4.1-mini-2025", finish_reasons=["stop"])
        call.usage(101, 11, cache_read=10, reasoning=7)
    span = told["chat gpt-4.1-mini"]
    assert span.kind == 3
    assert span.attributes["gen_ai.agent.name"] == "a"
    expected = {
        "gen_ai.request.model": "gpt-4.1-mini",
        "gen_ai.response.model": "gpt-4.1-mini-2025",
        "gen_ai.response.id": "r1",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.provider.name": "openai",
        "gen_ai.usage.input_tokens": 101,
        "gen_ai.usage.output_tokens": 11,
        "gen_ai.usage.cache_read.input_tokens": 10,
        "gen_ai.usage.reasoning.output_tokens": 7,
    }
    assert expected.items() <= span.attributes.items()


def test_votes_belong_to_the_consensus_they_are_cast_in(told: Told) -> None:
    with consensus("majority", participants=2, round=1) as round_:
        with agent("judge-1"):
            vote("yes", weight=2.0, confidence=0.9)
        vote("no", voter="judge-2")
        round_.outcome("agreed", agreement=0.5)
    first, second = told.logs
    assert first.event == second.event == "mas.vote.cast"
    assert first.attributes["gen_ai.agent.name"] == "judge-1"
    assert first.span_id == told["invoke_agent judge-1"].span_id
    assert (first.attributes["mas.vote.option"], first.attributes["mas.vote.weight"]) == ("yes", 2.0)
    assert (second.attributes["mas.vote.option"], second.attributes["gen_ai.agent.name"]) == ("no", "judge-2")
    assert first.attributes["mas.consensus.id"] == second.attributes["mas.consensus.id"] == round_.id
    assert {
        "mas.operation.name": "consensus",
        "mas.consensus.id": round_.id,
        "mas.consensus.method": "majority",
        "mas.consensus.round": 1,
        "mas.consensus.participant.count": 2,
        "mas.consensus.outcome": "agreed",
        "mas.consensus.agreement": 0.5,
    } == told["consensus majority"].attributes


def test_what_a_voting_or_judging_function_returns_is_the_vote_or_the_judgement(told: Told) -> None:
    @vote(consensus="c-1")
    def judge() -> str:
        return "left"

    @feedback(source="llm_judge")
    def quality() -> tuple[float, str]:
        return 0.75, "good"

    @feedback
    async def helpful() -> bool:
        return True

    judge()
    quality()
    asyncio.run(helpful())
    cast, judged, liked = told.logs
    assert (cast.attributes["mas.vote.option"], cast.attributes["mas.consensus.id"]) == ("left", "c-1")
    assert judged.event == "gen_ai.evaluation.result"
    assert judged.attributes == {
        "gen_ai.evaluation.name": "quality",
        "gen_ai.evaluation.score.value": 0.75,
        "gen_ai.evaluation.score.label": "good",
        "gen_ai.evaluation.evaluator.type": "llm_judge",
    }
    assert liked.attributes["gen_ai.evaluation.score.value"] == 1.0


def test_feedback_is_said_at_once_or_at_the_end_of_its_block_and_only_once(told: Told) -> None:
    with agent("a") as run:
        pass
    feedback("thumbs", score=1, source="human", of=run)
    with feedback("late", of=run.context) as judged:
        judged.give(label="bad")
    with feedback("twice", score=0.5):
        pass
    with feedback("nothing to say"):
        pass
    assert [log.attributes["gen_ai.evaluation.name"] for log in told.logs] == ["thumbs", "late", "twice"]
    assert {log.span_id for log in told.logs[:2]} == {told["invoke_agent a"].span_id}


def test_outcomes_known_late_are_events_in_the_trace_they_are_about(told: Told) -> None:
    with agent("a"), handoff("b") as h:
        pass
    h.outcome("rejected")
    task_outcome("failure", task_id="t-1", of=h)
    handoff_outcome("remote", "timed_out")
    rejected, failed, remote = told.logs
    assert (rejected.event, rejected.attributes["mas.handoff.id"]) == ("mas.handoff.outcome", h.id)
    assert rejected.trace_id == told["invoke_agent a"].trace_id
    assert (failed.event, failed.attributes["mas.task.outcome"]) == ("mas.task.outcome", "failure")
    assert remote.attributes == {"mas.handoff.id": "remote", "mas.handoff.outcome": "timed_out"}


def test_the_outcome_of_an_open_handoff_is_an_attribute(told: Told) -> None:
    with handoff("b") as h:
        h.outcome("accepted")
    with pytest.raises(RuntimeError), handoff("c"):
        raise RuntimeError
    assert told["execute_tool transfer_to_b b"].attributes["mas.handoff.outcome"] == "accepted"
    assert told["execute_tool transfer_to_c c"].attributes["mas.handoff.outcome"] == "failed"
    assert told.logs == []


def test_joins_retries_and_causes_are_typed_links(told: Told) -> None:
    with agent("one") as one:
        pass
    with agent("two") as two:
        pass
    with agent("join", joins=[one, two.context], retries=one, triggered_by=two.carrier()) as run:
        run.link("evaluates", one)
    links = [(span_id, attributes["mas.link.type"]) for _, span_id, attributes in told["invoke_agent join"].links]
    a, b = told["invoke_agent one"].span_id, told["invoke_agent two"].span_id
    assert links == [(a, "join"), (b, "join"), (a, "retry"), (b, "triggered_by"), (a, "evaluates")]


def test_monitor_llm_is_an_agent(told: Told) -> None:
    @monitor_llm(
        operation_name="classify",
        agent_name="triage",
        agent_role="router",
        agent_type="llm",
        can_handoff_to=["billing", "tech"],
    )
    def classify() -> int:
        return 3

    assert classify() == 3
    span = told["invoke_agent triage"]
    assert span.attributes["mas.agent.role"] == "router"
    assert span.attributes["gen_ai.agent.handoffs"] == ["billing", "tech"]


def test_errors_are_recorded_and_reach_the_app_unchanged(told: Told) -> None:
    failure = ValueError("no such order")
    with pytest.raises(ValueError) as raised, agent("a"), tool("t"):
        raise failure
    assert raised.value is failure
    for name in ("execute_tool t", "invoke_agent a"):
        span = told[name]
        assert (span.status, span.status_message) == (2, "no such order")
        assert span.attributes["error.type"] == "ValueError"
        assert [(event, about["exception.type"]) for event, about in span.events] == [("exception", "ValueError")]


def test_names_come_from_the_function_where_none_is_given(told: Told) -> None:
    @agent(role="worker")
    def researcher() -> None: ...

    @workflow
    def desk() -> None:
        researcher()

    @task
    def answer() -> None:
        desk()

    answer()
    assert [span.name for span in told.spans] == ["invoke_agent researcher", "invoke_workflow desk", "task answer"]
    assert told["invoke_agent researcher"].attributes["code.function.name"].endswith(".<locals>.researcher")


def test_a_session_without_a_span_and_an_experiment(told: Told) -> None:
    with session("c-9"), experiment("e", variant="v"), agent("a"):
        pass
    attributes = told["invoke_agent a"].attributes
    assert (attributes["gen_ai.conversation.id"], attributes["mas.experiment.id"]) == ("c-9", "e")
    assert attributes["mas.experiment.variant"] == "v"


def _words() -> list[Any]:
    return [
        pytest.param(lambda: agent("x"), "invoke_agent x", id="agent"),
        pytest.param(lambda: workflow("x"), "invoke_workflow x", id="workflow"),
        pytest.param(lambda: task("x"), "task x", id="task"),
        pytest.param(lambda: tool("x"), "execute_tool x", id="tool"),
        pytest.param(lambda: handoff("x"), "execute_tool transfer_to_x x", id="handoff"),
        pytest.param(lambda: llm("x"), "chat x", id="llm"),
        pytest.param(lambda: consensus("majority"), "consensus majority", id="consensus"),
        pytest.param(lambda: monitor_llm(agent_name="x"), "invoke_agent x", id="monitor_llm"),
        pytest.param(lambda: iteration(), None, id="iteration"),
        pytest.param(lambda: session("x"), None, id="session"),
        pytest.param(lambda: experiment("x"), None, id="experiment"),
        pytest.param(lambda: vote(consensus="x"), None, id="vote"),
        pytest.param(lambda: feedback("x"), None, id="feedback"),
    ]


@pytest.mark.parametrize(("word", "span"), _words())
def test_every_word_is_a_decorator_of_any_function_and_a_context_manager(
    told: Told, word: Any, span: str | None
) -> None:
    @word()
    def plain(value: int) -> int:
        return value

    @word()
    async def coroutine(value: int) -> int:
        await asyncio.sleep(0)
        return value

    @word()
    def generator(value: int) -> Iterator[int]:
        yield value
        yield value + 1

    @word()
    async def stream(value: int) -> AsyncIterator[int]:
        yield value
        yield value + 1

    async def all_async() -> None:
        assert await coroutine(2) == 2
        assert [item async for item in stream(3)] == [3, 4]
        async with word():
            pass

    assert plain(1) == 1
    assert list(generator(1)) == [1, 2]
    asyncio.run(all_async())
    with word():
        pass
    assert [seen.name for seen in told.spans] == ([span] * 6 if span else [])
    assert plain.__name__ == "plain"
