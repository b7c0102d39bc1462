"""Clients of either transport as one call, and what became of what they sent. Loopback only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import grpc

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@dataclass
class Sent:
    """Requests, not spans."""

    acknowledged: int = 0
    refused: int = 0  # answers to come back later
    without_delay: int = 0  # of these, without saying when
    unanswered: int = 0  # a connection that broke: the request may have been taken
    given_up: int = 0


@dataclass(frozen=True)
class Answer:
    taken: bool
    again: bool = False  # worth repeating
    delay_s: float | None = None


class Client(Protocol):
    async def send(self, body: bytes) -> Answer: ...
    async def close(self) -> None: ...


class HttpClient:
    """One connection, kept alive."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._head = (
            f"POST /v1/traces HTTP/1.1\r\nhost: {self._host}\r\n"
            "content-type: application/x-protobuf\r\ncontent-length: "
        ).encode()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def connect(self) -> None:
        self._streams = await asyncio.open_connection(self._host, self._port)

    async def send(self, body: bytes) -> Answer:
        if self._streams is None:
            await self.connect()
        assert self._streams is not None
        reader, writer = self._streams
        writer.write(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(_header(head, b"content-length") or 0))
        status = int(head[9:12])
        if b"connection: close" in head:
            await self.close()
        delay = _header(head, b"retry-after")
        return Answer(status == 200, status in (429, 503), float(delay) if delay else None)

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class GrpcClient:
    """One channel with a connection of its own."""

    def __init__(self, address: str) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        self._channel = grpc.aio.insecure_channel(address.rpartition("//")[2], options=options)
        self._export = self._channel.unary_unary(EXPORT)

    async def connect(self) -> None:
        await self._channel.channel_ready()

    async def send(self, body: bytes) -> Answer:
        try:
            await self._export(body, timeout=120)
        except grpc.aio.AioRpcError as error:
            named = dict(error.trailing_metadata())
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
                if "google.rpc.retryinfo-bin" not in named and "grpc-status-details-bin" not in named:
                    raise ConnectionError(error.details()) from None
                return Answer(False, again=True, delay_s=1.0)
            return Answer(False)
        return Answer(True)

    async def close(self) -> None:
        await self._channel.close()


def client(url: str) -> HttpClient | GrpcClient:
    return GrpcClient(url) if url.startswith("grpc") else HttpClient(url)


async def pour(
    clients: list[HttpClient | GrpcClient],
    bodies: Iterator[bytes],
    *,
    sent: Sent,
    per_s: float = 0.0,
    until: Callable[[], bool] = lambda: False,
    patience_s: float = 120.0,
) -> None:
    """Send `bodies` over all clients, at full speed or `per_s` requests a second, until they end or `until` says so."""
    started, number = time.monotonic(), 0

    async def work(one: HttpClient | GrpcClient) -> None:
        nonlocal number
        while not until():
            body = next(bodies, None)
            if body is None:
                return
            due = started + number / per_s if per_s else 0.0
            number += 1
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            await persistently(one, body, sent=sent, patience_s=patience_s)

    await asyncio.gather(*(work(one) for one in clients))


async def persistently(one: HttpClient | GrpcClient, body: bytes, *, sent: Sent, patience_s: float = 120.0) -> bool:
    """Whether it was acknowledged, in the end."""
    give_up = time.monotonic() + patience_s
    while True:
        try:
            answer = await one.send(body)
        except (OSError, EOFError, asyncio.IncompleteReadError):
            await one.close() if isinstance(one, HttpClient) else None
            sent.unanswered += 1
            answer = Answer(False, again=True, delay_s=0.2)
        else:
            sent.refused += answer.again
            sent.without_delay += answer.again and answer.delay_s is None
        if answer.taken:
            sent.acknowledged += 1
            return True
        if not answer.again or time.monotonic() > give_up:
            sent.given_up += 1
            return False
        await asyncio.sleep(min(answer.delay_s or 0.2, max(0.0, give_up - time.monotonic())))


def _header(head: bytes, name: bytes) -> bytes:
    _, found, rest = head.partition(b"\r\n" + name + b":")
    return rest.partition(b"\r\n")[0].strip() if found else b""
