"""Where a series changed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maslens.analytics.changepoints import changepoints, onset


def noise(length: int, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.random.default_rng(seed).normal(size=length)


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        pytest.param(np.r_[noise(60), noise(60, 1) + 5], [60], id="a step"),
        pytest.param(np.r_[np.arange(60.0), 60 - np.arange(60.0)] + noise(120) / 5, [60], id="a turn"),
        pytest.param(np.arange(100.0) / 10 + noise(100), [], id="a trend alone is one regime"),
        pytest.param(np.full(50, 3.0), [], id="constant"),
        pytest.param(noise(4), [], id="too short"),
        pytest.param(np.r_[np.full(30, np.nan), noise(30), noise(60, 1) + 9], [60], id="gaps are bridged"),
    ],
)
def test_changepoints(series: np.ndarray[tuple[int], np.dtype[np.float64]], expected: list[int]) -> None:
    found = changepoints(series)
    assert len(found) == len(expected)
    assert all(abs(a - b) <= 1 for a, b in zip(found, expected, strict=True))


def test_a_change_in_one_of_two_dimensions_is_a_change() -> None:
    both = np.column_stack([noise(120), np.r_[noise(60, 1), noise(60, 2) + 6]])
    assert changepoints(both) == [60]


def test_a_long_series_is_searched_at_every_250th_part() -> None:
    found = changepoints(np.r_[noise(1000), noise(1000, 1) + 3])
    assert len(found) == 1
    assert abs(found[0] - 1000) <= 8


def test_onset_is_where_the_level_changed_whatever_the_outliers() -> None:
    values = np.r_[noise(50), noise(30, 1) + 4]
    values[10] = 1e9
    assert abs(onset(values) - 50) <= 5
    assert onset(np.arange(3.0)) == 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=6, max_size=60), st.floats(0.1, 100), st.floats(-50, 50))
def test_unit_and_origin_change_nothing(drawn: list[float], unit: float, origin: float) -> None:
    series = np.round(np.array(drawn), 2)
    assert changepoints(series * unit + origin) == changepoints(series)
