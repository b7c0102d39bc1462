"""The embedded store from outside the process: the part of ClickHouse's HTTP interface that clients use.

curl, clickhouse-connect, JDBC (DBeaver) and Grafana's data source speak it. It only reads, unless it was made writable
for a benchmark or a test. https://clickhouse.com/docs/interfaces/http
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeAlias

from anyio import CancelScope, CapacityLimiter, fail_after, to_thread
from maslens.storage import encodings, native_blocks, native_format
from maslens.storage.errors import QueryError, Rejected, StoreError, Unavailable, error_code
from maslens.storage.guard import only_reads, parse, without_settings
from maslens.storage.params import Escaped
from maslens.storage.store import InsertsRaw, Store, Streams
from maslens.storage.streaming import has_header, head_of, joined, streams
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

Authorize: TypeAlias = Callable[[Mapping[str, str], Mapping[str, str]], bool]

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointConfig:
    """What one question may cost."""

    queries_at_once: int = 4
    query_seconds: float = 30.0  # also: how long a client may take nothing of an answer
    query_memory: int = 256 * _MIB
    result_bytes: int = 256 * _MIB  # of an answer that is made whole before it is sent
    body_bytes: int = 4 * _MIB  # of a query; with `writable`, of an insert
    writable: bool = False  # anyone who may connect may change everything: benchmarks and tests only


def clickhouse_app(
    store: Store, *, authorize: Authorize | None = None, config: EndpointConfig | None = None
) -> Starlette:
    """An ASGI app for `/`, `/ping` and `/replicas_status`.

    authorize: takes the headers (names in lower case) and the parameters of the address line, which may hold `user` and
    `password`, and says whether the question is answered; called in the event loop, for everything but `/ping`.
    """
    config = config or EndpointConfig()
    places = CapacityLimiter(config.queries_at_once)  # held until an answer is sent
    threads = CapacityLimiter(config.queries_at_once)

    async def answer(request: Request) -> Response:
        if authorize is not None and not authorize(request.headers, request.query_params):
            return _refusal(_UNAUTHORIZED, status=401, headers={"WWW-Authenticate": 'Basic realm="maslens"'})
        try:
            body = encodings.decoded(
                await _body(request, config.body_bytes), request.headers.get("content-encoding"), config.body_bytes
            )
            question = _question(dict(request.query_params), request.headers, body, config)
        except encodings.TooLarge as reason:
            return _refusal(f"Code: 307. DB::Exception: {reason}. (TOO_MANY_BYTES)", status=413)
        except (ValueError, Rejected) as reason:
            return _refusal(_coded(reason, 36, "BAD_ARGUMENTS"), status=400)
        except QueryError as reason:
            return _refusal(str(reason), status=_status(reason.code))
        if question is None:
            return PlainTextResponse("Ok.\n", headers={"X-ClickHouse-Server-Display-Name": _NAME, **_NOSNIFF})
        started = time.perf_counter_ns()
        await places.acquire_on_behalf_of(question)
        sent_later = False
        try:
            found = await to_thread.run_sync(
                partial(_ask, store, question, config), limiter=threads, abandon_on_cancel=True
            )
            answered = _answered(request, question, found, time.perf_counter_ns() - started)
            if isinstance(answered, _Sent):
                answered.threads, answered.patience_s = threads, config.query_seconds
                answered.over = partial(places.release_on_behalf_of, question)
                sent_later = True
            return answered
        except Unavailable as reason:
            return _refusal(_coded(reason, 210, "NETWORK_ERROR"), status=503)
        except StoreError as reason:
            return _refusal(str(reason), status=_status(error_code(str(reason))))
        finally:
            if not sent_later:
                places.release_on_behalf_of(question)

    async def ping(_: Request) -> Response:
        return PlainTextResponse("Ok.\n", headers=_NOSNIFF)

    return Starlette(
        routes=[
            Route("/ping", ping, methods=["GET"]),
            Route("/replicas_status", ping, methods=["GET"]),
            Route("/", answer, methods=["GET", "POST"]),
        ]
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Question:
    sql: str
    data: bytes  # what an INSERT named in the address line brings along
    form: str  # unless the statement names one itself
    query_id: str
    own_compression: bool
    revision: int  # of the Native format that the client speaks
    params: Mapping[str, object] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)


async def _body(request: Request, limit: int) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise encodings.TooLarge(limit)
        chunks.append(chunk)
    return b"".join(chunks)


def _question(
    arguments: Mapping[str, str], headers: Mapping[str, str], body: bytes, config: EndpointConfig
) -> _Question | None:
    """What an address line and a body ask; None when they ask nothing."""
    content_type = headers.get("content-type", "")
    if content_type.startswith("multipart/form-data"):
        fields = encodings.form_fields(content_type, body)
        arguments, body = {**arguments, **fields}, b""
    if arguments.get("decompress") == "1":
        body = native_blocks.decompressed(body, config.body_bytes)
    sql, data = arguments.get("query", ""), b""
    if _INSERT.match(sql.encode()):
        data = body
    elif not sql and config.writable and (insert := _INSERT_WITH_DATA.match(body)):
        sql, data = insert[1].decode("utf-8", "replace"), body[insert.end() :]
    else:
        try:
            sql = "\n".join(part for part in (sql, body.decode("utf-8")) if part.strip())
        except UnicodeDecodeError:
            raise ValueError("the query is not UTF-8") from None
    if not sql.strip():
        return None
    settings = _settings(arguments, config)
    database = arguments.get("database") or headers.get("x-clickhouse-database") or "default"
    return _Question(
        sql=sql,
        data=data,
        form=arguments.get("default_format") or headers.get("x-clickhouse-format") or "TabSeparated",
        query_id=re.sub(r"[^\w.:-]", "", arguments.get("query_id", ""))[:100] or str(uuid.uuid4()),
        own_compression=arguments.get("compress") == "1",
        revision=int(_number(arguments.get("client_protocol_version", ""))),
        params={name[6:]: Escaped(value) for name, value in arguments.items() if name.startswith("param_")},
        # The embedded engine's `default` has no tables: who does not say which one means ours.
        settings=settings if database == "default" else {**settings, "database": database},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """An answer: all of it, or its beginning and where the rest comes from."""

    form: str
    head: bytes
    rest: Iterator[bytes] | None = None
    close: Callable[[], None] = lambda: None


def _ask(store: Store, question: _Question, config: EndpointConfig) -> _Found:
    statement = parse(store, question.sql)
    form = statement.form or question.form
    if not config.writable:
        only_reads(statement, question.params)
        text, chosen = without_settings(statement)
        if chosen:
            settings = {**question.settings, **_settings(chosen, config, there=question.settings)}
            question = replace(question, sql=text, settings=settings)
            statement = replace(statement, text=text)
    insert = _INSERT_DATA.match(statement.text) if question.data else None
    if insert is not None and isinstance(store, InsertsRaw):
        settings = {**question.settings, **dict(_SETTING.findall(insert["settings"] or ""))}
        store.insert_raw(insert["into"], fmt=insert["form"], data=question.data, settings=settings)
        return _Found(form=form, head=b"")
    params, readonly = question.params, not config.writable
    if isinstance(store, Streams) and streams(question.sql, statement, form, question.settings):
        source = store.query_stream(
            question.sql, fmt=form, params=params, settings=question.settings, readonly=readonly
        )
        head, rest = head_of(joined((_as_asked(question, form, piece) for piece in source), form))
        if head or not has_header(form):
            return _Found(form=form, head=head, rest=rest, close=source.close)
    settings = dict(question.settings)
    if not config.writable:
        asked = _number(str(settings.get("max_result_bytes", 0)))
        settings["max_result_bytes"] = min(asked, config.result_bytes) if asked > 0 else config.result_bytes
    result = store.query_raw(question.sql, fmt=form, params=params, settings=settings, readonly=readonly)
    return _Found(form=form, head=_as_asked(question, form, result))


def _as_asked(question: _Question, form: str, result: bytes) -> bytes:
    return native_format.for_revision(result, question.revision) if form == "Native" else result


_INSERT = re.compile(rb"\s*INSERT\s", re.IGNORECASE)
_INSERT_WITH_DATA = re.compile(
    rb"(\s*INSERT\s.{0,9999}?\sFORMAT\s+(?!VALUES\b)\w+)[ \t]*\r?\n?", re.IGNORECASE | re.DOTALL
)
_INSERT_DATA = re.compile(r"INSERT INTO (?:TABLE )?(?P<into>.+?)(?: SETTINGS (?P<settings>.+?))? FORMAT (?P<form>\w+)$")
_SETTING = re.compile(r"(\w+) = '?((?:[^',\\]|\\.)*)'?")


def _settings(
    arguments: Mapping[str, str], config: EndpointConfig, *, there: Mapping[str, object] | None = None
) -> dict[str, object]:
    """What the asker may choose, within what one question may cost: what was chosen `there` already, at most."""
    chosen: dict[str, object] = {}
    for name, value in arguments.items():
        if name in _TRANSPORT or name.startswith("param_"):
            continue
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise QueryError(f"Code: 115. DB::Exception: Unknown setting {name!r}. (UNKNOWN_SETTING)")
        if config.writable or _SETTABLE.fullmatch(name):
            chosen[name] = value
        elif name not in _CAPPED:
            raise QueryError(f"Code: 164. DB::Exception: Cannot modify '{name}' setting in readonly mode. (READONLY)")
    if config.writable:
        return chosen
    caps = {"max_execution_time": config.query_seconds, "max_memory_usage": config.query_memory}
    for name, most in caps.items():
        cap = _number(str((there or {}).get(name, most)))
        asked = _number(arguments.get(name, "0"))
        chosen[name] = min(asked, cap) if asked > 0 else cap
    if (asked := _number(arguments.get("max_result_bytes", "0"))) > 0:
        chosen["max_result_bytes"] = asked
    return chosen


# How the answer looks, where it is cut and how it is worked out; never what may be read, nor how much may be spent.
_SETTABLE = re.compile(
    r"output_format_\w+|format_csv_\w+|format_tsv_\w+|format_regexp_escaping_rule|date_time_\w+|bool_\w+_representation"
    r"|extremes|limit|offset|final|max_result_rows|result_overflow_mode|timeout_overflow_mode|max_rows_to_read"
    r"|max_bytes_to_read|read_overflow_mode|max_rows_to_group_by|group_by_overflow_mode|max_block_size|join_\w+"
    r"|group_by_use_nulls|aggregate_functions_null_for_empty|cast_\w+|any_join_\w+|prefer_column_name_to_alias"
    r"|session_timezone|use_client_time_zone|optimize_\w+|enable_optimize_\w+|log_comment|log_queries|count_distinct_\w+"
    r"|empty_result_for_aggregation_by_empty_set|transform_null_in|additional_\w+_filters?|allow_experimental_analyzer"
    r"|enable_analyzer|short_circuit_function_evaluation|totals_mode|select_sequential_consistency|priority|low_card\w+"
)
_CAPPED = frozenset({"max_execution_time", "max_memory_usage", "max_result_bytes", "max_threads", "readonly"})
_TRANSPORT = frozenset(
    {
        "query", "database", "default_format", "query_id", "user", "password", "session_id",
        "session_timeout", "session_check", "role", "quota_key", "compress", "decompress",
        "enable_http_compression", "http_zlib_compression_level", "buffer_size", "wait_end_of_query",
        "stacktrace", "send_progress_in_http_headers", "http_headers_progress_interval_ms",
        "add_http_cors_header", "client_protocol_version", "http_write_exception_in_output_format",
        "http_response_headers", "http_response_buffer_size", "close_session", "network_compression_method",
        "cancel_http_readonly_queries_on_client_close",
    }
)  # fmt: skip


def _number(text: str) -> float:
    """0 for what is none. Whole numbers stay whole: the engine takes no `1000.0` bytes."""
    try:
        number = float(text)
        return int(number) if number.is_integer() else number
    except ValueError:
        return 0


def _answered(request: Request, question: _Question, found: _Found, elapsed_ns: int) -> Response:
    summary = dict.fromkeys(
        ("read_rows", "read_bytes", "written_rows", "written_bytes", "total_rows_to_read", "result_rows"), "0"
    )
    known = len(found.head) if found.rest is None else 0
    headers = {
        "Content-Type": _CONTENT_TYPES.get(found.form, "application/octet-stream"),
        "X-ClickHouse-Server-Display-Name": _NAME,
        "X-ClickHouse-Query-Id": question.query_id,
        "X-ClickHouse-Format": found.form,
        "X-ClickHouse-Timezone": "UTC",
        "X-ClickHouse-Summary": json.dumps({**summary, "result_bytes": str(known), "elapsed_ns": str(elapsed_ns)}),
        **_NOSNIFF,
    }
    asked = request.query_params.get("enable_http_compression") == "1"
    coding = encodings.chosen(request.headers.get("accept-encoding", "")) if asked else None
    if question.own_compression:
        pack: Callable[[Iterator[bytes]], Iterator[bytes]] = _in_blocks
    elif coding is not None:
        pack, headers["Content-Encoding"] = partial(encodings.all_encoded, coding=coding), coding
    elif found.rest is None:
        return Response(found.head, headers=headers)
    else:
        pack = iter
    if found.rest is None:
        return StreamingResponse(pack(iter((found.head,))), headers=headers)
    return _Sent(found, pack, headers)


def _in_blocks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        yield from native_blocks.compressed(piece)


class _Sent(StreamingResponse):
    """An answer that is sent while it is found. Whatever ends it, the query ends with it and the place is given back.

    Should the query fail, its error is the last of the answer (as a server does it) and the connection breaks, so that
    nobody takes what came for all there is.
    """

    def __init__(
        self, found: _Found, pack: Callable[[Iterator[bytes]], Iterator[bytes]], headers: Mapping[str, str]
    ) -> None:
        super().__init__(self._pieces(), headers=headers)
        self._failed = False
        self._packed, self._close = pack(self._plain(found)), found.close
        self.threads: CapacityLimiter | None = None
        self.patience_s = 30.0
        self.over: Callable[[], None] = lambda: None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if self._failed and not message.get("more_body", False) and message["type"] == "http.response.body":
                return  # without its end, the answer is broken and known to be
            with fail_after(self.patience_s):
                await send(message)

        try:
            await super().__call__(scope, receive, sent)
        except TimeoutError:
            self._failed = True  # a client that takes nothing is let go
        finally:
            with CancelScope(shield=True):
                try:
                    await to_thread.run_sync(self._close, limiter=self.threads)
                finally:
                    self.over()

    async def _pieces(self) -> AsyncIterator[bytes]:
        while (piece := await to_thread.run_sync(next, self._packed, None, limiter=self.threads)) is not None:
            if piece:
                yield piece

    def _plain(self, found: _Found) -> Iterator[bytes]:
        yield found.head
        try:
            yield from found.rest or ()
        except StoreError as reason:
            self._failed = True
            yield f"{reason}\n".encode()


def _refusal(message: str, *, status: int, headers: Mapping[str, str] | None = None) -> Response:
    own = {
        "X-ClickHouse-Exception-Code": str(error_code(message)),
        "X-ClickHouse-Server-Display-Name": _NAME,
        **_NOSNIFF,
    }
    return PlainTextResponse(message.rstrip() + "\n", status_code=status, headers={**own, **(headers or {})})


def _coded(reason: Exception, code: int, name: str) -> str:
    return str(reason) if error_code(str(reason)) else f"Code: {code}. DB::Exception: {reason}. ({name})"


def _status(code: int) -> int:
    """The status ClickHouse answers an exception with (src/Server/HTTP/exceptionCodeToHTTPStatus.cpp); 403 is ours."""
    return next((status for status, codes in _STATUSES.items() if code in codes), 500)


_STATUSES = {
    400: frozenset({6, 25, 26, 27, 36, 38, 41, 43, 44, 53, 62, 69, 72, 117, 158, 307, 321, 395, 396, 427, 457}),
    403: frozenset({164, 392, 482, 497}),
    404: frozenset({10, 16, 46, 47, 50, 56, 60, 63, 73, 81, 115}),
    408: frozenset({159}),
    413: frozenset({310}),
    501: frozenset({48, 1}),
    503: frozenset({202, 209, 210, 241}),
}
_NAME = "maslens"
_NOSNIFF = {"X-Content-Type-Options": "nosniff"}
_UNAUTHORIZED = (
    "Code: 516. DB::Exception: Authentication failed: user or password is wrong, or a token is missing."
    " (AUTHENTICATION_FAILED)"
)
_CONTENT_TYPES = {
    "JSON": "application/json; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TabSeparatedWithNames": "text/tab-separated-values; charset=UTF-8",
    "TabSeparatedWithNamesAndTypes": "text/tab-separated-values; charset=UTF-8",
    "TSV": "text/tab-separated-values; charset=UTF-8",
}
