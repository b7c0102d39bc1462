"""The chain of runs that made a session as long as it was, and how much shorter it could have been.

A session is a graph of moments. A run starts once whoever launched it is ready: after the last sibling that had ended
by then, plus the launcher's own time since. It ends after the last of its children, plus its own time since. Walking
those dependencies back from the end gives the critical path; replaying them forward with one agent's own time set to
nothing gives what fixing that agent would save at most, with the other branches taking over as they would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np
import polars as pl

_Segment: TypeAlias = tuple[str, str, str, int, int]  # run, agent, kind, start, end

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
    return _segments((session, moments.path) for session, moments in _sessions(runs, handoffs))


def savings(runs: pl.DataFrame, handoffs: pl.DataFrame | None = None) -> pl.DataFrame:
    """How much earlier each session would have ended had an agent's own time been nothing: no fix can save more."""
    return _saved((session, moments.savings()) for session, moments in _sessions(runs, handoffs))


def path_and_savings(runs: pl.DataFrame, handoffs: pl.DataFrame | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`critical_path` and `savings`, each session taken apart once."""
    found = list(_sessions(runs, handoffs))
    paths = _segments((session, moments.path) for session, moments in found)
    return paths, _saved((session, moments.savings()) for session, moments in found)


def _segments(paths: Iterable[tuple[str, Sequence[_Segment]]]) -> pl.DataFrame:
    segments = [(session, *segment) for session, path in paths for segment in path]
    return _table(segments, SEGMENTS).with_columns(
        duration_ns=(pl.col("ended_at") - pl.col("started_at")).dt.total_nanoseconds()
    )


def _saved(sessions: Iterable[tuple[str, Mapping[str, int]]]) -> pl.DataFrame:
    return _table([(session, *saved) for session, agents in sessions for saved in agents.items()], SAVINGS)


def _table(rows: Sequence[tuple[Any, ...]], schema: Mapping[str, pl.DataType | type[pl.DataType]]) -> pl.DataFrame:
    """Made column by column, times from whole nanoseconds: much quicker than row by row."""
    columns = zip(*rows, strict=True) if rows else ((),) * len(schema)
    return pl.DataFrame(
        [
            pl.Series(name, column, dtype=pl.Int64).cast(dtype) if isinstance(dtype, pl.Datetime)
            else pl.Series(name, column, dtype=dtype)
            for (name, dtype), column in zip(schema.items(), columns, strict=True)
        ]
    )  # fmt: skip


@dataclass(slots=True)
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
    waits_from: int = 0  # from here to its start nobody was at work; from `since` to here its launcher was
    joined: list[int] = field(default_factory=list)  # runs whose end this one waits for
    last: int = -1  # the one of them that ended last


class _Moments:
    """The starts and ends of one session's runs in an order that respects what waits for what."""

    def __init__(self, runs: Sequence[_Run]) -> None:
        """runs: by start, so that a run comes after its launcher."""
        self.runs = runs
        self.roots: list[int] = []  # runs whose end only the session waits for
        self.order: list[tuple[int, int, int, int]] = []
        for index, run in enumerate(runs):
            if run.parent >= 0 or run.source >= 0:
                run.launcher = self._launcher(index)
                run.depth = runs[run.launcher].depth + 1 if run.launcher >= 0 else 0
            self._join(index)
            self.order += ((run.end, 0, -run.depth, index), (run.start, 1, run.depth, index))
        self.order.sort()
        self.first, self.last = runs[0].start, self.order[-1][0]
        self._sweep()
        self.path, self.serial = self._back_from_the_end()

    def savings(self) -> Mapping[str, int]:
        """Nothing for agents that are not on the path."""
        critical: dict[str, int] = {}
        for _, agent, kind, start, end in self.path:
            if kind == "self":
                critical[agent] = critical.get(agent, 0) + end - start
        saved = dict.fromkeys(sorted({run.agent for run in self.runs}), 0)
        return saved | (critical if self.serial else self._replays(list(critical)))

    def _back_from_the_end(self) -> tuple[list[_Segment], bool]:
        """The path, and whether it leads through every start and end: then there is nothing that could take over."""
        runs, passed, segments = self.runs, 0, list[_Segment]()
        index, at_end = self._last_of(self.roots), True
        while index >= 0:
            run = runs[index]
            passed += 1
            if at_end:
                since = runs[run.last].end if run.last >= 0 else run.start
                segments.append((run.run_id, run.agent, "self", since, run.end))
                index, at_end = (run.last, True) if run.last >= 0 else (index, False)
                continue
            segments.append((run.run_id, run.agent, "waiting", run.waits_from, run.start))
            if run.waits_from > run.since:
                launcher = runs[run.launcher]
                segments.append((launcher.run_id, launcher.agent, "self", run.since, run.waits_from))
            index, at_end = (run.after, True) if run.after >= 0 else (run.launcher, False)
        return [segment for segment in reversed(segments) if segment[3] < segment[4]], passed == len(self.order)

    def _replays(self, agents: Sequence[str]) -> dict[str, int]:
        """Per agent how much earlier the session would have ended without its own time. Whole numbers are quicker for
        few agents; for many, arrays of all of them."""
        if len(agents) <= _FEW:
            return {agent: self.last - self._replayed(self.first, partial(_if_of, agent), max) for agent in agents}
        column = {agent: at for at, agent in enumerate(agents)}

        def left_out(agent: str, own: int) -> Any:
            vector = np.zeros(len(agents), dtype=np.int64)
            if agent in column:
                vector[column[agent]] = own
            return vector

        ended = self._replayed(np.full(len(agents), self.first, dtype=np.int64), left_out, np.maximum)
        return dict(zip(agents, (self.last - ended).tolist(), strict=True))

    def _replayed(self, first: Any, left_out: Callable[[str, int], Any], later: Callable[[Any, Any], Any]) -> Any:
        """When a session that began at `first` would have ended without what is `left_out` of an agent's own time."""
        runs = self.runs
        ready: list[Any] = [first] * (len(runs) + 1)  # per launcher: when it could launch the next one; last: session
        ended: list[Any] = [first] * len(runs)
        for _, starts, _, index in self.order:
            run = runs[index]
            if starts:
                moment = ready[run.launcher] + (run.start - run.since)
                if run.waits_from > run.since:
                    moment = moment - left_out(runs[run.launcher].agent, run.waits_from - run.since)
                ready[index] = ended[index] = moment
                continue
            moment = ended[index]
            for child in run.joined:
                moment = later(moment, ended[child])
            own = run.end - (runs[run.last].end if run.last >= 0 else run.start)
            moment = moment + own - left_out(run.agent, own)
            ended[index] = moment
            ready[run.launcher] = later(ready[run.launcher], moment)
            ready[index] = later(ready[index], moment)
        finish = first
        for index in self.roots:
            finish = later(finish, ended[index])
        return finish

    def _launcher(self, index: int) -> int:
        run = self.runs[index]
        up, seen = run.parent, {index}
        while up >= 0 and self.runs[up].start > run.start and up not in seen:
            seen.add(up)
            up = self.runs[up].parent
        if up not in seen and 0 <= up < index:
            return up
        return run.source if run.source < index else -1

    def _join(self, index: int) -> None:
        """The nearest enclosing run that outlasted this one waited for it."""
        run = self.runs[index]
        up, seen = run.parent, {index}
        while up >= 0 and up not in seen:
            above = self.runs[up]
            if up < index and above.end >= run.end:
                above.joined.append(index)
                if above.last < 0 or self.runs[above.last].end <= run.end:
                    above.last = index
                return
            seen.add(up)
            up = above.parent
        self.roots.append(index)

    def _last_of(self, indexes: Iterable[int]) -> int:
        return max(indexes, key=lambda index: (self.runs[index].end, index))

    def _sweep(self) -> None:
        """For every start the moment it waited for, for every end the last run it waited for."""
        runs = self.runs
        since = [(self.first, -1)] * (len(runs) + 1)  # the last is the session's
        for at, starts, _, index in self.order:
            run = runs[index]
            if starts:
                run.since, run.after = since[run.launcher]
                busy = run.launcher >= 0 and runs[run.launcher].end > run.since
                run.waits_from = max(run.since, run.asked) if busy else run.since
                since[index] = (at, -1)
            else:
                since[run.launcher] = since[index] = (at, index)


_FEW = 8


def _if_of(agent: str, other: str, own: int) -> int:
    return own if other == agent else 0


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
    for session, group in groupby(_rows(ordered), key=itemgetter(0)):
        rows = list(group)
        above = {row[1]: row[2] for row in rows}
        kept = [row for row in rows if row[4] < row[5]]
        index = {row[1]: at for at, row in enumerate(kept)}
        listed = []
        for _, run_id, parent, agent, start, end in kept:
            source, at = asked.get((session, run_id), ("", start))
            listed.append(
                _Run(
                    run_id,
                    agent,
                    start,
                    end,
                    _nearest(parent, above, index) if parent else -1,
                    _nearest(source, above, index) if source else -1,
                    min(at, start),
                )
            )
        if listed:
            yield session, _Moments(listed)


def _asked(handoffs: pl.DataFrame | None) -> Mapping[tuple[str, str], tuple[str, int]]:
    """Per run that was handed to: the run that asked, and when; the earliest handoff counts."""
    if handoffs is None or handoffs.is_empty():
        return {}
    told = (
        handoffs.filter(pl.col("target_run_id").fill_null("") != "")
        .sort("at", "source_run_id", descending=True)
        .select("session_id", "target_run_id", pl.col("source_run_id").fill_null(""), pl.col("at").dt.epoch("ns"))
    )
    return {(session, target): (source, at) for session, target, source, at in _rows(told)}


def _rows(table: pl.DataFrame) -> Iterator[tuple[Any, ...]]:
    """Made column by column, which is quicker than row by row."""
    return zip(*(column.to_list() for column in table), strict=True)


def _nearest(run_id: str | None, above: Mapping[str, str | None], index: Mapping[str, int]) -> int:
    seen: set[str] = set()
    while run_id and run_id not in index and run_id in above and run_id not in seen:
        seen.add(run_id)
        run_id = above[run_id]
    return index.get(run_id or "", -1)
