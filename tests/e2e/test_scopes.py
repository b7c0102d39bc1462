"""Who may do what, on every surface there is: the routes are taken from the apps, and each needs a decision here."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import grpc
import httpx
import pytest
import trustme
from fastapi import FastAPI
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from maslens.analytics.questions import CATALOGUE
from maslens.analytics.server import create_app
from maslens.cli.web import admin_routes
from maslens.collector_processor import grpc_receiver, http_receiver
from maslens.storage.clickhouse_http import clickhouse_app
from starlette.routing import Mount, Route

from tests.contract.otlp.endpoint import log_request, trace_request
from tests.e2e.running import Up

TOKENS = {
    "ingest": "the-ingest-token-of-many-letters",
    "read": "the-read-token-of-many-letters",
    "admin": "the-admin-token-of-many-letters",
    "both": "the-token-of-two-scopes-of-many-letters",
}
STRANGERS: dict[str, str | None] = {
    "none": None,
    "wrong": "a-token-that-nobody-has-given-out",
    "rotated": "the-token-of-last-month-of-many-letters",
}
PROTOBUF = {"Content-Type": "application/x-protobuf"}

# --- the decisions ----------------------------------------------------------------------------------------------------
# method and path → the scope it needs (None: open to everybody) and what is answered to whoever has it.

READ_BY_ANY_READER = {
    *(f"/api/v1/{entry.name}" for entry in CATALOGUE if entry.api),
    "/api/v1/cost", "/api/v1/graph", "/api/v1/timeline",
}  # fmt: skip
PAGE: dict[tuple[str, str], tuple[str | None, int]] = {
    ("GET", "/healthz"): (None, 200),
    ("GET", "/readyz"): (None, 200),
    ("GET", "/metrics"): ("read", 200),
    ("GET", "/"): ("read", 200),
    ("GET", "/api/v1/openapi.json"): ("read", 200),
    **{("GET", path): ("read", 200) for path in READ_BY_ANY_READER},
    ("GET", "/api/v1/sessions/{session_id}"): ("read", 404),  # nobody has sent one
    ("GET", "/api/v1/query"): ("read", 422),  # nothing is asked
    ("POST", "/api/v1/query"): ("read", 422),
    ("POST", "/api/v1/feedback"): ("ingest", 422),  # nothing is said
    ("GET", "/graphql"): ("read", 404),  # nothing is asked, and there is no page to ask with
    ("POST", "/graphql"): ("read", 400),
    ("POST", "/admin/reprocess"): ("admin", 403),  # lacks the header that keeps web pages out
    ("POST", "/admin/deadletter/retry"): ("admin", 403),
    ("GET", "/clickhouse/ping"): ("read", 200),
    ("GET", "/clickhouse/replicas_status"): ("read", 200),
    ("GET", "/clickhouse/"): ("read", 200),
    ("POST", "/clickhouse/"): ("read", 200),
}
CLICKHOUSE: dict[tuple[str, str], tuple[str | None, int]] = {
    ("GET", "/ping"): (None, 200),
    ("GET", "/replicas_status"): ("read", 200),
    ("GET", "/"): ("read", 200),
    ("POST", "/"): ("read", 200),
}
OTLP_HTTP: dict[str, tuple[str | None, int]] = {
    "/v1/traces": ("ingest", 200),
    "/v1/logs": ("ingest", 200),
    "/v1/metrics": (None, 404),  # not taken from anybody, and everybody is told where to send them
    "/v1development/profiles": (None, 404),
}
SERVICES = "/opentelemetry.proto.collector."
OTLP_GRPC: dict[str, tuple[str | None, grpc.StatusCode]] = {
    f"{SERVICES}trace.v1.TraceService/Export": ("ingest", grpc.StatusCode.OK),
    f"{SERVICES}logs.v1.LogsService/Export": ("ingest", grpc.StatusCode.OK),
    f"{SERVICES}metrics.v1.MetricsService/Export": (None, grpc.StatusCode.UNIMPLEMENTED),
    f"{SERVICES}profiles.v1development.ProfilesService/Export": (None, grpc.StatusCode.UNIMPLEMENTED),
    "/grpc.health.v1.Health/Check": (None, grpc.StatusCode.OK),
    "/grpc.health.v1.Health/Watch": (None, grpc.StatusCode.OK),
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": ("any", grpc.StatusCode.OK),
}
HAVE: Mapping[str, set[str]] = {
    "ingest": {"ingest"}, "read": {"read"}, "both": {"ingest", "read"}, "admin": {"ingest", "read", "admin"},
}  # fmt: skip
WHO = pytest.mark.parametrize("who", [*TOKENS, *STRANGERS])


def expected(who: str, scope: str | None) -> int | None:
    """What a guard answers; None where it lets pass."""
    if scope is None or (who in HAVE and (scope == "any" or scope in HAVE[who])):
        return None
    return 403 if who in HAVE else 401


# --- every route has one ----------------------------------------------------------------------------------------------


def routes_of(app: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    for route in app.routes:
        if isinstance(route, Mount) and route.path:
            yield from routes_of(route, prefix + route.path)
        elif isinstance(route, Mount):
            yield "GET", "/"  # files of the page
        elif isinstance(route, Route):
            yield from ((method, prefix + route.path) for method in route.methods or () if method != "HEAD")
    if isinstance(app, FastAPI):
        for path, methods in app.openapi()["paths"].items():
            yield from ((method.upper(), path) for method in methods)


def test_every_route_of_the_page_address_has_a_decision() -> None:
    nothing = cast(Any, object())
    more = [*admin_routes(nothing), Mount("/clickhouse", clickhouse_app(nothing))]
    app: Any = create_app(nothing, ask=lambda *_: b"", routes=more)
    while not isinstance(app, FastAPI):
        app = getattr(app, "app", None) or app._app
    assert {(method, path.replace(":path}", "}")) for method, path in routes_of(app)} == set(PAGE)


def test_every_route_of_the_clickhouse_address_has_a_decision() -> None:
    assert set(routes_of(clickhouse_app(cast(Any, object())))) == set(CLICKHOUSE)


def test_every_method_of_the_receiver_has_a_decision() -> None:
    assert {*http_receiver._PATHS, *http_receiver._NOT_TAKEN} == set(OTLP_HTTP)
    beside = grpc_receiver._Beside(cast(Any, None), cast(Any, None), cast(Any, None), cast(Any, None))
    assert {*grpc_receiver._METHODS, *grpc_receiver._NOT_TAKEN, *beside._methods} == set(OTLP_GRPC)


# --- and it holds -----------------------------------------------------------------------------------------------------


def lines(*, rotated: bool) -> str:
    last_month = f"{STRANGERS['rotated']} scopes=admin\n"
    scopes = {"ingest": "ingest", "read": "read", "admin": "admin", "both": "ingest,read"}
    now = "".join(f"{token} name={name} scopes={scopes[name]}\n" for name, token in TOKENS.items())
    return now if rotated else last_month


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Started once with the tokens of last month, and again with those of today."""
    folder = tmp_path_factory.mktemp("scopes")
    file = folder / "tokens"
    running = Up(folder / "data", flags=[f"--token-file={file}"])
    file.write_text(lines(rotated=False))
    running.start()
    assert httpx.get(f"{running.url}/metrics", headers=headers("rotated"), timeout=60).status_code == 200
    running.stop()
    file.write_text(lines(rotated=True))
    running.start()
    yield running
    running.kill()


