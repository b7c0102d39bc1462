"""Running totals behind /metrics: what each session contributes, and counters that never step back.

A session is recomputed whenever spans arrive for it, so a counter cannot just add: it adds what the session
contributes now and takes off what it contributed before. Where that takes off more than it adds (an agent's name
became known, an edge got better evidence) the exact total goes down while the counter stands still until the total has
caught up: `net` is exact, `shown` is the highest it ever was. Sums over label sets stay right because whatever leaves
one series arrives in another, and `maslens_corrections_total` says how much moved.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import polars as pl
from maslens.analytics.frames import UNATTRIBUTED

# Agents work for seconds to half an hour; web buckets end where agents begin.
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800)
OVERFLOW = "__overflow__"
LABEL_LENGTH = 120  # of a label value that comes from a span; what is longer is cut


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One metric. `free` labels take values from spans, so they are what a limit on series has to bound."""

    name: str
    help: str
    free: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    kind: Literal["counter", "histogram"] = "counter"

    @property
    def labels(self) -> tuple[str, ...]:
        return self.free + self.fixed


FAMILIES = {
    family.name: family
    for family in (
        Family(name="maslens_agent_runs", help="Agent runs.", free=("agent", "agent_version"), fixed=("status",)),
        Family(
            name="maslens_agent_run_duration_seconds",
            help="How long agent runs took, waiting for others included.",
            free=("agent",),
            kind="histogram",
        ),
        Family(name="maslens_agent_errors", help="Errors of agents.", free=("agent", "error_type")),
        Family(name="maslens_agent_llm_calls", help="Model calls.", free=("agent", "model"), fixed=("status",)),
        Family(name="maslens_agent_tool_calls", help="Tool calls.", free=("agent", "tool"), fixed=("status",)),
        Family(
            name="maslens_agent_tokens",
            help="Tokens of model calls; input counts cached ones, output counts reasoning.",
            free=("agent", "model"),
            fixed=("type",),
        ),
        Family(name="maslens_agent_cached_tokens", help="Input tokens read from a cache.", free=("agent", "model")),
        Family(name="maslens_agent_reasoning_tokens", help="Output tokens of reasoning.", free=("agent", "model")),
        Family(name="maslens_agent_cost_usd", help="Cost of model calls in US dollars.", free=("agent", "model")),
        Family(
            name="maslens_agent_unpriced_calls",
            help="Model calls that no price is known for.",
            free=("agent", "model"),
            fixed=("reason",),
        ),
        Family(
            name="maslens_agent_critical_path_seconds",
            help="Own time of agents on the critical path of their sessions.",
            free=("agent",),
        ),
        Family(
            name="maslens_agent_waiting_seconds",
            help="Time on the critical path in which a session waited for a run of the agent to begin.",
            free=("agent",),
        ),
        Family(
            name="maslens_handoffs",
            help="Handoffs between agents.",
            free=("source", "target"),
            fixed=("mode", "evidence", "outcome"),
        ),
        Family(
            name="maslens_service_graph_request",
            help="Handoffs that led to a run or to a person, as a service graph has them.",
            free=("client", "server"),
            fixed=("connection_type",),
        ),
        Family(
            name="maslens_service_graph_request_failed",
            help="Handoffs that led to a run that failed.",
            free=("client", "server"),
            fixed=("connection_type",),
        ),
        Family(
            name="maslens_service_graph_request_server_seconds",
            help="How long the runs took that handoffs led to.",
            free=("client", "server"),
            fixed=("connection_type",),
            kind="histogram",
        ),
        Family(
            name="maslens_service_graph_unpaired_spans",
            help="Handoffs to an agent of which no run was seen.",
            free=("client", "server"),
        ),
        Family(
            name="maslens_agent_evaluations",
            help="Evaluation results and feedback about agents; no agent where a whole session was judged.",
            free=("agent", "evaluation", "label"),
            fixed=("evaluator_type",),
        ),
        Family(
            name="maslens_agent_evaluation_scored",
            help="Evaluation results that gave a score, which maslens_agent_evaluation_score_sum adds up.",
            free=("agent", "evaluation"),
            fixed=("evaluator_type",),
        ),
        Family(
            name="maslens_agent_evaluation_score_sum",
            help="Sum of the scores that are not negative; divided by maslens_agent_evaluation_scored their mean.",
            free=("agent", "evaluation"),
            fixed=("evaluator_type",),
        ),
        Family(name="maslens_sessions", help="Sessions that came to rest.", fixed=("outcome",)),
        Family(name="maslens_duplicate_spans", help="Spans stored more than once and counted once."),
        Family(name="maslens_late_spans", help="Spans of sessions that had already come to rest."),
        Family(name="maslens_processed_spans", help="Spans that facts were made of."),
        Family(name="maslens_corrections", help="How much a total moved from one series to another.", free=("metric",)),
    )
}


