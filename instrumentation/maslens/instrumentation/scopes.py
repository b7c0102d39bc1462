"""Blocks that make no span: they set what everything inside carries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from maslens.instrumentation.carried import Transfer, Transfers, carrying, current, entered, without_handoff
from maslens.instrumentation.carrier import opened
from maslens.instrumentation.managed import Managed, Spec
from maslens.semconv import attributes as names
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan


class Scope(Managed[Spec]):
    def _finish(self, error: BaseException | None) -> None:
        pass


class Carried(Scope[Mapping[str, str]]):
    """Entries that everything started inside carries, over process boundaries too."""

    def _begin(self, outer: Context) -> Context:
        state = carrying(current(outer), self._spec)
        return entered(outer, state if state.transfers is not None else state._replace(transfers=Transfers()))


Message: TypeAlias = "Mapping[str, Any] | Callable[..., Mapping[str, Any]]"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedSpec:
    message: Message
    same_trace: bool


class Received(Scope[ReceivedSpec]):
    """The other end of a `carrier()`: who sent it, in which conversation, and the handoff in it."""

    def _begin(self, outer: Context) -> Context:
        arrived = opened(self._resolved(self._spec.message))
        transfers = Transfers()
        handoff_id = arrived.baggage.get(names.MAS_HANDOFF_ID)
        target = arrived.baggage.get(names.GEN_AI_TRANSFER_TARGET_NAME)
        if handoff_id and target:
            transfers.add(Transfer(str(handoff_id), str(target), arrived.origin))
        entries = without_handoff(arrived.baggage)
        state = carrying(current(outer), {key: str(value) for key, value in entries.items()})
        caller = NonRecordingSpan(arrived.origin) if self._spec.same_trace and arrived.origin.is_valid else None
        return entered(outer, state._replace(transfers=transfers), caller)


def acting(agent: str) -> Carried:
    """Everything started inside is done by `agent`, whose own span another library writes, or nobody."""
    return Carried({names.GEN_AI_AGENT_NAME: agent})
