"""OTLP requests made by hand, for what no exporter would send."""

from __future__ import annotations

import time
from random import Random

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


def request(
    spans: int, *, seed: int, agent: str = "worker", name: str = "chat gpt-4.1-mini"
) -> ExportTraceServiceRequest:
    """`spans` model calls of one agent in one trace, every id different for every seed."""
    luck = Random(seed)
    made = ExportTraceServiceRequest()
    resource = made.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "made"
    scope = resource.scope_spans.add()
    trace_id, now = luck.randbytes(16), time.time_ns()
    for index in range(spans):
        span = scope.spans.add(
            trace_id=trace_id,
            span_id=luck.randbytes(8),
            name=name,
            kind=Span.SPAN_KIND_CLIENT,
            start_time_unix_nano=now + index * 1000,
            end_time_unix_nano=now + index * 1000 + 500,
        )
        _set(span, "gen_ai.operation.name", "chat")
        _set(span, "gen_ai.agent.name", agent)
        _set(span, "gen_ai.request.model", "gpt-4.1-mini")
        _set(span, "gen_ai.provider.name", "openai")
        _set(span, "gen_ai.conversation.id", f"made-{seed}")
        span.attributes.add(key="gen_ai.usage.input_tokens").value.int_value = 100
        span.attributes.add(key="gen_ai.usage.output_tokens").value.int_value = 10
    return made


def delimited(requests: list[bytes]) -> bytes:
    return b"".join(_varint(len(body)) + body for body in requests)


def _set(span: Span, key: str, value: str) -> None:
    span.attributes.add(key=key).value.string_value = value


def _varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])
