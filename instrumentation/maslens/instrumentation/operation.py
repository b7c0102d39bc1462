"""An operation is one span and what it changes for everything started inside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from random import getrandbits
from typing import Any, ClassVar, TypeAlias, TypeVar

from maslens.instrumentation.carried import State, Transfers, carrying, current, entered
from maslens.instrumentation.carrier import Carrier, carrier_of
from maslens.instrumentation.digest import attribute
from maslens.instrumentation.guard import quiet, swallowed
from maslens.instrumentation.managed import Managed
from maslens.instrumentation.runtime import tracer
from maslens.semconv import attributes as names
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanContext, SpanKind, Status, StatusCode

Attributes: TypeAlias = Mapping[str, Any]
_NOT_ERRORS = (GeneratorExit, StopIteration, StopAsyncIteration)  # a consumer that stops early is not a failure


@dataclass(slots=True)
class SpanSpec:
    """Nobody changes one. Made for every block: freezing it would cost twice the rest, naming its arguments once."""

    name: str
    attributes: Attributes
    links: Sequence[Link] = ()
    unnamed: tuple[str, str] | None = None  # the verb, and the attribute for the name of the function decorated


SomeSpec = TypeVar("SomeSpec", bound=SpanSpec)


class Operation(Managed[SomeSpec]):
    """What the app holds while a span is open; nothing called on it ever raises."""

    _kind: ClassVar[SpanKind] = SpanKind.INTERNAL
    _span: Span = INVALID_SPAN

    @property
    def span(self) -> Span:
        """The OpenTelemetry span; before the operation has begun, one that records nothing."""
        return self._span

    @property
    def context(self) -> SpanContext:
        return self._span.get_span_context()

    @quiet
    def set(self, key: str, value: Any) -> None:
        """Record `value` under the attribute `key`."""
        self._span.set_attribute(key, attribute(value))

    @quiet
    def link(self, kind: str, to: SpanContext | Operation[Any]) -> None:
        """Tie this operation to another: join, retry, triggered_by, handoff, evaluates."""
        spot = to.context if isinstance(to, Operation) else to
        self._span.add_link(spot, {names.MAS_LINK_TYPE: kind})

    def carrier(self) -> Carrier:
        """What to put in a message so that its receiver is joined to this operation, whatever the transport."""
        try:
            return carrier_of(self._inner, self._span)
        except Exception as mistake:
            swallowed("carrier", mistake)
            return {}

    def _adopt(self, function: Callable[..., Any]) -> None:
        spec = self._spec
        attributes = {**spec.attributes, names.CODE_FUNCTION_NAME: code_name(function)}
        name = spec.name
        if spec.unnamed is not None:
            verb, key = spec.unnamed
            attributes[key] = getattr(function, "__name__", type(function).__name__)
            name = f"{verb} {attributes[key]}"
        self._spec = replace(spec, name=name, attributes=attributes)

    def _begin(self, outer: Context) -> Context:
        state = current(outer)
        return entered(outer, state, self._start(outer, state))

    def _start(self, outer: Context, state: State, more: Attributes = {}, links: Sequence[Link] = ()) -> Span:  # noqa: B006 - read only
        spec = self._spec
        attributes = {**state.stamp, **spec.attributes, **more}
        self._span = span = tracer().start_span(spec.name, outer, self._kind, attributes, links or spec.links)
        return span

    def _finish(self, error: BaseException | None) -> None:
        span = self._span
        try:
            if error is not None and not isinstance(error, _NOT_ERRORS) and span.is_recording():
                record_error(span, error)
        finally:
            span.end()


def new_id() -> str:
    """16 random hex digits, as a span's id has."""
    return format(getrandbits(64), "016x")


class _WithOutcome(Operation[SomeSpec]):
    def outcome(self, outcome: str) -> None:
        """How it went: success, partial, failure, abandoned, cancelled."""
        self.set(names.MAS_TASK_OUTCOME, outcome)

    def stopped(self, reason: str) -> None:
        """Why its loop ended: converged, goal_met, limit, no_progress, consensus, error, cancelled."""
        self.set(names.MAS_ITERATION_STOP_REASON, reason)


@dataclass(slots=True, kw_only=True)
class WorkflowSpec(SpanSpec):
    entries: Mapping[str, str]


class Workflow(_WithOutcome[WorkflowSpec]):
    """One run of several agents together; what they hand over to each other finds its receiver inside it."""

    def _begin(self, outer: Context) -> Context:
        state = carrying(current(outer), self._spec.entries)._replace(transfers=Transfers())
        return entered(outer, state, self._start(outer, state))


@dataclass(slots=True, kw_only=True)
class TaskSpec(SpanSpec):
    id: str | None = None


