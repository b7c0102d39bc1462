"""Agents that work together more than chance would have it, and whether work goes better when they do.

Communities are looked for in the older half of the sessions and tested on the newer one, so that what was found by
searching is not proven by the same data. The null model keeps how many agents a session has and how often an agent
works, in expectation: agent a is in session s with probability min(1, sessions of a x agents of s / all memberships).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import networkx as nx
import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import stats

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

LEAST_SESSIONS = 40  # with fewer nothing is said
LEAST_TEAM = 10  # sessions of a team before it can be the best
DRAWS = 199
MOST_SESSIONS = 2_000  # the newest
_SURE = 2.33  # standard deviations above chance: one pair in a hundred
_RARE = 5  # sessions an agent must have been in
_REAL = pl.Float64()
COALITIONS: Mapping[str, Any] = {
    "members": pl.List(pl.String), "sessions": pl.UInt64(), "cohesion": _REAL, "p_value": _REAL, "q_value": _REAL,
    "stability": _REAL, "verdict": pl.String(), "together": pl.UInt64(), "apart": pl.UInt64(),
    "success_together": _REAL, "success_apart": _REAL, "lift": _REAL, "lift_low": _REAL, "lift_high": _REAL,
}  # fmt: skip
TEAMS: Mapping[str, Any] = {
    "task": pl.String(), "rank": pl.UInt64(), "members": pl.List(pl.String), "sessions": pl.UInt64(), "success": _REAL,
    "success_low": _REAL, "success_high": _REAL, "verdict": pl.String(),
}  # fmt: skip


def coalitions(sessions: pl.DataFrame, *, alpha: float = 0.05, draws: int = DRAWS) -> pl.DataFrame:
    """One row per community of two agents or more, the surest first.

    sessions: `session_id, started_at, agents, outcome, task`. cohesion: how often members were in a session together in
    the newer half, over how often the null model has them so; p_value: share of `draws` null models with as much;
    q_value: Benjamini and Hochberg's, over the communities. verdict: coalition (q at most alpha), chance, or too_few.
    stability: Jaccard overlap with the most similar community of the newer half. together: sessions with two members
    and half of all at least; apart: others with a member. lift: success together minus apart, within tasks (Mantel and
    Haenszel's weights, Sato's variance), with its 95 % interval; null where every session is of one kind.
    """
    known = sessions.unique("session_id").sort("started_at", "session_id").tail(MOST_SESSIONS)
    present, names = _incidence(known)
    if known.height < LEAST_SESSIONS or len(names) < 2:
        return pl.DataFrame(schema=dict(COALITIONS))
    old, new = present[: known.height // 2], present[known.height // 2 :]
    found, again = _communities(old), _communities(new)
    random = np.random.default_rng(0)
    nulls = _null_pairs(new, found, random, draws) if found else np.zeros((0, draws))
    rows = []
    for members, null in zip(found, nulls, strict=True):
        together = _pairs(new, members)
        p = (1 + int(np.sum(null >= together))) / (1 + draws)
        rows.append({
            "members": sorted(names[at] for at in members),
            "sessions": int(present[:, sorted(members)].any(1).sum()),
            "cohesion": together / max(float(null.mean()), 1 / draws), "p_value": p,
            "stability": max((len(members & one) / len(members | one) for one in again), default=0.0),
            **_outcomes(known, present[:, sorted(members)]),
        })  # fmt: skip
    q_values = stats.false_discovery_control([row["p_value"] for row in rows]) if rows else []
    for row, q_value in zip(rows, q_values, strict=True):
        row |= {"q_value": float(q_value), "verdict": "coalition" if q_value <= alpha else "chance"}
    table = pl.DataFrame(rows, schema=dict(COALITIONS), orient="row")
    return table.sort("q_value", "cohesion", pl.col("members").list.join("\n"), descending=[False, True, False])


def teams(sessions: pl.DataFrame) -> pl.DataFrame:
    """Per task the sets of agents that did it, by the lower end of the 95 % interval (Wilson) of their success."""
    known = sessions.unique("session_id").filter(pl.col("outcome").is_in(["success", "partial", "failure"]))
    counted = (
        known.with_columns(members=pl.col("agents").list.unique().list.sort(), won=pl.col("outcome") == "success")
        .group_by("task", "members")
        .agg(sessions=pl.len().cast(pl.UInt64), won=pl.col("won").sum())
    )
    intervals = [_wilson(won, n) for won, n in counted.select("won", "sessions").iter_rows()]
    table = counted.with_columns(
        success=pl.col("won") / pl.col("sessions"),
        success_low=pl.Series([low for low, _ in intervals], dtype=pl.Float64),
        success_high=pl.Series([high for _, high in intervals], dtype=pl.Float64),
        verdict=pl.when(pl.col("sessions") >= LEAST_TEAM).then(pl.lit("")).otherwise(pl.lit("too_few")),
    ).sort("task", pl.col("members").list.join("\n"))
    enough = pl.col("verdict") != "too_few"
    ranked = table.sort(
        "task", enough, "success_low", "sessions", descending=[False, True, True, True], maintain_order=True
    ).with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.UInt64).over("task"))
    # the best is better than another for sure only if their intervals are apart
    second = pl.col("success_high").filter(enough & (pl.col("rank") > 1)).max().over("task")
    best = (pl.col("rank") == 1) & enough
    verdict = (
        pl.when(best & (pl.col("success_low") > second.fill_null(1.0))).then(pl.lit("best"))
        .when(best).then(pl.lit("leads"))
        .otherwise("verdict")
    )  # fmt: skip
    return ranked.with_columns(verdict=verdict).select(list(TEAMS))


@lru_cache(maxsize=10_000)  # most teams are small, so the same few intervals are asked for again and again
def _wilson(won: int, n: int) -> tuple[float, float]:
    interval = stats.binomtest(won, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def _incidence(sessions: pl.DataFrame) -> tuple[Flags, list[str]]:
    """(sessions x agents, the agents' names); agents of every session or of hardly any tell nothing."""
    counted = sessions.select(pl.col("agents").list.unique()).explode("agents").drop_nulls().group_by("agents").len()
    telling = counted.filter((pl.col("len") >= _RARE) & (pl.col("len") < sessions.height) & (pl.col("agents") != ""))
    names = telling["agents"].sort().to_list()
    place = {name: at for at, name in enumerate(names)}
    present = np.zeros((sessions.height, len(names)), dtype=bool)
    for row, agents in enumerate(sessions["agents"].to_list()):
        present[row, [place[agent] for agent in agents if agent in place]] = True
    return present, names


def _chance(present: Flags) -> Floats:
    chance = np.outer(present.sum(1), present.sum(0)) / max(int(present.sum()), 1)
    return np.array(np.minimum(1.0, chance), dtype=np.float64)


def _communities(present: Flags) -> list[set[int]]:
    """Louvain's, of the pairs that meet more often than chance has it, weighted by how much more.

    Which pairs do: the backbone by Neal's stochastic degree sequence model (2014).
    """
    if not present.any():
        return []
    seen, chance = present.astype(float), _chance(present)
    excess = seen.T @ seen - chance.T @ chance
    noise = np.sqrt(np.maximum(chance.T @ chance - (chance**2).T @ (chance**2), 1e-12))
    graph: Any = nx.Graph()
    graph.add_nodes_from(range(present.shape[1]))
    rows, columns = np.nonzero(np.triu(excess > _SURE * noise, 1))
    graph.add_weighted_edges_from(
        (int(a), int(b), float(excess[a, b])) for a, b in zip(rows.tolist(), columns.tolist(), strict=True)
    )
    found = nx.community.louvain_communities(graph, seed=0)
    return sorted((set(one) for one in found if len(one) > 1), key=sorted)


def _pairs(present: Flags, members: set[int]) -> float:
    """How many pairs of members met, over all sessions."""
    count = present[:, sorted(members)].sum(1).astype(float)
    return float((count * (count - 1) / 2).sum())


def _null_pairs(present: Flags, found: Sequence[set[int]], random: np.random.Generator, draws: int) -> Floats:
    """(communities x draws)"""
    chance = _chance(present).astype(np.float32)
    rows = []
    for _ in range(draws):
        drawn = random.random(chance.shape, dtype=np.float32) < chance
        rows.append([_pairs(drawn, members) for members in found])
    found_by_draw: Floats = np.array(rows, dtype=np.float64)
    return np.ascontiguousarray(found_by_draw.T)


@dataclass(frozen=True, slots=True)
class _Stratum:
    together: int
    won_together: int
    apart: int
    won_apart: int


def _outcomes(sessions: pl.DataFrame, present: Flags) -> dict[str, Any]:
    count = present.sum(1)
    side_by_side = (count >= 2) & (2 * count >= present.shape[1])
    table = sessions.with_columns(
        together=pl.Series(side_by_side), any=pl.Series(count > 0), won=pl.col("outcome") == "success"
    ).filter(pl.col("any") & pl.col("outcome").is_in(["success", "partial", "failure"]))
    strata = list(_strata(table))
    together, apart = (table.filter(pl.col("together") == side) for side in (True, False))
    lift = _risk_difference(strata)
    return {
        "together": together.height, "apart": apart.height,
        "success_together": None if together.is_empty() else together["won"].mean(),
        "success_apart": None if apart.is_empty() else apart["won"].mean(),
        "lift": None if lift is None else lift[0], "lift_low": None if lift is None else lift[1],
        "lift_high": None if lift is None else lift[2],
    }  # fmt: skip


def _strata(table: pl.DataFrame) -> Iterator[_Stratum]:
    together, won = pl.col("together"), pl.col("won")
    counted = table.group_by("task").agg(
        (together).sum().alias("a"), (together & won).sum().alias("b"), (~together).sum().alias("c"),
        (~together & won).sum().alias("d"),
    )  # fmt: skip
    for row in counted.sort("task").select("a", "b", "c", "d").iter_rows():
        yield _Stratum(*row)


def _risk_difference(strata: Sequence[_Stratum]) -> tuple[float, float, float] | None:
    """Mantel-Haenszel risk difference with Sato's variance (Sato, Greenland, Robins 1989)."""
    told = [one for one in strata if one.together and one.apart]
    if not told:
        return None
    n1, n0 = (np.array([getattr(one, name) for one in told], dtype=float) for name in ("together", "apart"))
    a, b = (np.array([getattr(one, name) for one in told], dtype=float) for name in ("won_together", "won_apart"))
    weight = n1 * n0 / (n1 + n0)
    difference = float((weight * (a / n1 - b / n0)).sum() / weight.sum())
    whole = n1 + n0
    p = (n1**2 * b - n0**2 * a + n1 * n0 * (n0 - n1) / 2) / whole**2
    q = (a * (n0 - b) + b * (n1 - a)) / (2 * whole)
    variance = max(0.0, float((difference * p.sum() + q.sum()) / weight.sum() ** 2))
    half = 1.96 * float(np.sqrt(variance))
    return difference, max(-1.0, difference - half), min(1.0, difference + half)
