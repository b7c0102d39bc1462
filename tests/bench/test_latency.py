"""What the latency bench waits for is what its requests hold."""

from __future__ import annotations

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.bench.latency import calls_until, probes
from tests.bench.requests import live_requests, session_id

FIRST_NS, EVERY_NS, COUNT = 10**18, 10**8, 4


def spans() -> list[list[Span]]:
    bodies = live_requests(COUNT, every_ns=EVERY_NS, first_ns=FIRST_NS)
    return [list(ExportTraceServiceRequest.FromString(b).resource_spans[0].scope_spans[0].spans) for b in bodies]


def said(span: Span, key: str) -> str:
    return next(attribute.value.string_value for attribute in span.attributes if attribute.key == key)


def test_a_request_is_due_as_its_last_spans_end() -> None:
    ends = [max(span.end_time_unix_nano for span in request) for request in spans()]
    assert ends == [FIRST_NS + number * EVERY_NS for number in range(COUNT)]


def test_model_calls_are_counted_as_they_are_sent() -> None:
    sent = [said(span, "gen_ai.operation.name") == "chat" for request in spans() for span in request]
    assert [calls_until(n) for n in range(len(sent) + 1)] == [sum(sent[:n]) for n in range(len(sent) + 1)]


def test_a_probe_is_a_session_that_one_request_holds_whole() -> None:
    holding: dict[str, set[int]] = {}
    for number, request in enumerate(spans()):
        for span in request:
            holding.setdefault(said(span, "gen_ai.conversation.id"), set()).add(number)
    assert probes(COUNT)
    assert all(holding[session_id(session)] == {request} for session, request in probes(COUNT).items())
