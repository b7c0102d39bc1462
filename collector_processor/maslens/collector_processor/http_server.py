"""A small HTTP/1.1 server that trusts nobody: every size and every wait has a limit.

httptools parses. uvicorn would serve as fast (docs/adr/011), but bounds neither headers nor the time a body may take.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import formatdate
from http import HTTPStatus
from typing import Final, TypeAlias

import httptools
import structlog
from maslens.collector_processor.errors import ConfigError

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    max_body_bytes: int = 64 << 20
    max_header_bytes: int = 16 << 10
    max_connections: int = 4096
    max_buffered_bytes: int = 256 << 20  # bodies of all connections together
    header_wait: timedelta = timedelta(seconds=10)
    body_wait: timedelta = timedelta(seconds=20)  # and a second more for each `slowest_bytes` that came
    slowest_bytes: int = 64 << 10
    idle_wait: timedelta = timedelta(seconds=75)  # between requests of a connection

    def __post_init__(self) -> None:
        for name in ("max_body_bytes", "max_header_bytes", "max_connections", "max_buffered_bytes", "slowest_bytes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"http.{name} must be at least 1, got {getattr(self, name)}")


@dataclass(slots=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]  # names in lower case; of a repeated one the last
    peer: str
    body: bytes = b""

    @property
    def length(self) -> int | None:
        """What Content-Length says."""
        length = self.headers.get("content-length", "")
        return int(length) if length.isdecimal() else None


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


# What a connection may be told before any handler saw a request: status, what happened.
Complain: TypeAlias = "Callable[[int, str, dict[str, str]], Response]"


@dataclass(slots=True)
class HttpServer:
    """`early` answers from the headers alone (None: go on), `handle` from the whole request, `complain` when neither
    is asked because the request breaks a limit or the protocol."""

    early: Callable[[Request], Response | None]
    handle: Callable[[Request], Awaitable[Response]]
    complain: Complain
    limits: HttpLimits = field(default_factory=HttpLimits)
    connections: set[_Connection] = field(default_factory=set)
    buffered: int = 0
    date: bytes = b""
    stopping: bool = False
    _servers: list[asyncio.Server] = field(default_factory=list)
    _sweeper: asyncio.Task[None] | None = None

    async def start(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
        *,
        listening: Sequence[socket.socket] | None = None,
    ) -> int:
        """Listen (or accept from sockets that do already); the port that was bound."""
        self.date = formatdate(usegmt=True).encode()
        loop = asyncio.get_running_loop()
        if listening is None:
            self._servers = [await loop.create_server(lambda: _Connection(self), host, port, ssl=tls, backlog=1024)]
        else:
            self._servers = [
                await loop.create_server(lambda: _Connection(self), sock=each, ssl=tls, backlog=1024)
                for each in listening
            ]
        self._sweeper = loop.create_task(self._sweep())
        return int(self._servers[0].sockets[0].getsockname()[1])

    async def stop(self, grace: float) -> None:
        """Take no more, let what is under way end for `grace` seconds, close."""
        if not self._servers or self._sweeper is None:
            return
        self.stopping = True
        for server in self._servers:
            server.close()
        deadline = time.monotonic() + grace
        for connection in tuple(self.connections):
            connection.finish()
        while self.connections and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        for connection in tuple(self.connections):
            connection.abort()
        self._sweeper.cancel()
        with suppress(asyncio.CancelledError):
            await self._sweeper
        for turn in range(100):
            await asyncio.sleep(0.001)  # a closed transport says so a turn later, one just accepted appears two later
            if turn > 3 and not self.connections:
                break

    async def _sweep(self) -> None:
        """Once a second: the date of every answer, and who took too long."""
        while True:
            await asyncio.sleep(1.0)
            self.date = formatdate(usegmt=True).encode()
            now = time.monotonic()
            for connection in tuple(self.connections):
                if now > connection.deadline:
                    connection.too_slow()


class _Connection(asyncio.Protocol):
    """One client. Requests are served one after the other; a second one that comes early waits."""

    def __init__(self, server: HttpServer) -> None:
        self.deadline = 0.0
        self._server = server
        self._limits = server.limits
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[Request, Response | None, bool]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._closing = False  # after the request that is under way
        self._ended = False  # nothing can be written any more
        self._lingering = False  # answered already; what still comes is thrown away
        self._method = ""  # of the request that is being answered
        # Of the request that is being received:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._header_bytes = 0  # came before the headers were complete
        self._seen = 0  # of header names and values
        self._request: Request | None = None  # once the headers are complete
        self._early: Response | None = None
        self._parts: list[bytes] = []
        self._size = 0

    # --- asyncio ----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._expect_headers(self._limits.header_wait)
        self._server.connections.add(self)
        if self._server.stopping:
            self.abort()
        elif len(self._server.connections) > self._limits.max_connections:
            self._refuse(503, "too many connections")

    def connection_lost(self, _error: Exception | None) -> None:
        self._server.connections.discard(self)
        self._server.buffered -= self._size + sum(len(request.body) for request, _, _ in self._waiting)
        self._size = 0
        self._waiting.clear()
        self._transport = None

    def eof_received(self) -> bool:
        return bool(self._task)  # a client may close its side and still wait for the answer

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            return
        if self._request is None:
            self._header_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(400, "upgrades are not supported")
        except httptools.HttpParserError as error:
            self._refuse(400, f"this is not HTTP: {error}")
        else:
            if self._request is None and not self._waiting and self._header_bytes > self._limits.max_header_bytes:
                self._refuse(431, f"the headers are larger than {self._limits.max_header_bytes} bytes")

    # --- httptools --------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._url, self._headers, self._header_bytes, self._seen = b"", {}, 0, 0
        self._request, self._early, self._parts, self._size = None, None, [], 0
        self._expect_headers(self._limits.header_wait)

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._seen += len(name) + len(value)
        if self._seen <= self._limits.max_header_bytes:
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._lingering:
            return
        self._header_bytes = 0
        if self._seen + len(self._url) > self._limits.max_header_bytes:
            self._refuse(431, f"the headers are larger than {self._limits.max_header_bytes} bytes")
            return
        method = self._parser.get_method().decode("latin-1")
        path = self._url.partition(b"?")[0].decode("latin-1")
        peer = self._transport.get_extra_info("peername") if self._transport else None
        self._request = request = Request(method, path, self._headers, str(peer[0]) if peer else "")
        self._early = self._server.early(request)
        self.deadline = time.monotonic() + self._limits.body_wait.total_seconds()
        expects = self._headers.get("expect", "").lower() == "100-continue"
        length = request.length
        if self._early is not None and (expects or length is None or length > 65536):
            # Not worth receiving. (A short body is read and forgotten, and the connection lives on.)
            if length or "transfer-encoding" in self._headers:
                self._linger(self._early)
        elif self._early is None and length is not None and length > self._limits.max_body_bytes:
            self._refuse(413, f"the body is larger than {self._limits.max_body_bytes} bytes")
        elif expects and self._early is None:
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if self._lingering or self._early is not None:
            return
        self._size += len(body)
        self._server.buffered += len(body)
        self.deadline += len(body) / self._limits.slowest_bytes
        if self._size > self._limits.max_body_bytes:
            self._refuse(413, f"the body is larger than {self._limits.max_body_bytes} bytes")
        elif self._server.buffered > self._limits.max_buffered_bytes:
            self._refuse(503, "too much is being received at once")
        else:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        if self._lingering or self._request is None:
            return
        request = self._request
        request.body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._waiting.append((request, self._early, self._parser.should_keep_alive()))
        self._size = 0  # accounted for by the request from here on
        self._request, self._parts = None, []
        self.deadline = float("inf")
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._serve())
        elif self._transport is not None:
            self._transport.pause_reading()

    # --- answering --------------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        try:
            while self._waiting:
                request, response, keep = self._waiting.popleft()
                if response is None:
                    try:
                        response = await self._server.handle(request)
                    except Exception:  # the connection is told, the others are served
                        _log.exception("a request failed in an unforeseen way", path=request.path)
                        response = self._server.complain(503, "this request could not be handled", request.headers)
                    finally:
                        self._server.buffered -= len(request.body)
                keep = keep and not self._closing
                self._method = request.method
                self._respond(response, keep=keep)
                if not keep:
                    self._close()
                    return
        finally:
            self._task = None
        self._expect_headers(self._limits.idle_wait)
        if self._transport is not None:
            self._transport.resume_reading()

    def _respond(self, response: Response, *, keep: bool) -> None:
        reason = _REASONS.get(response.status, "")
        lines = [f"HTTP/1.1 {response.status} {reason}", f"content-type: {response.content_type}"]
        lines += [f"{name}: {value}" for name, value in response.headers]
        if not keep:
            lines.append("connection: close")
        head = "\r\n".join(lines).encode("latin-1", "replace")
        self._write(b"%b\r\ndate: %b\r\ncontent-length: %d\r\n\r\n" % (head, self._server.date, len(response.body)))
        if self._method != "HEAD":
            self._write(response.body)

    def _refuse(self, status: int, message: str) -> None:
        """Answer now, whatever else was to come."""
        self._linger(self._server.complain(status, message, self._headers))

    def _linger(self, response: Response) -> None:
        """Answer, then throw away what still comes for a moment: closing at once would take the answer back."""
        self._lingering = True
        self._server.buffered -= self._size
        self._size, self._parts, self._request = 0, [], None
        self._respond(response, keep=False)
        self.deadline = time.monotonic() + 2.0
        if self._transport is not None and self._transport.can_write_eof():
            self._transport.write_eof()
            self._ended = True
        elif self._transport is not None:
            self._transport.close()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and data and not self._ended:
            self._transport.write(data)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # --- limits -----------------------------------------------------------------------------------------------------

    def too_slow(self) -> None:
        if self._lingering or self._task is not None:
            self.abort()
        elif self._request is not None:
            self._refuse(408, "the body took too long")
        elif self._header_bytes:
            self._refuse(408, "the headers took too long")
        else:
            self._close()

    def finish(self) -> None:
        """End after the request that is under way, at once where there is none."""
        self._closing = True
        if self._task is None and self._request is None:
            self._close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _expect_headers(self, wait: timedelta) -> None:
        self.deadline = time.monotonic() + wait.total_seconds()


_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}
