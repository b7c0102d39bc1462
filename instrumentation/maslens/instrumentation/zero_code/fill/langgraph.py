"""LangGraph and LangChain under OpenInference: whose call it is, the handoff with its context, tokens of streams."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from maslens.instrumentation.guard import quiet
from maslens.instrumentation.operation import code_name
from maslens.instrumentation.zero_code.catalogue import Instrumentor
from maslens.instrumentation.zero_code.passing import Runs
from maslens.instrumentation.zero_code.streaming import UsageAsker
from maslens.instrumentation.zero_code.wrapping import wrap
from maslens.semconv import attributes as names
from opentelemetry.trace import Span
from wrapt import register_post_import_hook

_TRACER = "openinference.instrumentation.langchain._tracer"
_SAID = ("content", "name", "tool_calls", "tool_call_id")  # what makes a message; ids are new on each side


class _Observer:
    def __init__(self) -> None:
        self.runs = Runs()
        self.functions: dict[str, str] = {}

    @quiet
    def started(self, run: Any, span: Span) -> None:
        agent = _agent_of(run)
        if agent is None:
            return
        kind = run.run_type
        if kind == "chain":
            if run.name == agent:
                span.set_attribute(names.GEN_AI_AGENT_NAME, agent)
                self.runs.of(_trace(span)).started(agent, span)
            return
        span.set_attribute(names.GEN_AI_AGENT_NAME, agent)
        if kind == "tool" and run.name in self.functions:
            span.set_attribute(names.CODE_FUNCTION_NAME, self.functions[run.name])
        if kind in ("llm", "chat_model"):
            self.runs.of(_trace(span)).heard(agent, list(_messages(run.inputs)))

    @quiet
    def ending(self, run: Any, span: Span) -> None:
        agent = _agent_of(run)
        if agent is not None and run.run_type == "tool":
            targets = _targets((run.outputs or {}).get("output"))
            if len(targets) == 1:
                self.runs.of(_trace(span)).handed_over(span, agent, targets[0])
        elif agent is not None and run.run_type == "chain" and run.name == agent:
            self.runs.of(_trace(span)).ended(agent, span)
        if run.parent_run_id is None:
            self.runs.over(_trace(span))


def fill(instrumentor: Instrumentor | None) -> None:
    register_post_import_hook(_ask_for_usage, "langchain_openai.chat_models.base")
    if instrumentor is None or not instrumentor.target.startswith("openinference."):
        return
    observer = _Observer()

    def start(wrapped: Any, tracer: Any, args: Any, kwargs: Any) -> None:
        wrapped(*args, **kwargs)
        run = args[0] if args else kwargs["run"]
        span = tracer.get_span(run.id)
        if span is not None:
            observer.started(run, span)

    def end(wrapped: Any, tracer: Any, args: Any, kwargs: Any) -> None:
        run = args[0] if args else kwargs["run"]
        span = tracer.get_span(run.id)
        if span is not None:
            observer.ending(run, span)
        wrapped(*args, **kwargs)

    def remember(wrapped: Any, _cls: Any, args: Any, kwargs: Any) -> Any:
        made = wrapped(*args, **kwargs)
        function = getattr(made, "func", None) or getattr(made, "coroutine", None)
        if function is not None:
            observer.functions[made.name] = code_name(function)
        return made

    wrap(_TRACER, "OpenInferenceTracer._start_trace", start)
    wrap(_TRACER, "OpenInferenceTracer._end_trace", end)
    wrap("langchain_core.tools.structured", "StructuredTool.from_function", remember)


def _trace(span: Span) -> int:
    """Runs of one invocation share a trace; their own `trace_id` is not filled in by the kept tracer."""
    return span.get_span_context().trace_id


def _agent_of(run: Any) -> str | None:
    """The agent a run belongs to: its own name for itself, else the graph node that holds the node it runs in."""
    metadata = (run.extra or {}).get("metadata") or {}
    named = metadata.get("lc_agent_name")
    if named:
        return str(named)
    steps = str(metadata.get("langgraph_checkpoint_ns") or "").split("|")
    return (steps[-2] if len(steps) > 1 else steps[0]).split(":")[0] or None


def _targets(output: Any) -> list[str]:
    """Where a `Command` sends control."""
    goto = getattr(output, "goto", None)
    if type(output).__name__ != "Command" or not goto:
        return []
    steps: Iterable[Any] = [goto] if isinstance(goto, str) or hasattr(goto, "node") else goto
    return [str(getattr(step, "node", step)) for step in steps]


def _messages(inputs: Any) -> Iterable[dict[str, Any]]:
    """The conversation a chat model is given, in the serialized form that callbacks see, without its instructions."""
    for batch in (inputs or {}).get("messages") or ():
        for message in batch if isinstance(batch, list) else [batch]:
            if not isinstance(message, dict):
                continue
            kind, said = message.get("id", ["?"])[-1], message.get("kwargs", {})
            if kind != "SystemMessage":
                yield {"kind": kind, **{key: said[key] for key in _SAID if said.get(key)}}


def _ask_for_usage(_module: Any) -> None:
    asker = UsageAsker()

    def decided(model: Any, kwargs: dict[str, Any]) -> bool:
        said = (kwargs.get("stream_usage"), getattr(model, "stream_usage", None))
        options = {**(getattr(model, "model_kwargs", None) or {}), **kwargs}
        return any(value is not None for value in said) or "stream_options" in options

    def server(model: Any) -> str:
        return str(getattr(model, "openai_api_base", "") or "")

    def stream(wrapped: Any, model: Any, args: Any, kwargs: Any) -> Any:
        if decided(model, kwargs) or not asker.may_ask(server(model)):
            return wrapped(*args, **kwargs)
        asking = lambda: wrapped(*args, **{**kwargs, "stream_usage": True})  # noqa: E731
        return asker.iterate(server(model), asking, lambda: wrapped(*args, **kwargs))

    def astream(wrapped: Any, model: Any, args: Any, kwargs: Any) -> Any:
        if decided(model, kwargs) or not asker.may_ask(server(model)):
            return wrapped(*args, **kwargs)
        asking = lambda: wrapped(*args, **{**kwargs, "stream_usage": True})  # noqa: E731
        return asker.aiterate(server(model), asking, lambda: wrapped(*args, **kwargs))

    wrap("langchain_openai.chat_models.base", "BaseChatOpenAI._stream", stream)
    wrap("langchain_openai.chat_models.base", "BaseChatOpenAI._astream", astream)
