"""The stock JavaScript exporters (HTTP sends JSON) against a running maslens."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.contract.conftest import Served

HERE = Path(__file__).parent / "javascript"
FOLDER = Path(__file__).parents[2] / "build" / "javascript"


@pytest.fixture(scope="module")
def exporters() -> Path:
    """A folder with the exporters installed from npm, once."""
    if shutil.which("npm") is None:
        pytest.skip("no Node.js with npm to run the JavaScript exporters")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "send.mjs"):
        shutil.copy(HERE / name, FOLDER / name)
    if not (FOLDER / "node_modules" / ".package-lock.json").is_file():
        command = [
            "npm",
            "install",
            "--ignore-scripts",
            "--no-package-lock",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
        ]
        installed = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=280)
        if installed.returncode:
            pytest.skip(f"npm could not install the exporters: {installed.stderr[-200:]}")
    return FOLDER


@pytest.mark.network
@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("transport", ["http", "proto", "grpc"])
def test_a_javascript_agent_points_its_exporter_at_maslens(
    served: Served, exporters: Path, transport: str, compression: str
) -> None:
    service = f"desk-{transport}-{compression}"
    address = served.owner.otlp_grpc.rpartition("//")[2]
    url = f"http://{address}" if transport == "grpc" else f"{served.owner.otlp_http}/v1/traces"
    environment = {**os.environ, "COMPRESSION": compression}
    command = ["node", "send.mjs", transport, url, service]
    sent = subprocess.run(command, cwd=exporters, env=environment, capture_output=True, text=True, timeout=60)
    assert sent.returncode == 0, sent.stderr
    trace_id = json.loads(sent.stdout)["traceId"]

    spans = served.eventually(
        f"SELECT SpanName, SpanKind, StatusCode, StatusMessage, SpanAttributes, `Events.Attributes` AS events "
        f"FROM otel_traces WHERE TraceId = '{trace_id}' ORDER BY Timestamp, SpanName",
        lambda rows: len(rows) == 5,
    )
    assert len(spans) == 5
    by_name = {span["SpanName"]: span for span in spans}
    chat = by_name["chat gpt-4.1-mini"]
    assert chat["SpanKind"] == "Client"
    assert chat["SpanAttributes"]["gen_ai.usage.input_tokens"] == "101"
    assert chat["SpanAttributes"]["app.ratio"] == "0.5"
    assert json.loads(chat["SpanAttributes"]["app.flags"]) == [True, False]
    billing = by_name["invoke_agent billing"]
    assert (billing["StatusCode"], billing["StatusMessage"]) == ("Error", "invoice not found")
    assert billing["events"] == [{"text": "häßlich 😀"}]

    edges = served.eventually(
        f"SELECT source, target, mode, evidence FROM handoffs WHERE trace_id = '{trace_id}'", lambda rows: len(rows) > 0
    )
    assert edges == [{"source": "triage", "target": "billing", "mode": "pass_control", "evidence": "explicit"}]
