"""What is put into a message so that whoever takes it up is joined to who sent it: W3C text, any transport."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from maslens.instrumentation.carried import BAGGAGE
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, get_current
from opentelemetry.trace import Span, SpanContext, get_current_span
from opentelemetry.trace.propagation import set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

Carrier: TypeAlias = dict[str, str]

_trace = TraceContextTextMapPropagator()
_baggage = W3CBaggagePropagator()


class Arrived(NamedTuple):
    origin: SpanContext
    baggage: Mapping[str, object]


def carrier_of(context: Context | None, span: Span) -> Carrier:
    """`traceparent`, `tracestate` and `baggage` of `span` in `context`."""
    inside = set_span_in_context(span, context if context is not None else get_current())
    carrier: Carrier = {}
    _trace.inject(carrier, inside)
    _baggage.inject(carrier, inside)
    return carrier


def opened(message: Mapping[str, Any]) -> Arrived:
    """What a carrier says; header names in any case, values as text or bytes, missing ones as nothing."""
    headers = {str(key).lower(): _text(value) for key, value in message.items()}
    context = _baggage.extract(headers, _trace.extract(headers, Context()))
    carried = context.get(BAGGAGE)
    return Arrived(get_current_span(context).get_span_context(), carried if isinstance(carried, dict) else {})


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
