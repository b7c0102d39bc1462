"""OTLP/HTTP, by the letter of the specification (opentelemetry-proto, docs/specification.md)."""

from __future__ import annotations

import gzip
import json
import socket
import time
import zlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import zstandard
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tests.contract.otlp.endpoint import (
    JSON,
    PROTOBUF,
    Answer,
    Endpoint,
    assert_full_success,
    log_json,
    log_request,
    trace_json,
    trace_request,
)

MIB = 1 << 20
SAMPLES: dict[tuple[str, str], Any] = {
    ("traces", PROTOBUF): trace_request,
    ("logs", PROTOBUF): log_request,
    ("traces", JSON): lambda: json.dumps(trace_json()).encode(),
    ("logs", JSON): lambda: json.dumps(log_json()).encode(),
}
EVERY = pytest.mark.parametrize(("signal", "content_type"), list(SAMPLES), ids=lambda value: value.rpartition("/")[2])


def assert_success(endpoint: Endpoint, answer: Answer, signal: str, content_type: str) -> None:
    assert (answer.status, answer.media_type) == (200, content_type)
    assert_full_success(endpoint, signal, answer.body, content_type)


@EVERY
def test_success_is_answered_in_the_requests_encoding(over_http: Endpoint, signal: str, content_type: str) -> None:
    answer = over_http.post(SAMPLES[signal, content_type](), signal, content_type)
    assert_success(over_http, answer, signal, content_type)


@EVERY
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_compressed_bodies(over_http: Endpoint, signal: str, content_type: str, encoding: str) -> None:
    compress = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstandard.compress}[encoding]
    answer = over_http.post(compress(SAMPLES[signal, content_type]()), signal, content_type, Content_Encoding=encoding)
    assert_success(over_http, answer, signal, content_type)


@EVERY
def test_an_empty_request_is_a_success(over_http: Endpoint, signal: str, content_type: str) -> None:
    assert_success(
        over_http,
        over_http.post(b"" if content_type == PROTOBUF else b"{}", signal, content_type),
        signal,
        content_type,
    )


@EVERY
def test_parameters_of_the_content_type_are_no_other_type(over_http: Endpoint, signal: str, content_type: str) -> None:
    answer = over_http.post(SAMPLES[signal, content_type](), signal, f"{content_type}; charset=utf-8")
    assert_success(over_http, answer, signal, content_type)


@EVERY
def test_a_body_in_chunks(over_http: Endpoint, signal: str, content_type: str) -> None:
    body = SAMPLES[signal, content_type]()

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(body), 7):
            yield body[start : start + 7]

    assert_success(over_http, over_http.post(chunks(), signal, content_type), signal, content_type)


def test_unknown_fields_are_skipped(over_http: Endpoint) -> None:
    assert_success(over_http, over_http.post(trace_request() + b"\xfa\x3f\x05hello"), "traces", PROTOBUF)
    content = trace_json(unknown={"deep": [1, 2, {}]})
    content["alsoUnknown"] = 1
    assert_success(over_http, over_http.post(json.dumps(content).encode(), content_type=JSON), "traces", JSON)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(
            {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174"}, id="ids in lower case"
        ),
        pytest.param({"attributes": [{"key": "k", "value": {"intValue": "-5"}}]}, id="64-bit integer as string"),
        pytest.param({"attributes": [{"key": "k", "value": {"intValue": 5}}]}, id="64-bit integer as number"),
        pytest.param({"attributes": [{"key": "k", "value": {"bytesValue": "AQL/"}}]}, id="bytes"),
        pytest.param({"attributes": [{"key": "k", "value": {"arrayValue": {"values": [{}]}}}]}, id="array"),
        pytest.param({"attributes": [{"key": "k", "value": {"kvlistValue": {"values": []}}}]}, id="map"),
        pytest.param({"status": {"code": 2, "message": "x"}}, id="status"),
        pytest.param({"events": [{"name": "e", "timeUnixNano": "1544712660300000000"}]}, id="event"),
        pytest.param({"parentSpanId": ""}, id="empty parent"),
        pytest.param({"droppedAttributesCount": 3, "flags": 257}, id="counts and flags"),
        pytest.param({"startTimeUnixNano": time.time_ns()}, id="a time as number"),
        pytest.param({"kind": 0}, id="an enum of 0"),
        pytest.param({"attributes": [{"key": "k", "value": {"doubleValue": 1}}]}, id="a double without fraction"),
        pytest.param({"attributes": [{"key": "k", "value": {"doubleValue": "NaN"}}]}, id="a double that is none"),
        pytest.param({"attributes": [{"key": "k", "value": {"bytesValue": "AQI="}}]}, id="bytes with padding"),
        pytest.param({"attributes": [{"key": "k", "value": {}}]}, id="an attribute of no value"),
        pytest.param({"attributes": [{"key": "k", "value": {"futureValue": 1}}]}, id="a value of a kind to come"),
        pytest.param(
            {"links": [{"traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "EEE19B7EC3C1B174"}]}, id="link"
        ),
        pytest.param({"name": "\ud83d\ude00 \u00e9 \u0000"}, id="any character"),
    ],
)
def test_json_as_specified(over_http: Endpoint, fields: dict[str, Any]) -> None:
    answer = over_http.post(json.dumps(trace_json(**fields)).encode(), content_type=JSON)
    assert_success(over_http, answer, "traces", JSON)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"kind": "SPAN_KIND_SERVER"}, id="kind"),
        pytest.param({"status": {"code": "STATUS_CODE_ERROR"}}, id="status"),
    ],
)
def test_names_of_enums_are_refused_for_good_or_understood(over_http: Endpoint, fields: dict[str, Any]) -> None:
    """The specification allows integers only; a receiver may be lenient, but must not ask for it again."""
    answer = over_http.post(json.dumps(trace_json(**fields)).encode(), content_type=JSON)
    assert answer.status in (200, 400)


