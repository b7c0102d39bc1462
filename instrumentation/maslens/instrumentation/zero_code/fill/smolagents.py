"""smolagents under OpenInference: agents' names, cached tokens, and the runs of managed agents that fail."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from maslens.instrumentation.guard import quiet
from maslens.instrumentation.stamp import watch
from maslens.instrumentation.zero_code.catalogue import Instrumentor
from maslens.instrumentation.zero_code.telling import tell_agent, tell_caller, tell_usage
from maslens.instrumentation.zero_code.wrapping import wrap
from maslens.semconv import attributes as names
from opentelemetry.context import attach, get_current
from opentelemetry.sdk.trace import Span
from opentelemetry.trace import get_current_span

_run: ContextVar[list[Span] | None] = ContextVar("maslens_smolagents_run", default=None)


def before(instrumentor: Instrumentor | None) -> None:
    if instrumentor is not None:
        wrap("smolagents.models", "OpenAIModel.generate", _with_cached_tokens)


def fill(instrumentor: Instrumentor | None) -> None:
    if instrumentor is None:
        return
    watch("openinference.instrumentation.smolagents", _started)
    wrap("smolagents", "MultiStepAgent.run", _ending_what_fails)


def _started(span: Span, inherited: dict[str, Any]) -> None:
    if (span.attributes or {}).get("openinference.span.kind") != "AGENT" or not span.name.endswith(".run"):
        return
    tell_agent(span, span.name.removesuffix(".run"))
    caller = inherited.get(names.GEN_AI_AGENT_NAME)
    if caller:
        tell_caller(span, caller)
    mine = _run.get()
    if mine is not None and not mine:
        mine.append(span)


def _ending_what_fails(wrapped: Any, _agent: Any, args: Any, kwargs: Any) -> Any:
    """The kept instrumentor neither ends the span of a run that raises nor leaves its context."""
    outer, mine = get_current(), list[Span]()
    token = _run.set(mine)
    try:
        return wrapped(*args, **kwargs)
    except BaseException:
        for span in mine:
            if span.is_recording():
                span.end()
        if get_current() is not outer:
            attach(outer)
        raise
    finally:
        _run.reset(token)


def _with_cached_tokens(wrapped: Any, _model: Any, args: Any, kwargs: Any) -> Any:
    answer = wrapped(*args, **kwargs)
    _tell_usage(answer)
    return answer


@quiet
def _tell_usage(answer: Any) -> None:
    tell_usage(get_current_span(), getattr(getattr(answer, "raw", None), "usage", None))
