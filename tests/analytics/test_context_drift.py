"""Context drift: how far steps are from the goal, what of it got lost on which hop, where a context was compacted."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maslens.analytics.context_drift import context_drift
from maslens.analytics.facts import compute, suspects_of
from maslens.analytics.goal_facts import Kept, goal_facts
from maslens.analytics.lexical import distances, lexical, loaded
from polars.testing import assert_frame_equal

from tests.analytics.made_spans import Trace, frame

GOAL = 'Book order 77 for 3 adults from Rome to Paris below $1,200.50, "no nuts", by 2026-12-01'


@pytest.mark.parametrize(
    ("goal", "facts"),
    [
        pytest.param(
            GOAL, ["no nuts", "77", "3", "Rome", "Paris", "1,200.50", "2026-12-01"], id="figures, names, quotes, dates"
        ),
        pytest.param("Please pay. Then write to ann@example.org", ["ann@example.org"], id="a sentence's first word"),
        pytest.param("PAY ORDER A-77 NOW", ["A-77"], id="capitals throughout are no names"),
        pytest.param("do step 3.", [], id="a lone digit that counts nothing"),
        pytest.param("", [], id="no goal"),
    ],
)
def test_facts_of_a_goal(goal: str, facts: list[str]) -> None:
    assert goal_facts(goal) == facts


@pytest.mark.parametrize(
    ("fact", "text", "there"),
    [
        pytest.param("1,200.50", "costs 1200.5 in all", True, id="a figure in another form"),
        pytest.param("1200.5", "costs 1,200.50.", True, id="and the other way round"),
        pytest.param("40", "in 1940", False, id="a part of another figure"),
        pytest.param("Paris", '{"to":"PARIS"}', True, id="whatever the case"),
        pytest.param("Zürich", json.dumps("nach Zürich\nbitte"), True, id="as JSON writes it"),
        pytest.param("no nuts", "nuts: no", True, id="its words in any order"),
        pytest.param("no nuts", "nuts welcome", False, id="a word of it missing"),
        pytest.param("77", json.dumps("order\n77"), True, id="after an escaped line break"),
    ],
)
def test_whether_a_text_has_a_fact(fact: str, text: str, there: bool) -> None:
    assert (fact in Kept([fact]).of(text)) is there


def test_a_history_that_grows_is_read_where_it_has_grown() -> None:
    history: list[dict[str, str]] = []
    growing = Kept(goal_facts(GOAL))
    for word in GOAL.split():
        history.append({"role": "user", "content": word})
        assert growing.of(json.dumps(history)) == Kept(goal_facts(GOAL)).of(json.dumps(history))


def test_distance_is_0_for_the_same_text_and_grows_with_what_is_different() -> None:
    goal = lexical(["refund order seventy seven"])
    near, far = lexical(["the refund of order seventy seven is done", "bananas grow in bunches"])
    same, one, two = (distances(goal, text[None])[0] for text in (goal[0], near, far))
    assert same == pytest.approx(0, abs=1e-6)
    assert one < 0.7 < two
    assert np.isnan(distances(goal, lexical([""]))[0])


def desk(*, told: str = GOAL, later: str = "") -> Trace:
    """triage is asked, says something and hands over to billing, which is told `told` and asks its model twice."""
    trace = Trace("t", SessionId="s")
    asked = json.dumps([{"role": "user", "content": GOAL}])
    triage = trace.agent("triage", 0, 100)
    trace.call(5, 20, triage, (600, 5), InputContent=asked, OutputContent="to billing")
    trace.tool("transfer_to_billing", 25, 30, triage, Kind="handoff", TransferTarget="billing")
    billing = trace.agent("billing", 110, 200)
    trace.call(115, 130, billing, (900, 5), InputContent=told, OutputContent="Looking for flights from Rome to Paris")
    trace.call(145, 160, billing, (950, 5), InputContent=told + " found", OutputContent="Bananas")
    trace.call(165, 180, billing, (200, 5), InputContent=later or told, OutputContent="Booked order 77")
    return trace


def drift(trace: Trace) -> list[dict[str, Any]]:
    return compute(frame(trace)).context_drift.sort("step").rows(named=True)


def test_by_hand() -> None:
    rows = drift(desk(told="Book for 3 adults from Rome to Paris", later="Book from Rome"))
    assert [(row["agent"], row["goal_facts"], row["facts_carried"], row["facts_lost"]) for row in rows] == [
        ("triage", 7, 7, 0),  # the goal itself
        ("billing", 7, 3, 4),  # lost on the hop
        ("billing", 7, 3, 0),  # as before: nothing more
        ("billing", 7, 1, 2),  # lost inside the run
    ]
    assert rows[1]["lost_facts"] == ["no nuts", "77", "1,200.50", "2026-12-01"]
    assert rows[3]["lost_facts"] == ["3", "Paris"]
    assert [row["compacted"] for row in rows] == [False, False, False, True]
    assert rows[1]["distance"] < rows[2]["distance"]


def test_a_step_is_told_to_the_nanosecond() -> None:
    found = compute(frame(desk()).with_columns(pl.col("Timestamp") + pl.duration(nanoseconds=7)))
    assert set(found.context_drift["at"]) <= set(found.llm_calls["at"]) | set(found.agent_runs["started_at"])
    assert (found.context_drift["at"].dt.nanosecond() % 1000 == 7).all()


@pytest.mark.parametrize(
    "hostile",
    [
        "[" * 100_000,
        '{"a":' * 5_000,
        r'[{"role": "user", "content": "Book \ud800 for 3 adults, \"two\udc00 words\""}]',
        r'{"Key \ud83d 1": 5}',
        json.dumps({"inner": r'{"text": "Room 47 \ud800"}'}),
    ],
)
def test_content_that_cannot_be_read_stops_nothing(hostile: str) -> None:
    trace = Trace("t", SessionId="s")
    for name, begin in (("a", 0), ("b", 100)):
        run = trace.agent(name, begin, begin + 90)
        trace.call(begin + 1, begin + 5, run, (9, 1), InputContent=hostile, OutputContent=hostile)
        trace.tool("transfer_to_b", begin + 6, begin + 7, run, ToolArguments=hostile, ToolResult=hostile)
    found = compute(frame(trace))
    assert len(found.context_drift) == 2
    assert suspects_of(frame(trace)).height


def test_what_an_agent_said_is_not_lost_before_the_next_is_told() -> None:
    trace = Trace("t", SessionId="s")
    run = trace.agent("a", 0, 100)
    trace.call(1, 2, run, InputContent="Fly to Rome", OutputContent="ok")
    trace.call(3, 4, run, InputContent="hello", OutputContent="Rome it is")
    trace.call(5, 6, run, InputContent="hello again", OutputContent="which town?")
    assert [row["facts_lost"] for row in drift(trace)] == [0, 1, 1]


def test_tokens_alone_show_a_compaction_and_nothing_else_is_told() -> None:
    trace = Trace("t", SessionId="s")
    run = trace.agent("a", 0, 100)
    for at, tokens in enumerate((600, 900, 300, 350, 340)):
        trace.call(10 * at, 10 * at + 5, run, (tokens, 1))
    (row,) = drift(trace)
    assert (row["step"], row["compacted"], row["context_tokens"]) == (2, True, 300)
    assert (row["distance"], row["facts_carried"], row["goal_facts"]) == (None, None, None)


def test_short_contexts_and_first_calls_are_no_compactions() -> None:
    trace = Trace("t", SessionId="s")
    run = trace.agent("a", 0, 100)
    for at, tokens in enumerate((300, 400, 10, 5_000, 100, 90)):  # too short; then nothing had grown before 5,000 …
        trace.call(10 * at, 10 * at + 5, run, (tokens, 1))
    assert [row["step"] for row in drift(trace)] == [4]  # … but 10 had


def test_a_short_call_aside_is_no_compaction() -> None:
    trace = Trace("t", SessionId="s")
    run = trace.agent("a", 0, 100)
    for at, tokens in enumerate((600, 900, 20, 950)):
        trace.call(10 * at, 10 * at + 5, run, (tokens, 1))
    assert drift(trace) == []


def test_another_embedding_is_used_for_the_distance() -> None:
    spans = frame(desk())
    facts = compute(spans)

    def constant(texts: Any) -> Any:
        return np.ones((len(texts), 2), dtype=np.float32)

    found = context_drift(spans, facts.agent_runs, facts.llm_calls, facts.handoffs, embed=constant)
    assert set(found["distance"]) == {0.0}
    assert found.drop("distance").equals(facts.context_drift.drop("distance"))


def of_lengths(texts: Any) -> list[list[float]]:
    """An embedder as a user would write it."""
    return [[len(text), 1.0] for text in texts]


def one_number(texts: Any) -> list[float]:
    return [len(text) for text in texts]


def test_an_embedder_is_named_by_its_module_and_function() -> None:
    spans = frame(desk())
    found = compute(spans, embed=loaded(f"{__name__}:of_lengths")).context_drift
    assert found["distance"].is_between(0, 1).all()
    assert not found["distance"].equals(compute(spans).context_drift["distance"])


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("nowhere.at.all:embed", "cannot be used"),
        ("json:nothing", "cannot be used"),
        ("json", "cannot be used"),
        (f"{__name__}:one_number", "one row a text"),
    ],
)
def test_an_embedder_that_cannot_be_used_is_refused_at_the_start(named: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        loaded(named)


WORDS = st.lists(st.sampled_from([*GOAL.split(), "bananas", "now", "\n"]), max_size=12).map(" ".join)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS, st.integers(0, 2000)), min_size=1, max_size=6), st.randoms())
def test_order_and_repeats_change_nothing_and_all_stays_within_bounds(
    steps: list[tuple[str, str, int]], chance: random.Random
) -> None:
    trace = Trace("t", SessionId="s")
    runs = [trace.agent(name, 0, 500) for name in ("a", "b")]
    for at, (told, said, tokens) in enumerate(steps):
        trace.call(10 * at, 10 * at + 5, runs[at % 2], (tokens, 1), InputContent=told, OutputContent=said)
    spans = frame(trace)
    found = compute(spans).context_drift
    again = pl.concat([spans, spans.head(2)])[chance.sample(range(len(spans) + 2), len(spans) + 2)]
    assert_frame_equal(compute(again).context_drift, found)
    for row in found.drop_nulls("facts_carried").iter_rows(named=True):
        assert row["facts_carried"] + row["facts_lost"] <= row["goal_facts"]
        assert len(row["lost_facts"]) == row["facts_lost"]
    assert found["distance"].drop_nulls().is_between(0, 1).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 6))
def test_dropping_a_fact_of_the_goal_is_seen_on_its_hop(dropped: int) -> None:
    facts = goal_facts(GOAL)
    rest = " ".join(fact for at, fact in enumerate(facts) if at != dropped)
    assert drift(desk(told=rest))[1]["lost_facts"] == [facts[dropped]]
