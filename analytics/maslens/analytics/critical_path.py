"""The chain of runs that made a session as long as it was, and how much shorter it could have been.

A session is a graph of moments. A run starts once whoever launched it is ready: after the last sibling that had ended
by then, plus the launcher's own time since. It ends after the last of its children, plus its own time since. Walking
those dependencies back from the end gives the critical path; replaying them forward with one agent's own time set to
nothing gives what fixing that agent would save at most, with the other branches taking over as they would.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

Nanoseconds = npt.NDArray[np.int64]

SEGMENTS: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "session_id": pl.String,
    "run_id": pl.String,
    "agent": pl.String,
    "kind": pl.String,
    "started_at": pl.Datetime("ns", "UTC"),
    "ended_at": pl.Datetime("ns", "UTC"),
}
SAVINGS: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "session_id": pl.String,
    "agent": pl.String,
    "saves_ns": pl.Int64,
}


def critical_path(runs: pl.DataFrame, handoffs: pl.DataFrame | None = None) -> pl.DataFrame:
    """The segments of each session's critical path in order of time; they tile the session without gap or overlap.

    runs: `session_id, run_id, parent_run_id, agent, started_at, ended_at`. handoffs, where known, say who launched a
    run without a parent, and when it was asked for. `kind` is `self` (the run's own time: no child it waited for was
    at work) or `waiting` (nobody was, between whoever came before and the start of `run_id`: queueing, a human).
    """
    return _segments((session, moments.path()) for session, moments in _sessions(runs, handoffs))


def savings(runs: pl.DataFrame, handoffs: pl.DataFrame | None = None) -> pl.DataFrame:
    """How much earlier each session would have ended had an agent's own time been nothing: no fix can save more."""
    return _saved((session, moments.savings()) for session, moments in _sessions(runs, handoffs))


