"""What the API, GraphQL and the page ask the store: each function returns text and parameters, nothing is pasted in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from maslens.analytics.cost import TOTAL
from maslens.analytics.frames import CONTENTS, UNATTRIBUTED
from maslens.analytics.paging import ORDERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What every read can be narrowed to; None is no limit."""

    session: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    agent: str | None = None
    version: str | None = None
    limit: int | None = None
    offset: int = 0
    cursor: str | None = None  # where the page before ended; of lists that begin with the newest


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    sql: str
    params: Mapping[str, object] = field(default_factory=dict)


TRACES_OF_SESSION: Final = """TraceId IN (
    SELECT trace_id FROM llm_calls WHERE session_id = {session:String}
    UNION DISTINCT SELECT trace_id FROM tool_calls WHERE session_id = {session:String}
    UNION DISTINCT SELECT trace_id FROM agent_runs WHERE session_id = {session:String})"""


def spans_with_contents(where: str) -> str:
    """`agent_spans`, contents that came as log records filled in. where: a condition on TraceId and SpanId alone."""
    filled = ", ".join(f"if(s.{name} = '', c.{name}, s.{name}) AS {name}" for name in CONTENTS)
    return f"""
SELECT s.* REPLACE ({filled})
FROM (SELECT * FROM agent_spans WHERE {where}) AS s
LEFT JOIN (SELECT * FROM span_contents WHERE {where}) AS c USING (TraceId, SpanId)"""


def agents(filters: Filters) -> Read:
    where, params = _where(filters, time="started_at", agent=("agent",), version="agent_version")
    return Read(
        sql=f"""
WITH quantilesExactInclusive(0.5, 0.95)(duration_ns) AS took
SELECT
    agent,
    count() AS runs,
    countIf(status = 'error') AS errors,
    round(errors / runs, 6) AS error_ratio,
    round(took[1] / 1e6, 3) AS p50_ms,
    round(took[2] / 1e6, 3) AS p95_ms,
    round(quantileExactInclusive(0.5)(self_ns) / 1e6, 3) AS self_p50_ms,
    uniqExact(cityHash64(session_id)) AS sessions,
    sum(r.llm_calls) AS llm_calls,
    sum(r.tool_calls) AS tool_calls,
    sum(r.input_tokens) AS input_tokens,
    sum(r.output_tokens) AS output_tokens,
    sum(r.cached_tokens) AS cached_tokens,
    round(sum(r.cost_usd), 9) AS cost_usd,
    arraySort(groupUniqArrayIf(16)(agent_version, agent_version != '')) AS versions,
    anyLast(framework) AS framework,
    max(ended_at) AS last_seen
FROM agent_runs AS r
{where}
GROUP BY agent
ORDER BY runs DESC, agent
{_page(filters)}""",
        params=params,
    )


def runs(filters: Filters) -> Read:
    return _listed("runs", "agent_runs", filters, agent=("agent",), version="agent_version")


def handoffs(filters: Filters) -> Read:
    return _listed("handoffs", "handoffs", filters, agent=("source", "target"))


def handoff_quality(filters: Filters) -> Read:
    """The worst first, those that nothing is known of last."""
    where, params = _where(filters, time="at", agent=("source", "target"))
    return Read(
        sql=f"SELECT * FROM handoff_quality {where}"
        f" ORDER BY score ASC NULLS LAST, at DESC, session_id, source, target {_page(filters)}",
        params=params,
    )


def suspects(filters: Filters) -> Read:
    """The newest failed sessions, of each its steps by confidence."""
    where, params = _where(filters, time="at", agent=("agent",))
    return Read(
        sql=f"""
SELECT * FROM suspects {where}
ORDER BY max(at) OVER (PARTITION BY session_id) DESC, session_id, rank {_page(filters)}""",
        params=params,
    )


def verdicts(filters: Filters) -> Read:
    return _listed("verdicts", "judge_verdicts", filters, agent=("agent",))


def context_drift(filters: Filters) -> Read:
    return _listed("drift", "context_drift", filters, agent=("agent",))


