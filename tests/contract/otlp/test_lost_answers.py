"""Real clients over a bad wire: nothing that they believe sent is lost, and what came twice is counted once.

Each mishap of `Between` against each client's own retry and timeout; the tables and the facts are looked at afterwards.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from maslens.collector_processor import Tokens
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.bench.processes import free_port
from tests.contract.collector import build as collector_build
from tests.contract.javascript_clients import javascript_folder
from tests.contract.otlp.between import Between
from tests.contract.otlp.test_real_clients import GrpcSpanExporter, HttpSpanExporter, closing, receiving
from tests.e2e.running import Up, eventually

MISHAPS = ["answer lost", "answer late", "request cut"]
CLIENTS = ["python grpc", "python http", "javascript http", "javascript proto", "collector grpc", "collector http"]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("wire") / "data").start()
    yield running
    running.kill()


def rows(up: Up, sql: str) -> list[dict[str, Any]]:
    asked = {"query": sql, "default_format": "JSONEachRow", "output_format_json_quote_64bit_integers": "0"}
    reply = httpx.get(f"{up.addresses['clickhouse']}/", params=asked, timeout=60).raise_for_status()
    return [json.loads(line) for line in reply.text.splitlines()]


def model_calls(names: list[str]) -> Sequence[ReadableSpan]:
    """All of one session that is called as they are."""
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    for name in names:
        said = {"gen_ai.operation.name": "chat", "gen_ai.conversation.id": name, "gen_ai.request.model": "m"}
        provider.get_tracer("test").start_span(name, attributes=said).end()
    return kept.get_finished_spans()


def python(transport: str, wire: Between, names: list[str], timeout_s: float) -> bool:
    """One request; whether the exporter believes that it arrived."""
    exporter: Any = (
        GrpcSpanExporter(endpoint=wire.address, insecure=True, timeout=timeout_s)
        if transport == "grpc"
        else HttpSpanExporter(endpoint=f"http://{wire.address}/v1/traces", timeout=timeout_s)
    )
    with closing(exporter):
        return bool(exporter.export(model_calls(names)) is SpanExportResult.SUCCESS)


def javascript(transport: str, wire: Between, names: list[str], timeout_s: float) -> bool:
    ran = subprocess.run(
        ["node", "many.mjs", transport, f"http://{wire.address}/v1/traces", names[0], str(len(names))],
        cwd=javascript_folder("many.mjs"), env={**os.environ, "TIMEOUT": str(int(timeout_s * 1000))},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return bool(json.loads(ran.stdout.splitlines()[-1])["success"])


def collector(transport: str, wire: Between, names: list[str], tmp_path: Path) -> bool:
    """Through a Collector that gives an answer five seconds and then tries again."""
    with through_collector(transport, wire.address, tmp_path=tmp_path) as address:
        with closing(GrpcSpanExporter(endpoint=address, insecure=True, timeout=60)) as exporter:
            assert exporter.export(model_calls(names)) is SpanExportResult.SUCCESS
        eventually(lambda: wire.happened, within_s=60)
        time.sleep(8)  # its timeout, and then some for the next try
    return True


@contextmanager
def through_collector(transport: str, target: str, *, tmp_path: Path, **exporting: Any) -> Iterator[str]:
    """Where a Collector takes OTLP over gRPC, to send it to `target`."""
    missing = collector_build.missing()
    if missing is not None:
        pytest.skip(missing)
    port = free_port()
    exporter = {
        "endpoint": target if transport == "grpc" else f"http://{target}",
        "tls": {"insecure": True},
        "timeout": "5s",
        "retry_on_failure": {"initial_interval": "200ms", "max_interval": "2s"},
        "compression": "none",
        **exporting,
    }
    config = {
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{port}", "max_recv_msg_size_mib": 64}}}},
        "exporters": {f"otlp_{transport}": exporter},
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {"traces": {"receivers": ["otlp"], "exporters": [f"otlp_{transport}"]}},
        },
    }
    path = tmp_path / "collector.json"  # which is YAML too
    path.write_text(json.dumps(config))
    with (tmp_path / "collector.log").open("wb") as log:
        process = subprocess.Popen([collector_build.collector(), "--config", path], stdout=log, stderr=log)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def export_through(client: str, wire: Between, names: list[str], tmp_path: Path, *, timeout_s: float) -> bool:
    kind, transport = client.split()
    if kind == "collector":
        return collector(transport, wire, names, tmp_path)
    return (python if kind == "python" else javascript)(transport, wire, names, timeout_s)


@pytest.mark.slow
@pytest.mark.parametrize("mishap", MISHAPS)
@pytest.mark.parametrize("client", CLIENTS)
def test_what_a_client_believes_sent_is_there_and_counted_once(
    up: Up, tmp_path: Path, client: str, mishap: str
) -> None:
    number, name = 300, f"{client}, {mishap} {'x' * 400}"  # some 300 KiB, so that a request can be cut
    h2 = client.endswith("grpc")
    target = (up.otlp_grpc if h2 else up.otlp_http).rpartition("//")[2]
    with Between(target, mishap, late_s=9.0, h2=h2) as wire:
        believed = export_through(client, wire, [name] * number, tmp_path, timeout_s=5 if "late" in mishap else 15)
        assert wire.happened == 1

    copies = number * (2 if mishap == "answer lost" else 1)

    def counted() -> dict[str, Any] | None:
        """How often each is in the table, as soon as all copies are there and the facts agree about it."""
        here = f"SpanName = '{name}'"
        (seen,) = rows(
            up, f"SELECT count() AS copies, uniqExact(TraceId, SpanId) AS spans FROM otel_traces WHERE {here}"
        )
        facts = rows(
            up,
            "SELECT s + d AS copies, s AS spans FROM "
            f"(SELECT spans AS s, duplicate_spans AS d FROM sessions WHERE session_id = '{name}')",
        )
        return seen if facts == [seen] and seen["copies"] >= copies else None

    seen = eventually(counted, within_s=90)
    assert seen["spans"] == number  # not half of a request is kept
    if mishap == "answer late":  # who goes away early may be gone before anything is kept; it may give up in the end
        assert seen["copies"] in (number, 2 * number, 3 * number, 4 * number)
        return
    assert believed  # they came again by themselves
    assert seen["copies"] == copies


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["grpc", "http"])
@pytest.mark.parametrize("mishap", ["answer lost", "request cut"])
def test_the_go_sdk_comes_again(up: Up, transport: str, mishap: str) -> None:
    """telemetrygen sends with the exporters of the Go SDK."""
    missing = collector_build.missing()
    if missing is not None:
        pytest.skip(missing)
    target = (up.otlp_grpc if transport == "grpc" else up.otlp_http).rpartition("//")[2]
    service = f"{transport} {mishap}"
    with Between(target, mishap, cut_after=2000, h2=transport == "grpc") as wire:
        command = [
            str(collector_build.telemetrygen()), "traces", "--traces=100", "--workers=1", "--rate=0",
            f"--service={service}", f"--otlp-endpoint={wire.address}", "--otlp-insecure",
            *(["--otlp-http"] if transport == "http" else []),
        ]  # fmt: skip
        ran = subprocess.run(command, capture_output=True, text=True, timeout=200)
        assert ran.returncode == 0, ran.stderr
        assert wire.happened == 1

    # Over HTTP it comes again where the connection ended, and gives up, saying so, where it was reset.
    gave_up = "traces export:" in ran.stderr
    assert not (gave_up and transport == "grpc"), ran.stderr
    took = 200 if mishap == "answer lost" or not gave_up else 0
    twice = mishap == "answer lost" and not gave_up

    def arrived() -> dict[str, Any] | None:
        counts = "count() AS copies, uniqExact(TraceId, SpanId) AS spans"
        (seen,) = rows(up, f"SELECT {counts} FROM otel_traces WHERE ServiceName = '{service}'")
        return seen if seen["spans"] == took and (seen["copies"] > took or not twice) else None

    seen = eventually(arrived, within_s=60)
    assert twice or seen["copies"] == took


@pytest.mark.slow
@pytest.mark.parametrize(
    ("transport", "exporting"),
    [
        pytest.param("grpc", {"compression": "gzip"}, id="grpc gzip"),
        pytest.param("http", {"compression": "gzip"}, id="http gzip"),
        pytest.param("http", {"compression": "zstd"}, id="http zstd"),
        pytest.param("http", {"compression": "deflate"}, id="http deflate"),
        pytest.param("http", {"encoding": "json", "compression": "gzip"}, id="http json gzip"),
    ],
)
def test_the_collectors_compressions(tmp_path: Path, transport: str, exporting: dict[str, str]) -> None:
    with receiving(tmp_path / "ours") as (receiver, store):
        port = receiver.grpc_port if transport == "grpc" else receiver.http_port
        with through_collector(transport, f"127.0.0.1:{port}", tmp_path=tmp_path, **exporting) as address:
            with closing(GrpcSpanExporter(endpoint=address, insecure=True, timeout=60)) as exporter:
                assert exporter.export(model_calls([f"n{n}" for n in range(50)])) is SpanExportResult.SUCCESS
            eventually(lambda: len(store.span_names()) == 50, within_s=60)
        assert receiver.metrics().intake.refused == {}


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_a_collector_over_its_rate_comes_again_when_it_was_told_to(tmp_path: Path, transport: str) -> None:
    """429 with Retry-After, RESOURCE_EXHAUSTED with RetryInfo: without these the Collector throws spans away."""
    tokens = Tokens.parse("a-slow-token-0123456789 rate=3K", source="test")
    with receiving(tmp_path / "ours", tokens=tokens) as (receiver, store):
        port = receiver.grpc_port if transport == "grpc" else receiver.http_port
        headers = {"headers": {"authorization": "Bearer a-slow-token-0123456789"}}
        with through_collector(transport, f"127.0.0.1:{port}", tmp_path=tmp_path, **headers) as address:
            with closing(GrpcSpanExporter(endpoint=address, insecure=True, timeout=60)) as exporter:
                for batch in range(4):
                    names = [f"{batch}-{number}" for number in range(30)]
                    assert exporter.export(model_calls(names)) is SpanExportResult.SUCCESS
            eventually(lambda: len(store.span_names()) == 120, within_s=90)
        assert receiver.metrics().intake.refused["rate_limited"] >= 1
        assert len(set(store.span_names())) == 120
