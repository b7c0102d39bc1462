"""Which agent got worse, in what, since when, and how sure that is.

Per agent and metric the current version is held against the one before it, and the newer calls of a version against its
older ones. An alarm means that so much evidence comes from an unchanged agent at most once in 1/alpha series, however
often one looks (`maslens.analytics.sequential`), Benjamini and Hochberg's correction over all series included.

That holds only if a reference does not move with the looking. Between versions it is what the one before had done when
the new one began. Within a version there are epochs: the first reference is the first 20 calls, held against the next
20; then the first 40 against the next 40, and so on up to 2,000 against 2,000. The k-th epoch gets 1/(k(k+1)) of alpha,
so that all of them together stay within it. After an alarm what came since its onset is the next reference. An epoch's
borders are written down with its row (`known`), so that a look needs no more than the calls since its reference began.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
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
MOST = 2000  # observations of a reference, and of the stream held against it

Kind = Literal["rate", "value"]
Against = Literal["version", "time"]
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
_TIME, _REAL = pl.Datetime("ns", "UTC"), pl.Float64()
OBSERVATION = {
    "agent": pl.String(), "version": pl.String(), "metric": pl.String(), "at": _TIME, "value": _REAL,
}  # fmt: skip
SERIES = ("agent", "version", "metric", "against")
DEGRADATION: Mapping[str, pl.DataType] = {
    "agent": pl.String(), "version": pl.String(), "metric": pl.String(), "against": pl.String(), "epoch": pl.UInt64(),
    "reference": pl.String(), "verdict": pl.String(), "alarm": pl.Boolean(), "direction": pl.String(),
    "n_ref": pl.UInt64(), "n_now": pl.UInt64(), "reference_value": _REAL, "value": _REAL, "effect": _REAL,
    "effect_low": _REAL, "effect_high": _REAL, "e_value": _REAL, "p_value": _REAL, "q_value": _REAL, "drift_p": _REAL,
    "onset_at": _TIME, "alarm_at": _TIME, "alarm_after": pl.UInt64(), "recovered_at": _TIME, "reference_from": _TIME,
    "stream_from": _TIME, "last_at": _TIME, "closed": pl.Boolean(),
}  # fmt: skip


def degradations(
    observations: pl.DataFrame,
    *,
    known: pl.DataFrame | None = None,
    since: datetime | None = None,
    alpha: float = ALPHA,
    kinds: Mapping[str, Any] = METRICS,
) -> pl.DataFrame:
    """The newest epoch of every series, and those that ended, alarms first.

    known: what an earlier look answered; its open epochs go on where they stood, as far as `observations` (all since
    `reference_from`) have anything new. since: a border in time to hold every version's calls against, instead of
    epochs; then nothing is known. `verdict` is worse, better, same or too_few; `effect` is the difference in points for
    rates and Cliff's delta for values (the share of pairs in which the current one is higher, minus the share in which
    it is lower) with its 95 % interval; e_value is the evidence as it stands, p_value the inverse of the most so far;
    `drift_p` asks for any change in distribution; `onset_at` is when an alarm's change most probably began.
    recovered_at: since when the same kind of test says that it is better again.
    """
    open_ = known.filter(~pl.col("closed")) if known is not None else pl.DataFrame(schema=dict(DEGRADATION))
    before = {tuple(row[name] for name in SERIES): row for row in open_.iter_rows(named=True)}
    judged = [row for series in _series(observations, since, kinds, before) for row in _epochs(series, alpha)]
    seen = {tuple(row[name] for name in SERIES) for row in judged}
    newest = {(row["agent"], row["metric"]): row["version"] for row in judged}
    kept = [row for key, row in before.items() if key not in seen]
    for row in kept:  # another version has taken over
        row["closed"] = newest.get((row["agent"], row["metric"]), row["version"]) != row["version"]
    rows = [*judged, *kept]
    _levels([row for row in rows if not row["closed"] and row["verdict"] != "too_few"], alpha)
    for row in rows:
        _decide(row, before.get(tuple(row[name] for name in SERIES)), alpha)
    full = [{name: row.get(name) for name in DEGRADATION} for row in rows]
    return pl.DataFrame(full, schema=dict(DEGRADATION), orient="row").sort(
        "alarm", "q_value", *SERIES, "epoch", descending=[True, *[False] * 6], nulls_last=True
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
    version: str
    metric: str
    against: Against
    reference: str  # how people call it
    kind: Kind
    worse: Worse
    values: Floats
    times: list[datetime]
    split: int  # where the stream begins
    epoch: int = 0  # from 1; 0: the reference stays

    def row(self) -> dict[str, Any]:
        return {
            "agent": self.agent, "version": self.version, "metric": self.metric, "against": self.against,
            "epoch": self.epoch, "reference": self.reference, "verdict": "too_few", "alarm": False, "direction": "",
            "_onset": None, "n_ref": self.split, "n_now": len(self.values) - self.split, "closed": False,
            "reference_from": self.times[0] if self.times else None, "last_at": self.times[-1] if self.times else None,
            "stream_from": self._stream_from(),
        }  # fmt: skip

    def _stream_from(self) -> datetime | None:
        """Where the stream began or, with a whole reference, will begin."""
        if self.split < len(self.times):
            return self.times[self.split]
        return self.times[-1] + timedelta(microseconds=1) if len(self.times) >= LEAST_REFERENCE else None


def _series(
    observations: pl.DataFrame, since: datetime | None, kinds: Kinds, known: Mapping[tuple[Any, ...], Any]
) -> Iterator[_Series]:
    finite = observations.filter(pl.col("value").is_finite()).sort("at", "value")
    for (agent, metric), table in finite.group_by("agent", "metric", maintain_order=True):
        kind, worse = kinds.get(str(metric).split(":")[0], ("value", "lower"))
        if set(table["value"].unique()) <= {0.0, 1.0}:
            kind = "rate"
        versions = table.group_by("version", maintain_order=True).first()["version"].to_list()
        newest = table.filter(pl.col("version") == versions[-1])

        def series(
            against: Against, reference: str, rows: pl.DataFrame, split: int, epoch: int = 0,
            *, agent: Any = agent, metric: Any = metric, version: str = versions[-1], kind: Kind = kind,
            worse: Worse = worse,
        ) -> _Series:  # fmt: skip
            return _Series(
                agent=str(agent), metric=str(metric), version=version, against=against, reference=reference, kind=kind,
                worse=worse, values=rows["value"].to_numpy(), times=rows["at"].to_list(), split=split, epoch=epoch,
            )  # fmt: skip

        stood = known.get((agent, versions[-1], metric, "version"))
        if versions[1:] and not (stood and stood["n_now"] >= MOST):  # else all has been said about it
            last = table.filter((pl.col("version") == versions[-2]) & (pl.col("at") < newest["at"][0])).tail(MOST)
            yield series("version", versions[-2], pl.concat([last, newest.head(MOST)]), last.height)
        if since is not None:
            old, new = newest.filter(pl.col("at") < since).tail(MOST), newest.filter(pl.col("at") >= since).head(MOST)
            yield series("time", f"before {since:%Y-%m-%d %H:%M:%S}", pl.concat([old, new]), old.height)
            continue
        stood = known.get((agent, versions[-1], metric, "time"))
        if stood is None or stood["stream_from"] is None:
            yield series("time", "", newest, min(LEAST_REFERENCE, newest.height), 1)
        else:
            rows = newest.filter(pl.col("at") >= stood["reference_from"])
            split = int((rows["at"] < stood["stream_from"]).sum())
            yield series("time", "", rows, split, stood["epoch"])


def _epochs(series: _Series, alpha: float) -> Iterator[dict[str, Any]]:
    """The rows of a series' epochs that have ended, and of the one that goes on."""
    if not series.epoch:
        yield _judge(series, alpha)
        return
    first, split, epoch = 0, series.split, series.epoch
    while True:
        length = max(LEAST_REFERENCE, split - first)
        row = _judge(_part(series, first, split, length, epoch), alpha)
        if row["verdict"] == "worse" and length <= len(series.values) - split:  # as long as it lasts
            length = MOST
            row = _judge(_part(series, first, split, length, epoch), alpha)
            over = _recovered(row["_series"], row["_onset"], alpha)
            length = MOST if over is None else min(MOST, first + over + LEAST_REFERENCE - split)
            row = _judge(_part(series, first, split, length, epoch), alpha)
        if len(series.values) - split < length:
            yield row
            return
        row["closed"] = True
        yield row
        begun = first + (row["_onset"] or 0)
        if (over := _recovered(row["_series"], row["_onset"], alpha)) is not None:
            begun = first + over
        split, epoch = split + length, epoch + 1
        first = min(max(begun, split - MOST), split - LEAST_REFERENCE)


