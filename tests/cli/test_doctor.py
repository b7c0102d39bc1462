"""The doctor: one test a mistake, and none of them is found where all is well."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from random import Random
from typing import Any

import pytest
from maslens.cli import doctor, machine
from maslens.cli.output import rows
from maslens.cli.settings import Settings
from maslens.cli.sources import StoreSource
from maslens.cli.symptoms import SYMPTOMS
from maslens.collector_processor import DeadLetters, Journal
from maslens.storage import open_store
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

PAGE = Path(__file__).parents[2] / "docs" / "doctor.md"


def settings(directory: Path, **more: Any) -> Settings:
    return Settings(store=f"chdb://{directory}", **more)


def only(findings: Iterator[doctor.Finding]) -> doctor.Finding:
    (finding,) = findings
    return finding


# --- before any span --------------------------------------------------------------------------------------------------


def test_a_data_directory_that_is_not_there(tmp_path: Path) -> None:
    finding = only(doctor._place(settings(tmp_path / "none"), None))
    assert (finding.check, finding.state) == ("data directory", "warn")
    assert "--data" in finding.cure


def test_a_data_directory_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    finding = next(doctor._place(settings(tmp_path), None))
    assert (finding.state, "chown" in finding.cure) == ("fail", True)


def test_a_disk_nearly_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for low, state in ((doctor.LOW_DISK * 2, "ok"), (doctor.LOW_DISK // 2, "warn"), (doctor.LOW_DISK // 20, "fail")):
        monkeypatch.setattr(doctor, "LOW_DISK", doctor.LOW_DISK)
        usage = type("usage", (), {"free": low})
        monkeypatch.setattr("shutil.disk_usage", lambda _path, usage=usage: usage)
        findings = {finding.check: finding for finding in doctor._place(settings(tmp_path), None)}
        assert findings["disk"].state == state


def test_a_port_that_somebody_has(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = settings(tmp_path, page_port=port, otlp_grpc_port=0, otlp_http_port=0, clickhouse_port=0)
        finding = only(doctor._ports(found, None))
    assert (finding.state, f"port {port} (page_port) is taken" in finding.found) == ("warn", True)
    assert "--page-port" in finding.cure
    assert only(doctor._ports(found, None)).state == "ok"


@pytest.mark.parametrize(
    ("environ", "state", "says"),
    [
        pytest.param(
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            "fail", "is the grpc port", id="HTTP to the gRPC port",
        ),
        pytest.param(
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "fail", "is the http/protobuf port", id="gRPC to the HTTP port",
        ),
        pytest.param(
            {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://h:8088/v1"}, "fail", "is where maslens is read", id="page"
        ),
        pytest.param({"OTEL_SDK_DISABLED": "true"}, "fail", "OTEL_SDK_DISABLED=true", id="switched off"),
        pytest.param({"OTEL_TRACES_EXPORTER": "console"}, "fail", "OTEL_TRACES_EXPORTER=console", id="elsewhere"),
        pytest.param({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318"}, "ok", "sends to http://h:4318", id="right"),
    ],
)  # fmt: skip
def test_an_exporter_that_points_wrong(tmp_path: Path, environ: dict[str, str], state: str, says: str) -> None:
    finding = only(doctor._exporter(environ, settings(tmp_path)))
    assert (finding.check, finding.state) == ("exporter", state)
    assert says in finding.found


def test_a_variable_that_nobody_reads() -> None:
    finding = only(doctor._names({"MASLENS_PAGE_PROT": "1", "MASLENS_PAGE_PORT": "2", "OTHER": "3"}))
    assert "MASLENS_PAGE_PROT" in finding.found
    assert "page_port" in finding.found.lower()


def test_dead_letters_that_nobody_looked_at(tmp_path: Path) -> None:
    folder = DeadLetters(tmp_path / "deadletter")
    folder.add(b"x", signal="traces", reason="Code: 26. no", token="t", items=3, received_ns=1)
    finding = only(doctor._dead_letters(settings(tmp_path), None))
    assert (finding.state, "1 requests with 3 spans" in finding.found, "retry" in finding.cure) == ("fail", True, True)
    folder.forget(folder.list()[0])
    assert only(doctor._dead_letters(settings(tmp_path), None)).state == "ok"


def test_a_journal_that_nobody_loads_or_that_is_damaged(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    assert list(doctor._waiting(tmp_path / "journal")) == []  # in use: its owner answers
    journal.append("traces", b"x", items=5).result(10)
    journal.close()
    assert only(doctor._waiting(tmp_path / "journal")).state == "warn"
    (tmp_path / "journal" / "cuts").unlink()
    finding = only(doctor._waiting(tmp_path / "journal"))
    assert (finding.state, "cuts is missing" in finding.found) == ("fail", True)


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        pytest.param("maslens_journal_lag_seconds 0.2\n", {"server": "ok", "journal": "ok"}, id="well"),
        pytest.param("maslens_journal_lag_seconds 99\n", {"server": "ok", "journal": "warn"}, id="slow store"),
        pytest.param(
            "maslens_receiver_refusing 1\nmaslens_journal_lag_seconds 0\n",
            {"server": "ok", "receiver": "fail", "journal": "ok"},
            id="full",
        ),
        pytest.param(None, {"server": "fail"}, id="no answer"),
    ],
)
def test_a_server_that_does_not_keep_up(tmp_path: Path, metrics: str | None, expected: dict[str, str]) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if metrics is not None else 500)
            self.end_headers()
            self.wfile.write((metrics or "").encode())

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        findings = {finding.check: finding.state for finding in doctor._running(settings(tmp_path), url)}
        server.shutdown()
        thread.join()
    assert findings == expected


# --- what the spans tell ----------------------------------------------------------------------------------------------


def calls(*, sick: bool) -> list[ExportTraceServiceRequest]:
    """Model calls as they should be, or with every mistake that spans show."""
    luck, request = Random(sick), ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.add(key="service.name").value.string_value = "app"
    now = time.time_ns()
    for index in range(4):
        for scope in ("one", "two") if sick and index == 0 else ("one",):  # the same call, traced by two libraries
            scoped = group.scope_spans.add()
            scoped.scope.name = scope
            ahead = 3_600 * 10**9 if sick and index == 1 else 0
            span = scoped.spans.add(
                trace_id=luck.randbytes(16), span_id=luck.randbytes(8), name="chat",
                start_time_unix_nano=now + ahead, end_time_unix_nano=now + ahead + 1000,
                dropped_attributes_count=7 if sick and index == 2 else 0,
            )  # fmt: skip
            texts = {
                "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "model-of-no-price" if sick else "gpt-4.1-mini",
                "gen_ai.response.id": f"response-{index}",
            }  # fmt: skip
            if not sick:
                texts |= {"gen_ai.agent.name": "worker", "gen_ai.conversation.id": "c"}
            for key, text in texts.items():
                span.attributes.add(key=key).value.string_value = text
            if not (sick and index == 3):
                span.attributes.add(key="gen_ai.usage.input_tokens").value.int_value = 10
                span.attributes.add(key="gen_ai.usage.output_tokens").value.int_value = 10
    return [request, request] if sick else [request]


def examined(directory: Path, requests: list[ExportTraceServiceRequest]) -> dict[str, tuple[int, int, Any]]:
    store = open_store(f"chdb://{directory}")
    try:
        store.migrate()
        for number, request in enumerate(requests):
            store.insert_otlp("traces", request.SerializeToString(), token=f"t{number}")
        machine.sidecar(settings(directory), store).drain()
        source = StoreSource(store)
        found = {symptom.check: next(rows(source.arrow(symptom.sql, {}))) for symptom in SYMPTOMS}
        return {check: (int(row["bad"] or 0), int(row["of"] or 0), row.get("example")) for check, row in found.items()}
    finally:
        store.close()


@pytest.fixture(scope="module")
def sick(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, int, Any]]:
    return examined(tmp_path_factory.mktemp("sick"), calls(sick=True))


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, int, Any]]:
    return examined(tmp_path_factory.mktemp("well"), calls(sick=False))


@pytest.mark.parametrize(
    ("check", "example"),
    [
        ("clock", "app"),
        ("agents", "model-of-no-price"),
        ("attribute limit", "chat"),
        ("token counts", "model-of-no-price"),
        ("prices", "model-of-no-price"),
        ("session ids", None),
        ("double instrumentation", "one and two"),
        ("repeated spans", None),
    ],
)
def test_a_mistake_that_spans_show(
    check: str, example: str | None, sick: dict[str, tuple[int, int, Any]], well: dict[str, tuple[int, int, Any]]
) -> None:
    bad, of, seen = sick[check]
    assert 0 < bad <= of
    assert example is None or seen == example
    assert well[check][0] == 0
    assert well[check][1] > 0


def test_every_check_has_its_line_on_the_page_and_a_cure() -> None:
    page = PAGE.read_text(encoding="utf-8")
    named = {symptom.check for symptom in SYMPTOMS} | {
        "data directory", "disk", "ports", "exporter", "settings", "spans", "store", "server", "receiver", "journal",
        "dead letters",
    }  # fmt: skip
    for check in named:
        assert f"| {check} |" in page, check
    assert all(symptom.cure for symptom in SYMPTOMS)
    assert {field.name for field in dataclasses.fields(doctor.Finding)} == {"check", "state", "found", "cure"}
