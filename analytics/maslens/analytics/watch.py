"""The watch: looks every now and then whether an agent got worse, keeps what it saw, and shows it to Prometheus.

A look reads what is known of every series, then the calls since the reference of each began, and writes the rows that
changed. It rests twenty times as long as it took, so that it costs a twentieth of a core at most.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast
from uuid import uuid4

import polars as pl
from maslens.analytics.degradation import DEGRADATION, MOST, SERIES, degradations, observations
from maslens.storage import Store
from maslens.storage.errors import StoreError
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

log = logging.getLogger(__name__)

READ = 2 * MOST + 100  # runs of an agent's version at once: a reference, a stream, and what comes next
ROUNDS = 8  # of reading in one look, where there is more than that
_REST = 20
_MOST_SERIES = 2_000  # shown to Prometheus, alarms first
_NEVER = -(2**63)


@dataclass(slots=True)
class WatchStatus:
    """What /metrics says of the watch itself."""

    looks_total: int = 0
    failures_total: int = 0
    look_seconds_total: float = 0.0
    series: int = 0
    alarms: int = 0


class Watch:
    """`look` looks once; `start` does so in a thread until `stop`. revision: changes when there are new facts."""

    def __init__(
        self,
        store: Store,
        *,
        interval_s: float = 30.0,
        revision: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.status = WatchStatus()
        self._store = store
        self._interval_s = interval_s
        self._revision = revision
        self._clock = clock
        self._name = uuid4().hex
        self._version = 0
        self._live: list[dict[str, Any]] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="maslens-watch", daemon=True)
        self._thread.start()

    def stop(self, *, within_s: float = 30.0) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=within_s)

    def _run(self) -> None:
        seen, rest = None, min(self._interval_s, 5.0)
        while not self._stop.wait(rest):
            revision = self._revision()
            if revision == seen:
                rest = self._interval_s
                continue
            began = time.perf_counter()
            try:
                self.look()
                seen = revision
            except Exception as error:
                self.status.failures_total += 1
                level = logging.WARNING if isinstance(error, StoreError) else logging.ERROR
                log.log(
                    level, "degradations could not be judged: %s", error, exc_info=not isinstance(error, StoreError)
                )
            rest = max(self._interval_s, _REST * (time.perf_counter() - began))

    def look(self) -> int:
        """Judge every series by all calls there are; returns how many alarms there are now."""
        began = time.perf_counter()
        for _ in range(ROUNDS):
            if not self._round():
                break
        self.status.looks_total += 1
        self.status.look_seconds_total += time.perf_counter() - began
        return self.status.alarms

    def _round(self) -> bool:
        """True if there may be more to read."""
        known = self._known()
        runs = self._runs(known)
        if runs.is_empty() and known.is_empty():
            return False
        told = (self._sessions, self._quality, self._evaluations) if runs.height else ()
        watched = observations(runs, *(read(runs) for read in told))
        found = degradations(watched, known=known)
        self._write(found, known)
        live = found.filter(~pl.col("closed"))
        self._live = live.to_dicts()
        self.status.series, self.status.alarms = live.height, int(live["alarm"].sum())
        most: Any = runs.group_by("agent", "agent_version").len()["len"].max()
        return bool((most or 0) >= READ and found["closed"].any())

    # --- what there is -----------------------------------------------------------------------------------------------

    def _frame(self, sql: str, params: Mapping[str, object] | None = None) -> pl.DataFrame:
        return cast(pl.DataFrame, pl.from_arrow(self._store.arrow(sql, params or {})))

    def _known(self) -> pl.DataFrame:
        rows = self._frame("SELECT * FROM degradations").rename({"agent_version": "version"})
        return rows.select(pl.col(name).cast(dtype) for name, dtype in DEGRADATION.items())

    def _runs(self, known: pl.DataFrame) -> pl.DataFrame:
        """Of versions that are watched the runs since their references began, of new ones the newest."""
        begins = _begins(known)
        over = {(row["agent"], row["version"]) for row in known.iter_rows(named=True)} - begins.keys()
        return self._frame(
            f"""
WITH concat(r.agent, '\\n', r.agent_version) AS key, toUnixTimestamp64Nano(r.ended_at) AS ended
SELECT session_id, run_id, agent, agent_version, ended_at, duration_ns, status, llm_calls, input_tokens, output_tokens,
    cost_usd
