"""The SQL behind the read commands: each function returns text and parameters, nothing is pasted into the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

UNATTRIBUTED = "(unattributed)"
OTHERS = "(others)"
TOTAL = "(total)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What every read command can be narrowed to; None is no limit."""

    session: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    agent: str | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """`shown`: the columns of the table; JSON and CSV carry all of them."""

    sql: str
    params: Mapping[str, object] = field(default_factory=dict)
    title: str = ""
    shown: Sequence[str] = ()


def agents(filters: Filters) -> Question:
    where, params = _where(filters, time="started_at", agent=("agent",))
    return Question(
        title="Agents",
        sql=f"""
SELECT
    agent,
    count() AS runs,
    countIf(status = 'error') AS errors,
    countIf(status = 'cancelled') AS cancelled,
    round(countIf(status = 'error') / count(), 6) AS error_ratio,
    round(quantileExactInclusive(0.5)(duration_ns) / 1e6, 3) AS p50_ms,
    round(quantileExactInclusive(0.95)(duration_ns) / 1e6, 3) AS p95_ms,
    round(quantileExactInclusive(0.5)(self_ns) / 1e6, 3) AS self_p50_ms,
    uniqExact(session_id) AS sessions,
    sum(r.llm_calls) AS llm_calls,
    sum(r.tool_calls) AS tool_calls,
    sum(r.input_tokens) AS input_tokens,
    sum(r.output_tokens) AS output_tokens,
    sum(r.cached_tokens) AS cached_tokens,
    round(sum(r.cost_usd), 9) AS cost_usd,
    anyLast(framework) AS framework,
    min(started_at) AS first_seen,
    max(ended_at) AS last_seen
FROM agent_runs AS r
{where}
GROUP BY agent
ORDER BY runs DESC, agent
{_limit(filters)}""",
        params=params,
        shown=(
            "agent",
            "runs",
            "errors",
            "p50_ms",
            "p95_ms",
            "llm_calls",
            "tool_calls",
            "input_tokens",
            "output_tokens",
            "cost_usd",
        ),
    )  # fmt: skip


def handoffs(filters: Filters) -> Question:
    where, params = _where(filters, time="at", agent=("source", "target"))
    return Question(
        title="Handoffs",
        sql=f"SELECT * FROM handoffs {where} ORDER BY at, session_id, source, target {_limit(filters)}",
        params=params,
        shown=("session_id", "source", "target", "mode", "evidence", "confidence", "at", "outcome"),
    )


def graph(filters: Filters) -> Question:
    where, params = _where(filters, time="at", agent=("source", "target"))
    return Question(
        title="Who hands to whom",
        sql=f"""
SELECT
    source,
    target,
    mode,
    count() AS handoffs,
    uniqExact(session_id) AS sessions,
    countIf(h.outcome IN ('failed', 'rejected', 'timed_out')) AS failed,
    countIf(
        context_hash_sent != '' AND context_hash_received != '' AND context_hash_sent != context_hash_received
    ) AS context_changed,
    round(avg(h.confidence), 4) AS confidence,
    arraySort(groupUniqArray(h.evidence)) AS evidence,
    min(at) AS first_at,
    max(at) AS last_at
FROM handoffs AS h
{where}
GROUP BY source, target, mode
ORDER BY handoffs DESC, source, target, mode
{_limit(filters)}""",
        params=params,
        shown=("source", "target", "mode", "handoffs", "failed", "context_changed", "confidence", "evidence"),
    )


def sessions(filters: Filters) -> Question:
    where, params = _where(filters, time="started_at", agent=("agents",))
    return Question(
        title="Sessions",
        sql=f"SELECT * FROM sessions {where} ORDER BY started_at DESC, session_id {_limit(filters)}",
        params=params,
        shown=(
            "session_id", "started_at", "outcome", "root_agent", "final_agent", "agent_runs", "handoffs",
            "llm_calls", "tool_calls", "errors", "cost_usd",
        ),
    )  # fmt: skip


# What `--by` takes → the answer's column and how it is made from a model call.
COST_KEYS: Mapping[str, tuple[str, str]] = {
    "agent": ("agent", "agent"),
    "model": ("model", "model"),
    "provider": ("provider", "provider"),
    "session": ("session_id", "session_id"),
    "day": ("day", "toString(toDate(at))"),
}


def cost(filters: Filters, *, by: str) -> Question:
    """One row for each `by`, dearest first, then the rows (unattributed) and (total); their sums agree."""
    where, params = _where(filters, time="at", agent=("agent",))
    key, made = COST_KEYS[by]
    sums = """
    count() AS llm_calls,
    sum(ifNull(c.input_tokens, 0)) AS input_tokens,
    sum(ifNull(c.output_tokens, 0)) AS output_tokens,
    sum(ifNull(c.cached_tokens, 0)) AS cached_tokens,
    sum(ifNull(c.reasoning_tokens, 0)) AS reasoning_tokens,
    toFloat64(sum(toDecimal128(ifNull(c.cost_usd, 0), 12))) AS cost_usd,
    countIf(isNull(c.cost_usd)) AS unpriced_calls,
    countIf(NOT c.tokens_known) AS calls_without_tokens"""
    return Question(
        title=f"Cost by {by}",
        sql=f"""
WITH calls AS (SELECT *, {made} AS charged_to FROM llm_calls {where})
SELECT * EXCEPT (place) FROM
(
    SELECT charged_to AS {key}, {sums}, 0 AS place FROM calls AS c WHERE charged_to != '' GROUP BY charged_to
    UNION ALL
    SELECT {{unattributed:String}} AS {key}, {sums}, 1 AS place FROM calls AS c WHERE charged_to = ''
    UNION ALL
    SELECT {{total:String}} AS {key}, {sums}, 2 AS place FROM calls AS c
)
ORDER BY place, cost_usd DESC, input_tokens DESC, {key}""",
        params={**params, "unattributed": UNATTRIBUTED, "total": TOTAL},
        shown=(
            by,
            "llm_calls",
            "input_tokens",
            "output_tokens",
            "cached_tokens",
            "cost_usd",
            "unpriced_calls",
            "calls_without_tokens",
        ),
    )


def known_session(session: str) -> Question:
    return Question(
        sql="SELECT count() AS n FROM sessions WHERE session_id = {session:String}", params={"session": session}
    )


def _where(filters: Filters, *, time: str, agent: Sequence[str]) -> tuple[str, dict[str, object]]:
    tests: list[str] = []
    params: dict[str, object] = {}
    if filters.session is not None:
        tests.append("session_id = {session:String}")
        params["session"] = filters.session
    if filters.since is not None:
        tests.append(f"{time} >= {{since:DateTime64(9, 'UTC')}}")
        params["since"] = filters.since
    if filters.until is not None:
        tests.append(f"{time} < {{until:DateTime64(9, 'UTC')}}")
        params["until"] = filters.until
    if filters.agent is not None:
        named = (
            f"has({name}, {{agent:String}})" if name == "agents" else f"{name} = {{agent:String}}" for name in agent
        )
        tests.append("(" + " OR ".join(named) + ")")
        params["agent"] = filters.agent
    return ("WHERE " + " AND ".join(tests) if tests else "", params)


def _limit(filters: Filters) -> str:
    return f"LIMIT {filters.limit:d}" if filters.limit else ""
