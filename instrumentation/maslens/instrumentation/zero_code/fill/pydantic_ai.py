"""Pydantic AI writes good spans once told to, and there is no switch for that outside the program."""

from __future__ import annotations

from typing import Any

from maslens.instrumentation.stamp import watch
from maslens.instrumentation.zero_code.catalogue import Instrumentor
from maslens.instrumentation.zero_code.telling import tell_caller
from maslens.semconv import attributes as names
from opentelemetry.sdk.trace import Span
from pydantic_ai import Agent


def fill(_instrumentor: Instrumentor | None) -> None:
    Agent.instrument_all()
    watch("pydantic-ai", _started)


def _started(span: Span, inherited: dict[str, Any]) -> None:
    """An agent run inside another's tool was called by that agent."""
    has = span.attributes or {}
    caller = inherited.get(names.GEN_AI_AGENT_NAME)
    if has.get(names.GEN_AI_OPERATION_NAME) == "invoke_agent" and caller and names.GEN_AI_AGENT_NAME in has:
        tell_caller(span, caller)
