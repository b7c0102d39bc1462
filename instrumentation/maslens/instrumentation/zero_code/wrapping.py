"""The one way in which a fill puts itself around a framework's function: whatever fails in it, the app gets its own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

from maslens.instrumentation.guard import swallowed
from wrapt import wrap_function_wrapper

Wrapper: TypeAlias = Callable[[Any, Any, Any, Any], Any]  # wrapped, instance, args, kwargs


def wrap(module: Any, name: str, wrapper: Wrapper) -> None:
    """Have `wrapper` called around `module.name`; a framework that has no such thing any more is left as it is."""
    safe = _safe_coroutine(wrapper, name) if inspect.iscoroutinefunction(wrapper) else _safe(wrapper, name)
    try:
        wrap_function_wrapper(module, name, safe)
    except Exception as mistake:
        swallowed(f"fill of {name}", mistake)


class _Once:
    """What is wrapped, and how its call went: a failure of its own is the app's business, any other is ours."""

    __slots__ = ("_wrapped", "error", "over", "value")

    def __init__(self, wrapped: Callable[..., Any]) -> None:
        self._wrapped = wrapped
        self.over = False
        self.value: Any = None
        self.error: BaseException | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            self.value = self._wrapped(*args, **kwargs)
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.over = True
        return self.value

    async def later(self, *args: Any, **kwargs: Any) -> Any:
        try:
            self.value = await self._wrapped(*args, **kwargs)
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.over = True
        return self.value


def _safe(wrapper: Wrapper, name: str) -> Wrapper:
    def around(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        once = _Once(wrapped)
        try:
            return wrapper(once, instance, args, kwargs)
        except Exception as mistake:
            if mistake is once.error:
                raise
            swallowed(f"around {name}", mistake)
        if once.error is not None:
            raise once.error
        return once.value if once.over else wrapped(*args, **kwargs)

    return around


def _safe_coroutine(wrapper: Wrapper, name: str) -> Wrapper:
    async def around(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        once = _Once(wrapped)
        try:
            return await wrapper(once.later, instance, args, kwargs)
        except Exception as mistake:
            if mistake is once.error:
                raise
            swallowed(f"around {name}", mistake)
        if once.error is not None:
            raise once.error
        return once.value if once.over else await wrapped(*args, **kwargs)

    return around
