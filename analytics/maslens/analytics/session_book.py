"""What the sidecar remembers of sessions that are going on: when they were last heard of, and what they still need."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
from maslens.analytics.stitching import unfinished
from maslens.analytics.totals import FactFrames


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What was computed: which sessions, of which traces and how many spans. unsettled: more spans are to come."""

    sessions: set[str]
    pairs: set[tuple[str, str]]  # (session, trace)
    spans: dict[str, int]
    outcomes: dict[str, str]
    unsettled: set[str]

    @staticmethod
    def of(facts: FactFrames, spans: pl.DataFrame) -> Made:
        frames = (facts.agent_runs, facts.handoffs, facts.llm_calls, facts.tool_calls, facts.agent_errors)
        pairs = set(pl.concat([frame.select("session_id", "trace_id") for frame in frames]).unique().iter_rows())
        open_traces = unfinished(spans)
        rows = facts.sessions.select("session_id", "spans", "outcome").rows()
        return Made(
            sessions={session for session, _, _ in rows},
            pairs=pairs,
            spans={session: count for session, count, _ in rows},
            outcomes={session: outcome for session, _, outcome in rows},
            unsettled={session for session, trace in pairs if trace in open_traces},
        )


def with_unknown_outcome(facts: FactFrames, sessions: Collection[str]) -> FactFrames:
    """How a session ended is not known while spans of it are still to come."""
    if not sessions:
        return facts
    outcome = pl.when(pl.col("session_id").is_in(list(sessions))).then(pl.lit("unknown")).otherwise(pl.col("outcome"))
    changed: Any = replace(facts, sessions=facts.sessions.with_columns(outcome.alias("outcome")))  # type: ignore[type-var]
    return changed  # type: ignore[no-any-return]


@dataclass(slots=True)
class _Session:
    seen: float  # when spans last arrived
    settled: bool = False  # every span's parent has arrived
    outcome: str = "unknown"
    rests_until: float = 0.0  # not computed again before


class SessionBook:
    """Sessions that have not come to rest, in the order they were last heard of."""

    def __init__(self, sessions: Iterable[str] = (), *, now: float = 0.0) -> None:
        self._sessions = {session: _Session(seen=now) for session in sessions}
        self._at_hand: dict[str, float] = {}  # sessions whose spans and facts are in memory → when last computed
        self._slow: set[str] = set()

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, session: str) -> bool:
        return session in self._sessions

    def outcome(self, session: str) -> str:
        return self._sessions[session].outcome

    def settled(self, session: str) -> bool:
        return self._sessions[session].settled

    def computed(
        self, made: Made, *, reached: Collection[str], final: Collection[str], now: float, rests: dict[str, float]
    ) -> None:
        """Sessions were computed; spans of the `reached` ones had arrived. rests: for how long to leave each alone."""
        for session in made.sessions:
            self._at_hand.pop(session, None)
            self._at_hand[session] = now
            if session in final:
                self._sessions.pop(session, None)
                continue
            known = self._sessions.get(session) or _Session(seen=now)
            if session in reached:
                known.seen = now
                self._sessions.pop(session, None)  # to the end
            self._sessions[session] = known
            known.settled, known.outcome = session not in made.unsettled, made.outcomes[session]
            if session in rests:
                known.rests_until = now + rests[session]
                self._slow.add(session)

    def gone(self, sessions: Iterable[str]) -> None:
        """They have come to rest, or are called otherwise now."""
        for session in sessions:
            self._sessions.pop(session, None)
            self._slow.discard(session)

    def later(self, sessions: Iterable[str], now: float) -> None:
        """Nothing came of looking at idle sessions: look again after as long."""
        for session in sessions:
            if known := self._sessions.pop(session, None):
                known.seen = now
                self._sessions[session] = known

    def idle(self, before: float, *, limit: int) -> list[str]:
        """Sessions not heard of since `before`, the longest silent first."""
        idle: list[str] = []
        for session, known in self._sessions.items():
            if known.seen > before or len(idle) >= limit:
                break
            idle.append(session)
        return idle

    def resting(self, now: float) -> dict[str, float]:
        """Sessions to leave alone, and until when."""
        resting = {s: known.rests_until for s in self._slow if (known := self._sessions.get(s))}
        self._slow = {session for session, until in resting.items() if until > now}
        return {session: resting[session] for session in self._slow}

    def let_go(self, *, settled_before: float, before: float, most: int) -> list[str]:
        """Sessions that memory need not hold: complete and silent, long silent, or the oldest of too many."""
        excess = len(self._at_hand) - most
        gone: list[str] = []
        for session, computed in self._at_hand.items():
            if computed > settled_before and len(gone) >= excess:
                break
            known = self._sessions.get(session)
            if known is None or known.settled or computed <= before or len(gone) < excess:
                gone.append(session)
        for session in gone:
            del self._at_hand[session]
        return gone
