"""Who may ask: a bearer token where one is set, and no web page from elsewhere."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error
from ipaddress import ip_address

from maslens.collector_processor.access import Scope as TokenScope
from maslens.collector_processor.access import Tokens, is_loopback
from maslens.collector_processor.errors import Forbidden, Unauthenticated
from starlette.datastructures import Headers, QueryParams
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

OPEN_PATHS = ("/healthz", "/readyz", "/ping")  # they say nothing but that somebody is here
TAKING_PATHS = ("/api/v1/feedback",)  # they write


class Guarded:
    """`app` behind tokens. Without any, only for requests that name this machine.

    A page in a browser can reach 127.0.0.1 under a name of its own (DNS rebinding); its requests carry that name.
    """

    def __init__(self, app: ASGIApp, *, tokens: Tokens, host: str) -> None:
        self._app = app
        self._tokens = tokens
        self._only_local = not tokens and is_loopback(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] in ("http", "websocket") else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        if scope["path"] in OPEN_PATHS:
            return None
        headers = Headers(scope=scope)
        if self._only_local and not _names_this_machine(headers.get("host", "")):
            return _refusal("this address is answered only as localhost", 421)
        try:
            self._tokens.grant(_bearer(headers, scope), _needed(scope["path"]))
        except Unauthenticated as reason:
            return _refusal(str(reason), 401, **{"WWW-Authenticate": 'Bearer realm="maslens", Basic realm="maslens"'})
        except Forbidden as reason:
            return _refusal(str(reason), 403)
        return None


def _refusal(message: str, status: int, **headers: str) -> PlainTextResponse:
    return PlainTextResponse(f"{message}\n", status, {"X-Content-Type-Options": "nosniff", **headers})


def _needed(path: str) -> TokenScope:
    if path.startswith("/admin/"):
        return "admin"
    return "ingest" if path in TAKING_PATHS else "read"


def _bearer(headers: Headers, scope: Scope) -> str:
    """The token as `Bearer …`, however it came: so, as ClickHouse's key header or password, or from a browser."""
    given = headers.get("authorization", "")
    kind, _, value = given.partition(" ")
    if kind.lower() == "basic":
        try:
            return f"Bearer {b64decode(value, validate=True).decode().partition(':')[2]}"
        except (Error, UnicodeDecodeError):
            return ""
    if given:
        return given
    key = headers.get("x-clickhouse-key") or QueryParams(scope.get("query_string", b"")).get("password", "")
    return f"Bearer {key}" if key else ""


def _names_this_machine(host: str) -> bool:
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    name = name.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
