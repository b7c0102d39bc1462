"""Conversations with an assistant and its tools, as instrumentation writes them: the whole history in every call.

Texts are made word by word from Python's own help pages, so that they compress as prose does and no two are alike. A
turn is one trace: an agent span, a model call that asks for a tool, the tool, a model call that answers.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pydoc_data.topics import topics
from typing import Any, Literal

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span

Dialect = Literal["genai", "openinference", "traceloop"]
DIALECTS: tuple[Dialect, ...] = ("genai", "openinference", "traceloop")
_SCOPES = {
    "genai": "opentelemetry.util.genai.handler",
    "openinference": "openinference.instrumentation.openai",
    "traceloop": "opentelemetry.instrumentation.openai.v1",
}
_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    role: Literal["system", "user", "assistant", "tool"]
    text: str
    call_id: str = ""  # of the tool that an assistant asks for, or that answered
    arguments: str = ""

    @property
    def bytes(self) -> int:
        return len((self.text + self.arguments + self.call_id).encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """What was sent: bodies in order of time, and what there would be if every message were kept once."""

    bodies: list[bytes]
    turns: int
    spans: int
    unique_bytes: int
    unique: list[bytes]  # each conversation's messages, once


def corpus(
    conversations: int, turns: int, *, at_ns: int, seed: int = 7, dialects: Sequence[Dialect] = DIALECTS
) -> Corpus:
    """`conversations` going on at the same time, a turn a minute each; bodies as exporters batch them."""
    chance = random.Random(seed)
    spans: list[tuple[int, Dialect, Span]] = []
    unique: list[bytes] = []
    for number in range(conversations):
        talk = _Talk(dialect=dialects[number % len(dialects)], chance=random.Random(chance.random()))
        start = at_ns + chance.randrange(60 * _SECOND)
        for turn in range(turns):
            at = start + turn * 60 * _SECOND + chance.randrange(20 * _SECOND)
            spans.extend((span.end_time_unix_nano, talk.dialect, span) for span in talk.turn(at))
        unique.append("\n".join(message.text + message.arguments for message in talk.history).encode())
    spans.sort(key=lambda each: each[0])
    return Corpus(
        bodies=list(_bodies(spans)),
        turns=conversations * turns,
        spans=len(spans),
        unique_bytes=sum(map(len, unique)),
        unique=unique,
    )


def _bodies(spans: Sequence[tuple[int, Dialect, Span]]) -> Iterator[bytes]:
    waiting: dict[tuple[int, Dialect], list[Span]] = {}
    for ended, dialect, span in spans:
        waiting.setdefault((ended // (5 * _SECOND), dialect), []).append(span)
    for (_, dialect), some in waiting.items():
        request = ExportTraceServiceRequest()
        group = request.resource_spans.add()
        group.resource.attributes.extend(
            _pairs({"service.name": f"desk-{dialect}", "telemetry.sdk.language": "python"})
        )
        group.scope_spans.add(spans=some).scope.name = _SCOPES[dialect]
        yield request.SerializeToString()


@dataclass(slots=True)
class _Talk:
    dialect: Dialect
    chance: random.Random
    history: list[Message] = field(default_factory=list)
    id: str = ""

    def __post_init__(self) -> None:
        self.id = f"conversation-{self.chance.getrandbits(64):016x}"
        self.history.append(Message(role="system", text=_prose(self.chance, 260)))

    def turn(self, at: int) -> Iterator[Span]:
        chance, trace = self.chance, self.chance.randbytes(16)
        question = Message(role="user", text=_prose(chance, chance.randrange(20, 90)))
        self.history.append(question)
        call_id = f"call_{chance.getrandbits(96):024x}"
        arguments = json.dumps({"query": _prose(chance, 8), "customer_id": chance.randrange(10**7), "limit": 5})
        asks = Message(role="assistant", text="", call_id=call_id, arguments=arguments)
        result = Message(role="tool", text=_result(chance), call_id=call_id)
        answer = Message(role="assistant", text=_prose(chance, chance.randrange(60, 220)))
        root = _span(chance, trace, b"", "invoke_agent desk", at, 9)
        yield _said(root, self._agent(question, answer))
        yield _said(_span(chance, trace, root.span_id, "chat gpt-4.1", at, 2), self._call(self.history, asks))
        self.history.append(asks)
        tool = _span(chance, trace, root.span_id, "execute_tool search_orders", at + 2 * _SECOND, 1)
        yield _said(tool, self._tool(arguments, result))
        self.history.append(result)
        last = _span(chance, trace, root.span_id, "chat gpt-4.1", at + 3 * _SECOND, 4)
        yield _said(last, self._call(self.history, answer))
        self.history.append(answer)

    def _agent(self, question: Message, answer: Message) -> dict[str, Any]:
        if self.dialect == "openinference":
            return {
                "openinference.span.kind": "AGENT", "session.id": self.id, "agent.name": "desk",
                "input.value": question.text, "output.value": answer.text,
            }  # fmt: skip
        if self.dialect == "traceloop":
            return {
                "traceloop.span.kind": "agent", "traceloop.entity.name": "desk",
                "traceloop.association.properties.session_id": self.id,
                "traceloop.entity.input": json.dumps({"inputs": {"question": question.text}}),
                "traceloop.entity.output": json.dumps({"outputs": {"answer": answer.text}}),
            }  # fmt: skip
        return {
            "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "desk", "gen_ai.conversation.id": self.id,
            "gen_ai.input.messages": [_parts(question)], "gen_ai.output.messages": [_parts(answer)],
        }  # fmt: skip

    def _tool(self, arguments: str, result: Message) -> dict[str, Any]:
        if self.dialect == "openinference":
            return {
                "openinference.span.kind": "TOOL", "session.id": self.id, "tool.name": "search_orders",
                "input.value": arguments, "output.value": result.text,
            }  # fmt: skip
        if self.dialect == "traceloop":
            return {
                "traceloop.span.kind": "tool", "traceloop.entity.name": "search_orders",
                "traceloop.association.properties.session_id": self.id,
                "traceloop.entity.input": arguments, "traceloop.entity.output": result.text,
            }  # fmt: skip
        return {
            "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search_orders",
            "gen_ai.tool.call.id": result.call_id, "gen_ai.conversation.id": self.id,
            "gen_ai.tool.call.arguments": arguments, "gen_ai.tool.call.result": result.text,
        }  # fmt: skip

    def _call(self, history: Sequence[Message], answer: Message) -> dict[str, Any]:
        usage = {
            "gen_ai.usage.input_tokens": sum(message.bytes for message in history) // 4,
            "gen_ai.usage.output_tokens": answer.bytes // 4,
        }
        if self.dialect == "openinference":
            return {
                "openinference.span.kind": "LLM", "session.id": self.id, "llm.model_name": "gpt-4.1",
                "llm.token_count.prompt": usage["gen_ai.usage.input_tokens"],
                "llm.token_count.completion": usage["gen_ai.usage.output_tokens"],
                # Both: the request as it went to the model, and its messages one by one.
                "input.value": json.dumps({"messages": [_openai(message) for message in history], "model": "gpt-4.1"}),
                "input.mime_type": "application/json", **_flat("llm.input_messages", history),
                "output.value": json.dumps(_openai(answer)), **_flat("llm.output_messages", [answer]),
            }  # fmt: skip
        if self.dialect == "traceloop":
            return {
                "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4.1",
                "traceloop.association.properties.session_id": self.id, **usage,
                "gen_ai.input.messages": json.dumps([_parts(message) for message in history]),
                "gen_ai.output.messages": json.dumps([_parts(answer)]),
            }  # fmt: skip
        system, *rest = history
        return {
            "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4.1",
            "gen_ai.conversation.id": self.id, "gen_ai.agent.name": "desk", **usage,
            "gen_ai.system_instructions": [{"type": "text", "content": system.text}],
            "gen_ai.input.messages": [_parts(message) for message in rest],
            "gen_ai.output.messages": [_parts(answer)],
        }  # fmt: skip


def _parts(message: Message) -> dict[str, Any]:
    """As OpenTelemetry's GenAI conventions have a message."""
    if message.arguments:
        part = {"type": "tool_call", "id": message.call_id, "name": "search_orders", "arguments": message.arguments}
    elif message.role == "tool":
        part = {"type": "tool_call_response", "id": message.call_id, "response": message.text}
    else:
        part = {"type": "text", "content": message.text}
    return {"role": message.role, "parts": [part]}


