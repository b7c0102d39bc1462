"""The questions of the read commands: the API's own, with a title and the columns that a table has room for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from maslens.analytics import reads
from maslens.analytics.cost import TOTAL
from maslens.analytics.frames import UNATTRIBUTED
from maslens.analytics.reads import Filters, Read

__all__ = [
    "COST_KEYS",
    "OTHERS",
    "TOTAL",
    "UNATTRIBUTED",
    "Filters",
    "Question",
    "agents",
    "cost",
    "graph",
    "handoffs",
    "known_session",
    "sessions",
]

OTHERS = "(others)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """`shown`: the columns of the table; JSON and CSV carry all of them."""

    sql: str
    params: Mapping[str, object] = field(default_factory=dict)
    title: str = ""
    shown: Sequence[str] = ()


def agents(filters: Filters) -> Question:
    shown = "agent runs errors p50_ms p95_ms cost_usd llm_calls tool_calls input_tokens output_tokens"
    return _titled("Agents", reads.agents(filters), shown)


def handoffs(filters: Filters) -> Question:
    """The newest, in the order they happened."""
    read = reads.handoffs(filters)
    ordered = Read(sql=f"SELECT * FROM ({read.sql}) ORDER BY at, session_id, span_id", params=read.params)
    return _titled("Handoffs", ordered, "session_id source target mode evidence confidence at outcome")


def sessions(filters: Filters) -> Question:
    shown = (
        "session_id started_at outcome root_agent final_agent agent_runs handoffs llm_calls tool_calls errors cost_usd"
    )
    return _titled("Sessions", reads.sessions(filters), shown)


def graph(filters: Filters) -> Question:
    """One row an edge: all handoffs from one agent to another in one mode."""
    read = reads.handoffs(
        Filters(session=filters.session, since=filters.since, until=filters.until, agent=filters.agent)
    )
    sql = f"""
SELECT
    source,
    target,
    mode,
    max(h.connection_type) AS connection_type,
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
FROM ({read.sql}) AS h
GROUP BY source, target, mode
ORDER BY handoffs DESC, source, target, mode
{f"LIMIT {filters.limit:d}" if filters.limit else ""}"""
    shown = "source target mode handoffs failed context_changed confidence evidence"
    return _titled("Who hands to whom", Read(sql=sql, params=read.params), shown)


# What `--by` takes → the answer's column.
COST_KEYS: Mapping[str, str] = {by: "session_id" if by == "session" else by for by in reads.COST_COLUMNS}


def cost(filters: Filters, *, by: str) -> Question:
    """One row for each `by`, dearest first, then (unattributed) and (total). Never cut: the sums must agree."""
    whole = Filters(session=filters.session, since=filters.since, until=filters.until, agent=filters.agent)
    read = reads.cost(whole, by=by)
    named = (
        read
        if COST_KEYS[by] == by
        else Read(sql=f"SELECT {by} AS {COST_KEYS[by]}, * EXCEPT ({by}) FROM ({read.sql})", params=read.params)
    )
    shown = "llm_calls cost_usd input_tokens output_tokens cached_tokens unpriced_calls calls_without_tokens"
    return _titled(f"Cost by {by}", named, f"{COST_KEYS[by]} {shown}")


def known_session(session: str) -> Question:
    return Question(
        sql="SELECT count() AS n FROM sessions WHERE session_id = {session:String}", params={"session": session}
    )


def _titled(title: str, read: Read, shown: str) -> Question:
    return Question(sql=read.sql, params=read.params, title=title, shown=shown.split())
