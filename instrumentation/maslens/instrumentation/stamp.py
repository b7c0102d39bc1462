"""The processor that writes who is acting, in which conversation, task and variant, on spans of any library."""

from __future__ import annotations

from maslens.instrumentation.carried import SPAN, Stamp, changed_since, current
from maslens.instrumentation.guard import swallowed
from maslens.instrumentation.runtime import SCOPE
from maslens.semconv import attributes as names
from opentelemetry.context import Context, get_current
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

_OF_THE_AGENT = (names.GEN_AI_AGENT_NAME, names.MAS_AGENT_INSTANCE_ID)
_AGENT_SPANS = {  # a span that is itself an agent has, or lacks, a name of its own; the caller's would be a lie
    names.GEN_AI_OPERATION_NAME: ("invoke_agent", "create_agent"),
    "openinference.span.kind": ("AGENT",),
    "traceloop.span.kind": ("agent", "workflow"),
}


class StampProcessor(SpanProcessor):
    """Adds what is missing, changes nothing that is there, never raises."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        try:
            context = get_current() if parent_context is None else parent_context
            stamp = {**current(context).stamp, **_nearer_agent(context)}
            if stamp:
                _stamp(span, stamp)
        except Exception as mistake:
            swallowed("stamp", mistake)

    def on_end(self, span: ReadableSpan) -> None:
        pass

    def shutdown(self) -> None:
        pass

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002 - nothing waits here
        return True


def _nearer_agent(context: Context) -> Stamp:
    """The agent whose span, by another library, stands between ours (if any) and the span being started."""
    parent = context.get(SPAN)
    if not isinstance(parent, ReadableSpan):
        return {}
    scope = parent.instrumentation_scope
    said = parent.attributes or {}
    name = said.get(names.GEN_AI_AGENT_NAME)
    if name is None or (scope is not None and scope.name == SCOPE) or changed_since(context):
        return {}
    nearer: Stamp = {names.GEN_AI_AGENT_NAME: name}
    for key in (names.MAS_AGENT_INSTANCE_ID, names.GEN_AI_CONVERSATION_ID):
        if key in said:
            nearer[key] = said[key]
    return nearer


def _stamp(span: Span, stamp: Stamp) -> None:
    scope = span.instrumentation_scope
    if scope is not None and scope.name == SCOPE:
        return  # ours are born with it
    has = span.attributes or {}
    missing = {key: value for key, value in stamp.items() if key not in has}
    if any(has.get(key) in values for key, values in _AGENT_SPANS.items()):
        for key in _OF_THE_AGENT:
            missing.pop(key, None)
    if missing:
        span.set_attributes(missing)