def _part(series: _Series, first: int, split: int, length: int, epoch: int) -> _Series:
    return replace(
        series, reference=_spoken(series.times[first:split]), values=series.values[first : split + length],
        times=series.times[first : split + length], split=split - first, epoch=epoch,
    )  # fmt: skip


def _spoken(times: Sequence[datetime]) -> str:
    return f"{times[0]:%Y-%m-%d %H:%M:%S} to {times[-1]:%Y-%m-%d %H:%M:%S}" if times else ""


def _judge(series: _Series, alpha: float) -> dict[str, Any]:
    row, split = series.row(), series.split
    reference, current = series.values[:split], series.values[split:]
    if split < LEAST_REFERENCE or len(current) < LEAST_CURRENT:
        return row
    evidence_of = rate_evidence if series.kind == "rate" else value_evidence
    late = series.against == "time"
    stake = -np.log(series.epoch * (series.epoch + 1)) if series.epoch else 0.0
    other: Worse = "lower" if series.worse == "higher" else "higher"
    worse, better = (evidence_of(reference, current, side, late=late) + stake for side in (series.worse, other))
    p_worse, p_better = p_value(worse, least=LEAST_CURRENT), p_value(better, least=LEAST_CURRENT)
    verdict = "worse" if p_worse <= min(alpha, p_better) else "better" if p_better <= alpha else "same"
    began = None
    if verdict != "same":  # seen from shortly after the alarm: later there may be a way back
        rung = first_alarm(worse if verdict == "worse" else better, alpha, least=LEAST_CURRENT) or len(current)
        began = onset(series.values[: split + rung + LEAST_REFERENCE])
    if began is not None and late:  # of a change amidst the stream, what came after it is what is like now
        began = max(began, split) if split + LEAST_CURRENT <= len(series.values) else split
        current = series.values[min(began, len(series.values) - LEAST_CURRENT) :]
    middle = np.mean if series.kind == "rate" else np.median
    effect, low, high = (_difference if series.kind == "rate" else _delta)(reference, current)
    return row | {
        "verdict": verdict, "_evidence": worse, "p_value": p_worse, "e_value": float(np.exp(min(worse[-1], 700.0))),
        "drift_p": p_value(drift_evidence(reference, series.values[split:]) + stake, least=LEAST_CURRENT),
        "reference_value": float(middle(reference)), "value": float(middle(current)),
        "direction": "higher" if effect > 0 else "lower" if effect < 0 else "", "effect": effect, "effect_low": low,
        "effect_high": high, "_series": series, "_onset": began,
    }  # fmt: skip


