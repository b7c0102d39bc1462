"""`init` in real processes: what arrives, what it adds to others' set-up, and what it costs when nobody listens."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from maslens.instrumentation.config import ConfigError, export_config, unset_limits

from tests.instrumentation.otlp_sink import Sink


@pytest.fixture
def sink() -> Iterator[Sink]:
    made = Sink().start()
    yield made
    made.stop()


def program(code: str, endpoint: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "MASLENS_"))}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


def nobody_listens() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


STEP = """
from maslens.instrumentation import agent, tool, vote
with agent("a"), tool("t"):
    vote("yes", consensus="c")
"""


def test_spans_and_events_arrive_with_the_programs_end(sink: Sink) -> None:
    done = program("from maslens.instrumentation import init; assert init(service_name='desk')" + STEP, sink.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(span.name for span in sink.spans) == ["execute_tool t", "invoke_agent a"]
    assert [log.event for log in sink.logs] == ["mas.vote.cast"]
    assert sink.spans[0].resource["service.name"] == "desk"
    assert sink.spans[0].resource["telemetry.distro.name"] == "maslens"


def test_grpc_is_there_for_those_who_ask(sink: Sink) -> None:
    pytest.importorskip("grpc")
    from concurrent import futures

    import grpc
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as services

    class Traces(services.TraceServiceServicer):
        def Export(self, request: messages.ExportTraceServiceRequest, _: object) -> object:
            sink.take("/v1/traces", request.SerializeToString())
            return messages.ExportTraceServiceResponse()

    server = grpc.server(futures.ThreadPoolExecutor(2))
    services.add_TraceServiceServicer_to_server(Traces(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        code = "from maslens.instrumentation import init; init(protocol='grpc')" + STEP
        done = program(code, f"http://127.0.0.1:{port}", OTEL_LOGS_EXPORTER="none")
    finally:
        server.stop(None).wait()
    assert done.returncode == 0, done.stderr
    assert len(sink.spans) == 2


def test_calling_it_twice_sends_once(sink: Sink) -> None:
    code = "from maslens.instrumentation import init; init(); init(); init('" + sink.url + "')" + STEP
    assert program(code, sink.url).returncode == 0
    assert len(sink.spans) == 2


def test_after_a_shutdown_it_can_be_called_again(sink: Sink) -> None:
    """As a notebook does, or a test run."""
    code = """
from maslens.instrumentation import init, agent, shutdown, vote
for name in ("a", "b", "c"):
    assert init()
    with agent(name):
        vote(name, consensus="c")
    if name != "c":
        shutdown()