class FactFrames(Protocol):
    """The facts of whole sessions."""

    @property
    def sessions(self) -> pl.DataFrame: ...
    @property
    def agent_runs(self) -> pl.DataFrame: ...
    @property
    def handoffs(self) -> pl.DataFrame: ...
    @property
    def llm_calls(self) -> pl.DataFrame: ...
    @property
    def tool_calls(self) -> pl.DataFrame: ...
    @property
    def evaluations(self) -> pl.DataFrame: ...
    @property
    def agent_errors(self) -> pl.DataFrame: ...
    @property
    def handoff_quality(self) -> pl.DataFrame: ...
    @property
    def suspects(self) -> pl.DataFrame: ...
    @property
    def context_drift(self) -> pl.DataFrame: ...
    @property
    def bottlenecks(self) -> pl.DataFrame: ...
    @property
    def coordination(self) -> pl.DataFrame: ...


def contributions(facts: FactFrames, *, unsettled: Collection[str] = (), final: Collection[str] = ()) -> pl.DataFrame:
    """What each session adds to each series: `session_id, series, value`.

    unsettled: sessions whose spans have not all arrived. What their spans do not say themselves (an agent read off a
    parent still to come, an inferred edge) would change, so it waits. final: sessions that came to rest.
    """
    waits = pl.col("session_id").is_in(list(unsettled))
    told = ~waits | ~pl.col("agent").is_in(["", UNATTRIBUTED])
    runs, calls = facts.agent_runs.lazy().filter(told), facts.llm_calls.lazy().filter(told)
    tools, errors = facts.tool_calls.lazy().filter(told), facts.agent_errors.lazy().filter(told)
    edges = facts.handoffs.lazy().filter(~waits | pl.col("evidence").is_in(["explicit", "tool_name", "message"]))
    paired = _paired(edges, facts.agent_runs.lazy())
    led, unpaired = paired.filter(pl.col("_paired")), paired.filter(~pl.col("_paired"))
    unpriced = calls.filter(pl.col("cost_usd").is_null()).with_columns(pl.col("unpriced_reason").alias("reason"))
    label = pl.when(pl.col("label") == "").then(pl.lit("(none)")).otherwise(pl.col("label"))
    judged = facts.evaluations.lazy().with_columns(pl.col("name").alias("evaluation"), label.alias("label"))
    scored = judged.filter(pl.col("score") >= 0)  # a counter only grows
    sessions = facts.sessions.lazy()
    path = facts.bottlenecks.lazy().filter(~waits)  # a running session's critical path may still turn elsewhere
    resting = sessions.filter(pl.col("session_id").is_in(list(final)))
    parts = [
        _counted("maslens_agent_runs", runs),
        _observed("maslens_agent_run_duration_seconds", runs),
        _counted("maslens_agent_errors", errors),
        _counted("maslens_agent_llm_calls", calls),
        _counted("maslens_agent_tool_calls", tools),
        _counted("maslens_agent_tokens", calls, "input_tokens", type=pl.lit("input")),
        _counted("maslens_agent_tokens", calls, "output_tokens", type=pl.lit("output")),
        _counted("maslens_agent_cached_tokens", calls, "cached_tokens"),
        _counted("maslens_agent_reasoning_tokens", calls, "reasoning_tokens"),
        _counted("maslens_agent_cost_usd", calls, "cost_usd"),
        _counted("maslens_agent_unpriced_calls", unpriced),
        _counted("maslens_agent_critical_path_seconds", path.with_columns(s=pl.col("critical_ns") / 1e9), "s"),
        _counted("maslens_agent_waiting_seconds", path.with_columns(s=pl.col("waiting_ns") / 1e9), "s"),
        _counted("maslens_handoffs", edges),
        _counted("maslens_service_graph_request", led),
        _counted("maslens_service_graph_request_failed", led.filter(pl.col("_failed"))),
        _observed("maslens_service_graph_request_server_seconds", led.filter(pl.col("duration_ns").is_not_null())),
        _counted("maslens_service_graph_unpaired_spans", unpaired),
        _counted("maslens_agent_evaluations", judged),
        _counted("maslens_agent_evaluation_scored", scored),
        _counted("maslens_agent_evaluation_score_sum", scored, "score"),
        _counted("maslens_sessions", resting),
        _counted("maslens_duplicate_spans", sessions, "duplicate_spans"),
    ]
    added = pl.concat(parts).group_by("session_id", "series").agg(pl.col("value").sum()).filter(pl.col("value") != 0)
    return added.collect()


