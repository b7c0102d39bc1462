"""How the agents of a session work together: sequential, hierarchical, collaborative, reflexive or swarm.

Every transfer between two agents votes for one pattern, and side-by-side runs and votes do too. A call that comes back
is hierarchical; so is control that is passed out and comes straight back, matched like parentheses. The same callee
called again at once by the same caller is a loop: reflexive. Control that moves on was decided by an agent (swarm) or
by the program (sequential); to or from runs that work side by side, or into a run that several lead to, it is
collaborative.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Pattern: TypeAlias = Literal["single", "sequential", "hierarchical", "collaborative", "reflexive", "swarm"]
PATTERNS: tuple[Pattern, ...] = ("sequential", "hierarchical", "collaborative", "reflexive", "swarm")
_DECIDED = ("explicit", "tool_name")  # the agent itself said where control goes
_PRIOR = 0.5  # of a vote for each pattern: one transfer is little to go by


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One handoff; `at`: ns."""

    source: str
    target: str
    returns: bool  # the source waits for an answer
    evidence: str
    at: int
    target_run: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    pattern: Pattern
    confidence: float  # mean share of the votes under a Dirichlet(1/2) prior
    votes: Mapping[Pattern, float]


def calls_and_passes(transfers: Sequence[Transfer]) -> tuple[list[Transfer], list[Transfer]]:
    """(calls that came back, control that moved on), each in order of time.

    A pass a → b that is followed by b → a, before anybody else passes control to b, is a call: matching brackets.
    """
    calls: list[Transfer] = []
    open_: dict[str, list[Transfer]] = {}  # passes that have not come back, by who has control now
    for move in sorted(transfers, key=_place):
        if move.source == move.target or move.returns:
            calls.append(move)
            continue
        brought = open_.get(move.source)
        if brought and brought[-1].source == move.target:
            calls.append(brought.pop())
        else:
            open_.setdefault(move.target, []).append(move)
    return sorted(calls, key=_place), sorted((move for moves in open_.values() for move in moves), key=_place)


def _place(move: Transfer) -> tuple[int, str, str, str]:
    return move.at, move.source, move.target, move.target_run


def repeated(calls: Sequence[Transfer]) -> list[Transfer]:
    """Calls whose caller called the same callee the last time too."""
    last: dict[str, str] = {}
    found = []
    for call in calls:
        if last.get(call.source) == call.target:
            found.append(call)
        last[call.source] = call.target
    return found


def detect(
    agents: Collection[str],
    transfers: Sequence[Transfer],
    *,
    beside: Collection[str] = (),
    votes: int = 0,
    rounds: int = 0,
) -> Detected:
    """agents: who ran. beside: ids of runs that overlapped a sibling of another agent, with nobody calling both.

    votes: cast in decisions of several agents. rounds: of loops that said so, beyond the first.
    """
    if len(agents) < 2 and not rounds:
        return Detected(pattern="single", confidence=1.0, votes={})
    calls, passes = calls_and_passes(transfers)
    again = len(repeated(calls))
    tally = dict.fromkeys(PATTERNS, 0)
    tally["hierarchical"] += len(calls) - again - min(again, 1)
    tally["reflexive"] += again + min(again, 1) + rounds  # what is repeated was called a first time
    side_by_side = {move.target for move in transfers if move.target_run in beside}
    led_by: dict[str, set[str]] = {}
    for move in passes:
        led_by.setdefault(move.target_run, set()).add(move.source)
    for move in passes:
        joins = move.target_run != "" and len(led_by[move.target_run]) > 1
        if joins or move.target_run in beside or move.source in side_by_side:
            tally["collaborative"] += 1
        else:
            tally["swarm" if move.evidence in _DECIDED else "sequential"] += 1
    called = {call.target_run for call in calls}
    tally["collaborative"] += votes + (0 if passes else len(set(beside) - called))
    total = sum(tally.values())
    if not total:  # several agents, and nothing is known about how they met
        return Detected(pattern="sequential", confidence=1 / len(PATTERNS), votes={})
    best = max(PATTERNS, key=tally.__getitem__)  # the first of those with as many
    share = (tally[best] + _PRIOR) / (total + _PRIOR * len(PATTERNS))
    return Detected(pattern=best, confidence=share, votes={p: float(tally[p]) for p in PATTERNS if tally[p]})