def sessions(filters: Filters) -> Read:
    return _listed("sessions", "sessions", filters, agent=("agents",))


def evaluations(filters: Filters) -> Read:
    return _listed("evaluations", "evaluations", filters, agent=("agent",))


def _listed(name: str, table: str, filters: Filters, *, agent: Sequence[str], version: str = "") -> Read:
    """The facts themselves, the newest first."""
    order = ORDERS[name]
    where, params = _where(filters, time=order.time, agent=agent, version=version)
    if filters.cursor is not None:
        after, more = order.after(filters.cursor)
        where, params = f"{where} AND {after}" if where else f"WHERE {after}", {**params, **more}
    return Read(sql=f"SELECT * FROM {table} {where} ORDER BY {order.sql} {_page(filters)}", params=params)


Kind = Literal["sessions", "agent_runs", "handoffs", "llm_calls", "tool_calls", "agent_errors", "evaluations"]
_TIME: Mapping[Kind, str] = {
    "sessions": "started_at",
    "agent_runs": "started_at",
    "handoffs": "at",
    "llm_calls": "at",
    "tool_calls": "at",
    "agent_errors": "at",
    "evaluations": "at",
}


def of_session(kind: Kind, session: str, *, limit: int) -> Read:
    """The facts of one session in order of time."""
    return Read(
        sql=f"SELECT * FROM {kind} WHERE session_id = {{session:String}} ORDER BY {_TIME[kind]} LIMIT {limit:d}",
        params={"session": session},
    )


def graph_rows(kind: Literal["handoffs", "agent_runs"], filters: Filters) -> Read:
    """What the coordination graph is made of. Ids come as numbers: only whether they are equal matters."""
    if kind == "handoffs":
        where, params = _where(filters, time="at", agent=())
        rows = f"SELECT *, target_key FROM fact_handoffs FINAL {where}"
        columns = """f.target_key AS target_run_id, source, target, mode, evidence, confidence, outcome, at,
            connection_type"""
    else:
        where, params = _where(filters, time="started_at", agent=(), version="agent_version")
        rows = f"SELECT *, run_key, parent_key FROM fact_agent_runs FINAL {where}"
        columns = """f.run_key AS run_id, f.parent_key AS parent_run_id, agent, started_at, duration_ns, status,
            cost_usd"""
    return Read(sql=f"SELECT cityHash64(f.session_id) AS session_id, {columns} FROM ({rows}) AS f", params=params)


def errors(filters: Filters) -> Read:
    where, params = _where(filters, time="at", agent=("agent",))
    return Read(
        sql=f"""
SELECT
    agent,
    error_type,
    count() AS errors,
    countIf(recovered) AS recovered,
    uniqExact(session_id) AS sessions,
    argMax(message, at) AS last_message,
    argMax(session_id, at) AS last_session,
    max(at) AS last_at
FROM agent_errors
{where}
GROUP BY agent, error_type
ORDER BY errors DESC, agent, error_type
{_page(filters)}""",
        params=params,
    )


def tools(filters: Filters) -> Read:
    where, params = _where(filters, time="at", agent=("agent",))
    return Read(
        sql=f"""
WITH quantilesExactInclusive(0.5, 0.95)(duration_ns) AS took
SELECT
    tool,
    count() AS calls,
    countIf(status = 'error') AS errors,
    round(took[1] / 1e6, 3) AS p50_ms,
    round(took[2] / 1e6, 3) AS p95_ms,
    arraySort(groupUniqArray(32)(agent)) AS agents
FROM tool_calls
{where}
GROUP BY tool
ORDER BY calls DESC, tool
{_page(filters)}""",
        params=params,
    )


COST_COLUMNS: Mapping[str, str] = {
    "agent": "agent",
    "model": "model",
    "provider": "provider",
    "session": "session_id",
    "day": "toString(toDate(at))",
}


RUN_COLUMNS: Mapping[str, str] = {"version": "agent_version", "variant": "variant", "task": "task"}


COST_KEYS = (*COST_COLUMNS, *RUN_COLUMNS, "handoff")  # what the engine cuts money up by


