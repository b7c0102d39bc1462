"""How agents of a session worked together: shape, tokens spent on it, delegations, votes and loops, the pattern."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maslens.analytics import frames
from maslens.analytics.agreement import decisions
from maslens.analytics.coordination import coordination, window_shape
from maslens.analytics.patterns import PATTERNS, Transfer, calls_and_passes, detect, repeated

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def rows(schema: frames.Schema, given: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Rows of a fact: text is empty and numbers are 0 where a test does not care."""
    blank = {
        name: "" if kind == pl.String else [] if isinstance(kind, pl.List) else NOON if kind == frames.TIME else 0
        for name, kind in schema.items()
    }
    return pl.DataFrame([{**blank, "session_id": "s", **row} for row in given], schema=dict(schema), strict=False)


def run(name: str, agent: str, start: float, end: float, parent: str = "", **more: Any) -> dict[str, Any]:
    return {
        "run_id": name, "agent": agent, "parent_run_id": parent, "started_at": NOON + timedelta(seconds=start),
        "ended_at": NOON + timedelta(seconds=end), "duration_ns": int((end - start) * 1e9), "status": "ok", **more,
    }  # fmt: skip


def handoff(source: str, target: str, at: float, mode: str = "pass_control", **more: Any) -> dict[str, Any]:
    """From run `source:1` to run `target:1` unless said otherwise."""
    return {
        "source": source, "target": target, "mode": mode, "evidence": "explicit", "at": NOON + timedelta(seconds=at),
        "source_run_id": f"{source}1", "target_run_id": f"{target}1", "span_id": f"{source}{target}{at}", **more,
    }  # fmt: skip


def call(run_id: str, end: float, tokens: int, **more: Any) -> dict[str, Any]:
    """A model call that took a second."""
    return {
        "run_id": run_id, "span_id": f"{run_id}@{end}", "at": NOON + timedelta(seconds=end - 1),
        "duration_ns": 10**9, "input_tokens": tokens, "output_tokens": 0, **more,
    }  # fmt: skip


def events(*given: dict[str, Any]) -> pl.DataFrame:
    blank = {
        "session_id": "s", "TraceId": "t", "SpanId": "", "AgentName": "", "EventName": "mas.vote.cast",
        "Timestamp": NOON, "ConsensusId": "c", "VoteOption": "", "VoteWeight": None, "IterationIndex": None,
        "ConvergenceScore": None, "StopReason": "", "Attributes": [],
    }  # fmt: skip
    schema = {
        "Timestamp": frames.TIME, "VoteWeight": pl.Float64(), "IterationIndex": pl.UInt32(),
        "ConvergenceScore": pl.Float64(), "Attributes": pl.List(pl.Struct({"key": pl.String(), "value": pl.String()})),
    }  # fmt: skip
    return pl.DataFrame([{**blank, **row} for row in given], schema_overrides=schema)


# triage asks billing, which fails; asks it again; then passes control to refunds, which ends the session
DESK_RUNS = [
    run("triage1", "triage", 0, 20), run("billing1", "billing", 3, 5, "triage1", status="error"),
    run("billing2", "billing", 8, 10, "triage1"), run("refunds1", "refunds", 21, 30),
]  # fmt: skip
DESK_HANDOFFS = [
    handoff("triage", "billing", 3, "return_to_caller"),
    handoff("triage", "billing", 8, "return_to_caller", target_run_id="billing2"),
    handoff("triage", "refunds", 19),
]
DESK_CALLS = [
    call("triage1", 2.9, 10), call("billing1", 4, 100), call("triage1", 7, 20), call("billing2", 9, 200),
    call("triage1", 18, 40), call("refunds1", 25, 400),
]  # fmt: skip


def desk(**more: Any) -> dict[str, Any]:
    ran, led = rows(frames.AGENT_RUNS, DESK_RUNS), rows(frames.HANDOFFS, DESK_HANDOFFS)
    return coordination(ran, led, rows(frames.LLM_CALLS, DESK_CALLS), **more).row(0, named=True)


