"""Front ends: processes before the journal's owner. What holds for one process holds for several."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maslens.collector_processor import (
    ConfigError,
    JournalConfig,
    Receiver,
    ReceiverConfig,
    RedactionRules,
    Tokens,
    redact,
)
from maslens.collector_processor.errors import TooManyRequests, TryAgain
from maslens.collector_processor.front_ends import spare_front_ends
from maslens.collector_processor.front_link import Kind, Link, pack_again, unpack_again, unpack_keep
from maslens.collector_processor.sink import Prepared
from maslens.storage import Store, Unavailable
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from tests.collector_processor.conftest import Running
from tests.collector_processor.stores import MemoryStore
from tests.collector_processor.test_anyvalue import value
from tests.contract.otlp.endpoint import Endpoint, trace_request

Run = Callable[..., Running]


def pids(running: Running) -> list[int]:
    front_ends = running.receiver.front_ends
    assert front_ends is not None
    return front_ends.pids


def until(holds: Callable[[], bool], *, within_s: float = 60.0) -> None:
    give_up = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < give_up, f"not within {within_s} s"
        time.sleep(0.05)


def sent(endpoint: Endpoint, name: str) -> None:
    """Send until it is acknowledged, as an exporter does."""
    give_up = time.monotonic() + 60
    while True:
        try:
            answer = endpoint.post(trace_request(name))
        except OSError:
            answer = None
        if answer is not None and answer.status == 200:
            return
        assert answer is None or answer.status in (429, 503), answer
        assert time.monotonic() < give_up
        time.sleep(0.05)


# --- all of them are one receiver ------------------------------------------------------------------------------------


def test_they_share_the_ports_and_their_counts_are_one(run: Run) -> None:
    running = run(front_ends=2)
    with ThreadPoolExecutor(16) as senders:
        posts = senders.map(lambda n: running.endpoint.post(trace_request(f"http {n}")).status, range(40))
        exports = senders.map(lambda n: running.endpoint.export(trace_request(f"grpc {n}")), range(40))
        assert set(posts) == {200}
        assert len(list(exports)) == 40
    assert running.endpoint.post(b"\xff\xff").status == 400
    assert (
        running.endpoint.post(
            trace_request(span_id=bytes(8)),
        ).status
        == 200
    )
    assert running.receiver.drained(30)
    until(lambda: running.receiver.metrics().intake.refused == {"malformed": 1})
    metrics = running.receiver.metrics()
    assert metrics.front_ends == 2
    assert metrics.intake.items == {"traces": 80, "logs": 0}
    assert metrics.intake.requests == {"traces": 81, "logs": 0}
    assert sum(metrics.intake.rejected.values()) == 1
    assert sorted(running.store.span_names()) == sorted(
        [f"http {n}" for n in range(40)] + [f"grpc {n}" for n in range(40)]
    )


def test_the_engine_is_not_in_them_and_they_come_back_beside_it(run: Run, chdb_store: Store) -> None:
    running = run(chdb_store, front_ends=2)
    sent(running.endpoint, "before")
    for pid in pids(running):
        assert "_chdb" not in Path(f"/proc/{pid}/maps").read_text()
    assert running.receiver.drained(60)
    victims = pids(running)
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    sent(running.endpoint, "after")
    until(lambda: running.receiver.metrics().front_ends == 2)
    assert not set(pids(running)) & set(victims)
    assert running.receiver.metrics().front_end_restarts == 2
    assert running.receiver.drained(60)
    assert [row["SpanName"] for row in chdb_store.rows("SELECT SpanName FROM otel_traces ORDER BY SpanName")] == [
        "after",
        "before",
    ]


def test_what_was_acknowledged_is_there_whoever_dies_meanwhile(run: Run) -> None:
    running = run(front_ends=2)
    acknowledged: list[str] = []

    def send(number: int) -> None:
        try:
            if running.endpoint.post(trace_request(f"span {number}")).status == 200:
                acknowledged.append(f"span {number}")
        except OSError:
            return

    with ThreadPoolExecutor(4) as senders:
        for turn in range(6):
            list(senders.map(send, range(turn * 50, turn * 50 + 50)))
            if turn % 2 == 0 and (alive := pids(running)):
                os.kill(alive[0], signal.SIGKILL)
    assert running.receiver.drained(30)
    names = running.store.span_names()
    assert set(acknowledged) <= set(names)
    assert len(names) == len(set(names))
    assert len(acknowledged) > 100
    assert running.receiver.metrics().intake.items["traces"] == len(names)


OWNER = """
import sys, time
from pathlib import Path
from maslens.collector_processor import Receiver, ReceiverConfig
from tests.collector_processor.stores import MemoryStore
receiver = Receiver(ReceiverConfig(directory=Path(sys.argv[1]), grpc_port=0, http_port=0, front_ends=2), MemoryStore())
receiver.start()
print("pids", *receiver.front_ends.pids, flush=True)
time.sleep(600)
"""


def test_they_end_with_their_owner_and_outlive_a_ctrl_c_of_it(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert owner.stdout is not None
    told = next(line for line in owner.stdout if line.startswith(b"pids"))
    children = [int(pid) for pid in told.split()[1:]]
    try:
        assert len(children) == 2
        for pid in children:
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGTERM)
        time.sleep(0.3)
        assert all(_lives(pid) for pid in children)
    finally:
        owner.kill()
        owner.wait(30)
        owner.stdout.close()
    until(lambda: not any(_lives(pid) for pid in children), within_s=20)


def test_stopping_ends_them(run: Run) -> None:
    running = run(front_ends=2)
    children = pids(running)
    sent(running.endpoint, "one")
    running.receiver.stop(drain=10)
    assert not any(_lives(pid) for pid in children)
    assert running.store.span_names() == ["one"]


# --- limits, rates and rules are those of one receiver ----------------------------------------------------------------


def test_a_rate_is_shared(run: Run) -> None:
    tokens = Tokens.parse("a-token-of-some-length name=fleet rate=20K", source="test")
    running = run(front_ends=3, tokens=tokens)
    body = trace_request("x" * 2000)

    def post(_: int) -> int:
        return running.endpoint.post(body, Authorization="Bearer a-token-of-some-length").status

    started = time.monotonic()
    with ThreadPoolExecutor(12) as senders:
        statuses = list(senders.map(post, range(120)))
    took = time.monotonic() - started
    assert set(statuses) == {200, 429}
    # A second's worth at once, the rate from then on, and one request of debt for each that was let in at the edge.
    assert statuses.count(200) * len(body) <= 20 * 1024 * (1 + took) + 12 * len(body)


def test_a_full_journal_is_said_before_the_body_is_read_and_what_was_taken_is_loaded(run: Run) -> None:
    store = MemoryStore()

    def away(_token: str, _body: bytes) -> None:
        raise Unavailable("away")

    store.before = away
    journal = JournalConfig(segment_bytes=4096, max_bytes=16384, min_free_bytes=0)
    running = run(store, front_ends=2, journal=journal)
    acknowledged, answer = 0, running.endpoint.post(trace_request("span 0"))
    while answer.status == 200 and acknowledged < 1000:
        acknowledged += 1
        answer = running.endpoint.post(trace_request(f"span {acknowledged}"))
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) >= 1
    until(lambda: running.receiver.metrics().intake.refused.get("journal_full", 0) >= 1)
    store.before = lambda _token, _body: None
    assert running.receiver.drained(60)
    sent(running.endpoint, "recovered")
    assert running.receiver.drained(60)
    assert running.store.span_names() == [f"span {n}" for n in range(acknowledged)] + ["recovered"]


def test_redaction_happens_in_them(run: Run) -> None:
    running = run(front_ends=1, stages=(redact(RedactionRules(keys=("*password*",))),))
    running.endpoint.post(trace_request("span", attributes=[KeyValue(key="db.password", value=value("hunter2"))]))
    assert running.receiver.drained(30)
    (body,) = running.store.bodies.values()
    assert b"hunter2" not in body
    assert b"[redacted]" in body


def test_a_stage_that_cannot_be_sent_to_them_is_an_error_at_start(tmp_path: Path) -> None:
    receiver = Receiver(
        ReceiverConfig(
            directory=tmp_path, grpc_port=0, http_port=0, front_ends=1, stages=(lambda _signal, body: body,)
        ),
        MemoryStore(),
    )
    with pytest.raises(ConfigError, match="a stage cannot be sent to a front end"):
        receiver.start()


@pytest.mark.parametrize("which", ["grpc_port", "http_port"])
@pytest.mark.parametrize("later", [0, 2])
def test_a_port_of_theirs_is_taken(run: Run, tmp_path: Path, which: str, later: int) -> None:
    running = run(front_ends=2)
    ports = {"grpc_port": 0, "http_port": 0, which: getattr(running.receiver, which)}
    second = Receiver(ReceiverConfig(directory=tmp_path / "second", front_ends=later, **ports), MemoryStore())
    with pytest.raises(ConfigError, match="cannot start"):
        second.start()


def test_they_take_the_same_port_again(run: Run) -> None:
    first = run(front_ends=2)
    ports = {"grpc_port": first.receiver.grpc_port, "http_port": first.receiver.http_port}
    sent(first.endpoint, "one")
    first.receiver.stop()
    second = run(front_ends=2, **ports)
    sent(second.endpoint, "two")
    assert second.endpoint.export(trace_request("three")) == b""


@pytest.mark.parametrize(("cores", "number"), [(1, 0), (2, 0), (3, 0), (4, 1), (8, 3), (16, 7), (64, 8)])
def test_how_many_are_worth_it(cores: int, number: int) -> None:
    assert spare_front_ends(cores) == number


# --- the link ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [TryAgain, TooManyRequests])
def test_a_refusal_survives_the_way(kind: type[TryAgain]) -> None:
    refusal = unpack_again(memoryview(pack_again(kind("not now: ünïcode", reason="journal_full"))))
    assert type(refusal) is kind
    assert (str(refusal), refusal.reason, refusal.delay.total_seconds()) == ("not now: ünïcode", "journal_full", 1.0)


FRAMES = st.lists(
    st.tuples(
        st.binary(max_size=70_000),
        st.integers(0, 2**32 - 1),
        st.dictionaries(st.text(max_size=20), st.integers(0, 99), max_size=3),
    ),
    max_size=6,
)


@settings(max_examples=40, deadline=None)
@given(frames=FRAMES)
def test_frames_arrive_as_they_left(frames: list[tuple[bytes, int, dict[str, int]]]) -> None:
    arrived: list[tuple[bytes, int, dict[str, int]]] = []
    notes: list[int] = []

    def on_frame(_link: Link, kind: Kind, number: int, body: memoryview) -> None:
        if kind is Kind.DONE:
            notes.append(number)
            return
        _signal, prepared, size, mended = unpack_keep(body)
        assert mended
        arrived.append((bytes(prepared.body), size, dict(prepared.rejected)))

    async def talk() -> None:
        loop = asyncio.get_running_loop()
        one, other = socket.socketpair()
        lost = asyncio.Event()
        await loop.create_connection(lambda: Link(on_frame, lost.set), sock=other)
        _, sender = await loop.create_connection(lambda: Link(on_frame, lambda: None), sock=one)
        for number, (body, size, rejected) in enumerate(frames):
            sender.send(Kind.DONE, number)
            sender.send_keep(number, "logs", Prepared(body, 1, rejected), size=size, mended=True)
        sender.close()
        await asyncio.wait_for(lost.wait(), 20)

    asyncio.run(talk())
    assert arrived == frames
    assert notes == list(range(len(frames)))


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
