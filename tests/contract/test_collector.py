"""The OpenTelemetry Collector, configured by our own otel-config.yaml, in front of a running maslens."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.bench.processes import free_port, wait_until
from tests.contract.collector.build import collector, missing, telemetrygen
from tests.contract.conftest import Served

ROOT = Path(__file__).parents[2]
TRACES = 250  # telemetrygen sends two spans a trace


@pytest.fixture(scope="module")
def collector_ports(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    if (reason := missing()) is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("collector")
    ports = {"grpc": free_port(), "http": free_port(), "health": free_port()}
    environment = {
        **os.environ,
        "OTELCOL_GRPC_ENDPOINT": f"127.0.0.1:{ports['grpc']}",
        "OTELCOL_HTTP_ENDPOINT": f"127.0.0.1:{ports['http']}",
        "OTELCOL_HEALTH_ENDPOINT": f"127.0.0.1:{ports['health']}",
        "OTELCOL_QUEUE_DIRECTORY": str(folder),
        "MASLENS_OTLP_ENDPOINT": served.owner.otlp_grpc.rpartition("//")[2],
    }
    log = folder / "otelcol.log"
    with log.open("wb") as out:
        command = [str(collector()), "--config", str(ROOT / "otel-config.yaml")]
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    try:
        wait_until(lambda: _healthy(ports["health"], process, log), timeout_s=30, what="the Collector")
        yield ports
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_spans_that_pass_the_collector_arrive_once(
    served: Served, collector_ports: dict[str, int], transport: str
) -> None:
    service = f"through-the-collector-{transport}"
    command = [
        str(telemetrygen()), "traces", "--otlp-insecure", f"--otlp-endpoint=127.0.0.1:{collector_ports[transport]}",
        f"--traces={TRACES}", "--rate=0", f"--service={service}", *(["--otlp-http"] if transport == "http" else []),
    ]  # fmt: skip
    sent = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert sent.returncode == 0, sent.stderr
    counted = served.eventually(
        f"SELECT count() AS spans, uniqExact(SpanId) AS distinct FROM otel_traces WHERE ServiceName = '{service}'",
        lambda rows: int(rows[0]["spans"]) >= 2 * TRACES,
    )
    assert [(int(row["spans"]), int(row["distinct"])) for row in counted] == [(2 * TRACES, 2 * TRACES)]


def _healthy(port: int, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    try:
        return httpx.get(f"http://127.0.0.1:{port}/", timeout=2).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
