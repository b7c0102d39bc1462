"""Agent runs: from spans to "this agent worked from here to there", with the name a person would use."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from . import names
from .attribution import ModelCalls
from .forest import Ints
from .run_rules import Draft, draft_runs
from .spans import Spans

# How sure a name is, surest first: of several spellings the surest is shown.
NAME_EVIDENCE: Final = (
    "agent_name", "graph_agent", "graph_node", "tool_argument", "step_content", "class_name", "system_prompt",
    "span_name",
)  # fmt: skip


@dataclass(slots=True)
class Run:
    """One run of one agent, from the first to the last of the spans that anchor it."""

    number: int
    name: str
    evidence: str  # how the name was found, one of NAME_EVIDENCE
    row: int  # the span the run is identified by
    anchors: list[int]
    start: int
    end: int
    parent: int = -1  # number of the run this one happened inside of
    container: bool = False  # it only orders the runs inside of it
    lost: bool = False  # the span around it never arrived
    labels: frozenset[str] = (
        frozenset()
    )  # keys of other names it goes by: its node, its id, the team it is the entry of
    team: str = ""  # AutoGen's team


@dataclass(frozen=True, slots=True)
class Runs:
    """All runs, numbered by start."""

    runs: list[Run]
    of_span: Ints  # per span the number of its run, -1 for none
    doer: Ints  # per span the number of the run that made it: as `of_span`, but a delegation is its caller's doing

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    def __getitem__(self, number: int) -> Run:
        return self.runs[number]

    def __len__(self) -> int:
        return len(self.runs)


def agent_runs(spans: Spans, calls: ModelCalls, session_of_trace: Mapping[str, str]) -> Runs:
    """All agent runs in `spans`."""
    draft = draft_runs(spans, calls)
    rows: dict[int, list[int]] = defaultdict(list)
    for row in draft.rows():
        rows[int(draft.anchor[row])].append(row)
    first = {
        number: min(of, key=lambda row: (spans.starts[row], int(spans.forest.depth[row]), row)) if of[1:] else of[0]
        for number, of in rows.items()
    }
    order = sorted(rows, key=lambda number: (spans.starts[first[number]], first[number]))
    place_of = {number: place for place, number in enumerate(order)}
    anchor = np.array([place_of.get(number, -1) for number in draft.anchor.tolist()], dtype=np.int64)
    nearest = spans.forest.nearest(draft.anchored)
    of_span = np.where(nearest >= 0, anchor[nearest], -1)
    runs = [
        Run(
            number=place, name=draft.names[number], evidence=draft.evidence[number], row=first[number],
            anchors=rows[number],
            start=min(map(spans.starts.__getitem__, rows[number])), end=max(map(spans.ends.__getitem__, rows[number])),
            parent=_outside(spans, anchor, first[number], place), labels=_labels(spans, anchor, first[number]),
            team=_team(spans, first[number]),
        )
        for place, number in enumerate(order)
    ]  # fmt: skip
    delegated = np.array([run.evidence == "tool_argument" for run in runs] + [False], dtype=np.bool_)
    found = Runs(runs, of_span, np.where(draft.anchored & delegated[of_span], _above(spans, anchor), of_span))
    _mark_containers(spans, calls, draft, found)
    _adopt_lost(spans, found)
    _spell_alike(spans, found, session_of_trace)
    return found


def _above(spans: Spans, anchor: Ints) -> Ints:
    above = spans.forest.nearest(anchor >= 0, own=False)
    return np.where(above >= 0, anchor[above], -1)


def _outside(spans: Spans, anchor: Ints, row: int, place: int) -> int:
    """The run around the span `row`, past other anchors of its own run."""
    return next(
        (int(anchor[above]) for above in reversed(spans.forest.path(row)) if anchor[above] not in (-1, place)), -1
    )


def _labels(spans: Spans, anchor: Ints, row: int) -> frozenset[str]:
    """Keys of the names around a run: its id, its node, and the teams or graphs it is inside of, up to the next run or
    the tool that it was called by."""
    found = {names.key(names.clean(spans.text("AgentId", row)))}
    path = spans.forest.path(row)
    outer = [place for place, above in enumerate(path[:-1]) if anchor[above] >= 0 or spans.kind[above] == "tool"]
    for above in path[outer[-1] + 1 if outer else 0 :]:
        node = spans.hint("langgraph_checkpoint_ns")[above].rsplit("|", 1)[-1]
        found |= _keys(spans.called[above], spans.own_name[above], node)
    return frozenset(found - {""})


@lru_cache(maxsize=16_384)
def _keys(called: str, own_name: str, node: str) -> frozenset[str]:
    return frozenset(map(names.key, (called, own_name, node.split(":", 1)[0], names.node_name(node))))


_TEAM: Final = re.compile(r"_([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})[./]")


def _team(spans: Spans, row: int) -> str:
    """AutoGen: the team of the agent, in its own id or in that of the mailbox it got its message from."""
    if spans.framework[row] != "autogen":
        return ""
    mailboxes = (spans.hint("messaging.destination")[above] for above in reversed(spans.forest.path(row)))
    found = (_TEAM.search(name) for name in (spans.text("AgentId", row), *mailboxes))
    return next((match.group(1) for match in found if match), "")


def _mark_containers(spans: Spans, calls: ModelCalls, draft: Draft, runs: Runs) -> None:
    """Google ADK's workflow agents are told as agents, but call no model and no tool: they order those inside."""
    works = spans.mask(calls.rows) | (spans.of_kind("tool", "handoff") & ~draft.anchored)
    busy = set(runs.of_span[works].tolist())
    holding = {run.parent for run in runs}
    for run in runs:
        run.container = run.number in holding - busy and spans.framework[run.row] == "google_adk"


def _adopt_lost(spans: Spans, runs: Runs) -> None:
    """A run whose parent span was lost happened inside the narrowest run of its trace that lasted as long."""
    lost = [run for run in runs if run.parent < 0 and spans.text("ParentSpanId", spans.forest.path(run.row)[0])]
    traces = {spans.trace[run.row] for run in lost}
    by_trace: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if spans.trace[run.row] in traces:
            by_trace[spans.trace[run.row]].append(run)
    for own in by_trace.values():
        begun: list[Run] = []
        for run in own:
            begun = [other for other in begun if other.end >= run.start]
            if run.parent < 0 and spans.text("ParentSpanId", spans.forest.path(run.row)[0]):
                lasting = (other for other in begun if other.end >= run.end and not _is_inside(runs, other, run))
                around = min(lasting, key=lambda other: (other.end - other.start, other.number), default=None)
                if around is not None:
                    run.parent, run.lost = around.number, True
            begun.append(run)


def _is_inside(runs: Runs, run: Run, other: Run) -> bool:
    while run.parent >= 0:
        run = runs[run.parent]
        if run is other:
            return True
    return False


def _spell_alike(spans: Spans, runs: Runs, session_of_trace: Mapping[str, str]) -> None:
    """One agent, one name in a session: of several spellings the surest, then the most frequent."""
    spellings: dict[tuple[str, str], Counter[tuple[int, str]]] = defaultdict(Counter)
    for run in runs:
        rank = NAME_EVIDENCE.index(run.evidence)
        spellings[session_of_trace[spans.trace[run.row]], names.key(run.name)][rank, run.name] += 1
    for run in runs:
        told = spellings[session_of_trace[spans.trace[run.row]], names.key(run.name)]
        run.name = min(told, key=lambda spelling: (spelling[0], -told[spelling], spelling[1]))[1]
