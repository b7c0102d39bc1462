"""A front end: a process that serves both transports and hands prepared requests to the journal's owner.

Started by `front_ends`, with its end of a socket pair as the only argument. It opens neither a store nor a file, and
ends with its owner.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from maslens.collector_processor.access import Grant
from maslens.collector_processor.errors import TryAgain
from maslens.collector_processor.front_link import SOCKET_BYTES, Kind, Link, pack_spend, unpack_again
from maslens.collector_processor.inspection import Window
from maslens.collector_processor.intake import Intake, Stage
from maslens.collector_processor.signals import Signal
from maslens.collector_processor.sink import Prepared
from maslens.collector_processor.transports import TransportConfig, Transports


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontEndConfig:
    """What the owner tells a new front end."""

    transports: TransportConfig
    window: Window
    stages: Sequence[Stage]
    listening: tuple[int, ...]  # file descriptors of the HTTP sockets that all front ends accept from


class OwnerSink:
    """The sink on the other side of the link."""

    def __init__(self, grants: Sequence[Grant]) -> None:
        self._places = {grant: place for place, grant in enumerate(grants)}
        self._refusal: TryAgain | None = None
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._number = 0
        self._link: Link | None = None

    def connect(self, link: Link) -> None:
        self._link = link

    def refusal(self) -> TryAgain | None:
        return self._refusal.again() if self._refusal else None

    async def spend(self, grant: Grant, size: int) -> None:
        if grant.bytes_per_second == float("inf"):
            return
        number, answer = self._expect()
        self._to_owner().send(Kind.SPEND, number, pack_spend(self._places[grant], size))
        await answer

    async def keep(self, signal: Signal, prepared: Prepared, *, size: int, mended: bool) -> None:
        number, answer = self._expect()
        self._to_owner().send_keep(number, signal, prepared, size=size, mended=mended)
        await answer

    def refused(self, reason: str) -> None:
        self._to_owner().send(Kind.REFUSED, body=reason.encode())

    def told(self, kind: Kind, number: int, body: memoryview) -> None:
        """A frame from the owner."""
        if kind is Kind.REFUSING:
            self._refusal = unpack_again(body) if body else None
            return
        answer = self._waiting.pop(number)
        if answer.done():  # its client is gone
            return
        if kind is Kind.DONE:
            answer.set_result(None)
        else:
            answer.set_exception(unpack_again(body))

    def _expect(self) -> tuple[int, asyncio.Future[None]]:
        self._number = (self._number + 1) & 0xFFFFFFFF
        answer = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        return self._number, answer

    def _to_owner(self) -> Link:
        assert self._link is not None
        return self._link


class _FrontEnd:
    """Everything that happens in this process."""

    def __init__(self) -> None:
        self._config: asyncio.Future[FrontEndConfig] = asyncio.get_running_loop().create_future()
        self._stop: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._sink: OwnerSink | None = None

    async def run(self, end: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        _, link = await loop.create_connection(lambda: Link(self._on_frame, _owner_is_gone), sock=end)
        config = await self._config
        _log_over(link)
        sink = self._sink = OwnerSink([grant for _, grant in config.transports.tokens.grants])
        sink.connect(link)
        intake = Intake(sink, window=config.window, stages=config.stages)
        transports = Transports(config.transports, intake)
        try:
            await transports.start(listening=[socket.socket(fileno=number) for number in config.listening])
        except Exception as error:  # told to whoever started the receiver
            link.send(Kind.FAILED, body=str(error).encode())
            link.flush()
            return
        link.send(Kind.READY)
        await transports.stop(await self._stop)
        link.flush()

    def _on_frame(self, _link: Link, kind: Kind, number: int, body: memoryview) -> None:
        if kind is Kind.CONFIG:
            self._config.set_result(pickle.loads(body))  # noqa: S301  # from the process that started this one
        elif kind is Kind.STOP:
            self._stop.set_result(float(bytes(body)))
        else:
            assert self._sink is not None
            self._sink.told(kind, number, body)


def _owner_is_gone() -> None:
    """Nobody can acknowledge any more: senders see a closed connection and come back."""
    os._exit(0)


def _log_over(link: Link) -> None:
    """Log lines go to the owner, whose settings say which of them are shown and how."""

    loop = asyncio.get_running_loop()

    def hand_over(_logger: Any, level: str, event: Any) -> Any:
        line = json.dumps({"level": level, **event}, default=str).encode()
        loop.call_soon_threadsafe(link.send, Kind.LOG, 0, line)
        raise structlog.DropEvent

    structlog.configure(processors=[structlog.processors.format_exc_info, hand_over])


def main() -> None:
    # A signal to the whole group (Ctrl-C, a service manager) is the owner's to answer: it says when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    end = socket.socket(fileno=int(sys.argv[1]))
    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)

    async def run() -> None:
        await _FrontEnd().run(end)

    asyncio.run(run())
