"""Who belongs together, and which team is best at what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
from maslens.analytics import reads
from maslens.analytics.coalitions import COALITIONS, MOST_SESSIONS, TEAMS, coalitions, teams
from maslens.analytics.questions.question import Ask, Asked, Evidence, Question, Row
from maslens.analytics.reads import Filters, Read

LATEST = 10
_COALITION_SHOWN = "members verdict sessions cohesion q_value stability together lift lift_low lift_high"
_TEAM_SHOWN = "task rank members sessions success success_low success_high verdict"


def _sessions(filters: Filters, *, limit: int) -> Read:
    """The newest sessions with their agents, outcome and kind of task: what spans call it, else who began."""
    where, params = reads.narrowed(filters, time="started_at", agent=("agents",))
    return Read(
        sql=f"""
WITH chosen AS
(
    SELECT session_id, started_at, agents, outcome, root_agent FROM sessions {where}
    ORDER BY started_at DESC, session_id LIMIT {limit:d}
)
SELECT c.session_id AS session_id, c.started_at AS started_at, c.agents AS agents, c.outcome AS outcome,
    if(t.task != '', t.task, c.root_agent) AS task
FROM chosen AS c
LEFT JOIN
(
    SELECT session_id, min(a.task) AS task FROM agent_runs AS a
    WHERE a.task != '' AND session_id IN (SELECT session_id FROM chosen) GROUP BY session_id
) AS t ON t.session_id = c.session_id
ORDER BY started_at DESC, session_id""",
        params=params,
    )


def _read(ask: Ask, asked: Asked, limit: int = MOST_SESSIONS) -> pl.DataFrame:
    found = ask(_sessions(asked.filters, limit=limit))[0]
    return found.with_columns(pl.col("agents").cast(pl.List(pl.String)))


def _coalitions(ask: Ask, asked: Asked) -> pl.DataFrame:
    return coalitions(_read(ask, asked))


def _teams(ask: Ask, asked: Asked) -> pl.DataFrame:
    return teams(_read(ask, asked, limit=10 * MOST_SESSIONS))


def _explain(row: Row, ask: Ask, asked: Asked) -> Sequence[Evidence]:
    """How success goes with how many of the members were there, task by task, and the newest such sessions."""
    members = list(row["members"])
    there = pl.col("agents").list.set_intersection(members).list.len()
    sessions = _read(ask, asked, limit=10 * MOST_SESSIONS).with_columns(members_there=there)
    if row.get("task"):
        sessions = sessions.filter((pl.col("task") == row["task"]) & (pl.col("agents").list.sort() == members))
    mine = sessions.filter(pl.col("members_there") > 0)
    counted = mine.group_by("task", "members_there").agg(
        sessions=pl.len(),
        success=(pl.col("outcome") == "success").sum(),
        failure=(pl.col("outcome") == "failure").sum(),
    )
    return [
        Evidence(title="outcomes by members there", rows=counted.sort("task", "members_there")),
        Evidence(title="newest sessions", rows=mine.head(LATEST)),
    ]


QUESTIONS: Mapping[str, Question] = {
    "coalitions": Question(
        name="coalitions",
        title="Coalitions",
        schema=COALITIONS,
        shown=_COALITION_SHOWN.split(),
        compute=_coalitions,
        explain=_explain,
        definition="Communities of agents found in the older half of the sessions and tested on the newer one against "
        "a null model that keeps how often each agent works and how many a session has. lift is success together minus "
        "success apart, within tasks; it is an association, not a cause.",
    ),
    "teams": Question(
        name="teams",
        title="Teams",
        schema=TEAMS,
        shown=_TEAM_SHOWN.split(),
        compute=_teams,
        explain=_explain,
        definition="The sets of agents that did a kind of task, by the lower end of the 95 % interval of success. "
        "best: surely better than every other team; leads: first, but not surely; too_few: under ten sessions.",
    ),
}
