"""REST under /api/v1: every list is one JSON array of flat objects whose keys are the columns of the fact."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from inspect import Parameter, Signature
from types import MappingProxyType
from typing import Annotated, Any, Literal, Optional, TypeAlias, get_args

import polars as pl
from fastapi import APIRouter, Body, Depends, HTTPException, Query, Request
from fastapi.responses import Response
from maslens.analytics import feedback, reads
from maslens.analytics.graph import CoordinationGraph, coordination_graph
from maslens.analytics.paging import ORDERS, Order
from maslens.analytics.questions import CATALOGUE, COST_BY, Entry, Option, Value, load
from maslens.analytics.questions.costs import by_tool
from maslens.analytics.questions.question import Asked, Question, plain
from maslens.analytics.reader import Format, Reader
from maslens.analytics.reads import Filters, Kind
from pydantic import Field

Scope = Literal["read", "query", "ingest"]
Authorize = Callable[[Request, Scope], bool]
Ask = Callable[[str, Mapping[str, object], str], bytes]  # SQL of a stranger, parameters, output format → answer

Usual: TypeAlias = Mapping[str, Mapping[str, Value]]

MOST_ROWS = 10_000


class Refused(Exception):
    """A stranger's SQL does something else than read the tables."""


def moment(text: str | None, name: str, *, now: datetime | None = None) -> datetime | None:
    """A time as ISO 8601, as seconds since 1970, or as how long ago: 90s, 15m, 6h, 7d, 2w. None for none or `all`.

    How long ago is counted from the last full second, minute or five (a thousandth of it at most), so that who asks
    again shortly after asks the same and is answered from memory.
    """
    if text is None or text in ("", "all"):
        return None
    ago = re.fullmatch(r"(\d{1,6})([smhdw])", text)
    try:
        if ago:
            return _ago(int(ago[1]) * _SECONDS[ago[2]], now or datetime.now(timezone.utc))
        if re.fullmatch(r"\d{1,11}(\.\d+)?", text):
            return datetime.fromtimestamp(float(text), timezone.utc)
        at = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
    except (ValueError, OverflowError, OSError) as error:
        raise HTTPException(
            422, f"{name} must be a time like 2026-01-31T12:00:00Z or 15m, got {text[:60]!r}"
        ) from error
    return at if at.tzinfo else at.replace(tzinfo=timezone.utc)


