"""OTLP requests as a fleet of agents sends them: 512 spans each, 550 to 700 bytes a span, every id new.

A session is a workflow of three agents with model and tool calls in OpenTelemetry's GenAI conventions, short contents
included; the same seed gives the same bytes.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

SPANS_PER_REQUEST = 512
_AGENTS = ("triage", "billing", "refunds", "technical", "research", "writer", "critic", "planner")
_MODELS = ("gpt-4.1-mini", "gpt-4.1", "claude-sonnet-4-5", "gemini-2.5-flash")
_WORDS = ("the", "invoice", "of", "last", "month", "was", "charged", "twice", "please", "refund", "one", "when", "done")


LLM_PLACES = (2, 3, 6, 7, 10, 11)  # of the spans of a session, these are model calls
SPANS_PER_SESSION = 13
_SESSION_NS = 900_000_000


def requests(count: int, *, seed: int = 7, ended_ns: int | None = None) -> list[bytes]:
    """`count` serialized ExportTraceServiceRequests; spans end at `ended_ns` (now) or up to a minute before."""
    chance, end = random.Random(seed), ended_ns or time.time_ns()
    spans = _spans(chance, lambda: end - chance.randrange(1_000_000_000, 60_000_000_000))
    return [_request(spans, number) for number in range(count)]


def live_requests(count: int, *, every_ns: int, first_ns: int, seed: int = 7) -> Iterator[bytes]:
    """The same as they happen: the sessions of a request end as it is sent, `every_ns` after the one before."""
    chance, sent = random.Random(seed), [first_ns]
    spans = _spans(chance, lambda: sent[0] - _SESSION_NS)
    for number in range(count):
        sent[0] = first_ns + number * every_ns
        yield _request(spans, number)


def session_id(number: int) -> str:
    """Sessions count from 1."""
    return f"conversation-{number:07d}"


def _request(spans: Iterator[Span], number: int) -> bytes:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.extend(
        _attributes(
            {"service.name": f"desk-{number % 4}", "service.version": "1.4.2", "telemetry.sdk.language": "python"}
        )
    )
    scope = resource.scope_spans.add()
    scope.scope.name = "opentelemetry.util.genai.handler"
    scope.spans.extend(next(spans) for _ in range(SPANS_PER_REQUEST))
    return request.SerializeToString()


def _spans(chance: random.Random, started_ns: Callable[[], int]) -> Iterator[Span]:
    number = 0
    while True:
        number += 1
        trace, session = chance.randbytes(16), session_id(number)
        start = started_ns()
        team = chance.sample(_AGENTS, 3)
        root = _span(
            chance,
            trace,
            b"",
            "invoke_workflow desk",
            start,
            _SESSION_NS,
            Span.SPAN_KIND_INTERNAL,
            {
                "gen_ai.operation.name": "invoke_workflow",
                "gen_ai.workflow.name": "desk",
                "gen_ai.conversation.id": session,
                "mas.task.id": f"task-{number}",
                "mas.experiment.variant": chance.choice("ab"),
                "deployment.environment.name": "production",
            },
        )
        yield root
        for place, name in enumerate(team):
            at = start + place * 300_000_000
            agent = _span(
                chance,
                trace,
                root.span_id,
                f"invoke_agent {name}",
                at,
                290_000_000,
                Span.SPAN_KIND_INTERNAL,
                {
                    "gen_ai.operation.name": "invoke_agent",
                    "gen_ai.agent.name": name,
                    "gen_ai.conversation.id": session,
                    "mas.agent.role": "worker",
                    "mas.agent.instance.id": f"{name}-{chance.getrandbits(48):012x}",
                    "gen_ai.agent.version": "2026-11-01",
                },
            )
            yield agent
            for _ in range(2):
                yield _model_call(chance, trace, agent, name, session, at)
            yield _tool_call(chance, trace, agent, name, session, at, team[place + 1] if place < 2 else None)


def _model_call(chance: random.Random, trace: bytes, agent: Span, name: str, session: str, at: int) -> Span:
    model = chance.choice(_MODELS)
    return _span(
        chance,
        trace,
        agent.span_id,
        f"chat {model}",
        at,
        120_000_000,
        Span.SPAN_KIND_CLIENT,
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": model,
            "gen_ai.response.model": model,
            "gen_ai.response.id": f"chatcmpl-{chance.getrandbits(64):016x}",
            "gen_ai.agent.name": name,
            "gen_ai.conversation.id": session,
            "gen_ai.usage.input_tokens": chance.randrange(100, 4000),
            "gen_ai.usage.output_tokens": chance.randrange(10, 600),
            "gen_ai.usage.cache_read.input_tokens": chance.randrange(0, 90),
            "gen_ai.request.temperature": 0.2,
            "gen_ai.input.messages": _message(" ".join(chance.choices(_WORDS, k=24))),
        },
    )


def _tool_call(
    chance: random.Random, trace: bytes, agent: Span, name: str, session: str, at: int, target: str | None
) -> Span:
    tool = f"transfer_to_{target}" if target else "lookup_invoice"
    transfer = {"gen_ai.transfer.mode": "pass_control", "gen_ai.transfer.target.name": target} if target else {}
    return _span(
        chance,
        trace,
        agent.span_id,
        f"execute_tool {tool}",
        at,
        20_000_000,
        Span.SPAN_KIND_INTERNAL,
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": tool,
            "gen_ai.tool.type": "function",
            "gen_ai.agent.name": name,
            "gen_ai.tool.call.id": f"call_{chance.getrandbits(96):024x}",
            "gen_ai.conversation.id": session,
            "gen_ai.tool.call.arguments": json.dumps(
                {"invoice_id": chance.randrange(10**6), "reason": " ".join(chance.choices(_WORDS, k=12))}
            ),
            "gen_ai.tool.call.result": json.dumps({"status": "ok", "detail": " ".join(chance.choices(_WORDS, k=16))}),
            **transfer,
        },
    )


def _span(
    chance: random.Random,
    trace: bytes,
    parent: bytes,
    name: str,
    start: int,
    duration: int,
    kind: Span.SpanKind.ValueType,
    attributes: dict[str, object],
) -> Span:
    span = Span(
        trace_id=trace,
        span_id=chance.randbytes(8),
        parent_span_id=parent,
        name=name,
        kind=kind,
        flags=257,
        start_time_unix_nano=start,
        end_time_unix_nano=start + duration,
    )
    span.attributes.extend(_attributes(attributes))
    return span


def _message(text: str) -> str:
    return json.dumps([{"role": "user", "parts": [{"type": "text", "content": text}]}])


def _attributes(values: dict[str, object]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in values.items()]


def _value(value: object) -> AnyValue:
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(string_value=str(value))
