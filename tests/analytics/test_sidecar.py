"""The sidecar on a real store: whatever the order, repeats, failures and restarts, each span counts once."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from maslens.analytics import frames
from maslens.analytics.computing import Here
from maslens.analytics.facts import Facts, compute
from maslens.analytics.prices import PriceBook
from maslens.analytics.sidecar import Sidecar, SidecarConfig
from maslens.analytics.totals import parse
from maslens.semconv.dialects.columns import AGENT_SPAN_COLUMNS
from maslens.storage import Store, Unavailable, open_store

from tests.e2e.running import eventually as in_time

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
PRICES = PriceBook()
TABLES = ("agent_spans", "agent_events", "sidecar_ledger", "stitch_keys")
FACTS = (
    "sessions", "agent_runs", "handoffs", "llm_calls", "tool_calls", "agent_errors", "bottlenecks", "coordination",
)  # fmt: skip


def with_prices(spans: pl.DataFrame, events: pl.DataFrame | None) -> Facts:
    return compute(spans, events, prices=PRICES)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = open_store(f"chdb://{tmp_path_factory.mktemp('sidecar')}")
    store.migrate()
    yield store
    store.close()


@pytest.fixture
def store(opened: Store) -> Store:
    empty(opened)
    return opened


def empty(store: Store) -> None:
    for table in (*TABLES, *(f"fact_{name}" for name in FACTS)):
        store.command(f"TRUNCATE TABLE {table}")


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


Span = dict[str, Any]


def span(
    trace: str, number: int, parent: int | None, kind: str, *, start: float, seconds: float = 1.0, **more: Any
) -> Span:
    return {
        "TraceId": trace,
        "SpanId": f"{number:016x}",
        "ParentSpanId": "" if parent is None else f"{parent:016x}",
        "Timestamp": NOON + timedelta(seconds=start),
        "Duration": int(seconds * 1e9),
        "Kind": kind,
        "SpanName": kind,
        "Dialect": "mas",
        "StatusCode": "Unset",
        **more,
    }


def desk(trace: str = "a" * 32, session: str = "") -> list[Span]:
    """triage hands over to billing, whose tool fails; three model calls. Spans in the order they end."""
    llm = {"RequestModel": "gpt-4o", "Provider": "openai"}
    return [
        span(trace, 3, 2, "llm", start=1, InputTokens=1000, OutputTokens=100, **llm),
        span(trace, 2, 1, "agent", start=0.5, seconds=3, AgentName="triage"),
        span(trace, 5, 4, "llm", start=5, InputTokens=2000, OutputTokens=200, CacheReadTokens=500, **llm),
        span(trace, 6, 4, "tool", start=6, ToolName="refund", StatusCode="Error", ErrorType="Timeout"),
        span(trace, 7, 4, "llm", start=8, InputTokens=3000, OutputTokens=300, **llm),
        span(trace, 4, 1, "agent", start=4, seconds=6, AgentName="billing"),
        span(trace, 1, None, "workflow", start=0, seconds=11, WorkflowName="desk", SessionId=session),
    ]


_numbers = itertools.count()


def put(store: Store, spans: Sequence[Span]) -> None:
    schema = {column.name: frames.AGENT_SPANS[column.name] for column in AGENT_SPAN_COLUMNS}
    rows = frames.agent_spans(pl.DataFrame(list(spans), schema_overrides=schema, infer_schema_length=None))
    store.insert_arrow(
        "agent_spans",
        rows.drop("Hints").rechunk().to_arrow(compat_level=pl.CompatLevel.oldest()),
        token=f"test:{next(_numbers)}",
    )


def sidecar(store: Store, clock: Callable[[], float] | None = None, **config: Any) -> Sidecar:
    return Sidecar(store, with_prices, SidecarConfig(**{"patience": 0.0, **config}), clock=clock or Clock())


def totals(store: Store) -> dict[str, float]:
    """Exact totals, as committed."""
    return {
        row["series"]: row["net"]
        for row in store.rows("SELECT series, net FROM metric_totals")
        if row["net"] and not row["series"].startswith(("maslens_processed", "maslens_corrections", "maslens_late"))
    }


def one(store: Store, name: str, **labels: str) -> float:
    """A counter's sum over the series that have `labels`."""
    rows = store.rows("SELECT series, shown FROM metric_totals")
    parsed = ((parse(row["series"]), row["shown"]) for row in rows)
    return sum(shown for (metric, has), shown in parsed if metric == name and labels.items() <= has.items())


