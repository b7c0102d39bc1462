"""Who belongs together, how sure that is, and whether work goes better for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maslens.analytics.coalitions import COALITIONS, _risk_difference, _Stratum, coalitions, teams

BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)
SCHEMA = {
    "session_id": pl.String(), "started_at": pl.Datetime("ns", "UTC"), "agents": pl.List(pl.String),
    "outcome": pl.String(), "task": pl.String(),
}  # fmt: skip


def sessions(rows: Sequence[tuple[Sequence[str], str, str]]) -> pl.DataFrame:
    """(agents, outcome, task), one a minute"""
    return pl.DataFrame(
        [
            (f"s{at}", BEGIN + timedelta(minutes=at), list(agents), outcome, task)
            for at, (agents, outcome, task) in enumerate(rows)
        ],
        schema=SCHEMA,
        orient="row",
    )


def planted(seed: int, n: int = 300) -> pl.DataFrame:
    """A hub in every session; abc and def keep to themselves, xyz come by chance. abc together do better."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        group = ("abc", "def")[int(random.integers(2))]
        agents = [name for name in group if random.random() < 0.8] + [name for name in "xyz" if random.random() < 0.4]
        good = 0.9 if group == "abc" and len(set(agents) & set("abc")) >= 2 else 0.5
        rows.append((["hub", *agents], "success" if random.random() < good else "failure", "t"))
    return sessions(rows)


def test_planted_coalitions_are_found_with_their_lift() -> None:
    table = coalitions(planted(1))
    sure = table.filter(pl.col("verdict") == "coalition")
    assert sorted(sure["members"].to_list()) == [["a", "b", "c"], ["d", "e", "f"]]
    assert (sure["stability"] > 0.7).all()
    assert (sure["cohesion"] > 1.2).all()
    abc = sure.row(by_predicate=pl.col("members").list.first() == "a", named=True)
    assert abc["lift_low"] > 0
    assert abc["success_together"] > abc["success_apart"]


def test_chance_is_called_chance() -> None:
    found = 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        rows = [([name for name in "abcdefgh" if random.random() < 0.4], "success", "t") for _ in range(120)]
        found += int((coalitions(sessions(rows), draws=99)["verdict"] == "coalition").any())
    assert found <= 4  # 1 expected


def test_lift_by_hand() -> None:
    # task 1: 8 of 10 together, 5 of 10 apart; task 2: 2 of 4 together, 3 of 6 apart
    found = _risk_difference([_Stratum(10, 8, 10, 5), _Stratum(4, 2, 6, 3)])
    assert found is not None
    difference, low, high = found
    weights = 10 * 10 / 20, 4 * 6 / 10
    assert difference == pytest.approx((weights[0] * 0.3 + weights[1] * 0.0) / sum(weights))
    assert low < difference < high
    assert _risk_difference([_Stratum(10, 8, 0, 0)]) is None


def test_a_hard_task_is_not_blamed_on_the_team() -> None:
    """a and b do the hard task together, and it fails as often whoever does it."""
    random = np.random.default_rng(0)
    rows = []
    for at in range(400):
        hard = bool(random.random() < 0.5)
        both = bool(random.random() < (0.8 if hard else 0.2))
        agents = ["a", "b"] if both else [["a", "b"][at % 2], "z"]
        won = "success" if random.random() < (0.3 if hard else 0.9) else "failure"
        rows.append((agents, won, "hard" if hard else "easy"))
    table = coalitions(sessions(rows))
    row = table.filter(pl.col("members").list.contains("a") & pl.col("members").list.contains("b"))
    if row.is_empty():  # a and b meet no more often than chance has it: nobody is blamed
        return
    assert row["lift_low"][0] < 0 < row["lift_high"][0]


def test_the_best_team_of_a_task() -> None:
    rows = [(["a", "b"], "success", "t")] * 20 + [(["b", "a", "a"], "failure", "t")] * 1
    rows += [(["a", "c"], "success", "t")] * 10 + [(["a", "c"], "failure", "t")] * 20
    rows += [(["solo"], "success", "t")] * 3 + [(["a"], "unknown", "t")] * 50
    table = teams(sessions(rows))
    assert table.select("rank", "members", "sessions", "verdict").rows() == [
        (1, ["a", "b"], 21, "best"), (2, ["a", "c"], 30, ""), (3, ["solo"], 3, "too_few"),
    ]  # fmt: skip
    assert table["success"][0] == pytest.approx(20 / 21)


def test_too_few_sessions_say_nothing() -> None:
    assert coalitions(planted(1, n=39)).is_empty()
    assert coalitions(sessions([])).columns == list(COALITIONS)
    assert teams(sessions([])).is_empty()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31))
def test_order_and_duplicates_change_nothing(seed: int) -> None:
    drawn = planted(seed, n=80)
    again = pl.concat([drawn, drawn.head(9)]).sample(fraction=1, shuffle=True, seed=seed)
    table = coalitions(drawn, draws=19)
    assert coalitions(again, draws=19).equals(table)
    assert teams(again).equals(teams(drawn))
    for name in ("p_value", "q_value", "stability"):
        assert table[name].is_between(0, 1).all()
    assert (table["together"] + table["apart"] <= 80).all()
    told = table.filter(pl.col("lift").is_not_null())
    assert (told["lift_low"] <= told["lift"]).all()
    assert (told["lift"] <= told["lift_high"]).all()