FROM agent_runs AS r
WHERE r.agent != '' AND key NOT IN {{over:Array(String)}}
    AND ended >= transform(key, {{keys:Array(String)}}, {{begins:Array(Int64)}}, toInt64({_NEVER}))
ORDER BY if(key IN {{keys:Array(String)}}, ended, -ended), session_id, run_id
LIMIT {READ:d} BY r.agent, r.agent_version""",
            {
                "keys": ["\n", *("\n".join(pair) for pair in begins)],
                "begins": [0, *begins.values()],
                "over": ["\n".join(pair) for pair in sorted(over)],
            },
        )

    def _sessions(self, runs: pl.DataFrame) -> pl.DataFrame:
        return self._frame(
            """
SELECT session_id, outcome, ended_at FROM sessions
WHERE ended_at >= {since:DateTime64(9, 'UTC')} AND outcome IN ('success', 'failure', 'partial')""",
            {"since": runs["ended_at"].min()},
        )

    def _quality(self, runs: pl.DataFrame) -> pl.DataFrame:
        return self._frame(
            """
SELECT session_id, source, at, score FROM handoff_quality
WHERE at >= {since:DateTime64(9, 'UTC')} AND score IS NOT NULL""",
            {"since": runs["ended_at"].min()},
        )

    def _evaluations(self, runs: pl.DataFrame) -> pl.DataFrame:
        return self._frame(
            """
SELECT session_id, agent, name, at, score FROM evaluations
WHERE at >= {since:DateTime64(9, 'UTC')} AND score IS NOT NULL AND agent != ''""",
            {"since": runs["ended_at"].min()},
        )

    # --- what came of it ---------------------------------------------------------------------------------------------

    def _write(self, found: pl.DataFrame, known: pl.DataFrame) -> None:
        """Only what changed, time apart."""
        changed = found.join(known, on=found.columns, how="anti", nulls_equal=True)
        if changed.is_empty():
            return
        version = self._version = max(int(self._clock() * 1e9), self._version + 1)
        rows = changed.rename({"version": "agent_version"}).with_columns(
            pl.lit(version, dtype=pl.UInt64).alias("version"), pl.lit(0, dtype=pl.UInt8).alias("is_deleted")
        )
        arrow = rows.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
        self._store.insert_arrow("fact_degradations", arrow, token=f"{self._name}:{version}:degradations")

    def gauges(self) -> Iterable[Metric]:
        """For a scrape: what is known of every series now, whatever series there are."""
        labels = ["agent", "agent_version", "metric", "against"]
        rings = GaugeMetricFamily("maslens_degradation", "1 while an agent is worse than its reference.", labels=labels)
        effect = GaugeMetricFamily(
            "maslens_degradation_effect",
            "How much worse or better: difference of rates, or Cliff's delta.",
            labels=labels,
        )
        q_value = GaugeMetricFamily(
            "maslens_degradation_q_value", "Benjamini-Hochberg over all series; an alarm is below 0.05.", labels=labels
        )
        judged = (row for row in self._live if row["q_value"] is not None)
        for row in sorted(judged, key=lambda row: (not row["alarm"], row["q_value"]))[:_MOST_SERIES]:
            names = [str(row[name])[:120] for name in SERIES]
            for family, value in ((rings, row["alarm"]), (effect, row["effect"]), (q_value, row["q_value"])):
                if value is not None:
                    family.add_metric(names, float(value))
        return [rings, effect, q_value]


def _begins(known: pl.DataFrame) -> dict[tuple[str, str], int]:
    """Per agent and version that is still watched, from when on its calls are needed, in nanoseconds."""
    begins: dict[tuple[str, str], int] = {}

    def need(agent: str, version: str, at: int | None) -> None:
        key = (agent, version)
        begins[key] = min(begins.get(key, 2**62), _NEVER if at is None else at)

    open_ = known.filter(~pl.col("closed")).with_columns(pl.col("reference_from", "stream_from").dt.epoch("ns"))
    for row in open_.iter_rows(named=True):
        if row["against"] == "time":
            need(row["agent"], row["version"], row["reference_from"])
        elif row["n_now"] < MOST:
            need(row["agent"], row["version"], row["stream_from"])
            need(row["agent"], row["reference"], row["reference_from"])
    return begins
