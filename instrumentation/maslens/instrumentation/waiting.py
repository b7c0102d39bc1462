"""What waits to be sent, and the thread that sends it: the app neither waits for it nor holds gigabytes because of it.

The SDK's batch processors do nearly this. What they lack is said in docs/adr/025: a flush that keeps to its time, an
exit with one bound for all signals, a connection of its own for a forked child, and a full queue that costs nothing.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import deque
from copy import copy
from typing import Any

from maslens.instrumentation.config import BatchLimits, ExportConfig, Signal
from maslens.instrumentation.guard import swallowed
from maslens.instrumentation.outlet import Outlet
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context, attach, set_value
from opentelemetry.sdk._logs import LogRecordProcessor, ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

_FLUSH_MS = 30_000  # where nobody says how long; as the SDK has it


class Waiting:
    """A bounded queue and its thread. A full one drops what comes; only `flush` and `close` wait, each for its time."""

    _worker: threading.Thread

    def __init__(self, outlet: Outlet, limits: BatchLimits, *, exit_ms: int) -> None:
        self.outlet = outlet
        self.items: deque[Any] = deque()
        self.most = max(limits.max_queue, limits.max_batch)
        self.batch = limits.max_batch
        self.asleep = False
        self.closed = False
        self.exit_s = exit_ms / 1e3
        self._delay_s = limits.delay_ms / 1e3
        self._start()
        _open.append(self)

    def put(self, item: Any) -> None:
        """What `SpanBatches.on_end` does by itself, which saves two calls a span."""
        if len(self.items) >= self.most:
            self.outlet.dropped += 1
        elif self.outlet.room.take(item):
            self.items.append(item)
            if self.asleep and len(self.items) >= self.batch:
                self.wake()

    def wake(self) -> None:
        with self._turn:
            self.asleep = False
            self._turn.notify_all()

    def hurry(self) -> int:
        """Have all that waits sent now; what `flush` waits for."""
        with self._turn:
            self._asked += 1
            self._turn.notify_all()
            return self._asked

    def flush(self, seconds: float) -> bool:
        """Whether all that waits has been sent; False as soon as nobody listens, or when `seconds` are over."""
        until = time.monotonic() + seconds
        if self.closed:
            return False
        if not self.items and not self._busy:
            return True
        before, asked = self._failures, self.hurry()
        if self._busy and self.outlet.is_refused(seconds):
            return False  # which a thread that is trying again and again would not say in time
        with self._turn:
            done = self._turn.wait_for(lambda: self._answered >= asked, max(0.0, until - time.monotonic()))
        return done and self._failures == before

    def close(self, seconds: float) -> None:
        """Send what waits if that can be done in `seconds`, then stop for good."""
        until = time.monotonic() + seconds
        with self._turn:
            if self.closed:
                return
            self.closed = True
            self._turn.notify_all()
        if not (self._busy and self.outlet.is_refused(seconds)):
            self._worker.join(max(0.0, until - time.monotonic()))
        self._given_up = True
        self.outlet.leave_behind(len(self.items))
        self.outlet.shutdown()

    def renew(self) -> None:
        """In a forked child: what waits is the parent's, and so are the thread, its locks and its connection."""
        self.items.clear()
        self.outlet.renew()
        if not self.closed:
            self._start()

    def _start(self) -> None:
        self._turn = threading.Condition()
        self._asked = self._answered = self._failures = 0
        self._busy = self._given_up = self.asleep = False
        self.outlet.room.recount(())
        self._worker = threading.Thread(name=f"maslens {self.outlet.url}", target=self._work, daemon=True)
        self._worker.start()

    def _work(self) -> None:
        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))  # our own requests are not the app's
        closed = False
        while not closed:
            with self._turn:
                called = self._called()
                if not called:
                    self.asleep = True
                    called = self._turn.wait_for(self._called, self._delay_s)
                    self.asleep = False
                asked, closed = self._asked, self.closed
                whole = closed or asked > self._answered or not called
            try:
                self._send(whole=whole, last=closed or asked > self._answered)
            except Exception as mistake:
                self._failures += 1
                swallowed("export", mistake)
            with self._turn:
                self._busy = False
                self._answered = asked
                self._turn.notify_all()

    def _called(self) -> bool:
        return self.closed or self._asked > self._answered or len(self.items) >= self.batch

    def _send(self, *, whole: bool, last: bool) -> None:
        """The batches that are full, or all that waits by now. `last`: somebody waits for it."""
        left = len(self.items)
        if left and last and not self.outlet.is_reachable():
            self._failures += 1
            return
        while left > 0 and (whole or len(self.items) >= self.batch) and not self._given_up:
            self._busy = True
            batch = [self.items.popleft() for _ in range(min(self.batch, len(self.items)))]
            left -= len(batch)
            self.outlet.room.recount(self.items.copy())
            if not self.outlet.export(batch):
                self._failures += 1


