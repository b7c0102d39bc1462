"""Strands writes good spans; what it hands over is only in the events of a tool's span."""

from __future__ import annotations

from typing import Any

from maslens.instrumentation.guard import quiet
from maslens.instrumentation.stamp import watch
from maslens.instrumentation.zero_code.catalogue import Instrumentor
from maslens.instrumentation.zero_code.telling import tell_caller, tell_transfer
from maslens.instrumentation.zero_code.wrapping import wrap
from maslens.semconv import attributes as names
from opentelemetry.sdk.trace import Span


def fill(_instrumentor: Instrumentor | None) -> None:
    wrap("strands.telemetry.tracer", "Tracer.start_tool_call_span", _tool)
    watch("strands.telemetry.tracer", _started)


def _tool(wrapped: Any, _tracer: Any, args: Any, kwargs: Any) -> Any:
    span = wrapped(*args, **kwargs)
    _tell_handoff(span, args[0] if args else kwargs.get("tool"))
    return span


@quiet
def _tell_handoff(span: Any, tool: Any) -> None:
    target = (tool.get("input") or {}).get("agent_name") if tool.get("name") == "handoff_to_agent" else None
    source = (span.attributes or {}).get(names.GEN_AI_AGENT_NAME) if isinstance(span, Span) else None
    if target and isinstance(source, str):
        tell_transfer(span, source, str(target))


def _started(span: Span, inherited: dict[str, Any]) -> None:
    """An agent inside another's tool was called by that agent; one inside a swarm or graph was not called by it."""
    caller = inherited.get(names.GEN_AI_AGENT_NAME)
    if span.name.startswith("invoke_agent ") and caller and caller not in ("swarm", "graph"):
        tell_caller(span, caller)
