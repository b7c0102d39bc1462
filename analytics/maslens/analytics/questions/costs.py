"""What was spent, cut up one way or another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
from maslens.analytics import reads
from maslens.analytics.cost import TOTAL, cost_by
from maslens.analytics.frames import UNATTRIBUTED
from maslens.analytics.questions.question import Ask, Asked, Evidence, Question, Row
from maslens.analytics.reads import Filters, Read
from maslens.analytics.spend import with_compute

COST: Mapping[str, Any] = {
    **dict.fromkeys(("llm_calls", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"), pl.UInt64()),
    "cost_usd": pl.Float64(),
    "unpriced_calls": pl.UInt64(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """`cost_by` wants the frames it cuts money up with."""

    llm_calls: pl.DataFrame
    tool_calls: pl.DataFrame
    agent_runs: pl.DataFrame
    handoffs: pl.DataFrame


def column(by: str) -> str:
    """What the answer calls the rows."""
    return "session_id" if by == "session" else by


def whole(filters: Filters) -> Filters:
    """Never cut: the sums must agree."""
    return Filters(session=filters.session, since=filters.since, until=filters.until, agent=filters.agent)


def by_tool(ask: Ask, filters: Filters) -> pl.DataFrame:
    calls, tools = ask(*reads.cost_by_tool_rows(filters))
    nothing = pl.DataFrame()
    return cost_by(Costs(llm_calls=calls, tool_calls=tools, agent_runs=nothing, handoffs=nothing), "tool")


def _cost(ask: Ask, asked: Asked) -> pl.DataFrame:
    by, rate = str(asked.options.get("by", "agent")), float(asked.options.get("rate", 0.0))
    filters = whole(asked.filters)
    if by in reads.COST_KEYS:
        costs = ask(reads.cost(filters, by=by))[0].rename({by: column(by)})
    else:
        costs = by_tool(ask, filters)
    if rate <= 0 or by not in _RUN_KEYS:
        return costs
    where, params = reads.narrowed(filters, time="started_at", agent=("agent",))
    runs = Read(sql=f"SELECT {_RUN_KEYS[by]} AS key, self_ns FROM agent_runs {where}", params=params)
    return with_compute(costs, ask(runs)[0], by=column(by), rate=rate)


# What the time of agents can be cut up by: what runs say of themselves.
_RUN_KEYS: Mapping[str, str] = {
    "agent": "agent",
    "session": "session_id",
    "day": "toString(toDate(started_at))",
    "version": "agent_version",
    "variant": "variant",
    "task": "task",
}


def _explain(row: Row, ask: Ask, asked: Asked) -> list[Evidence]:
    """The dearest calls of the row, where calls say whose they are."""
    by = str(asked.options.get("by", "agent"))
    if by not in reads.COST_COLUMNS:
        return []
    rows = reads.cost_rows(whole(asked.filters))
    named = str(row[column(by)])
    key = "toString(toDate(at))" if by == "day" else column(by)
    test = "1" if named == TOTAL else f"{key} = {{named:String}}"
    read = Read(
        sql=f"SELECT * FROM ({rows.sql}) WHERE {test} ORDER BY cost_usd DESC NULLS FIRST, input_tokens DESC LIMIT 10",
        params={**rows.params, "named": "" if named == UNATTRIBUTED else named},
    )
    return [Evidence(title="unpriced, then dearest calls", rows=ask(read)[0])]


QUESTIONS: Mapping[str, Question] = {
    "cost": Question(
        name="cost",
        title="Cost",
        schema=COST,
        compute=_cost,
        explain=_explain,
        definition="Charged on model calls that have no model call inside them, at the price of the call's date, "
        "cached and reasoning tokens apart; summed in whole picodollars, so rows and (unattributed) make the (total).",
    )
}
