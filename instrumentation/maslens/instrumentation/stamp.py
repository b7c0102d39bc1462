"""The processor that writes who is acting, in which conversation, task and variant, on spans of any library."""

from __future__ import annotations

from collections.abc import Callable

from maslens.instrumentation.carried import Stamp, current, said_by
from maslens.instrumentation.guard import swallowed
from maslens.instrumentation.here import here
from maslens.instrumentation.runtime import SCOPE
from maslens.semconv import attributes as names
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

_OF_THE_AGENT = (names.GEN_AI_AGENT_NAME, names.MAS_AGENT_INSTANCE_ID)
_OPENINFERENCE_NAME = "agent.name"
_AGENT_SPANS = {  # a span that is itself an agent has, or lacks, a name of its own; the caller's would be a lie
    names.GEN_AI_OPERATION_NAME: ("invoke_agent", "create_agent"),
    "openinference.span.kind": ("AGENT",),
    "traceloop.span.kind": ("agent", "workflow"),
}
_watched: dict[str, list[Callable[[Span, Stamp], None]]] = {}


def watch(scope: str, started: Callable[[Span, Stamp], None]) -> None:
    """Have `started` called with every span that the library `scope` starts, and with what it inherits."""
    _watched.setdefault(scope, []).append(started)


class StampProcessor(SpanProcessor):
    """Adds what is missing, changes nothing that is there, never raises."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        try:
            scope = span.instrumentation_scope
            if scope is not None and scope.name == SCOPE:
                return  # ours are born with it
            stamp = current(here() if parent_context is None else parent_context).stamp
            _stamp(span, stamp)
            if _watched and scope is not None:
                for started in _watched.get(scope.name, ()):
                    started(span, stamp)
        except Exception as mistake:
            swallowed("stamp", mistake)

    def on_end(self, span: ReadableSpan) -> None:
        pass

    def shutdown(self) -> None:
        pass

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002 - nothing waits here
        return True


def _stamp(span: Span, stamp: Stamp) -> None:
    has = said_by(span)
    missing = {key: value for key, value in stamp.items() if key not in has}
    if any(has.get(key) in values for key, values in _AGENT_SPANS.items()):
        for key in _OF_THE_AGENT:
            missing.pop(key, None)
        if _OPENINFERENCE_NAME in has and names.GEN_AI_AGENT_NAME not in has:
            missing[names.GEN_AI_AGENT_NAME] = has[_OPENINFERENCE_NAME]
    if missing:
        span.set_attributes(missing)
