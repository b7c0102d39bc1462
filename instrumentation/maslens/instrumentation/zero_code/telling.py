"""What every gap is filled with: the same few attributes, on spans that others have started. Never raises."""

from __future__ import annotations

from random import getrandbits
from typing import Any

from maslens.instrumentation.digest import digest
from maslens.semconv import attributes as names
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Span

_MODEL_CALLS = ("chat", "generate_content", "text_completion")


def new_id() -> str:
    return f"{getrandbits(64):016x}"


def tell_agent(span: Span, name: str, *, conversation: str | None = None, handoff_id: str | None = None) -> None:
    """`span` is an invocation of the agent `name`."""
    span.set_attribute(names.GEN_AI_AGENT_NAME, name)
    if conversation:
        span.set_attribute(names.GEN_AI_CONVERSATION_ID, conversation)
    if handoff_id:
        span.set_attribute(names.MAS_HANDOFF_ID, handoff_id)


def tell_caller(span: Span, caller: str) -> None:
    """The agent of `span` was called by the agent `caller`, which waits for it."""
    span.set_attribute(names.GEN_AI_CALLER_TYPE, "agent")
    span.set_attribute(names.GEN_AI_CALLER_NAME, caller)


def tell_transfer(span: Span, source: str, target: str, *, mode: str = "pass_control", handoff_id: str = "") -> str:
    """`span` is the moment `source` passes work to `target`; returns the handoff's id."""
    handoff_id = handoff_id or new_id()
    span.set_attribute(names.GEN_AI_AGENT_NAME, source)
    span.set_attribute(names.GEN_AI_TRANSFER_MODE, mode)
    span.set_attribute(names.GEN_AI_TRANSFER_TARGET_NAME, target)
    span.set_attribute(names.MAS_HANDOFF_ID, handoff_id)
    return handoff_id


def tell_context(span: Span, passed: Any) -> None:
    """What was passed on, or arrived, at this span."""
    made = digest(passed)
    span.set_attribute(names.MAS_CONTEXT_HASH, made.hash)
    span.set_attribute(names.MAS_CONTEXT_SIZE, made.size)
    if made.messages is not None:
        span.set_attribute(names.MAS_CONTEXT_MESSAGE_COUNT, made.messages)


def is_model_call(span: ReadableSpan) -> bool:
    has = span.attributes or {}
    return has.get("openinference.span.kind") == "LLM" or has.get(names.GEN_AI_OPERATION_NAME) in _MODEL_CALLS


def tell_usage(span: Span, usage: Any, *, whole: bool = False) -> None:
    """What OpenAI's usage object says beyond the two counts; with `whole`, these too."""
    said = {
        names.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: _in(usage, "prompt_tokens_details", "cached_tokens"),
        names.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS: _in(usage, "completion_tokens_details", "reasoning_tokens"),
    }
    if whole:
        said[names.GEN_AI_USAGE_INPUT_TOKENS] = _in(usage, "prompt_tokens")
        said[names.GEN_AI_USAGE_OUTPUT_TOKENS] = _in(usage, "completion_tokens")
    for key, value in said.items():
        if isinstance(value, int):
            span.set_attribute(key, value)


def _in(thing: Any, *path: str) -> Any:
    """A field of an object or of a mapping, however deep."""
    for step in path:
        thing = thing.get(step) if isinstance(thing, dict) else getattr(thing, step, None)
    return thing
