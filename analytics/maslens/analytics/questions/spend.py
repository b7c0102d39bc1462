"""What success, failure and going over the same ground cost; which way was the dearest; how far budgets are spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone

import polars as pl
from maslens.analytics import reads, spend
from maslens.analytics.cost import TOTAL
from maslens.analytics.questions.question import Ask, Asked, Evidence, Question, Row
from maslens.analytics.reads import Filters, Read

_SHOWN = 10  # dearest sessions behind a row


def _sessions(filters: Filters) -> Read:
    return reads.sessions(filters)


def _columns(filters: Filters, columns: str) -> Read:
    """Some columns of the sessions, in no order."""
    return _narrowed("sessions", columns, filters, time="started_at", agent=("agents",))


def _narrowed(table: str, columns: str, filters: Filters, *, time: str, agent: Sequence[str], test: str = "1") -> Read:
    where, params = reads.narrowed(filters, time=time, agent=agent)
    return Read(sql=f"SELECT {columns} FROM (SELECT * FROM {table} {where}) AS f WHERE {test}", params=params)


_SESSION = "cityHash64(f.session_id) AS session_id"  # only whether they are equal matters


def _unit_costs(ask: Ask, asked: Asked) -> pl.DataFrame:
    columns = "outcome, input_tokens, output_tokens, cost_usd, unpriced_calls"
    return spend.unit_costs(ask(_columns(asked.filters, columns))[0])


def _dearest(ask: Ask, filters: Filters, test: str, params: Mapping[str, object]) -> Evidence:
    whole = _sessions(filters)
    read = Read(
        sql=f"""
SELECT session_id, started_at, outcome, root_agent, final_agent, llm_calls, input_tokens, output_tokens, cost_usd
FROM ({whole.sql}) WHERE {test} ORDER BY cost_usd DESC NULLS LAST, session_id LIMIT {_SHOWN:d}""",
        params={**whole.params, **params},
    )
    return Evidence(title="dearest sessions", rows=ask(read)[0])


def _of_outcome(row: Row, ask: Ask, asked: Asked) -> Sequence[Evidence]:
    if row["outcome"] == TOTAL:
        return [_dearest(ask, asked.filters, "1", {})]
    return [_dearest(ask, asked.filters, "outcome = {outcome:String}", {"outcome": row["outcome"]})]


def _waste(ask: Ask, asked: Asked) -> pl.DataFrame:
    """Only what was wasted is fetched, besides the money of all sessions."""
    filters = asked.filters
    sessions, calls, quality = ask(
        _columns(filters, f"{_SESSION}, outcome, input_tokens, output_tokens, cost_usd"),
        _narrowed("llm_calls", f"{_SESSION}, status, input_tokens, output_tokens, cost_usd", filters,
                 time="at", agent=("agent",), test="status = 'error'"),
        _narrowed("handoff_quality", f"{_SESSION}, rediscovery_tokens, rediscovery_cost_usd", filters,
                 time="at", agent=("source", "target"), test="rediscovery_tokens > 0"),
    )  # fmt: skip
    return spend.waste(sessions, calls, quality)


def _of_waste(row: Row, ask: Ask, asked: Asked) -> Sequence[Evidence]:
    if row["kind"] == "failed_sessions":
        return [_dearest(ask, asked.filters, "outcome IN ('failure', 'abandoned')", {})]
    table, columns, test, order = {
        "failed_calls": (
            "llm_calls",
            "session_id, at, agent, model, cost_usd, trace_id, span_id",
            "status = 'error'",
            "cost_usd",
        ),
        "rediscovery": (
            "handoff_quality",
            "session_id, at, source, target, repeated_calls, re_asked, rediscovery_tokens, rediscovery_cost_usd",
            "rediscovery_tokens > 0",
            "rediscovery_tokens",
        ),
    }[str(row["kind"])]
    where, params = reads.narrowed(asked.filters, time="at", agent=())
    read = Read(
        sql=f"SELECT {columns} FROM (SELECT * FROM {table} {where}) WHERE {test}"
        f" ORDER BY {order} DESC LIMIT {_SHOWN:d}",
        params=params,
    )
    return [Evidence(title="the most of it", rows=ask(read)[0])]


def _paths(ask: Ask, asked: Asked) -> pl.DataFrame:
    where, params = reads.narrowed(Filters(session=asked.filters.session), time="", agent=())
    taken = Read(
        sql=f"""
SELECT {_SESSION},
    arrayCompact(arrayMap(run -> run.2, arraySort(groupArray((started_at, toString(agent)))))) AS agents
