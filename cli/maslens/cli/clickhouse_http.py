"""The embedded store from outside the process: the part of ClickHouse's HTTP interface that readers use.

curl, clickhouse-connect and JDBC clients speak it. Only reads: the engine itself refuses everything else.
https://clickhouse.com/docs/interfaces/http
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from anyio import CapacityLimiter, to_thread
from maslens.cli.readonly import Refused, parse
from maslens.storage import Store, Unavailable
from maslens.storage.errors import StoreError, error_code
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

MAX_QUERY_BYTES = 1 << 20
# What a client may set for one query: how the answer looks and where it is cut, never how much the engine may use.
_SETTABLE = re.compile(
    r"output_format_\w+|format_csv_\w+|date_time_output_format|extremes|limit|offset|max_result_(rows|bytes)"
    r"|result_overflow_mode|max_block_size|max_rows_to_read|join_use_nulls|group_by_use_nulls"
)
_CONTENT_TYPES = {
    "JSON": "application/json; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TabSeparatedWithNames": "text/tab-separated-values; charset=UTF-8",
    "TSV": "text/tab-separated-values; charset=UTF-8",
}
_NOT_FOUND = {60, 81, 46, 47}  # unknown table, database, function, identifier
_FORBIDDEN = {164, 392, 482, 497}  # readonly, query is prohibited, access denied
_BUSY = {159, 202, 241}  # timeout, too many queries, memory limit: the same question may fare better later


def clickhouse_app(store: Store) -> Starlette:
    """The interface on a port of its own: queries at `/` and at `/clickhouse`, as on the page address."""
    ping = [Route(path, _ping, methods=["GET"]) for path in ("/ping", "/replicas_status")]
    return Starlette(routes=[*ping, *clickhouse_routes(store, "/", "/clickhouse")])


def clickhouse_routes(store: Store, *paths: str, queries_at_once: int = 4) -> list[BaseRoute]:
    """Queries, answered at `paths`."""
    limiter = CapacityLimiter(queries_at_once)

    async def answer(request: Request) -> Response:
        try:
            question = _question(dict(request.query_params), request.headers, await _body(request))
        except ValueError as reason:
            return _refusal(str(reason), status=400)
        if question is None:
            return PlainTextResponse("Ok.\n")
        started = time.perf_counter_ns()
        try:
            form, body = await to_thread.run_sync(
                partial(_ask, store, question), limiter=limiter, abandon_on_cancel=True
            )
        except Refused as reason:
            return _refusal(f"Code: 497. DB::Exception: {reason}. (ACCESS_DENIED)", status=403)
        except Unavailable as reason:
            return _refusal(str(reason), status=503)
        except StoreError as reason:
            return _refusal(str(reason), status=_status(error_code(str(reason))))
        return Response(body, headers=_headers(question, form, len(body), time.perf_counter_ns() - started))

    return [Route(path, answer, methods=["GET", "POST"]) for path in paths]


async def _ping(_: Request) -> Response:
    return PlainTextResponse("Ok.\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    sql: str
    form: str  # unless the statement names one itself
    params: Mapping[str, object]
    settings: Mapping[str, object]
    query_id: str


async def _body(request: Request) -> str:
    if request.headers.get("content-encoding", "identity") != "identity":
        raise ValueError("Code: 1. a compressed query is not understood here; send it plain")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_QUERY_BYTES:
            raise ValueError(f"Code: 62. the query is longer than {MAX_QUERY_BYTES} bytes")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("Code: 62. the query is not UTF-8") from None


def _question(arguments: Mapping[str, str], headers: Mapping[str, str], body: str) -> _Question | None:
    """The query of an address line and a body; None when there is none."""
    if arguments.get("compress") == "1" or arguments.get("decompress") == "1":
        raise ValueError("Code: 1. ClickHouse's own block compression is not spoken here; use compress=0")
    sql = "\n".join(part for part in (arguments.get("query", ""), body) if part.strip()).strip()
    if not sql:
        return None
    return _Question(
        sql=sql,
        form=arguments.get("default_format") or headers.get("x-clickhouse-format") or "TabSeparated",
        params={name[6:]: _unescaped(value) for name, value in arguments.items() if name.startswith("param_")},
        settings=_settings(arguments),
        query_id=arguments.get("query_id") or str(uuid.uuid4()),
    )


def _ask(store: Store, question: _Question) -> tuple[str, bytes]:
    form = parse(store, question.sql).form or question.form
    return form, store.query_raw(question.sql, fmt=form, params=question.params, settings=question.settings)


def _settings(arguments: Mapping[str, str]) -> dict[str, object]:
    return {name: value for name, value in arguments.items() if _SETTABLE.fullmatch(name)}


def _unescaped(text: str) -> str:
    """A parameter as the client meant it: they travel in the escapes of TabSeparated."""
    return re.sub(
        r"\\(.)",
        lambda found: {"n": "\n", "t": "\t", "r": "\r", "0": "\0"}.get(found[1], found[1]),
        text,
        flags=re.DOTALL,
    )


def _headers(question: _Question, form: str, size: int, elapsed_ns: int) -> dict[str, str]:
    summary = {"result_bytes": str(size), "elapsed_ns": str(elapsed_ns)}
    return {
        "Content-Type": _CONTENT_TYPES.get(form, "application/octet-stream"),
        "X-ClickHouse-Server-Display-Name": "maslens",
        "X-ClickHouse-Query-Id": re.sub(r"[^\w.:-]", "", question.query_id)[:100],
        "X-ClickHouse-Format": form,
        "X-ClickHouse-Timezone": "UTC",
        "X-ClickHouse-Summary": json.dumps(summary),
        "X-Content-Type-Options": "nosniff",
    }


def _refusal(message: str, *, status: int) -> Response:
    code = error_code(message)
    return PlainTextResponse(
        message.rstrip() + "\n",
        status_code=status,
        headers={"X-ClickHouse-Exception-Code": str(code or 1), "X-Content-Type-Options": "nosniff"},
    )


def _status(code: int) -> int:
    for codes, status in ((_NOT_FOUND, 404), (_FORBIDDEN, 403), (_BUSY, 503)):
        if code in codes:
            return status
    return 400
