"""Time that passes only when the script says so: an afternoon at the help desk takes seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from contextvars import ContextVar
from typing import TypeVar

import opentelemetry.sdk._logs._internal as sdk_logs
import opentelemetry.sdk.trace as sdk_trace

T = TypeVar("T")

_now_ns: ContextVar[int] = ContextVar("demo_now_ns")


def now_ns() -> int:
    """The script's time inside a case, the real one outside."""
    return _now_ns.get(0) or time.time_ns()


def begin(at_ns: int) -> None:
    """What follows in this task happens from `at_ns` on."""
    _now_ns.set(at_ns)


def spend(seconds: float) -> None:
    """Work, or waiting for somebody else's."""
    _now_ns.set(now_ns() + int(seconds * 1e9))


async def together(*work: Awaitable[T]) -> list[T]:
    """All of `work` at the same time; it is over when the slowest is."""

    async def one(part: Awaitable[T]) -> tuple[T, int]:
        return await part, now_ns()

    done = await asyncio.gather(*map(one, work))  # each in a copy of the context, so with a clock of its own
    _now_ns.set(max(ended for _, ended in done))
    return [value for value, _ in done]


def rule_the_sdk() -> None:
    """Make spans and log records carry this time. The SDK asks the module-level name and offers no other way."""
    sdk_trace.time_ns = now_ns  # type: ignore[attr-defined]
    sdk_logs.time_ns = now_ns  # type: ignore[attr-defined]
