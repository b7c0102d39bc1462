"""Who held sessions up, over one or many of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import polars as pl
from maslens.analytics import reads
from maslens.analytics.critical_path import critical_path
from maslens.analytics.questions.question import Ask, Asked, Evidence, Question, Row
from maslens.analytics.reads import Filters, Read

_COUNT, _REAL = pl.UInt64(), pl.Float64()
_TIMES = ("critical", "waiting", "queue", "model", "tool", "retry")
BOTTLENECKS: Mapping[str, Any] = {
    "agent": pl.String(), "rank": _COUNT, "saves_ms": _REAL, "saves_share": _REAL, "saves_p50_ms": _REAL,
    "saves_p95_ms": _REAL, **{f"{name}_ms": _REAL for name in _TIMES},
    **dict.fromkeys(("retries", "runs", "errors", "sessions", "first_in"), _COUNT),
}  # fmt: skip
SESSIONS_SHOWN = 5
_SHOWN = "rank agent saves_ms saves_share critical_ms waiting_ms queue_ms retries sessions first_in"


def _rows(filters: Filters) -> Read:
    """The per-session rows of the window, of all agents: ranks and shares are of everybody."""
    where, params = reads.narrowed(filters, time="started_at", agent=())
    return Read(sql=f"SELECT * FROM bottlenecks {where}", params=params)


def _read(asked: Asked) -> Read:
    rows = _rows(asked.filters)
    times = ",\n    ".join(f"round(sum({name}_ns) / 1e6, 3) AS {name}_ms" for name in _TIMES)
    params, one = dict(rows.params), ""
    if asked.filters.agent is not None:
        one, params["agent"] = "WHERE agent = {agent:String}", asked.filters.agent
    return Read(
        sql=f"""
WITH rows AS ({rows.sql}), (SELECT sumIf(session_ns, rank = 1) FROM rows) AS whole
SELECT * FROM
(
SELECT
    agent,
    row_number() OVER (ORDER BY sum(saves_ns) DESC, sum(critical_ns) DESC, agent) AS rank,
    round(sum(saves_ns) / 1e6, 3) AS saves_ms,
    round(sum(saves_ns) / greatest(whole, 1), 6) AS saves_share,
    round(quantileExactInclusive(0.5)(saves_ns) / 1e6, 3) AS saves_p50_ms,
    round(quantileExactInclusive(0.95)(saves_ns) / 1e6, 3) AS saves_p95_ms,
    {times},
    sum(r.retries) AS retries,
    sum(r.runs) AS runs,
    sum(r.errors) AS errors,
    count() AS sessions,
    countIf(r.rank = 1) AS first_in
FROM rows AS r
GROUP BY agent
)
{one}
ORDER BY rank
{reads.paged(asked.filters)}""",
        params=params,
    )


def _explain(row: Row, ask: Ask, asked: Asked) -> list[Evidence]:
    """The sessions in which a fix would save most, and the critical path of the first."""
    rows = _rows(asked.filters)
    worst = ask(
        Read(
            sql=f"""
SELECT session_id, saves_ns, critical_ns, waiting_ns, queue_ns, retries, session_ns, share, rank
FROM ({rows.sql}) WHERE agent = {{agent:String}} ORDER BY saves_ns DESC, session_id LIMIT {SESSIONS_SHOWN:d}""",
            params={**rows.params, "agent": row["agent"]},
        )
    )[0]
    if worst.is_empty():
        return []
    session = replace(Filters(), session=str(worst["session_id"][0]))
    runs, handoffs = ask(reads.runs(session), reads.handoffs(session))
    path = critical_path(runs, handoffs).drop("session_id")
    return [
        Evidence(title="sessions in which a fix saves most", rows=worst),
        Evidence(title=f"critical path of {session.session}", rows=path),
    ]


QUESTIONS: Mapping[str, Question] = {
    "bottlenecks": Question(
        name="bottlenecks",
        title="Bottlenecks",
        schema=BOTTLENECKS,
        shown=_SHOWN.split(),
        read=_read,
        explain=_explain,
        definition="The critical path is the chain of runs that made a session as long as it was. critical_ms is the "
        "agent's own time on it, waiting_ms what the path waited for its runs to begin; together they are the "
        "session's duration. saves_ms is how much earlier the sessions would have ended had the agent taken no time, "
        "with parallel branches taking over: no fix can save more.",
    )
}