def test_a_session_by_hand() -> None:
    found = desk()
    assert (found["agents"], found["edges"], found["handoffs"], found["messages"]) == (3, 2, 3, 5)
    assert found["density"] == pytest.approx(2 / 6)
    assert (found["depth"], found["fan_out_max"], found["cycles"], found["reciprocity"]) == (2, 2, 0, 0.0)
    assert found["centralisation"] == pytest.approx(1.0)  # one agent hands over to all others
    assert (found["coordination_tokens"], found["work_tokens"]) == (70, 700)
    assert (found["failed"], found["bounced"], found["redelegated"]) == (1, 0, 1)
    assert found["delegation_accuracy"] == pytest.approx(2 / 3)
    assert (found["loops"], found["rounds_max"], found["decisions"], found["agreement"]) == (1, 2, 0, None)
    # two calls of the same callee are a loop of two, one pass decided by an agent
    assert (found["pattern"], found["pattern_confidence"]) == ("reflexive", pytest.approx(2.5 / 5.5))


def test_a_bounced_handoff_is_not_accurate() -> None:
    back = rows(frames.HANDOFFS, DESK_HANDOFFS).select("session_id", "trace_id", "span_id", "source", "target")
    found = desk(bounced=back.with_columns(bounced=(pl.col("target") == "refunds").cast(pl.Float64)))
    assert (found["failed"], found["bounced"], found["redelegated"]) == (1, 1, 1)
    assert found["delegation_accuracy"] == pytest.approx(1 / 3)


def test_one_agent_alone() -> None:
    found = coordination(
        rows(frames.AGENT_RUNS, [run("a1", "a", 0, 1)]), rows(frames.HANDOFFS, []), rows(frames.LLM_CALLS, [])
    ).row(0, named=True)
    assert (found["pattern"], found["pattern_confidence"], found["delegation_accuracy"]) == ("single", 1.0, None)
    assert (found["messages"], found["coordination_tokens"], found["work_tokens"]) == (0, 0, 0)


def test_depth_is_counted_from_who_began_even_in_a_circle() -> None:
    runs = [run("a1", "a", 0, 1), run("b1", "b", 2, 3), run("a2", "a", 4, 5)]
    led = [handoff("a", "b", 1), handoff("b", "a", 3, target_run_id="a2")]
    table = coordination(rows(frames.AGENT_RUNS, runs), rows(frames.HANDOFFS, led), rows(frames.LLM_CALLS, []))
    assert (table["depth"][0], table["cycles"][0]) == (2, 1)


def test_people_are_no_agents() -> None:
    asked = handoff("triage", "human", 4, connection_type="virtual_node", target_run_id="")
    table = coordination(
        rows(frames.AGENT_RUNS, DESK_RUNS), rows(frames.HANDOFFS, [*DESK_HANDOFFS, asked]), rows(frames.LLM_CALLS, [])
    )
    assert (table["agents"][0], table["handoffs"][0]) == (3, 3)


def test_nothing_in_nothing_out() -> None:
    empty = coordination(frames.empty(frames.AGENT_RUNS), frames.empty(frames.HANDOFFS), frames.empty(frames.LLM_CALLS))
    assert empty.is_empty()
    assert empty.columns == list(frames.COORDINATION)


# --- patterns --------------------------------------------------------------------------------------------------------


def moves(text: str, evidence: str = "explicit") -> list[Transfer]:
    """`a>b` passes control, `a=b` asks and waits."""
    parts = [(move[0], move[1], move[2]) for move in text.split()]
    return [
        Transfer(source=a, target=b, returns=how == "=", evidence=evidence, at=at, target_run=f"{b}{at}")
        for at, (a, how, b) in enumerate(parts)
    ]


@pytest.mark.parametrize(
    ("transfers", "evidence", "expected"),
    [
        pytest.param("a>b b>c c>d", "structure", "sequential", id="the program moves control on"),
        pytest.param("a>b b>c c>d", "explicit", "swarm", id="agents move control on"),
        pytest.param("a=b a=c a=d", "explicit", "hierarchical", id="one asks the others"),
        pytest.param("a>b b>a a>c c>a", "explicit", "hierarchical", id="control goes out and comes back"),
        pytest.param("a>b b>c c>b b>a", "tool_name", "hierarchical", id="a boss, a lead and a worker"),
        pytest.param("a>b b>a a>b b>a a>b b>a", "explicit", "reflexive", id="to and fro"),
        pytest.param("w=c w=c w=c", "explicit", "reflexive", id="a critic is asked again and again"),
        pytest.param("a=b a=c a=b a=c", "explicit", "hierarchical", id="two workers in turn are no loop"),
    ],
)
def test_patterns(transfers: str, evidence: str, expected: str) -> None:
    listed = moves(transfers, evidence)
    assert detect({move.source for move in listed} | {move.target for move in listed}, listed).pattern == expected


