"""The owner's side of its front ends: starts them, keeps what they prepared, restarts the dead, ends with them.

They are processes made anew (never forked: the embedded engine would not survive it). All accept from the same HTTP
sockets and share the gRPC port, so that clients see one receiver.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

import structlog
from maslens.collector_processor.access import Grant
from maslens.collector_processor.errors import ConfigError, TryAgain
from maslens.collector_processor.front_end import FrontEndConfig
from maslens.collector_processor.front_link import (
    SOCKET_BYTES,
    Kind,
    Link,
    pack_again,
    unpack_keep,
    unpack_spend,
)
from maslens.collector_processor.inspection import Window
from maslens.collector_processor.intake import Stage
from maslens.collector_processor.signals import Signal
from maslens.collector_processor.sink import JournalSink, Prepared
from maslens.collector_processor.transports import TransportConfig

_log = structlog.get_logger(__name__)
_MAIN: Final = "from maslens.collector_processor.front_end import main; main()"
_START_S: Final = 60.0
_REFUSAL_EVERY_S: Final = 0.05  # how long a front end may not know that nothing is taken; the owner refuses meanwhile
_PAUSES_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # before a restart, one after the other while it keeps dying
_HEALTHY_S: Final = 30.0  # who lived so long is restarted at once


@dataclass(slots=True)
class _FrontEnd:
    """One of them, in its present life."""

    place: int
    process: subprocess.Popen[bytes] | None = None
    link: Link | None = None
    ready: bool = False
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    keeper: asyncio.Task[None] | None = None
    deaths: int = 0  # in a row


class FrontEnds:
    """`number` front ends for one sink. Everything but the counters belongs to one event loop."""

    def __init__(
        self, config: TransportConfig, sink: JournalSink, *, number: int, window: Window, stages: Sequence[Stage]
    ) -> None:
        self.grpc_port = self.http_port = 0  # what was bound
        self.restarts = 0
        self._config = config
        self._sink = sink
        self._number = number
        self._window = window
        self._stages = tuple(stages)
        self._grants: tuple[Grant, ...] = tuple(grant for _, grant in config.tokens.grants)
        self._all: list[_FrontEnd] = []
        self._reserved: list[socket.socket] = []  # the gRPC port's
        self._listening: list[socket.socket] = []
        self._told = b""  # what the front ends know of the refusal
        self._teller: asyncio.Task[None] | None = None
        self._failure = ""  # why the first start failed
        self._started = False
        self._stopping = False
        self._hello = b""

    @property
    def serving(self) -> int:
        """How many answer just now."""
        return sum(each.ready for each in self._all)

    @property
    def pids(self) -> list[int]:
        return [each.process.pid for each in self._all if each.ready and each.process is not None]

    async def start(self) -> None:
        """Return once all of them serve. Raises ConfigError."""
        if not sys.platform.startswith("linux"):
            raise ConfigError("front ends need Linux, which alone spreads connections over processes")
        self._bind()
        self._hello = self._greeting()
        self._all = [_FrontEnd(place) for place in range(self._number)]
        for each in self._all:
            each.keeper = asyncio.create_task(self._keep_running(each))
        self._teller = asyncio.create_task(self._tell_refusals())
        give_up = time.monotonic() + _START_S
        while self.serving < self._number:
            if self._failure:
                raise ConfigError(self._failure)
            if time.monotonic() > give_up:
                raise ConfigError(f"the front ends did not start within {_START_S:.0f} s")
            await asyncio.sleep(0.02)
        self._started = True

    async def stop(self, grace: float) -> None:
        """Let them end what is under way for `grace` seconds; whoever does not end by itself is ended."""
        self._stopping = True
        if self._teller is not None:
            self._teller.cancel()
        for bound in (*self._listening, *self._reserved):
            bound.close()
        for each in self._all:
            if each.link is not None and each.ready:
                each.link.send(Kind.STOP, body=str(grace).encode())
            elif each.process is not None:
                each.process.kill()
        keepers = [each.keeper for each in self._all if each.keeper is not None]
        if keepers:
            _, late = await asyncio.wait(keepers, timeout=grace + 3)
            for each in self._all:
                if each.keeper in late and each.process is not None:
                    each.process.kill()
            await asyncio.gather(*keepers, return_exceptions=True)

    # --- processes --------------------------------------------------------------------------------------------------

    async def _keep_running(self, each: _FrontEnd) -> None:
        while not self._stopping:
            born = time.monotonic()
            each.gone.clear()
            await self._spawn(each)
            await each.gone.wait()
            each.ready, each.link = False, None
            assert each.process is not None
            if not self._stopping:
                with suppress(ProcessLookupError):
                    each.process.kill()  # without its link it is of no use
            code = await asyncio.get_running_loop().run_in_executor(None, each.process.wait)
            if self._stopping:
                return
            if not self._started:
                self._fail(f"a front end ended with {code}")
                return
            self.restarts += 1
            each.deaths = 1 if time.monotonic() - born > _HEALTHY_S else each.deaths + 1
            pause = _PAUSES_S[min(each.deaths, len(_PAUSES_S)) - 1]
            _log.error("a front end died and is started again", place=each.place, code=code, pause_s=pause)
            await asyncio.sleep(pause)

    def _fail(self, reason: str) -> None:
        if not self._failure:
            self._failure = reason

    async def _spawn(self, each: _FrontEnd) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
            inherited = [theirs.fileno(), *(bound.fileno() for bound in self._listening)]
            each.process = subprocess.Popen(  # noqa: S603  # this interpreter, this package
                [sys.executable, "-c", _MAIN, str(theirs.fileno())],
                pass_fds=inherited,
                stdin=subprocess.DEVNULL,
            )
        loop = asyncio.get_running_loop()
        _, each.link = await loop.create_connection(
            lambda: Link(
                lambda link, kind, number, body: self._on_frame(each, link, kind, number, body), each.gone.set
            ),
            sock=ours,
        )
        each.link.send(Kind.CONFIG, body=self._hello)

    # --- frames -----------------------------------------------------------------------------------------------------

    def _on_frame(self, each: _FrontEnd, link: Link, kind: Kind, number: int, body: memoryview) -> None:
        if kind is Kind.KEEP:
            self._keep(link, number, body)
        elif kind is Kind.SPEND:
            grant, size = unpack_spend(body)
            try:
                self._sink.rates.spend(self._grants[grant], size, now=time.monotonic())
            except TryAgain as refusal:
                link.send(Kind.AGAIN, number, pack_again(refusal))
            else:
                link.send(Kind.DONE, number)
        elif kind is Kind.REFUSED:
            self._sink.refused(bytes(body).decode())
        elif kind is Kind.READY:
            each.ready = True
            if self._told:
                link.send(Kind.REFUSING, body=self._told)
        elif kind is Kind.LOG:
            _relay(each.place, bytes(body))
        elif kind is Kind.FAILED:
            self._fail(bytes(body).decode())

    def _keep(self, link: Link, number: int, body: memoryview) -> None:
        signal, prepared, size, mended = unpack_keep(body)
        if not prepared.items:
            self._kept(link, number, signal, prepared, size, mended)
            return
        try:
            kept = self._sink.journal.append_soon(signal, prepared.body, items=prepared.items)
        except TryAgain as refusal:
            link.send(Kind.AGAIN, number, pack_again(refusal))
            return

        def answer(done: asyncio.Future[int]) -> None:
            refusal = done.exception()
            if refusal is None:
                self._kept(link, number, signal, prepared, size, mended)
            elif isinstance(refusal, TryAgain):
                link.send(Kind.AGAIN, number, pack_again(refusal))

        kept.add_done_callback(answer)

    def _kept(self, link: Link, number: int, signal: Signal, prepared: Prepared, size: int, mended: bool) -> None:
        self._sink.counters.took(signal, size, prepared, mended=mended)
        link.send(Kind.DONE, number)

    async def _tell_refusals(self) -> None:
        """Who knows that nothing is taken refuses before the body is read."""
        while True:
            refusal = self._sink.refusal()
            told = pack_again(refusal) if refusal else b""
            if told != self._told:
                self._told = told
                for each in self._all:
                    if each.ready and each.link is not None:
                        each.link.send(Kind.REFUSING, body=told)
            await asyncio.sleep(_REFUSAL_EVERY_S)

    # --- before the start -------------------------------------------------------------------------------------------

    def _bind(self) -> None:
        """Take both ports, or raise ConfigError."""
        config = self._config
        if config.http_port is not None:
            self._listening = _bound(config.host, config.http_port, "HTTP")
            for bound in self._listening:
                bound.listen(1024)
                bound.setblocking(False)
            self.http_port = int(self._listening[0].getsockname()[1])
        if config.grpc_port is not None:
            self._reserved = _bound(config.host, config.grpc_port, "gRPC")
            for bound in self._reserved:
                # Only now: nobody else had the port, and nobody but us can join it.
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self.grpc_port = int(self._reserved[0].getsockname()[1])

    def _greeting(self) -> bytes:
        config, number = self._config, self._number
        limits = replace(
            config.http,
            max_connections=-(-config.http.max_connections // number),
            max_buffered_bytes=max(config.http.max_body_bytes, config.http.max_buffered_bytes // number),
        )
        told = FrontEndConfig(
            transports=replace(
                config,
                http=limits,
                grpc_port=self.grpc_port if config.grpc_port is not None else None,
                http_port=self.http_port if config.http_port is not None else None,
            ),
            window=self._window,
            stages=self._stages,
            listening=tuple(bound.fileno() for bound in self._listening),
        )
        try:
            return pickle.dumps(told)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ConfigError(f"a stage cannot be sent to a front end: {error}") from None


def spare_front_ends(cores: int | None = None) -> int:
    """How many front ends are worth it: none where the engine and the loader need the cores."""
    available = cores if cores is not None else len(os.sched_getaffinity(0))
    return min(8, max(0, (available - 2) // 2))


def _bound(host: str, port: int, what: str) -> list[socket.socket]:
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    for family, kind, protocol, _, address in found:
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            bound.bind((address[0], port, *address[2:]))
        except OSError as error:
            for each in (bound, *sockets):
                each.close()
            raise ConfigError(f"{what} cannot listen on {host}:{port}: {error.strerror or error}") from None
        sockets.append(bound)
        port = int(bound.getsockname()[1])
    return sockets


def _relay(place: int, line: bytes) -> None:
    told = json.loads(line)
    say = getattr(_log, told.pop("level"), _log.info)
    say(told.pop("event", ""), front_end=place, **told)
