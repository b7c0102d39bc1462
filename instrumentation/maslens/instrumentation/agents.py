"""Agents, what they hand to each other, and the tools they use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from maslens.instrumentation.carried import (
    State,
    Transfer,
    Transfers,
    carrying,
    current,
    entered,
    taken_up,
    transfers_of,
    without_handoff,
)
from maslens.instrumentation.carrier import opened
from maslens.instrumentation.digest import digest, json_text
from maslens.instrumentation.guard import quiet, swallowed
from maslens.instrumentation.operation import Operation, SpanSpec, _WithOutcome, new_id
from maslens.instrumentation.runtime import runtime
from maslens.semconv import attributes as names
from opentelemetry.context import Context
from opentelemetry.trace import Link, get_current_span


class _NotGiven:
    """`None` is a context an agent can be given; this is none at all."""


NOT_GIVEN = _NotGiven()


@dataclass(slots=True, kw_only=True)
class HandoffSpec(SpanSpec):
    target: str
    passed: Any = NOT_GIVEN


class Handoff(Operation[HandoffSpec]):
    """The moment one agent passes work to another: the tool call that does it, as one span.

    The agent that starts next under the target's name is joined to it by `mas.handoff.id`: in the same thread, task or
    workflow by itself; over HTTP through baggage; over a queue with `agent(name, handoff=message_carrier)`.
    """

    def __init__(self, spec: HandoffSpec) -> None:
        super().__init__(spec)
        self.id = ""

    @property
    def target(self) -> str:
        return self._spec.target

    def outcome(self, outcome: str) -> None:
        """accepted, completed, failed, rejected, returned, timed_out; once the block is left, said by an event."""
        if self._span.is_recording():
            self.set(names.MAS_HANDOFF_OUTCOME, outcome)
        else:
            from maslens.instrumentation.events import handoff_outcome

            handoff_outcome(self.id, outcome, of=self)

    def _begin(self, outer: Context) -> Context:
        state = current(outer)
        self.id = new_id()
        more = {names.MAS_HANDOFF_ID: self.id, **_fingerprint(self, self._spec.passed)}
        span = self._start(outer, state, more)
        transfers = transfers_of(state)
        transfers.add(Transfer(self.id, self.target, span.get_span_context()))
        entries = {names.MAS_HANDOFF_ID: self.id, names.GEN_AI_TRANSFER_TARGET_NAME: self.target}
        return entered(outer, State({**state.baggage, **entries}, state.stamp, transfers), span)

    def _finish(self, error: BaseException | None) -> None:
        if isinstance(error, Exception):
            self.set(names.MAS_HANDOFF_OUTCOME, "failed")
        super()._finish(error)


TakenUp: TypeAlias = "Handoff | Mapping[str, Any] | str"


@dataclass(slots=True)
class AgentSpec(SpanSpec):
    instance: str | None = None
    passed: Any = NOT_GIVEN
    handoff: TakenUp | Callable[..., TakenUp] | None = None


class Agent(_WithOutcome[AgentSpec]):
    """One invocation of an agent."""

    handoff_id: str | None = None  # the handoff this invocation took up

    def _begin(self, outer: Context) -> Context:
        spec, state = self._spec, current(outer)
        name = spec.attributes[names.GEN_AI_AGENT_NAME]
        if spec.handoff is None:
            taken, transfers = taken_up(state, name)
        else:
            taken, transfers, state = self._given(spec.handoff, name, state)
        instance = spec.instance or new_id()
        more: dict[str, Any] = {names.MAS_AGENT_INSTANCE_ID: instance}
        links = spec.links
        if taken is not None:
            self.handoff_id = more[names.MAS_HANDOFF_ID] = taken.id
            links = (*links, *_link_across(taken, outer))
        elif names.GEN_AI_AGENT_NAME in state.stamp:
            more[names.GEN_AI_CALLER_TYPE] = "agent"
            more[names.GEN_AI_CALLER_NAME] = state.stamp[names.GEN_AI_AGENT_NAME]
        if spec.passed is not NOT_GIVEN:
            more.update(_fingerprint(self, spec.passed))
        span = self._start(outer, state, more, links)
        carried = without_handoff(state.baggage) if names.MAS_HANDOFF_ID in state.baggage else state.baggage
        who = {names.GEN_AI_AGENT_NAME: name, names.MAS_AGENT_INSTANCE_ID: instance}
        return entered(outer, State({**carried, **who}, {**state.stamp, **who}, transfers), span)

    def _given(self, handoff: Any, name: str, state: State) -> tuple[Transfer | None, Transfers, State]:
        try:
            return _given(self._resolved(handoff), name, state)
        except Exception as mistake:  # in the app's own function, or a message that is none: as if nothing was said
            swallowed("handoff", mistake)
            return *taken_up(state, name), state


@dataclass(slots=True)
class ToolSpec(SpanSpec):
    arguments: Any = NOT_GIVEN


class Tool(Operation[ToolSpec]):
    """One call of a tool by the current agent."""

    @quiet
    def result(self, value: Any) -> None:
        """What the tool gave back; recorded only where contents are."""
        if runtime.capture_content:
            self.set(names.GEN_AI_TOOL_CALL_RESULT, _as_text(value))

    def _returned(self, value: Any) -> None:
        if runtime.capture_content:
            self.result(value)

    def _begin(self, outer: Context) -> Context:
        state = current(outer)
        if not runtime.capture_content:
            return entered(outer, state, self._start(outer, state))
        return entered(outer, state, self._start(outer, state, self._arguments()))

    def _arguments(self) -> dict[str, Any]:
        try:
            given = self._spec.arguments
            arguments = self._resolved(given) if given is not NOT_GIVEN else self._passed()
            return {} if arguments is NOT_GIVEN else {names.GEN_AI_TOOL_CALL_ARGUMENTS: _as_text(arguments)}
        except Exception as mistake:
            swallowed("arguments", mistake)
            return {}

    def _passed(self) -> Any:
        """The arguments of the decorated call, by name where the signature says them."""
        if self._call is None:
            return NOT_GIVEN
        function, args, kwargs = self._call
        try:
            bound = inspect.signature(function).bind(*args, **kwargs).arguments
        except (TypeError, ValueError):
            return {"args": args, **kwargs}
        return {name: value for name, value in bound.items() if name not in ("self", "cls")}


def _given(given: Any, agent: str, state: State) -> tuple[Transfer | None, Transfers, State]:
    """The handoff the app itself says `agent` takes up: the object, its id, or the carrier it came in."""
    transfers = transfers_of(state)
    if isinstance(given, Handoff):
        transfers.take(given.target, given.id)
        return Transfer(given.id, given.target, given.context), transfers, state
    if isinstance(given, str):
        return transfers.take(agent, given) or Transfer(given, agent), transfers, state
    arrived = opened(given)
    handoff_id = arrived.baggage.get(names.MAS_HANDOFF_ID)
    state = carrying(state, {key: str(value) for key, value in without_handoff(arrived.baggage).items()})
    return (Transfer(str(handoff_id), agent, arrived.origin) if handoff_id else None), transfers, state


def _fingerprint(operation: Operation[Any], given: Any) -> dict[str, Any]:
    """What was passed, without saying it; nothing where the app's own function fails or another thread changes it."""
    if given is NOT_GIVEN:
        return {}
    try:
        made = digest(operation._resolved(given))
    except Exception as mistake:
        swallowed("context", mistake)
        return {}
    attributes = {names.MAS_CONTEXT_HASH: made.hash, names.MAS_CONTEXT_SIZE: made.size}
    return attributes if made.messages is None else {**attributes, names.MAS_CONTEXT_MESSAGE_COUNT: made.messages}


def _link_across(taken: Transfer, here: Context) -> Iterable[Link]:
    """A handoff link where nesting cannot tell: the sender is in another trace."""
    origin = taken.origin
    if origin.is_valid and origin.trace_id != get_current_span(here).get_span_context().trace_id:
        yield Link(origin, {names.MAS_LINK_TYPE: "handoff", names.MAS_HANDOFF_ID: taken.id})


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json_text(value)