def tables(store: Store) -> dict[str, list[dict[str, Any]]]:
    return {name: sorted(store.rows(f"SELECT * FROM {name}"), key=str) for name in FACTS}


# --- what comes of spans ---------------------------------------------------------------------------------------------


def test_facts_and_totals_of_a_session(store: Store) -> None:
    put(store, desk(session="desk-1"))
    sidecar(store).drain()
    facts = tables(store)
    assert [(row["session_id"], row["outcome"]) for row in facts["sessions"]] == [("desk-1", "success")]
    assert sorted(row["agent"] for row in facts["agent_runs"]) == ["billing", "triage"]
    assert {row["agent"] for row in facts["llm_calls"]} == {"billing", "triage"}
    assert one(store, "maslens_agent_tokens", agent="billing", type="input") == 5000
    assert one(store, "maslens_agent_cached_tokens", agent="billing") == 500
    assert one(store, "maslens_agent_cost_usd") == pytest.approx((5500 * 2.5 + 500 * 1.25 + 600 * 10) / 1e6)
    assert one(store, "maslens_agent_runs") == 2
    assert one(store, "maslens_agent_tool_calls", tool="refund", status="error") == 1
    assert one(store, "maslens_processed_spans") == 7
    assert one(store, "maslens_sessions") == 0  # it may go on


def test_nothing_to_do_is_said(store: Store) -> None:
    running = sidecar(store)
    assert running.step() is False
    put(store, desk())
    assert running.step() is True
    assert running.step() is False


def test_the_same_spans_again_are_counted_as_repeats_and_nothing_else(store: Store) -> None:
    put(store, desk())
    running = sidecar(store)
    running.drain()
    before, facts = totals(store), tables(store)
    put(store, desk()[2:5])
    running.drain()
    after = totals(store)
    assert after.pop("maslens_duplicate_spans{}") == 3
    assert after == before
    again = tables(store)
    assert [row.pop("duplicate_spans") for row in again["sessions"]] == [3]
    assert [row.pop("duplicate_spans") for row in facts["sessions"]] == [0]
    assert again == facts


def test_outcome_is_unknown_while_spans_are_missing(store: Store) -> None:
    spans = desk()
    put(store, spans[:5])
    running = sidecar(store)
    running.drain()
    assert [row["outcome"] for row in tables(store)["sessions"]] == ["unknown"]
    put(store, spans[5:])
    running.drain()
    assert [row["outcome"] for row in tables(store)["sessions"]] == ["success"]


def test_a_session_that_gets_its_name_late_leaves_nothing_behind(store: Store) -> None:
    spans = desk(session="desk-1")
    put(store, spans[:-1])
    running = sidecar(store)
    running.drain()
    assert [row["session_id"] for row in tables(store)["sessions"]] == ["a" * 32]
    put(store, spans[-1:])
    running.drain()
    for name, rows in tables(store).items():
        assert {row["session_id"] for row in rows} <= {"desk-1"}, name
    assert {row["session_id"] for row in store.rows("SELECT session_id FROM session_contributions")} == {"desk-1"}
    assert one(store, "maslens_agent_tokens", type="input") == 6000


def test_traces_of_one_session_are_one_even_days_apart(store: Store) -> None:
    put(store, desk("a" * 32, session="long"))
    sidecar(store).drain()
    put(store, desk("b" * 32, session="long"))
    put(store, desk("c" * 32, session="other"))
    sidecar(store).drain()  # another process, nothing in memory
    sessions = {row["session_id"]: (row["traces"], row["agent_runs"]) for row in tables(store)["sessions"]}
    assert sessions == {"long": (2, 4), "other": (1, 2)}


