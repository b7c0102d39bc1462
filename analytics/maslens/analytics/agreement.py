"""Debates and loops: how far votes agreed, and after how many rounds nothing changed any more.

Agreement is not correctness: several agents can agree on what is wrong, and often do. What is said (votes, rounds) and
what is inferred (one agent asking the same other one again and again) are different kinds of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import polars as pl

from .frames import Schema

DECISIONS: Schema = {
    "session_id": pl.String(), "kind": pl.String(), "decision": pl.String(), "agents": pl.List(pl.String()),
    "rounds": pl.UInt64(), "rounds_to_stable": pl.UInt64(), "agreement": pl.Float64(), "result": pl.String(),
    "votes": pl.UInt64(), "evidence": pl.String(),
}  # fmt: skip
STEADY = 0.05  # a score that changes by less from round to round stands still
_READ = ("EventName", "VoteOption", "ConsensusId", "VoteWeight", "IterationIndex", "Attributes")
_VOTE, _ROUND = "mas.vote.cast", "mas.iteration.completed"


def decisions(events: pl.DataFrame | None, exchanges: pl.DataFrame | None = None) -> pl.DataFrame:
    """One row per decision that was voted on, per loop that said its rounds, and per loop that was inferred.

    events: `agent_events` with `session_id`. exchanges: `session_id, caller, callee, rounds`, loops seen in handoffs.
    kind: `vote` (result: the option that won; agreement: its share of the weight in the last round; rounds_to_stable:
    the first round from which on it led), `loop` (result: why it stopped; rounds_to_stable: the first round after which
    the score moved by less than 0.05 at a time; null without scores) or `exchange` (nothing but rounds is known).
    """
    told = events is not None and not events.is_empty() and set(_READ) <= set(events.columns)
    rows = [*_votes(events), *_loops(events)] if events is not None and told else []
    if exchanges is not None:
        rows += [
            {"session_id": session, "kind": "exchange", "decision": f"{caller} → {callee}", "agents": [caller, callee],
             "rounds": rounds, "evidence": "inferred"}
            for session, caller, callee, rounds in exchanges.iter_rows()
        ]  # fmt: skip
    full = [{name: row.get(name) for name in DECISIONS} for row in rows]
    return pl.DataFrame(full, schema=dict(DECISIONS), orient="row").sort("session_id", "kind", "decision")


def _votes(events: pl.DataFrame) -> list[dict[str, Any]]:
    cast = (
        events.filter((pl.col("EventName") == _VOTE) & (pl.col("VoteOption") != ""))
        .unique(["session_id", "ConsensusId", "Timestamp", "SpanId", "AgentName", "VoteOption"])
        .with_columns(weight=pl.col("VoteWeight").fill_null(1.0))
        .sort("session_id", "ConsensusId", "Timestamp", "AgentName", "VoteOption")
        .with_columns(nth=pl.int_range(1, pl.len() + 1).over("session_id", "ConsensusId", "AgentName"))
    )
    told = [_told_round(attributes) for attributes in cast["Attributes"].to_list()]
    cast = cast.with_columns(round=pl.coalesce(pl.Series("told", told, dtype=pl.Int64), "nth"))
    found = []
    for (session, name), table in cast.group_by("session_id", "ConsensusId", maintain_order=True):
        tally = (
            table.group_by("round", "VoteOption")
            .agg(pl.col("weight").sum())
            .sort("round", "weight", "VoteOption", descending=[False, True, False])
        )
        leaders, last = [], 0.0
        for _, options in tally.group_by("round", maintain_order=True):
            total = options["weight"].sum()
            last = options["weight"][0] / total if total > 0 else 0.0
            leaders.append(options["VoteOption"][0])
        found.append({
            "session_id": session, "kind": "vote", "decision": name, "votes": table.height,
            "agents": sorted(set(table["AgentName"])), "rounds": len(leaders), "rounds_to_stable": _settled(leaders),
            "agreement": last, "result": leaders[-1], "evidence": "told",
        })  # fmt: skip
    return found


def _loops(events: pl.DataFrame) -> list[dict[str, Any]]:
    rounds = (
        events.filter((pl.col("EventName") == _ROUND) & pl.col("IterationIndex").is_not_null())
        .unique(["session_id", "TraceId", "AgentName", "IterationIndex", "Timestamp"])
        .sort("session_id", "Timestamp", "IterationIndex")
    )
    found = []
    for (session, trace, agent), table in rounds.group_by("session_id", "TraceId", "AgentName", maintain_order=True):
        for number, loop in enumerate(_apart(table.rows(named=True))):
            scores = [row["ConvergenceScore"] for row in loop]
            steady = _steady(scores) if all(score is not None for score in scores) else None
            found.append({
                "session_id": session, "kind": "loop", "decision": f"{str(trace)[:16]}#{number + 1}",
                "agents": [agent] if agent else [], "rounds": len(loop), "rounds_to_stable": steady,
                "result": next((row["StopReason"] for row in reversed(loop) if row["StopReason"]), ""),
                "evidence": "told",
            })  # fmt: skip
    return found


def _apart(rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """An index that does not go up begins another loop."""
    loops: list[list[dict[str, Any]]] = []
    for row in rows:
        if loops and row["IterationIndex"] > loops[-1][-1]["IterationIndex"]:
            loops[-1].append(row)
        else:
            loops.append([row])
    return loops


def _settled(leaders: Sequence[str]) -> int:
    """The first round from which on the leader stays the same, from 1."""
    runs = [len(list(group)) for _, group in groupby(leaders)]
    return len(leaders) - runs[-1] + 1


def _steady(scores: Sequence[float]) -> int:
    moved = [at for at in range(1, len(scores)) if abs(scores[at] - scores[at - 1]) >= STEADY]
    return (moved[-1] if moved else 0) + 1


def _told_round(attributes: Any) -> int | None:
    """attributes: a map, however the engine's answer spells it: a dictionary, pairs or keys with values."""
    pairs = attributes.items() if isinstance(attributes, dict) else (attributes or [])
    entries = dict(tuple(pair.values()) if isinstance(pair, dict) else pair for pair in pairs)
    told = str(entries.get("mas.consensus.round", ""))
    return int(told) if told.isascii() and told.isdigit() and len(told) < 10 else None