def _levels(rows: list[dict[str, Any]], alpha: float) -> None:
    """Adds `q_value` (Benjamini, Hochberg) and the level that a single series must pass."""
    if not rows:
        return
    q_values = stats.false_discovery_control([row["p_value"] for row in rows])
    level = alpha * max(1, int(np.sum(q_values <= alpha))) / len(rows)
    for row, q_value in zip(rows, q_values, strict=True):
        row["q_value"], row["_level"] = float(q_value), level


def _decide(row: dict[str, Any], stood: Mapping[str, Any] | None, alpha: float) -> None:
    """Whether there is an alarm, since when, and whether it is over. What was an alarm once keeps its times."""
    same = stood is not None and stood["epoch"] == row["epoch"]
    if row["closed"] and row.get("q_value") is None:
        # An epoch that has ended is of no family any more; what an earlier look made of its beginning is out of date.
        rang = same and stood is not None and stood["alarm_at"] is not None
        row["q_value"] = stood["q_value"] if rang and stood is not None else row.get("p_value")
    rings = row["verdict"] == "worse" and row["q_value"] <= alpha
    series: _Series | None = row.get("_series")
    if not rings or series is None:
        row["alarm"] = rings and row.get("recovered_at") is None and not row["closed"]
        return
    row["alarm_after"] = first_alarm(row["_evidence"], row.get("_level", alpha), least=LEAST_CURRENT)
    row["onset_at"] = series.times[row["_onset"]]
    if row["alarm_after"] is not None:
        row["alarm_at"] = series.times[series.split + row["alarm_after"] - 1]
    if same and stood is not None and stood["alarm_at"] is not None:
        row.update({name: stood[name] for name in ("alarm_at", "alarm_after", "onset_at")})
    over = _recovered(series, row["_onset"], alpha)
    row["recovered_at"] = None if over is None else series.times[over]
    row["alarm"] = over is None and not row["closed"]


def _recovered(series: _Series | None, begun: int | None, alpha: float) -> int | None:
    """The place from which on it is known to be better again; the first 20 calls since the onset are what that is held
    against."""
    if series is None or begun is None:
        return None
    bad, after = series.values[begun : begun + LEAST_REFERENCE], series.values[begun + LEAST_REFERENCE :]
    if len(bad) < LEAST_REFERENCE or len(after) < LEAST_CURRENT:
        return None
    evidence_of = rate_evidence if series.kind == "rate" else value_evidence
    other: Worse = "lower" if series.worse == "higher" else "higher"
    at = first_alarm(evidence_of(bad, after, other, late=True), alpha, least=LEAST_CURRENT)
    return None if at is None else begun + LEAST_REFERENCE + at - 1


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
