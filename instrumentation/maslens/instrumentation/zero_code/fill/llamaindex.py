"""LlamaIndex under OpenInference: whose step it is, the handoff with its context, tokens of streams."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from maslens.instrumentation.guard import quiet
from maslens.instrumentation.scopes import acting
from maslens.instrumentation.zero_code.catalogue import Instrumentor
from maslens.instrumentation.zero_code.passing import Runs
from maslens.instrumentation.zero_code.wrapping import wrap
from maslens.semconv import attributes as names
from opentelemetry.trace import get_current_span
from wrapt import register_post_import_hook

_WORKFLOW = "llama_index.core.agent.workflow"


class _Observer:
    def __init__(self) -> None:
        self.runs = Runs()

    @quiet
    def step(self, agent: str, messages: Any) -> None:
        span = get_current_span()
        span.set_attribute(names.GEN_AI_AGENT_NAME, agent)
        run = self.runs.of(span.get_span_context().trace_id)
        run.started(agent, span)
        run.heard(agent, list(_messages(messages)))
        run.ended(agent, span)

    @quiet
    def hand_over(self, source: str, target: str) -> None:
        span = get_current_span()
        self.runs.of(span.get_span_context().trace_id).handed_over(span, source, target)


def fill(instrumentor: Instrumentor | None) -> None:
    register_post_import_hook(_ask_for_usage, "llama_index.llms.openai.base")
    if instrumentor is None or not instrumentor.target.startswith("openinference."):
        return
    observer = _Observer()

    async def take_step(wrapped: Any, agent: Any, args: Any, kwargs: Any) -> Any:
        messages = args[1] if len(args) > 1 else kwargs.get("llm_input")
        observer.step(agent.name, messages)
        with acting(agent.name):
            return await wrapped(*args, **kwargs)

    async def hand_over(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
        context = args[0] if args else kwargs.get("ctx")
        target = args[1] if len(args) > 1 else kwargs.get("to_agent")
        source = await context.store.get("current_agent_name")
        observer.hand_over(str(source), str(target))
        return await wrapped(*args, **kwargs)

    async def call_tool(wrapped: Any, _workflow: Any, args: Any, kwargs: Any) -> Any:
        context = args[0] if args else kwargs.get("ctx")
        with acting(str(await context.store.get("current_agent_name", default="agent"))):
            return await wrapped(*args, **kwargs)

    for module, agent in (
        ("function_agent", "FunctionAgent"),
        ("react_agent", "ReActAgent"),
        ("codeact_agent", "CodeActAgent"),
    ):
        wrap(f"{_WORKFLOW}.{module}", f"{agent}.take_step", take_step)
    wrap(f"{_WORKFLOW}.multi_agent_workflow", "handoff", hand_over)
    wrap(f"{_WORKFLOW}.multi_agent_workflow", "AgentWorkflow._call_tool", call_tool)


def _messages(messages: Any) -> Iterable[dict[str, Any]]:
    """What an agent's model is given, without its instructions."""
    for message in messages or ():
        role = getattr(message.role, "value", message.role)
        if role != "system":
            yield {"role": role, "content": message.content}


def _ask_for_usage(_module: Any) -> None:
    from maslens.instrumentation.zero_code.streaming import wanted

    def arguments(wrapped: Any, _llm: Any, args: Any, kwargs: Any) -> Any:
        made = wrapped(*args, **kwargs)
        if made.get("stream") and "stream_options" not in made and wanted():
            made["stream_options"] = {"include_usage": True}
        return made

    wrap("llama_index.llms.openai.base", "OpenAI._get_model_kwargs", arguments)
