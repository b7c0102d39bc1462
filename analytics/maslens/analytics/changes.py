"""Which agent changed when something got worse: a window against a reference, every signal weighed alike.

Each agent is known by signals that are its own: the time it takes without those it calls, the waiting before it
answers, how often work ends right after it, its error rate, its CPU. Signals that add up what others do (total latency,
say) blame the caller for the callee and do not belong here.
"""

from __future__ import annotations

import polars as pl

_SIGNAL = ["agent", "signal"]
_LEAST = 3  # observations in a bucket of the reference, where it has that many as a rule
_NOW = 2  # observations in the current window
_BUCKETS = 8  # of the reference, before its spread means anything
_CALLED = 3  # agents that one must call before all of its waits say something about itself
_USUAL = 0.99  # the usual range of a signal: what this share of its buckets stays below ...
_USUAL_Z = 2.326  # ... and how many standard deviations that would be for a normal one
_RELATIVE = 0.05  # a change of a measure by less than this share is no change, however regular the measure
_ABSOLUTE = 0.03  # the same for rates, in points


def changed_agents(measures: pl.DataFrame, rates: pl.DataFrame | None = None) -> pl.DataFrame:
    """One row per agent, `rank` 1 for the one whose signals left their usual range the farthest.

    measures: `agent, caller, signal, bucket, current, value` with values above 0: many observations a bucket, those
    without `current` being the reference; `caller` is who waited, '' where nobody did. rates: `agent, signal, current,
    trials, hits`. `surprise` is the agent's largest z, upwards; `signal` is the one that had it, going from
    `reference` to `value`.
    """
    scored = [_shared(_measure_surprise(measures))] + ([] if rates is None else [_rate_surprise(rates)])
    return (
        pl.concat(scored)
        .sort("surprise", "signal", descending=[True, False])
        .group_by("agent", maintain_order=True)
        .first()
        .sort("surprise", "agent", descending=[True, False])
        .with_columns(rank=pl.int_range(1, pl.len() + 1))
    )


def _measure_surprise(measures: pl.DataFrame) -> pl.DataFrame:
    """Mean logarithm of the current window against the means of the reference's buckets: median and upper tail."""
    key = [*_SIGNAL, "caller"]
    seen = measures.filter(pl.col("value").is_finite() & (pl.col("value") > 0)).with_columns(pl.col("value").log())
    reference = (
        seen.filter(~pl.col("current"))
        .group_by(*key, "bucket")
        .agg(pl.col("value").mean(), n=pl.len())
        .filter(pl.col("n") >= pl.min_horizontal(_LEAST, pl.col("n").median().over(key)))
        .group_by(key)
        .agg(
            reference=pl.col("value").median(),
            spread=(pl.col("value").quantile(_USUAL, "linear") - pl.col("value").median()) / _USUAL_Z,
            buckets=pl.len(),
        )
        .filter(pl.col("buckets") >= _BUCKETS)
    )
    current = seen.filter("current").group_by(key).agg(pl.col("value").mean(), n=pl.len())
    return (
        current.filter(pl.col("n") >= _NOW)
        .join(reference, on=key)
        .select(
            *key,
            surprise=(pl.col("value") - pl.col("reference")) / (pl.col("spread") + _RELATIVE),
            reference=pl.col("reference").exp(),
            value=pl.col("value").exp(),
        )
    )


def _shared(scored: pl.DataFrame) -> pl.DataFrame:
    """Who waits longer for everybody it calls has a trouble of its own: the median is the caller's, the rest stays."""
    waits = scored.filter(pl.col("caller") != "")
    common = (
        waits.group_by("caller")
        .agg(common=pl.col("surprise").median().clip(lower_bound=0), called=pl.col("agent").n_unique())
        .filter(pl.col("called") >= _CALLED)
    )
    own = scored.join(common, on="caller", how="left").with_columns(
        surprise=pl.col("surprise") - pl.col("common").fill_null(0)
    )
    callers = common.select(
        agent="caller",
        signal=pl.lit("waits for all it calls"),
        surprise="common",
        reference=pl.lit(None, pl.Float64),
        value=pl.lit(None, pl.Float64),
    )
    return pl.concat([own.select(callers.columns), callers])


def _rate_surprise(rates: pl.DataFrame) -> pl.DataFrame:
    """Share of the current window against the reference's, one success and one failure added to the latter."""
    sums = rates.group_by(*_SIGNAL, "current").agg(pl.col("trials", "hits").sum())
    before = sums.filter(~pl.col("current")).select(
        *_SIGNAL, reference=(pl.col("hits") + 1) / (pl.col("trials") + 2), known="trials"
    )
    noise = (pl.col("reference") * (1 - pl.col("reference")) / pl.col("trials")).sqrt()
    return (
        sums.filter(pl.col("current") & (pl.col("trials") > 0))
        .join(before.filter(pl.col("known") >= _BUCKETS), on=_SIGNAL)
        .with_columns(value=pl.col("hits") / pl.col("trials"))
        .select(
            *_SIGNAL,
            surprise=(pl.col("value") - pl.col("reference")) / (noise + _ABSOLUTE),
            reference="reference",
            value="value",
        )
    )


def own_time(runs: pl.DataFrame) -> pl.DataFrame:
    """`runs` with `own_ns`: the time of each run in which none of its direct children was at work."""
    end = pl.col("ended_at").dt.epoch("ns")
    start = pl.col("started_at").dt.epoch("ns")
    parents = runs.select(parent_run_id="run_id", low=start, high=end)
    busy = (
        runs.select("run_id", "parent_run_id", start=start, end=end)
        .join(parents, on="parent_run_id")
        .with_columns(start=pl.max_horizontal("start", "low"), end=pl.min_horizontal("end", "high"))
        .filter(pl.col("start") < pl.col("end"))
        .sort("parent_run_id", "start", "end")
        .with_columns(covered=pl.col("end").cum_max().shift(1).over("parent_run_id"))
        .with_columns(length=(pl.col("end") - pl.max_horizontal("start", "covered")).clip(lower_bound=0))
        .group_by(run_id="parent_run_id")
        .agg(busy=pl.col("length").sum())
    )
    return (
        runs.join(busy, on="run_id", how="left")
        .with_columns(own_ns=end - start - pl.col("busy").fill_null(0))
        .drop("busy")
    )


def endings(runs: pl.DataFrame) -> pl.DataFrame:
    """Per run the last of its children to end: `run_id, agent, name, last_agent, last_name`.

    Work that ends more often than usual right after an agent was probably ended by it. A run without children ends
    after itself, if runs of its `name` ever have children. `name` tells kinds of runs of one agent apart.
    """
    named = runs if "name" in runs.columns else runs.with_columns(name="agent")
    last = (
        named.sort("ended_at", "run_id")
        .group_by(run_id="parent_run_id")
        .agg(last_agent=pl.col("agent").last(), last_name=pl.col("name").last())
    )
    return (
        named.select("run_id", "agent", "name")
        .join(last, on="run_id", how="left")
        .filter(pl.col("last_name").is_not_null().any().over("agent", "name"))
        .with_columns(pl.col("last_agent").fill_null(pl.col("agent")), pl.col("last_name").fill_null("(none)"))
    )
