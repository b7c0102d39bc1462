"""Requests without end, every id and every session in them new, at the cost of a copy each."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator

import numpy as np
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.bench.requests import requests


def fleet(*, seed: int = 7) -> Iterator[bytes]:
    """Requests of 512 spans as `tests.bench.requests` makes them, for ever."""
    return _renewed(requests(1, seed=seed)[0], seed=seed)


def tiny(*, seed: int = 7) -> Iterator[bytes]:
    """Requests of one span, for ever."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "tiny"
    now, luck = time.time_ns(), np.random.default_rng(seed)
    resource.scope_spans.add().spans.add(
        trace_id=luck.bytes(16),
        span_id=luck.bytes(8),
        name="tick",
        start_time_unix_nano=now,
        end_time_unix_nano=now + 1,
    )
    return _renewed(request.SerializeToString(), seed=seed)


def one_trace(spans: int, *, session: str, per_request: int = 512) -> list[bytes]:
    """One trace of exactly `spans`: a workflow, agents of nine model calls each under it, in requests of 512."""
    luck = np.random.default_rng(spans)
    trace, start = luck.bytes(16), time.time_ns() - spans * 1_000_000
    root = luck.bytes(8)
    everywhere = {"gen_ai.conversation.id": session}
    made = [
        _span(
            trace, root, b"", "invoke_workflow desk", start, {**everywhere, "gen_ai.operation.name": "invoke_workflow"}
        )
    ]
    agent = b""
    for number in range(spans - 1):
        name = f"agent-{number // 10 % 8}"
        whose = {**everywhere, "gen_ai.agent.name": name}
        at = start + (number + 1) * 1_000_000
        if number % 10 == 0:
            agent = luck.bytes(8)
            invoked = {**whose, "gen_ai.operation.name": "invoke_agent"}
            made.append(_span(trace, agent, root, f"invoke_agent {name}", at, invoked))
            continue
        call: dict[str, str | int] = {
            **whose,
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4.1-mini",
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.output_tokens": 10,
        }
        made.append(_span(trace, luck.bytes(8), agent, "chat gpt-4.1-mini", at, call))
    bodies = []
    for first in range(0, spans, per_request):
        request = ExportTraceServiceRequest()
        resource = request.resource_spans.add()
        resource.resource.attributes.add(key="service.name").value.string_value = "long"
        resource.scope_spans.add().spans.extend(made[first : first + per_request])
        bodies.append(request.SerializeToString())
    return bodies


def _span(
    trace: bytes, span: bytes, parent: bytes, name: str, at: int, attributes: dict[str, str] | dict[str, str | int]
) -> Span:
    made = Span(
        trace_id=trace, span_id=span, parent_span_id=parent, name=name, kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=at, end_time_unix_nano=at + 900_000,
    )  # fmt: skip
    for key, value in attributes.items():
        if isinstance(value, int):
            made.attributes.add(key=key).value.int_value = value
        else:
            made.attributes.add(key=key).value.string_value = value
    return made


def _renewed(template: bytes, *, seed: int) -> Iterator[bytes]:
    """Copies of `template` whose ids differ by a mask of eight bytes and whose sessions have other numbers.

    Answers and tool calls get other ids too: traces that share an answer are one session.
    """
    request = ExportTraceServiceRequest.FromString(template)
    spans = [span for rs in request.resource_spans for ss in rs.scope_spans for span in ss.spans]
    ids = {span.trace_id for span in spans} | {span.span_id for span in spans} | {span.parent_span_id for span in spans}
    found_ids = [found.span() for each in ids if any(each) for found in re.finditer(re.escape(each), template)]
    at = np.concatenate([np.arange(start, end) for start, end in found_ids])
    phase = np.concatenate([np.arange(end - start) % 8 for start, end in found_ids])
    sessions = [(found.start(1), int(found[1])) for found in re.finditer(rb"conversation-(\d{7})", template)]
    starts = np.array([start for start, _ in sessions], dtype=np.int64)
    numbers = np.array([number for _, number in sessions], dtype=np.int64)
    told = [found.end() for found in re.finditer(rb"chatcmpl-[0-9a-f]{16}|call_[0-9a-f]{24}", template)]
    ends = np.array(told, dtype=np.int64)
    luck, original = np.random.default_rng([seed, 1]), np.frombuffer(template, dtype=np.uint8)
    for turn in itertools.count():
        body = original.copy()
        mask = np.frombuffer(luck.bytes(8), dtype=np.uint8)
        body[at] ^= mask[phase]
        for digit in range(7):
            body[starts + 6 - digit] = 48 + (numbers + turn * 64) // 10**digit % 10
        for digit, character in enumerate(f"{turn:08x}".encode()):
            body[ends - 8 + digit] = character
        yield body.tobytes()
