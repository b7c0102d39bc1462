"""Context: tasks, threads, generators, other libraries' spans, other processes."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from maslens.instrumentation import agent, handoff, iteration, received, session, task, tool, workflow
from opentelemetry import baggage, context, propagate, trace

from tests.instrumentation.conftest import Told


def other_library(told: Told, name: str, **attributes: Any) -> None:
    with told.tracers.get_tracer("some.other.library").start_as_current_span(name, attributes=attributes):
        pass


def test_a_span_of_any_library_is_stamped(told: Told) -> None:
    with workflow("w", session="c-1", variant="b"), task("t", id="t-1"), agent("billing"), iteration(2):
        other_library(told, "chat")
    attributes = told["chat"].attributes
    assert attributes.pop("mas.agent.instance.id")
    assert attributes == {
        "gen_ai.agent.name": "billing",
        "gen_ai.conversation.id": "c-1",
        "mas.task.id": "t-1",
        "mas.experiment.variant": "b",
        "mas.iteration.index": 2,
    }


def test_what_a_span_says_itself_is_left_alone(told: Told) -> None:
    with session("c-1"), agent("outer"):
        other_library(told, "chat", **{"gen_ai.agent.name": "inner", "gen_ai.conversation.id": "own"})
    assert told["chat"].attributes["gen_ai.agent.name"] == "inner"
    assert told["chat"].attributes["gen_ai.conversation.id"] == "own"


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param({"gen_ai.operation.name": "invoke_agent"}, id="gen_ai"),
        pytest.param({"openinference.span.kind": "AGENT"}, id="openinference"),
        pytest.param({"traceloop.span.kind": "agent"}, id="traceloop"),
    ],
)
def test_another_librarys_agent_does_not_get_its_callers_name(told: Told, kind: dict[str, str]) -> None:
    with session("c-1"), agent("outer"):
        other_library(told, "manager.run", **kind)
    assert "gen_ai.agent.name" not in told["manager.run"].attributes
    assert told["manager.run"].attributes["gen_ai.conversation.id"] == "c-1"


def test_baggage_changed_by_somebody_else_counts(told: Told) -> None:
    with agent("outer"):
        token = context.attach(baggage.set_baggage("gen_ai.agent.name", "theirs"))
        other_library(told, "chat")
        with tool("t"):
            pass
        context.detach(token)
        other_library(told, "after")
    assert told["chat"].attributes["gen_ai.agent.name"] == "theirs"
    assert told["execute_tool t"].attributes["gen_ai.agent.name"] == "theirs"
    assert told["after"].attributes["gen_ai.agent.name"] == "outer"


def test_a_value_from_outside_cannot_bloat_every_span(told: Told) -> None:
    token = context.attach(baggage.set_baggage("gen_ai.conversation.id", "x" * 10_000))
    other_library(told, "chat")
    context.detach(token)
    assert len(told["chat"].attributes["gen_ai.conversation.id"]) == 256


def test_agents_running_at_once_keep_apart(told: Told) -> None:
    @agent()
    async def worker(number: int) -> None: ...

    async def one(number: int) -> None:
        async with agent(f"agent{number}"):
            await asyncio.sleep(0.001 * (number % 3))
            other_library(told, f"chat{number}")
            with tool(f"tool{number}"):
                await asyncio.sleep(0)

    async def all_of_them() -> None:
        async with workflow("w"):
            await asyncio.gather(*(one(number) for number in range(20)))

    asyncio.run(all_of_them())
    root = told["invoke_workflow w"]
    for number in range(20):
        span = told[f"invoke_agent agent{number}"]
        assert span.parent_id == root.span_id
        assert sorted(told.children(span)) == [f"chat{number}", f"execute_tool tool{number}"]
        assert told[f"chat{number}"].attributes["gen_ai.agent.name"] == f"agent{number}"


def test_handoffs_of_sessions_running_at_once_do_not_mix(told: Told) -> None:
    async def one(number: int) -> None:
        with session(f"c-{number}"):
            with agent("triage"), handoff("billing", context=number):
                await asyncio.sleep(0)
            await asyncio.sleep(0.001 * (number % 3))
            with agent("billing", context=number):
                await asyncio.sleep(0)

    async def all_of_them() -> None:
        with agent("warm-up"), handoff("billing"):  # left over in the context that every session below copies
            pass
        await asyncio.gather(*(one(number) for number in range(1, 21)))

    asyncio.run(all_of_them())
    sent = {
        span.attributes["mas.handoff.id"]: span.attributes.get("gen_ai.conversation.id")
        for span in told.spans
        if "gen_ai.transfer.mode" in span.attributes
    }
    taken = [span for span in told.spans if span.name == "invoke_agent billing"]
    assert len(taken) == 20
    for span in taken:
        assert sent[span.attributes["mas.handoff.id"]] == span.attributes["gen_ai.conversation.id"]


def test_parallel_handoffs_to_one_agent_are_taken_up_one_each(told: Told) -> None:
    async def worker() -> None:
        with agent("worker"):
            await asyncio.sleep(0)

    async def run() -> None:
        with workflow("w"):
            with agent("lead"):
                for _ in range(3):
                    with handoff("worker"):
                        pass
            await asyncio.gather(worker(), worker(), worker())

    asyncio.run(run())
    sent = {s.attributes["mas.handoff.id"] for s in told.spans if "gen_ai.transfer.mode" in s.attributes}
    taken = {s.attributes["mas.handoff.id"] for s in told.spans if s.name == "invoke_agent worker"}
    assert len(sent) == 3 and sent == taken


def test_threads_start_apart_and_a_copied_context_joins_them(told: Told) -> None:
    def work(name: str) -> None:
        with agent(name):
            pass

    with workflow("w"), ThreadPoolExecutor(2) as pool:
        pool.submit(work, "apart").result()
        pool.submit(contextvars.copy_context().run, work, "joined").result()
    assert told["invoke_agent apart"].parent_id == ""
    assert told["invoke_agent joined"].parent_id == told["invoke_workflow w"].span_id


def test_a_generators_span_lasts_until_it_is_used_up_and_is_current_only_inside(told: Told) -> None:
    @agent("streamer")
    def stream() -> Iterator[int]:
        with tool("inner"):
            yield 1
            other_library(told, "inside")
        yield 2

    with workflow("w"):
        items = stream()
        assert next(items) == 1
        other_library(told, "between")
        assert next(items) == 2
        with pytest.raises(StopIteration):
            next(items)
        other_library(told, "after")
    root = told["invoke_workflow w"]
    assert told["inside"].parent_id == told["execute_tool inner"].span_id
    assert told["between"].parent_id == told["after"].parent_id == root.span_id
    assert told["invoke_agent streamer"].parent_id == root.span_id
    assert told["invoke_agent streamer"].ended_ns >= told["between"].ended_ns


def test_a_generator_keeps_its_whole_protocol(told: Told) -> None:
    @agent("echo")
    def echo() -> Any:
        heard = []
        try:
            while True:
                try:
                    heard.append((yield len(heard)))
                except KeyError as error:
                    heard.append(error)
                if len(heard) == 3:
                    return heard
        finally:
            other_library(told, "closed")

    talk = echo()
    assert (next(talk), talk.send("a"), talk.throw(KeyError("b"))) == (0, 1, 2)
    with pytest.raises(StopIteration) as stop:
        talk.send("c")
    assert stop.value.value[0] == "a" and isinstance(stop.value.value[1], KeyError)
    early = echo()
    next(early)
    early.close()
    assert [span.status for span in told.spans if span.name == "invoke_agent echo"] == [0, 0]


def test_an_async_generator_keeps_its_whole_protocol(told: Told) -> None:
    @agent("stream")
    async def stream() -> AsyncIterator[int]:
        for number in range(5):
            with tool(f"t{number}"):
                await asyncio.sleep(0)
                yield number

    async def run() -> None:
        with workflow("w"):
            items = stream()
            async for item in items:
                other_library(told, f"between{item}")
                if item == 2:
                    break
            await items.aclose()  # type: ignore[attr-defined]

    asyncio.run(run())
    root, span = told["invoke_workflow w"], told["invoke_agent stream"]
    assert told["between1"].parent_id == root.span_id
    assert told.children(span) == ["execute_tool t0", "execute_tool t1", "execute_tool t2"]
    assert span.status == 0


def test_an_async_generator_stepped_by_many_tasks_leaves_no_context_behind(told: Told) -> None:
    @agent("stream")
    async def stream() -> AsyncIterator[int]:
        with tool("t"):
            yield 1
            other_library(told, "inside")
            yield 2

    async def run() -> None:
        items = stream()
        steps = [await asyncio.create_task(items.__anext__()) for _ in range(2)]  # type: ignore[arg-type]
        assert steps == [1, 2]
        with pytest.raises(StopAsyncIteration):
            await asyncio.create_task(items.__anext__())  # type: ignore[arg-type]
        assert not trace.get_current_span().get_span_context().is_valid

    asyncio.run(run())
    assert told["inside"].parent_id == told["execute_tool t"].span_id
    assert told["execute_tool t"].parent_id == told["invoke_agent stream"].span_id


def test_a_block_left_in_another_task_than_entered_does_not_touch_that_tasks_context(told: Told) -> None:
    async def run() -> None:
        block = agent("a")
        await asyncio.create_task(block.__aenter__())  # type: ignore[arg-type]
        with workflow("w"):
            await block.__aexit__(None, None, None)
            other_library(told, "after")

    asyncio.run(run())
    assert told["after"].parent_id == told["invoke_workflow w"].span_id
    assert told["invoke_agent a"].status == 0


def test_a_function_that_returns_its_coroutine_or_generator_is_followed_to_the_end(told: Told) -> None:
    async def inner() -> int:
        other_library(told, "awaited")
        return 1

    def numbers() -> Iterator[int]:
        other_library(told, "iterated")
        yield 1

    @agent("lazy")
    def lazy() -> Any:
        return inner()

    @agent("listing")
    def listing() -> Any:
        return numbers()

    assert asyncio.run(lazy()) == 1
    assert list(listing()) == [1]
    assert told["awaited"].parent_id == told["invoke_agent lazy"].span_id
    assert told["iterated"].parent_id == told["invoke_agent listing"].span_id


def test_methods_static_methods_class_methods_and_callables(told: Told) -> None:
    class Desk:
        @agent("m")
        def method(self) -> str:
            return "m"

        @agent("s")
        @staticmethod
        def static() -> str:
            return "s"

        @agent("c")
        @classmethod
        def of_class(cls) -> str:
            return cls.__name__

    class Caller:
        async def __call__(self) -> str:
            return "called"

    assert (Desk().method(), Desk.static(), Desk.of_class()) == ("m", "s", "Desk")
    assert asyncio.run(agent("x")(Caller())()) == "called"
    assert {span.name for span in told.spans} == {f"invoke_agent {name}" for name in "mscx"}


def test_a_handoff_over_a_queue_is_a_link_and_one_session(told: Told) -> None:
    with session("c-1"), agent("triage"), handoff("billing", context="x") as h:
        message = h.carrier()
    assert set(message) == {"traceparent", "baggage"}

    def consumer() -> None:
        with agent("billing", handoff=message, context="x"):
            other_library(told, "chat")

    thread = threading.Thread(target=consumer)
    thread.start()
    thread.join()
    billing, sent = told["invoke_agent billing"], told["execute_tool transfer_to_billing billing"]
    assert billing.trace_id != sent.trace_id
    assert billing.links == [(sent.trace_id, sent.span_id, {"mas.link.type": "handoff", "mas.handoff.id": h.id})]
    assert billing.attributes["mas.handoff.id"] == h.id
    assert billing.attributes["gen_ai.conversation.id"] == "c-1"
    assert told["chat"].attributes["gen_ai.conversation.id"] == "c-1"
    assert told["chat"].attributes["gen_ai.agent.name"] == "billing"


def test_received_joins_whichever_agent_the_message_is_for(told: Told) -> None:
    with session("c-1"), agent("triage"), handoff("billing") as h:
        message = {key.title(): value.encode() for key, value in h.carrier().items()}
    context.attach(context.Context())
    with received(message):  # type: ignore[arg-type]
        with agent("dispatcher"), agent("billing"):
            pass
        with agent("billing"):
            pass
    taken = [span for span in told.spans if span.name == "invoke_agent billing"]
    assert [span.attributes.get("mas.handoff.id") for span in taken] == [h.id, None]
    assert taken[0].links[0][2]["mas.link.type"] == "handoff"


def test_a_handoff_over_http_is_one_trace_through_the_global_propagator(told: Told) -> None:
    headers: dict[str, str] = {}
    with session("c-1"), agent("triage"), handoff("billing", mode="return_to_caller") as h:
        propagate.inject(headers)
    token = context.attach(propagate.extract(headers, context.Context()))  # what a server's instrumentation does
    with agent("billing"):
        pass
    context.detach(token)
    sent, billing = told["execute_tool transfer_to_billing billing"], told["invoke_agent billing"]
    assert (billing.trace_id, billing.parent_id) == (sent.trace_id, sent.span_id)
    assert billing.attributes["mas.handoff.id"] == h.id
    assert billing.attributes["gen_ai.conversation.id"] == "c-1"
    assert billing.links == []
