"""What the loader promises: everything once, the poison aside, whatever the store says in between."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from maslens.collector_processor.batching import BatchConfig, Pace, seconds_until_due
from maslens.collector_processor.deadletter import DeadLetterConfig, DeadLetters
from maslens.collector_processor.errors import ConfigError
from maslens.collector_processor.journal import Journal, JournalConfig, Pending
from maslens.collector_processor.loader import Loader, LoaderConfig, is_half_loaded
from maslens.storage import Rejected, Unavailable
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.collector_processor import stores

QUICK = LoaderConfig(
    batch=BatchConfig(idle_wait=timedelta(milliseconds=5), busy_wait=timedelta(milliseconds=20)),
    first_retry=timedelta(milliseconds=5),
    last_retry=timedelta(milliseconds=20),
    patience=5,
)
ALL = {"max_bytes": 1 << 30, "max_items": 1 << 30}


def request(*names: str) -> bytes:
    message = ExportTraceServiceRequest()
    scope = message.resource_spans.add().scope_spans.add()
    for name in names:
        scope.spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name=name)
    return message.SerializeToString()


class Bench:
    """A journal, a store in memory and a loader between them."""

    def __init__(self, directory: Path, config: LoaderConfig = QUICK, **dead: int) -> None:
        self.journal = Journal(directory / "journal", JournalConfig(min_free_bytes=0))
        self.store = stores.MemoryStore()
        self.dead_letters = DeadLetters(directory / "deadletter", DeadLetterConfig(**dead))
        self.loader = Loader(self.journal, self.store, self.dead_letters, config)

    def append(self, *names: str) -> None:
        for name in names:
            self.journal.append("traces", request(name), items=1).result(5)

    def close(self) -> None:
        self.loader.stop()
        self.journal.close()


@contextmanager
def bench(directory: Path, config: LoaderConfig = QUICK, *, start: bool = True, **dead: int) -> Iterator[Bench]:
    made = Bench(directory, config, **dead)
    try:
        if start:
            made.loader.start()
        yield made
    finally:
        made.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "never happened"
        time.sleep(0.005)


def test_what_is_appended_is_loaded_once(tmp_path: Path) -> None:
    with bench(tmp_path) as made:
        made.append("a", "b", "c")
        made.journal.append("logs", b"", items=1).result(5)
        assert made.loader.drained(10)
        assert sorted(made.store.span_names()) == ["a", "b", "c"]
        stats = made.loader.stats()
        assert stats.loaded_items == {"traces": 3, "logs": 1}
        assert stats.insert_seconds_buckets[10.0] == stats.inserts


def test_who_wants_to_know_is_told_after_each_insert(tmp_path: Path) -> None:
    told: list[tuple[int, list[str]]] = []
    with bench(tmp_path, start=False) as made:
        made.loader = Loader(
            made.journal,
            made.store,
            made.dead_letters,
            QUICK,
            on_loaded=lambda items: told.append((items, made.store.span_names())),
        )
        made.loader.start()
        made.append("a")
        until(lambda: bool(told))
        assert told == [(1, ["a"])]
        made.append("b")
        until(lambda: len(told) == 2)
        assert sorted(told[1][1]) == ["a", "b"]


def test_a_store_that_is_away_gets_the_same_token_and_bytes_until_it_takes_them(tmp_path: Path) -> None:
    with bench(tmp_path, start=False) as made:
        made.store.before = stores.unavailable_for(5)
        made.append("a", "b")
        made.loader.start()
        assert made.loader.drained(10)
        assert len(made.store.seen) == 6
        assert len(set(made.store.seen)) == 1
        assert made.store.span_names() == ["a", "b"]
        stats = made.loader.stats()
        assert (stats.retries, stats.failing_since_ns) == (5, 0)


def test_an_unforeseen_error_is_tried_again_too(tmp_path: Path) -> None:
    failed = []

    def fail(_token: str, _body: bytes) -> None:
        if not failed:
            failed.append(1)
            raise ZeroDivisionError

    with bench(tmp_path) as made:
        made.store.before = fail
        made.append("a")
        assert made.loader.drained(10)
        assert made.store.span_names() == ["a"]


def test_a_lost_answer_doubles_nothing(tmp_path: Path) -> None:
    with bench(tmp_path) as made:
        made.store.after = stores.unavailable_for(3)
        made.append("a", "b")
        assert made.loader.drained(10)
        assert sorted(made.store.span_names()) == ["a", "b"]


def test_a_request_that_fails_for_ever_without_being_refused_holds_up_nobody(tmp_path: Path) -> None:
    names = [f"n{index}" for index in range(10)]
    with bench(tmp_path, start=False) as made:
        made.store.before = stores.fails_on(b"n7", "Code: 4242. DB::Exception: what nobody has foreseen")
        made.append(*names)
        made.loader.start()
        until(lambda: made.loader.stats().parked == 1)
        assert sorted(made.store.span_names()) == sorted(set(names) - {"n7"})
        made.append("later")
        until(lambda: "later" in made.store.span_names() and len(made.journal.outstanding()) == 1)
        assert made.dead_letters.list() == []
        (left,) = made.journal.outstanding()  # still to be loaded
        bodies, signals = made.store.bodies, made.store.signals
    with bench(tmp_path, start=False) as made:
        made.store.bodies, made.store.signals = bodies, signals
        made.loader.start()
        assert made.loader.drained(10)
        assert sorted(made.store.span_names()) == sorted([*names, "later"])
        assert left.token in made.store.bodies


@pytest.mark.parametrize(
    "message",
    [
        pytest.param("connection refused", id="the store does not answer"),
        pytest.param("Code: 243. DB::Exception: Not enough space", id="its disk is full"),
        pytest.param("Code: 241. x: while pushing to view m.agent_spans_mv: while", id="the base table has the rows"),
    ],
)
def test_what_every_batch_would_meet_is_waited_for(tmp_path: Path, message: str) -> None:
    with bench(tmp_path, start=False) as made:
        made.store.before = stores.fails_on(b"n", message)
        made.append("n1", "n2")
        made.loader.start()
        until(lambda: made.loader.stats().retries > 2 * QUICK.patience)
        assert len(made.journal.outstanding()) == 1
        assert made.loader.stats().parked == 0


def test_a_poisoned_request_is_put_aside_alone_and_everything_else_is_loaded_once(tmp_path: Path) -> None:
    names = [f"n{index}" for index in range(40)]
    with bench(tmp_path, start=False) as made:
        made.store.before = stores.rejects(b"n17")
        made.append(*names)
        made.loader.start()
        assert made.loader.drained(10)
        assert sorted(made.store.span_names()) == sorted(set(names) - {"n17"})
        (letter,) = made.dead_letters.list()
        assert made.dead_letters.body(letter) == request("n17")
        assert "Cannot read all data" in letter.reason
        assert made.loader.stats().dead_letters == 1
        assert made.journal.outstanding() == ()


@pytest.mark.parametrize("inserts", range(1, 12))
def test_a_stop_in_the_middle_of_bisecting_changes_nothing(tmp_path: Path, inserts: int) -> None:
    """Stop after so many attempts, go on in a new life: everything once, the poison aside."""
    names = [f"n{index}" for index in range(8)]
    first = Bench(tmp_path)
    poison = stores.rejects(b"n5")
    attempts = []

    def stop_after(token: str, body: bytes) -> None:
        attempts.append(token)
        if len(attempts) >= inserts:
            first.loader._stop.set()
        poison(token, body)

    first.store.before = stop_after
    first.append(*names)
    first.loader.start()
    until(lambda: first.loader._stop.is_set() or not first.journal.outstanding())
    first.close()
    second = Bench(tmp_path)
    second.store.bodies, second.store.signals = first.store.bodies, first.store.signals
    second.store.before = poison
    second.loader.start()
    assert second.loader.drained(10)
    second.close()
    assert sorted(second.store.span_names()) == sorted(set(names) - {"n5"})
    assert len(second.dead_letters.list()) == 1


def test_a_batch_that_a_later_view_refuses_is_kept_whole_with_its_token(tmp_path: Path) -> None:
    refusing = [True]

    def view(_token: str, body: bytes) -> None:  # after: the base table has the rows
        if refusing[0] and b"bad" in body:
            raise Rejected("Code: 6. DB::Exception: Cannot parse: while pushing to view maslens.agent_spans_mv: ...")

    with bench(tmp_path, start=False) as made:
        made.store.after = view
        made.append("good", "bad")
        made.loader.start()
        assert made.loader.drained(10)
        assert made.store.span_names() == ["good", "bad"]  # bisecting would have stored them again
        (letter,) = made.dead_letters.list()
        assert letter.half_loaded
        assert made.dead_letters.retry(lambda signal, body: None) == (0, 1)  # a new request would double its rows
        bodies, signals = made.store.bodies, made.store.signals
    refusing[0] = False
    with bench(tmp_path, start=False) as made:
        made.store.bodies, made.store.signals = bodies, signals
        made.loader.start()
        until(lambda: not made.dead_letters.list())
        assert made.store.span_names() == ["good", "bad"]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        pytest.param("Code: 241. x: while pushing to view m.agent_spans_mv: while pushing to view m.t_decode.", True),
        pytest.param("Code: 6. DB::Exception: x: while pushing to view maslens.otel_traces_decode. (CANNOT)", False),
        pytest.param("Code: 33. DB::Exception: Cannot read all data", False),
    ],
)
def test_half_loaded_is_known_by_the_view(reason: str, expected: bool) -> None:
    assert is_half_loaded(reason) is expected


def test_the_dead_letter_folder_has_a_limit_and_what_is_past_it_is_counted(tmp_path: Path) -> None:
    with bench(tmp_path, start=False, max_files=2) as made:
        made.store.before = stores.rejects(b"bad")
        made.append("bad1", "ok1", "bad2", "bad3", "ok2")
        made.loader.start()
        assert made.loader.drained(10)
        assert made.store.span_names() == ["ok1", "ok2"]
        stats = made.loader.stats()
        assert (stats.dead_letters, stats.dead_letters_dropped) == (2, 1)
        assert len(made.dead_letters.list()) == 2


def letters_in(folder: DeadLetters, number: int, *, received_ns: int = 0) -> None:
    for index in range(number):
        folder.add(
            request(f"l{index}"),
            signal="traces",
            reason="r",
            token=f"u:{index}",
            items=1,
            received_ns=received_ns + index + 1,
        )


def test_dead_letters_are_inserted_again_under_their_tokens(tmp_path: Path) -> None:
    folder = DeadLetters(tmp_path)
    letters_in(folder, 3)
    sent: list[str] = []

    def insert(_signal: str, _body: bytes, token: str) -> None:
        if token == "u:1":
            raise Unavailable("still not")
        sent.append(token)

    assert folder.retry(insert) == (2, 1)
    assert sent == ["u:0", "u:2"]
    (left,) = DeadLetters(tmp_path).list()
    assert left.token == "u:1"
    assert folder.retry(lambda _signal, _body, token: sent.append(token), names=[left.name]) == (1, 0)
    assert (folder.count, folder.size) == (0, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_retry_that_was_killed_before_it_could_forget_stores_nothing_twice(tmp_path: Path) -> None:
    with bench(tmp_path, start=False) as made:
        letters_in(made.dead_letters, 3)

        class Killed(BaseException):
            pass

        def killed(_token: str, body: bytes) -> None:
            if b"l1" in body:
                raise Killed

        made.store.after = killed
        with pytest.raises(Killed):
            made.loader.retry_dead_letters()
        made.store.after = lambda _token, _body: None
        assert [letter.token for letter in made.dead_letters.list()] == ["u:1", "u:2"]
        assert made.loader.retry_dead_letters() == (2, 0)
        assert made.store.span_names() == ["l0", "l1", "l2"]


def test_dead_letters_go_when_they_are_too_old(tmp_path: Path) -> None:
    folder = DeadLetters(tmp_path, DeadLetterConfig(keep_for=timedelta(days=1)))
    letters_in(folder, 2, received_ns=time.time_ns() - 2 * 86_400 * 10**9)
    assert folder.expired >= 1  # the first when the second came
    letters_in(folder, 1, received_ns=time.time_ns())
    assert (folder.expired, folder.count, len(folder.list())) == (2, 1, 1)


def test_room_that_somebody_else_made_is_seen(tmp_path: Path) -> None:
    folder = DeadLetters(tmp_path, DeadLetterConfig(max_files=1))
    letters_in(folder, 2)
    assert folder.count == 1
    DeadLetters(tmp_path).forget(folder.list()[0])
    letters_in(folder, 1)
    assert len(folder.list()) == 1


def test_an_unreadable_description_hides_no_other_letter(tmp_path: Path) -> None:
    folder = DeadLetters(tmp_path)
    folder.add(b"x", signal="logs", reason="r", token="u:1", items=1, received_ns=1)
    (tmp_path / "0.json").write_text("{")
    (tmp_path / "1.json").write_text(json.dumps({"name": "x"}))
    assert [letter.token for letter in DeadLetters(tmp_path).list()] == ["u:1"]


def test_stopping_does_not_wait_for_a_store_that_is_away(tmp_path: Path) -> None:
    with bench(tmp_path, LoaderConfig(first_retry=timedelta(seconds=30), last_retry=timedelta(seconds=30))) as made:
        made.store.before = stores.unavailable_for(1000)
        made.append("a")
        until(lambda: made.loader.stats().retries > 0)
        assert made.loader.stats().failing_since_ns > 0
        started = time.monotonic()
        made.loader.stop()
        assert time.monotonic() - started < 5
        assert not made.loader.drained(0.01)


def test_appending_goes_on_while_the_store_hangs(tmp_path: Path) -> None:
    hang = threading.Event()
    with bench(tmp_path) as made:
        made.store.before = lambda _token, _body: hang.wait(10) and None
        made.append("a")
        until(lambda: bool(made.store.seen))
        made.append("b", "c")
        assert made.journal.pending("traces").records == 2
        hang.set()
        assert made.loader.drained(10)
        assert made.store.span_names() == ["a", "b", "c"]


def test_several_workers_load_everything_once(tmp_path: Path) -> None:
    config = LoaderConfig(batch=BatchConfig(max_items=3, idle_wait=timedelta(0), busy_wait=timedelta(0)), workers=4)
    names = [f"n{index}" for index in range(100)]
    with bench(tmp_path, config) as made:
        made.append(*names)
        assert made.loader.drained(20)
        assert sorted(made.store.span_names()) == sorted(names)


CONFIG = BatchConfig(max_bytes=1000, max_items=10, idle_wait=timedelta(seconds=0.1), busy_wait=timedelta(seconds=0.7))


@pytest.mark.parametrize(
    ("pending", "busy", "expected"),
    [
        pytest.param(Pending(), 0.0, math.inf, id="nothing waits"),
        pytest.param(Pending(1, 1, 10, 10**9), 0.0, 0.1, id="idle: soon"),
        pytest.param(Pending(1, 1, 10, 10**9), 1.0, 0.7, id="busy: later"),
        pytest.param(Pending(1, 1, 10, 5 * 10**8), 0.5, -0.1, id="old enough"),
        pytest.param(Pending(1, 1, 1000, 10**9), 1.0, 0.0, id="enough bytes"),
        pytest.param(Pending(1, 10, 10, 10**9), 1.0, 0.0, id="enough spans"),
    ],
)
def test_when_a_batch_is_due(pending: Pending, busy: float, expected: float) -> None:
    assert seconds_until_due(pending, now_ns=10**9, busy=busy, config=CONFIG) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("items", "rested", "expected"),
    [
        pytest.param(3, math.inf, 0.1, id="the first"),
        pytest.param(3, 0.5, 1.0, id="few, and an insert has just been"),
        pytest.param(3, 1.45, 0.1, id="few, and it is long enough ago"),
        pytest.param(7, 0.0, 0.1, id="many"),
    ],
)
def test_few_do_not_go_insert_upon_insert(items: int, rested: float, expected: float) -> None:
    config = replace(CONFIG, few_items=5, few_wait=timedelta(seconds=1.5))
    pending = Pending(1, items, 10, 10**9)
    assert seconds_until_due(pending, now_ns=10**9, busy=0.0, rested=rested, config=config) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("unseen", "size", "received_ns", "expected"),
    [
        pytest.param(0.05, 10, 10**9, 0.1, id="seen at once: as ever"),
        pytest.param(0.8, 10, 10**9, 0.8, id="nobody looks sooner"),
        pytest.param(0.8, 1000, 10**9, 0.0, id="enough bytes"),
        pytest.param(60.0, 10, 10**9, 2.0, id="not for ever"),
        pytest.param(60.0, 10, -(10**9), 0.0, id="long enough"),
    ],
)
def test_what_nobody_would_see_waits_for_company(unseen: float, size: int, received_ns: int, expected: float) -> None:
    config = replace(CONFIG, unseen_wait=timedelta(seconds=2))
    pending = Pending(1, 1, size, received_ns)
    assert seconds_until_due(pending, now_ns=10**9, busy=0.0, unseen=unseen, config=config) == pytest.approx(expected)


def test_it_waits_while_nobody_looks(tmp_path: Path) -> None:
    there: list[list[str]] = []

    def looks_in(after: float) -> float:
        there.append(made.store.span_names())
        return after + (60.0 if len(there) < 5 else 0.0)

    with bench(tmp_path, start=False) as made:
        made.append("a")
        made.loader = Loader(made.journal, made.store, made.dead_letters, QUICK, looks_in=looks_in)
        made.loader.start()
        assert made.loader.drained(20)
        assert made.store.span_names() == ["a"]
        assert there[:5] == [[]] * 5


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5)), max_size=30))
def test_the_busy_share_stays_a_share_and_fades(spells: list[tuple[float, float]]) -> None:
    pace, now = Pace(now=0.0), 0.0
    for rest, work in spells:
        pace.inserted(started=now + rest, ended=now + rest + work)
        now += rest + work
        assert 0.0 <= pace.busy(now) <= 1.0
    assert pace.busy(now + 120) < 1e-6


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"batch\.max_bytes"):
        BatchConfig(max_bytes=0)
    with pytest.raises(ConfigError, match=r"batch\.few_wait"):
        BatchConfig(few_wait=timedelta(seconds=-1))
    with pytest.raises(ConfigError, match=r"loader\.workers"):
        LoaderConfig(workers=0)
    with pytest.raises(ConfigError, match=r"dead_letters\.max_files"):
        DeadLetterConfig(max_files=-1)