def test_idle_sessions_come_to_rest_once(store: Store) -> None:
    clock = Clock()
    spans = desk()
    put(store, [*spans, *desk("b" * 32)[:5]])
    running = sidecar(store, clock, idle_s=60)
    running.drain()
    clock.now += 61
    running.drain()
    assert one(store, "maslens_sessions") == 2
    assert len(tables(store)["sessions"]) == 2
    assert all(row["outcome"] != "unknown" for row in tables(store)["sessions"])  # it is what it is now
    clock.now += 61
    restarted = sidecar(store, clock, idle_s=60)
    restarted.drain()
    clock.now += 61
    restarted.drain()
    assert one(store, "maslens_sessions") == 2


def test_rest_after_a_restart(store: Store) -> None:
    clock = Clock()
    put(store, [*desk(), *desk("b" * 32)[:5]])
    sidecar(store, clock, idle_s=60).drain()
    restarted = sidecar(store, clock, idle_s=60)
    restarted.drain()
    clock.now += 61
    restarted.drain()
    assert one(store, "maslens_sessions") == 2
    clock.now += 61
    assert restarted.step() is False


def test_spans_after_rest_are_late_and_still_count(store: Store) -> None:
    clock = Clock()
    spans = desk()
    put(store, [*spans[:4], *spans[5:]])
    running = sidecar(store, clock, idle_s=60)
    running.drain()
    clock.now += 61
    running.drain()
    put(store, spans[4:5])
    running.drain()
    assert one(store, "maslens_late_spans") == 1
    assert one(store, "maslens_agent_tokens", type="input") == 6000
    clock.now += 61
    running.drain()
    ended = {series: n for series, n in totals(store).items() if series.startswith("maslens_sessions")}
    assert ended == {'maslens_sessions{"outcome":"success"}': 1}  # the late span took back what was a failure


def test_a_backlog_is_taken_in_pieces(store: Store) -> None:
    for number in range(12):
        put(store, desk(f"{number:032x}"))
    running = sidecar(store, read_spans=10, chunk_spans=10)
    steps = 0
    while running.step():
        steps += 1
        assert running.status.lag_spans == max(12 * 7 - steps * 7, 0)
    assert steps == 12
    assert one(store, "maslens_agent_runs") == 24


def test_a_long_session_is_left_alone_for_a_while_but_never_forgotten(store: Store) -> None:
    clock = Clock()
    spans = desk()
    put(store, spans[:3])
    running = sidecar(store, clock, long_spans=3, patience=1e6, patience_max_s=10)
    running.drain()
    put(store, spans[3:])
    running.drain()
    assert one(store, "maslens_agent_tokens", type="input") == 1000
    assert running.status.waiting_traces == 1
    restarted = sidecar(store, clock)  # its patience is not remembered, that it has to look is
    restarted.drain()
    assert one(store, "maslens_agent_tokens", type="input") == 6000
    clock.now += 11
    assert sidecar(store, clock).step() is False


def test_patience_ends(store: Store) -> None:
    clock = Clock()
    spans = desk()
    put(store, spans[:3])
    running = sidecar(store, clock, long_spans=3, patience=1e6, patience_max_s=10)
    running.drain()
    put(store, spans[3:])
    running.drain()
    clock.now += 11
    running.drain()
    assert one(store, "maslens_agent_tokens", type="input") == 6000
    assert running.status.waiting_traces == 0


@pytest.mark.parametrize(
    ("arrived", "asked", "interval_s", "pause_s"),
    [
        pytest.param(7, False, 60.0, 0.05, id="few: until the pause is over"),
        pytest.param(1_000, False, 0.05, 60.0, id="many: until the interval is over"),
        pytest.param(1_000, False, 60.0, 0.05, id="many, and the pause is over first"),
        pytest.param(0, True, 60.0, 60.0, id="somebody asks"),
    ],
)
def test_how_long_it_rests(store: Store, arrived: int, asked: bool, interval_s: float, pause_s: float) -> None:
    resting = sidecar(store, interval_s=interval_s)
    resting.arrived(arrived)
    if asked:
        resting.wake()
    began = time.monotonic()
    resting._rest(began, pause_s)
    assert (0.0 if asked else 0.05) <= time.monotonic() - began < 30


