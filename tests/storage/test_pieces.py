"""Cutting a request loses nothing, adds nothing and gives the same pieces every time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maslens.storage import Rejected, Store, ingest
from maslens.storage.pieces import pieces
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.storage import otlp


@settings(deadline=None)
@given(requests=st.lists(otlp.trace_requests, max_size=3), limit=st.integers(1, 600))
def test_pieces_of_spans_say_what_the_whole_said(requests: list[ExportTraceServiceRequest], limit: int) -> None:
    chunks = [request.SerializeToString() for request in requests]
    cut = [b"".join(piece) for piece in pieces(chunks, limit)]
    whole = [row for request in requests for row in otlp.trace_rows(request)]
    parts = [row for piece in cut for row in otlp.trace_rows(ExportTraceServiceRequest.FromString(piece))]
    assert parts == whole
    assert cut == [b"".join(piece) for piece in pieces(chunks, limit)]


@settings(deadline=None)
@given(request=otlp.log_requests, limit=st.integers(1, 600))
def test_pieces_of_log_records_say_what_the_whole_said(request: ExportLogsServiceRequest, limit: int) -> None:
    cut = [b"".join(piece) for piece in pieces([request.SerializeToString()], limit)]
    parts = [row for piece in cut for row in otlp.log_rows(ExportLogsServiceRequest.FromString(piece))]
    assert parts == otlp.log_rows(request)


def test_one_resource_with_many_spans_is_cut_to_the_limit() -> None:
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for number in range(1000):
        spans.add(name=f"span {number}" * 10)
    sizes = [sum(map(len, piece)) for piece in pieces([request.SerializeToString()], 10_000)]
    assert len(sizes) > 5
    assert max(sizes) < 10_200  # the frame around the spans


def test_small_requests_are_put_together() -> None:
    assert [len(piece) for piece in pieces([b"\x0a\x00"] * 10, 6)] == [3, 3, 3, 1]


@pytest.mark.parametrize("body", [b"\x0a\xff\x01" + b"x" * 20, b"\x0b" + b"x" * 20, b"\xff" * 20, b"\x09" + b"x" * 3])
def test_what_is_not_protobuf_is_rejected(body: bytes) -> None:
    with pytest.raises(Rejected, match="not a protobuf message"):
        list(pieces([body], 2))


def test_a_batch_that_takes_several_inserts_is_stored_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "PIECE_BYTES", 5_000)
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for number in range(500):
        spans.add(name="n", span_id=number.to_bytes(8, "big"), start_time_unix_nano=otlp.NOON)
    for _ in range(2):
        store.insert_otlp("traces", [request.SerializeToString(), request.SerializeToString()], token="t")
    assert store.rows("SELECT count() AS n, uniqExact(SpanId) AS u FROM otel_traces") == [{"n": 1000, "u": 500}]
    assert store.rows("SELECT count() AS n FROM agent_spans") == [{"n": 1000}]
