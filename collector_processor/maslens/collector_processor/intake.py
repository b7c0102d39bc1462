"""What both transports do with a request: check it, mend what can be mended, keep it, answer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from maslens.collector_processor.answers import Taken, rejection_message
from maslens.collector_processor.errors import Refused, TryAgain
from maslens.collector_processor.flattening import flatten_request
from maslens.collector_processor.inspection import Window, inspect
from maslens.collector_processor.journal import Journal
from maslens.collector_processor.mending import mend
from maslens.collector_processor.signals import SIGNALS, Signal

Stage: TypeAlias = Callable[[Signal, bytes], bytes]
"""A serialized request in, one out: no clock, no socket. Values are plain by then (no arrays or maps)."""

_OFF_THE_LOOP: Final = 1 << 20  # larger bodies are looked at in a thread, so that others are served meanwhile


@dataclass(frozen=True, slots=True)
class Prepared:
    body: bytes
    items: int
    rejected: Mapping[str, int]


def prepare(signal: Signal, body: bytes, *, now_ns: int, window: Window, stages: Sequence[Stage] = ()) -> Prepared:
    """The request as it goes into the journal. Raises Malformed."""
    bounds = window.at(now_ns)
    found = inspect(signal, body, bounds)
    items, rejected = found.items, {}
    if not (found.right and found.readable):
        mended = mend(signal, body, bounds, readable=found.readable)
        body, items, rejected = mended.body, mended.items, dict(mended.rejected)
        if not found.readable:  # only now it can be told
            found = inspect(signal, body, bounds)
    if found.nested and items:
        body = flatten_request(signal, body)
    if items:
        for stage in stages:
            body = stage(signal, body)
    return Prepared(body, items, rejected)


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeStats:
    """Counters since start, of both transports together."""

    requests: dict[Signal, int]  # that were answered with success
    items: dict[Signal, int]  # spans or log records acknowledged
    bytes: int  # of protobuf, before mending
    refused: dict[str, int]  # reason → requests
    rejected: dict[str, int]  # reason → spans or log records left out of a partial success
    mended: int  # requests that took the slow way


@dataclass(slots=True)
class Counters:
    """Kept by whoever answers; read by anybody."""

    requests: Counter[Signal] = field(default_factory=Counter)
    items: Counter[Signal] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    mended: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def took(self, signal: Signal, size: int, prepared: Prepared, *, mended: bool) -> None:
        with self._lock:
            self.requests[signal] += 1
            self.items[signal] += prepared.items
            self.bytes += size
            self.mended += mended
            self.rejected.update(prepared.rejected)

    def refuse(self, reason: str) -> None:
        with self._lock:
            self.refused[reason] += 1

    def stats(self) -> IntakeStats:
        with self._lock:
            return IntakeStats(
                requests={signal: self.requests[signal] for signal in SIGNALS},
                items={signal: self.items[signal] for signal in SIGNALS},
                bytes=self.bytes,
                refused=dict(self.refused),
                rejected=dict(self.rejected),
                mended=self.mended,
            )


class Intake:
    """Takes serialized requests into the journal."""

    def __init__(self, journal: Journal, *, window: Window, stages: Sequence[Stage] = ()) -> None:
        self.counters = Counters()
        self._journal = journal
        self._window = window
        self._stages = tuple(stages)

    def refusal(self) -> TryAgain | None:
        """Why nothing can be taken just now, known before any work is done."""
        refusal = self._journal.refusal()
        return refusal.again() if refusal else None

    async def take(self, signal: Signal, body: bytes) -> Taken:
        """Return once the request's spans are on disk. Raises Refused where none of them is kept."""
        try:
            if len(body) > _OFF_THE_LOOP:
                prepared = await asyncio.get_running_loop().run_in_executor(None, self._prepare, signal, body)
            else:
                prepared = self._prepare(signal, body)
            if prepared.items:
                await self._journal.append_async(signal, prepared.body, items=prepared.items)
        except Refused as refused:
            self.counters.refuse(refused.reason)
            raise
        self.counters.took(signal, len(body), prepared, mended=prepared.body is not body)
        number = sum(prepared.rejected.values())
        if not number:
            return Taken(prepared.items)
        message = rejection_message(signal, prepared.rejected, total=prepared.items + number)
        return Taken(prepared.items, number, message)

    def _prepare(self, signal: Signal, body: bytes) -> Prepared:
        return prepare(signal, body, now_ns=time.time_ns(), window=self._window, stages=self._stages)
