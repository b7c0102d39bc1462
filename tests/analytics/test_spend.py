"""What money was spent for."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from maslens.analytics.cost import TOTAL
from maslens.analytics.spend import Budget, budgets_spent, parse_budgets, paths, unit_costs, waste, with_compute

NOW = datetime(2026, 3, 4, 12, tzinfo=timezone.utc)  # a Wednesday


def at(*when: int) -> datetime:
    return datetime(*when, tzinfo=timezone.utc)  # type: ignore[misc,arg-type]


def sessions(*rows: tuple[str, str, float | None]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"session_id": name, "outcome": outcome, "cost_usd": cost, "input_tokens": 90, "output_tokens": 10,
             "unpriced_calls": int(cost is None), "duration_ns": 2_000_000}
            for name, outcome, cost in rows
        ],
        schema_overrides={"cost_usd": pl.Float64},
    )  # fmt: skip


def test_successes_pay_for_failures() -> None:
    rows = {row["outcome"]: row for row in unit_costs(
        sessions(("a", "success", 1.0), ("b", "success", 3.0), ("c", "failure", 2.0), ("d", "failure", None))
    ).to_dicts()}  # fmt: skip
    success = rows["success"]
    assert (success["sessions"], success["usd_per_session"], success["share"]) == (2, 2.0, round(4 / 6, 12))
    assert (rows["failure"]["cost_usd"], rows["failure"]["unpriced_calls"], rows["failure"]["tokens"]) == (2.0, 1, 200)
    assert (rows[TOTAL]["cost_usd"], rows[TOTAL]["usd_per_success"]) == (6.0, 3.0)
    assert rows["success"]["usd_per_success"] is None


def test_without_success_no_price_of_one() -> None:
    assert unit_costs(sessions(("a", "failure", 1.0)))["usd_per_success"].to_list() == [None, None]


def test_no_sessions_no_rows() -> None:
    assert unit_costs(sessions(("a", "failure", 1.0)).clear()).is_empty()


@given(st.lists(st.tuples(st.sampled_from(["success", "failure", "partial"]), st.integers(0, 10**6)), max_size=20))
def test_outcomes_add_up_to_the_total(told: list[tuple[str, int]]) -> None:
    rows = unit_costs(
        sessions(("x", "success", 0.0), *((str(n), outcome, cost / 1e4) for n, (outcome, cost) in enumerate(told)))
    )
    parts, total = rows.filter(pl.col("outcome") != TOTAL), rows.filter(pl.col("outcome") == TOTAL)
    assert parts["cost_usd"].sum() == pytest.approx(total["cost_usd"].item())
    assert parts["sessions"].sum() == total["sessions"].item() == len(told) + 1


def test_waste_by_kind() -> None:
    calls = pl.DataFrame(
        {
            "session_id": ["a", "a", "b"], "status": ["error", "ok", "error"], "input_tokens": [10, 5, None],
            "output_tokens": [1, 1, None], "cost_usd": [0.5, 1.0, None],
        }
    )  # fmt: skip
    quality = pl.DataFrame(
        {"session_id": ["a", "b"], "rediscovery_tokens": [40, 0], "rediscovery_cost_usd": [0.25, None]}
    )
    found = waste(sessions(("a", "success", 3.0), ("b", "failure", 1.0)), calls, quality)
    rows = {row.pop("kind"): row for row in found.to_dicts()}
    assert rows["failed_sessions"] == {"sessions": 1, "times": 1, "tokens": 100, "cost_usd": 1.0, "share": 0.25}
    assert rows["failed_calls"] == {"sessions": 2, "times": 2, "tokens": 11, "cost_usd": 0.5, "share": 0.125}
    assert rows["rediscovery"] == {"sessions": 1, "times": 1, "tokens": 40, "cost_usd": 0.25, "share": 0.0625}


def test_the_dearest_path_comes_first() -> None:
    agents = pl.DataFrame({"session_id": ["a", "b", "c"], "agents": [["x", "y", "x"], ["x", "y", "x"], ["z"]]})
    found = paths(sessions(("a", "success", 1.0), ("b", "failure", 2.0), ("c", "success", 9.0)), agents).to_dicts()
    assert [(row["path"], row["sessions"], row["failed"], row["cost_usd"]) for row in found] == [
        ("z", 1, 0, 9.0),
        ("x → y → x", 2, 1, 3.0),
    ]


def test_a_long_path_is_cut_and_says_so() -> None:
    agents = pl.DataFrame({"session_id": ["a"], "agents": [[f"a{n}" for n in range(20)]]})
    (path,) = paths(sessions(("a", "success", 1.0)), agents)["path"]
    assert path.endswith("→ a11 → …")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50/day", (Budget(limit_usd=50, period="day"),)),
        ("$0.5 / hour", (Budget(limit_usd=0.5, period="hour"),)),
        (
            "agent billing bot 5/week; model gpt-4o 100/month;",
            (
                Budget(limit_usd=5, period="week", scope="agent", name="billing bot"),
                Budget(limit_usd=100, period="month", scope="model", name="gpt-4o"),
            ),
        ),
        ("", ()),
    ],
)
def test_budgets_are_read(text: str, expected: tuple[Budget, ...]) -> None:
    assert parse_budgets(text) == expected
    assert parse_budgets("; ".join(map(str, expected))) == expected


@pytest.mark.parametrize("text", ["50", "0/day", "50/year", "colour red 5/day", "agent 5/day", "-5/day"])
def test_what_is_no_budget_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is no budget: write"):
        parse_budgets(text)


@pytest.mark.parametrize(
    ("period", "begin", "end"),
    [
        ("hour", at(2026, 3, 4, 12), at(2026, 3, 4, 13)),
        ("day", at(2026, 3, 4), at(2026, 3, 5)),
        ("week", at(2026, 3, 2), at(2026, 3, 9)),
        ("month", at(2026, 3, 1), at(2026, 4, 1)),
    ],
)
def test_periods(period: str, begin: datetime, end: datetime) -> None:
    budget = Budget(limit_usd=1, period=period)
    now = NOW + timedelta(minutes=20)
    assert (budget.begin(now), budget.end(now)) == (begin, end)


def calls(*spent: tuple[float, float, str]) -> pl.DataFrame:
    """Hours before NOW, US dollars, agent."""
    return pl.DataFrame(
        [
            {"at": NOW - timedelta(hours=hours), "agent": agent, "model": "m", "provider": "p", "cost_usd": usd}
            for hours, usd, agent in spent
        ],
        schema_overrides={"at": pl.Datetime("ns", "UTC")},
    )


def spent(text: str, *told: tuple[float, float, str]) -> dict[str, Any]:
    return budgets_spent(parse_budgets(text), calls(*told), NOW).row(0, named=True)


def test_a_budget_by_hand() -> None:
    row = spent("24/day", (0.5, 3.0, "a"), (5.0, 3.0, "b"), (13.0, 100.0, "yesterday"))
    assert (row["spent_usd"], row["used"]) == (6.0, 0.25)
    assert (row["burn_1h"], row["burn_6h"]) == (3.0, 1.0)  # of 1 dollar an hour
    assert row["projected_usd"] == 6.0 + 1.0 * 12
    assert (row["exhausted_at"], row["status"]) == (None, "ok")


def test_one_that_will_not_last() -> None:
    row = spent("24/day", (0.5, 5.0, "a"), (5.0, 7.0, "a"))
    assert row["status"] == "burning"
    assert row["exhausted_at"] == NOW + timedelta(hours=6)  # 12 dollars left at 2 an hour


def test_one_that_is_spent() -> None:
    assert spent("1/day", (0.5, 5.0, "a"))["status"] == "over"


def test_a_budget_of_one_agent_counts_its_own() -> None:
    assert spent("agent b 10/day", (0.5, 5.0, "a"), (0.5, 2.0, "b"))["spent_usd"] == 2.0


def test_agents_time_costs_too_and_adds_up() -> None:
    costs = pl.DataFrame({"agent": ["a", "b", "(unattributed)", TOTAL], "cost_usd": [1.0, 2.0, 0.0, 3.0]})
    runs = pl.DataFrame({"key": ["a", "a", "idle"], "self_ns": [3600 * 10**9, 1800 * 10**9, 1800 * 10**9]})
    rows = with_compute(costs, runs, by="agent", rate=2.0)
    assert rows["agent_seconds"].to_list() == [5400.0, 0.0, 1800.0, 7200.0]
    assert rows["compute_usd"].to_list() == [3.0, 0.0, 1.0, 4.0]
    assert rows["total_usd"].to_list() == [4.0, 2.0, 1.0, 7.0]