def path_and_savings(runs: pl.DataFrame, handoffs: pl.DataFrame | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`critical_path` and `savings`, each session taken apart once."""
    found = [(session, moments.path(), moments.savings()) for session, moments in _sessions(runs, handoffs)]
    paths = _segments((session, path) for session, path, _ in found)
    return paths, _saved((session, saved) for session, _, saved in found)


def _segments(paths: Iterable[tuple[str, Sequence[_Segment]]]) -> pl.DataFrame:
    segments = [(session, *segment) for session, path in paths for segment in path]
    return pl.DataFrame(segments, schema=SEGMENTS, orient="row").with_columns(
        duration_ns=(pl.col("ended_at") - pl.col("started_at")).dt.total_nanoseconds()
    )


def _saved(sessions: Iterable[tuple[str, Mapping[str, int]]]) -> pl.DataFrame:
    rows = [(session, agent, saved) for session, agents in sessions for agent, saved in agents.items()]
    return pl.DataFrame(rows, schema=SAVINGS, orient="row")


@dataclass(slots=True, kw_only=True)
class _Run:
    run_id: str
    agent: str
    start: int
    end: int
    parent: int  # index of the enclosing run, -1 for none
    source: int  # index of the run whose handoff asked for this one, -1 for none
    asked: int  # when it was asked for, its start if unknown
    launcher: int = -1  # the enclosing run or the source, whichever was there when it started; -1: the session
    depth: int = 0
    since: int = 0  # the moment it waited for ...
    after: int = -1  # ... and whose end that was; -1: the launcher's start
    joined: list[int] = field(default_factory=list)  # runs whose end this one waits for
    last: int = -1  # the one of them that ended last


class _Segment(NamedTuple):
    run_id: str
    agent: str
    kind: str
    start: int
    end: int


class _Moments:
    """The starts and ends of one session's runs in an order that respects what waits for what."""

    def __init__(self, runs: Sequence[_Run]) -> None:
        self.runs = runs
        self.roots: list[int] = []  # runs whose end only the session waits for
        for index, run in enumerate(runs):
            run.launcher = self._launcher(index)
        for index in range(len(runs)):
            self._place(index)
        self.order = sorted(
            ((run.end, 0, -run.depth, index) for index, run in enumerate(runs)),
        ) + [(run.start, 1, run.depth, index) for index, run in enumerate(runs)]
        self.order.sort()
        self._sweep()

    def path(self) -> list[_Segment]:
        segments: list[_Segment] = []
        index, at_end = max(self.roots, key=lambda i: (self.runs[i].end, i)), True
        while index >= 0:
            run = self.runs[index]
            if at_end:
                since = self.runs[run.last].end if run.last >= 0 else run.start
                segments.append(_Segment(run.run_id, run.agent, "self", since, run.end))
                index, at_end = (run.last, True) if run.last >= 0 else (index, False)
            else:
                segments.extend(reversed(self._gap(run)))
                index, at_end = (run.after, True) if run.after >= 0 else (run.launcher, False)
        return [segment for segment in reversed(segments) if segment.start < segment.end]

    def savings(self) -> Mapping[str, int]:
        agents = sorted({run.agent for run in self.runs})
        column = {agent: at for at, agent in enumerate(agents)}
        first = np.full(len(agents), min(run.start for run in self.runs), dtype=np.int64)
        ready: dict[int, Nanoseconds] = {-1: first}  # per launcher: when it could launch the next one
        ended: dict[int, Nanoseconds] = {}
        for _, starts, _, index in self.order:
            run = self.runs[index]
            if starts:
                moment = ready[run.launcher] + (run.start - run.since)
                for segment in self._gap(run):
                    if segment.kind == "self":
                        moment[column[segment.agent]] -= segment.end - segment.start
                ready[index] = ended[index] = moment
                continue
            moment = np.maximum.reduce([ended[index], *(ended[child] for child in run.joined)])
            own = run.end - (self.runs[run.last].end if run.last >= 0 else run.start)
            moment = moment + own
            moment[column[run.agent]] -= own
            ended[index] = moment
            ready[run.launcher] = np.maximum(ready[run.launcher], moment)
            ready[index] = np.maximum(ready[index], moment)
        finish = np.maximum.reduce([ended[index] for index in self.roots])
        last = max(run.end for run in self.runs)
        return {agent: last - int(finish[at]) for agent, at in column.items()}

    def _gap(self, run: _Run) -> list[_Segment]:
        """Whose time it was between the moment `run` waited for and its start."""
        launcher = self.runs[run.launcher] if run.launcher >= 0 else None
        waits_from = run.since if launcher is None or launcher.end <= run.since else max(run.since, run.asked)
        waiting = _Segment(run.run_id, run.agent, "waiting", waits_from, run.start)
        if launcher is None or waits_from <= run.since:
            return [waiting]
        return [_Segment(launcher.run_id, launcher.agent, "self", run.since, waits_from), waiting]

    def _launcher(self, index: int) -> int:
        run = self.runs[index]
        up, seen = run.parent, {index}
        while up >= 0 and self.runs[up].start > run.start and up not in seen:
            seen.add(up)
            up = self.runs[up].parent
        if up >= 0 and up not in seen and (self.runs[up].start, up) < (run.start, index):
            return up
        source = run.source
        return source if source >= 0 and (self.runs[source].start, source) < (run.start, index) else -1

    def _place(self, index: int) -> None:
        """The depth of a run, and the nearest enclosing run that outlasted it, which waited for it."""
        run = self.runs[index]
        run.depth = self.runs[run.launcher].depth + 1 if run.launcher >= 0 else 0
        up, seen = run.parent, {index}
        while up >= 0 and up not in seen:
            seen.add(up)
            if (self.runs[up].start, up) < (run.start, index) and self.runs[up].end >= run.end:
                self.runs[up].joined.append(index)
                return
            up = self.runs[up].parent
        self.roots.append(index)

    def _sweep(self) -> None:
        """For every start the moment it waited for, for every end the last run it waited for."""
        since: dict[int, tuple[int, int]] = {-1: (min(run.start for run in self.runs), -1)}
        for at, starts, _, index in self.order:
            run = self.runs[index]
            if starts:
                run.since, run.after = since[run.launcher]
                since[index] = (at, -1)
                continue
            run.last = max(run.joined, key=lambda i: (self.runs[i].end, i), default=-1)
            since[run.launcher] = since[index] = (at, index)


def _sessions(runs: pl.DataFrame, handoffs: pl.DataFrame | None) -> Iterator[tuple[str, _Moments]]:
    """Runs of no length carry no time; what they launched belongs to whoever launched them."""
    columns = ["session_id", "run_id", "parent_run_id", "agent", "started_at", "ended_at"]
    ordered = (
        runs.select(columns)
        .with_columns(pl.col("started_at", "ended_at").dt.epoch("ns"))
        .unique(["session_id", "run_id"], keep="first", maintain_order=True)
        .sort("session_id", "started_at", "ended_at", "run_id", descending=[False, False, True, False])
    )
    asked = _asked(handoffs)
    for (session,), group in ordered.group_by("session_id", maintain_order=True):
        rows = group.rows()
        above = {run_id: parent for _, run_id, parent, *_ in rows}
        kept = [row for row in rows if row[4] < row[5]]
        index = {row[1]: at for at, row in enumerate(kept)}
        listed = []
        for _, run_id, parent, agent, start, end in kept:
            source, at = asked.get((str(session), run_id), ("", start))
            listed.append(
                _Run(
                    run_id=run_id,
                    agent=agent,
                    start=start,
                    end=end,
                    parent=_nearest(parent, above, index),
                    source=_nearest(source, above, index),
                    asked=min(at, start),
                )
            )
        if listed:
            yield str(session), _Moments(listed)


def _asked(handoffs: pl.DataFrame | None) -> Mapping[tuple[str, str], tuple[str, int]]:
    """Per run that was handed to: the run that asked, and when; the earliest handoff counts."""
    if handoffs is None or handoffs.is_empty():
        return {}
    rows = (
        handoffs.filter(pl.col("target_run_id").fill_null("") != "")
        .sort("at", "source_run_id", descending=True)
        .select("session_id", "target_run_id", pl.col("source_run_id").fill_null(""), pl.col("at").dt.epoch("ns"))
        .rows()
    )
    return {(session, target): (source, at) for session, target, source, at in rows}


def _nearest(run_id: str | None, above: Mapping[str, str | None], index: Mapping[str, int]) -> int:
    seen: set[str] = set()
    while run_id and run_id not in index and run_id in above and run_id not in seen:
        seen.add(run_id)
        run_id = above[run_id]
    return index.get(run_id or "", -1)