def headers(who: str) -> dict[str, str]:
    token = TOKENS.get(who) or STRANGERS[who]
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def answered(base: str, routes: Mapping[tuple[str, str], tuple[str | None, int]], who: str) -> dict[Any, int]:
    with httpx.Client(headers=headers(who), timeout=60) as client:
        return {
            (method, path): client.request(method, base + path.replace("{session_id}", "nobody")).status_code
            for method, path in routes
        }


def wanted(routes: Mapping[tuple[str, str], tuple[str | None, int]], who: str) -> dict[Any, int]:
    return {route: expected(who, scope) or good for route, (scope, good) in routes.items()}


@WHO
def test_the_page_address(up: Up, who: str) -> None:
    assert answered(up.url, PAGE, who) == wanted(PAGE, who)


@WHO
def test_the_clickhouse_address(up: Up, who: str) -> None:
    base = up.addresses["clickhouse"]
    assert answered(base, CLICKHOUSE, who) == wanted(CLICKHOUSE, who)
    known = expected(who, "read") or 200
    token = TOKENS.get(who) or STRANGERS[who] or ""
    assert httpx.get(base, params={"query": "SELECT 1", "password": token}, timeout=60).status_code == known
    assert httpx.get(base, headers={"X-ClickHouse-Key": token}, timeout=60).status_code == known


@WHO
def test_otlp_over_http(up: Up, who: str) -> None:
    bodies = {"/v1/traces": trace_request(who), "/v1/logs": log_request(who)}
    for path, (scope, good) in OTLP_HTTP.items():
        reply = httpx.post(
            up.otlp_http + path, content=bodies.get(path, b""), headers=PROTOBUF | headers(who), timeout=60
        )
        assert reply.status_code == (expected(who, scope) or good), path


CODES = {None: None, 401: grpc.StatusCode.UNAUTHENTICATED, 403: grpc.StatusCode.PERMISSION_DENIED}


def grpc_code(channel: grpc.Channel, method: str, who: str) -> grpc.StatusCode:
    metadata = tuple((name.lower(), value) for name, value in headers(who).items())
    try:
        if method.endswith("ServerReflectionInfo"):
            ask = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
            list(
                reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
                    ask, timeout=60, metadata=metadata
                )
            )
        elif method.endswith("Watch"):
            watched = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
            next(iter(watched))
            watched.cancel()
        else:
            channel.unary_unary(method)(b"", timeout=60, metadata=metadata)
    except grpc.RpcError as error:
        return cast(grpc.StatusCode, error.code())
    return grpc.StatusCode.OK


