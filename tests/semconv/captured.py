"""The framework captures as rows of `otel_traces`."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from maslens.semconv.dialects.python import RawSpan
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

KINDS = ("Unspecified", "Internal", "Server", "Client", "Producer", "Consumer")
STATUSES = ("Unset", "Ok", "Error")


def captures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.otlp.pb") if not path.name.endswith(".logs.otlp.pb"))


def spans_of(capture: Path) -> list[RawSpan]:
    return [span for request in _requests(capture.read_bytes()) for span in _spans(request)]


def _requests(data: bytes) -> Iterator[ExportTraceServiceRequest]:
    at = 0
    while at < len(data):
        length = shift = 0
        while True:
            byte = data[at]
            at += 1
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        yield ExportTraceServiceRequest.FromString(data[at : at + length])
        at += length


def _spans(request: ExportTraceServiceRequest) -> Iterator[RawSpan]:
    for of_resource in request.resource_spans:
        resource = _attributes(of_resource.resource.attributes)
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                yield _span(span, resource, of_scope.scope.name)


def _span(span: Span, resource: Mapping[str, str], scope: str) -> RawSpan:
    attributes = _attributes(span.attributes)
    if span.dropped_attributes_count:
        attributes["otel.dropped_attributes_count"] = str(span.dropped_attributes_count)
    return RawSpan(
        timestamp_ns=span.start_time_unix_nano,
        duration_ns=span.end_time_unix_nano - span.start_time_unix_nano,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex(),
        service_name=resource.get("service.name", ""),
        span_name=span.name,
        span_kind=KINDS[span.kind],
        scope_name=scope,
        status_code=STATUSES[span.status.code],
        status_message=span.status.message,
        attributes=dict(sorted(attributes.items())),
        resource=resource,
        events=[(event.name, _attributes(event.attributes)) for event in span.events],
        links=[(link.trace_id.hex(), link.span_id.hex(), _attributes(link.attributes)) for link in span.links],
    )


def _attributes(given: Iterable[KeyValue]) -> dict[str, str]:
    return {one.key: _text(one.value) for one in sorted(given, key=lambda one: one.key)}


def _text(value: AnyValue) -> str:
    plain = _plain(value)
    if isinstance(plain, bool):
        return "true" if plain else "false"
    if isinstance(plain, list | dict):
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
    return "" if plain is None else str(plain)


def _plain(value: AnyValue) -> Any:
    which = value.WhichOneof("value")
    if which is None:
        return None
    if which == "array_value":
        return [_plain(one) for one in value.array_value.values]
    if which == "kvlist_value":
        return {one.key: _plain(one.value) for one in value.kvlist_value.values}
    if which == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    return getattr(value, which)
