"""The stock JavaScript exporters (HTTP sends JSON) against a running maslens."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.contract.conftest import Served
from tests.contract.javascript_clients import javascript_folder


@pytest.fixture(scope="module")
def exporters() -> Path:
    return javascript_folder("send.mjs")


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
