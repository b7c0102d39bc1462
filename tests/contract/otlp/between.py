"""A wire between a client and a receiver that loses what a network loses: answers, halves of requests, time."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress
from types import TracebackType

_HEADERS = 1  # type of the HTTP/2 frame that an answer begins with


class Between:
    """Listens on `port` and passes on to `target`; the first `times` answers or requests meet with `mishap`.

    "answer lost": the receiver got it all, the connection is reset before its answer comes through.
    "answer late": the answer is held back for `late_s`.
    "request cut": the connection is reset on both sides after `cut_after` bytes of it.
    """

    def __init__(
        self, target: str, mishap: str, *, times: int = 1, late_s: float = 3.0, cut_after: int = 100_000, h2: bool
    ) -> None:
        host, _, port = target.rpartition(":")
        self._target, self._mishap, self._left = (host, int(port)), mishap, times
        self._late_s, self._cut_after, self._h2 = late_s, cut_after, h2
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.happened = 0
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Between:
        return self

    def __exit__(self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None) -> None:
        self._listener.close()
        for each in self._open:
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._open += [client, server]
                threading.Thread(target=self._to_server, args=(client, server), daemon=True).start()
                threading.Thread(target=self._to_client, args=(client, server), daemon=True).start()

    def _due(self, mishap: str) -> bool:
        with self._lock:
            if self._mishap != mishap or self._left == 0:
                return False
            self._left -= 1
            self.happened += 1
            return True

    def _to_server(self, client: socket.socket, server: socket.socket) -> None:
        passed = 0
        with suppress(OSError):
            while data := client.recv(65536):
                passed += len(data)
                if passed > self._cut_after and self._due("request cut"):
                    server.sendall(data[: len(data) // 2])
                    _reset(client)
                    _reset(server)
                    return
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _to_client(self, client: socket.socket, server: socket.socket) -> None:
        frames = _Frames()
        with suppress(OSError):
            while data := server.recv(65536):
                if not self._h2 or frames.begin_an_answer(data):
                    if self._due("answer lost"):
                        _reset(client)
                        server.close()
                        return
                    if self._due("answer late"):
                        time.sleep(self._late_s)
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)


class _Frames:
    """Just enough of HTTP/2 to know an answer from the chatter of the connection."""

    def __init__(self) -> None:
        self._rest = b""

    def begin_an_answer(self, data: bytes) -> bool:
        self._rest += data
        found = False
        while len(self._rest) >= 9:
            length = int.from_bytes(self._rest[:3], "big")
            if len(self._rest) < 9 + length:
                break
            found = found or self._rest[3] == _HEADERS
            self._rest = self._rest[9 + length :]
        return found


def _reset(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)
    connection.close()
