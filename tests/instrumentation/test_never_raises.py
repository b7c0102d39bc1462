"""Whatever the app passes, does or raises: it gets its own results and its own errors, never ours."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from maslens.instrumentation import (
    agent,
    consensus,
    experiment,
    feedback,
    guard,
    handoff,
    handoff_outcome,
    init,
    internal_errors,
    iteration,
    llm,
    monitor_llm,
    received,
    session,
    task,
    task_outcome,
    tool,
    vote,
    workflow,
)
from maslens.instrumentation.digest import digest
from maslens.instrumentation.runtime import runtime
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import get_current_span


class Hostile:
    """Everything anybody may ask of it fails."""

    def __str__(self) -> str:
        raise RuntimeError("str")

    __repr__ = __str__
    __len__ = __iter__ = __bool__ = __hash__ = __eq__ = __float__ = __index__ = __str__  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


def _cycle() -> list[Any]:
    made: list[Any] = [1]
    made.append(made)
    return made


anything: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(exclude_categories=[])),
    st.binary(),
    st.builds(Hostile),
    st.builds(object),
    st.builds(_cycle),
    st.dictionaries(st.one_of(st.integers(), st.text(), st.tuples(st.integers())), st.integers(), max_size=2),
    st.lists(st.builds(Hostile), max_size=2),
    st.just(lambda *_: 1 / 0),
)
not_a_function = anything.filter(lambda value: not callable(value))  # a function in first place is decorated
documents = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)
words: list[Callable[[Any, Any, Any], Any]] = [
    lambda a, b, c: agent(a, role=b, context=c),
    lambda a, b, c: agent(a, instance=b, handoff=c),
    lambda a, b, c: agent("x", joins=a, retries=b, attributes=c if isinstance(c, dict) else {"k": c}),
    lambda a, b, c: agent("x", triggered_by=a, context_strategy=b, context_tokens=c),
    lambda a, b, c: workflow(a, session=b, variant=c),
    lambda a, b, c: task(a, id=b, parent_id=c),
    lambda a, b, c: tool(a, call_id=b, arguments=c),
    lambda a, b, c: handoff(a, context=b, mode=c),
    lambda a, b, c: handoff("x", tool_name=a, source=b, trigger=c),
    lambda a, b, c: llm(a, provider=b, operation=c),
    lambda a, b, c: consensus(a, id=b, participants=c),
    lambda a, b, c: iteration(a, limit=b),
    lambda a, b, c: session(a),
    lambda a, b, c: experiment(a, variant=b),
    lambda a, b, c: vote(a, voter=b, consensus=c),
    lambda a, b, c: vote(weight=a, confidence=b, of=c),
    lambda a, b, c: feedback(a, score=b, of=c),
    lambda a, b, c: feedback("x", label=a, explanation=b, target_id=c),
    lambda a, b, c: received(a),
    lambda a, b, c: monitor_llm(agent_name=a, agent_role=b, can_handoff_to=c),
]


@pytest.fixture(autouse=True)
def _own_provider() -> Any:
    runtime.tracer_provider, runtime.capture_content = TracerProvider(shutdown_on_exit=False), True
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    yield
    runtime.tracer_provider, runtime.capture_content = None, False
    logging.getLogger("opentelemetry").setLevel(logging.NOTSET)
    guard._counts.clear()


@settings(deadline=None, max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(word=st.sampled_from(words), a=not_a_function, b=anything, c=anything)
def test_no_word_raises_whatever_it_is_given(word: Callable[[Any, Any, Any], Any], a: Any, b: Any, c: Any) -> None:
    sentinel = object()

    with word(a, b, c) as handle:
        for method in ("set", "outcome", "stopped", "usage", "result", "cast", "give", "link"):
            if callable(getattr(type(handle), method, None)):
                arguments = ("k", a) if method in ("set", "link") else (a,)
                getattr(handle, method)(*arguments)

    @word(a, b, c)
    def plain(value: Any) -> Any:
        return value

    @word(a, b, c)
    async def coroutine(value: Any) -> Any:
        return value

    @word(a, b, c)
    def generator(value: Any) -> Any:
        yield value

    assert plain(sentinel) is sentinel
    assert asyncio.run(coroutine(sentinel)) is sentinel
    assert list(generator(sentinel)) == [sentinel]
    with pytest.raises(ZeroDivisionError), word(a, b, c):
        raise ZeroDivisionError


@settings(deadline=None, max_examples=200)
@given(a=anything, b=anything)
def test_no_late_event_raises(a: Any, b: Any) -> None:
    handoff_outcome(a, b, of=a)
    task_outcome(a, task_id=b, of=b)


class Node:
    def __init__(self, parent: Node | None = None) -> None:
        self.parent, self.children = parent, list[Node]()


def _family(generations: int, parent: Node | None = None) -> Node:
    """Children that know their parents: every way through it is endless."""
    node = Node(parent)
    node.children = [_family(generations - 1, node) for _ in range(4)] if generations else []
    return node


def _doubled(kind: Callable[[Any], Any]) -> Any:
    """Small in memory, 2 to the 60th as a tree."""
    made: Any = kind(None)
    for _ in range(60):
        made = kind(made)
    return made


class Pair:
    def __init__(self, part: Any) -> None:
        self.left = self.right = part


class Endless(dict[str, Any]):
    """Every part of it has parts."""

    def items(self) -> Any:
        return {str(number): Endless() for number in range(10)}.items()


def _deep() -> Any:
    made: Any = []
    for _ in range(100_000):
        made = [made]
    return made


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(_family(6), id="a family"),
        pytest.param(_doubled(lambda part: [part, part]), id="doubled lists"),
        pytest.param(_doubled(lambda part: {"a": part, "b": part}), id="doubled mappings"),
        pytest.param(_doubled(Pair), id="doubled objects"),
        pytest.param(Endless(), id="endless"),
        pytest.param(_deep(), id="deep"),
        pytest.param([{"role": "user", "content": "x" * 20_000_000}], id="large"),
        pytest.param(_cycle(), id="a cycle"),
    ],
)
def test_no_value_holds_the_app_up(value: Any) -> None:
    start = time.thread_time()
    with agent("a", context=value) as run, handoff("b", context=value), tool("t", arguments=value) as call:
        call.result(value)
        run.set("k", value)
    assert time.thread_time() - start < 30, "seconds of a slow machine; without bounds it is years"
    assert internal_errors() == {} or isinstance(value, Endless)


def test_an_async_generator_that_is_cancelled_ends_its_span_and_the_app_hears_of_the_cancelling() -> None:
    ended: list[str] = []

    class Ends(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            ended.append(span.name)

    runtime.tracer_provider.add_span_processor(Ends())  # type: ignore[union-attr]

    @agent("streaming")
    async def stream() -> Any:
        yield 1
        await asyncio.sleep(60)

    async def read(begun: asyncio.Event) -> None:
        async for _ in stream():
            begun.set()

    async def cancel() -> None:
        begun = asyncio.Event()
        reading = asyncio.create_task(read(begun))
        await begun.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    asyncio.run(cancel())
    assert ended == ["invoke_agent streaming"]
    assert not internal_errors()


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("kind", ["coroutine", "generator", "stream"])
def test_work_that_a_function_returns_and_nobody_starts_ends_its_span(kind: str) -> None:
    ended: list[str] = []

    class Ends(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            ended.append(span.name)

    runtime.tracer_provider.add_span_processor(Ends())  # type: ignore[union-attr]

    async def coroutine() -> int:
        return 1

    def generator() -> Any:
        yield 1

    async def stream() -> Any:
        yield 1

    works: dict[str, Any] = {"coroutine": coroutine, "generator": generator, "stream": stream}
    begin = agent(kind)(lambda: works[kind]())
    work = begin()
    assert ended == [] and work is not None
    del work
    gc.collect()
    assert ended == [f"invoke_agent {kind}"]
    if kind == "generator":
        assert list(begin()) == [1]
    elif kind == "coroutine":
        assert asyncio.run(begin()) == 1
    gc.collect()
    assert len(ended) == (1 if kind == "stream" else 2), "what was started ends once"
    assert not internal_errors()


@pytest.mark.parametrize("step", ["close", "throw"])
def test_a_generator_that_is_left_in_the_middle_ends_its_span(step: str) -> None:
    with agent("outer") as outer:

        @tool("t")
        def stream() -> Any:
            yield from range(3)

        items = stream()
        assert next(items) == 0
        if step == "close":
            items.close()
        else:
            with pytest.raises(ZeroDivisionError):
                items.throw(ZeroDivisionError())
        assert get_current_span() is outer.span
    assert not internal_errors()


def test_threads_and_tasks_mixed_up_do_not_raise() -> None:
    """A block opened in one thread and left in another, a generator driven by several."""
    run = agent("a")
    copy_context().run(run.__enter__)
    thread = threading.Thread(target=lambda: run.__exit__(None, None, None))
    thread.start()
    thread.join()

    @agent("g")
    def numbers() -> Any:
        yield from range(40)

    items, seen = numbers(), []
    lock = threading.Lock()

    def take() -> None:
        for _ in range(10):
            with lock:
                seen.append(next(items))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(40))


def test_a_hundred_threads_at_once_lose_no_span() -> None:
    ended: list[str] = []

    class Ends(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            ended.append(span.name)

    runtime.tracer_provider.add_span_processor(Ends())  # type: ignore[union-attr]

    @workflow("w")
    def work(number: int) -> int:
        with agent("a"), handoff("b", context=[number]):
            pass
        with agent("b"):
            return number

    with ThreadPoolExecutor(100) as pool:
        assert sorted(pool.map(work, range(300))) == list(range(300))
    assert len(ended) == 300 * 4
    assert not internal_errors()


def test_an_error_that_cannot_be_printed_still_reaches_the_app() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    failure = Mute()
    with pytest.raises(Mute) as raised, agent("a"):
        raise failure
    assert raised.value is failure


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit])
def test_what_ends_a_program_passes_through(error: type[BaseException]) -> None:
    with pytest.raises(error), agent("a"), tool("t"):
        raise error


def test_without_any_setup_everything_is_a_no_op() -> None:
    runtime.tracer_provider = None
    with agent("a") as run, handoff("b", context=[1]) as h, tool("t"):
        run.set("k", 1)
    assert h.carrier() == {} or "traceparent" not in h.carrier()
    assert not internal_errors()


def test_a_provider_that_fails_is_counted_once_said_and_never_felt(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(TracerProvider):
        def get_tracer(self, *_: Any, **__: Any) -> Any:
            raise OSError("broken")

    runtime.tracer_provider = Broken(shutdown_on_exit=False)

    @agent("a")
    def work() -> int:
        return 7

    with caplog.at_level(logging.DEBUG, "maslens.instrumentation"):
        assert [work(), work()] == [7, 7]
    assert internal_errors()["Agent start"] == 2
    assert [record.levelname for record in caplog.records] == ["DEBUG"]


def test_classes_are_left_as_they_are() -> None:
    @agent("a")
    class Worker:
        pass

    assert isinstance(Worker(), Worker)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"protocol": "carrier pigeon"}, id="unknown protocol"),
        pytest.param({"endpoint": "http://[broken"}, id="unreadable endpoint"),
    ],
)
def test_a_wrong_setting_is_said_and_the_app_goes_on(
    arguments: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert init(**arguments) is False
    (said,) = [record for record in caplog.records if record.name == "maslens.instrumentation"]
    assert said.levelname == "WARNING" and "maslens is off" in said.getMessage()


@settings(deadline=None, max_examples=200)
@given(
    value=st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_equal_values_have_equal_digests_and_a_changed_one_has_not(value: Any) -> None:
    import copy

    assert digest(value) == digest(copy.deepcopy(value))
    assert digest([value, "more"]).hash != digest([value]).hash


class Shrinking(dict[str, Any]):
    """As a mapping that another thread changes while it is looked at."""

    def items(self) -> Any:
        raise RuntimeError("dictionary changed size during iteration")

    values = keys = __iter__ = items  # type: ignore[assignment]


@pytest.mark.parametrize("context", [lambda *_: 1 / 0, Shrinking(a=1)], ids=["function", "mapping"])
def test_a_context_that_cannot_be_told_costs_its_fingerprint_and_not_the_span(context: Any) -> None:
    spans: dict[str, ReadableSpan] = {}

    class Ends(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            spans[span.name] = span

    runtime.tracer_provider.add_span_processor(Ends())  # type: ignore[union-attr]
    with agent("a", context=context), handoff("b", context=context) as passed, tool("t", arguments=context):
        pass
    with agent("b", handoff=lambda *_: 1 / 0):
        pass
    assert sorted(spans) == ["execute_tool t", "execute_tool transfer_to_b b", "invoke_agent a", "invoke_agent b"]
    assert all("mas.context.hash" not in (span.attributes or {}) for span in spans.values())
    assert (spans["invoke_agent b"].attributes or {})["mas.handoff.id"] == passed.id


def test_a_context_implementation_that_fails_does_not_keep_the_span_open(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []

    class Ends(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            ended.append(span.name)

    def broken(_: Any) -> None:
        raise OSError("broken")

    runtime.tracer_provider.add_span_processor(Ends())  # type: ignore[union-attr]

    def run() -> None:
        with agent("a"):
            monkeypatch.setattr("maslens.instrumentation.managed.leave", broken)

    copy_context().run(run)
    assert ended == ["invoke_agent a"]
    assert internal_errors() == {"Agent end": 1}
