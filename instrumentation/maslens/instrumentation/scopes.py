"""Blocks that make no span: they set what everything inside carries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeAlias

from maslens.instrumentation import _names as names
from maslens.instrumentation.carried import Transfer, Transfers, carrying, current, entered
from maslens.instrumentation.carrier import opened
from maslens.instrumentation.managed import Managed, Spec
from opentelemetry.context import Context


class Scope(Managed[Spec]):
    __slots__ = ()

    def _finish(self, error: BaseException | None) -> None:
        pass


class Carried(Scope[Mapping[str, str]]):
    """Entries that everything started inside carries, over process boundaries too."""

    __slots__ = ()

    def _begin(self, outer: Context) -> Context:
        state = carrying(current(outer), self._spec)
        return entered(outer, state if state.transfers is not None else state._replace(transfers=Transfers()))


Message: TypeAlias = "Mapping[str, Any] | Callable[..., Mapping[str, Any]]"


class Received(Scope[Message]):
    """The other end of a `carrier()`: who sent it, in which conversation, and the handoff in it."""

    __slots__ = ()

    def _begin(self, outer: Context) -> Context:
        arrived = opened(self._resolved(self._spec))
        transfers = Transfers()
        handoff_id = arrived.baggage.get(names.MAS_HANDOFF_ID)
        target = arrived.baggage.get(names.GEN_AI_TRANSFER_TARGET_NAME)
        if handoff_id and target:
            transfers.add(Transfer(str(handoff_id), str(target), arrived.origin))
        state = carrying(current(outer), {key: str(value) for key, value in arrived.baggage.items()})
        return entered(outer, state._replace(transfers=transfers))


@dataclass(frozen=True, slots=True, kw_only=True)
class IterationSpec:
    index: int | None  # None: counted, one loop per decorated function or object
    limit: int | None
    counted: Iterator[int] = field(default_factory=count)


class Iteration(Scope[IterationSpec]):
    """One turn of a loop: its number stands on everything done in it."""

    __slots__ = ("index",)

    def __init__(self, spec: IterationSpec) -> None:
        super().__init__(spec)
        self.index = spec.index if spec.index is not None else 0

    def completed(self, *, score: float | None = None, stop_reason: str | None = None) -> None:
        """Say how near this turn came (0..1), and why the loop stops if it does."""
        from maslens.instrumentation.events import iteration_completed

        iteration_completed(self.index, score=score, stop_reason=stop_reason)

    def _begin(self, outer: Context) -> Context:
        if self._spec.index is None:
            self.index = next(self._spec.counted)
        state = current(outer)
        stamp = {**state.stamp, names.MAS_ITERATION_INDEX: self.index}
        if self._spec.limit is not None:
            stamp[names.MAS_ITERATION_LIMIT] = self._spec.limit
        return entered(outer, state._replace(stamp=stamp))
