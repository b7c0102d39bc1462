"""What is said once, with its own time, often late: votes, feedback, outcomes. Log records with an event name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from maslens.instrumentation.carried import current
from maslens.instrumentation.carrier import opened
from maslens.instrumentation.digest import attribute
from maslens.instrumentation.guard import quiet, swallowed
from maslens.instrumentation.operation import Operation
from maslens.instrumentation.runtime import logger
from maslens.instrumentation.scopes import Scope
from maslens.semconv import attributes as names
from opentelemetry.context import Context, get_current
from opentelemetry.trace import NonRecordingSpan, SpanContext
from opentelemetry.trace.propagation import set_span_in_context

Where: TypeAlias = "Operation[Any] | SpanContext | Mapping[str, Any] | None"  # a handle, a span's context, a carrier


def emit(event: str, attributes: Mapping[str, Any], *, of: Where = None) -> None:
    """One log record named `event`, in the trace of `of` or else of the current span; `None` values are left out."""
    try:
        context = get_current()
        stamp = current(context).stamp
        said = {key: attribute(value) for key, value in attributes.items() if value is not None}
        logger().emit(event_name=event, attributes={**stamp, **said}, context=_at(of, context))
    except Exception as mistake:
        swallowed(event, mistake)


def handoff_outcome(handoff_id: str, outcome: str, *, of: Where = None) -> None:
    """accepted, completed, failed, rejected, returned or timed_out, known after the handoff's span has ended."""
    emit(names.EVENT_MAS_HANDOFF_OUTCOME, {names.MAS_HANDOFF_ID: handoff_id, names.MAS_HANDOFF_OUTCOME: outcome}, of=of)


def task_outcome(outcome: str, *, task_id: str | None = None, of: Where = None) -> None:
    """success, partial, failure, abandoned or cancelled, known after the run has ended."""
    emit(names.EVENT_MAS_TASK_OUTCOME, {names.MAS_TASK_ID: task_id, names.MAS_TASK_OUTCOME: outcome}, of=of)


def iteration_completed(index: int, *, score: float | None = None, stop_reason: str | None = None) -> None:
    emit(
        names.EVENT_MAS_ITERATION_COMPLETED,
        {
            names.MAS_ITERATION_INDEX: index,
            names.MAS_CONVERGENCE_SCORE: score,
            names.MAS_ITERATION_STOP_REASON: stop_reason,
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSpec:
    attributes: Mapping[str, Any]
    of: Where = None
    said: bool = False  # already emitted, because everything was known when it was made


class Said(Scope[EventSpec]):
    """An event at the end of a block or of a call, once what it says is known."""

    _event = ""
    _needs: tuple[str, ...] = ()  # one of these must be known, else there is nothing to say

    def __init__(self, spec: EventSpec) -> None:
        super().__init__(spec)
        self._said: dict[str, Any] = {}

    def say(self) -> bool:
        """Emit now, if there is anything to say."""
        if self._spec.said and not self._said:
            return False
        attributes = {**self._spec.attributes, **self._said}
        if all(attributes.get(key) is None for key in self._needs):
            return False
        emit(self._event, attributes, of=self._spec.of)
        return True

    @quiet
    def set(self, key: str, value: Any) -> None:
        self._said[key] = value

    def _begin(self, outer: Context) -> Context:
        return outer

    def _finish(self, error: BaseException | None) -> None:  # noqa: ARG002 - said all the same
        self.say()


class Vote(Said):
    """What one agent chose in a consensus; decorating a function, what it returns."""

    _event = names.EVENT_MAS_VOTE_CAST
    _needs = (names.MAS_VOTE_OPTION,)

    @quiet
    def cast(self, option: Any, *, weight: float | None = None, confidence: float | None = None) -> None:
        self._said[names.MAS_VOTE_OPTION] = _text(option)
        if weight is not None:
            self._said[names.MAS_VOTE_WEIGHT] = weight
        if confidence is not None:
            self._said[names.MAS_VOTE_CONFIDENCE] = confidence

    def _returned(self, value: Any) -> None:
        if value is not None:
            self.cast(value)


class Feedback(Said):
    """A judgement on a span, a run or a handoff; decorating a function, what it returns."""

    _event = names.EVENT_GEN_AI_EVALUATION_RESULT
    _needs = (names.GEN_AI_EVALUATION_SCORE_VALUE, names.GEN_AI_EVALUATION_SCORE_LABEL)

    @quiet
    def give(self, score: float | None = None, label: str | None = None, explanation: str | None = None) -> None:
        for key, value in (
            (names.GEN_AI_EVALUATION_SCORE_VALUE, None if score is None else float(score)),
            (names.GEN_AI_EVALUATION_SCORE_LABEL, label),
            (names.GEN_AI_EVALUATION_EXPLANATION, explanation),
        ):
            if value is not None:
                self._said[key] = value

    def _returned(self, value: Any) -> None:
        """A number is a score, text a label, a pair or a mapping both."""
        if isinstance(value, Mapping):
            self.give(value.get("score"), value.get("label"), value.get("explanation"))
        elif isinstance(value, tuple):
            self.give(*value[:3])
        elif isinstance(value, (int, float)):
            self.give(value)
        elif value is not None:
            self.give(label=_text(value))

    def _adopt(self, function: Callable[..., Any]) -> None:
        if names.GEN_AI_EVALUATION_NAME not in self._spec.attributes:
            named = {names.GEN_AI_EVALUATION_NAME: getattr(function, "__name__", "feedback")}
            self._spec = replace(self._spec, attributes={**self._spec.attributes, **named})


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)


def context_of(spot: Where) -> SpanContext:
    if isinstance(spot, Operation):
        return spot.context
    return spot if isinstance(spot, SpanContext) else opened(spot or {}).origin


def _at(of: Where, context: Context) -> Context:
    if of is None:
        return context
    return set_span_in_context(NonRecordingSpan(context_of(of)), context)
