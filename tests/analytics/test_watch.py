"""The watch over a real store: what it sees, keeps, shows and explains."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import polars as pl
import pytest
from maslens.analytics import frames
from maslens.analytics.metrics import Exposition
from maslens.analytics.questions import load
from maslens.analytics.questions.question import Asked
from maslens.analytics.reader import Reader
from maslens.analytics.reads import Filters
from maslens.analytics.watch import Watch
from maslens.storage import Store, open_store
from prometheus_client.parser import text_string_to_metric_families

BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def store(tmp_path: Any) -> Iterator[Store]:
    store = open_store(f"chdb://{tmp_path / 'store'}")
    store.migrate()
    yield store
    store.close()


def put_runs(
    store: Store, took_ms: Any, *, agent: str = "billing", version: str = "v1", after: int = 0, errors: Any = None
) -> None:
    n = len(took_ms)
    at = [BEGIN + timedelta(seconds=after + second) for second in range(n)]
    rows = pl.DataFrame(
        {
            "session_id": [f"{agent}{version}{after + place}" for place in range(n)], "trace_id": "t",
            "run_id": [f"{agent}{version}{after + place}" for place in range(n)], "agent": agent,
            "agent_version": version, "started_at": at, "ended_at": at,
            "duration_ns": [int(ms * 1e6) for ms in took_ms],
            "status": ["error" if failed else "ok" for failed in (errors if errors is not None else [0] * n)],
        },
        schema_overrides={"started_at": frames.TIME, "ended_at": frames.TIME, "duration_ns": pl.UInt64()},
    ).with_columns(pl.lit(1, dtype=pl.UInt64).alias("version"))  # fmt: skip
    arrow = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
    store.insert_arrow("fact_agent_runs", arrow, token=f"{agent}{version}{after}")


def asked(store: Store, filters: Filters | None = None, **options: Any) -> pl.DataFrame:
    return load("degradations").answer(Reader(store).frames, Asked(filters=filters or Filters(), options=options))


def test_a_slower_version_rings_stays_and_is_explained(store: Store) -> None:
    random = np.random.default_rng(0)
    put_runs(store, random.exponential(100, 100))
    put_runs(store, random.exponential(100, 100), agent="stock")
    watch = Watch(store)
    assert watch.look() == 0
    put_runs(store, random.exponential(300, 60), version="v2", after=100)
    assert watch.look() == 1
    row = asked(store).row(0, named=True)
    assert (row["agent"], row["version"], row["metric"], row["against"]) == ("billing", "v2", "duration_ms", "version")
    assert (row["reference"], row["verdict"], row["alarm"], row["direction"]) == ("v1", "worse", True, "higher")
    assert (row["n_ref"], row["n_now"]) == (100, 60)
    assert row["effect_low"] > 0
    assert row["q_value"] < 0.05
    rung = row["alarm_at"]
    put_runs(store, random.exponential(300, 60), version="v2", after=160)
    assert Watch(store).look() == 1  # another process goes on where this one stood
    assert asked(store)["alarm_at"][0] == rung
    parts = load("degradations").explained(asked(store).row(0, named=True), Reader(store).frames, Asked())
    over_time = [part for part in parts if part["part"] == "values over time"]
    assert sum(part["n"] for part in over_time) == 100 + 120
    assert sum(part["mean"] for part in over_time[10:]) > 2 * sum(part["mean"] for part in over_time[:9])
    assert any(part["part"] == "newest values" and part["session_id"] for part in parts)


def test_nothing_new_writes_nothing(store: Store) -> None:
    put_runs(store, np.random.default_rng(1).exponential(100, 50))
    watch = Watch(store)
    watch.look()
    before = store.rows("SELECT count() AS n, max(version) AS v FROM fact_degradations")
    watch.look()
    assert store.rows("SELECT count() AS n, max(version) AS v FROM fact_degradations") == before


def test_an_alarm_that_is_over_is_history(store: Store) -> None:
    random = np.random.default_rng(2)
    put_runs(store, random.exponential(100, 40), errors=[0] * 40)
    put_runs(store, random.exponential(100, 30), errors=[1] * 30, after=40)
    assert Watch(store).look() == 1
    put_runs(store, random.exponential(100, 60), errors=[0] * 60, after=70)
    assert Watch(store).look() == 0
    row = asked(store, show="history").row(0, named=True)
    assert (row["metric"], row["alarm"]) == ("error_rate", False)
    assert row["onset_at"] < row["alarm_at"] < row["recovered_at"]
    assert asked(store, Filters(agent="nobody"), show="history").is_empty()
    assert asked(store, Filters(since=BEGIN + timedelta(days=1))).is_empty()


def test_a_scrape_shows_it(store: Store) -> None:
    random = np.random.default_rng(0)
    put_runs(store, random.exponential(100, 100), agent='bil"ling\n')
    put_runs(store, random.exponential(400, 60), agent='bil"ling\n', version="v2", after=100)
    watch = Watch(store)
    watch.look()

    class Nothing:
        def shown(self) -> dict[str, float]:
            return {}

        def exemplars(self) -> dict[str, Any]:
            return {}

    text, _ = Exposition(Nothing(), gauges=[watch.gauges], process=False).render()
    samples = {
        (sample.name, sample.labels["metric"], sample.labels["against"]): (sample.labels["agent"], sample.value)
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if sample.name.startswith("maslens_degradation")
    }
    assert samples["maslens_degradation", "duration_ms", "version"] == ('bil"ling\n', 1.0)
    assert samples["maslens_degradation_effect", "duration_ms", "version"][1] > 0.3
    assert samples["maslens_degradation_q_value", "duration_ms", "version"][1] < 0.05
    assert samples["maslens_degradation", "error_rate", "version"][1] == 0.0


def test_scores_that_others_gave_are_watched_too(store: Store) -> None:
    random = np.random.default_rng(0)
    put_runs(store, [100.0] * 90)
    scores = [*random.normal(0.8, 0.05, 50), *random.normal(0.4, 0.05, 40)]
    rows = pl.DataFrame(
        {
            "session_id": [f"billingv1{at}" for at in range(90)], "agent": "billing", "name": "tone", "score": scores,
            "at": [BEGIN + timedelta(seconds=at) for at in range(90)],
        },
        schema_overrides={"at": frames.TIME},
    ).with_columns(pl.lit(1, dtype=pl.UInt64).alias("version"))  # fmt: skip
    store.insert_arrow("fact_evaluations", rows.to_arrow(compat_level=pl.CompatLevel.oldest()), token="scores")
    assert Watch(store).look() == 1
    row = asked(store).row(0, named=True)
    assert (row["metric"], row["direction"]) == ("evaluation:tone", "lower")
    assert abs((row["onset_at"] - BEGIN).total_seconds() - 50) <= 3
    parts = load("degradations").explained(row, Reader(store).frames, Asked())
    assert any(part["part"] == "newest values" and part["value"] < 0.6 for part in parts)


def test_an_empty_store_has_nothing_to_look_at(store: Store) -> None:
    assert Watch(store).look() == 0
    assert asked(store).is_empty()
