"""What most rows rest on: the span itself, the runs it names, or the latest facts that a sum was made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
from maslens.analytics.questions.question import Ask, Asked, Evidence, Row
from maslens.analytics.reads import Filters, Read

LATEST = 5  # of the facts that a sum was made of


def of_span(row: Row, ask: Ask, _: Asked | None = None) -> list[Evidence]:
    """The span that the row was read from: how it was understood, and as it came."""
    where = "WHERE TraceId = {trace:String} AND SpanId = {span:String} LIMIT 1"
    params = {"trace": row.get("trace_id", ""), "span": str(row.get("span_id") or row.get("run_id") or "")}
    understood = Read(
        sql=f"""
SELECT Timestamp AS at, ServiceName AS service, SpanName AS name, Kind AS kind, Dialect AS dialect,
    AgentName AS agent, ToolName AS tool, TransferSource AS transfer_source,
    TransferTarget AS transfer_target, RequestModel AS model, InputTokens AS input_tokens,
    OutputTokens AS output_tokens, Duration AS duration_ns, StatusCode AS status, ErrorType AS error_type
FROM agent_spans {where}""",
        params=params,
    )
    came = Read(
        sql=f"""
SELECT SpanName AS name, StatusCode AS status, StatusMessage AS status_message, Events.Name AS events,
    toJSONString(mapApply((k, v) -> (k, leftUTF8(v, 500)), SpanAttributes)) AS attributes
FROM otel_traces {where}""",
        params=params,
    )
    return _told(ask, {"span, as it was understood": understood, "span, as it came": came})


def of_runs(row: Row, ask: Ask, *columns: str) -> list[Evidence]:
    """The runs that the row names in `columns`."""
    named = [str(row[column]) for column in columns if row.get(column)]
    read = Read(
        sql="""
SELECT run_id, parent_run_id, agent, name_evidence, status, error_type, started_at, ended_at, llm_calls, tool_calls,
    cost_usd
FROM agent_runs WHERE session_id = {session:String} AND run_id IN {runs:Array(String)} ORDER BY started_at""",
        params={"session": row.get("session_id", ""), "runs": named},
    )
    return _told(ask, {"runs": read}) if named else []


def of_handoff(row: Row, ask: Ask, _: Asked) -> list[Evidence]:
    return [*of_span(row, ask), *of_runs(row, ask, "source_run_id", "target_run_id")]


def of_run(row: Row, ask: Ask, asked: Asked) -> list[Evidence]:
    mine = {"session": row["session_id"], "run": row["run_id"]}
    calls = Read(
        sql="""
SELECT at, model, input_tokens, output_tokens, cost_usd, status, span_id FROM llm_calls
WHERE session_id = {session:String} AND run_id = {run:String} ORDER BY at""",
        params=mine,
    )
    tools = Read(
        sql="""
SELECT at, tool, status, error_type, duration_ns, span_id FROM tool_calls
WHERE session_id = {session:String} AND run_id = {run:String} ORDER BY at""",
        params=mine,
    )
    return [*of_span(row, ask, asked), *_told(ask, {"model calls": calls, "tool calls": tools})]


def of_session(row: Row, ask: Ask, _: Asked) -> list[Evidence]:
    mine = {"session": row["session_id"]}
    runs = """
SELECT started_at, agent, status, error_type, duration_ns, llm_calls, tool_calls, cost_usd, run_id FROM agent_runs
WHERE session_id = {session:String} ORDER BY started_at"""
    handoffs = """
SELECT at, source, target, mode, evidence, confidence, outcome FROM handoffs
WHERE session_id = {session:String} ORDER BY at"""
    errors = """
SELECT at, agent, error_type, message, recovered, span_id FROM agent_errors
WHERE session_id = {session:String} ORDER BY at"""
    reads = {"runs": runs, "handoffs": handoffs, "errors": errors}
    return _told(ask, {title: Read(sql=sql, params=mine) for title, sql in reads.items()})


def of_evaluation(row: Row, ask: Ask, _: Asked) -> list[Evidence]:
    """The span that was judged, and the event as it came."""
    came = Read(
        sql="""
SELECT Timestamp AS at, EventName AS event, Origin AS origin, toJSONString(Attributes) AS attributes FROM agent_events
WHERE TraceId = {trace:String} AND EvaluationName = {name:String} AND Timestamp = {at:DateTime64(9, 'UTC')} LIMIT 1""",
        params={"trace": row["trace_id"], "name": row["name"], "at": row["at"]},
    )
    return [*of_span(row, ask), *of_runs(row, ask, "run_id"), *_told(ask, {"event, as it came": came})]


def of_agent(row: Row, ask: Ask, asked: Asked) -> list[Evidence]:
    """The latest runs and errors that a sum over an agent was made of."""
    return _told(
        ask,
        {
            "latest runs": _latest("agent_runs", asked.filters, {"agent": row["agent"]}, time="started_at"),
            "latest errors": _latest("agent_errors", asked.filters, {"agent": row["agent"]}, time="at"),
        },
    )


def of_error(row: Row, ask: Ask, asked: Asked) -> list[Evidence]:
    same = {"agent": row["agent"], "error_type": row["error_type"]}
    return _told(ask, {"latest errors": _latest("agent_errors", asked.filters, same, time="at")})


def of_tool(row: Row, ask: Ask, asked: Asked) -> list[Evidence]:
    return _told(ask, {"latest calls": _latest("tool_calls", asked.filters, {"tool": row["tool"]}, time="at")})


def of_edge(row: Row, ask: Ask, asked: Asked) -> list[Evidence]:
    """The latest handoffs that an edge was made of."""
    same = {name: row[name] for name in ("source", "target", "mode")}
    return _told(ask, {"latest handoffs": _latest("handoffs", asked.filters, same, time="at")})


def nothing_more(_row: Row, _ask: Ask, _asked: Asked) -> Sequence[Evidence]:
    return ()


def _latest(table: str, filters: Filters, same: Mapping[str, object], *, time: str) -> Read:
    """The newest rows of `table` that agree with `same`, in the window that was asked about."""
    tests = [f"{column} = {{{column}:String}}" for column in same]
    params = dict(same)
    if filters.session is not None:
        tests.append("session_id = {session:String}")
        params["session"] = filters.session
    if filters.since is not None:
        tests.append(f"{time} >= {{since:DateTime64(9, 'UTC')}}")
        params["since"] = filters.since
    if filters.until is not None:
        tests.append(f"{time} < {{until:DateTime64(9, 'UTC')}}")
        params["until"] = filters.until
    return Read(
        sql=f"SELECT * FROM {table} WHERE {' AND '.join(tests)} ORDER BY {time} DESC LIMIT {LATEST:d}", params=params
    )


def _told(ask: Ask, reads: Mapping[str, Read]) -> list[Evidence]:
    """What was found, without what nobody had anything to say about."""
    found = zip(reads, ask(*reads.values()), strict=True)
    return [Evidence(title=title, rows=_said(rows)) for title, rows in found if not rows.is_empty()]


def _said(rows: pl.DataFrame) -> pl.DataFrame:
    """Without columns that are empty in every row."""
    kept = [
        name
        for name, column in rows.to_dict(as_series=True).items()
        if column.null_count() < len(column) and not (column.dtype == pl.String and (column == "").all())
    ]
    return rows.select(kept)
