"""The page's and the ClickHouse interface's HTTP: nobody may send too much, or take for ever."""

from __future__ import annotations

import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from maslens.cli import bounded_http
from maslens.cli.servers import HttpServer, bind
from maslens.collector_processor import TlsConfig
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def size(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    for name, value in {
        "HEADER_S": 2.0, "BODY_S": 2.0, "HEADER_BYTES": 4096, "BODY_BYTES": 1 << 20, "CONNECTIONS": 50
    }.items():  # fmt: skip
        monkeypatch.setattr(bounded_http, name, value)
    server = HttpServer(
        Starlette(routes=[Route("/", size, methods=["GET", "POST"])]), bind("127.0.0.1", 0, flag=""), name="t"
    )
    server.start()
    yield server.port
    server.stop()


def talk(port: int, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Send, with pauses, until the other side closes or answers."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)
        except ConnectionError:
            pass
        try:
            while data := connection.recv(65536):
                received += data
        except ConnectionError:
            pass
    return received


GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"


def post(length: int) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % length


@pytest.mark.parametrize(
    ("pieces", "pause", "status"),
    [
        pytest.param([b""], 0, b"408", id="nothing"),
        pytest.param([GET], 0, b"408", id="headers that do not end"),
        pytest.param([GET, *[b"X-A: b\r\n"] * 30], 0.05, b"408", id="a drip of headers"),
        pytest.param([post(1000), b"x"], 0, b"408", id="a body that does not end"),
        pytest.param([post(1000), *[b"x"] * 30], 0.05, b"408", id="a drip of a body"),
        pytest.param([GET + b"X: " + b"x" * 5000 + b"\r\n\r\n"], 0, b"431", id="a giant header"),
        pytest.param([GET, *[b"X-A: %b\r\n" % (b"x" * 500)] * 20], 0.001, b"431", id="headers without end"),
        pytest.param([b"GET /?" + b"q" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"], 0, b"431", id="a giant address"),
        pytest.param([post(2 << 20)], 0, b"413", id="a giant body, said"),
        pytest.param(
            [
                b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
                *[b"40000\r\n" + bytes(0x40000) + b"\r\n"] * 6,
            ],
            0,
            b"413",
            id="a giant body in chunks",
        ),
        pytest.param([b"\x16\x03\x01\x02\x00\x01\x00"], 0, b"400", id="TLS"),
    ],
)
def test_what_is_too_much_is_refused_and_the_next_is_served(
    port: int, pieces: list[bytes], pause: float, status: bytes
) -> None:
    received = talk(port, *pieces, pause=pause)
    assert received == b"" or received.split(b" ", 2)[1] == status, received
    assert talk(port, post(5), b"hello").endswith(b"\r\n5")


def test_a_large_body_in_one_piece_with_small_headers_is_fine(port: int) -> None:
    assert talk(port, post(500_000) + bytes(500_000)).endswith(b"\r\n500000")


def test_a_body_that_keeps_coming_gets_its_time(port: int) -> None:
    pieces = [bytes(65536)] * 12
    assert talk(port, post(12 * 65536), *pieces, pause=0.1).endswith(b"\r\n786432")


def test_an_answer_may_take_longer_than_a_body(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for _ in range(2):  # on a connection that is kept
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            received = b""
            while not received.endswith(b"\r\n0"):
                received += connection.recv(65536)
            time.sleep(2.5)


def test_connections_have_a_limit(port: int) -> None:
    idle = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(60)]
    try:
        time.sleep(0.1)
        assert talk(port, GET + b"\r\n").split(b" ", 2)[1] in (b"200", b"503")
        time.sleep(3.0)  # who says nothing is let go
        assert talk(port, GET + b"\r\n").split(b" ", 2)[1] == b"200"
    finally:
        for connection in idle:
            connection.close()


def test_client_certificates_are_asked_for_here_too(tmp_path: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    issued = authority.issue_cert("localhost")
    certificate, key, ca = (tmp_path / name for name in ("server.pem", "server.key", "ca.pem"))
    issued.private_key_pem.write_to_path(key)
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    authority.cert_pem.write_to_path(ca)
    tls = TlsConfig(certificate=certificate, key=key, client_ca=ca)
    server = HttpServer(Starlette(routes=[Route("/", size)]), bind("127.0.0.1", 0, flag=""), name="t", tls=tls)
    server.start()

    def status(issuer: trustme.CA | None) -> int | None:
        context = ssl.create_default_context(cafile=ca)
        if issuer is not None:
            issuer.issue_cert("client").configure_cert(context)
        try:
            with urllib.request.urlopen(f"https://localhost:{server.port}/", context=context, timeout=10) as answer:
                return int(answer.status)
        except (urllib.error.URLError, ConnectionError, ssl.SSLError):
            return None

    try:
        assert [status(authority), status(None), status(stranger)] == [200, None, None]
    finally:
        server.stop()
