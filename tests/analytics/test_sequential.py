"""Evidence that may be looked at after every call."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maslens.analytics.sequential import (
    Floats,
    Worse,
    drift_evidence,
    first_alarm,
    p_value,
    rate_evidence,
    value_evidence,
)
from scipy import integrate

Evidence = Callable[..., Floats]


def test_rate_evidence_by_hand() -> None:
    # reference 1 of 2: the urn is Beta(1.5, 1.5), its chance of a first failure one half;
    # the bettor believes in rates between 0 and the reference's, so in the integral of the mean of (1 - p) over them
    def belief(p: float) -> float:
        return p**0.5 * (1 - p) ** 0.5

    norm, _ = integrate.quad(belief, 0, 1)
    failure, _ = integrate.quad(lambda p: belief(p) / norm * (1 - p / 2), 0, 1)
    found = rate_evidence(np.array([0.0, 1.0]), np.array([0.0]), "lower")
    assert np.exp(found[0]) == pytest.approx(failure / 0.5, rel=0.01)


def test_value_evidence_by_hand() -> None:
    # one reference value: two slots; a higher value is in the upper one, which the urn expects in one of two calls
    found = value_evidence(np.array([1.0]), np.array([2.0]), "higher")
    tilts = np.array([0.5, 1, 2, 4, 8])
    upper = np.exp(0.75 * tilts) / (np.exp(0.25 * tilts) + np.exp(0.75 * tilts))
    assert np.exp(found[0]) == pytest.approx(upper.mean() / 0.5)


def test_failures_after_a_clean_reference_alarm_within_the_least_number_of_calls() -> None:
    evidence = rate_evidence(np.ones(100), np.zeros(10), "lower")
    assert first_alarm(evidence, 0.05, least=5) == 5
    assert p_value(evidence, least=5) < 1e-6


def test_a_change_in_the_other_direction_is_no_alarm() -> None:
    random = np.random.default_rng(0)
    old, quicker = random.exponential(10, 200), random.exponential(3, 300)
    assert first_alarm(value_evidence(old, quicker, "higher"), 0.05) is None
    assert first_alarm(value_evidence(old, quicker, "lower"), 0.05) is not None
    assert first_alarm(drift_evidence(old, quicker), 0.05) is not None
    assert first_alarm(rate_evidence(np.zeros(50), np.ones(50), "lower"), 0.05) is None


def test_bets_kept_back_find_a_change_that_comes_late() -> None:
    random = np.random.default_rng(1)
    old = random.normal(size=300)
    stream = np.concatenate([random.normal(size=600), random.normal(loc=1.0, size=100)])
    at = first_alarm(value_evidence(old, stream, "higher", late=True), 0.05)
    assert at is not None
    assert 600 < at < 700


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("evidence", "draw"),
    [
        pytest.param(lambda old, new, late: rate_evidence(old, new, "lower", late=late), 0.9, id="rates, high"),
        pytest.param(lambda old, new, late: rate_evidence(old, new, "higher", late=late), 0.3, id="rates, low"),
        pytest.param(lambda old, new, late: value_evidence(old, new, "higher", late=late), None, id="values"),
        pytest.param(lambda old, new, late: drift_evidence(old, new), None, id="drift"),
    ],
)
def test_an_unchanged_stream_alarms_in_at_most_one_of_twenty(
    evidence: Evidence, draw: float | None, late: bool
) -> None:
    random = np.random.default_rng(7)
    alarms = 0
    for _ in range(300):
        drawn = random.pareto(1.5, 260) if draw is None else (random.random(260) < draw).astype(float)
        alarms += first_alarm(evidence(drawn[:60], drawn[60:], late), 0.05, least=5) is not None
    assert alarms <= 24  # 15 expected at most; more than 24 has a chance of one in a hundred even then


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=3, max_size=30), st.lists(st.floats(-100, 100), min_size=1, max_size=30))
def test_only_ranks_matter_and_the_order_of_the_reference_does_not(old: list[float], new: list[float]) -> None:
    def stretched(values: list[float]) -> Any:
        return np.arctan(np.round(values, 3)) * 1000  # monotone, and distinct values stay distinct

    plain = value_evidence(np.round(old, 3), np.round(new, 3), "higher")
    assert value_evidence(stretched(old[::-1]), stretched(new), "higher") == pytest.approx(plain)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=40), st.lists(st.booleans(), min_size=1, max_size=40))
def test_a_rates_wealth_depends_on_how_many_not_in_which_order(old: list[bool], new: list[bool]) -> None:
    reference, stream = np.array(old, float), np.array(new, float)
    assert rate_evidence(reference, stream, "lower")[-1] == pytest.approx(
        rate_evidence(reference, stream[::-1], "lower")[-1]
    )


@pytest.mark.parametrize("worse", ["higher", "lower"])
def test_over_all_orders_of_the_same_values_the_wealth_is_worth_its_stake(worse: Worse) -> None:
    orders = [np.array(order, float) for order in permutations(range(6))]
    for evidence in (lambda a, b: value_evidence(a, b, worse), lambda a, b: value_evidence(a, b, worse, late=True)):
        assert np.mean([np.exp(evidence(order[:3], order[3:])[-1]) for order in orders]) == pytest.approx(1.0)
    assert np.mean([np.exp(drift_evidence(order[:3], order[3:])[-1]) for order in orders]) == pytest.approx(1.0)
