"""Limits of the HTTP server: nobody can hold it, fill it, or confuse it."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from maslens.collector_processor.errors import ConfigError
from maslens.collector_processor.http_server import HttpLimits, HttpServer, Request, Response

FAST = {
    "header_wait": timedelta(milliseconds=300),
    "body_wait": timedelta(milliseconds=300),
    "idle_wait": timedelta(milliseconds=300),
}


class Serving:
    """A server in a thread that answers with what it was sent."""

    def __init__(self, limits: HttpLimits) -> None:
        self.handled: list[Request] = []
        self.complaints: list[tuple[int, str]] = []
        self.release = threading.Event()
        self.release.set()
        self.server = HttpServer(early=self._early, handle=self._handle, complain=self._complain, limits=limits)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.port = self.call(self.server.start("127.0.0.1", 0))

    def call(self, coroutine):  # type: ignore[no-untyped-def]
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)

    def stop(self, grace: float = 0.2) -> None:
        self.release.set()
        self.call(self.server.stop(grace))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    def _early(self, request: Request) -> Response | None:
        return Response(403, b"early") if request.path == "/no" else None

    async def _handle(self, request: Request) -> Response:
        self.handled.append(request)
        await asyncio.get_running_loop().run_in_executor(None, self.release.wait, 10)
        if request.path == "/boom":
            raise ZeroDivisionError
        return Response(200, request.body)

    def _complain(self, status: int, message: str, _headers: dict[str, str]) -> Response:
        self.complaints.append((status, message))
        return Response(status, message.encode())


@contextmanager
def serving(**limits: object) -> Iterator[Serving]:
    made = Serving(HttpLimits(**limits))  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.stop()


def connect(made: Serving) -> socket.socket:
    return socket.create_connection(("127.0.0.1", made.port), timeout=10)


def read_all(connection: socket.socket) -> bytes:
    received = b""
    try:
        while data := connection.recv(65536):
            received += data
    except ConnectionResetError:
        pass
    return received


def post(body: bytes, path: str = "/", *lines: str) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *lines, "", ""]
    return "\r\n".join(head).encode() + body


def test_an_answer_has_a_date_and_a_length() -> None:
    with serving() as made, connect(made) as connection:
        connection.sendall(post(b"hello", "/", "Connection: close"))
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\ndate: " in answer
    assert answer.endswith(b"content-length: 5\r\n\r\nhello")


def test_requests_sent_ahead_are_answered_in_order() -> None:
    with serving() as made, connect(made) as connection:
        connection.sendall(b"".join(post(b"%03d" % n) for n in range(50)) + post(b"end", "/", "Connection: close"))
        answer = read_all(connection)
    bodies = [part[-3:] for part in answer.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [b"%03d" % n for n in range(50)] + [b"end"]


def test_a_request_in_single_bytes() -> None:
    with serving() as made, connect(made) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in post(b"hello", "/", "Connection: close"):
            connection.sendall(bytes([byte]))
        assert read_all(connection).endswith(b"hello")


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"POST / HT", id="half a request line"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\nX-A: ", id="half the headers"),
        pytest.param(post(b"x" * 100)[:-50], id="half the body"),
        pytest.param(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", id="half a chunk"),
    ],
)
def test_who_sends_too_slowly_is_let_go(sent: bytes) -> None:
    with serving(**FAST) as made, connect(made) as connection:
        started = time.monotonic()
        connection.sendall(sent)
        answer = read_all(connection)
        assert time.monotonic() - started < 6
        assert answer == b"" or answer.startswith(b"HTTP/1.1 408")
        assert not made.handled


def test_a_drip_of_header_bytes_does_not_prolong_the_wait() -> None:
    with serving(**FAST) as made, connect(made) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\n")
        started = time.monotonic()
        with pytest.raises((ConnectionError, AssertionError)):
            while True:
                connection.sendall(b"X-A: b\r\n")
                time.sleep(0.05)
                assert time.monotonic() - started < 5
        assert time.monotonic() - started < 5


def test_a_drip_of_body_bytes_does_not_prolong_the_wait() -> None:
    with serving(**FAST) as made, connect(made) as connection:
        connection.sendall(post(b"x" * 10_000)[:-10_000])
        started = time.monotonic()
        with pytest.raises(ConnectionError):
            while time.monotonic() - started < 8:
                connection.sendall(b"x")
                time.sleep(0.05)
        assert time.monotonic() - started < 6


def test_a_large_body_that_keeps_coming_gets_its_time() -> None:
    with serving(**FAST, slowest_bytes=10_000) as made, connect(made) as connection:
        connection.sendall(post(b"", "/", "Connection: close").replace(b"Length: 0", b"Length: 40000"))
        for _ in range(8):
            connection.sendall(b"x" * 5000)
            time.sleep(0.25)  # two seconds in all, over six times the basic wait
        assert read_all(connection).endswith(b"x" * 40_000)


def test_an_idle_connection_is_closed() -> None:
    with serving(**FAST) as made, connect(made) as connection:
        connection.sendall(post(b"hello"))
        assert read_all(connection).endswith(b"hello")


@pytest.mark.parametrize("lines", [["X-A: " + "a" * 2000], [f"X-{n}: aaaaaaaaaaaaaaaa" for n in range(100)]])
def test_headers_have_a_limit(lines: list[str]) -> None:
    with serving(max_header_bytes=1000) as made, connect(made) as connection:
        connection.sendall(post(b"hello", "/", *lines))
        assert read_all(connection).startswith(b"HTTP/1.1 431")


def test_headers_that_never_end_have_the_same_limit() -> None:
    with serving(max_header_bytes=1000) as made, connect(made) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\n")
        time.sleep(0.05)
        connection.sendall(b"X-A: " + b"a" * 2000)
        assert read_all(connection).startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize("how", ["announced", "in chunks"])
def test_a_body_has_a_limit(how: str) -> None:
    with serving(max_body_bytes=1000) as made, connect(made) as connection:
        if how == "announced":
            connection.sendall(post(b"x" * 1001))
        else:
            chunk = b"1f4\r\n" + b"x" * 500 + b"\r\n"
            connection.sendall(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 3)
        assert read_all(connection).startswith(b"HTTP/1.1 413")
        assert not made.handled


def test_bodies_together_have_a_limit_and_it_recovers() -> None:
    with serving(max_buffered_bytes=100_000) as made:
        first, second = connect(made), connect(made)
        with first, second:
            first.sendall(post(b"x" * 90_000)[:-1])
            time.sleep(0.2)
            second.sendall(post(b"y" * 50_000))
            assert read_all(second).startswith(b"HTTP/1.1 503")
            first.sendall(b"x")
            assert first.recv(100).startswith(b"HTTP/1.1 200")
        with connect(made) as third:
            third.sendall(post(b"z" * 90_000, "/", "Connection: close"))
            assert read_all(third).startswith(b"HTTP/1.1 200")
        assert made.server.buffered == 0


def test_what_was_buffered_for_a_connection_that_broke_is_given_back() -> None:
    with serving() as made:
        deadline = time.monotonic() + 10
        held = [connect(made) for _ in range(20)]
        for each in held:
            each.sendall(post(b"x" * 50_000)[:-10])
        while made.server.buffered < 20 * 49_990 and time.monotonic() < deadline:
            time.sleep(0.01)
        for each in held:
            each.close()
        while made.server.connections and time.monotonic() < deadline:
            time.sleep(0.01)
        assert made.server.buffered == 0


def test_connections_have_a_limit() -> None:
    with serving(max_connections=3) as made:
        held = [connect(made) for _ in range(3)]
        time.sleep(0.1)
        with connect(made) as one_more:
            assert read_all(one_more).startswith(b"HTTP/1.1 503")
        held[0].sendall(post(b"hello"))
        assert held[0].recv(1000).startswith(b"HTTP/1.1 200")
        for each in held:
            each.close()


def test_an_early_answer_comes_before_a_large_body() -> None:
    with serving() as made, connect(made) as connection:
        connection.sendall(post(b"x" * 10_000_000, "/no")[:200])
        assert read_all(connection).endswith(b"early")


def test_after_an_early_answer_to_a_small_body_the_connection_lives_on() -> None:
    with serving() as made, connect(made) as connection:
        connection.sendall(post(b"small", "/no") + post(b"hello", "/", "Connection: close"))
        answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 403")
        assert answer.endswith(b"hello")


def test_a_failing_handler_costs_its_request_only() -> None:
    with serving() as made, connect(made) as connection:
        connection.sendall(post(b"x", "/boom") + post(b"hello", "/", "Connection: close"))
        answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 503")
        assert answer.endswith(b"hello")
        assert made.complaints == [(503, "this request could not be handled")]


def test_stopping_lets_what_is_under_way_end() -> None:
    made = Serving(HttpLimits())
    made.release.clear()
    with connect(made) as connection, connect(made) as idle:
        connection.sendall(post(b"hello"))
        while not made.handled:
            time.sleep(0.01)
        threading.Timer(0.3, made.release.set).start()
        made.call(made.server.stop(5))
        assert read_all(connection).endswith(b"hello")
        assert read_all(idle) == b""
        with pytest.raises(ConnectionError):
            connect(made)
    made.stop()


def test_a_thousand_connections_are_served() -> None:
    with serving() as made:
        held = [connect(made) for _ in range(1000)]
        for each in held:
            each.sendall(post(b"hello"))
        assert sum(b"200 OK" in each.recv(1000) for each in held) == 1000
        for each in held:
            each.close()


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"http\.max_connections"):
        HttpLimits(max_connections=0)
