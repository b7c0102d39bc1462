"""Google ADK writes good spans; where it transfers to stands on them only if contents do, and no function's name."""

from __future__ import annotations

from typing import Any

from maslens.instrumentation.guard import quiet
from maslens.instrumentation.operation import code_name
from maslens.instrumentation.zero_code.catalogue import Instrumentor
from maslens.instrumentation.zero_code.telling import tell_transfer
from maslens.instrumentation.zero_code.wrapping import wrap
from maslens.semconv import attributes as names
from opentelemetry.trace import get_current_span


def fill(_instrumentor: Instrumentor | None) -> None:
    wrap("google.adk.tools.function_tool", "FunctionTool.run_async", _run)


def _run(wrapped: Any, tool: Any, args: Any, kwargs: Any) -> Any:
    _tell(tool, kwargs.get("args") or {}, kwargs.get("tool_context"))
    return wrapped(*args, **kwargs)


@quiet
def _tell(tool: Any, arguments: dict[str, Any], context: Any) -> None:
    get_current_span().set_attribute(names.CODE_FUNCTION_NAME, code_name(tool.func))
    source, target = getattr(context, "agent_name", None), arguments.get("agent_name")
    if tool.name == "transfer_to_agent" and source and target:
        tell_transfer(get_current_span(), str(source), str(target))