def _openai(message: Message) -> dict[str, Any]:
    if message.arguments:
        function = {"name": "search_orders", "arguments": message.arguments}
        return {"role": "assistant", "tool_calls": [{"id": message.call_id, "type": "function", "function": function}]}
    return {"role": message.role, "content": message.text} | (
        {"tool_call_id": message.call_id} if message.call_id else {}
    )


def _flat(prefix: str, messages: Sequence[Message]) -> dict[str, str]:
    """OpenInference's one attribute per leaf."""
    flat = {}
    for number, message in enumerate(messages):
        at = f"{prefix}.{number}.message"
        flat[f"{at}.role"] = message.role
        if message.arguments:
            call = f"{at}.tool_calls.0.tool_call"
            flat |= {f"{call}.id": message.call_id, f"{call}.function.name": "search_orders"}
            flat[f"{call}.function.arguments"] = message.arguments
        else:
            flat[f"{at}.content"] = message.text
        if message.role == "tool":
            flat[f"{at}.tool_call_id"] = message.call_id
    return flat


def _result(chance: random.Random) -> str:
    rows = [
        {"order": f"{chance.getrandbits(40):010x}", "total": round(chance.uniform(5, 900), 2),
         "status": chance.choice(("paid", "open", "refunded")),
         "at": f"2026-{chance.randrange(1, 12):02}-{chance.randrange(1, 28):02}",
         "note": _prose(chance, chance.randrange(10, 40))}
        for _ in range(chance.randrange(3, 9))
    ]  # fmt: skip
    return json.dumps({"orders": rows})


