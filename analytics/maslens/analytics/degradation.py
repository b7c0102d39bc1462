"""Which agent got worse, in what, since when, and how sure that is.

Per agent and metric the current version is held against the one before it, and the newer calls of a version against its
older ones. An alarm means that so much evidence comes from an unchanged agent at most once in 1/alpha series, however
often one looks (`maslens.analytics.sequential`), Benjamini and Hochberg's correction over all series included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl
from scipy import stats

from .changepoints import onset
from .sequential import (
    Floats,
    Worse,
    drift_evidence,
    first_alarm,
    p_value,
    rate_evidence,
    value_evidence,
)

ALPHA = 0.05
LEAST_REFERENCE = 20  # observations; with fewer nothing is said
LEAST_CURRENT = 5
_MOST = 2000  # newest observations of the reference, first ones of the current stream

Kind = Literal["rate", "value"]
Kinds: TypeAlias = Mapping[str, tuple[Kind, Worse]]
METRICS: Kinds = {
    "duration_ms": ("value", "higher"),
    "error_rate": ("rate", "higher"),
    "tokens": ("value", "higher"),
    "cost_usd": ("value", "higher"),
    "success": ("rate", "lower"),
    "handoff_quality": ("value", "lower"),
    "evaluation": ("value", "lower"),
}
OBSERVATION = {
    "agent": pl.String(), "version": pl.String(), "metric": pl.String(), "at": pl.Datetime("ns", "UTC"),
    "value": pl.Float64(),
}  # fmt: skip
DEGRADATION = {
    "agent": pl.String(), "metric": pl.String(), "against": pl.String(), "reference": pl.String(),
    "version": pl.String(), "verdict": pl.String(), "reference_n": pl.Int64(), "n": pl.Int64(),
    "reference_value": pl.Float64(), "value": pl.Float64(), "effect": pl.Float64(), "effect_low": pl.Float64(),
    "effect_high": pl.Float64(), "p_value": pl.Float64(), "q_value": pl.Float64(), "drift_p": pl.Float64(),
    "alarm": pl.Boolean(), "alarm_after": pl.Int64(), "alarm_at": pl.Datetime("ns", "UTC"),
    "onset_at": pl.Datetime("ns", "UTC"),
}  # fmt: skip


def degradations(
    observations: pl.DataFrame,
    *,
    since: datetime | None = None,
    alpha: float = ALPHA,
    kinds: Mapping[str, Any] = METRICS,
) -> pl.DataFrame:
    """One row per series, alarms first.

    `verdict` is worse, better, same or too_few; `effect` is the difference in points for rates and Cliff's delta for
    values (the share of pairs in which the current one is higher, minus the share in which it is lower), with its 95 %
    interval; `drift_p` asks for any change in distribution; `onset_at` is when an alarm's change most probably began.
    """
    judged = [_judge(series, alpha) for series in _series(observations, since, kinds)]
    sure = [row for row in judged if row["verdict"] != "too_few"]
    level = _levels(sure, alpha)
    for row in sure:
        row["alarm"] = row["verdict"] == "worse" and row["q_value"] <= alpha
        row["alarm_after"] = first_alarm(row["evidence"], level, least=LEAST_CURRENT) if row["alarm"] else None
        _date(row)
    rows = [{name: row.get(name) for name in DEGRADATION} for row in judged]
    return pl.DataFrame(rows, schema=DEGRADATION, orient="row").sort(
        "alarm", "q_value", "agent", "metric", "against", descending=[True, False, False, False, False], nulls_last=True
    )


def observations(
    runs: pl.DataFrame,
    sessions: pl.DataFrame | None = None,
    handoff_quality: pl.DataFrame | None = None,
    evaluations: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """What is watched per agent and version: duration, errors, tokens and cost of its runs, success of the sessions it
    ran in, quality of the handoffs it made, and its evaluation scores, one metric per evaluation."""
    version = runs.select("session_id", "agent", version=pl.col("agent_version").fill_null(""))
    run = {"agent": pl.col("agent"), "version": pl.col("agent_version").fill_null(""), "at": pl.col("ended_at")}
    tokens = pl.sum_horizontal(pl.col("input_tokens", "output_tokens").cast(pl.Float64), ignore_nulls=False)
    watched = [
        runs.select(**run, metric=pl.lit("duration_ms"), value=pl.col("duration_ns") / 1e6),
        runs.select(**run, metric=pl.lit("error_rate"), value=(pl.col("status") == "error").cast(pl.Float64)),
        runs.filter(pl.col("llm_calls") > 0).select(**run, metric=pl.lit("tokens"), value=tokens),
        runs.filter(pl.col("llm_calls") > 0).select(**run, metric=pl.lit("cost_usd"), value=pl.col("cost_usd")),
    ]
    took_part = version.group_by("session_id", "agent").agg(pl.col("version").last())
    if sessions is not None:
        known = sessions.filter(pl.col("outcome").is_in(["success", "failure", "partial"]))
        outcome = (pl.col("outcome") == "success").cast(pl.Float64)
        watched.append(
            took_part.join(known, on="session_id").select(
                "agent", "version", at="ended_at", metric=pl.lit("success"), value=outcome
            )
        )
    if handoff_quality is not None:
        watched.append(
            handoff_quality.rename({"source": "agent"})
            .join(took_part, on=["session_id", "agent"], how="left")
            .select("agent", pl.col("version").fill_null(""), "at", metric=pl.lit("handoff_quality"), value="score")
        )
    if evaluations is not None:
        watched.append(
            evaluations.filter(pl.col("agent") != "")
            .join(took_part, on=["session_id", "agent"], how="left")
            .select(
                "agent", pl.col("version").fill_null(""), "at",
                metric=pl.lit("evaluation:") + pl.col("name"), value="score",
            )
        )  # fmt: skip
    return pl.concat(
        [table.select(pl.col(name).cast(dtype) for name, dtype in OBSERVATION.items()) for table in watched]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Series:
    agent: str
    metric: str
    against: str
    reference_name: str
    version: str
    kind: Kind
    worse: Worse
    reference: Floats
    current: Floats
    times: list[datetime]  # of `reference` and `current`, in a row


def _series(observations: pl.DataFrame, since: datetime | None, kinds: Kinds) -> Iterator[_Series]:
    known = observations.filter(pl.col("value").is_finite()).sort("at", "value")
    for (agent, metric), table in known.group_by("agent", "metric", maintain_order=True):
        kind, worse = kinds.get(str(metric).split(":")[0], ("value", "lower"))
        if set(table["value"].unique()) <= {0.0, 1.0}:
            kind = "rate"
        versions = table.group_by("version", maintain_order=True).first()["version"].to_list()
        newest = table.filter(pl.col("version") == versions[-1])
        pairs = (
            [("version", versions[-2], table.filter(pl.col("version") == versions[-2]), newest)] if versions[1:] else []
        )
        middle = newest["at"][newest.height // 2] if since is None else since
        older, newer = newest.filter(pl.col("at") < middle), newest.filter(pl.col("at") >= middle)
        for against, name, before, after in [*pairs, ("time", f"before {middle:%Y-%m-%d %H:%M:%S}", older, newer)]:
            before, after = before.tail(_MOST), after.head(_MOST)
            yield _Series(
                agent=str(agent), metric=str(metric), against=against, reference_name=name, version=versions[-1],
                kind=kind, worse=worse, reference=before["value"].to_numpy(), current=after["value"].to_numpy(),
                times=before["at"].to_list() + after["at"].to_list(),
            )  # fmt: skip


def _judge(series: _Series, alpha: float) -> dict[str, Any]:
    row: dict[str, Any] = {
        "agent": series.agent, "metric": series.metric, "against": series.against, "version": series.version,
        "reference": series.reference_name, "reference_n": len(series.reference), "n": len(series.current),
        "verdict": "too_few", "alarm": False,
    }  # fmt: skip
    if len(series.reference) < LEAST_REFERENCE or len(series.current) < LEAST_CURRENT:
        return row
    evidence_of = rate_evidence if series.kind == "rate" else value_evidence
    late = series.against == "time"
    other: Worse = "lower" if series.worse == "higher" else "higher"
    worse, better = (evidence_of(series.reference, series.current, side, late=late) for side in (series.worse, other))
    p_worse, p_better = p_value(worse, least=LEAST_CURRENT), p_value(better, least=LEAST_CURRENT)
    verdict = "worse" if p_worse <= min(alpha, p_better) else "better" if p_better <= alpha else "same"
    middle = np.mean if series.kind == "rate" else np.median
    effect, low, high = (_difference if series.kind == "rate" else _delta)(series.reference, series.current)
    return row | {
        "verdict": verdict, "evidence": worse, "p_value": p_worse, "series": series,
        "drift_p": p_value(drift_evidence(series.reference, series.current), least=LEAST_CURRENT),
        "reference_value": float(middle(series.reference)), "value": float(middle(series.current)),
        "effect": effect, "effect_low": low, "effect_high": high,
    }  # fmt: skip


def _levels(rows: list[dict[str, Any]], alpha: float) -> float:
    """Adds `q_value` (Benjamini, Hochberg) and answers the level that a single series must pass."""
    if not rows:
        return alpha
    q_values = stats.false_discovery_control([row["p_value"] for row in rows])
    for row, q_value in zip(rows, q_values, strict=True):
        row["q_value"] = float(q_value)
    return alpha * max(1, int(np.sum(q_values <= alpha))) / len(rows)


def _date(row: dict[str, Any]) -> None:
    if row["alarm_after"] is None:
        return
    series: _Series = row["series"]
    before = len(series.reference)
    row["alarm_at"] = series.times[before + row["alarm_after"] - 1]
    row["onset_at"] = series.times[onset(np.concatenate([series.reference, series.current]))]


def _difference(reference: Floats, current: Floats) -> tuple[float, float, float]:
    """Difference of two rates with Newcombe's interval."""
    (p1, l1, u1), (p2, l2, u2) = (_rate(values) for values in (reference, current))
    effect = p2 - p1
    return effect, effect - float(np.hypot(p2 - l2, u1 - p1)), effect + float(np.hypot(u2 - p2, p1 - l1))


def _rate(values: Floats) -> tuple[float, float, float]:
    test = stats.binomtest(int(values.sum()), len(values))
    interval = test.proportion_ci(method="wilson")
    return float(values.mean()), float(interval.low), float(interval.high)


def _delta(reference: Floats, current: Floats) -> tuple[float, float, float]:
    """Cliff's delta with DeLong's interval."""
    higher = stats.rankdata(np.concatenate([reference, current]))
    m, n = len(reference), len(current)
    over = (higher[m:] - stats.rankdata(current)) / m  # per current value: share of the reference below it
    under = 1 - (higher[:m] - stats.rankdata(reference)) / n
    share = float(over.mean())
    error = 1.96 * float(np.sqrt(over.var(ddof=1) / n + under.var(ddof=1) / m))
    return 2 * share - 1, max(-1.0, 2 * (share - error) - 1), min(1.0, 2 * (share + error) - 1)
