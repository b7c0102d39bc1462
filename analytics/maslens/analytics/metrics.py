"""/metrics: running totals and the state of maslens itself, in Prometheus' and OpenMetrics' text formats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Protocol

import polars as pl
from maslens.analytics.totals import BUCKETS, FAMILIES, FactFrames, Family, observed_series, parse
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar


class Numbers(Protocol):
    """What a running sidecar shows of itself."""

    def shown(self) -> Mapping[str, float]:
        """Counters by series; a copy, or a mapping that nobody changes."""

    def exemplars(self) -> Mapping[str, Exemplar]:
        """The newest trace behind a series."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Another part of maslens that counts: `snapshot` gives a dataclass or a mapping of numbers, taken at each scrape.

    A number whose name ends in `_total` is a counter, others are gauges. A mapping in a number's place is one series
    per key, labelled `kind`; a mapping of mappings is labelled `signal`, `kind`. Anything else is left out.
    """

    prefix: str
    snapshot: Callable[[], object]
    help: Mapping[str, str] = field(default_factory=dict)


class Exposition:
    """Answers a scrape. Cheap enough for every few seconds: nothing is queried, only memory is read."""

    def __init__(
        self,
        numbers: Numbers,
        parts: Sequence[Part] = (),
        *,
        gauges: Sequence[Callable[[], Iterable[Metric]]] = (),
        process: bool = True,
    ) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Totals(numbers))
        self._registry.register(_Parts(parts))
        self._registry.register(_Gauges(gauges))
        if process:
            ProcessCollector(registry=self._registry)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The text and its content type, OpenMetrics (with exemplars) where the scraper asks for it."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class _Totals(Collector):
    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        self._parsed: dict[str, tuple[str, dict[str, str]]] = {}

    def collect(self) -> Iterator[Metric]:
        shown, exemplars = self._numbers.shown(), self._numbers.exemplars()
        by_family: dict[str, list[tuple[dict[str, str], float, Exemplar | None]]] = {name: [] for name in FAMILIES}
        for series, value in shown.items():
            name, labels = self._parse(series)
            if name in by_family:
                by_family[name].append((labels, value, exemplars.get(series)))
        for family in FAMILIES.values():
            yield (_histogram if family.kind == "histogram" else _counter)(family, by_family[family.name])

    def _parse(self, series: str) -> tuple[str, dict[str, str]]:
        known = self._parsed.get(series)
        if known is None:
            known = self._parsed[series] = parse(series)
        return known


Samples = Iterable[tuple[dict[str, str], float, "Exemplar | None"]]


def _counter(family: Family, samples: Samples) -> Metric:
    metric = CounterMetricFamily(family.name, family.help, labels=family.labels)
    for labels, value, exemplar in samples:
        metric.add_metric([labels.get(label, "") for label in family.labels], value, exemplar=exemplar)
    if not family.labels and not metric.samples:
        metric.add_metric([], 0.0)
    return metric


def _histogram(family: Family, samples: Samples) -> Metric:
    metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    bins: dict[tuple[str, ...], dict[str, tuple[float, Exemplar | None]]] = {}
    for labels, value, exemplar in samples:
        key = tuple(labels.get(label, "") for label in family.labels)
        bins.setdefault(key, {})[labels["le"]] = (value, exemplar)
    for key, filled in bins.items():
        buckets: list[Any] = []
        cumulative = 0.0
        for bound in [*(f"{bound:g}" for bound in BUCKETS), "+Inf"]:
            count, exemplar = filled.get(bound, (0.0, None))
            cumulative += count
            le = bound if bound == "+Inf" else str(float(bound))
            buckets.append((le, cumulative) if exemplar is None else (le, cumulative, exemplar))
        metric.add_metric(list(key), buckets, filled.get("sum", (0.0, None))[0])
    return metric


class _Parts(Collector):
    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        for part in self._parts:
            for name, value in _numbers(part.snapshot()):
                yield from _family(f"{part.prefix}_{name}", value, part.help.get(name, name.replace("_", " ") + "."))


class _Gauges(Collector):
    """What others have made ready to be shown."""

    def __init__(self, gauges: Sequence[Callable[[], Iterable[Metric]]]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        for gauges in self._gauges:
            yield from gauges()


def _numbers(snapshot: object) -> Iterator[tuple[str, object]]:
    if is_dataclass(snapshot):
        for each in fields(snapshot):
            yield each.name, getattr(snapshot, each.name)
    elif isinstance(snapshot, Mapping):
        yield from snapshot.items()


def _family(name: str, value: object, text: str) -> Iterator[Metric]:
    flat = list(_flat(value, ()))
    if not flat:
        return
    labels = {0: (), 1: ("kind",), 2: ("signal", "kind")}.get(len(flat[0][0]))
    if labels is None or any(len(path) != len(labels) for path, _ in flat):
        return
    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    metric = kind(name, text, labels=labels)
    for path, number in flat:
        metric.add_metric(path, number)
    yield metric


def _flat(value: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], float]]:
    if isinstance(value, (int, float)):
        yield path, float(value)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, (*path, str(key)))


def exemplars(facts: FactFrames, *, seconds_since_epoch: float) -> dict[str, Exemplar]:
    """The last trace in every bin of how long agents ran, so that a slow bucket leads to a slow trace."""
    runs = facts.agent_runs.filter(pl.col("trace_id") != "")
    if runs.is_empty():
        return {}
    seen = runs.select(
        observed_series("maslens_agent_run_duration_seconds").alias("series"),
        "trace_id",
        (pl.col("duration_ns") / 1e9).alias("seconds"),
    )
    last = seen.group_by("series").last()
    return {
        series: Exemplar({"trace_id": trace_id[:64]}, seconds, seconds_since_epoch)
        for series, trace_id, seconds in last.iter_rows()
    }
