"""Random OTLP requests, and what the Collector's ClickHouse exporter would make of them."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

NOON = 1_763_640_000_000_000_000  # 2025-11-20 12:00:00 UTC

_text = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
_ids = st.sampled_from([b"", b"\x00" * 8, b"\xff\x10\xab" * 5, bytes(range(16)), b"\x01"])
_times = st.integers(NOON, NOON + 10**10)
_values = st.one_of(
    _text.map(lambda v: AnyValue(string_value=v)),
    st.booleans().map(lambda v: AnyValue(bool_value=v)),
    st.integers(-(2**63), 2**63 - 1).map(lambda v: AnyValue(int_value=v)),
    st.sampled_from([0, 1, -1]).map(lambda v: AnyValue(int_value=v)),
    st.floats().map(lambda v: AnyValue(double_value=v)),
    st.sampled_from([0.0, -0.0, 0.1, 1e21, 1e20, 1e-6, 1e-7, 5e-324, 1.7e308]).map(lambda v: AnyValue(double_value=v)),
    st.binary(max_size=9).map(lambda v: AnyValue(bytes_value=v)),
    st.just(AnyValue()),
)
_attributes = st.dictionaries(_text, _values, max_size=5).map(
    lambda pairs: [KeyValue(key=key, value=value) for key, value in pairs.items()]
)
_resource = st.builds(
    lambda attributes, service: Resource(
        attributes=[a for a in attributes if a.key != "service.name"]
        + ([KeyValue(key="service.name", value=AnyValue(string_value=service))] if service is not None else [])
    ),
    _attributes,
    st.none() | _text,
)
_scope = st.builds(InstrumentationScope, name=_text, version=_text, attributes=_attributes)
_spans = st.builds(
    Span,
    trace_id=_ids,
    span_id=_ids,
    parent_span_id=_ids,
    trace_state=_text,
    name=_text,
    kind=st.integers(0, 7),
    start_time_unix_nano=_times,
    end_time_unix_nano=_times,
    attributes=_attributes,
    dropped_attributes_count=st.sampled_from([0, 0, 7]),
    events=st.lists(st.builds(Span.Event, time_unix_nano=_times, name=_text, attributes=_attributes), max_size=2),
    links=st.lists(
        st.builds(Span.Link, trace_id=_ids, span_id=_ids, trace_state=_text, attributes=_attributes), max_size=2
    ),
    status=st.builds(Status, code=st.integers(0, 3), message=_text),
    flags=st.integers(0, 2**32 - 1),
)
_records = st.builds(
    LogRecord,
    time_unix_nano=st.just(0) | _times,
    observed_time_unix_nano=_times,
    severity_number=st.integers(0, 24),
    severity_text=_text,
    body=_values,
    attributes=_attributes,
    flags=st.integers(0, 511),
    trace_id=_ids,
    span_id=_ids,
    event_name=_text,
)

trace_requests = st.builds(
    ExportTraceServiceRequest,
    resource_spans=st.lists(
        st.builds(
            ResourceSpans,
            resource=_resource,
            schema_url=_text,
            scope_spans=st.lists(
                st.builds(ScopeSpans, scope=_scope, schema_url=_text, spans=st.lists(_spans, max_size=3)), max_size=2
            ),
        ),
        max_size=3,
    ),
)
log_requests = st.builds(
    ExportLogsServiceRequest,
    resource_logs=st.lists(
        st.builds(
            ResourceLogs,
            resource=_resource,
            schema_url=_text,
            scope_logs=st.lists(
                st.builds(ScopeLogs, scope=_scope, schema_url=_text, log_records=st.lists(_records, max_size=3)),
                max_size=2,
            ),
        ),
        max_size=3,
    ),
)


def trace_rows(request: ExportTraceServiceRequest) -> list[dict[str, Any]]:
    """The rows of otel_traces, times as nanoseconds."""
    return [
        {
            "Timestamp": span.start_time_unix_nano,
            "TraceId": span.trace_id.hex(),
            "SpanId": span.span_id.hex(),
            "ParentSpanId": span.parent_span_id.hex(),
            "TraceState": span.trace_state,
            "SpanName": span.name,
            "SpanKind": dict(enumerate(["Unspecified", "Internal", "Server", "Client", "Producer", "Consumer"])).get(
                span.kind, ""
            ),
            "ServiceName": _map(in_resource.resource.attributes).get("service.name", ""),
            "ResourceAttributes": _map(in_resource.resource.attributes),
            "ScopeName": in_scope.scope.name,
            "ScopeVersion": in_scope.scope.version,
            "SpanAttributes": _sorted(
                _map(span.attributes)
                | (
                    {"otel.dropped_attributes_count": str(span.dropped_attributes_count)}
                    if span.dropped_attributes_count
                    else {}
                )
            ),
            "Duration": max(0, span.end_time_unix_nano - span.start_time_unix_nano),
            "StatusCode": {0: "Unset", 1: "Ok", 2: "Error"}.get(span.status.code, ""),
            "StatusMessage": span.status.message,
            "Events.Timestamp": [event.time_unix_nano for event in span.events],
            "Events.Name": [event.name for event in span.events],
            "Events.Attributes": [_map(event.attributes) for event in span.events],
            "Links.TraceId": [link.trace_id.hex() for link in span.links],
            "Links.SpanId": [link.span_id.hex() for link in span.links],
            "Links.TraceState": [link.trace_state for link in span.links],
            "Links.Attributes": [_map(link.attributes) for link in span.links],
        }
        for in_resource in request.resource_spans
        for in_scope in in_resource.scope_spans
        for span in in_scope.spans
    ]


def log_rows(request: ExportLogsServiceRequest) -> list[dict[str, Any]]:
    return [
        {
            "Timestamp": record.time_unix_nano or record.observed_time_unix_nano,
            "TraceId": record.trace_id.hex(),
            "SpanId": record.span_id.hex(),
            "TraceFlags": record.flags & 255,
            "SeverityText": record.severity_text,
            "SeverityNumber": record.severity_number,
            "ServiceName": _map(in_resource.resource.attributes).get("service.name", ""),
            "Body": as_string(record.body),
            "ResourceSchemaUrl": in_resource.schema_url,
            "ResourceAttributes": _map(in_resource.resource.attributes),
            "ScopeSchemaUrl": in_scope.schema_url,
            "ScopeName": in_scope.scope.name,
            "ScopeVersion": in_scope.scope.version,
            "ScopeAttributes": _map(in_scope.scope.attributes),
            "LogAttributes": _map(record.attributes),
            "EventName": record.event_name,
        }
        for in_resource in request.resource_logs
        for in_scope in in_resource.scope_logs
        for record in in_scope.log_records
    ]


def as_string(value: AnyValue) -> str:
    """pdata's `Value.AsString` for everything but arrays and lists."""
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return value.string_value
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    if kind == "int_value":
        return str(value.int_value)
    if kind == "double_value":
        return _go_float(value.double_value)
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    return ""


def _go_float(number: float) -> str:
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    exact = Decimal(repr(number))
    if number == 0 or 1e-6 <= abs(number) < 1e21:
        text = f"{exact:f}"
        return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"
    mantissa, _, exponent = f"{exact.normalize():e}".partition("e")
    sign, digits = exponent[0], exponent[1:].lstrip("0")
    return f"{mantissa}e{sign}{digits}"


def _map(attributes: Iterable[KeyValue]) -> dict[str, str]:
    return _sorted({attribute.key: as_string(attribute.value) for attribute in attributes})


def _sorted(pairs: dict[str, str]) -> dict[str, str]:
    return dict(sorted(pairs.items(), key=lambda pair: pair[0].encode()))