class Task(_WithOutcome[TaskSpec]):
    """A piece of work with an id of its own, which everything inside it carries."""

    def __init__(self, spec: TaskSpec) -> None:
        super().__init__(spec)
        self.id = spec.id or ""

    def _begin(self, outer: Context) -> Context:
        state = current(outer)
        self.id = self._spec.id or new_id()
        parent = state.stamp.get(names.MAS_TASK_ID)
        inside = carrying(state, {names.MAS_TASK_ID: self.id})
        more = {names.MAS_TASK_PARENT_ID: parent} if parent is not None else {}
        span = self._start(outer, inside, {**more, **self._spec.attributes})
        return entered(outer, inside, span)


class ModelCall(Operation[SpanSpec]):
    """One call of a model, for clients that no library instruments."""

    _kind = SpanKind.CLIENT

    def usage(
        self,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        *,
        cache_read: int | None = None,
        cache_write: int | None = None,
        reasoning: int | None = None,
    ) -> None:
        """Tokens as the provider counts them: input with the cached ones in it, output with the reasoning in it."""
        try:
            tell = self._span.set_attribute
            if input_tokens is not None:
                tell(names.GEN_AI_USAGE_INPUT_TOKENS, input_tokens)
            if output_tokens is not None:
                tell(names.GEN_AI_USAGE_OUTPUT_TOKENS, output_tokens)
            if cache_read is not None:
                tell(names.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS, cache_read)
            if cache_write is not None:
                tell(names.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS, cache_write)
            if reasoning is not None:
                tell(names.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS, reasoning)
        except Exception as mistake:
            swallowed("ModelCall.usage", mistake)

    def response(
        self, *, id: str | None = None, model: str | None = None, finish_reasons: Sequence[str] | None = None
    ) -> None:
        """What the answer says about itself."""
        self._set_given(
            {
                names.GEN_AI_RESPONSE_ID: id,
                names.GEN_AI_RESPONSE_MODEL: model,
                names.GEN_AI_RESPONSE_FINISH_REASONS: finish_reasons,
            }
        )

    @quiet
    def _set_given(self, values: Attributes) -> None:
        self._span.set_attributes({key: value for key, value in values.items() if value is not None})


class Consensus(Operation[SpanSpec]):
    """One round in which several agents agree, or do not; votes cast inside it belong to it."""

    def __init__(self, spec: SpanSpec) -> None:
        super().__init__(spec)
        self.id = ""

    def _begin(self, outer: Context) -> Context:
        state = current(outer)
        self.id = self._spec.attributes.get(names.MAS_CONSENSUS_ID) or new_id()
        state = state._replace(stamp={**state.stamp, names.MAS_CONSENSUS_ID: self.id})
        return entered(outer, state, self._start(outer, state))

    def outcome(self, outcome: str, *, agreement: float | None = None) -> None:
        """agreed, tied, rejected or timed_out, and the share that agreed."""
        self.set(names.MAS_CONSENSUS_OUTCOME, outcome)
        if agreement is not None:
            self.set(names.MAS_CONSENSUS_AGREEMENT, agreement)


@dataclass(slots=True, kw_only=True)
class IterationSpec(SpanSpec):
    index: int | None  # None: counted, one loop per decorated function or object
    limit: int | None
    span: bool
    counted: Iterator[int] = field(default_factory=lambda: count(1))


class Iteration(Operation[IterationSpec]):
    """One round of a loop: its number stands on everything done in it."""

    def __init__(self, spec: IterationSpec) -> None:
        super().__init__(spec)
        self.index = spec.index or 0

    def completed(self, *, score: float | None = None, stop_reason: str | None = None) -> None:
        """Say how near this round came (0..1), and why the loop stops if it does."""
        from maslens.instrumentation.events import iteration_completed

        iteration_completed(self.index, score=score, stop_reason=stop_reason)

    def _begin(self, outer: Context) -> Context:
        spec, state = self._spec, current(outer)
        self.index = next(spec.counted) if spec.index is None else spec.index
        stamp = {**state.stamp, names.MAS_ITERATION_INDEX: self.index}
        if spec.limit is not None:
            stamp[names.MAS_ITERATION_LIMIT] = spec.limit
        state = state._replace(stamp=stamp)
        return entered(outer, state, self._start(outer, state) if spec.span else None)

    def _start(self, outer: Context, state: State, more: Attributes = {}, links: Sequence[Link] = ()) -> Span:  # noqa: B006 - read only
        self._spec = replace(self._spec, name=f"iteration {self.index}")
        return super()._start(outer, state, more, links)


def record_error(span: Span, error: BaseException) -> None:
    """Status, `error.type` and the exception event, once the app's own code has failed inside `span`."""
    kind = type(error)
    qualified = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    span.set_attribute(names.ERROR_TYPE, qualified)
    try:
        message = str(error)
    except Exception:  # the app's own __str__ is broken
        message = kind.__name__
    span.set_status(Status(StatusCode.ERROR, message))
    span.record_exception(error)


def code_name(function: Callable[..., Any]) -> str:
    named = getattr(function, "__qualname__", None) or type(function).__qualname__
    return f"{getattr(function, '__module__', '')}.{named}"
