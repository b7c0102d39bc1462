"""AutoGen AgentChat under OpenInference: agents' names, and the handoff with its context."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from maslens.instrumentation.guard import quiet
from maslens.instrumentation.operation import code_name
from maslens.instrumentation.stamp import watch
from maslens.instrumentation.zero_code.catalogue import Instrumentor
from maslens.instrumentation.zero_code.passing import Runs
from maslens.instrumentation.zero_code.telling import tell_agent
from maslens.instrumentation.zero_code.wrapping import wrap
from maslens.semconv import attributes as names
from opentelemetry.sdk.trace import Span
from opentelemetry.trace import get_current_span
from wrapt import register_post_import_hook


class _Observer:
    def __init__(self) -> None:
        self.runs = Runs()
        self.targets: dict[str, str] = {}  # handoff tool → the agent it leads to

    def started(self, span: Span, _inherited: dict[str, Any]) -> None:
        kind = (span.attributes or {}).get("openinference.span.kind")
        owner, _, what = span.name.partition(".")
        if kind == "AGENT" and what.startswith("on_messages"):
            tell_agent(span, owner)
            self.runs.of(span.context.trace_id).started(owner, span)
        elif kind == "TOOL" and what in self.targets:
            self.runs.of(span.context.trace_id).handed_over(span, owner, self.targets[what])

    @quiet
    def heard(self, messages: Any) -> None:
        span = get_current_span()
        agent = (span.attributes or {}).get(names.GEN_AI_AGENT_NAME) if isinstance(span, Span) else None
        if isinstance(agent, str):
            self.runs.of(span.get_span_context().trace_id).heard(agent, list(_messages(messages)))

    @quiet
    def learn(self, agent: Any) -> None:
        for tool, handoff in getattr(agent, "_handoffs", {}).items():
            self.targets[tool] = handoff.target


def before(instrumentor: Instrumentor | None) -> None:
    if instrumentor is None:
        return
    observer = _Observer()

    def listen(_module: Any) -> None:
        def create(wrapped: Any, _client: Any, args: Any, kwargs: Any) -> Any:
            observer.heard(args[0] if args else kwargs.get("messages"))
            return wrapped(*args, **kwargs)

        for method in ("create", "create_stream"):
            wrap("autogen_ext.models.openai._openai_client", f"BaseOpenAIChatCompletionClient.{method}", create)

    def learn(wrapped: Any, agent: Any, args: Any, kwargs: Any) -> None:
        wrapped(*args, **kwargs)
        observer.learn(agent)

    def run(wrapped: Any, tool: Any, args: Any, kwargs: Any) -> Any:
        _tell_function(tool)
        return wrapped(*args, **kwargs)

    wrap("autogen_core.tools._function_tool", "FunctionTool.run", run)
    watch("openinference.instrumentation.autogen_agentchat", observer.started)
    register_post_import_hook(listen, "autogen_ext.models.openai._openai_client")
    wrap("autogen_agentchat.agents._assistant_agent", "AssistantAgent.__init__", learn)


@quiet
def _tell_function(tool: Any) -> None:
    get_current_span().set_attribute(names.CODE_FUNCTION_NAME, code_name(tool._func))


def _messages(messages: Any) -> Iterable[dict[str, Any]]:
    """What an agent's model is given, without its instructions and without who said it: that changes on the way."""
    for message in messages or ():
        if getattr(message, "type", "") != "SystemMessage":
            yield {"type": message.type, "content": message.content}
