"""gRPC messages on their way in: how long one may take, and how much all of them together may hold.

gRPC collects a message below the handler and bounds neither the time nor, over connections, the memory. A handler that
reads its message itself is called as soon as the headers are there; what came since then, the kernel knows.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import grpc

_LOOK_EVERY_S: Final = 0.05
_FIND_EVERY_S: Final = 0.25
_MOST_CALLS: Final = 2048  # that wait for their message, each some 30 KiB without a byte of it
_UNSEEN_BYTES: Final = 8 << 20  # what a slow message is taken for where the kernel does not say
_TCP_RECEIVED: Final = 128  # where `struct tcp_info` of linux/tcp.h holds tcpi_bytes_received


@dataclass(frozen=True, slots=True, kw_only=True)
class LetGo:
    """Why a call was ended before its message was there."""

    reason: str
    message: str
    retry_after: int | None


@dataclass(slots=True, eq=False)
class _Call:
    context: Any
    peer: str
    since: float
    before: int  # bytes that its connection had received when it began
    ended: LetGo | None = None


@dataclass(slots=True)
class Arrivals:
    """Used from one event loop.

    wait: for a message to be whole, and a second more for each `slowest_bytes` that its connection received meanwhile.
    most_bytes: of messages that arrive or are handled, all connections together.
    """

    port: int  # where the connections come to
    wait: timedelta
    slowest_bytes: int
    most_bytes: int
    largest: int  # message that is taken
    end: Callable[[Any, LetGo], Awaitable[None]]  # tells the client
    handling: int = 0  # bytes of messages that are whole and not answered yet
    _calls: dict[_Call, None] = field(default_factory=dict)  # the oldest first
    _sockets: _Sockets = field(init=False)
    _looking: asyncio.TimerHandle | None = None
    _ending: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._sockets = _Sockets(self.port)

    async def message(self, context: Any) -> bytes | None:
        """The next message of a call; None where there is none.

        Raises AbortError, as gRPC expects of a handler, where the call was ended meanwhile.
        """
        peer = context.peer()
        call = _Call(context, peer, time.monotonic(), self._sockets.received_by_known(peer))
        self._calls[call] = None
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(_LOOK_EVERY_S, self._look)
        if len(self._calls) > _MOST_CALLS:
            self._let_go(next(iter(self._calls)), _TOO_MANY)
        try:
            body = await context.read()
        finally:
            self._calls.pop(call, None)
        if call.ended is not None:
            raise grpc.aio.AbortError(call.ended.message)
        return body if isinstance(body, bytes) else None

    def _look(self) -> None:
        """Who takes too long, and who holds too much."""
        self._looking = None
        now = time.monotonic()
        slow: dict[str, list[_Call]] = {}
        for call in self._calls:
            if call.ended is None and now - call.since >= _LOOK_EVERY_S:
                slow.setdefault(call.peer, []).append(call)
        received = self._sockets.received(slow, now=now)
        held: dict[str, int] = {}
        for peer, calls in slow.items():
            seen = received.get(peer)
            most = self.largest * len(calls)
            held[peer] = min(most, _UNSEEN_BYTES * len(calls) if seen is None else max(0, seen - calls[0].before))
            for call in calls:
                came = 0 if seen is None else max(0, seen - call.before)
                if now - call.since > self.wait.total_seconds() + came / self.slowest_bytes:
                    self._let_go(call, _TOO_SLOW)
        together = self.handling + sum(held.values())
        for peer in sorted(held, key=lambda peer: held[peer], reverse=True):
            if together <= self.most_bytes:
                break
            together -= held[peer]
            for call in slow[peer]:
                self._let_go(call, TOO_MUCH)
        if self._calls:
            self._looking = asyncio.get_running_loop().call_later(_LOOK_EVERY_S, self._look)

    def _let_go(self, call: _Call, why: LetGo) -> None:
        if call.ended is not None:
            return
        call.ended = why
        self._calls.pop(call, None)
        task = asyncio.get_running_loop().create_task(self._tell(call.context, why))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _tell(self, context: Any, why: LetGo) -> None:
        with suppress(grpc.aio.AbortError, grpc.aio.UsageError, asyncio.CancelledError):
            await self.end(context, why)


_TOO_SLOW: Final = LetGo(reason="slow", message="the message took too long", retry_after=None)
TOO_MUCH: Final = LetGo(reason="busy", message="too much is being received at once", retry_after=1)
_TOO_MANY: Final = LetGo(reason="busy", message="too many calls wait for their message", retry_after=1)


class _Sockets:
    """How much each connection of this process to a port has received, as the kernel counts it (Linux)."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._known: dict[str, int] = {}  # peer → file descriptor
        self._looked = -math.inf

    def received_by_known(self, peer: str) -> int:
        """0 for a connection that was not looked for before: then all it ever received counts."""
        number = self._known.get(peer)
        return 0 if number is None else self._ask(peer, number) or 0

    def received(self, peers: Collection[str], *, now: float) -> dict[str, int]:
        """Bytes by peer, as far as they can be told."""
        if sys.platform != "linux":
            return {}
        if now - self._looked > _FIND_EVERY_S and any(peer not in self._known for peer in peers):
            self._looked, self._known = now, dict(self._all())
        found = {}
        for peer in peers:
            number = self._known.get(peer)
            if number is not None and (size := self._ask(peer, number)) is not None:
                found[peer] = size
        return found

    def _all(self) -> Iterator[tuple[str, int]]:
        for path in Path("/proc/self/fd").iterdir():
            with suppress(OSError), _borrowed(int(path.name)) as each:
                if each.type == socket.SOCK_STREAM and each.family in (socket.AF_INET, socket.AF_INET6):
                    _, port = each.getsockname()[:2]
                    if port == self._port:
                        yield _as_grpc(*each.getpeername()[:2]), int(path.name)

    def _ask(self, peer: str, number: int) -> int | None:
        with suppress(OSError, struct.error), _borrowed(number) as each:
            if _as_grpc(*each.getpeername()[:2]) == peer:
                told = each.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                return int(struct.unpack_from("Q", told, _TCP_RECEIVED)[0])
        del self._known[peer]  # closed, and its number may be somebody else's
        return None


@contextmanager
def _borrowed(number: int) -> Iterator[socket.socket]:
    """A descriptor of gRPC's, only to be asked: should it be closed meanwhile, an answer is wrong once."""
    each = socket.socket(fileno=number)
    try:
        yield each
    finally:
        each.detach()


def _as_grpc(host: str, port: int) -> str:
    """How gRPC names a peer."""
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else address
    return f"ipv4:{mapped}:{port}" if mapped is not None else f"ipv6:%5B{host}%5D:{port}"
