"""Handoffs inside one run, seen through what each agent's model was given: what left one side and what arrived.

The context of a handoff is what the source's model was last given, instructions aside. What arrived is the part of it
found again in what the target's model is first given; equal fingerprints mean that all of it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maslens.instrumentation.digest import json_text
from maslens.instrumentation.zero_code.telling import tell_context, tell_transfer
from maslens.semconv import attributes as names
from opentelemetry.trace import Span


class Passing:
    """What is known of one run while it lasts. Messages are anything that turns into the same JSON on both sides."""

    __slots__ = ("_arriving", "_expected", "_heard", "_live")

    def __init__(self) -> None:
        self._heard: dict[str, Sequence[Any]] = {}  # agent → what its model was last given
        self._arriving: dict[str, str] = {}  # target → the handoff it has not taken up yet
        self._expected: dict[str, Sequence[Any]] = {}  # target → what the source had
        self._live: dict[str, list[Span]] = {}  # agent → its spans that are open

    def started(self, agent: str, span: Span) -> str | None:
        """`span` is a run of `agent`; the id of the handoff that brought it here, if one did."""
        self._live.setdefault(agent, []).append(span)
        handoff_id = self._arriving.pop(agent, None)
        if handoff_id is not None:
            span.set_attribute(names.MAS_HANDOFF_ID, handoff_id)
        return handoff_id

    def ended(self, agent: str, span: Span) -> None:
        spans = self._live.get(agent, [])
        if span in spans:
            spans.remove(span)

    def heard(self, agent: str, messages: Sequence[Any]) -> None:
        """The model of `agent` is given `messages`."""
        self._heard[agent] = messages
        expected = self._expected.pop(agent, None)
        if expected is not None:
            found = {json_text(message) for message in messages}
            arrived = [message for message in expected if json_text(message) in found]
            for span in self._live.get(agent, ()):
                tell_context(span, arrived)

    def handed_over(self, span: Span, source: str, target: str, *, mode: str = "pass_control") -> None:
        """`span` is the moment `source` passes work to `target`."""
        self._arriving[target] = tell_transfer(span, source, target, mode=mode)
        known = self._heard.get(source)
        if known is not None:
            tell_context(span, list(known))
            self._expected[target] = known


class Runs:
    """`Passing` by run, the oldest forgotten: a run that was cut off never says that it ended."""

    __slots__ = ("_known", "_most")

    def __init__(self, most: int = 1000) -> None:
        self._known: dict[Any, Passing] = {}
        self._most = most

    def of(self, run: Any) -> Passing:
        known = self._known.get(run)
        if known is None:
            while len(self._known) >= self._most:
                self._known.pop(next(iter(self._known)), None)
            known = self._known[run] = Passing()
        return known

    def over(self, run: Any) -> None:
        self._known.pop(run, None)