def _paired(edges: pl.LazyFrame, runs: pl.LazyFrame) -> pl.LazyFrame:
    """`edges` with client, server and the run each led to."""
    target = runs.select("session_id", pl.col("run_id").alias("target_run_id"), "duration_ns", "status").unique(
        ["session_id", "target_run_id"], keep="first"
    )
    return edges.join(target, on=["session_id", "target_run_id"], how="left").with_columns(
        pl.col("source").alias("client"),
        pl.col("target").alias("server"),
        (pl.col("duration_ns").is_not_null() | (pl.col("connection_type") == "virtual_node")).alias("_paired"),
        (pl.col("status") == "error").fill_null(False).alias("_failed"),
    )


def _counted(name: str, rows: pl.LazyFrame, value: str | None = None, **labels: pl.Expr) -> pl.LazyFrame:
    amount = pl.lit(1.0) if value is None else pl.col(value).cast(pl.Float64).fill_null(0.0)
    return rows.select("session_id", _series(name, labels).alias("series"), amount.alias("value"))


def _observed(name: str, rows: pl.LazyFrame) -> pl.LazyFrame:
    """The bins of a histogram (not added up: exposition does that) and its sum, each a series of its own."""
    binned = rows.select("session_id", observed_series(name).alias("series"), pl.lit(1.0).alias("value"))
    return pl.concat([binned, _counted(name, rows.with_columns(_SECONDS.alias("_s")), "_s", le=pl.lit("sum"))])


def observed_series(name: str) -> pl.Expr:
    """The bin that a row's duration falls in: that of the lowest bound it does not exceed."""
    exceeded = pl.sum_horizontal(*(bound < _SECONDS for bound in BUCKETS))
    bins = dict(enumerate([*(f"{bound:g}" for bound in BUCKETS), "+Inf"]))
    return _series(name, {"le": exceeded.replace_strict(bins, return_dtype=pl.String)})


_SECONDS = pl.col("duration_ns").cast(pl.Float64) / 1e9


def _series(name: str, also: Mapping[str, pl.Expr]) -> pl.Expr:
    """The text that stands for one series: the metric's name and its labels as JSON."""
    family = FAMILIES[name]
    labels = [also.get(label, pl.col(label)).cast(pl.String).fill_null("").alias(label) for label in family.fixed]
    for label in family.free:
        value = pl.col(label).cast(pl.String).fill_null("").str.slice(0, LABEL_LENGTH)
        blank = "" if label in ("agent_version", "error_type") else UNATTRIBUTED
        labels.append(pl.when(value == "").then(pl.lit(blank)).otherwise(value).alias(label))
    labels.extend(value.alias(label) for label, value in also.items() if label not in family.labels)
    if not labels:
        return pl.lit(name + "{}")
    return pl.concat_str(pl.lit(name), pl.struct(labels).struct.json_encode())


