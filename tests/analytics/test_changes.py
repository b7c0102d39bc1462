"""Which agent changed: own signals against a reference."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maslens.analytics.changes import changed_agents, endings, own_time

TIME = pl.Datetime("ns", "UTC")
SCHEMA = {
    "agent": pl.String, "caller": pl.String, "signal": pl.String, "bucket": pl.Int64, "current": pl.Boolean,
    "value": pl.Float64,
}  # fmt: skip


def measures(now: dict[str, float], *, usual: float = 10.0, caller: str = "") -> pl.DataFrame:
    """Twenty buckets of `usual` (a tenth more in every second one), then one with what each agent takes now."""
    before = [
        (agent, caller, "own", bucket, False, usual * (1 + 0.1 * (bucket % 2)))
        for agent in now
        for bucket in range(20)
        for _ in range(3)
    ]
    after = [(agent, caller, "own", 20, True, value) for agent, value in now.items() for _ in range(3)]
    return pl.DataFrame(before + after, schema=SCHEMA, orient="row")


def ranked(table: pl.DataFrame) -> list[str]:
    return table.sort("rank")["agent"].to_list()


def test_the_agent_that_left_its_usual_range_comes_first() -> None:
    table = changed_agents(measures({"a": 10, "b": 30, "c": 11}))
    assert ranked(table)[0] == "b"
    assert table.row(0, named=True)["value"] == pytest.approx(30)


def test_surprise_by_hand() -> None:
    # ten buckets of ln 10, ten of ln 11: median ln 10 + 0.0953/2, 99th percentile ln 11
    table = changed_agents(measures({"a": 20.0}))
    half = 0.0953101798 / 2
    expected = (0.6931471806 - half) / (half / 2.326 + 0.05)
    assert table["surprise"].item() == pytest.approx(expected, rel=1e-6)


def test_who_waits_longer_for_everybody_is_the_cause_itself() -> None:
    slow = measures({"a": 30, "b": 30, "c": 30}, caller="boss")
    assert ranked(changed_agents(slow))[0] == "boss"
    assert ranked(changed_agents(measures({"a": 10, "b": 30, "c": 10}, caller="boss")))[0] == "b"


def test_a_rate_that_jumps_is_a_change_too() -> None:
    rates = pl.DataFrame(
        [("x", "e", False, 1000, 10), ("x", "e", True, 50, 30), ("y", "e", False, 1000, 500), ("y", "e", True, 50, 25)],
        schema=["agent", "signal", "current", "trials", "hits"], orient="row",
    )  # fmt: skip
    table = changed_agents(measures({"a": 10}), rates)
    assert ranked(table)[0] == "x"
    assert table.row(0, named=True)["reference"] == pytest.approx(11 / 1002)


def test_too_little_reference_says_nothing() -> None:
    few = measures({"a": 99}).filter((pl.col("bucket") < 7) | pl.col("current"))
    assert changed_agents(few).is_empty()


RUNS = pl.DataFrame(
    [("r", None, "boss", 0, 100), ("a", "r", "A", 10, 40), ("b", "r", "B", 20, 60), ("c", "b", "C", 25, 30),
     ("d", "r", "A", 90, 120)],
    schema={"run_id": pl.String, "parent_run_id": pl.String, "agent": pl.String, "started_at": TIME, "ended_at": TIME},
    orient="row",
)  # fmt: skip


def test_own_time_leaves_out_children_once_and_within_the_parent() -> None:
    assert dict(own_time(RUNS).select("run_id", "own_ns").rows()) == {"r": 40, "a": 30, "b": 35, "c": 5, "d": 30}


def test_work_ends_after_the_last_child_or_after_oneself() -> None:
    alone = RUNS.vstack(RUNS.filter(pl.col("run_id") == "b").with_columns(run_id=pl.lit("b2")))
    ended = dict(endings(alone).select("run_id", "last_name").rows())
    assert ended == {"r": "A", "b": "C", "b2": "(none)"}


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from("abcde"), st.floats(1, 1000), min_size=1), st.integers(0, 2**32 - 1))
def test_the_order_of_rows_and_the_unit_change_nothing(now: dict[str, float], seed: int) -> None:
    table = measures(now)
    expected: list[Any] = changed_agents(table)["surprise"].to_list()
    assert changed_agents(table.sample(fraction=1, shuffle=True, seed=seed))["surprise"].to_list() == pytest.approx(
        expected
    )
    assert changed_agents(table.with_columns(pl.col("value") * 1000))["surprise"].to_list() == pytest.approx(expected)