def _ago(seconds: int, now: datetime) -> datetime:
    step = max((each for each in (1, 5, 15, 60, 300) if each * 1000 <= seconds), default=1)
    return datetime.fromtimestamp(int(now.timestamp()) // step * step, timezone.utc) - timedelta(seconds=seconds)


_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def filters(
    session: Annotated[str | None, Query(max_length=512, description="One session")] = None,
    since: Annotated[
        str | None, Query(max_length=64, description="From: ISO 8601, epoch seconds, or 15m, 6h, 7d")
    ] = None,
    until: Annotated[str | None, Query(max_length=64, description="To, the same")] = None,
    agent: Annotated[str | None, Query(max_length=512, description="One agent")] = None,
    version: Annotated[
        str | None, Query(max_length=512, description="One agent version, where runs are counted")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 1000,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    cursor: Annotated[
        str | None,
        Query(max_length=8192, description="Where the page before ended: the Link header of that page has it"),
    ] = None,
) -> Filters:
    return Filters(
        session=session,
        since=moment(since, "since"),
        until=moment(until, "until"),
        agent=agent,
        version=version,
        limit=limit,
        offset=offset,
        cursor=cursor,
    )


Narrowed = Annotated[Filters, Depends(filters)]
AsFormat = Annotated[Format, Query(alias="format", description="json or csv")]
Explained = Annotated[int | None, Query(ge=1, le=MOST_ROWS, description="Row N: how it came about, and from what")]


def api_router(
    reader: Reader,
    *,
    authorize: Authorize = lambda *_: True,
    ask: Ask | None = None,
    usual: Usual = MappingProxyType({}),
) -> APIRouter:
    """ask: answers SQL that strangers send; without it there is no /query. usual: options of questions by name, where
    nobody says another."""

    def allowed(scope: Scope) -> Any:
        def check(request: Request) -> None:
            if not authorize(request, scope):
                raise HTTPException(403, f"this token does not allow to {scope}")

        return Depends(check)

    router = APIRouter(prefix="/api/v1", dependencies=[allowed("read")])

    for each in CATALOGUE:
        if each.api:
            _add_question(router, reader, each, usual.get(each.name, {}))

    @router.get("/timeline", summary="Sessions, failures and cost per bucket")
    def timeline(
        narrowed: Narrowed, step: Annotated[int, Query(ge=1, le=604_800)] = 60, form: AsFormat = "json"
    ) -> Response:
        return answered(reader.bytes(reads.timeline(narrowed, seconds=step), form), form)

    @router.get("/cost", summary="Who spent what, with (unattributed) and (total)")
    def cost(narrowed: Narrowed, by: str = "agent", form: AsFormat = "json") -> Response:
        if by in reads.COST_KEYS:
            return answered(reader.bytes(reads.cost(narrowed, by=by), form), form)
        if by != "tool":
            raise HTTPException(422, f"by must be one of {', '.join(sorted(COST_BY))}, got {by[:60]!r}")
        answer = reader.remembered(("cost", by, repr(narrowed)), lambda: by_tool(reader.frames, narrowed))
        return answered_frame(answer, form)

    @router.get("/graph", summary="The coordination graph: nodes, the busiest edges, metrics of the whole")
    def graph(narrowed: Narrowed) -> Response:
        def encoded() -> bytes:
            made = graph_of(reader, narrowed)
            parts = (made.nodes.write_json(), made.edges[: narrowed.limit].write_json(), json.dumps(dict(made.metrics)))
            return '{{"nodes":{},"edges":{},"metrics":{}}}'.format(*parts).encode()

        return answered(reader.remembered(("graph", "json", repr(narrowed)), encoded), "json")

    @router.get("/sessions/{session_id:path}", summary="Everything about one session")
    def session(session_id: str, limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 2000) -> Response:
        parts = reader.each({kind: reads.of_session(kind, session_id, limit=limit) for kind in get_args(Kind)})
        parts["sessions"] = parts["sessions"].strip()[1:-1].strip()  # there is one, or none
        if not parts["sessions"]:
            raise HTTPException(404, f"no session {session_id[:200]!r}")
        body = b",".join(f'"{_NAMES.get(kind, kind)}":'.encode() + rows.strip() for kind, rows in parts.items())
        return answered(b"{" + body + b"}", "json")

    if ask is not None:
        _add_query(router, ask, allowed("query"))
    return router


def _add_question(router: APIRouter, reader: Reader, entry: Entry, usual: Mapping[str, Value]) -> None:
    """A list of the API: the filters, and what the question takes beside them."""
    question = load(entry.name)

    order = ORDERS.get(entry.name)

    def endpoint(
        request: Request, narrowed: Filters, form: Format, explain: int | None, **given: Value | None
    ) -> Response:
        try:
            if narrowed.cursor is not None and order is None:
                raise ValueError(f"cursor goes with lists that begin with the newest: {', '.join(ORDERS)}")
            asked = Asked(filters=narrowed, options=entry.checked(given, usual))
            if explain is not None:
                return answered(json.dumps(_explained(reader, question, asked, explain), default=str).encode(), "json")
            if question.read is not None:
                body = reader.bytes(question.read(asked), form)
                more = _next_page(request, body, order, narrowed) if order and form == "json" else {}
                return answered(body, form, more)
            key = (entry.name, repr(asked))
            return answered_frame(reader.remembered(key, lambda: question.answer(reader.frames, asked)), form)
        except ValueError as wrong:  # an option that cannot be
            raise HTTPException(422, str(wrong)) from None

    taken: list[tuple[str, Any, Any]] = [
        ("request", Request, Parameter.empty),
        ("narrowed", Narrowed, Parameter.empty),
        ("form", AsFormat, "json"),
        ("explain", Explained, None),
        *((option.name, _query_of(option), None) for option in entry.options),
    ]
    endpoint.__signature__ = Signature(  # type: ignore[attr-defined]  # FastAPI reads the parameters from it
        [Parameter(name, Parameter.KEYWORD_ONLY, annotation=kind, default=default) for name, kind, default in taken]
    )
    router.add_api_route(
        f"/{entry.name}", endpoint, summary=entry.help, name=entry.name, response_class=Response, methods=["GET"]
    )


def _next_page(request: Request, body: bytes, order: Order, narrowed: Filters) -> dict[str, str]:
    """The Link header (RFC 8288) of a page that may have one after it. The engine writes a row a line."""
    rows = [line for line in body.splitlines() if line.startswith(b"{")]
    if narrowed.limit is None or len(rows) < narrowed.limit:
        return {}
    here = request.url.remove_query_params("offset")
    following = here.include_query_params(cursor=order.cursor(json.loads(rows[-1].rstrip(b","))))
    return {"link": f'<{following.path}?{following.query}>; rel="next"'}


def _query_of(option: Option) -> Any:
    longest = 4096 if isinstance(option.default, str) else None
    return Annotated[
        Optional.__getitem__(type(option.default)), Query(description=option.described, max_length=longest)
    ]


def _explained(reader: Reader, question: Question, asked: Asked, number: int) -> list[dict[str, Any]]:
    found = question.answer(reader.frames, asked)
    if number > found.height:
        raise HTTPException(404, f"there is no row {number}: the answer has {found.height}")
    told = question.explained(found.row(number - 1, named=True), reader.frames, asked)
    told[0] = {"part": "row", **plain(found[number - 1]).row(0, named=True)}
    return told


def feedback_router(
    reader: Reader,
    insert: feedback.Insert,
    *,
    authorize: Authorize = lambda *_: True,
    clock_ns: Callable[[], int] = time.time_ns,
) -> APIRouter:
    """POST /api/v1/feedback. Only JSON is taken, which no page from elsewhere can send without being asked first."""

    def check(request: Request) -> None:
        if not authorize(request, "ingest"):
            raise HTTPException(403, "this token does not allow to ingest")

    router = APIRouter(prefix="/api/v1", dependencies=[Depends(check)])

    @router.post("/feedback", status_code=201, summary="What somebody thought of a session, a run or a handoff")
    def give(given: feedback.Feedback | Many) -> Mapping[str, Sequence[str]]:
        """Stored when answered; counted with the facts of its session, seconds later."""
        several = given if isinstance(given, list) else [given]
        try:
            placed = [feedback.located(each, lambda read: reader.store.rows(read.sql, read.params)) for each in several]
        except feedback.Unknown as unknown:
            raise HTTPException(404, str(unknown)) from None
        return {"ids": [feedback.store(each, insert, now_ns=clock_ns()) for each in placed]}

    return router


Many = Annotated[list[feedback.Feedback], Field(min_length=1, max_length=feedback.MOST)]


def _add_query(router: APIRouter, ask: Ask, allowed: Any) -> None:
    def run(sql: str, params: Mapping[str, object], form: Format) -> Response:
        try:
            return answered(ask(sql, params, "JSONEachRow" if form == "json" else "CSVWithNames"), form)
        except Refused as refusal:
            raise HTTPException(403, str(refusal)) from None

    @router.get("/query", summary="Read-only SQL", dependencies=[allowed])
    def query(sql: Annotated[str, Query(max_length=100_000)], form: AsFormat = "json") -> Response:
        return run(sql, {}, form)

    @router.post("/query", summary="Read-only SQL with {name:Type} parameters", dependencies=[allowed])
    def query_posted(
        sql: Annotated[str, Body(max_length=1_000_000)],
        params: Annotated[dict[str, Any] | None, Body()] = None,
        form: AsFormat = "json",
    ) -> Response:
        return run(sql, params or {}, form)


def graph_of(reader: Reader, narrowed: Filters) -> CoordinationGraph:
    rows = reader.categories(*(reads.graph_rows(kind, narrowed) for kind in _GRAPH))
    return coordination_graph(*rows, run_key=["run_id"])  # numbers made of the session and the run


_GRAPH: Sequence[Literal["handoffs", "agent_runs"]] = ("handoffs", "agent_runs")


def answered(body: bytes, form: Format, headers: Mapping[str, str] | None = None) -> Response:
    if form == "csv":
        return Response(body, media_type="text/csv; charset=utf-8; header=present")
    return Response(body or b"[]", media_type="application/json", headers=dict(headers or {}))


def answered_frame(frame: pl.DataFrame, form: Format) -> Response:
    told = plain(frame)
    lists = [name for name, dtype in told.schema.items() if isinstance(dtype, pl.List)]
    flat = told.with_columns(pl.col(name).map_elements(_json_list, return_dtype=pl.String) for name in lists)
    body = flat.write_csv() if form == "csv" else told.write_json()
    return answered(body.encode(), form)


def _json_list(values: pl.Series) -> str:
    return json.dumps(values.to_list(), ensure_ascii=False, default=str)


_NAMES = {"agent_runs": "runs", "agent_errors": "errors", "sessions": "session"}
