"""What travels with the context: who is acting, in which conversation, on which task, in which variant.

It lives twice: in W3C baggage, so that it crosses processes and any library can read it, and as a ready-made `State`
beside it in the OpenTelemetry context, so that stamping a span costs a lookup. Baggage is the truth: where somebody
else changed it, the state is read anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeAlias, cast

from maslens.semconv import attributes as names
from opentelemetry import baggage as _baggage
from opentelemetry.context import Context, create_key
from opentelemetry.trace import INVALID_SPAN, INVALID_SPAN_CONTEXT, Link, Span, SpanContext
from opentelemetry.trace.propagation import set_span_in_context

Stamp: TypeAlias = dict[str, Any]

STAMPED = (
    names.GEN_AI_AGENT_NAME,
    names.MAS_AGENT_INSTANCE_ID,
    names.GEN_AI_CONVERSATION_ID,
    names.MAS_TASK_ID,
    names.MAS_EXPERIMENT_ID,
    names.MAS_EXPERIMENT_VARIANT,
)
_OF_THE_AGENT = (names.GEN_AI_AGENT_NAME, names.MAS_AGENT_INSTANCE_ID)
_LONGEST = 256  # baggage comes from outside: no value of it may bloat every span
_MOST_WAITING = 1024
_LOCAL = (
    names.MAS_ITERATION_INDEX,
    names.MAS_ITERATION_LIMIT,
    names.MAS_CONSENSUS_ID,
)  # stamped, but of no use in another process
_HANDOFF = (names.MAS_HANDOFF_ID, names.GEN_AI_TRANSFER_TARGET_NAME)

# The two keys OpenTelemetry keeps private, asked from its public functions: one new Context per span instead of five.
BAGGAGE = next(iter(_baggage.set_baggage("k", "v", Context())))
SPAN = next(iter(set_span_in_context(INVALID_SPAN, Context())))
STATE = create_key("maslens")
UNDER = create_key("maslens-under")  # the span that was current when the state was made


class Transfer(NamedTuple):
    """A handoff under way: what the receiving agent needs to be joined with it."""

    id: str
    target: str
    origin: SpanContext = INVALID_SPAN_CONTEXT


class Transfers:
    """The handoffs of one run that no agent has taken up yet, shared by all contexts of the run."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Transfer]] = {}

    def add(self, transfer: Transfer) -> None:
        self._waiting.setdefault(normalised(transfer.target), deque(maxlen=_MOST_WAITING)).append(transfer)

    def take(self, agent: str, handoff_id: str | None = None) -> Transfer | None:
        """The longest waiting handoff to `agent`, or the one of that id."""
        if not self._waiting:
            return None
        queue = self._waiting.get(normalised(agent))
        try:
            if queue and handoff_id is None:
                return queue.popleft()
            for transfer in queue or ():
                if transfer.id == handoff_id:
                    queue.remove(transfer)  # type: ignore[union-attr]  # the loop ran, so there is a queue
                    return transfer
        except (IndexError, ValueError, RuntimeError):  # another thread was faster
            pass
        return None


class State(NamedTuple):
    baggage: Mapping[str, object]
    stamp: Stamp  # what every span started under it gets
    transfers: Transfers | None = None


_EMPTY: Mapping[str, object] = {}
NOTHING = State(_EMPTY, {})
_loose: ContextVar[Transfers | None] = ContextVar("maslens_loose_transfers", default=None)


def normalised(name: str) -> str:
    return name.lower().replace(" ", "_").replace("-", "_")


def current(context: Context) -> State:
    """What holds for a span started in `context`, the nearest first: what the parent says where another library
    started it since our own state was made, what others have put into baggage since, our own state."""
    state, carried, parent = context.get(STATE), context.get(BAGGAGE), context.get(SPAN)
    if type(state) is State and carried is state.baggage:
        if parent is context.get(UNDER):
            return state
        changed = False
    else:
        before = state if type(state) is State else NOTHING
        baggage = cast("Mapping[str, object]", carried or _EMPTY)
        changed = names.GEN_AI_AGENT_NAME in baggage
        state = _read(baggage, before) if baggage or before is not NOTHING else NOTHING
        if parent is context.get(UNDER):
            return state
    return _nearer(state, said_by(parent), changed)


def said_by(span: Any) -> Mapping[str, Any]:
    """The attributes of a span, as the SDK keeps them: its own view of them answers much more slowly."""
    kept = getattr(span, "_attributes", None)
    found = getattr(kept, "_dict", None)
    return found if type(found) is dict else getattr(span, "attributes", None) or _EMPTY


def _nearer(state: State, said: Mapping[str, Any], changed: bool) -> State:
    if not said:
        return state
    nearer = {} if changed else {key: said[key] for key in _OF_THE_AGENT if key in said}
    conversation = said.get(names.GEN_AI_CONVERSATION_ID) or said.get(names.SESSION_ID)
    if conversation:
        nearer[names.GEN_AI_CONVERSATION_ID] = conversation
    return State(state.baggage, {**state.stamp, **nearer}, state.transfers) if nearer else state


def _read(carried: Mapping[str, object], before: State) -> State:
    stamp: Stamp = {key: str(carried[key])[:_LONGEST] for key in STAMPED if key in carried}
    stamp.update((key, before.stamp[key]) for key in _LOCAL if key in before.stamp)
    return State(carried, stamp, before.transfers)


def entered(context: Context, state: State, span: Span | None = None) -> Context:
    """`context` with `state`, its baggage and `span` current in it."""
    under = context.get(SPAN) if span is None else span
    inside = context.copy()
    inside[STATE], inside[BAGGAGE], inside[SPAN], inside[UNDER] = state, state.baggage, under, under
    return Context(inside)


def carrying(state: State, entries: Mapping[str, str]) -> State:
    """`state` with `entries` added to what travels; those that are stamped join the stamp."""
    stamped = {key: value for key, value in entries.items() if key in STAMPED}
    return State({**state.baggage, **entries}, {**state.stamp, **stamped}, state.transfers)


def transfers_of(state: State) -> Transfers:
    """The run's waiting handoffs. Outside a workflow or session they belong to the thread or task."""
    if state.transfers is not None:
        return state.transfers
    loose = _loose.get()
    if loose is None:
        loose = Transfers()
        _loose.set(loose)
    return loose


def taken_up(state: State, agent: str) -> tuple[Transfer | None, Transfers]:
    """The handoff `agent` takes up by starting now, if one names it, and the waiting handoffs it starts among."""
    handoff_id = state.baggage.get(names.MAS_HANDOFF_ID)  # nested in the handoff's block, or from another process
    if isinstance(handoff_id, str):
        target = state.baggage.get(names.GEN_AI_TRANSFER_TARGET_NAME)
        if isinstance(target, str) and normalised(target) == normalised(agent):
            transfers = transfers_of(state)
            return transfers.take(target, handoff_id) or Transfer(handoff_id, target), transfers
    if state.transfers is not None:
        return state.transfers.take(agent), state.transfers
    loose = _loose.get()
    taken = loose.take(agent) if loose is not None else None
    if loose is None or taken is None:  # a new run begins in this thread: what waited was meant for the one before
        loose = Transfers()
        _loose.set(loose)
    return taken, loose


def without_handoff(carried: Mapping[str, object]) -> dict[str, object]:
    return {key: carried[key] for key in carried if key not in _HANDOFF}


def typed_link(kind: str, to: SpanContext) -> Link:
    return Link(to, {names.MAS_LINK_TYPE: kind})