def test_spans_that_arrive_meanwhile_end_its_rest(store: Store) -> None:
    running = sidecar(store, interval_s=1.0)
    running.start()
    try:
        in_time(lambda: running.status.steps_total >= 1, within_s=60)
        put(store, desk())
        running.arrived(1_000)
        in_time(lambda: running.status.spans_total == 7, within_s=60)
    finally:
        running.stop()


def test_reprocess_makes_the_facts_again(store: Store) -> None:
    put(store, desk())
    running = sidecar(store)
    running.drain()
    facts, counted = tables(store), totals(store)
    store.command("TRUNCATE TABLE fact_llm_calls")
    changed = sidecar(store)
    assert changed.reprocess(NOON) == 1
    changed.drain()
    assert tables(store) == facts
    assert totals(store) == counted
    assert changed.reprocess(NOON + timedelta(days=1)) == 0


def test_memory_may_forget_everything(store: Store) -> None:
    spans = desk(session="x")
    running = sidecar(store, keep_spans=1, keep_sessions=1)
    for batch in (spans[:2], desk("b" * 32), spans[2:5], desk("c" * 32, session="x"), spans[5:]):
        put(store, batch)
        running.drain()
    got, counted = tables(store), totals(store)
    empty(store)
    put(store, [*spans, *desk("b" * 32), *desk("c" * 32, session="x")])
    sidecar(store).drain()
    assert tables(store) == got
    assert totals(store) == pytest.approx(counted)


def put_event(store: Store, **columns: Any) -> None:
    row = pl.DataFrame([{"Timestamp": NOON + timedelta(minutes=1), "EventName": "mas.task.outcome", **columns}])
    arrow = row.with_columns(pl.col("Timestamp").cast(frames.TIME)).to_arrow(compat_level=pl.CompatLevel.oldest())
    store.insert_arrow("agent_events", arrow, token=f"event:{next(_numbers)}")


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    "told", [{"TraceId": "a" * 32}, {"SessionId": "desk-1"}, {"TargetType": "session", "TargetId": "desk-1"}]
)
def test_what_events_tell_later_changes_the_facts(store: Store, told: dict[str, str], restart: bool) -> None:
    put(store, desk(session="desk-1"))
    running = sidecar(store)
    running.drain()
    put_event(store, TaskOutcome="abandoned", **told)
    running = sidecar(store) if restart else running
    running.drain()
    assert [row["outcome"] for row in tables(store)["sessions"]] == ["abandoned"]
    put(store, desk("b" * 32, session="desk-1")[:1])  # computed again, the event is not forgotten
    sidecar(store).drain()
    put_event(store, TaskOutcome="failure", SessionId="nobody's")
    sidecar(store).drain()
    put(store, desk("b" * 32, session="desk-1")[1:])
    sidecar(store).drain()
    assert [row["outcome"] for row in tables(store)["sessions"]] == ["abandoned"]


# --- nothing is counted twice ----------------------------------------------------------------------------------------


class Failing:
    """A store whose inserts fail at given moments: before they happen, or after, which the caller cannot tell apart."""

    def __init__(self, store: Store, fails: Mapping[int, str]) -> None:
        self._store = store
        self._fails = dict(fails)
        self.inserts = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def insert_arrow(self, table: str, data: pa.Table, *, token: str) -> None:
        self.inserts += 1
        when = self._fails.pop(self.inserts, "")
        if when == "before":
            raise Unavailable("down")
        self._store.insert_arrow(table, data, token=token)
        if when == "after":
            raise Unavailable("was that heard?")


def eventually(running: Sidecar) -> None:
    for _ in range(50):
        try:
            running.drain()
        except Unavailable:
            continue
        return
    raise AssertionError("it never got through")


