"""One thing that is a context manager, an async context manager and a decorator of any kind of function.

A subclass says what happens at the beginning and at the end; the rest is here: the OpenTelemetry context made current
exactly while the app's own code runs, generators included, and a wall between our errors and the app's.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextvars import Token
from types import AsyncGeneratorType, CoroutineType, GeneratorType, TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, cast
from weakref import finalize

from maslens.instrumentation.guard import swallowed
from maslens.instrumentation.here import enter, here, leave
from opentelemetry.context import Context

if TYPE_CHECKING:
    from typing_extensions import Self

F = TypeVar("F", bound=Callable[..., Any])
Spec = TypeVar("Spec")

Call: TypeAlias = "tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]"  # of a decorated function


class Managed(Generic[Spec]):
    """Used for one `with` at a time, or as a decorator of functions that may run any number of times at once.

    spec: what it was made with; it never changes, so that every call of a decorated function starts from it. What is
    set later has its first value on the class: one is made for every block and every call.
    """

    _call: Call | None = None  # for settings that depend on the arguments
    _token: Token[Context] | None = None
    _inner: Context | None = None  # stays None where starting failed
    _outer: Context
    _unstarted: finalize[..., Any] | None = None

    def __init__(self, spec: Spec) -> None:
        self._spec = spec

    # --- what a subclass says

    def _begin(self, outer: Context) -> Context:
        """Start; the context returned is current inside."""
        raise NotImplementedError

    def _finish(self, error: BaseException | None) -> None:
        """End; `error` is what the app's code raised."""
        raise NotImplementedError

    def _returned(self, value: Any) -> None:
        """What the decorated function returned; called before `_finish`."""

    def _fresh(self) -> Self:
        """Another one made with the same spec, for one call of a decorated function."""
        return type(self)(self._spec)

    def _adopt(self, function: Callable[..., Any]) -> None:
        """`function` is about to be decorated."""

    # --- context manager

    def __enter__(self) -> Self:
        try:
            self._outer = outer = here()
            self._inner = inner = self._begin(outer)
            self._token = enter(inner)
        except Exception as mistake:
            swallowed(f"{type(self).__name__} start", mistake)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exit(error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exit(error)

    def _exit(self, error: BaseException | None) -> None:
        try:
            try:
                if self._token is not None:
                    self._leave(self._token)
            finally:
                self._finish(error)
        except Exception as mistake:
            swallowed(f"{type(self).__name__} end", mistake)

    def _resume(self) -> None:
        if self._inner is not None:
            self._token = enter(self._inner)

    def _leave(self, token: Token[Context]) -> None:
        self._token = None
        try:
            leave(token)
        except ValueError:  # begun in another task or thread: restore only what is visibly ours
            if here() is self._inner:
                enter(self._outer)

    def _suspend(self) -> None:
        """Between two steps of a generator: whatever its body made current waits with it."""
        if self._token is not None:
            self._inner = here()
            self._leave(self._token)

    # --- decorator

    def __call__(self, function: F) -> F:
        try:
            return self._decorated(function)
        except Exception as mistake:
            swallowed(f"{type(self).__name__} decorator", mistake)
            return function

    def _decorated(self, function: F) -> F:
        if isinstance(function, (staticmethod, classmethod)):
            return cast(F, type(function)(self._decorated(function.__func__)))
        if inspect.isclass(function):
            raise TypeError("a class cannot be decorated, its methods can")
        self._adopt(function)
        body = cast("Callable[..., Any]", function)
        called = body if inspect.isroutine(body) or isinstance(body, functools.partial) else type(body).__call__
        started = self._started

        if inspect.iscoroutinefunction(called):

            async def coroutine(*args: Any, **kwargs: Any) -> Any:
                return await started(body, args, kwargs)._await(body(*args, **kwargs))

            wrapper: Callable[..., Any] = coroutine
        elif inspect.isgeneratorfunction(called):

            def generator(*args: Any, **kwargs: Any) -> Any:
                return (yield from started(body, args, kwargs)._drive(body(*args, **kwargs)))

            wrapper = generator
        elif inspect.isasyncgenfunction(called):

            async def stream(*args: Any, **kwargs: Any) -> Any:
                driven = started(body, args, kwargs)._stream(body(*args, **kwargs))
                step, sent = driven.asend, None
                while True:
                    try:
                        item = await step(sent)
                    except StopAsyncIteration:
                        return
                    try:
                        step, sent = driven.asend, (yield item)
                    except GeneratorExit:
                        await driven.aclose()
                        raise
                    except BaseException as thrown:
                        step, sent = driven.athrow, thrown

            wrapper = stream
        else:

            def plain(*args: Any, **kwargs: Any) -> Any:
                return started(body, args, kwargs)._run(body, args, kwargs)

            wrapper = plain
        return cast(F, functools.wraps(function)(wrapper))

    def _resolved(self, value: Any) -> Any:
        """A setting given as a function is asked for the call at hand; any other is itself."""
        if not callable(value):
            return value
        if self._call is None:
            return value()
        _, args, kwargs = self._call
        return value(*args, **kwargs)

    def _started(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Managed[Any]:
        try:
            fresh = self._fresh()
            fresh._call = (function, args, kwargs)
        except Exception as mistake:
            swallowed(f"{type(self).__name__} call", mistake)
            return _Nothing(None)
        return fresh

    def _run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.__enter__()
        try:
            value = function(*args, **kwargs)
        except BaseException as error:
            self._exit(error)
            raise
        kind = type(value)
        if kind is CoroutineType or kind is GeneratorType or kind is AsyncGeneratorType:  # the work is still to come
            self._suspend()
            if kind is CoroutineType:
                return self._owed(self._await(value, begun=True))
            driven = self._drive(value, begun=True) if kind is GeneratorType else self._stream(value, begun=True)
            return self._owed(driven)
        self._done(value)
        return value

    def _owed(self, work: Any) -> Any:
        """`work` ends what is begun already; where nobody ever starts it, its own end does."""
        self._unstarted = finalize(work, self._exit, GeneratorExit())
        self._unstarted.atexit = False
        return work

    def _started_late(self) -> None:
        if self._unstarted is not None:
            self._unstarted.detach()

    def _done(self, value: Any) -> None:
        try:
            self._returned(value)
        except Exception as mistake:
            swallowed(f"{type(self).__name__} result", mistake)
        self._exit(None)

    async def _await(self, work: Coroutine[Any, Any, Any], *, begun: bool = False) -> Any:
        if begun:
            self._started_late()
            self._resume()
        else:
            self.__enter__()
        try:
            value = await work
        except BaseException as error:
            self._exit(error)
            raise
        self._done(value)
        return value

    def _drive(self, work: Generator[Any, Any, Any], *, begun: bool = False) -> Generator[Any, Any, Any]:
        step: Callable[..., Any] = work.send
        sent: Any = None
        if begun:
            self._started_late()
        else:
            self.__enter__()
            self._suspend()
        while True:
            self._resume()
            try:
                item = step(sent)
            except StopIteration as stop:
                self._done(stop.value)
                return stop.value
            except BaseException as error:
                self._exit(error)
                raise
            self._suspend()
            try:
                step, sent = work.send, (yield item)
            except GeneratorExit as closed:
                self._resume()
                try:
                    work.close()
                finally:
                    self._exit(closed)
                raise
            except BaseException as thrown:
                step, sent = work.throw, thrown

    async def _stream(self, work: AsyncGenerator[Any, Any], *, begun: bool = False) -> AsyncGenerator[Any, Any]:
        step: Callable[..., Any] = work.asend
        sent: Any = None
        if begun:
            self._started_late()
        else:
            self.__enter__()
            self._suspend()
        while True:
            self._resume()
            try:
                item = await step(sent)
            except StopAsyncIteration:
                self._done(None)
                return
            except BaseException as error:
                self._exit(error)
                raise
            self._suspend()
            try:
                step, sent = work.asend, (yield item)
            except GeneratorExit as closed:
                self._resume()
                try:
                    await work.aclose()
                finally:
                    self._exit(closed)
                raise
            except BaseException as thrown:
                step, sent = work.athrow, thrown


class _Nothing(Managed[None]):
    """Stands in where ours could not be made: the app's function runs, nothing is recorded."""

    def _begin(self, outer: Context) -> Context:
        return outer

    def _finish(self, error: BaseException | None) -> None:
        pass
