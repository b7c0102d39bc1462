"""Recorded spans of other shapes than OTLP, sent as OTLP through a store of their own to the facts they come to."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import polars as pl
from maslens.analytics.facts import Facts, compute
from maslens.analytics.prices import PriceBook
from maslens.semconv.dialects.python import RawSpan
from maslens.storage import open_store
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

Made = TypeVar("Made")
_STATUS = {"Ok": Status.STATUS_CODE_OK, "Error": Status.STATUS_CODE_ERROR}


def facts_of(spans: Iterable[RawSpan], *, prices: PriceBook | None = None) -> Facts:
    return recorded_as(spans, lambda rows: compute(rows, prices=prices))


def recorded_as(spans: Iterable[RawSpan], made: Callable[[pl.DataFrame], Made]) -> Made:
    """What `made` makes of the rows of `agent_spans`."""
    with tempfile.TemporaryDirectory() as data:
        store = open_store(f"chdb://{data}/store")
        try:
            store.migrate()
            store.insert_otlp("traces", [request(spans)], token="recorded")
            return made(pl.DataFrame(store.arrow("SELECT * FROM agent_spans")))
        finally:
            store.close()


def request(spans: Iterable[RawSpan]) -> bytes:
    """One request, a resource and scope a span: what a sender that never batches would send."""
    sent = ExportTraceServiceRequest()
    for span in spans:
        resource = sent.resource_spans.add()
        resource.resource.attributes.extend(_attributes({"service.name": span.service_name, **span.resource}))
        scope = resource.scope_spans.add()
        scope.scope.name = span.scope_name
        made = scope.spans.add(
            trace_id=bytes.fromhex(span.trace_id),
            span_id=bytes.fromhex(span.span_id),
            parent_span_id=bytes.fromhex(span.parent_span_id),
            name=span.span_name,
            kind=Span.SpanKind.Value(f"SPAN_KIND_{span.span_kind.upper()}"),
            start_time_unix_nano=span.timestamp_ns,
            end_time_unix_nano=span.timestamp_ns + span.duration_ns,
            attributes=_attributes(span.attributes),
            status=Status(code=_STATUS.get(span.status_code, Status.STATUS_CODE_UNSET), message=span.status_message),
        )
        for name, told in span.events:
            made.events.add(name=name, time_unix_nano=made.end_time_unix_nano, attributes=_attributes(told))
    return sent.SerializeToString()


def _attributes(given: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in given.items()]
