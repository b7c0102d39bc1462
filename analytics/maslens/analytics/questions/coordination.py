"""How agents work together: one row for a whole window, for each version, or for each session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
from maslens.analytics import reads
from maslens.analytics.coordination import usual_pattern, window_shape
from maslens.analytics.frames import COORDINATION as FACT
from maslens.analytics.questions.question import Ask, Asked, Evidence, Question, Row
from maslens.analytics.reads import Filters, Read

_REAL = pl.Float64()
COORDINATION: Mapping[str, Any] = {
    "version": pl.String(), "session_id": pl.String(), "sessions": pl.UInt64(), "pattern": pl.String(),
    "pattern_confidence": _REAL, **{name: kind for name, kind in FACT.items() if name not in ("session_id", "pattern")},
    "determinism": _REAL, "coordination_ratio": _REAL, "accuracy_if_success": _REAL, "accuracy_if_failure": _REAL,
}  # fmt: skip
_SUMS = ("handoffs", "messages", "coordination_tokens", "work_tokens", "failed", "bounced", "redelegated", "decisions",
         "loops")  # fmt: skip
_SHOWN = (
    "version session_id sessions pattern pattern_confidence agents handoffs density depth centralisation determinism "
    "coordination_ratio delegation_accuracy bounced redelegated agreement rounds_to_stable"
)


def _sessions(filters: Filters) -> Read:
    """Per-session rows with the outcome."""
    where, params = reads.narrowed(filters, time="started_at", agent=())
    return Read(
        sql=f"""
SELECT c.*, s.outcome AS outcome, s.root_agent AS root_agent FROM (SELECT * FROM coordination {where}) AS c
LEFT JOIN (SELECT session_id, outcome, root_agent FROM sessions {where}) AS s ON s.session_id = c.session_id
ORDER BY c.started_at DESC, c.session_id""",
        params=params,
    )


def _shapes(filters: Filters) -> Read:
    """What `_window` needs of the sessions, in order; their names as numbers: only whether they are equal matters."""
    rows = _sessions(filters)
    columns = ", ".join(name for name in _WINDOW if name != "session_id")
    return Read(
        sql=f"SELECT cityHash64(f.session_id) AS session_id, {columns} FROM ({rows.sql}) AS f", params=rows.params
    )


_WINDOW = ("session_id", "started_at", "pattern", "pattern_confidence", "outcome", "root_agent", "delegation_accuracy",
           "agreement", "rounds_max", "rounds_to_stable", *_SUMS)  # fmt: skip


def _edges(filters: Filters, key: str) -> Read:
    """How often control went from whom to whom, for each `key` (a version, or nothing)."""
    where, params = reads.narrowed(filters, time="at", agent=())
    versions, joined = _versions(filters), ""
    if key == "version":
        params = {**params, **versions.params}
        joined = f"INNER JOIN ({versions.sql}) AS v ON v.session_id = cityHash64(h.session_id)"
    column = "v.version" if key == "version" else "''"
    return Read(
        sql=f"""
SELECT {column} AS version, source, target, count() AS handoffs
FROM (SELECT session_id, source, target, connection_type FROM handoffs {where}) AS h {joined}
WHERE source != '' AND target != '' AND connection_type != 'virtual_node'
GROUP BY version, source, target ORDER BY version, source, target""",
        params=params,
    )


def _versions(filters: Filters) -> Read:
    where, params = reads.narrowed(filters, time="started_at", agent=("agent",), version="agent_version")
    tests = f"{where} AND" if where else "WHERE"
    return Read(
        sql=f"""
