"""The one thread that writes: whoever appends while it syncs shares the next sync."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeAlias

import structlog
from maslens.collector_processor.errors import TryAgain
from maslens.collector_processor.records import RECORD_HEADER, pack_record
from maslens.collector_processor.shelf import Position, Shelf
from maslens.collector_processor.signals import CODES, Signal

_log = structlog.get_logger(__name__)

Waiter: TypeAlias = "Future[int] | tuple[asyncio.AbstractEventLoop, asyncio.Future[int]]"


@dataclass(frozen=True, slots=True)
class Entry:
    signal: Signal
    payload: bytes | memoryview
    items: int
    waiter: Waiter
    received_ns: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """An entry that is on disk."""

    entry: Entry
    position: Position
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterLimits:
    segment_bytes: int
    held_bytes: int
    queue_bytes: int
    min_free_bytes: int


class GroupWriter:
    """Writes to a shelf. `on_durable` is called before those who wait are told."""

    def __init__(self, shelf: Shelf, limits: WriterLimits, on_durable: Callable[[Sequence[Arrival]], None]) -> None:
        self.refusal: TryAgain | None = None  # why nothing is taken just now
        self.queued_bytes = 0
        self.appended_records = self.appended_bytes = self.syncs = self.write_errors = 0
        self.sync_seconds = 0.0
        self._shelf = shelf
        self._limits = limits
        self._on_durable = on_durable
        self._queue: list[Entry] = []
        self._changed = threading.Condition()
        self._closing = False
        self._broken = False  # after a failed write or sync nobody knows what the segment's end holds
        self._thread = threading.Thread(target=self._run, name="maslens-journal", daemon=True)
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Queue an entry; raises TryAgain where it cannot be kept."""
        refusal = self.refusal
        if refusal is not None:
            raise refusal.again()
        with self._changed:
            if self._closing:
                raise TryAgain("the receiver is stopping", reason="stopping")
            if self._queue and self.queued_bytes + len(entry.payload) > self._limits.queue_bytes:
                raise TryAgain("the journal's disk is slower than its senders", reason="queue_full")
            self._queue.append(entry)
            self.queued_bytes += len(entry.payload)
            self._changed.notify()

    def close(self) -> None:
        """Write what is queued and end."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._queue and not self._closing:
                    self._changed.wait(0.5 if self.refusal else None)  # a refusal ends although nobody asks
                entries, self._queue = self._queue, []
                self.queued_bytes = 0
                closing = self._closing
            if entries:
                self._write(entries)
            elif closing:
                return
            self.refusal = self._why_not()

    def _write(self, entries: list[Entry]) -> None:
        shelf = self._shelf
        try:
            if self._broken or shelf.end.offset >= self._limits.segment_bytes:
                shelf.rotate()
                self._broken = False
            position, first = shelf.end, shelf.next_sequence
            parts: list[bytes | memoryview] = []
            for sequence, entry in enumerate(entries, first):
                parts.append(
                    pack_record(
                        CODES[entry.signal],
                        entry.payload,
                        items=entry.items,
                        sequence=sequence,
                        received_ns=entry.received_ns,
                    )
                )
                parts.append(entry.payload)
            self.sync_seconds += shelf.append(parts, records=len(entries))
        except OSError as error:
            self._broken = True
            self.write_errors += 1
            self.refusal = _cannot_write(error)
            _log.error("the journal cannot be written", directory=str(shelf.directory), error=str(error))
            _settle([entry.waiter for entry in entries], self.refusal)
            return
        self.syncs += 1
        self.appended_records += len(entries)
        arrivals, offset = [], position.offset
        for sequence, entry in enumerate(entries, first):
            arrivals.append(Arrival(entry, Position(position.segment, offset), sequence))
            offset += RECORD_HEADER + len(entry.payload)
            self.appended_bytes += len(entry.payload)
        self._on_durable(arrivals)
        _settle([entry.waiter for entry in entries], first)

    def _why_not(self) -> TryAgain | None:
        if self._broken:
            try:
                self._shelf.rotate()
            except OSError as error:
                return _cannot_write(error)
            self._broken = False
        held = self._shelf.held_bytes()
        if held >= self._limits.held_bytes:
            return TryAgain(f"the journal holds {held} bytes that the store has not taken yet", reason="journal_full")
        try:
            disk = os.statvfs(self._shelf.directory)
        except OSError as error:
            return _cannot_write(error)
        if disk.f_bavail * disk.f_frsize < self._limits.min_free_bytes:
            return TryAgain("the journal's disk is nearly full", reason="disk_full")
        return None


def entry(signal: Signal, payload: bytes | memoryview, items: int, waiter: Waiter) -> Entry:
    return Entry(signal, payload, items, waiter, time.time_ns())


def _cannot_write(error: OSError) -> TryAgain:
    return TryAgain(f"the journal cannot be written: {error.strerror or error}", reason="disk_error")


def _settle(waiters: list[Waiter], outcome: int | TryAgain) -> None:
    """Tell everybody: the sequence numbers from `outcome` on, or the error. One wake-up an event loop."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[int], int | TryAgain]]] = defaultdict(list)
    for index, waiter in enumerate(waiters):
        result = outcome + index if isinstance(outcome, int) else outcome.again()
        if isinstance(waiter, Future):
            if isinstance(result, int):
                waiter.set_result(result)
            else:
                waiter.set_exception(result)
        else:
            loops[waiter[0]].append((waiter[1], result))
    for loop, results in loops.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle_here, results)


def _settle_here(results: list[tuple[asyncio.Future[int], int | TryAgain]]) -> None:
    for future, result in results:
        if future.done():  # its client is gone
            continue
        if isinstance(result, int):
            future.set_result(result)
        else:
            future.set_exception(result)