def cost(filters: Filters, *, by: str) -> Read:
    """One row for each `by`, dearest first, then `(unattributed)` and `(total)`; money is summed in picodollars.

    by: of `COST_COLUMNS`, what calls say of themselves, of `RUN_COLUMNS`, what the run says that made the call, or
    `handoff`: the one that started the run, or that came back into it last before the call.
    """
    where, params = _where(filters, time="at", agent=("agent",))
    key, joined = COST_COLUMNS.get(by, "r.key"), ""
    if by in RUN_COLUMNS:
        told, _ = _where(Filters(session=filters.session), time="", agent=())
        column = RUN_COLUMNS[by]
        joined = f"""
    LEFT ANY JOIN
    (
        SELECT run_key, {column} AS key FROM (SELECT *, run_key FROM fact_agent_runs FINAL {told}) WHERE {column} != ''
    ) AS r ON r.run_key = c.run_key"""
    elif by == "handoff":
        told, _ = _where(Filters(session=filters.session), time="", agent=())
        key = "arrayElement(r.edges, greatest(arrayCount(began -> began <= at, r.began), 1))"
        joined = f"""
    LEFT ANY JOIN
    (
        SELECT target_key, arraySort(groupArray((at, concat(source, ' → ', target)))) AS into, into.1 AS began,
            into.2 AS edges
        FROM (SELECT *, target_key FROM fact_handoffs FINAL {told}) WHERE target_run_id != '' GROUP BY target_key
    ) AS r ON r.target_key = c.run_key"""
    summed = ",\n    ".join(f"sum(s.{column}) AS {column}" for column in _COST)
    return Read(
        sql=f"""
SELECT
    if(grouping(charged_to) = 0, charged_to, {{total:String}}) AS {by},
    {summed},
    sum(s.picodollars) / 1e12 AS cost_usd,
    sum(s.unpriced_calls) AS unpriced_calls,
    sum(s.calls_without_tokens) AS calls_without_tokens
FROM
(
    SELECT
        if({key} = '', {{unattributed:String}}, {key}) AS charged_to,
        count() AS llm_calls,
        ifNull(sum(c.input_tokens), 0) AS input_tokens,
        ifNull(sum(c.output_tokens), 0) AS output_tokens,
        ifNull(sum(c.cached_tokens), 0) AS cached_tokens,
        ifNull(sum(c.reasoning_tokens), 0) AS reasoning_tokens,
        ifNull(sum(toInt64(round(c.cost_usd * 1e12))), 0) AS picodollars,
        countIf(isNull(c.cost_usd)) AS unpriced_calls,
        countIf(NOT c.tokens_known) AS calls_without_tokens
    FROM (SELECT *, run_key FROM fact_llm_calls FINAL {where}) AS c{joined}
    GROUP BY {key}
    UNION ALL
    SELECT {{unattributed:String}}, 0, 0, 0, 0, 0, 0, 0, 0
) AS s
GROUP BY GROUPING SETS ((charged_to), ())
ORDER BY grouping(charged_to), charged_to = {{unattributed:String}}, cost_usd DESC, input_tokens DESC, charged_to""",
        params={**params, "unattributed": UNATTRIBUTED, "total": TOTAL},
    )