class _Batches:
    """What a processor of either signal does with its queue, but for putting something in."""

    signal: Signal

    def __init__(self, outlet: Outlet, config: ExportConfig) -> None:
        self.outlet = outlet
        self._waiting = Waiting(outlet, config.batch_limits(self.signal), exit_ms=config.exit_ms)

    @property
    def closed(self) -> bool:
        return self._waiting.closed

    def force_flush(self, timeout_millis: int | None = _FLUSH_MS) -> bool:
        return self._waiting.flush((_FLUSH_MS if timeout_millis is None else timeout_millis) / 1e3)

    def shutdown(self) -> None:
        _leave(self._waiting)


class SpanBatches(_Batches, SpanProcessor):
    """Spans wait here for the next export."""

    signal: Signal = "traces"

    def __init__(self, outlet: Outlet, config: ExportConfig) -> None:
        super().__init__(outlet, config)
        self._room = outlet.room
        self._items = self._waiting.items

    def on_end(self, span: ReadableSpan) -> None:
        context, waiting, items = span.context, self._waiting, self._items
        if not context.trace_flags & 1 or waiting.closed:
            return
        if len(items) >= waiting.most:
            self.outlet.dropped += 1
            return
        if self._room.full or not context.span_id & 7:
            try:
                if not self._room.take(span):
                    return
            except Exception as mistake:
                swallowed("span end", mistake)
        items.append(span)
        if waiting.asleep and len(items) >= waiting.batch:
            waiting.wake()


class LogBatches(_Batches, LogRecordProcessor):
    """The same for log records."""

    signal: Signal = "logs"

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        try:
            if not self._waiting.closed:
                self._waiting.put(_readable(log_record))
        except Exception as mistake:
            swallowed("event", mistake)


def _readable(emitted: ReadWriteLogRecord) -> ReadableLogRecord:
    """What is exported, without the context: that would keep alive whatever the app has put into it."""
    record = copy(emitted.log_record)
    record.context = Context()
    return ReadableLogRecord(
        log_record=record,
        resource=emitted.resource or Resource.create({}),
        instrumentation_scope=emitted.instrumentation_scope,
        limits=emitted.limits,
    )


_open: list[Waiting] = []
_spent_s, _spent_at = 0.0, 0.0  # of the time that all of them have together at the end, and until when


def _leave(one: Waiting) -> None:
    """Close `one`; the others send meanwhile, so that the signal that comes last is not the one that is cut off.

    What one has waited for, the next has no more; it comes back with time, or where nothing is left open: a program
    that stops one of several and goes on has all of it at its own end.
    """
    global _spent_s, _spent_at
    start = time.monotonic()
    _spent_s = max(0.0, _spent_s - (start - _spent_at))
    for other in _open.copy():
        other.hurry()
    one.close(max(0.0, one.exit_s - _spent_s))
    if one in _open:
        _open.remove(one)
    _spent_at = time.monotonic()
    _spent_s = _spent_s + _spent_at - start if _open else 0.0


def leave_all() -> None:
    """Close what no provider has closed: one that was not asked to, or was shut down before it got ours."""
    for one in _open.copy():
        try:
            _leave(one)
        except Exception as mistake:
            swallowed("exit", mistake)


def _in_child() -> None:
    global _spent_s
    _spent_s = 0.0
    for one in _open:
        try:
            one.renew()
        except Exception as mistake:
            swallowed("fork", mistake)


atexit.register(leave_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