def test_brackets_match_innermost_first() -> None:
    calls, passes = calls_and_passes(moves("a>b b>c c>b b>d"))
    assert [(move.source, move.target) for move in calls] == [("b", "c")]
    assert [(move.source, move.target) for move in passes] == [("a", "b"), ("b", "d")]
    assert [move.at for move in repeated(moves("a=b a=b a=c a=b"))] == [1]


def test_side_by_side_is_collaborative() -> None:
    runs = [run("p1", "p", 0, 1), run("x1", "x", 2, 9), run("y1", "y", 3, 8), run("z1", "z", 10, 11)]
    led = [handoff("p", "x", 1), handoff("p", "y", 1), handoff("x", "z", 9), handoff("y", "z", 9)]
    table = coordination(rows(frames.AGENT_RUNS, runs), rows(frames.HANDOFFS, led), rows(frames.LLM_CALLS, []))
    assert table["pattern"].to_list() == ["collaborative"]


def test_what_a_caller_runs_side_by_side_is_still_hierarchical() -> None:
    runs = [run("p1", "p", 0, 10), run("x1", "x", 2, 9, "p1"), run("y1", "y", 3, 8, "p1")]
    led = [handoff("p", agent, 1, "return_to_caller") for agent in "xy"]
    table = coordination(rows(frames.AGENT_RUNS, runs), rows(frames.HANDOFFS, led), rows(frames.LLM_CALLS, []))
    assert table["pattern"].to_list() == ["hierarchical"]


# --- agreement and convergence ---------------------------------------------------------------------------------------


def vote(agent: str, option: str, at: int, weight: float | None = None, **more: Any) -> dict[str, Any]:
    return {
        "AgentName": agent, "VoteOption": option, "Timestamp": NOON + timedelta(seconds=at), "VoteWeight": weight,
        **more,
    }  # fmt: skip


def test_a_debate_by_hand() -> None:
    debate = events(
        vote("a", "yes", 1), vote("b", "no", 2), vote("c", "no", 3), vote("a", "yes", 4), vote("b", "yes", 5),
        vote("c", "no", 6), vote("a", "yes", 7), vote("b", "yes", 8), vote("c", "yes", 9, 0.5),
    )  # fmt: skip
    row = decisions(debate).row(0, named=True)
    assert (row["kind"], row["rounds"], row["rounds_to_stable"], row["result"]) == ("vote", 3, 2, "yes")
    assert (row["agreement"], row["votes"], row["agents"]) == (1.0, 9, ["a", "b", "c"])
    assert (desk(events=debate)["decisions"], desk(events=debate)["agreement"]) == (1, 1.0)
    assert desk(events=debate)["pattern"] == "collaborative"


def test_weights_and_told_rounds_count() -> None:
    told = [{"key": "mas.consensus.round", "value": "2"}]
    row = decisions(
        events(vote("a", "x", 1), vote("b", "y", 2, 3.0), vote("a", "x", 3, 3.0, Attributes=told),
               vote("b", "y", 4, 1.0, Attributes=told))
    ).row(0, named=True)  # fmt: skip
    assert (row["rounds"], row["rounds_to_stable"], row["result"], row["agreement"]) == (2, 2, "x", 0.75)


@pytest.mark.parametrize("told", ["2", "9" * 30, "²", "two", "-1"])
def test_a_told_round_is_a_number_or_not_told(told: str) -> None:
    said = [{"key": "mas.consensus.round", "value": told}]
    row = decisions(events(vote("a", "x", 1, Attributes=said))).row(0, named=True)
    assert (row["rounds"], row["result"]) == (1, "x")


def test_a_loop_that_says_its_rounds() -> None:
    said = events(
        *(
            {"EventName": "mas.iteration.completed", "AgentName": "w", "IterationIndex": at + 1,
             "ConvergenceScore": score, "Timestamp": NOON + timedelta(seconds=at),
             "StopReason": "converged" if at == 3 else ""}
            for at, score in enumerate([0.2, 0.6, 0.63, 0.64])
        )
    )  # fmt: skip
    row = decisions(said).row(0, named=True)
    assert (row["kind"], row["rounds"], row["rounds_to_stable"], row["result"]) == ("loop", 4, 2, "converged")
    assert desk(events=said)["pattern"] == "reflexive"