@WHO
def test_otlp_over_grpc(up: Up, who: str) -> None:
    with grpc.insecure_channel(up.otlp_grpc.removeprefix("grpc://")) as channel:
        for method, (scope, good) in OTLP_GRPC.items():
            assert grpc_code(channel, method, who) == (CODES[expected(who, scope)] or good), method


def test_an_admin_changes_something_only_with_the_header_that_pages_cannot_send(up: Up) -> None:
    for path, good in (("/admin/deadletter/retry", 200), ("/admin/reprocess?since=2026-01-01T00:00:00Z", 200)):
        for who in (*TOKENS, *STRANGERS):
            reply = httpx.post(up.url + path, headers=headers(who) | {"X-Maslens": "1"}, timeout=60)
            assert reply.status_code == (expected(who, "admin") or good), (path, who)


# --- client certificates ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Authorities:
    ours: trustme.CA
    folder: Path

    def context(self, client: trustme.CA | None) -> Any:
        context = ssl.create_default_context(cadata=self.ours.cert_pem.bytes().decode())
        if client is not None:
            client.issue_cert("client").configure_cert(context)
        return context

    def credentials(self, client: trustme.CA | None) -> grpc.ChannelCredentials:
        shown = client.issue_cert("client") if client else None
        return grpc.ssl_channel_credentials(
            root_certificates=self.ours.cert_pem.bytes(),
            private_key=shown.private_key_pem.bytes() if shown else None,
            certificate_chain=shown.cert_chain_pems[0].bytes() if shown else None,
        )


@pytest.fixture(scope="module")
def mutual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Up, Authorities]]:
    folder = tmp_path_factory.mktemp("mutual")
    authorities = Authorities(trustme.CA(), folder)
    server = authorities.ours.issue_cert("localhost", "127.0.0.1")
    server.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
    authorities.ours.cert_pem.write_to_path(folder / "ca.pem")
    flags = [
        f"--tls-cert={folder / 'cert.pem'}",
        f"--tls-key={folder / 'key.pem'}",
        f"--tls-client-ca={folder / 'ca.pem'}",
    ]
    running = Up(folder / "data", flags=flags).start()
    yield running, authorities
    running.kill()


def http_addresses(up: Up) -> list[tuple[str, str, bytes]]:
    return [
        ("GET", f"{up.url}/", b""), ("GET", f"{up.url}/metrics", b""), ("GET", f"{up.url}/healthz", b""),
        ("GET", f"{up.url}/readyz", b""), ("GET", f"{up.url}/api/v1/agents", b""),
        ("POST", f"{up.url}/graphql", b'{"query": "{ __typename }"}'),
        ("GET", f"{up.addresses['clickhouse']}/ping", b""), ("POST", f"{up.addresses['clickhouse']}/", b"SELECT 1"),
        ("POST", f"{up.otlp_http}/v1/traces", trace_request("a")),
        ("POST", f"{up.otlp_http}/v1/logs", log_request("l")),
    ]  # fmt: skip


def test_whoever_shows_a_certificate_of_ours_is_answered_everywhere(mutual: tuple[Up, Authorities]) -> None:
    up, authorities = mutual
    with httpx.Client(verify=authorities.context(authorities.ours), timeout=60) as client:
        for method, address, body in http_addresses(up):
            kind = {"Content-Type": "application/json" if address.endswith("graphql") else "application/x-protobuf"}
            assert client.request(method, address, content=body, headers=kind).status_code == 200, address
    with grpc.secure_channel(
        up.otlp_grpc.removeprefix("grpcs://"), authorities.credentials(authorities.ours)
    ) as channel:
        for method, (_, good) in OTLP_GRPC.items():
            assert grpc_code(channel, method, "none") == good, method


@pytest.mark.parametrize("stranger", [pytest.param(None, id="none"), pytest.param(trustme.CA(), id="another's")])
def test_whoever_shows_none_or_anothers_is_answered_nowhere(
    mutual: tuple[Up, Authorities], stranger: trustme.CA | None
) -> None:
    up, authorities = mutual
    for method, address, body in http_addresses(up):
        with (
            httpx.Client(verify=authorities.context(stranger), timeout=60) as client,
            pytest.raises(httpx.TransportError),
        ):
            client.request(method, address, content=body)
        with pytest.raises(httpx.TransportError):  # and nothing is spoken in clear
            httpx.request(method, address.replace("https://", "http://"), content=body, timeout=10)
    with grpc.secure_channel(up.otlp_grpc.removeprefix("grpcs://"), authorities.credentials(stranger)) as channel:
        for method in OTLP_GRPC:
            assert grpc_code(channel, method, "none") == grpc.StatusCode.UNAVAILABLE, method
    with grpc.insecure_channel(up.otlp_grpc.removeprefix("grpcs://")) as channel:
        assert grpc_code(channel, next(iter(OTLP_GRPC)), "none") == grpc.StatusCode.UNAVAILABLE