@cache
def _following() -> Mapping[tuple[str, str], list[str]]:
    words = re.findall(r"\S+", "\n".join(topics.values()))
    following: dict[tuple[str, str], list[str]] = {}
    for first, second, third in zip(words, words[1:], words[2:], strict=False):
        following.setdefault((first, second), []).append(third)
    return following


@cache
def _beginnings() -> list[tuple[str, str]]:
    return list(_following())


def _prose(chance: random.Random, length: int) -> str:
    """Each word follows two as it does somewhere in the help pages; now and then it starts afresh."""
    following, words = _following(), list(chance.choice(_beginnings()))
    while len(words) < length:
        choices = following.get((words[-2], words[-1]))
        if choices is None or (len(choices) < 2 and chance.random() < 0.5):
            words.extend(chance.choice(_beginnings()))
        else:
            words.append(chance.choice(choices))
    return " ".join(words[:length])


def _span(chance: random.Random, trace: bytes, parent: bytes, name: str, at: int, seconds: int) -> Span:
    return Span(
        trace_id=trace, span_id=chance.randbytes(8), parent_span_id=parent, name=name, kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=at, end_time_unix_nano=at + seconds * _SECOND,
    )  # fmt: skip


def _said(span: Span, attributes: Mapping[str, Any]) -> Span:
    span.attributes.extend(_pairs(attributes))
    return span


def _pairs(attributes: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in attributes.items()]


def _value(value: Any) -> AnyValue:
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=[_value(each) for each in value]))
    return AnyValue(kvlist_value=KeyValueList(values=_pairs(value)))
