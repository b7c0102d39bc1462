"""Who may ask: a bearer token where one is set, and no web page from elsewhere."""

from __future__ import annotations

import hmac
from base64 import b64decode
from binascii import Error
from ipaddress import ip_address

from maslens.cli.settings import is_loopback
from starlette.datastructures import Headers, QueryParams
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

OPEN_PATHS = ("/healthz", "/readyz", "/ping")  # they say nothing but that somebody is here


class Guarded:
    """`app` behind a token. Without one, only for requests that name this machine.

    A page in a browser can reach 127.0.0.1 under a name of its own (DNS rebinding); its requests carry that name.
    """

    def __init__(self, app: ASGIApp, *, token: str | None, host: str) -> None:
        self._app = app
        self._token = token.encode() if token else None
        self._only_local = token is None and is_loopback(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and scope["path"] not in OPEN_PATHS:
            headers = Headers(scope=scope)
            if self._token is not None and not _carries(headers, scope, self._token):
                refusal = PlainTextResponse(
                    "a token is needed: Authorization: Bearer …\n",
                    status_code=401,
                    headers={"WWW-Authenticate": 'Bearer realm="maslens"'},
                )
                await refusal(scope, receive, send)
                return
            if self._only_local and not _names_this_machine(headers.get("host", "")):
                refusal = PlainTextResponse("this address is answered only as localhost\n", status_code=421)
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _carries(headers: Headers, scope: Scope, token: bytes) -> bool:
    """The token as a bearer, as ClickHouse's key header or password, or as the password of basic authentication."""
    kind, _, value = headers.get("authorization", "").partition(" ")
    given = headers.get("x-clickhouse-key") or QueryParams(scope.get("query_string", b"")).get("password", "")
    if kind.lower() == "bearer":
        given = value.strip()
    elif kind.lower() == "basic":
        try:
            given = b64decode(value, validate=True).decode().partition(":")[2]
        except (Error, UnicodeDecodeError):
            given = ""
    return hmac.compare_digest(given.encode(), token)


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