@pytest.mark.parametrize(("when", "restart"), [("before", False), ("after", False), ("after", True)])
def test_a_failure_at_any_insert_changes_nothing_in_the_end(store: Store, when: str, restart: bool) -> None:
    """A crash before an insert is one after the insert before it."""
    batches = [desk(session="s")[:4], [*desk(session="s")[4:], *desk("b" * 32)]]
    for spans in batches:
        put(store, spans)
    counting = Failing(store, {})
    running = Sidecar(counting, with_prices, SidecarConfig(patience=0.0, read_spans=5), clock=Clock())
    running.drain()
    expected, facts = totals(store), tables(store)
    for fail_at in range(1, counting.inserts + 1):
        empty(store)
        for spans in batches:
            put(store, spans)
        failing = Failing(store, {fail_at: when})
        running = Sidecar(failing, with_prices, SidecarConfig(patience=0.0, read_spans=5), clock=Clock())
        if restart:
            with pytest.raises(Unavailable):
                running.drain()
            running = Sidecar(store, with_prices, SidecarConfig(patience=0.0), clock=Clock())
        eventually(running)
        assert totals(store) == pytest.approx(expected), fail_at
        assert tables(store) == facts, fail_at
        assert one(store, "maslens_processed_spans") == 14


ALL = [
    *desk("a" * 32, session="s1"),
    *desk("b" * 32, session="s1"),
    *desk("c" * 32),
]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.permutations(range(len(ALL))),
    cuts=st.sets(st.integers(1, len(ALL) - 1), max_size=4),
    repeats=st.lists(st.integers(0, len(ALL) - 1), max_size=4, unique=True),
    restarts=st.sets(st.integers(0, 5)),
    meanwhile=st.booleans(),
)
def test_any_order_any_batches_any_restarts(
    store: Store, order: list[int], cuts: set[int], repeats: list[int], restarts: set[int], meanwhile: bool
) -> None:
    empty(store)
    put(store, ALL)
    sidecar(store).drain()
    expected, facts = totals(store), tables(store)
    empty(store)
    running = sidecar(store)
    highest: dict[str, float] = {}
    edges = [0, *sorted(cuts), len(ALL)]
    batches = [[ALL[i] for i in order[start:end]] for start, end in itertools.pairwise(edges)]
    if meanwhile:
        running, _ = overlapping(store, batches)
        run_out(running)
        batches = []
    for number, batch in enumerate(batches):
        put(store, batch)
        if number in restarts:
            running = sidecar(store)
        running.drain()
        for series, shown in running.shown().items():
            assert shown >= highest.get(series, 0.0) - 1e-12, series
            highest[series] = shown
    if repeats:
        put(store, [ALL[i] for i in repeats])
        running.drain()
        assert totals(store).pop("maslens_duplicate_spans{}") == len(repeats)
    got = totals(store)
    got.pop("maslens_duplicate_spans{}", None)
    assert got == pytest.approx(expected)
    again = tables(store)
    for row in [*again["sessions"], *facts["sessions"]]:
        row.pop("duplicate_spans")
    assert again == facts


# --- a step is begun before the last one is finished -----------------------------------------------------------------


class Meanwhile(Here):
    """Whoever waits for facts finds that something has happened before they are there, as with other processes."""

    processes = 1

    def __init__(self) -> None:
        super().__init__(with_prices)
        self.happens: list[Callable[[], None]] = []
        self.finished: Callable[[], int] = int  # steps
        self.begun = self.ahead = 0

    def begin(self, spans: pl.DataFrame, events: pl.DataFrame | None) -> Callable[[], Facts]:
        facts = super().begin(spans, events)
        self.ahead += self.begun > self.finished()
        self.begun += 1

        def wait() -> Any:
            if self.happens:
                self.happens.pop(0)()
            return facts()

        return wait


def overlapping(
    store: Store, batches: Sequence[Sequence[Span]], *, seen: Any = None, **config: Any
) -> tuple[Sidecar, Meanwhile]:
    """A sidecar that finds the next of `batches` in the store each time it has waited for the facts of one."""
    meanwhile = Meanwhile()
    running = Sidecar(seen or store, meanwhile, SidecarConfig(**{"patience": 0.0, **config}), clock=Clock())

    def arrives(spans: Sequence[Span]) -> Callable[[], None]:
        def happens() -> None:
            put(store, spans)
            running.arrived(10_000)

        return happens

    meanwhile.finished = lambda: running.status.steps_total
    put(store, batches[0])
    meanwhile.happens.extend(arrives(spans) for spans in batches[1:])
    return running, meanwhile