def parse(series: str) -> tuple[str, dict[str, str]]:
    name, _, labels = series.partition("{")
    return name, json.loads("{" + labels)


def series_of(name: str, **labels: str) -> str:
    return name + json.dumps(labels, ensure_ascii=False, separators=(",", ":"))


@dataclass(slots=True)
class Totals:
    """`net`: what the facts add up to. `shown`: what counters say, which never goes down.

    limit: label sets a metric may have; further ones are counted together under `__overflow__`.
    """

    limit: int = 2_000
    net: dict[str, float] = field(default_factory=dict)
    shown: dict[str, float] = field(default_factory=dict)
    limited: dict[str, int] = field(default_factory=dict)  # metric → label sets that found no place, since the start
    _sets: dict[str, set[str]] = field(default_factory=dict)

    def restore(self, rows: Iterable[tuple[str, float, float]]) -> None:
        for series, net, shown in rows:
            self.net[series], self.shown[series] = net, shown
            self._admit(series)

    def bounded(self, contributed: pl.DataFrame) -> pl.DataFrame:
        """`contributed` with series that would exceed their metric's limit folded into its overflow series."""
        moved = {
            series: _overflow(series)
            for series in contributed["series"].unique().sort()
            if series not in self.net and not self._admit(series)
        }
        if not moved:
            return contributed
        named = contributed.with_columns(pl.col("series").replace(moved))
        return named.group_by("session_id", "series").agg(pl.col("value").sum())

    def _admit(self, series: str) -> bool:
        name, labels = parse(series)
        family = FAMILIES.get(name)
        if family is None or not family.free or labels.get(family.free[0]) == OVERFLOW:
            return True
        known = self._sets.setdefault(name, set())
        labels.pop("le", None)
        label_set = json.dumps(labels)
        if label_set in known:
            return True
        if len(known) >= self.limit:
            self.limited[name] = self.limited.get(name, 0) + 1
            return False
        known.add(label_set)
        return True

    def moved(
        self, before: pl.DataFrame, after: pl.DataFrame, also: Mapping[str, float] | None = None
    ) -> dict[str, tuple[float, float]]:
        """(net, shown) of every series that changes when `after` takes the place of `before`; nothing is applied yet.

        also: amounts to add on top, by series.
        """
        deltas = pl.concat([after.select("series", "value"), before.select("series", -pl.col("value"))])
        summed = dict(deltas.group_by("series").agg(pl.col("value").sum()).sort("series").iter_rows())
        for series, amount in (also or {}).items():
            summed[series] = summed.get(series, 0.0) + amount
        corrected: dict[str, float] = {}
        for series, delta in summed.items():
            if delta < -_NOTHING:
                name = series.partition("{")[0]
                corrected[name] = corrected.get(name, 0.0) - delta
        for name, amount in corrected.items():
            summed[series_of("maslens_corrections", metric=name)] = amount
        changed = {}
        for series, delta in summed.items():
            if abs(delta) > _NOTHING:
                net = round(self.net.get(series, 0.0) + delta, 12)
                changed[series] = (net, max(self.shown.get(series, 0.0), net))
        return changed

    def apply(self, changed: Mapping[str, tuple[float, float]]) -> None:
        for series, (net, shown) in changed.items():
            if series not in self.net:
                self._admit(series)
            self.net[series], self.shown[series] = net, shown


_NOTHING = 1e-13  # smaller differences are what is left of adding and taking off the same floats


def _overflow(series: str) -> str:
    name, labels = parse(series)
    return series_of(name, **{label: OVERFLOW if label in FAMILIES[name].free else v for label, v in labels.items()})