# --- whatever comes --------------------------------------------------------------------------------------------------

AGENTS = st.sampled_from("abcd")


@st.composite
def sessions(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    names = [draw(AGENTS) for _ in range(draw(st.integers(1, 6)))]
    ran = [
        run(f"r{at}", agent, (begin := draw(st.integers(0, 20))), begin + draw(st.integers(0, 9)),
            f"r{draw(st.integers(0, at - 1))}" if at and draw(st.booleans()) else "",
            status=draw(st.sampled_from(["ok", "error"])))
        for at, agent in enumerate(names)
    ]  # fmt: skip
    led = [
        handoff(draw(AGENTS), draw(AGENTS), draw(st.integers(0, 20)),
                draw(st.sampled_from(["pass_control", "return_to_caller"])),
                evidence=draw(st.sampled_from(["explicit", "sequence"])),
                source_run_id=f"r{draw(st.integers(0, 6))}", target_run_id=f"r{draw(st.integers(0, 6))}",
                span_id=str(at))
        for at in range(draw(st.integers(0, 8)))
    ]  # fmt: skip
    asked = [
        call(f"r{draw(st.integers(0, 6))}", draw(st.integers(0, 20)), draw(st.integers(0, 99)), span_id=f"m{at}")
        for at in range(draw(st.integers(0, 6)))
    ]
    return ran, led, asked


@settings(max_examples=100, deadline=None)
@given(sessions(), st.randoms(use_true_random=False))
def test_bounds_and_sums_whatever_the_order_and_the_duplicates(session: Any, random: Any) -> None:
    schemas = (frames.AGENT_RUNS, frames.HANDOFFS, frames.LLM_CALLS)
    _, led, asked = session
    table = coordination(*(rows(schema, part) for schema, part in zip(schemas, session, strict=True)))
    row = table.row(0, named=True)
    assert table.height == 1
    assert row["coordination_tokens"] + row["work_tokens"] == sum(one["input_tokens"] for one in asked)
    returning = sum(one["mode"] == "return_to_caller" for one in led)
    assert (row["handoffs"], row["messages"]) == (len(led), len(led) + returning)
    for name in ("density", "centralisation", "reciprocity", "betweenness_max", "pattern_confidence"):
        assert 0 <= row[name] <= 1, name
    assert row["delegation_accuracy"] is None or 0 <= row["delegation_accuracy"] <= 1
    assert row["redelegated"] <= row["failed"] + row["bounced"] <= len(led)
    assert row["pattern"] in (*PATTERNS, "single")
    again = [part + part[:2] for part in session]
    for part in again:
        random.shuffle(part)
    shuffled = coordination(*(rows(schema, part) for schema, part in zip(schemas, again, strict=True)))
    assert shuffled.drop(_REALS).equals(table.drop(_REALS))
    for name in _REALS:
        assert shuffled[name][0] == table[name][0] or math.isclose(shuffled[name][0], table[name][0])


_REALS = ["density", "centralisation", "reciprocity", "betweenness_max", "pattern_confidence", "delegation_accuracy"]


@settings(max_examples=100, deadline=None)
@given(sessions())
def test_the_shape_is_the_graphs_own_whoever_had_one_of_that_form_before(session: Any) -> None:
    schemas = (frames.AGENT_RUNS, frames.HANDOFFS, frames.LLM_CALLS)
    ran, led, _ = parts = [rows(schema, part) for schema, part in zip(schemas, session, strict=True)]
    pairs = led.group_by("source", "target").agg(handoffs=pl.len())
    first = ran.sort("started_at", "ended_at", "run_id")["agent"][0]
    whole = window_shape(pairs, {*ran["agent"], *pairs["source"], *pairs["target"]}, [first])
    found = coordination(*parts).row(0, named=True)
    for name in ("agents", "edges", "density", "depth", "fan_out_max", "centralisation", "cycles", "reciprocity"):
        assert found[name] == whole[name], name
    assert math.isclose(found["betweenness_max"], whole["betweenness_max"], abs_tol=1e-12)
