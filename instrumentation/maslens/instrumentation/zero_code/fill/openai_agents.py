"""OpenAI Agents SDK under OpenInference: the conversation, whose call it is, the handoff with its context, the outcome.

The SDK tells each tracing processor in turn. Ours stand on both sides of the kept one: the last in the row sees spans
that it has just started, the first sees spans that it is about to end; both write on the span it holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from agents import set_trace_processors
from agents.tracing import TracingProcessor, get_trace_provider
from agents.tracing.span_data import (
    AgentSpanData,
    FunctionSpanData,
    GenerationSpanData,
    HandoffSpanData,
    ResponseSpanData,
)
from maslens.instrumentation.guard import quiet
from maslens.instrumentation.operation import code_name
from maslens.instrumentation.zero_code.catalogue import Instrumentor
from maslens.instrumentation.zero_code.environment import vendors_wanted
from maslens.instrumentation.zero_code.passing import Passing
from maslens.instrumentation.zero_code.telling import tell_agent, tell_caller
from maslens.instrumentation.zero_code.wrapping import wrap
from maslens.semconv import attributes as names
from opentelemetry.trace import Span

_ERRORS = {  # what the SDK raises where its spans say this
    "Max turns exceeded": "agents.exceptions.MaxTurnsExceeded",
    "Tool not found": "agents.exceptions.ModelBehaviorError",
    "Guardrail tripwire triggered": "agents.exceptions.GuardrailTripwireTriggered",
}


@dataclass(slots=True)
class _Run:
    """What is known of one trace of the SDK while it lasts."""

    conversation: str | None
    agents: dict[str, str] = field(default_factory=dict)  # SDK span id → the agent acting in it
    passing: Passing = field(default_factory=Passing)
    failed: bool = False


@dataclass(slots=True)
class _Runs:
    kept: Any  # OpenInference's processor
    runs: dict[str, _Run] = field(default_factory=dict)
    functions: dict[str, str] = field(default_factory=dict)  # tool → the function it calls

    def span_of(self, span: Any) -> Span | None:
        found: Span | None = self.kept._otel_spans.get(span.span_id)
        return found


class _After(TracingProcessor):
    """Behind the kept processor: its span has just been started."""

    def __init__(self, runs: _Runs) -> None:
        self._runs = runs

    @quiet
    def on_trace_start(self, trace: Any) -> None:
        run = self._runs.runs[trace.trace_id] = _Run(conversation=getattr(trace, "group_id", None))
        root = self._runs.kept._root_spans.get(trace.trace_id)
        if root is not None and run.conversation:
            root.set_attribute(names.GEN_AI_CONVERSATION_ID, run.conversation)

    @quiet
    def on_span_start(self, span: Any) -> None:
        run, told = self._runs.runs.get(span.trace_id), self._runs.span_of(span)
        if run is None or told is None:
            return
        data = span.span_data
        above = run.agents.get(span.parent_id or "")
        if isinstance(data, AgentSpanData):
            run.agents[span.span_id] = data.name
            tell_agent(told, data.name, conversation=run.conversation)
            if run.passing.started(data.name, told) is None and above:
                tell_caller(told, above)
            return
        if above:
            run.agents[span.span_id] = above
            told.set_attribute(names.GEN_AI_AGENT_NAME, above)
        if run.conversation:
            told.set_attribute(names.GEN_AI_CONVERSATION_ID, run.conversation)
        if isinstance(data, FunctionSpanData) and data.name in self._runs.functions:
            told.set_attribute(names.CODE_FUNCTION_NAME, self._runs.functions[data.name])

    def on_span_end(self, span: Any) -> None:
        pass

    def on_trace_end(self, trace: Any) -> None:
        pass

    def shutdown(self) -> None:
        pass

    def force_flush(self) -> None:
        pass


class _Before(TracingProcessor):
    """In front of the kept processor: its span is still open."""

    def __init__(self, runs: _Runs) -> None:
        self._runs = runs

    @quiet
    def on_span_end(self, span: Any) -> None:
        run, told = self._runs.runs.get(span.trace_id), self._runs.span_of(span)
        if run is None or told is None:
            return
        data = span.span_data
        if isinstance(data, HandoffSpanData) and data.from_agent and data.to_agent:
            run.passing.handed_over(told, data.from_agent, data.to_agent)
        elif isinstance(data, (ResponseSpanData, GenerationSpanData)):
            agent, items = run.agents.get(span.parent_id or ""), _conversation(data.input)
            if agent is not None and items is not None:
                run.passing.heard(agent, items)
        elif isinstance(data, AgentSpanData):
            run.failed = span.error is not None
            run.passing.ended(data.name, told)
        elif data.type == "turn":
            run.failed = span.error is not None
        if span.error is not None:
            told.set_attribute(names.ERROR_TYPE, _error_type(span.error))
        run.agents.pop(span.span_id, None)

    @quiet
    def on_trace_end(self, trace: Any) -> None:
        run, root = self._runs.runs.pop(trace.trace_id, None), self._runs.kept._root_spans.get(trace.trace_id)
        if run is not None and root is not None:
            root.set_attribute(names.MAS_TASK_OUTCOME, "failure" if run.failed else "success")

    def on_trace_start(self, trace: Any) -> None:
        pass

    def on_span_start(self, span: Any) -> None:
        pass

    def shutdown(self) -> None:
        pass

    def force_flush(self) -> None:
        pass


def fill(instrumentor: Instrumentor | None) -> None:
    if instrumentor is None:
        return
    processors = list(_processors())
    if not vendors_wanted():
        processors = [processor for processor in processors if not _sends_to_openai(processor)]
    kept = next((one for one in processors if type(one).__name__ == "OpenInferenceTracingProcessor"), None)
    if kept is None:
        set_trace_processors(processors)
        return
    runs = _Runs(kept=kept)
    _watch_tools(runs)
    set_trace_processors([_Before(runs), *processors, _After(runs)])


def _processors() -> Iterator[Any]:
    yield from getattr(getattr(get_trace_provider(), "_multi_processor", None), "_processors", ())


def _sends_to_openai(processor: Any) -> bool:
    return type(getattr(processor, "_exporter", None)).__name__ == "BackendSpanExporter"


def _watch_tools(runs: _Runs) -> None:
    """Remember which function stands behind each tool's name."""
    import agents

    def remember(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
        made = wrapped(*args, **kwargs)
        if args and callable(args[0]):
            runs.functions[getattr(made, "name", "")] = code_name(args[0])
            return made

        def decorate(function: Any) -> Any:
            tool = made(function)
            runs.functions[getattr(tool, "name", "")] = code_name(function)
            return tool

        return decorate

    wrap(agents, "function_tool", remember)


def _conversation(items: Any) -> list[Any] | None:
    """What was said so far, without the instructions: each agent has its own."""
    if not isinstance(items, (list, tuple)):
        return None
    return [item for item in items if not (isinstance(item, dict) and item.get("role") in ("system", "developer"))]


def _error_type(error: Any) -> str:
    message = str(error.get("message", "")) if isinstance(error, dict) else str(error)
    return next((kind for said, kind in _ERRORS.items() if message.startswith(said)), "_OTHER")
