"""OTLP files are known by their content, and a bad one by its name."""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict
from maslens.cli.faults import BadInput
from maslens.cli.otlp_files import check, read
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

TRACE_ID, SPAN_ID = bytes(range(16)), bytes(range(8))


def traces(spans: int = 2, *, start: int = 1_700_000_000_000_000_000) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "desk"
    scope = resource.scope_spans.add()
    for index in range(spans):
        scope.spans.add(
            trace_id=TRACE_ID, span_id=SPAN_ID[:-2] + index.to_bytes(2, "big"), name="chat", start_time_unix_nano=start
        )
    return request


def logs(records: int = 1) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for _ in range(records):
        record = scope.log_records.add(time_unix_nano=1, trace_id=TRACE_ID, event_name="gen_ai.evaluation.result")
        record.body.string_value = "fine"
    return request


def bare_log() -> ExportLogsServiceRequest:
    """A log record that says almost nothing, so that it could also be read as a span with a strange name."""
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add(observed_time_unix_nano=5)
    record.body.string_value = "x"
    return request


def delimited(*bodies: bytes) -> bytes:
    return b"".join(varint(len(body)) + body for body in bodies)


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def otlp_json(request: ExportTraceServiceRequest | ExportLogsServiceRequest) -> dict[str, object]:
    document = MessageToDict(request, use_integers_for_enums=True)
    for group in document.get("resourceSpans", []):
        for scope in group["scopeSpans"]:
            for span in scope["spans"]:
                span["traceId"], span["spanId"] = TRACE_ID.hex().upper(), SPAN_ID.hex()
                span["future field"] = {"unknown": True}
    for group in document.get("resourceLogs", []):
        for scope in group["scopeLogs"]:
            for record in scope["logRecords"]:
                record["traceId"] = TRACE_ID.hex()
    return document


def plain(body: bytes) -> bytes:
    return body


ONE, MANY, LOG = traces().SerializeToString(), traces(300).SerializeToString(), logs().SerializeToString()
JSON_TRACES, JSON_LOGS = otlp_json(traces()), otlp_json(logs())


@pytest.mark.parametrize("packed", [plain, gzip.compress, lzma.compress], ids=["plain", "gz", "xz"])
@pytest.mark.parametrize(
    ("body", "form", "requests", "spans", "records"),
    [
        pytest.param(ONE, "protobuf", 1, 2, 0, id="one request"),
        pytest.param(LOG, "protobuf", 1, 0, 1, id="one request of logs"),
        pytest.param(delimited(ONE), "delimited", 1, 2, 0, id="one delimited request"),
        pytest.param(delimited(ONE, MANY, ONE), "delimited", 3, 304, 0, id="several"),
        pytest.param(delimited(ONE, b"", LOG), "delimited", 3, 2, 1, id="both signals and an empty request"),
        pytest.param(delimited(bare_log().SerializeToString()), "delimited", 1, 0, 1, id="a log that says little"),
        pytest.param(json.dumps(JSON_TRACES).encode(), "json", 1, 2, 0, id="json"),
        pytest.param(json.dumps(JSON_LOGS, indent=2).encode(), "json", 1, 0, 1, id="json over many lines"),
        pytest.param(json.dumps([JSON_TRACES, JSON_LOGS]).encode(), "json", 2, 2, 1, id="json array"),
        pytest.param(b"\n".join([json.dumps(JSON_TRACES).encode()] * 3) + b"\n\n", "json", 3, 6, 0, id="json lines"),
        pytest.param(b"\xef\xbb\xbf" + json.dumps(JSON_TRACES).encode(), "json", 1, 2, 0, id="byte order mark"),
    ],
)
def test_a_file_is_known_by_its_content(
    tmp_path: Path,
    packed: Callable[[bytes], bytes],
    body: bytes,
    form: str,
    requests: int,
    spans: int,
    records: int,
) -> None:
    path = tmp_path / "capture.bin"
    path.write_bytes(packed(body))
    file = check(path)
    assert (file.form, file.requests, file.spans, file.logs) == (form, requests, spans, records)
    sent = list(read(file))
    assert sum(item.items for item in sent) == spans + records
    for request in sent:
        kind = ExportTraceServiceRequest if request.signal == "traces" else ExportLogsServiceRequest
        kind.FromString(request.body)


