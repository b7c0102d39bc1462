"""Behind the transports: where prepared requests are kept and counted, whichever process that is in."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from maslens.collector_processor.access import Grant, RateLimiter
from maslens.collector_processor.errors import TryAgain
from maslens.collector_processor.journal import Journal
from maslens.collector_processor.signals import SIGNALS, Signal


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request as it goes into the journal, and what was left out of it."""

    body: bytes | memoryview
    items: int  # spans or log records
    rejected: Mapping[str, int]  # reason → spans or log records


class Sink(Protocol):
    """What a transport may rely on. Called from one event loop."""

    def refusal(self) -> TryAgain | None:
        """Why nothing can be taken just now, known before any work is done."""

    async def spend(self, grant: Grant, size: int) -> None:
        """Count `size` bytes against the grant's rate, which all transports and processes share; may raise
        TooManyRequests."""

    async def keep(self, signal: Signal, prepared: Prepared, *, size: int, mended: bool) -> None:
        """Return once the request is on disk and counted. Raises TryAgain where nothing was kept."""

    def refused(self, reason: str) -> None:
        """Count a request that was answered with a refusal."""


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
    """Kept by the journal's owner; read by anybody."""

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


class JournalSink:
    """The sink in the process that owns the journal."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.counters = Counters()
        self.rates = RateLimiter()

    def refusal(self) -> TryAgain | None:
        refusal = self.journal.refusal()
        return refusal.again() if refusal else None

    async def spend(self, grant: Grant, size: int) -> None:
        self.rates.spend(grant, size, now=time.monotonic())

    async def keep(self, signal: Signal, prepared: Prepared, *, size: int, mended: bool) -> None:
        if prepared.items:
            await self.journal.append_async(signal, prepared.body, items=prepared.items)
        self.counters.took(signal, size, prepared, mended=mended)

    def refused(self, reason: str) -> None:
        self.counters.refuse(reason)