"""
    done = program(code, sink.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(span.name for span in sink.spans) == ["invoke_agent a", "invoke_agent b", "invoke_agent c"]
    assert sorted(log.attributes["mas.vote.option"] for log in sink.logs) == ["a", "b", "c"]


def test_a_provider_that_nobody_shuts_down_loses_nothing_of_ours(sink: Sink) -> None:
    code = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider(shutdown_on_exit=False))
from maslens.instrumentation import init, agent
init()
with agent("a"):
    pass
"""
    done = program(code, sink.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert [span.name for span in sink.spans] == ["invoke_agent a"]


def test_a_processor_that_fails_at_the_end_holds_nobody_else_back(sink: Sink) -> None:
    code = """
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
class Broken(SpanProcessor):
    def shutdown(self):
        raise RuntimeError("broken")
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(Broken())
trace.set_tracer_provider(provider)
from maslens.instrumentation import init, agent, shutdown, vote
init()
with agent("a"):
    vote("a", consensus="c")
shutdown()
import os
os._exit(0)
"""
    done = program(code, sink.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(sink.spans) == len(sink.logs) == 1


def test_where_the_sdk_is_disabled_nothing_is_started(sink: Sink) -> None:
    code = "from maslens.instrumentation import init; import threading; assert init(); print(threading.active_count())"
    done = program(code + STEP, sink.url, OTEL_SDK_DISABLED="true")
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
    assert sink.requests == 0


def test_a_limit_that_the_sdk_cannot_read_is_said_and_not_raised(sink: Sink) -> None:
    code = "from maslens.instrumentation import init, shutdown; assert init() is False" + STEP + "shutdown()"
    done = program(code, sink.url, OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT="many")
    assert done.returncode == 0, done.stderr
    assert "maslens is off in this process: OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT" in done.stderr


def test_a_long_conversation_keeps_its_attributes(sink: Sink) -> None:
    code = """
from maslens.instrumentation import init, agent
init()
with agent("a") as run:
    for number in range(400):
        run.set(f"llm.input_messages.{number}", "x")
"""
    program(code, sink.url)
    assert len(sink.named("invoke_agent a").attributes) == 403
    sink.spans.clear()
    program(code, sink.url, OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT="10")
    assert len(sink.named("invoke_agent a").attributes) == 10


SOMEBODY_ELSES = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
provider = TracerProvider()
{exporter}
trace.set_tracer_provider(provider)
from maslens.instrumentation import init, session
init({arguments})
assert trace.get_tracer_provider() is provider
with session("c-1"), trace.get_tracer("theirs").start_as_current_span("theirs"):
    pass
"""
EXPORTER = "provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter('{url}/v1/traces')))"


def test_a_provider_without_exporter_gets_ours_and_the_stamp(sink: Sink) -> None:
    done = program(SOMEBODY_ELSES.format(exporter="", arguments=""), sink.url)
    assert done.returncode == 0, done.stderr
    assert sink.named("theirs").attributes["gen_ai.conversation.id"] == "c-1"


def test_a_provider_that_exports_already_gets_only_the_stamp(sink: Sink) -> None:
    code = SOMEBODY_ELSES.format(exporter=EXPORTER.format(url=sink.url), arguments="")
    done = program(code, nobody_listens())
    assert done.returncode == 0, done.stderr
    assert sink.named("theirs").attributes["gen_ai.conversation.id"] == "c-1"


CONSOLE = """
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import ConsoleLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry import _logs, trace
tracers, loggers = TracerProvider(), LoggerProvider()
tracers.add_span_processor({processor}(ConsoleSpanExporter()))
loggers.add_log_record_processor(SimpleLogRecordProcessor(ConsoleLogRecordExporter()))
trace.set_tracer_provider(tracers)
_logs.set_logger_provider(loggers)
from maslens.instrumentation import init
init()
"""


@pytest.mark.parametrize("processor", ["SimpleSpanProcessor", "BatchSpanProcessor"])
def test_a_provider_that_only_prints_gets_our_exporter(sink: Sink, processor: str) -> None:
    done = program(CONSOLE.format(processor=processor) + STEP, sink.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert '"name": "invoke_agent a"' in done.stdout
    assert len(sink.spans) == 2 and len(sink.logs) == 1


def test_a_provider_that_only_prints_because_it_was_told_to_is_left_alone(sink: Sink) -> None:
    told = {"OTEL_TRACES_EXPORTER": "console", "OTEL_LOGS_EXPORTER": "console"}
    done = program(CONSOLE.format(processor="SimpleSpanProcessor") + STEP, sink.url, **told)
    assert done.returncode == 0 and not sink.spans and not sink.logs


def test_an_endpoint_that_is_asked_for_is_added_beside_theirs(sink: Sink) -> None:
    other = Sink().start()
    code = SOMEBODY_ELSES.format(exporter=EXPORTER.format(url=other.url), arguments=repr(sink.url))
    program(code, nobody_listens())
    other.stop()
    assert len(sink.spans) == len(other.spans) == 1


def test_a_forked_worker_reports_too(sink: Sink) -> None:
    code = """
import os
from maslens.instrumentation import init, agent
from opentelemetry import trace
init()
with agent("parent"):
    pass
if (child := os.fork()) == 0:
    with agent("child"):
        pass
    trace.get_tracer_provider().force_flush()
    os._exit(0)
os.waitpid(child, 0)
"""
    done = program(code, sink.url)
    assert done.returncode == 0, done.stderr
    assert {span.name for span in sink.spans} == {"invoke_agent parent", "invoke_agent child"}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_worker_of_multiprocessing_reports_before_it_ends(sink: Sink, method: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(f"""
import multiprocessing
from maslens.instrumentation import agent, init
init()

@agent("worker")
def work(number):
    return number

if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    process = context.Process(target=work, args=(1,))
    process.start()
    process.join()
    with context.Pool(2) as pool:
        assert pool.map(work, range(4), chunksize=1) == [0, 1, 2, 3]
        pool.close()
        pool.join()
""")
    done = program(f"import runpy; runpy.run_path({str(tmp_path / 'app.py')!r}, run_name='__main__')", sink.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert [span.name for span in sink.spans] == ["invoke_agent worker"] * 5


WAITING = """
from resource import RUSAGE_SELF, getrusage
from maslens.instrumentation import agent, init, shutdown
init()
print(getrusage(RUSAGE_SELF).ru_maxrss // 1024)
for number in range(3000):
    with agent("a") as run:
        run.set("input.value", str(number).zfill(200_000))
print(getrusage(RUSAGE_SELF).ru_maxrss // 1024)
shutdown()
"""


def test_long_conversations_that_wait_are_bounded_in_bytes_too(sink: Sink) -> None:
    done = program(WAITING, nobody_listens())
    before, after = map(int, done.stdout.split())
    assert after - before < 200, "MiB of 600 are kept"


def test_no_request_is_so_large_that_a_receiver_refuses_it(sink: Sink) -> None:
    code = """
from opentelemetry import trace
from maslens.instrumentation import agent, init
init()
for number in range(120):
    with agent("a") as run:
        run.set("input.value", "x" * 400_000)
    if number % 40 == 39:  # 16 MB are there at once; what a slow machine has not sent at the end would be left behind
        assert trace.get_tracer_provider().force_flush(60_000)
"""
    done = program(code, sink.url)
    assert done.returncode == 0, done.stderr
    assert len(sink.spans) == 120
    assert max(len(body) for _, body in sink.bodies) < 10 * 2**20


def test_flushing_to_nobody_does_not_wait(sink: Sink) -> None:
    code = """
import time
from opentelemetry import trace
from maslens.instrumentation import agent, init
init()
with agent("a"):
    pass
start = time.monotonic()
assert trace.get_tracer_provider().force_flush() is False
assert time.monotonic() - start < 5, "a refused export is tried for longer"
"""
    done = program(code, nobody_listens())
    assert done.returncode == 0, done.stderr


TIMED = """
import time
from maslens.instrumentation import init, agent
init()
slowest = 0.0
for _ in range(20000):
    start = time.perf_counter()
    with agent("a"):
        pass
    slowest = max(slowest, time.perf_counter() - start)
print(slowest)
"""


HELD_UP_S = 5.0  # longer than a busy machine takes, shorter than any timeout of an exporter


def timed(endpoint: str) -> tuple[float, float, str]:
    """The longest step inside the app, the seconds of the whole program, what it said."""
    start = time.monotonic()
    done = program(TIMED, endpoint)
    assert done.returncode == 0, done.stderr
    return float(done.stdout), time.monotonic() - start, done.stderr


def test_when_nobody_listens_the_app_neither_waits_nor_hears_of_it_twice(sink: Sink) -> None:
    _, usual, _ = timed(sink.url)
    longest, seconds, said = timed(nobody_listens())
    assert longest < HELD_UP_S
    assert seconds < usual + HELD_UP_S
    assert said.count("does not take telemetry") == 1
    assert "Traceback" not in said


@pytest.mark.parametrize("trouble", [{"delay": 30.0}, {"status": 503}, {"status": 500}], ids=["slow", "busy", "broken"])
def test_a_slow_busy_or_broken_endpoint_is_left_after_a_bounded_time(sink: Sink, trouble: dict[str, float]) -> None:
    for name, value in trouble.items():
        setattr(sink, name, value)
    longest, seconds, said = timed(sink.url)
    assert longest < HELD_UP_S
    assert seconds < 25  # start-up, 20,000 steps, and at most 3 s per signal at the end; the endpoint takes 30
    assert "Traceback" not in said


def test_an_endpoint_that_comes_back_is_said_and_used(sink: Sink) -> None:
    sink.status = 400  # no exporter tries that again
    code = """
import sys, time
from maslens.instrumentation import init, agent
from opentelemetry import trace
init()
with agent("lost"):
    pass
trace.get_tracer_provider().force_flush()
print("lost", flush=True)
sys.stdin.readline()
with agent("found"):
    pass
"""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**clean, "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "lost\n"
    sink.status = 200
    _, said = process.communicate("go\n", timeout=30)
    assert [span.name for span in sink.spans] == ["invoke_agent found"]
    assert "takes telemetry again; 1 items were dropped" in said


@pytest.mark.parametrize(
    ("arguments", "environ", "expected"),
    [
        pytest.param({}, {}, "http://127.0.0.1:4318/v1/traces", id="default"),
        pytest.param({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1/"}, "http://c:1/v1/traces", id="environment"),
        pytest.param(
            {}, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:1/x"}, "http://c:1/x", id="environment of the signal"
        ),
        pytest.param(
            {"endpoint": "http://a:1"},
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1"},
            "http://a:1/v1/traces",
            id="argument",
        ),
        pytest.param({"endpoint": "http://a:1/v1/traces"}, {}, "http://a:1/v1/traces", id="full path"),
        pytest.param({"endpoint": "a:1"}, {}, "http://a:1/v1/traces", id="no scheme"),
        pytest.param({"protocol": "grpc"}, {}, "http://127.0.0.1:4317", id="grpc"),
        pytest.param({}, {"OTEL_TRACES_EXPORTER": "otlp_proto_grpc"}, "http://127.0.0.1:4317", id="grpc by exporter"),
        pytest.param({}, {"OTEL_EXPORTER_OTLP_PROTOCOL": " GRPC "}, "http://127.0.0.1:4317", id="grpc in capitals"),
        pytest.param({}, {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, "http://127.0.0.1:4317", id="grpc for spans"),
        pytest.param(
            {}, {"OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "grpc"}, "http://127.0.0.1:4318/v1/traces", id="grpc for logs"
        ),
        pytest.param({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": " http://c:1 "}, "http://c:1/v1/traces", id="blanks"),
        pytest.param({}, {"OTEL_TRACES_EXPORTER": "none"}, None, id="off"),
        pytest.param({}, {"OTEL_SDK_DISABLED": "TRUE"}, None, id="disabled"),
    ],
)
def test_where_spans_go(arguments: dict[str, str], environ: dict[str, str], expected: str | None) -> None:
    assert export_config(**arguments, environ=environ).endpoints.get("traces") == expected  # type: ignore[arg-type]


def test_a_wrong_number_names_its_variable() -> None:
    with pytest.raises(ConfigError, match="OTEL_BSP_SCHEDULE_DELAY must be a whole number, got 'soon'"):
        export_config(environ={"OTEL_BSP_SCHEDULE_DELAY": "soon"})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_BSP_SCHEDULE_DELAY", "0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "0"),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "-1"),
        ("MASLENS_MAX_WAITING_BYTES", "0"),
        ("MASLENS_EXIT_TIMEOUT_MS", "-1"),
    ],
)
def test_a_number_out_of_range_names_its_variable_too(variable: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{variable} must .*, got {value}"):
        export_config(environ={variable: value})


@pytest.mark.parametrize(
    ("environ", "spans", "events"),
    [
        pytest.param({}, (4096, 512, 500), (4096, 512, 500), id="nothing said"),
        pytest.param({"OTEL_BSP_MAX_QUEUE_SIZE": "9"}, (9, 512, 500), (9, 512, 500), id="of spans: of events too"),
        pytest.param(
            {"OTEL_BSP_SCHEDULE_DELAY": "7", "OTEL_BLRP_SCHEDULE_DELAY": "8", "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": "3"},
            (4096, 512, 7),
            (4096, 3, 8),
            id="of events",
        ),
    ],
)
def test_how_much_waits(environ: dict[str, str], spans: tuple[int, ...], events: tuple[int, ...]) -> None:
    config = export_config(environ=environ)
    limits = [config.batch_limits(signal) for signal in ("traces", "logs")]
    assert [(each.max_queue, each.max_batch, each.delay_ms) for each in limits] == [spans, events]


def test_limits_the_user_has_set_are_left_alone() -> None:
    assert unset_limits({})["OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"] == 10_000
    assert "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT" not in unset_limits({"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "5"})
    assert "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT" not in unset_limits({"OTEL_ATTRIBUTE_COUNT_LIMIT": "5"})


def test_the_words_alone_do_not_load_the_sdk() -> None:
    code = "import sys, maslens.instrumentation; print([m for m in sys.modules if '.sdk' in m or 'otlp' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_is_typed() -> None:
    import maslens.instrumentation

    assert (Path(maslens.instrumentation.__file__).parent / "py.typed").exists()
