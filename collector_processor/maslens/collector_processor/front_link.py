"""What a front end and the journal's owner tell each other over a Unix socket: frames of kind, number and bytes."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Callable
from datetime import timedelta
from enum import IntEnum
from typing import Final

from maslens.collector_processor.errors import TooManyRequests, TryAgain
from maslens.collector_processor.signals import CODES, NAMES, Signal
from maslens.collector_processor.sink import Prepared

SOCKET_BYTES: Final = 4 << 20  # asked of the system for each direction; it may give less
_HEAD = struct.Struct("<BII")  # kind, number (of a request), bytes that follow
_KEEP = struct.Struct("<BBIIH")  # signal, mended, items, bytes as received, bytes of what was rejected (JSON)
_SPEND = struct.Struct("<II")  # which grant, bytes


class Kind(IntEnum):
    CONFIG = 1  # owner: how to serve, pickled; the first frame
    READY = 2  # front end: it listens
    FAILED = 3  # front end: why it cannot
    KEEP = 4  # front end: a request to put on disk
    SPEND = 5  # front end: bytes to count against a rate
    DONE = 6  # owner: a KEEP is on disk, a SPEND is allowed
    AGAIN = 7  # owner: it is not, and when to try again
    REFUSED = 8  # front end: it refused a request for this reason
    REFUSING = 9  # owner: why nothing is taken just now; empty: everything is again
    LOG = 10  # front end: a line for the owner's log
    STOP = 11  # owner: take no more, end what is under way within so many seconds


class Link(asyncio.BufferedProtocol):
    """One end. `on_frame` gets each frame, its bytes in memory of their own; `on_lost` is told once."""

    def __init__(self, on_frame: Callable[[Link, Kind, int, memoryview], None], on_lost: Callable[[], None]) -> None:
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._head = bytearray(_HEAD.size)
        self._into = memoryview(self._head)  # where the next bytes go
        self._filled = 0
        self._kind, self._number = Kind.READY, 0
        self._in_head = True
        self._out: list[bytes] = []  # small frames of this turn of the loop

    # --- out --------------------------------------------------------------------------------------------------------

    def send(self, kind: Kind, number: int = 0, body: bytes = b"") -> None:
        """Small frames of one turn of the event loop leave together."""
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(_HEAD.pack(kind, number, len(body)) + body)

    def send_keep(self, number: int, signal: Signal, prepared: Prepared, *, size: int, mended: bool) -> None:
        rejected = json.dumps(dict(prepared.rejected)).encode() if prepared.rejected else b""
        told = _KEEP.pack(CODES[signal], mended, prepared.items, size, len(rejected)) + rejected
        body = prepared.body if prepared.items else b""
        self._flush()
        if self._transport is not None:
            self._transport.write(_HEAD.pack(Kind.KEEP, number, len(told) + len(body)) + told)
            self._transport.write(body)

    def flush(self) -> None:
        """Hand everything to the system's care, as far as it takes it."""
        self._flush()

    def close(self) -> None:
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        out, self._out = b"".join(self._out), []
        if out and self._transport is not None:
            self._transport.write(out)

    # --- in ---------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        self._on_lost()

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._into[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        if self._filled < len(self._into):
            return
        if self._in_head:
            kind, self._number, length = _HEAD.unpack(self._head)
            self._kind = Kind(kind)
            if length:
                self._into, self._filled, self._in_head = memoryview(bytearray(length)), 0, False
                return
            body = memoryview(b"")
        else:
            body = self._into
        self._into, self._filled, self._in_head = memoryview(self._head), 0, True
        self._on_frame(self, self._kind, self._number, body)


def unpack_keep(body: memoryview) -> tuple[Signal, Prepared, int, bool]:
    """Signal, what to keep, bytes as received, whether it was mended."""
    code, mended, items, size, length = _KEEP.unpack_from(body)
    start = _KEEP.size + length
    rejected = json.loads(bytes(body[_KEEP.size : start])) if length else {}
    return NAMES[code], Prepared(body[start:], items, rejected), size, bool(mended)


def pack_spend(grant: int, size: int) -> bytes:
    return _SPEND.pack(grant, size)


def unpack_spend(body: memoryview) -> tuple[int, int]:
    grant, size = _SPEND.unpack(body)
    return grant, size


def pack_again(refusal: TryAgain) -> bytes:
    return json.dumps(
        {
            "too_many": isinstance(refusal, TooManyRequests),
            "message": str(refusal),
            "reason": refusal.reason,
            "delay_s": refusal.delay.total_seconds(),
        }
    ).encode()


def unpack_again(body: memoryview) -> TryAgain:
    told = json.loads(bytes(body))
    kind = TooManyRequests if told["too_many"] else TryAgain
    return kind(told["message"], reason=told["reason"], delay=timedelta(seconds=told["delay_s"]))
