"""When new spans are looked for next, as the loader is told."""

from __future__ import annotations

import pytest
from maslens.analytics.schedule import Schedule

from tests.analytics.test_sidecar import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def schedule(clock: Clock) -> Schedule:
    """One that has learned that a step takes a second, and has just looked again."""
    schedule = Schedule(clock)
    for _ in range(40):
        schedule.look()
        clock.now += 1.0
        schedule.ready(busy=True)
    schedule.look()
    return schedule


@pytest.mark.parametrize(
    ("passed", "after", "news", "expected"),
    [
        pytest.param(0.0, 0.3, False, 1.0, id="the next look"),
        pytest.param(0.6, 0.3, True, 0.4, id="what is there already changes nothing"),
        pytest.param(0.72, 0.3, False, 0.28, id="a little late is in time"),
        pytest.param(0.9, 0.3, False, 1.1, id="too late: the look after that"),
        pytest.param(1.5, 0.3, False, 0.3, id="it takes longer than expected"),
        pytest.param(1.5, 0.3, True, 1.0, id="it takes longer, and comes to what is there"),
        pytest.param(1.5, 1.2, True, 1.2, id="never sooner than asked"),
    ],
)
def test_while_a_step_is_under_way(
    schedule: Schedule, clock: Clock, passed: float, after: float, news: bool, expected: float
) -> None:
    clock.now += passed
    assert schedule.looks_in(after, news=news) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("after", "news", "expected"),
    [
        pytest.param(0.3, False, 0.3, id="nothing to see: as soon as it is there"),
        pytest.param(0.3, True, 0.5, id="news: once it has rested"),
        pytest.param(0.8, True, 1.5, id="not in time: a step later"),
    ],
)
def test_while_it_rests(schedule: Schedule, clock: Clock, after: float, news: bool, expected: float) -> None:
    clock.now += 1.0
    schedule.ready(busy=True)
    schedule.rest(0.5)
    assert schedule.looks_in(after, news=news) == pytest.approx(expected)


def test_looks_that_find_nothing_teach_nothing(schedule: Schedule, clock: Clock) -> None:
    clock.now += 0.01
    schedule.ready(busy=False)
    schedule.look()
    assert schedule.looks_in(0.3, news=False) == pytest.approx(1.0)


def test_before_the_first_step() -> None:
    schedule = Schedule()
    assert schedule.looks_in(0.3, news=False) == 0.3
    assert schedule.looks_in(0.3, news=True) == 0.3
