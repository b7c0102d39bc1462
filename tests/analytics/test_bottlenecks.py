"""Critical path, waiting, queueing, retries and what fixing an agent would save."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maslens.analytics.bottlenecks import bottlenecks, rank_bottlenecks
from maslens.analytics.critical_path import critical_path, savings

TIME = pl.Datetime("ns", "UTC")
RUN = {
    "session_id": pl.String, "run_id": pl.String, "parent_run_id": pl.String, "agent": pl.String, "started_at": TIME,
    "ended_at": TIME, "duration_ns": pl.Int64, "status": pl.String,
}  # fmt: skip
Run = tuple[str, str | None, str, int, int]  # run, parent, agent, start, end


def runs_of(rows: Sequence[Run], *, session: str = "s", errors: Sequence[str] = ()) -> pl.DataFrame:
    return pl.DataFrame(
        [
            (session, run, parent, agent, start, end, end - start, "error" if run in errors else "ok")
            for run, parent, agent, start, end in rows
        ],
        schema=RUN,
        orient="row",
    )


def handoffs_of(*rows: tuple[str, str, int]) -> pl.DataFrame:
    """(source run, target run, when it was asked for)"""
    return pl.DataFrame(
        [("s", source, target, at) for source, target, at in rows],
        schema={"session_id": pl.String, "source_run_id": pl.String, "target_run_id": pl.String, "at": TIME},
        orient="row",
    )


def calls_of(what: str, *rows: tuple[str, str, int, int, str]) -> pl.DataFrame:
    """(run, agent, start, duration, status)"""
    return pl.DataFrame(
        [("s", run, agent, "x", "h", at, duration, status) for run, agent, at, duration, status in rows],
        schema={
            "session_id": pl.String, "run_id": pl.String, "agent": pl.String, what: pl.String,
            "arguments_hash": pl.String, "at": TIME, "duration_ns": pl.Int64, "status": pl.String,
        },
        orient="row",
    )  # fmt: skip


# boss 0..100 starts quick and slow together at 10, waits for both, then asks writer
PARALLEL: Sequence[Run] = [
    ("r", None, "boss", 0, 100),
    ("q", "r", "quick", 10, 40),
    ("s", "r", "slow", 10, 60),
    ("w", "r", "writer", 70, 90),
]


def path_of(runs: pl.DataFrame, handoffs: pl.DataFrame | None = None) -> list[tuple[str, str, int, int]]:
    at = [pl.col(name).dt.epoch("ns") for name in ("started_at", "ended_at")]
    return critical_path(runs, handoffs).select("agent", "kind", *at).rows()


def by_agent(table: pl.DataFrame, column: str) -> dict[str, Any]:
    return dict(table.select("agent", column).rows())


def test_the_slower_of_two_branches_is_the_path() -> None:
    assert path_of(runs_of(PARALLEL)) == [
        ("boss", "self", 0, 10), ("slow", "self", 10, 60), ("boss", "self", 60, 70), ("writer", "self", 70, 90),
        ("boss", "self", 90, 100),
    ]  # fmt: skip


def test_fixing_the_slow_branch_saves_until_the_quick_one_takes_over() -> None:
    table = bottlenecks(runs_of(PARALLEL))
    assert by_agent(table, "critical_ns") == {"boss": 30, "slow": 50, "writer": 20, "quick": 0}
    assert by_agent(table, "saves_ns") == {"boss": 30, "slow": 20, "writer": 20, "quick": 0}
    assert table["agent"].to_list() == ["boss", "slow", "writer", "quick"]
    assert table["session_ns"].unique().to_list() == [100]


@pytest.mark.parametrize(
    ("rows", "handoffs", "expected"),
    [
        pytest.param(
            [("a", None, "A", 0, 10), ("b", None, "B", 15, 20)], None,
            [("A", "self", 0, 10), ("B", "waiting", 10, 15), ("B", "self", 15, 20)], id="nobody between two runs",
        ),
        pytest.param(
            [("a", None, "A", 0, 10), ("b", None, "B", 6, 20)], [("a", "b", 4)],
            [("A", "self", 0, 4), ("B", "waiting", 4, 6), ("B", "self", 6, 20)], id="asked at 4, begun at 6",
        ),
        pytest.param(
            [("a", None, "A", 0, 10), ("b", "a", "B", 5, 30)], None,
            [("A", "self", 0, 5), ("B", "self", 5, 30)], id="a child that outlives its parent ends the session",
        ),
        pytest.param(
            [("a", None, "A", 0, 10), ("b", "a", "B", 12, 30)], None,
            [("A", "self", 0, 10), ("B", "waiting", 10, 12), ("B", "self", 12, 30)], id="begun after its parent ended",
        ),
        pytest.param(
            [("a", None, "A", 5, 10), ("b", "a", "B", 3, 8)], None,
            [("A", "waiting", 3, 5), ("A", "self", 5, 10)], id="a child before its parent",
        ),
        pytest.param(
            [("a", "b", "A", 0, 10), ("b", "a", "B", 0, 10)], None, [("B", "self", 0, 10)], id="parents in a circle",
        ),
        pytest.param(
            [("a", None, "A", 0, 10), ("z", "a", "Z", 4, 4), ("b", "z", "B", 4, 8)], None,
            [("A", "self", 0, 4), ("B", "self", 4, 8), ("A", "self", 8, 10)], id="a run of no length",
        ),
    ],
)  # fmt: skip
def test_path(
    rows: list[Run], handoffs: list[tuple[str, str, int]] | None, expected: list[tuple[str, str, int, int]]
) -> None:
    assert path_of(runs_of(rows), handoffs_of(*handoffs) if handoffs else None) == expected


def test_model_and_tool_time_is_counted_on_the_path_only_and_once() -> None:
    models = calls_of("model", ("s", "slow", 10, 30, "ok"), ("s", "slow", 20, 30, "ok"), ("q", "quick", 10, 30, "ok"))
    tools = calls_of("tool", ("r", "boss", 0, 65, "ok"))
    table = bottlenecks(runs_of(PARALLEL), None, models, tools)
    assert by_agent(table, "model_ns") == {"boss": 0, "slow": 40, "writer": 0, "quick": 0}
    assert by_agent(table, "tool_ns") == {"boss": 15, "slow": 0, "writer": 0, "quick": 0}


def test_a_failure_that_is_tried_again_is_a_retry_and_one_that_is_not_is_none() -> None:
    runs = runs_of(
        [("r", None, "boss", 0, 99), ("1", "r", "A", 1, 11), ("2", "r", "A", 12, 20), ("3", "r", "B", 21, 30)],
        errors=["1", "3"],
    )
    tools = calls_of("tool", ("2", "A", 13, 2, "error"), ("2", "A", 16, 2, "ok"), ("3", "B", 22, 1, "error"))
    table = bottlenecks(runs, None, None, tools)
    assert by_agent(table, "retries") == {"boss": 0, "A": 2, "B": 0}
    assert by_agent(table, "retry_ns")["A"] == 12


@pytest.mark.parametrize("order", [("error", "ok"), ("ok", "error")])
def test_of_two_attempts_at_one_moment_the_failed_one_was_tried_again_whichever_was_sent_first(
    order: list[str],
) -> None:
    runs = runs_of([("r", None, "boss", 0, 99)])
    table = bottlenecks(runs, None, None, calls_of("tool", *(("r", "boss", 5, 2, status) for status in order)))
    assert by_agent(table, "retries") == {"boss": 1}


def test_queueing_is_from_being_asked_to_starting() -> None:
    table = bottlenecks(runs_of(PARALLEL), handoffs_of(("r", "q", 3), ("r", "w", 65)))
    assert by_agent(table, "queue_ns") == {"boss": 0, "slow": 0, "writer": 5, "quick": 7}
    assert by_agent(table, "waiting_ns")["writer"] == 5


def test_a_window_ranks_by_what_a_fix_saves_over_all_its_sessions() -> None:
    runs = pl.concat(
        [
            runs_of(PARALLEL),
            runs_of([("r", None, "boss", 0, 9), ("x", "r", "slow", 1, 9)], session="t"),
            runs_of([("r", None, "boss", 0, 1), ("x", "r", "writer", 0, 1)], session="u"),
        ]
    )
    ranked = rank_bottlenecks(bottlenecks(runs))
    assert ranked.select("agent", "saves_ns", "first_in", "rank").rows()[:3] == [
        ("boss", 31, 1, 1), ("slow", 28, 1, 2), ("writer", 21, 1, 3),
    ]  # fmt: skip
    assert ranked["saves_share"].to_list()[0] == pytest.approx(31 / 110)


def test_nothing_in_nothing_out() -> None:
    assert bottlenecks(runs_of([])).is_empty()
    assert rank_bottlenecks(bottlenecks(runs_of([]))).is_empty()


@st.composite
def trees(draw: st.DrawFn) -> list[Run]:
    rows: list[Run] = [("0", None, "a0", 0, 1000)]
    for at in range(1, draw(st.integers(1, 14))):
        parent = draw(st.sampled_from(rows))
        start = draw(st.integers(parent[3], 1000))
        end = draw(st.integers(start, 1100))  # may outlive its parent, may have no length
        known = draw(st.booleans())
        rows.append((str(at), parent[0] if known else None, f"a{draw(st.integers(0, 4))}", start, end))
    return rows


@settings(max_examples=150, deadline=None)
@given(trees(), st.randoms(use_true_random=False))
def test_the_path_tiles_the_session_whatever_the_order_and_the_duplicates(rows: list[Run], random: Any) -> None:
    runs = runs_of(rows)
    path = critical_path(runs)
    assert path["duration_ns"].sum() == max(row[4] for row in rows) - min(row[3] for row in rows if row[3] < row[4])
    assert path["ended_at"].to_list()[:-1] == path["started_at"].to_list()[1:]
    again = rows + rows[:3]
    random.shuffle(again)
    assert bottlenecks(runs_of(again)).equals(bottlenecks(runs))


@settings(max_examples=150, deadline=None)
@given(trees())
def test_no_fix_saves_more_than_the_agents_own_time_on_the_path(rows: list[Run]) -> None:
    table = bottlenecks(runs_of(rows))
    assert (table["saves_ns"] >= 0).all()
    assert (table["saves_ns"] <= table["critical_ns"]).all()
    assert table["critical_ns"].sum() + table["waiting_ns"].sum() == table["session_ns"].max()


@settings(max_examples=40, deadline=None)
@given(trees())
def test_what_an_agent_saves_is_the_same_whoever_the_others_are(rows: list[Run]) -> None:
    saved = by_agent(savings(runs_of(rows)), "saves_ns")
    for agent, most in saved.items():  # one other agent, or so many that they are counted another way
        for others in ("{0}", "other"):
            renamed = [
                (run, parent, name if name == agent else others.format(run), *at) for run, parent, name, *at in rows
            ]
            assert by_agent(savings(runs_of(renamed)), "saves_ns").get(agent) == most


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 50)), min_size=1, max_size=8))
def test_in_a_sequence_a_fix_saves_all_of_the_agents_time(steps: list[tuple[str, int]]) -> None:
    rows: list[Run] = []
    for agent, length in steps:
        start = rows[-1][4] if rows else 0
        rows.append((str(len(rows)), None, agent, start, start + length))
    assert {agent: sum(n for a, n in steps if a == agent) for agent, _ in steps} == by_agent(
        savings(runs_of(rows)), "saves_ns"
    )


def test_a_session_of_two_thousand_runs_takes_less_than_a_tenth_of_a_second() -> None:
    rows: list[Run] = [("0", None, "boss", 0, 10**6)]
    rows += [(str(i), str((i - 1) // 4), f"a{i % 40}", i * 100, 10**6 - i * 100) for i in range(1, 2000)]
    runs = runs_of(rows)
    bottlenecks(runs)
    spent = min(_seconds(runs) for _ in range(3))
    assert spent < 0.1, f"{spent:.3f} s"


def _seconds(runs: pl.DataFrame) -> float:
    begun = time.process_time()
    bottlenecks(runs)
    return time.process_time() - begun