def test_names_in_snake_case_are_unknown_fields(over_http: Endpoint) -> None:
    content = {"resource_spans": trace_json()["resourceSpans"]}
    assert_success(over_http, over_http.post(json.dumps(content).encode(), content_type=JSON), "traces", JSON)


@pytest.mark.parametrize(
    ("body", "content_type", "encoding"),
    [
        pytest.param(b"\xff\xff", PROTOBUF, None, id="no protobuf"),
        pytest.param(trace_request()[:-3], PROTOBUF, None, id="cut short"),
        pytest.param(b"{", JSON, None, id="no JSON"),
        pytest.param(b'{"resourceSpans": 5}', JSON, None, id="another shape"),
        pytest.param(b"not gzip", PROTOBUF, "gzip", id="no gzip"),
        pytest.param(gzip.compress(trace_request())[:-9], PROTOBUF, "gzip", id="gzip cut short"),
        pytest.param(trace_request(), JSON, None, id="protobuf said to be JSON"),
        pytest.param(json.dumps(trace_json()).encode(), PROTOBUF, None, id="JSON said to be protobuf"),
    ],
)
def test_bad_data_is_400_with_a_status(
    over_http: Endpoint, body: bytes, content_type: str, encoding: str | None
) -> None:
    answer = over_http.post(body, content_type=content_type, **({"Content_Encoding": encoding} if encoding else {}))
    assert (answer.status, answer.media_type) == (400, content_type)
    status = answer.rpc_status()
    assert status.message
    assert "retry-after" not in answer.headers