_COST = ("llm_calls", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")


def cost_by_tool_rows(filters: Filters) -> tuple[Read, Read]:
    """The model calls and the tool calls that `cost.cost_by` needs to cut money up by tool.

    What calls belong to may lie before the window: only a session bounds it. Runs come as numbers: only whether they
    are equal matters.
    """
    where, params = _where(filters, time="at", agent=("agent",))
    told, bounds = _where(Filters(session=filters.session), time="", agent=())
    run = "0 AS session_id, run_key AS run_id"
    calls = f"""
SELECT {run}, '' AS agent, '' AS model, at, input_tokens, output_tokens, cached_tokens, reasoning_tokens, cost_usd
FROM (SELECT * EXCEPT (session_id, run_id), run_key FROM fact_llm_calls FINAL {where})"""
    tools = f"""
SELECT {run}, tool, at FROM (SELECT * EXCEPT (session_id, run_id), run_key FROM fact_tool_calls FINAL {told})"""
    return Read(sql=calls, params=params), Read(sql=tools, params=bounds)


def cost_rows(filters: Filters) -> Read:
    """The model calls that a row of `cost` is made of."""
    where, params = _where(filters, time="at", agent=("agent",))
    return Read(
        sql=f"""
SELECT provider, trace_id, span_id, unpriced_reason, session_id, run_id, agent, model, at, input_tokens, output_tokens,
    cached_tokens, reasoning_tokens, cost_usd
FROM llm_calls {where}""",
        params=params,
    )


def summary(filters: Filters) -> Read:
    """One row: how much there is."""
    where, params = _where(filters, time="started_at", agent=("agents",))
    return Read(
        sql=f"""
SELECT
    count() AS sessions,
    countIf(outcome = 'failure') AS failed,
    countIf(outcome = 'success') AS succeeded,
    sum(s.agent_runs) AS agent_runs,
    sum(s.handoffs) AS handoffs,
    sum(s.llm_calls) AS llm_calls,
    sum(s.tool_calls) AS tool_calls,
    sum(s.errors) AS errors,
    sum(s.input_tokens) AS input_tokens,
    sum(s.output_tokens) AS output_tokens,
    sum(s.cached_tokens) AS cached_tokens,
    round(sum(s.cost_usd), 9) AS cost_usd,
    sum(s.unpriced_calls) AS unpriced_calls,
    round(quantileExactInclusive(0.5)(duration_ns) / 1e6, 3) AS p50_ms,
    round(quantileExactInclusive(0.95)(duration_ns) / 1e6, 3) AS p95_ms,
    uniqExactArray(s.agents) AS agents,
    min(s.started_at) AS first_at,
    max(s.ended_at) AS last_at
FROM (SELECT * FROM sessions {where}) AS s""",
        params=params,
    )


def timeline(filters: Filters, *, seconds: int) -> Read:
    """Sessions, failures and money per `seconds`, by when sessions started."""
    where, params = _where(filters, time="started_at", agent=("agents",))
    return Read(
        sql=f"""
SELECT
    toDateTime64(intDiv(toUnixTimestamp(started_at), {{step:UInt32}}) * {{step:UInt32}}, 0, 'UTC') AS at,
    count() AS sessions,
    countIf(outcome = 'failure') AS failed,
    sum(s.errors) AS errors,
    round(sum(s.cost_usd), 9) AS cost_usd,
    sum(s.input_tokens) + sum(s.output_tokens) AS tokens
FROM sessions AS s
{where}
GROUP BY at
ORDER BY at""",
        params={**params, "step": max(seconds, 1)},
    )


def _where(filters: Filters, *, time: str, agent: Sequence[str], version: str = "") -> tuple[str, dict[str, object]]:
    tests: list[str] = []
    params: dict[str, object] = {}
    if filters.session is not None:
        tests.append("session_id = {session:String}")
        params["session"] = filters.session
    if filters.since is not None and time:
        tests.append(f"{time} >= {{since:DateTime64(9, 'UTC')}}")
        params["since"] = filters.since
    if filters.until is not None and time:
        tests.append(f"{time} < {{until:DateTime64(9, 'UTC')}}")
        params["until"] = filters.until
    if filters.agent is not None and agent:
        named = (
            f"has({name}, {{agent:String}})" if name == "agents" else f"{name} = {{agent:String}}" for name in agent
        )
        tests.append("(" + " OR ".join(named) + ")")
        params["agent"] = filters.agent
    if filters.version is not None and version:
        tests.append(f"{version} = {{version:String}}")
        params["version"] = filters.version
    return ("WHERE " + " AND ".join(tests) if tests else "", params)


def _page(filters: Filters) -> str:
    if filters.limit is None:
        return ""
    return f"LIMIT {filters.limit:d}" + (f" OFFSET {filters.offset:d}" if filters.offset else "")


narrowed, paged = _where, _page  # for questions that have a module of their own
