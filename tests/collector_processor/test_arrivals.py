"""gRPC messages that never become whole: ended in time, bounded together, and the next good request is served."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from maslens.collector_processor import HttpLimits

from tests.collector_processor.half_sent import EXPORT, RawCalls
from tests.collector_processor.lonely import Lonely, lonely
from tests.collector_processor.test_receiver import Run
from tests.contract.otlp.endpoint import Endpoint, trace_request

MIB = 1 << 20
CHECK = "/grpc.health.v1.Health/Check"
DEADLINE_EXCEEDED, UNAVAILABLE = "4", "14"


def served(address: str) -> None:
    """A good request, and health."""
    Endpoint("", address, ours=True).export(trace_request("good"))
    with grpc.insecure_channel(address) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.fixture
def connections() -> Iterator[list[RawCalls]]:
    opened: list[RawCalls] = []
    yield opened
    for each in opened:
        each.close()


@pytest.mark.parametrize("method", [EXPORT, CHECK, "/grpc.health.v1.Health/Watch"])
def test_a_half_sent_message_is_ended(run: Run, connections: list[RawCalls], method: str) -> None:
    running = run(http=HttpLimits(body_wait=timedelta(seconds=1)))
    address = f"127.0.0.1:{running.receiver.grpc_port}"
    connections.append(calls := RawCalls(address, method=method, announced=1000))
    stream = calls.begin()
    assert calls.push(stream, 500) == 500
    started = time.monotonic()
    assert calls.ended(stream, within_s=30) == DEADLINE_EXCEEDED
    assert time.monotonic() - started > 0.5  # who is merely slow is waited for
    assert running.receiver.metrics().intake.refused == {"slow": 1}
    again = calls.begin()  # the connection itself may be used again
    assert calls.ended(again, within_s=30) == DEADLINE_EXCEEDED
    served(address)


def test_a_message_that_keeps_coming_gets_its_time(run: Run, connections: list[RawCalls]) -> None:
    running = run(http=HttpLimits(body_wait=timedelta(seconds=1), slowest_bytes=10_000))
    connections.append(calls := RawCalls(f"127.0.0.1:{running.receiver.grpc_port}", announced=40_000))
    stream = calls.begin()
    if sys.platform != "linux":
        pytest.skip("only Linux says how much a connection has received")
    for _ in range(8):
        calls.push(stream, 5000)
        assert calls.ended(stream, within_s=0.3) in ("", "3")  # 3: it was whole, and is no request
    assert calls.ended(stream, within_s=30) == "3"


def test_a_call_that_ends_without_a_message_costs_nothing(run: Run) -> None:
    running = run()
    with grpc.insecure_channel(f"127.0.0.1:{running.receiver.grpc_port}") as channel:
        call = channel.stream_unary(EXPORT)
        with pytest.raises(grpc.RpcError) as raised:
            call(iter(()), timeout=30)
        assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    served(f"127.0.0.1:{running.receiver.grpc_port}")


def test_more_than_may_wait_and_the_longest_waiting_is_let_go(
    run: Run, connections: list[RawCalls], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maslens.collector_processor.arrivals._MOST_CALLS", 20)
    running = run()
    address = f"127.0.0.1:{running.receiver.grpc_port}"
    connections.append(calls := RawCalls(address))
    streams = [calls.begin() for _ in range(25)]
    assert calls.ended(streams[0], within_s=30) == UNAVAILABLE
    calls.listen(0.5)
    assert set(calls.status) == set(streams[:5])
    assert running.receiver.metrics().intake.refused == {"busy": 5}
    served(address)


def test_connections_have_a_limit_and_it_recovers(run: Run, connections: list[RawCalls]) -> None:
    running = run(http=HttpLimits(max_connections=5))
    address = f"127.0.0.1:{running.receiver.grpc_port}"
    for _ in range(8):
        connections.append(calls := RawCalls(address))
        calls.listen(0.2)
    give_up = time.monotonic() + 20
    while sum(each.gone for each in connections) < 3 and time.monotonic() < give_up:
        for each in connections:
            each.listen(0.05)
    assert [each.gone for each in connections] == [False] * 5 + [True] * 3
    for each in connections:
        each.close()
    time.sleep(0.5)
    served(address)


def test_who_connects_and_says_nothing_is_let_go(run: Run) -> None:
    running = run(http=HttpLimits(header_wait=timedelta(seconds=1)))
    address = ("127.0.0.1", running.receiver.grpc_port)
    with socket.create_connection(address, timeout=30) as silent, socket.create_connection(address, timeout=30) as half:
        half.sendall(b"PRI * HTTP/2.0\r\n")
        for each in (silent, half):
            while each.recv(1000):  # its settings; then the end
                pass
    served(f"127.0.0.1:{running.receiver.grpc_port}")


def test_what_is_handled_counts_too_and_is_given_back(run: Run) -> None:
    """Whole messages that wait for their turn are held as much as halves are."""
    go_on = threading.Event()

    def slow(_signal: str, body: bytes) -> bytes:
        go_on.wait(60)
        return body

    running = run(http=HttpLimits(max_buffered_bytes=8 * MIB), stages=(slow,))
    endpoint = Endpoint("", f"127.0.0.1:{running.receiver.grpc_port}", ours=True)
    body = trace_request(*["x" * 1000] * 2000)  # a good 2 MiB
    with endpoint.channel() as channel:
        call = channel.unary_unary(EXPORT)
        held = [call.future(body, timeout=120) for _ in range(6)]
        give_up = time.monotonic() + 60
        while sum(each.done() for each in held) < 3 and time.monotonic() < give_up:
            time.sleep(0.05)
        go_on.set()
        codes = [each.code() for each in held]
        assert sorted(code.name for code in codes) == ["OK"] * 3 + ["UNAVAILABLE"] * 3
        for each in held:
            if each.code() == grpc.StatusCode.UNAVAILABLE:
                assert "google.rpc.retryinfo-bin" in dict(each.trailing_metadata())
        assert running.receiver.metrics().intake.refused == {"busy": 3}
        for _ in range(6):  # all of it was given back
            assert call(body, timeout=60) == b""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_two_hundred_half_sent_messages_are_bounded_in_memory(tmp_path: Path, connections: list[RawCalls]) -> None:
    """Each announces 60 MiB and sends 4: 800 MiB, of which no more than 64 MiB may be held."""
    with lonely(tmp_path, most_bytes=64 * MIB) as receiver:
        served(receiver.grpc)
        before = receiver.memory()
        for _ in range(200):
            connections.append(calls := RawCalls(receiver.grpc))
            calls.push(calls.begin(), 4 * MIB, within_s=2)
        served(receiver.grpc)
        grew = receiver.memory("VmHWM") - before
        assert grew < 250 * MIB  # between two looks more may come
        for each in connections:
            each.close()
        served(receiver.grpc)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_two_hundred_clients_that_wait_are_let_go_and_leave_nothing_behind(
    tmp_path: Path, connections: list[RawCalls]
) -> None:
    def round_of(receiver: Lonely) -> None:
        here = [RawCalls(receiver.grpc, announced=100_000) for _ in range(200)]
        connections.extend(here)
        streams = [calls.begin() for calls in here]
        for calls, stream in zip(here, streams, strict=True):
            calls.push(stream, 50_000)
        served(receiver.grpc)
        assert {calls.ended(stream, within_s=60) for calls, stream in zip(here, streams, strict=True)} == {
            DEADLINE_EXCEEDED
        }
        for calls in here:
            calls.close()

    with lonely(tmp_path, wait_s=1.0) as receiver:
        round_of(receiver)
        after_one = receiver.memory()
        for _ in range(2):
            round_of(receiver)
        served(receiver.grpc)
        assert receiver.memory() - after_one < 40 * MIB