@pytest.mark.parametrize("content_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "application"])
def test_other_content_types_are_415(over_http: Endpoint, content_type: str | None) -> None:
    assert over_http.post(trace_request(), content_type=content_type).status == 415


@pytest.mark.parametrize("encoding", ["br", "compress", "gzip, gzip"])
def test_other_encodings_are_refused_for_good(over_http: Endpoint, encoding: str) -> None:
    assert over_http.post(trace_request(), Content_Encoding=encoding).status in (400, 415)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
def test_other_methods_are_405(over_http: Endpoint, method: str) -> None:
    answer = over_http.request(method, "/v1/traces", headers={"Content-Type": PROTOBUF})
    assert answer.status == 405


@pytest.mark.parametrize("path", ["/", "/v1/trace", "/v1/traces/x", "/../etc/passwd", "/%00", "/v1/traces%2f"])
def test_other_paths_are_404(over_http: Endpoint, path: str) -> None:
    assert over_http.request("POST", path, b"", {"Content-Type": PROTOBUF}).status == 404


@pytest.mark.parametrize("encoding", [None, "gzip", "zstd"])
def test_a_body_over_the_limit_is_413(over_http: Endpoint, encoding: str | None) -> None:
    body = bytes(65 * MIB)
    compress = {None: bytes, "gzip": gzip.compress, "zstd": zstandard.compress}[encoding]
    answer = over_http.post(compress(body), **({"Content_Encoding": encoding} if encoding else {}))
    assert answer.status == 413


def test_a_large_body_within_the_limit_is_taken(over_http: Endpoint) -> None:
    body = trace_request(*["x" * MIB] * 18)
    assert over_http.post(body).status == 200
    assert over_http.post(gzip.compress(body, 1), Content_Encoding="gzip").status == 200


def test_errors_are_in_the_requests_encoding(ours: Endpoint) -> None:
    for content_type in (JSON, PROTOBUF):
        answers = [
            ours.post(b"\xff", content_type=content_type),
            ours.post(b"", "nothing", content_type),
            ours.request("GET", "/v1/traces", headers={"Content-Type": content_type}),
            ours.post(b"", content_type=content_type, Content_Encoding="br"),
        ]
        for answer in answers:
            assert answer.media_type == content_type
            assert answer.rpc_status().message


def test_cors_is_off(over_http: Endpoint) -> None:
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    answer = over_http.request("OPTIONS", "/v1/traces", headers=asked)
    assert "access-control-allow-origin" not in answer.headers
    answer = over_http.post(trace_request(), Origin="https://app.example")
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
@pytest.mark.parametrize("kind", ["bad data", "path", "method", "encoding", "too large"])
def test_no_refusal_for_good_asks_to_come_back(over_http: Endpoint, kind: str, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    answer = {
        "bad data": lambda: over_http.post(b"\xff", content_type=content_type),
        "path": lambda: over_http.request("POST", "/v1/nothing", b"", headers),
        "method": lambda: over_http.request("PUT", "/v1/traces", b"", headers),
        "encoding": lambda: over_http.post(b"x", content_type=content_type, Content_Encoding="br"),
        "too large": lambda: over_http.post(bytes(65 * MIB), content_type=content_type),
    }[kind]()
    assert 400 <= answer.status < 500
    assert answer.status != 429
    assert "retry-after" not in answer.headers


def test_the_answer_is_small_however_much_is_wrong(ours: Endpoint) -> None:
    answer = ours.post(trace_request(*["x" * 1000] * 2000, span_id=b"short"))
    assert answer.status == 200
    assert len(answer.body) < 4096


def test_metrics_are_refused_clearly(ours: Endpoint) -> None:
    answer = ours.post(b"", "metrics")
    assert answer.status == 404
    assert "metrics are not stored here" in answer.rpc_status().message


@pytest.mark.parametrize(
    ("fields", "content_type"),
    [
        pytest.param({"trace_id": b"short"}, PROTOBUF, id="trace id in protobuf"),
        pytest.param({"start_time_unix_nano": 1}, PROTOBUF, id="1970"),
        pytest.param({"traceId": "W47/95gDgQPSabYzgT/GDA=="}, JSON, id="trace id as base64"),
    ],
)
def test_partial_success_says_how_many_and_why(ours: Endpoint, fields: dict[str, Any], content_type: str) -> None:
    if content_type == PROTOBUF:
        answer = ours.post(trace_request("good") + trace_request("bad", **fields))
        partial = ExportTraceServiceResponse.FromString(answer.body).partial_success
        rejected, message, total = partial.rejected_spans, partial.error_message, 2
    else:
        answer = ours.post(json.dumps(trace_json(**fields)).encode(), content_type=JSON)
        said = json.loads(answer.body)["partialSuccess"]
        rejected, message, total = int(said["rejectedSpans"]), said["errorMessage"], 1
    assert (answer.status, rejected) == (200, 1)
    assert message.startswith(f"1 of {total} spans rejected: 1 with ")


# --- HTTP itself ------------------------------------------------------------------------------------------------------


def talk(endpoint: Endpoint, *pieces: bytes, end: bytes | None = None) -> bytes:
    """Send bytes as they are; read until the other side closes, or `end` was seen."""
    where = urlsplit(endpoint.http)
    with socket.create_connection((where.hostname, where.port), timeout=15) as connection:
        for piece in pieces:
            connection.sendall(piece)
        received = b""
        while end is None or end not in received:
            data = connection.recv(65536)
            if not data:
                break
            received += data
        return received


def head(length: int, *lines: str, version: str = "1.1", method: str = "POST") -> bytes:
    fixed = [f"{method} /v1/traces HTTP/{version}", "Host: x", f"Content-Type: {PROTOBUF}", f"Content-Length: {length}"]
    return "\r\n".join([*fixed, *lines, "", ""]).encode()


def test_several_requests_on_one_connection(over_http: Endpoint) -> None:
    body = trace_request()
    one = head(len(body)) + body
    received = talk(over_http, one * 5 + head(len(body), "Connection: close") + body)
    assert received.count(b"HTTP/1.1 200") == 6


def test_http_1_0_is_answered_and_closed(over_http: Endpoint) -> None:
    body = trace_request()
    assert talk(over_http, head(len(body), version="1.0") + body).startswith(b"HTTP/1.")


def test_expect_100_continue(over_http: Endpoint) -> None:
    body = trace_request()
    where = urlsplit(over_http.http)
    with socket.create_connection((where.hostname, where.port), timeout=15) as connection:
        connection.sendall(head(len(body), "Expect: 100-continue", "Connection: close"))
        assert connection.recv(65536).startswith(b"HTTP/1.1 100")
        connection.sendall(body)
        assert b"HTTP/1.1 200" in connection.recv(65536)


@pytest.mark.parametrize(
    "noise",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2"),
        pytest.param(b"GET\r\n\r\n", id="half a request line"),
        pytest.param(b"POST /v1/traces HTTP/1.1\r\nContent-Length: -5\r\n\r\n", id="negative length"),
        pytest.param(b"POST /v1/traces HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", id="two lengths"),
        pytest.param(
            b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            id="a length and chunks",
        ),
        pytest.param(
            b"POST /v1/traces HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", id="a chunk of no length"
        ),
        pytest.param(b"POST /v1/traces HTTP/1.1\r\nHost: a\0b\r\n\r\n", id="NUL in a header"),
    ],
)
def test_what_is_not_http_is_refused(over_http: Endpoint, noise: bytes) -> None:
    received = talk(over_http, noise)
    assert received == b"" or received.split(b" ", 2)[1] in (b"400", b"405", b"415", b"501", b"505"), received


def test_giant_headers_are_refused(over_http: Endpoint) -> None:
    received = talk(over_http, head(0, *[f"X-{number}: {'x' * 1000}" for number in range(1100)]))
    assert received.split(b" ", 2)[1] in (b"431", b"400")