def run_out(running: Sidecar) -> None:
    """As its thread does."""
    for _ in range(50):
        try:
            while running._steps(overlapping=True):
                pass
        except Unavailable:
            continue
        return
    raise AssertionError("it never got through")


def test_steps_overlap_where_spans_arrive_meanwhile(store: Store) -> None:
    running, meanwhile = overlapping(store, [desk("a" * 32), desk("b" * 32), desk("c" * 32)])
    assert running._steps(overlapping=True)
    assert not running._steps(overlapping=True)
    assert (meanwhile.begun, meanwhile.ahead) == (3, 2)
    assert one(store, "maslens_agent_runs") == 6
    assert running.status.spans_total == 21
    assert running.status.failures_total == 0


def test_a_session_that_goes_on_meanwhile_is_whole_in_the_end(store: Store) -> None:
    spans = desk(session="x")
    others = [desk(letter * 32) for letter in "bcde"]
    batches = [
        [*spans[:2], *(span for other in others for span in other[:3])],
        [*spans[2:4], *(span for other in others for span in other[3:])],
        [*spans[4:6], *desk("f" * 32)],
        [*spans[6:], *desk("0" * 32, session="x")],
    ]
    put(store, [span for batch in batches for span in batch])
    sidecar(store).drain()
    expected, facts = totals(store), tables(store)
    forgetful = {"keep_spans": 1, "keep_sessions": 1}
    for memory in ({}, forgetful, {"chunk_spans": 1}, {"chunk_spans": 1, **forgetful}):
        empty(store)
        running, meanwhile = overlapping(store, batches, **memory)
        run_out(running)
        assert meanwhile.ahead
        assert tables(store) == facts
        assert totals(store) == pytest.approx(expected)


def test_what_the_next_step_depends_on_is_finished_first(store: Store) -> None:
    running, meanwhile = overlapping(store, [desk(session="desk-1"), desk("b" * 32)])
    told = meanwhile.happens[0]

    def also_told() -> None:
        put_event(store, TaskOutcome="abandoned", TargetType="session", TargetId="desk-1")
        told()

    meanwhile.happens[0] = also_told
    run_out(running)
    assert (meanwhile.begun, meanwhile.ahead) == (2, 0)
    outcomes = {row["session_id"]: row["outcome"] for row in tables(store)["sessions"]}
    assert outcomes == {"desk-1": "abandoned", "b" * 32: "success"}


def test_a_long_session_is_left_alone_however_much_arrives(store: Store) -> None:
    spans = desk()
    running, meanwhile = overlapping(store, [spans[:3], spans[3:]], long_spans=3, patience=1e6, patience_max_s=10)
    run_out(running)
    assert meanwhile.ahead == 0
    assert running.status.waiting_traces == 1
    assert one(store, "maslens_agent_tokens", type="input") == 1000


def test_a_failure_at_any_insert_of_overlapping_steps_changes_nothing(store: Store) -> None:
    batches = [desk(session="s")[:4], [*desk(session="s")[4:], *desk("b" * 32)]]
    counting = Failing(store, {})
    run_out(overlapping(store, batches, seen=counting)[0])
    expected, facts = totals(store), tables(store)
    for fail_at in range(1, counting.inserts + 1):
        empty(store)
        failing = Failing(store, {fail_at: "before" if fail_at % 2 else "after"})
        run_out(overlapping(store, batches, seen=failing)[0])
        assert totals(store) == pytest.approx(expected), fail_at
        assert tables(store) == facts, fail_at
        assert one(store, "maslens_processed_spans") == 14


def test_thread_runs_and_stops(store: Store, tmp_path: Path) -> None:
    running = Sidecar(store, with_prices, SidecarConfig(interval_s=0.02))
    running.start()
    put(store, desk())
    running.wake()
    for _ in range(200):
        if running.status.spans_total == 7:
            break
        running.wake()
        time.sleep(0.02)
    running.stop()
    assert running.status.spans_total == 7
    assert running.status.failures_total == 0
    assert any("billing" in series for series in running.shown())
    assert running.exemplars()