def test_a_delimited_file_whose_first_length_is_a_brace(tmp_path: Path) -> None:
    request = traces(1)
    span = request.resource_spans[0].scope_spans[0].spans[0]
    while len(request.SerializeToString()) < ord("{"):
        span.name += "x"
    path = tmp_path / "brace.pb"
    path.write_bytes(delimited(request.SerializeToString()))
    assert path.read_bytes()[:1] == b"{"
    assert check(path).form == "delimited"


def test_ids_in_json_are_hex_in_any_case(tmp_path: Path) -> None:
    path = tmp_path / "traces.json"
    path.write_text(json.dumps(JSON_TRACES))
    request = ExportTraceServiceRequest.FromString(next(iter(read(check(path)))).body)
    span = request.resource_spans[0].scope_spans[0].spans[0]
    assert (span.trace_id, span.span_id, span.start_time_unix_nano) == (TRACE_ID, SPAN_ID, 1_700_000_000_000_000_000)


def metrics() -> bytes:
    request = ExportMetricsServiceRequest()
    request.resource_metrics.add().scope_metrics.add().metrics.add(name="tokens").gauge.data_points.add(as_int=3)
    return request.SerializeToString()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b"hello\nworld\n", "is not OTLP", id="text"),
        pytest.param(b"\x7fELF\x02\x01\x01" + bytes(200), "is not OTLP", id="program"),
        pytest.param(bytes(range(256)) * 20, "is not OTLP", id="noise"),
        pytest.param(b'{"a": 1}', "neither resourceSpans nor resourceLogs", id="other json"),
        pytest.param(b"[1, 2]", "neither resourceSpans nor resourceLogs", id="json of numbers"),
        pytest.param(b'{"resourceSpans": 5}', "no OTLP request", id="json of another shape"),
        pytest.param(b'{"resourceSpans": [', "is no JSON", id="half a json"),
        pytest.param(json.dumps(JSON_TRACES).encode() + b"\nnot json\n", "line 2 is no JSON", id="a bad line"),
        pytest.param(delimited(ONE, ONE)[:-3], "request 2 is cut off", id="cut off"),
        pytest.param(delimited(ONE, b"\x00garbage\xff"), "request 2 is damaged", id="damaged later"),
        pytest.param(ONE[:-1], "is not OTLP", id="one request, cut off"),
        pytest.param(gzip.compress(delimited(ONE))[:-9], "compression is cut off or damaged", id="gz, cut off"),
        pytest.param(lzma.compress(delimited(ONE))[:-9], "compression is cut off or damaged", id="xz, cut off"),
        pytest.param(gzip.compress(b"hello"), "is not OTLP", id="gz of text"),
        pytest.param(metrics(), "holds OTLP metrics", id="metrics"),
        pytest.param(delimited(metrics()), "holds OTLP metrics", id="delimited metrics"),
        pytest.param(b'{"resourceMetrics": []}', "holds OTLP metrics", id="json metrics"),
        pytest.param(b'{"resourceSpans": []}', "no span and no log record", id="nothing in it"),
    ],
)
def test_an_unknown_file_is_one_line_with_its_name_and_what_was_expected(
    tmp_path: Path, body: bytes, said: str
) -> None:
    path = tmp_path / "strange.bin"
    path.write_bytes(body)
    with pytest.raises(BadInput) as wrong:
        check(path)
    message = str(wrong.value)
    assert message.startswith(f"{path}: ")
    assert said in message
    assert "expected OTLP traces or logs" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["missing.pb", "."])
def test_no_file_at_all(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match=r"no such file|is a directory"):
        check(tmp_path / name)


def test_progress_counts_the_bytes_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "capture.pb.gz"
    path.write_bytes(gzip.compress(delimited(*[MANY] * 50)))
    counted: list[int] = []
    list(read(check(path), on_bytes=counted.append))
    assert sum(counted) == path.stat().st_size


@pytest.mark.captures
def test_every_capture_is_known(shared: Path) -> None:
    files = sorted((shared / "captures").glob("*.pb"))
    assert files
    for path in files:
        file = check(path)
        signals = {request.signal for request in read(file)}
        assert signals == ({"logs"} if ".logs." in path.name else {"traces"}), path.name
