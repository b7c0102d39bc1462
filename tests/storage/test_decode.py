"""OTLP bytes become exactly the rows that the Collector's ClickHouse exporter writes."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from maslens.storage import Rejected, Store
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.storage import otlp

_tokens = (f"test:{number}" for number in itertools.count())
_thorough = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def stored(store: Store, table: str) -> list[dict[str, Any]]:
    """The rows of a table; times as nanoseconds, maps as pairs in their stored order."""
    data = store.arrow(f"SELECT * FROM {table}")
    plain = [
        column.cast(pa.list_(pa.int64()) if pa.types.is_list(column.type) else pa.int64())
        if "Timestamp" in name
        else column
        for name, column in zip(data.column_names, data.columns, strict=True)
    ]
    return pa.table(plain, names=data.column_names).to_pylist()


def comparable(rows: list[dict[str, Any]]) -> list[str]:
    """Rows in an order of their own; a dictionary becomes the list of its pairs, so that their order counts."""
    return sorted(json.dumps({key: _pairs(value) for key, value in row.items()}) for row in rows)


def _pairs(value: Any) -> Any:
    if isinstance(value, dict):
        return [list(pair) for pair in value.items()]
    if isinstance(value, list):
        return [_pairs(item) for item in value]
    return list(value) if isinstance(value, tuple) else value


@_thorough
@given(request=otlp.trace_requests)
def test_spans_are_stored_as_the_exporter_stores_them(store: Store, request: ExportTraceServiceRequest) -> None:
    store.command("TRUNCATE TABLE otel_traces")
    store.insert_otlp("traces", request.SerializeToString(), token=next(_tokens))
    assert comparable(stored(store, "otel_traces")) == comparable(otlp.trace_rows(request))


@_thorough
@given(request=otlp.log_requests)
def test_log_records_are_stored_as_the_exporter_stores_them(store: Store, request: ExportLogsServiceRequest) -> None:
    store.command("TRUNCATE TABLE otel_logs")
    store.insert_otlp("logs", request.SerializeToString(), token=next(_tokens))
    assert comparable(stored(store, "otel_logs")) == comparable(otlp.log_rows(request))


@_thorough
@given(requests=st.lists(otlp.trace_requests, max_size=4))
def test_requests_joined_end_to_end_are_one_request(store: Store, requests: list[ExportTraceServiceRequest]) -> None:
    store.command("TRUNCATE TABLE otel_traces")
    store.insert_otlp("traces", [request.SerializeToString() for request in requests], token=next(_tokens))
    expected = [row for request in requests for row in otlp.trace_rows(request)]
    assert comparable(stored(store, "otel_traces")) == comparable(expected)


def test_a_nested_value_is_kept_and_marked(store: Store) -> None:
    """The receiver turns arrays and lists into JSON text; what comes here all the same is not lost."""
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(start_time_unix_nano=otlp.NOON)
    nested = span.attributes.add(key="list")
    nested.value.array_value.values.add(int_value=7)
    span.attributes.add(key="empty").value.array_value.SetInParent()
    span.attributes.add(key="map").value.kvlist_value.values.add(key="k").value.string_value = "v"
    store.insert_otlp("traces", request.SerializeToString(), token="nested")
    assert store.rows("SELECT SpanAttributes FROM otel_traces") == [
        {
            "SpanAttributes": {
                "empty": '{"otlp.array_value":""}',
                "list": '{"otlp.array_value":"CgIYBw=="}',
                "map": '{"otlp.kvlist_value":"CggKAWsSAwoBdg=="}',
            }
        }
    ]


def test_a_key_said_twice_is_kept_twice(store: Store) -> None:
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(start_time_unix_nano=otlp.NOON)
    for key, value in (("k", "1"), ("a", "0"), ("k", "2")):
        span.attributes.add(key=key).value.string_value = value
    store.insert_otlp("traces", request.SerializeToString(), token="twice")
    (row,) = store.arrow(
        "SELECT mapKeys(SpanAttributes) AS k, arraySort(mapValues(SpanAttributes)) AS v FROM otel_traces"
    ).to_pylist()
    assert row == {"k": ["a", "k", "k"], "v": ["0", "1", "2"]}


def test_unknown_fields_are_ignored_wherever_they_are(store: Store) -> None:
    unknown = b"\xfa\x01\x03new"  # field 31, a string
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(start_time_unix_nano=otlp.NOON, name="known")
    span.attributes.add(key="k").value.string_value = "v"
    for message in (
        request,
        request.resource_spans[0],
        request.resource_spans[0].scope_spans[0],
        span,
        span.attributes[0],
    ):
        message.MergeFromString(unknown)
    body = request.SerializeToString()
    assert body.count(unknown) == 5
    store.insert_otlp("traces", [body, body], token="unknown")
    assert (
        store.rows("SELECT SpanName, SpanAttributes FROM otel_traces")
        == [{"SpanName": "known", "SpanAttributes": {"k": "v"}}] * 2
    )


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\x0a\x7f123", id="cut short"),
        pytest.param(b"\xff" * 40, id="not protobuf"),
        pytest.param(b'{"resourceSpans": []}', id="JSON"),
    ],
)
def test_wrong_bytes_are_rejected_and_nothing_of_the_batch_is_stored(store: Store, body: bytes) -> None:
    good = ExportTraceServiceRequest()
    good.resource_spans.add().scope_spans.add().spans.add(start_time_unix_nano=otlp.NOON)
    with pytest.raises(Rejected):
        store.insert_otlp("traces", [good.SerializeToString(), body], token="bad")
    assert store.rows("SELECT count() AS n FROM otel_traces") == [{"n": 0}]
    store.insert_otlp("traces", good.SerializeToString(), token="good")
    assert store.rows("SELECT count() AS n FROM otel_traces") == [{"n": 1}]


def test_an_insert_may_span_more_days_than_the_engine_takes_by_default(store: Store) -> None:
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for day in range(400):
        spans.add(start_time_unix_nano=otlp.NOON - day * 86_400 * 10**9)
    store.insert_otlp("traces", request.SerializeToString(), token="days")
    assert store.rows("SELECT uniqExact(toDate(Timestamp)) AS days FROM otel_traces") == [{"days": 400}]


def test_metrics_are_refused_by_name(store: Store) -> None:
    with pytest.raises(Rejected, match="metrics are not stored"):
        store.insert_otlp("metrics", b"", token="m")
