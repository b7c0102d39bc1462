"""Stock exporters as clients: their compression, retry and timeout paths, against a receiver of ours."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from maslens.collector_processor import BatchConfig, JournalConfig, LoaderConfig, Receiver, ReceiverConfig, Tokens
from maslens.storage import Unavailable
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.collector_processor.stores import MemoryStore
from tests.contract.collector import build as collector_build
from tests.contract.javascript_clients import javascript_folder

ROOT = Path(__file__).parents[3]
QUICK = LoaderConfig(
    batch=BatchConfig(idle_wait=timedelta(milliseconds=10), busy_wait=timedelta(milliseconds=20)),
    first_retry=timedelta(milliseconds=10),
    last_retry=timedelta(milliseconds=50),
)


@contextmanager
def receiving(directory: Path, **settings: Any) -> Iterator[tuple[Receiver, MemoryStore]]:
    store = MemoryStore()
    ports = {"grpc_port": 0, "http_port": 0}
    receiver = Receiver(ReceiverConfig(**{"directory": directory, "loader": QUICK, **ports, **settings}), store)
    receiver.start()
    try:
        yield receiver, store
    finally:
        receiver.stop()


def some_spans(*names: str) -> Sequence[ReadableSpan]:
    kept = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": "client"}))
    provider.add_span_processor(SimpleSpanProcessor(kept))
    for name in names:
        provider.get_tracer("test").start_span(name, attributes={"reasons": ["stop"], "n": 1}).end()
    return kept.get_finished_spans()


def span_exporter(transport: str, receiver: Receiver, **options: Any) -> Any:
    if transport == "grpc":
        return GrpcSpanExporter(endpoint=f"127.0.0.1:{receiver.grpc_port}", insecure=True, **options)
    return HttpSpanExporter(endpoint=f"http://127.0.0.1:{receiver.http_port}/v1/traces", **options)


@contextmanager
def closing(exporter: Any) -> Iterator[Any]:
    try:
        yield exporter
    finally:
        exporter.shutdown()


@contextmanager
def once_refused(receiver: Receiver, event: threading.Event) -> Iterator[None]:
    """Sets `event` as soon as somebody was told that the journal is full."""

    def watch() -> None:
        deadline = time.monotonic() + 50
        while not receiver.metrics().intake.refused.get("journal_full") and time.monotonic() < deadline:
            time.sleep(0.02)
        event.set()

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield
    finally:
        watching.join()


BOTH = pytest.mark.parametrize("transport", ["grpc", "http"])


@pytest.mark.parametrize(
    ("transport", "compression"),
    [
        ("grpc", grpc.Compression.NoCompression),
        ("grpc", grpc.Compression.Gzip),
        ("grpc", grpc.Compression.Deflate),
        ("http", Compression.NoCompression),
        ("http", Compression.Gzip),
        ("http", Compression.Deflate),
    ],
)
def test_spans_and_logs_with_any_compression(tmp_path: Path, transport: str, compression: Any) -> None:
    with receiving(tmp_path) as (receiver, store):
        with closing(span_exporter(transport, receiver, compression=compression)) as exporter:
            assert exporter.export(some_spans("a", "b")) is SpanExportResult.SUCCESS
        logs = (
            GrpcLogExporter(endpoint=f"127.0.0.1:{receiver.grpc_port}", insecure=True, compression=compression)
            if transport == "grpc"
            else HttpLogExporter(endpoint=f"http://127.0.0.1:{receiver.http_port}/v1/logs", compression=compression)
        )
        provider = LoggerProvider()
        provider.add_log_record_processor(SimpleLogRecordProcessor(logs))
        provider.get_logger("test").emit(body="hello", event_name="gen_ai.choice")
        provider.shutdown()
        assert receiver.drained(20)
        assert store.span_names() == ["a", "b"]
        assert store.log_bodies() == ["hello"]
        assert b'["stop"]' in next(body for token, body in store.bodies.items() if store.signals[token] == "traces")


@BOTH
def test_a_client_that_was_pushed_back_comes_again_and_its_spans_are_stored_once(
    tmp_path: Path, transport: str
) -> None:
    full = JournalConfig(segment_bytes=4096, max_bytes=16384, min_free_bytes=0)
    with receiving(tmp_path, journal=full) as (receiver, store):
        away = threading.Event()

        def before(_token: str, _body: bytes) -> None:
            if not away.is_set():
                raise Unavailable("away")

        store.before = before
        while receiver.journal.refusal() is None:
            receiver.journal.append("logs", b"x" * 2000, items=1).result(5)
            time.sleep(0.01)
        with once_refused(receiver, away), closing(span_exporter(transport, receiver, timeout=10)) as exporter:
            assert exporter.export(some_spans("a")) is SpanExportResult.SUCCESS
        assert receiver.metrics().intake.refused.get("journal_full", 0) >= 1
        assert receiver.drained(20)
        assert store.span_names() == ["a"]


@BOTH
def test_a_client_over_its_rate_comes_again(tmp_path: Path, transport: str) -> None:
    tokens = Tokens.parse("a-slow-token-0123456789 rate=300", source="test")
    with receiving(tmp_path, tokens=tokens) as (receiver, store):
        headers = {"authorization": "Bearer a-slow-token-0123456789"}
        with closing(span_exporter(transport, receiver, timeout=10, headers=headers)) as exporter:
            for name in ("a", "b", "c"):
                assert exporter.export(some_spans(name)) is SpanExportResult.SUCCESS
        assert receiver.metrics().intake.refused.get("rate_limited", 0) >= 1
        assert receiver.drained(20)
        assert sorted(store.span_names()) == ["a", "b", "c"]


@BOTH
def test_a_client_without_its_token_does_not_come_again(tmp_path: Path, transport: str) -> None:
    tokens = Tokens.parse("a-token-nobody-knows", source="test")
    with (
        receiving(tmp_path, tokens=tokens) as (receiver, store),
        closing(span_exporter(transport, receiver, timeout=5)) as exporter,
    ):
        started = time.monotonic()
        assert exporter.export(some_spans("a")) is SpanExportResult.FAILURE
        assert time.monotonic() - started < 3
        assert receiver.metrics().intake.refused == {"unauthenticated": 1}
        assert store.span_names() == []


@BOTH
def test_a_client_that_stops_waiting_is_stored_at_most_once_a_try(tmp_path: Path, transport: str) -> None:
    def slow(_signal: str, body: bytes) -> bytes:
        time.sleep(0.7)
        return body

    with receiving(tmp_path, stages=(slow,)) as (receiver, store):
        with closing(span_exporter(transport, receiver, timeout=0.3)) as exporter:
            assert exporter.export(some_spans("a")) is SpanExportResult.FAILURE
        time.sleep(2)
        assert receiver.drained(20)
        assert len(store.span_names()) <= 2
        with closing(span_exporter(transport, receiver, timeout=10)) as exporter:
            assert exporter.export(some_spans("b")) is SpanExportResult.SUCCESS


@BOTH
def test_a_receiver_that_comes_back_gets_what_it_missed(tmp_path: Path, transport: str) -> None:
    with receiving(tmp_path) as (receiver, _):
        ports = {"grpc_port": receiver.grpc_port, "http_port": receiver.http_port}
        exporter = span_exporter(transport, receiver, timeout=10)
        assert exporter.export(some_spans("before")) is SpanExportResult.SUCCESS
        assert receiver.drained(20)
    done: list[Any] = []
    sending = threading.Thread(target=lambda: done.append(exporter.export(some_spans("meanwhile"))))
    with closing(exporter):
        if transport == "grpc":  # the HTTP exporter tries a refused connection again only once, at once
            sending.start()
            time.sleep(0.5)
        with receiving(tmp_path, **ports) as (receiver, store):
            if transport == "http":
                sending.start()
            sending.join(20)
            assert done == [SpanExportResult.SUCCESS]
            assert receiver.drained(20)
            assert store.span_names() == ["meanwhile"]


# --- JavaScript -------------------------------------------------------------------------------------------------------


@pytest.fixture
def javascript() -> Callable[..., dict[str, Any]]:
    """Run tests/contract/javascript/send.mjs."""
    folder = javascript_folder("send.mjs")

    def send(*arguments: str, **environment: str) -> dict[str, Any]:
        ran = subprocess.run(
            ["node", "send.mjs", *arguments],
            cwd=folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return dict(json.loads(ran.stdout.splitlines()[-1]))

    return send


@pytest.mark.parametrize("transport", ["http", "proto", "grpc"])
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_javascript(
    tmp_path: Path, javascript: Callable[..., dict[str, Any]], transport: str, compression: str
) -> None:
    with receiving(tmp_path) as (receiver, store):
        url = (
            f"http://127.0.0.1:{receiver.grpc_port}"
            if transport == "grpc"
            else f"http://127.0.0.1:{receiver.http_port}/v1/traces"
        )
        said = javascript(transport, url, "js", COMPRESSION=compression)
        assert receiver.drained(20)
        assert len(store.span_names()) == said["spans"] == 5
        (body,) = store.bodies.values()
        assert b'["tool_calls"]' in body
        assert b"[true,false]" in body
        assert "häßlich 😀".encode() in body
        assert bytes.fromhex(said["traceId"]) in body


@pytest.mark.parametrize("transport", ["http", "proto"])
def test_javascript_that_was_pushed_back_comes_again(
    tmp_path: Path, javascript: Callable[..., dict[str, Any]], transport: str
) -> None:
    """503 with Retry-After, as long as the journal is full. (Its gRPC exporter does not try again at all.)"""
    full = JournalConfig(segment_bytes=4096, max_bytes=16384, min_free_bytes=0)
    with receiving(tmp_path, journal=full) as (receiver, store):
        away = threading.Event()

        def before(_token: str, _body: bytes) -> None:
            if not away.is_set():
                raise Unavailable("away")

        store.before = before
        while receiver.journal.refusal() is None:
            receiver.journal.append("logs", b"x" * 2000, items=1).result(5)
            time.sleep(0.01)

        with once_refused(receiver, away):
            said = javascript(transport, f"http://127.0.0.1:{receiver.http_port}/v1/traces", "js")
        assert receiver.metrics().intake.refused["journal_full"] >= 1
        assert receiver.drained(20)
        assert len(store.span_names()) == said["spans"] == 5


# --- the Collector ----------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["grpc", "http"])
@pytest.mark.parametrize("signal", ["traces", "logs"])
def test_telemetrygen(tmp_path: Path, signal: str, transport: str) -> None:
    """The Collector project's own load generator: everything it sent is here once."""
    missing = collector_build.missing()
    if missing is not None:
        pytest.skip(missing)
    with receiving(tmp_path) as (receiver, store):
        port = receiver.grpc_port if transport == "grpc" else receiver.http_port
        command = [
            str(collector_build.telemetrygen()), signal, f"--{signal}=200", "--workers=2", "--rate=0",
            f"--otlp-endpoint=127.0.0.1:{port}", "--otlp-insecure", *(["--otlp-http"] if transport == "http" else []),
        ]  # fmt: skip
        ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert ran.returncode == 0, ran.stderr
        assert receiver.drained(30)
        found = store.span_names() if signal == "traces" else store.log_bodies()
        assert len(found) == (800 if signal == "traces" else 400)  # of each worker; a trace is two spans
        assert receiver.metrics().intake.refused == {}


