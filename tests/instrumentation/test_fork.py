"""A forked child reports by itself: its own connection, its own thread, and nothing of its parent's a second time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.instrumentation.otlp_sink import Sink, spans_of
from tests.instrumentation.test_setup import program

PREFORK = """
import os, sys
from maslens.instrumentation import agent, init, vote
from opentelemetry import _logs, trace
assert init({arguments})
with agent("before"):
    vote("before", consensus="c")
assert trace.get_tracer_provider().force_flush(20_000)
with agent("waiting"):
    vote("waiting", consensus="c")
children = []
for number in range(3):
    if (child := os.fork()) == 0:
        with agent("child"):
            vote("child", consensus="c")
        if number == 0:  # as a program ends
            sys.exit(0)
        assert trace.get_tracer_provider().force_flush(20_000)
        assert number == 1 or _logs.get_logger_provider().force_flush(20_000)
        os._exit(0)
    children.append(child)
statuses = [os.waitpid(child, 0)[1] for child in children]
with agent("after"):
    pass
assert statuses == [0, 0, 0], statuses
"""


@pytest.fixture
def sink() -> Iterator[Sink]:
    made = Sink().start()
    yield made
    made.stop()


def test_each_child_has_a_connection_of_its_own_and_no_span_comes_twice(sink: Sink) -> None:
    done = program(PREFORK.format(arguments=""), sink.url, OTEL_BSP_SCHEDULE_DELAY="60000")
    assert (done.returncode, done.stderr) == (0, "")
    names = [span.name.removeprefix("invoke_agent ") for span in sink.spans]
    assert Counter(names) == {"before": 1, "waiting": 1, "child": 3, "after": 1}
    votes = Counter(log.attributes["mas.vote.option"] for log in sink.logs)
    assert votes == {"before": 1, "waiting": 1, "child": 2}, "the one that flushed its spans alone lost its vote"
    ports: dict[str, set[int]] = {}
    for port, path, body in sink.callers:
        for span in spans_of(body) if path == "/v1/traces" else ():
            ports.setdefault(span.name, set()).add(port)
    assert len(ports["invoke_agent child"]) == 3
    assert not ports["invoke_agent child"] & (ports["invoke_agent before"] | ports["invoke_agent after"])


def test_a_child_of_a_parent_that_is_sending_reports_too(sink: Sink) -> None:
    sink.delay = 1.0
    code = """
import os
from maslens.instrumentation import agent, init
from opentelemetry import trace
init()
flush = trace.get_tracer_provider().force_flush
with agent("parent"):
    pass
assert not flush(300)  # on its way
if (child := os.fork()) == 0:
    with agent("child"):
        pass
    os._exit(0 if flush(20_000) else 1)
assert os.waitpid(child, 0)[1] == 0
assert flush(20_000)
"""
    done = program(code, sink.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert Counter(span.name for span in sink.spans) == {"invoke_agent parent": 1, "invoke_agent child": 1}


def test_over_grpc_too(sink: Sink) -> None:
    pytest.importorskip("grpc")
    from concurrent import futures

    import grpc
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as services

    peers: list[tuple[str, str]] = []

    class Traces(services.TraceServiceServicer):
        def Export(self, request: messages.ExportTraceServiceRequest, context: grpc.ServicerContext) -> object:
            peers.extend((span.name, context.peer()) for span in spans_of(request.SerializeToString()))
            return messages.ExportTraceServiceResponse()

    server = grpc.server(futures.ThreadPoolExecutor(4))
    services.add_TraceServiceServicer_to_server(Traces(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        code = PREFORK.format(arguments="protocol='grpc'")
        done = program(code, f"http://127.0.0.1:{port}", OTEL_LOGS_EXPORTER="none", OTEL_BSP_SCHEDULE_DELAY="60000")
    finally:
        server.stop(None).wait()
    assert done.returncode == 0, done.stderr
    sent = Counter(name.removeprefix("invoke_agent ") for name, _ in peers)
    assert sent == {"before": 1, "waiting": 1, "child": 3, "after": 1}
    children = {peer for name, peer in peers if name == "invoke_agent child"}
    assert len(children) == 3 and not children & {peer for name, peer in peers if name != "invoke_agent child"}


def test_a_child_that_writes_nothing_ends_as_it_would_without_us(sink: Sink) -> None:
    code = """
import os, sys
from maslens.instrumentation import agent, init
init()
with agent("parent"):
    pass
if os.fork() == 0:
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 7
"""
    done = program(code, sink.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert [span.name for span in sink.spans] == ["invoke_agent parent"]


def test_a_command_with_something_to_do_between_fork_and_exec_runs_as_ever(sink: Sink) -> None:
    code = """
import subprocess, sys
from maslens.instrumentation import agent, init
init()
with agent("parent"):
    pass
done = subprocess.run([sys.executable, "-c", "print(7)"], preexec_fn=lambda: None, capture_output=True, text=True)
assert (done.stdout, done.stderr) == ("7\\n", ""), done
"""
    done = program(code, sink.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert [span.name for span in sink.spans] == ["invoke_agent parent"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_first_export_imports_nothing(sink: Sink, host: str) -> None:
    """A child that is forked meanwhile would wait for ever for the lock of a module that is being imported."""
    code = """
import sys
from maslens.instrumentation import agent, init
from opentelemetry import trace
init()
with agent("desk"):
    pass
before = set(sys.modules)
assert trace.get_tracer_provider().force_flush(20_000)
print(sorted(set(sys.modules) - before))
"""
    done = program(code, sink.url.replace("127.0.0.1", host))
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def test_forks_among_threads_that_write_and_flush_lose_nothing_and_send_nothing_twice(sink: Sink) -> None:
    code = """
import os, threading, time
from maslens.instrumentation import agent, init, internal_errors
from opentelemetry import trace
init()
over = threading.Event()

def write(name):
    number = 0
    while not over.is_set():
        with agent(f"{name}-{number}"):
            pass
        number += 1
        time.sleep(0.0005)
    os.write(1, f"{name} {number}\\n".encode())  # whole: threads that print get into each other's lines

def flush():
    while not over.wait(0.01):
        trace.get_tracer_provider().force_flush(5)

threads = [threading.Thread(target=write, args=(f"parent{n}",), daemon=True) for n in range(4)]
threads.append(threading.Thread(target=flush, daemon=True))
for thread in threads:
    thread.start()
children = []
for number in range(8):
    time.sleep(0.03)
    if (child := os.fork()) == 0:
        for step in range(10):
            with agent(f"child{number}-{step}"):
                pass
        flushed = trace.get_tracer_provider().force_flush(20_000)
        if not flushed or internal_errors():
            os.write(2, f"child{number}: {flushed=} {internal_errors()}\\n".encode())
        os._exit(0 if flushed and not internal_errors() else 1)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8
over.set()
for thread in threads:
    thread.join()
assert not internal_errors()
"""
    done = program(code, sink.url)
    assert (done.returncode, done.stderr) == (0, "")
    written = {name: int(count) for name, count in (line.split() for line in done.stdout.splitlines())}
    written.update({f"child{number}": 10 for number in range(8)})
    expected = {f"invoke_agent {name}-{step}" for name, count in written.items() for step in range(count)}
    assert Counter(span.name for span in sink.spans) == Counter(expected)
