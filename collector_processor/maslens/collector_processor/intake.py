"""What both transports do with a request: check it, mend what can be mended, keep it, answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from maslens.collector_processor.answers import Taken, rejection_message
from maslens.collector_processor.errors import Malformed, Refused
from maslens.collector_processor.flattening import flatten_request
from maslens.collector_processor.inspection import Window, inspect
from maslens.collector_processor.mending import mend
from maslens.collector_processor.signals import Signal
from maslens.collector_processor.sink import Prepared, Sink

Stage: TypeAlias = Callable[[Signal, bytes], bytes]
"""A serialized request in, one out: no clock, no socket. Values are plain by then (no arrays or maps)."""

_OFF_THE_LOOP: Final = 1 << 20  # larger bodies are looked at in a thread, so that others are served meanwhile


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
            if items and not found.readable:
                raise Malformed("a field is not of the type it must be")  # a library skips it; the engine would not
    if found.nested and items:
        body = flatten_request(signal, body)
    if items:
        for stage in stages:
            body = stage(signal, body)
    return Prepared(body, items, rejected)


class Intake:
    """Takes serialized requests into the sink."""

    def __init__(self, sink: Sink, *, window: Window, stages: Sequence[Stage] = ()) -> None:
        self.sink = sink
        self._window = window
        self._stages = tuple(stages)

    async def take(self, signal: Signal, body: bytes) -> Taken:
        """Return once the request's spans are on disk. Raises Refused where none of them is kept."""
        try:
            if len(body) > _OFF_THE_LOOP:
                prepared = await asyncio.get_running_loop().run_in_executor(None, self._prepare, signal, body)
            else:
                prepared = self._prepare(signal, body)
            await self.sink.keep(signal, prepared, size=len(body), mended=prepared.body is not body)
        except Refused as refused:
            self.sink.refused(refused.reason)
            raise
        number = sum(prepared.rejected.values())
        if not number:
            return Taken(prepared.items)
        message = rejection_message(signal, prepared.rejected, total=prepared.items + number)
        return Taken(prepared.items, number, message)

    def _prepare(self, signal: Signal, body: bytes) -> Prepared:
        return prepare(signal, body, now_ns=time.time_ns(), window=self._window, stages=self._stages)
