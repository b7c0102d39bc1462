"""The figures of `make bench-instrumentation` compare like with like, and their intervals hold what they say."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench.instrumentation import STATES, _bars, ratio
from tests.bench.instrumented_steps import AGENT, same_spans


def test_all_ways_write_the_same_spans() -> None:
    from maslens.instrumentation import session

    with session("c-1"):
        counts = same_spans()
    assert counts == {"chat m": 8, "execute_tool refund": 7, "invoke_agent billing": 6}


def test_a_way_that_writes_less_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from maslens.instrumentation import session

    monkeypatch.delitem(AGENT, "mas.agent.role")
    with session("c-1"), pytest.raises(AssertionError):
        same_spans()


def test_a_ratio_is_that_of_each_round_and_not_of_slow_minutes() -> None:
    chance = np.random.default_rng(3)
    bare = np.exp(np.cumsum(chance.normal(0, 0.3, 200)))  # a machine that gets slower and faster
    found = ratio(1.2 * bare * chance.normal(1, 0.05, 200), bare)
    assert found["low"] <= 1.2 <= found["high"]
    assert found["low"] <= found["median"] <= found["high"] < found["low"] + 0.05


def test_a_bar_is_missed_by_the_worse_of_our_ways() -> None:
    row = {"ratio": {"decorators": {"median": 1.1}, "blocks": {"median": 1.3}}, "grown_mib": 10.0, "exit_ms": 600.0}
    bars = {bar["metric"]: bar["holds"] for bar in _bars(dict.fromkeys(STATES, row), 100.0)}
    assert [metric for metric, holds in bars.items() if metric.startswith("step") and holds] == []
    assert bars["exit, ms, the endpoint down"] is False and bars["exit, ms, the endpoint slow"] is True