SELECT DISTINCT cityHash64(r.session_id) AS session_id, agent_version AS version
FROM (SELECT * FROM agent_runs {tests} agent_version != '') AS r""",
        params=params,
    )


def _agents(filters: Filters, key: str) -> Read:
    where, params = reads.narrowed(filters, time="started_at", agent=())
    column = "agent_version" if key == "version" else "''"
    return Read(
        sql=f"SELECT DISTINCT {column} AS version, agent FROM agent_runs {where} ORDER BY version, agent",
        params=params,
    )


def _compute(ask: Ask, asked: Asked) -> pl.DataFrame:
    by, filters = str(asked.options.get("by", "window")), asked.filters
    if by == "session" or filters.session is not None:
        return _shaped(_ratios(_of(ask(_sessions(filters))[0], filters)), "session_id")
    versioned = by == "version" or filters.version is not None
    sessions, edges, agents, *versions = ask(
        _shapes(filters), _edges(filters, by), _agents(filters, by), *([_versions(filters)] if versioned else [])
    )
    if by == "version":
        sessions = sessions.join(versions[0], on="session_id")
    else:
        sessions = sessions.with_columns(version=pl.lit(""))
        for known in versions:
            sessions = sessions.join(known, on="session_id", how="semi")
    rows = [
        _window(str(version), table, *(frame.filter(pl.col("version") == version) for frame in (edges, agents)))
        for (version,), table in sessions.group_by("version", maintain_order=True)
    ]
    found = (
        pl.DataFrame(rows, infer_schema_length=None)
        if rows
        else pl.DataFrame(schema={"started_at": FACT["started_at"]})
    )
    return _shaped(found.sort("started_at", descending=True), by)


def _of(sessions: pl.DataFrame, filters: Filters) -> pl.DataFrame:
    return sessions.filter(pl.col("session_id") == filters.session) if filters.session is not None else sessions


def _window(version: str, sessions: pl.DataFrame, edges: pl.DataFrame, agents: pl.DataFrame) -> dict[str, Any]:
    shape = window_shape(edges, set(agents["agent"]) - {""} | set(edges["source"]) | set(edges["target"]),
                         set(sessions["root_agent"]))  # fmt: skip
    told = dict(sessions.group_by("pattern").agg(pl.col("pattern_confidence").sum()).iter_rows())
    pattern, confidence = usual_pattern(told, shape["determinism"], sessions.height)
    weighed = (pl.col("delegation_accuracy") * pl.col("handoffs")).sum() / pl.col("handoffs").sum()

    def accuracy(outcome: str | None = None) -> float | None:
        those = sessions.filter(pl.col("delegation_accuracy").is_not_null() & (pl.col("handoffs") > 0))
        those = those if outcome is None else those.filter(pl.col("outcome") == outcome)
        return None if those.is_empty() else float(those.select(weighed).item())

    voted = sessions.filter(pl.col("decisions") > 0)
    sums = sessions.select(pl.col(*_SUMS).sum()).row(0, named=True)
    return {
        **sums, **{name: value for name, value in shape.items() if name in COORDINATION}, "version": version,
        "sessions": sessions.height, "started_at": sessions["started_at"].min(), "pattern": pattern,
        "pattern_confidence": confidence, "delegation_accuracy": accuracy(),
        "accuracy_if_success": accuracy("success"), "accuracy_if_failure": accuracy("failure"),
        "agreement": None if voted.is_empty() else voted["agreement"].mean(),
        "rounds_max": sessions["rounds_max"].max(), "rounds_to_stable": sessions["rounds_to_stable"].median(),
        "coordination_ratio": _ratio(sums["coordination_tokens"], sums["work_tokens"]),
    }  # fmt: skip


def _ratio(coordination: int, work: int) -> float | None:
    return coordination / (coordination + work) if coordination + work else None


def _ratios(sessions: pl.DataFrame) -> pl.DataFrame:
    whole = pl.col("coordination_tokens") + pl.col("work_tokens")
    ratio = pl.when(whole > 0).then(pl.col("coordination_tokens") / whole)
    return sessions.with_columns(coordination_ratio=ratio, sessions=pl.lit(1, dtype=pl.UInt64))


def _shaped(found: pl.DataFrame, by: str) -> pl.DataFrame:
    """The columns of the answer; what the rows are not about is left out."""
    left_out = {"version": "session_id", "session_id": "version"}.get(by)
    names = [
        name for name in COORDINATION if name != left_out and (by != "window" or name not in ("version", "session_id"))
    ]
    return found.select(
        (pl.col(name) if name in found.columns else pl.lit(None)).cast(COORDINATION[name], strict=False).alias(name)
        for name in names
    )


def _explain(row: Row, ask: Ask, asked: Asked) -> list[Evidence]:
    """A session's transfers; of more sessions the commonest ways and how many sessions were like what."""
    if row.get("session_id"):
        handoffs = ask(reads.handoffs(Filters(session=str(row["session_id"]))))[0].sort("at")
        columns = ["at", "source", "target", "mode", "evidence", "outcome"]
        return [Evidence(title="transfers", rows=handoffs.select(columns))]
    key = "version" if row.get("version") else "window"
    edges, sessions = ask(_edges(asked.filters, key), _sessions(asked.filters))
    ways = (
        edges.filter(pl.col("version") == (row.get("version") or "")).drop("version").sort("handoffs", descending=True)
    )
    like = sessions.group_by("pattern").agg(
        sessions=pl.len(), confidence=pl.col("pattern_confidence").mean(), example=pl.col("session_id").first()
    )
    return [
        Evidence(title="ways", rows=ways.head(20)),
        Evidence(title="patterns of all sessions", rows=like.sort("sessions", descending=True)),
    ]


QUESTIONS: Mapping[str, Question] = {
    "coordination": Question(
        name="coordination",
        title="Coordination",
        schema=COORDINATION,
        shown=_SHOWN.split(),
        compute=_compute,
        explain=_explain,
        definition="The graph has an edge where one agent handed over to another. determinism is 1 if an agent always "
        "hands over to the same one. coordination_ratio is the share of tokens in the model calls that decided a "
        "transfer. delegation_accuracy is the share of transfers that neither failed nor came straight back. agreement "
        "is the share of votes for what won; agreement is not correctness.",
    )
}
