"""How unusual a value is given its past."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maslens.analytics.surprise import episodes, surprise


def test_a_shift_is_an_episode_and_a_calm_series_has_hardly_any() -> None:
    random = np.random.default_rng(0)
    assert len(episodes(surprise(random.normal(size=10_000)))) <= 20
    calm = random.normal(size=1500)
    calm[1200:1230] += 6
    first, last = max(episodes(surprise(calm)), key=lambda episode: episode[1] - episode[0])
    assert 1200 <= first <= 1203
    assert last <= 1245


def test_rarity_inside_the_bulk_is_counted() -> None:
    # 100 values 0..99, then 80: 20 of 100 are as high or higher, with itself 21 of 101
    values = np.append(np.arange(100.0), 80.0)
    assert surprise(values, side="higher", sustained=1, warm_up=100)[100] == pytest.approx(-np.log10(21 / 101))


def test_the_tail_of_an_exponential_is_told_right() -> None:
    random = np.random.default_rng(1)
    history = random.exponential(size=5000)
    told = [surprise(np.append(history, x), side="higher", sustained=1, warm_up=5000)[-1] for x in (6.0, 9.0)]
    assert told == pytest.approx([6 / np.log(10), 9 / np.log(10)], rel=0.35)


@pytest.mark.parametrize(
    ("unusual", "expected"),
    [
        pytest.param([], [], id="none"),
        pytest.param([5], [(5, 5)], id="one"),
        pytest.param([5, 30, 90], [(5, 30), (90, 90)], id="50 quiet values end an episode"),
    ],
)
def test_episodes(unusual: list[int], expected: list[tuple[int, int]]) -> None:
    told = np.zeros(200)
    told[unusual] = 9
    assert episodes(told) == expected


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-1000, 1000), min_size=60, max_size=150), st.integers(1, 60), st.booleans())
def test_the_future_and_the_unit_change_nothing(drawn: list[int], cut: int, mirrored: bool) -> None:
    values = np.array(drawn, float)
    told = surprise(values)
    assert np.isfinite(told).all()
    assert surprise(values[: 50 + cut]) == pytest.approx(told[: 50 + cut])
    assert surprise(values * (-2 if mirrored else 2)) == pytest.approx(told)