FROM (SELECT * FROM agent_runs {where}) AS f GROUP BY f.session_id""",
        params=params,
    )
    return spend.paths(*ask(_columns(asked.filters, f"{_SESSION}, outcome, duration_ns, cost_usd"), taken))


def _of_path(row: Row, ask: Ask, asked: Asked) -> Sequence[Evidence]:
    """The dearest sessions among those that went through these agents and no others."""
    agents = sorted(set(str(row["path"]).removesuffix(" → …").split(" → ")))
    test = "hasAll(agents, {agents:Array(String)})"
    whole = _sessions(asked.filters)
    read = Read(
        sql=f"""
SELECT session_id, started_at, outcome, agents, cost_usd FROM ({whole.sql})
WHERE {test} ORDER BY cost_usd DESC NULLS LAST, session_id LIMIT {_SHOWN:d}""",
        params={**whole.params, "agents": agents},
    )
    return [Evidence(title="dearest sessions with these agents", rows=ask(read)[0])]


def budget_calls(budgets: Sequence[spend.Budget], now: datetime) -> Read:
    """The model calls that `budgets_spent` needs."""
    since = min([now - timedelta(hours=6), *(budget.begin(now) for budget in budgets)])
    return Read(
        sql="SELECT at, agent, model, provider, cost_usd FROM llm_calls"
        " WHERE at >= {since:DateTime64(9, 'UTC')} AND at <= {now:DateTime64(9, 'UTC')}",
        params={"since": since, "now": now},
    )


def _budgets(ask: Ask, asked: Asked) -> pl.DataFrame:
    budgets = spend.parse_budgets(str(asked.options.get("budgets", "")))
    if not budgets:
        return pl.DataFrame(schema=dict(spend.BUDGETS))
    now = asked.filters.until or datetime.now(timezone.utc)
    return spend.budgets_spent(budgets, ask(budget_calls(budgets, now))[0], now)


def _of_budget(row: Row, ask: Ask, asked: Asked) -> Sequence[Evidence]:
    (budget,) = spend.parse_budgets(str(row["budget"]))
    now = asked.filters.until or datetime.now(timezone.utc)
    read = budget_calls([budget], budget.begin(now))
    test = f"{budget.scope} = {{name:String}}" if budget.scope else "1"
    spent = Read(
        sql=f"""
SELECT toStartOfHour(at) AS hour, count() AS calls, sum(cost_usd) AS cost_usd FROM llm_calls
WHERE at >= {{since:DateTime64(9, 'UTC')}} AND at <= {{now:DateTime64(9, 'UTC')}} AND {test}
GROUP BY hour ORDER BY hour DESC LIMIT 24""",
        params={"since": read.params["now"], "now": now, **({"name": budget.name} if budget.scope else {})},
    )
    return [Evidence(title="spent in this period, hour by hour", rows=ask(spent)[0])]


QUESTIONS: Mapping[str, Question] = {
    each.name: each
    for each in (
        Question(
            name="unit-costs",
            title="What a session costs, by how it ended",
            schema=spend.UNIT_COSTS,
            shown=(
                "outcome",
                "sessions",
                "cost_usd",
                "usd_per_session",
                "p50_usd",
                "p95_usd",
                "share",
                "usd_per_success",
            ),
            compute=_unit_costs,
            explain=_of_outcome,
            definition="Money of the sessions of each outcome. usd_per_success divides all money, failures too, "
            "by the sessions that succeeded.",
        ),
        Question(
            name="waste",
            title="Money that bought nothing",
            schema=spend.WASTE,
            shown=("kind", "sessions", "times", "tokens", "cost_usd", "share"),
            compute=_waste,
            explain=_of_waste,
            definition="Sessions that failed, model calls that failed, and what was asked or called again after a "
            "handoff although the source had known it. The kinds overlap and do not add up.",
        ),
        Question(
            name="paths",
            title="Ways through the agents",
            schema=spend.PATHS,
            shown=("path", "sessions", "failed", "cost_usd", "usd_per_session", "p95_ms"),
            compute=_paths,
            explain=_of_path,
            definition="The agents of a session in order of their starting, neighbours of one name as one, and the "
            "money of all sessions that went that way.",
        ),
        Question(
            name="budgets",
            title="Budgets",
            schema=spend.BUDGETS,
            shown=("budget", "spent_usd", "used", "burn_1h", "burn_6h", "projected_usd", "exhausted_at", "status"),
            compute=_budgets,
            explain=_of_budget,
            definition="Money since the period began (UTC) against its limit. A burn rate of 1 spends exactly the "
            "limit in one period; `burning` is above 1 over the last hour and six, with the limit not going to last.",
        ),
    )
}
