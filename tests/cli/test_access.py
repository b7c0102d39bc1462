"""Who may ask what of an address."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from maslens.cli.access import Guarded
from maslens.cli.servers import HttpServer, bind
from maslens.collector_processor import Tokens
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

READER, SENDER, ADMIN = "the-reader-of-sixteen", "the-sender-of-sixteen", "the-admin-of-sixteen"
TOKENS = f"{READER} scopes=read\n{SENDER} scopes=ingest\n{ADMIN} scopes=admin"


def served(tokens: Tokens, *, host: str) -> HttpServer:
    async def answer(_: Request) -> PlainTextResponse:
        return PlainTextResponse("answered")

    app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])
    server = HttpServer(Guarded(app, tokens=tokens, host=host), bind("127.0.0.1", 0, flag="-"), name="test")
    server.start()
    return server


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    server = served(Tokens.parse(TOKENS, source="test"), host="0.0.0.0")
    yield f"http://127.0.0.1:{server.port}"
    server.stop()


@pytest.fixture(scope="module")
def local() -> Iterator[str]:
    server = served(Tokens(), host="127.0.0.1")
    yield f"http://127.0.0.1:{server.port}"
    server.stop()


@pytest.mark.parametrize(
    ("token", "path", "status"),
    [
        pytest.param(READER, "/api/v1/agents", 200, id="reader reads"),
        pytest.param(READER, "/api/v1/feedback", 403, id="reader does not write"),
        pytest.param(READER, "/admin/reprocess", 403, id="reader does not run things"),
        pytest.param(SENDER, "/api/v1/agents", 403, id="sender does not read"),
        pytest.param(SENDER, "/api/v1/feedback", 200, id="sender gives feedback"),
        pytest.param(ADMIN, "/api/v1/agents", 200, id="admin reads"),
        pytest.param(ADMIN, "/admin/reprocess", 200, id="admin runs things"),
        pytest.param("somebody-else-entirely", "/metrics", 401, id="unknown token"),
        pytest.param("somebody-else-entirely", "/healthz", 200, id="health is open"),
    ],
)
def test_a_token_opens_what_its_scopes_say(guarded: str, token: str, path: str, status: int) -> None:
    assert httpx.post(guarded + path, headers={"Authorization": f"Bearer {token}"}).status_code == status


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param({"headers": {"Authorization": f"Bearer {READER}"}}, id="bearer"),
        pytest.param({"headers": {"Authorization": f"bearer  {READER}"}}, id="bearer, spelled loosely"),
        pytest.param({"auth": ("anybody", READER)}, id="password of a browser"),
        pytest.param({"headers": {"X-ClickHouse-Key": READER}}, id="key of a ClickHouse client"),
        pytest.param({"params": {"password": READER}}, id="password in the address"),
    ],
)
def test_a_token_may_come_in_any_of_the_ways_clients_have(guarded: str, request_: dict[str, object]) -> None:
    assert httpx.get(f"{guarded}/", **request_).text == "answered"  # type: ignore[arg-type]


@pytest.mark.parametrize("header", ["", "Bearer", "Basic !!", "Basic /w==", f"Digest {READER}", f"Bearer {READER}x"])
def test_anything_else_is_asked_for_a_token(guarded: str, header: str) -> None:
    answer = httpx.get(f"{guarded}/", headers={"Authorization": header} if header else {})
    assert answer.status_code == 401
    assert "Bearer" in answer.headers["www-authenticate"]


@pytest.mark.parametrize("host", ["localhost", "localhost:8088", "127.0.0.1:8088", "[::1]:8088", "desk.localhost"])
def test_without_tokens_this_machine_is_answered_under_its_own_names(local: str, host: str) -> None:
    assert httpx.get(f"{local}/", headers={"Host": host}).text == "answered"


@pytest.mark.parametrize("host", ["rebound.example", "rebound.example:8088", "localhost.example", "127.0.0.1.example"])
def test_a_page_of_another_name_is_not(local: str, host: str) -> None:
    assert httpx.get(f"{local}/", headers={"Host": host}).status_code == 421
    assert httpx.get(f"{local}/healthz", headers={"Host": host}).status_code == 200
