"""uvicorn's HTTP protocol with what it leaves open: how large headers and bodies may be, and how long they may take."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_BYTES: Final = 64 << 10  # the address line too: queries of SQL come in it
BODY_BYTES: Final = 8 << 20
HEADER_S: Final = 10.0  # from the first byte, and from connecting to it
BODY_S: Final = 20.0  # and a second more for each SLOWEST_BYTES that came
SLOWEST_BYTES: Final = 64 << 10
CONNECTIONS: Final = 1000


class BoundedHttp(HttpToolsProtocol):
    """Closes a connection that sends too much or too slowly; what was asked before it is answered."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._waiting: asyncio.TimerHandle | None = None
        self._in_headers = True
        self._received = 0  # of the headers or the body that is being received
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._expect(HEADER_S, "the headers took too long")

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._in_headers:
            self._received += len(data)
            if self._received > HEADER_BYTES and self._headers_end_beyond(data):
                self._refuse(431, f"the headers are larger than {HEADER_BYTES} bytes")
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers = True
        self._expect(HEADER_S, "the headers took too long")

    def on_headers_complete(self) -> None:
        self._in_headers, self._received = False, 0
        if sum(len(name) + len(value) for name, value in self.headers) + len(self.url) > HEADER_BYTES:
            self._refuse(431, f"the headers are larger than {HEADER_BYTES} bytes")
            return
        length = dict(self.headers).get(b"content-length", b"")
        if length.isdigit() and int(length) > BODY_BYTES:
            self._refuse(413, f"the body is larger than {BODY_BYTES} bytes")
            return
        self._expect(BODY_S, "the body took too long")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._refused:
            return
        self._received += len(body)
        if self._received > BODY_BYTES:
            self._refuse(413, f"the body is larger than {BODY_BYTES} bytes")
            return
        if len(body) and self._waiting is not None:
            self._expect(self._waiting.when() - self.loop.time() + len(body) / SLOWEST_BYTES, "the body took too long")
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._received = 0
        self._expect(None)
        if not self._refused:
            super().on_message_complete()

    def _headers_end_beyond(self, data: bytes) -> bool:
        """Whether it is headers that are too large, not a body that came in one piece with small ones."""
        end = data.find(b"\r\n\r\n")
        return end < 0 or self._received - len(data) + end > HEADER_BYTES

    def _expect(self, seconds: float | None, otherwise: str = "") -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = None if seconds is None else self.loop.call_later(seconds, self._refuse, 408, otherwise)

    def _refuse(self, status: int, message: str) -> None:
        self._expect(None)
        self._refused = True
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            text = message.encode()
            self.transport.write(
                b"HTTP/1.1 %d %b\r\ncontent-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
                % (status, _PHRASES[status], len(text), text)
            )
        self.transport.close()


_PHRASES: Final = {408: b"Request Timeout", 413: b"Content Too Large", 431: b"Request Header Fields Too Large"}
