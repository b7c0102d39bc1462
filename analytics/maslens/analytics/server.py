"""The ASGI app on the page address: page, REST, GraphQL, /metrics, /healthz and /readyz."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from importlib.resources import files
from types import MappingProxyType

from anyio import to_thread
from fastapi import FastAPI
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from maslens.analytics.api import Ask, Authorize, Usual, api_router, feedback_router
from maslens.analytics.graphql import graphql_app
from maslens.analytics.metrics import Exposition
from maslens.analytics.reader import Reader
from maslens.storage import Store, Unavailable
from maslens.storage.errors import QueryError
from starlette.datastructures import MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as ASGIScope

PAGE = files("maslens.analytics") / "page"


def create_app(
    store: Store,
    *,
    exposition: Exposition | None = None,
    revision: Callable[[], int] | None = None,
    problems: Callable[[], Sequence[str]] = tuple,
    ask: Ask | None = None,
    authorize: Authorize = lambda *_: True,
    routes: Sequence[BaseRoute] = (),
    usual: Usual = MappingProxyType({}),
) -> ASGIApp:
    """Everything that looks at the facts in `store`.

    exposition: /metrics, where this process counts. revision: changes with every commit of new facts, as
    `Sidecar.revision` does. problems: why /readyz should say no. ask: answers SQL of strangers; without it there is no
    /api/v1/query. authorize: whether a request may `read` or `query`. routes: further ones, which go first. usual:
    options of questions by name, where nobody says another.
    """
    reader = Reader(store, revision=revision)
    app = FastAPI(
        title="maslens",
        version=version("maslens"),
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # those pages load their scripts from elsewhere
        redoc_url=None,
        routes=[*routes, *observing_routes(exposition, problems)],
        exception_handlers={QueryError: _refused, Unavailable: _unavailable, RequestValidationError: _invalid},
    )
    app.include_router(api_router(reader, authorize=authorize, ask=ask, usual=usual))
    app.include_router(feedback_router(reader, partial(_log, store), authorize=authorize))
    app.router.routes.append(
        Route("/graphql", _Allowed(graphql_app(reader, usual=usual), authorize), methods=["GET", "POST"])
    )
    app.mount("/", StaticFiles(directory=str(PAGE), html=True), name="page")
    return GZipMiddleware(_Guarded(app), minimum_size=1024, compresslevel=4)


def _log(store: Store, body: bytes, token: str) -> None:
    store.insert_otlp("logs", body, token=token)


def observing_routes(exposition: Exposition | None, problems: Callable[[], Sequence[str]]) -> list[BaseRoute]:
    async def metrics(request: Request) -> Response:
        if exposition is None:
            return PlainTextResponse("nothing is counted in this process\n", status_code=404)
        body, content_type = await to_thread.run_sync(exposition.render, request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        wrong = list(await to_thread.run_sync(problems))
        return JSONResponse({"ready": not wrong, "problems": wrong}, status_code=503 if wrong else 200)

    return [Route("/metrics", metrics), Route("/healthz", healthz), Route("/readyz", readyz)]


class _Allowed:
    """`app` for whoever may read."""

    def __init__(self, app: ASGIApp, authorize: Authorize) -> None:
        self._app = app
        self._authorize = authorize

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        answer = self._app
        if not self._authorize(Request(scope), "read"):
            answer = JSONResponse({"detail": "this token does not allow to read"}, status_code=403)
        try:
            await answer(scope, receive, send)
        except UnicodeDecodeError:  # read before anything is answered
            await JSONResponse({"errors": [{"message": "the body is not UTF-8"}]}, status_code=400)(
                scope, receive, send
            )


async def _refused(_: Request, error: Exception) -> Response:
    """The engine's own words, without its stack: what it refused came from the asker."""
    return JSONResponse({"detail": str(error).partition("Stack trace")[0].strip()[:2000]}, status_code=400)


async def _invalid(_: Request, error: Exception) -> Response:
    """What was asked for wrongly. What was given is shown in ASCII: it may hold half characters, which no UTF-8 has."""
    assert isinstance(error, RequestValidationError)
    body = json.dumps({"detail": jsonable_encoder(error.errors())})
    return Response(body, status_code=422, media_type="application/json")


async def _unavailable(_: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)[:500]}, status_code=503, headers={"Retry-After": "2"})


_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class _Guarded:
    """Nothing but our own scripts, styles and data, in no frame of anybody else's page."""

    HEADERS = (
        ("content-security-policy", _POLICY),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    )

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                for name, value in self.HEADERS:
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-cache")
            await send(message)

        await self._app(scope, receive, sent)
