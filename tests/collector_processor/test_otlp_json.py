"""OTLP in JSON, by the letter of the specification."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from maslens.collector_processor.errors import Malformed
from maslens.collector_processor.otlp_json import request_from_json
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.collector_processor.test_prepare import spans


def read(span: dict[str, Any]) -> Span:
    content = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}
    body = request_from_json("traces", json.dumps(content).encode())
    return ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans[0]


def read_value(value: Any) -> AnyValue:
    return read({"attributes": [{"key": "k", "value": value}]}).attributes[0].value


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        pytest.param({"traceId": "5B8EFFF798038103D269B633813FC60C"}, "5b8efff798038103d269b633813fc60c", id="upper"),
        pytest.param({"traceId": "5b8efff798038103d269b633813fc60c"}, "5b8efff798038103d269b633813fc60c", id="lower"),
    ],
)
def test_ids_are_hexadecimal_in_either_case(span: dict[str, Any], expected: str) -> None:
    assert read(span).trace_id.hex() == expected


@pytest.mark.parametrize("bad", ["xyz", "W47/95gDgQPSabYzgT/GDA==", "123"])
def test_an_id_that_is_not_hexadecimal_has_no_valid_length(bad: str) -> None:
    assert len(read({"traceId": bad}).trace_id) == 1


@pytest.mark.parametrize("time", ["1544712660000000000", 1544712660000000000, 1.54471266e18])
def test_64_bit_integers_are_strings_or_numbers(time: Any) -> None:
    assert read({"startTimeUnixNano": time}).start_time_unix_nano == 1544712660000000000


@pytest.mark.parametrize(("kind", "expected"), [(2, 2), ("SPAN_KIND_SERVER", 2), ("3", 3)])
def test_enums_are_integers_and_names_are_understood(kind: Any, expected: int) -> None:
    assert read({"kind": kind}).kind == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param({"stringValue": "x"}, AnyValue(string_value="x"), id="string"),
        pytest.param({"stringValue": ""}, AnyValue(string_value=""), id="empty string"),
        pytest.param({"stringValue": "é" * 200}, AnyValue(string_value="é" * 200), id="long string"),
        pytest.param({"boolValue": False}, AnyValue(bool_value=False), id="false"),
        pytest.param({"intValue": "-1"}, AnyValue(int_value=-1), id="negative integer"),
        pytest.param({"intValue": 9223372036854775807}, AnyValue(int_value=2**63 - 1), id="largest integer"),
        pytest.param({"doubleValue": 1}, AnyValue(double_value=1.0), id="double as integer"),
        pytest.param({"doubleValue": "NaN"}, AnyValue(double_value=float("nan")), id="not a number"),
        pytest.param({"bytesValue": "AQL/"}, AnyValue(bytes_value=b"\x01\x02\xff"), id="base64"),
        pytest.param({"bytesValue": "AQL_"}, AnyValue(bytes_value=b"\x01\x02\xff"), id="base64 for URLs"),
        pytest.param({"bytesValue": "AQ"}, AnyValue(bytes_value=b"\x01"), id="base64 unpadded"),
        pytest.param({}, AnyValue(), id="nothing"),
    ],
)
def test_values(value: Any, expected: AnyValue) -> None:
    assert read_value(value).SerializeToString() == expected.SerializeToString()


def test_arrays_and_maps() -> None:
    inner = {"kvlistValue": {"values": [{"key": "a", "value": {"arrayValue": {"values": [{"intValue": 1}]}}}]}}
    (pair,) = read_value({"arrayValue": {"values": [inner]}}).array_value.values[0].kvlist_value.values
    assert (pair.key, pair.value.array_value.values[0].int_value) == ("a", 1)


@pytest.mark.parametrize(
    "span",
    [
        pytest.param({"unknown": {"a": [1]}, "name": "n"}, id="unknown field"),
        pytest.param({"start_time_unix_nano": 5, "name": "n"}, id="snake case is no name"),
        pytest.param({"traceState": None, "name": "n"}, id="null is absent"),
    ],
)
def test_what_is_not_known_is_skipped(span: dict[str, Any]) -> None:
    assert read(span).SerializeToString() == Span(name="n").SerializeToString()


def test_half_a_surrogate_pair_is_replaced() -> None:
    assert read({"name": "a\ud800b"}).name == "a?b"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"\xff",
        b'{"resourceSpans": {}}',
        b'{"resourceSpans": [1]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": 1}]}]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": "x"}]}]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": -1}]}]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": 1e400}]}]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"kind": "NONE"}]}]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"attributes": [{"key": 1}]}]}]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"attributes": [{"value": {"intValue": true}}]}]}]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"attributes": [{"value": {"bytesValue": "#"}}]}]}]}]}',
        b"[" * 100_000,
        b'{"resourceSpans":' * 50_000,
    ],
)
def test_what_is_no_request_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        request_from_json("traces", body)


def test_an_empty_object_is_an_empty_request() -> None:
    assert request_from_json("logs", b"{}") == b""


def test_logs() -> None:
    record = {
        "timeUnixNano": "1",
        "observedTimeUnixNano": 2,
        "severityNumber": "SEVERITY_NUMBER_INFO2",
        "severityText": "info",
        "body": {"stringValue": "hello"},
        "traceId": "ab" * 16,
        "spanId": "cd" * 8,
        "eventName": "gen_ai.choice",
        "flags": 1,
    }
    body = request_from_json("logs", json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}).encode())
    (read_record,) = ExportLogsServiceRequest.FromString(body).resource_logs[0].scope_logs[0].log_records
    assert (read_record.severity_number, read_record.event_name, read_record.span_id.hex()) == (
        10,
        "gen_ai.choice",
        "cd" * 8,
    )


def as_json(request: ExportTraceServiceRequest) -> bytes:
    """The specification's JSON of a request: protobuf's own, with ids in hexadecimal."""
    content = json_format.MessageToDict(request, use_integers_for_enums=True)

    def mend(node: Any) -> None:
        for key, inner in node.items() if isinstance(node, dict) else enumerate(node):
            if key in ("traceId", "spanId", "parentSpanId"):
                node[key] = base64.b64decode(inner).hex()
            elif isinstance(inner, (dict, list)):
                mend(inner)

    mend(content)
    return json.dumps(content).encode()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(spans, max_size=4))
def test_json_and_protobuf_say_the_same(content: list[Span]) -> None:
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.extend(content)
    assert ExportTraceServiceRequest.FromString(request_from_json("traces", as_json(request))) == request


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["resourceSpans", "scopeSpans", "spans", "name", "traceId", "attributes", "value", "key"]
                ),
                inner,
                max_size=3,
            )
        ),
    )
)
def test_any_json_is_taken_or_malformed(content: Any) -> None:
    try:
        body = request_from_json("traces", json.dumps({"resourceSpans": content}).encode())
    except Malformed:
        return
    ExportTraceServiceRequest.FromString(body)
