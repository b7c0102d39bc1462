"""A fill that fails, before, inside or after what it wraps, is never felt; the app's own errors always are."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from maslens.instrumentation import guard, internal_errors
from maslens.instrumentation.zero_code import fill
from maslens.instrumentation.zero_code.streaming import UsageAsker
from maslens.instrumentation.zero_code.wrapping import wrap

FILLS = Path(fill.__file__).parent


class Theirs(Exception):
    """The app's own."""


class Ours(Exception):
    """A mistake of a fill."""


@pytest.fixture
def framework() -> Iterator[Any]:
    module: Any = ModuleType("framework")
    module.calls = []

    def work(value: Any) -> Any:
        module.calls.append(value)
        if isinstance(value, Exception):
            raise value
        return value

    async def awork(value: Any) -> Any:
        return work(value)

    module.work, module.awork = work, awork
    yield module
    guard._counts.clear()


def before(wrapped: Any, *_: Any) -> Any:
    raise Ours


def after(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
    wrapped(*args, **kwargs)
    raise Ours


def instead(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
    try:
        return wrapped(*args, **kwargs)
    except Theirs:
        raise Ours from None


async def abefore(wrapped: Any, *_: Any) -> Any:
    raise Ours


async def aafter(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
    await wrapped(*args, **kwargs)
    raise Ours


async def ainstead(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
    try:
        return await wrapped(*args, **kwargs)
    except Theirs:
        raise Ours from None


CASES = [
    pytest.param("work", before, id="before"),
    pytest.param("work", after, id="after"),
    pytest.param("work", instead, id="in place of its error"),
    pytest.param("awork", abefore, id="before, awaited"),
    pytest.param("awork", aafter, id="after, awaited"),
    pytest.param("awork", ainstead, id="in place of its error, awaited"),
    pytest.param("awork", before, id="before a coroutine is made"),
    pytest.param("awork", after, id="after a coroutine is made", marks=pytest.mark.filterwarnings("error")),
]


def call(function: Any, value: Any) -> Any:
    made = function(value)
    return asyncio.run(made) if asyncio.iscoroutine(made) else made


@pytest.mark.parametrize(("name", "wrapper"), CASES)
def test_the_app_gets_its_value_from_one_call(framework: Any, name: str, wrapper: Any) -> None:
    wrap(framework, name, wrapper)
    assert call(getattr(framework, name), 7) == 7
    assert framework.calls == [7]
    assert sum(internal_errors().values()) == (0 if "instead" in wrapper.__name__ else 1)


@pytest.mark.parametrize(("name", "wrapper"), CASES)
def test_the_app_gets_its_own_error_from_one_call(framework: Any, name: str, wrapper: Any) -> None:
    wrap(framework, name, wrapper)
    error = Theirs()
    with pytest.raises(Theirs) as raised:
        call(getattr(framework, name), error)
    assert raised.value is error
    assert framework.calls == [error]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_what_ends_a_program_passes_through(framework: Any, error: type[BaseException]) -> None:
    def stop(*_: Any) -> None:
        raise error

    framework.work = stop
    wrap(framework, "work", lambda wrapped, _, args, kwargs: wrapped(*args, **kwargs))
    with pytest.raises(error):
        framework.work(1)


def test_a_framework_that_has_changed_is_left_as_it_is_and_counted(framework: Any) -> None:
    wrap(framework, "gone", before)
    assert internal_errors() == {"fill of gone": 1}


def test_no_fill_wraps_in_any_other_way() -> None:
    sources = {path.name: path.read_text() for path in FILLS.glob("*.py")}
    assert [
        name for name, source in sources.items() if re.search("wrap_function_wrapper|setattr\\((?!session)", source)
    ] == []


class Source:
    """A stream of a model that knows whether it was closed."""

    def __init__(self, items: list[Any]) -> None:
        self.items, self.closed = items, False

    def sync(self) -> Iterator[Any]:
        try:
            for item in self.items:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.closed = True

    async def asynchronous(self) -> AsyncIterator[Any]:
        try:
            for item in self.items:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.closed = True


def test_a_stream_that_is_left_early_is_closed_at_once() -> None:
    source = Source([1, 2, 3])
    items = UsageAsker().iterate("server", source.sync, source.sync)
    assert next(items) == 1
    items.close()
    assert source.closed


def test_an_asynchronous_stream_that_is_left_early_is_closed_at_once() -> None:
    source = Source([1, 2, 3])

    async def leave() -> None:
        items: Any = UsageAsker().aiterate("server", source.asynchronous, source.asynchronous)
        async for item in items:
            assert item == 1
            break
        await items.aclose()
        assert source.closed

    asyncio.run(leave())


def test_an_asynchronous_stream_that_is_cancelled_is_closed_at_once() -> None:
    source, begun = Source([1]), asyncio.Event()

    async def slow() -> AsyncIterator[int]:
        async for item in source.asynchronous():
            yield item
            begun.set()
            await asyncio.sleep(60)

    async def read() -> None:
        async for _ in UsageAsker().aiterate("server", slow, slow):
            pass

    async def cancel() -> None:
        reading = asyncio.create_task(read())
        await begun.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    asyncio.run(cancel())
    assert source.closed


@pytest.mark.parametrize("way", ["sync", "asynchronous"])
def test_an_error_in_the_middle_of_a_stream_is_the_apps_and_asked_once(way: str) -> None:
    error, asked = Theirs("stream_options, as it happens"), []
    source = Source([1, error])

    def asking() -> Any:
        asked.append(1)
        return getattr(source, way)()

    async def read() -> list[Any]:
        return [item async for item in UsageAsker().aiterate("server", asking, asking)]

    with pytest.raises(Theirs) as raised:
        asyncio.run(read()) if way == "asynchronous" else list(UsageAsker().iterate("server", asking, asking))
    assert raised.value is error and asked == [1]