@pytest.mark.slow
def test_the_collector_in_front(tmp_path: Path) -> None:
    """otel-config.yaml as it is, but for addresses and directories; maslens is away when the first spans come."""
    missing = collector_build.missing()
    if missing is not None:
        pytest.skip(missing)
    incoming, ours = free_port(), free_port()
    environment = {
        **os.environ,
        "MASLENS_OTLP_ENDPOINT": f"127.0.0.1:{ours}",
        "OTELCOL_GRPC_ADDRESS": f"127.0.0.1:{incoming}",
        "OTELCOL_HTTP_ADDRESS": f"127.0.0.1:{free_port()}",
        "OTELCOL_HEALTH_ADDRESS": f"127.0.0.1:{free_port()}",
        "OTELCOL_QUEUE_DIRECTORY": str(tmp_path / "queue"),
    }
    (tmp_path / "queue").mkdir()
    config = str(ROOT / "otel-config.yaml")
    binary = str(collector_build.collector())
    subprocess.run([binary, "validate", "--config", config], env=environment, check=True, timeout=60)
    log = (tmp_path / "collector.log").open("wb")
    collector = subprocess.Popen([binary, "--config", config], env=environment, stdout=log, stderr=log)
    try:
        exporter = GrpcSpanExporter(endpoint=f"127.0.0.1:{incoming}", insecure=True, timeout=20)
        with closing(exporter):
            names = [f"n{n}" for n in range(200)]
            assert exporter.export(some_spans(*names[:100])) is SpanExportResult.SUCCESS
            logs = LoggerProvider()
            logs.add_log_record_processor(
                SimpleLogRecordProcessor(GrpcLogExporter(endpoint=f"127.0.0.1:{incoming}", insecure=True, timeout=20))
            )
            for number in range(20):
                logs.get_logger("test").emit(body=f"l{number}", event_name="gen_ai.choice")
            logs.shutdown()
            with receiving(tmp_path / "ours", grpc_port=ours) as (receiver, store):
                assert exporter.export(some_spans(*names[100:])) is SpanExportResult.SUCCESS
                deadline = time.monotonic() + 60
                while len(store.span_names()) < 200 and time.monotonic() < deadline:
                    time.sleep(0.2)
                assert receiver.drained(20)
                assert sorted(store.span_names()) == sorted(names)
                while len(store.log_bodies()) < 20 and time.monotonic() < deadline:
                    time.sleep(0.2)
                assert receiver.drained(20)
                assert sorted(store.log_bodies()) == sorted(f"l{number}" for number in range(20))
    finally:
        collector.terminate()
        collector.wait(30)
        log.close()
