"""Edges that nothing tells outright: what ran inside a run was called by it; what ran beside it came before, at the
same time, or after. Runs that overlap are never put in an order."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from . import names
from .attribution import ModelCalls
from .runs import Run, Runs
from .spans import Spans

if TYPE_CHECKING:
    from .handoff_signs import Evidence
    from .handoffs import Found

JOINED: Final = 0.8  # times the confidence: one of several that ended before, who was waited for is not told
UNNAMED_TOOL: Final = 0.75  # times the confidence: in the time of a tool call that does not name the agent


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all sessions are searched with, taken from the spans once."""

    tools: Mapping[tuple[str, int], list[int]]  # by trace and the caller's parent run: tool calls that hold no run
    nodes: Mapping[int, set[str]]  # per run the graph nodes of its spans
    node_parents: Mapping[int, set[str]]
    strangers: Mapping[str, list[int]]  # by trace when nobody we know called a model, ascending

    @staticmethod
    def of(spans: Spans, runs: Runs, calls: ModelCalls) -> Surroundings:
        anchors = spans.mask([row for run in runs for row in run.anchors])
        silent = spans.of_kind("tool") & ~spans.forest.below(anchors) & ~anchors & (runs.of_span >= 0)
        tools: dict[tuple[str, int], list[int]] = defaultdict(list)
        for row in np.flatnonzero(silent).tolist():
            tools[spans.trace[row], runs[int(runs.of_span[row])].parent].append(row)
        nodes, parents = (_by_run(spans, runs, column) for column in ("NodeId", "NodeParentId"))
        strangers: dict[str, list[int]] = defaultdict(list)
        loose = calls.rows[runs.of_span[calls.rows] < 0]
        for row in loose[np.argsort(spans.start[loose], kind="stable")].tolist():
            strangers[spans.trace[row]].append(spans.starts[row])
        return Surroundings(tools, nodes, parents, strangers)


def _by_run(spans: Spans, runs: Runs, column: str) -> dict[int, set[str]]:
    values = spans.frame[column].to_numpy()
    found: dict[int, set[str]] = defaultdict(set)
    if (values != "").any():
        for run in runs:
            found[run.number] |= {values[row] for row in run.anchors} - {""}
    return found


def explain_by_neighbours(found: Found, around: Surroundings) -> None:
    """Edges for the runs that `found` does not explain yet."""
    lent = _called_beside(found, around)
    inside: dict[tuple[int, int], list[Run]] = defaultdict(list)
    outside: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in found.runs:
        if run.number in lent:
            continue
        if run.parent >= 0:
            inside[run.parent, _branch(found, run)].append(run)
        else:
            outside[("team", run.team) if run.team else ("trace", found.spans.trace[run.row])].append(run)
    hinted = _graph_parents(found, around)
    for runs in outside.values():
        _in_order(found, _scope(found.spans, runs, -1), hinted, around)
    for (parent, _), runs in sorted(inside.items()):
        caller = found.all[parent]
        if caller.container:
            continue
        scope = _scope(found.spans, runs, caller.row)
        if not is_check(found.spans, runs[0]):
            for run in _ends(found, scope, _first):
                if not found.explains(run):
                    found.add(caller, run, "structure", "return_to_caller")
        _in_order(found, scope, hinted, around)
    for run in found.runs:
        if run.container:
            _in_order(found, _contents(found, run), hinted, around)
    for run in found.runs:
        before = hinted.get(run.number)
        if before is None or found.explains(run) or found.spans.framework[run.row] == "crewai":
            continue  # CrewAI's parent is who stands before the agent in the crew: it bears an order out, it makes none
        found.add(before, run, "graph_hint", "return_to_caller" if before.end > run.start else "pass_control")


def is_check(spans: Spans, run: Run) -> bool:
    """An agent run inside a guardrail or an evaluator judges; nobody handed over to it."""
    return any(spans.kind[row] in ("guardrail", "evaluator") for row in spans.forest.path(run.row))


def _branch(found: Found, run: Run) -> int:
    """The tool of the parent run under which the run is, else the span just inside its step: what ran under another one
    was called apart, also in one step of the parent."""
    path, anchors = found.spans.forest.path(run.row), set(found.all[run.parent].anchors)
    inside = [place for place, row in enumerate(path) if row in anchors]
    if not inside:
        return -1 - run.number
    between = path[inside[-1] + 1 :]
    kind = found.spans.kind
    within = next((row for row in between if kind[row] != "step"), between[-1])
    return next((row for row in between[:-1] if kind[row] in ("tool", "handoff")), within)


def _called_beside(found: Found, surroundings: Surroundings) -> set[int]:
    """Agents-as-tools that an emitter shows beside their caller: within the time of a tool call that names them, or
    that could have called nobody else. Returns the runs so explained."""
    spans, around = found.spans, _around(found, surroundings.tools)
    used: set[int] = set()
    lent: set[int] = set()

    def lend(run: Run, row: int, weight: float) -> None:
        found.add(found.all[int(found.all.of_span[row])], run, "structure", "return_to_caller", row=row, weight=weight)
        used.add(row)
        lent.add(run.number)

    for run in found.runs:
        named = [
            row for row in around.get(run.number, ()) if row not in used and _names(spans.text("ToolName", row), run)
        ]
        if named:
            lend(run, named[0], 1.0)
    left = [run for run in found.runs if run.number in around and run.number not in lent]
    for run in left:
        rows = [row for row in around[run.number] if row not in used]
        if len(rows) == 1 and sum(rows[0] in around[other.number] for other in left) == 1:
            lend(run, rows[0], UNNAMED_TOOL)
    return lent


def _around(found: Found, tools: Mapping[tuple[str, int], list[int]]) -> dict[int, list[int]]:
    """Per unexplained run the tool calls of runs beside it that lasted as long as it did."""
    spans = found.spans
    around: dict[int, list[int]] = {}
    beside: dict[tuple[str, int], list[Run]] = defaultdict(list)
    for run in found.runs:
        if (place := (spans.trace[run.row], run.parent)) in tools and not found.explains(run):
            beside[place].append(run)
    for place, runs in beside.items():
        shortest = min(run.end - run.start for run in runs)
        long_enough = [row for row in tools[place] if spans.ends[row] - spans.starts[row] >= shortest]
        waiting = sorted(long_enough, key=lambda row: (spans.starts[row], row), reverse=True)
        begun: list[int] = []
        for run in runs:
            while waiting and spans.starts[waiting[-1]] <= run.start:
                begun.append(waiting.pop())
            begun = [row for row in begun if spans.ends[row] >= run.start]
            lasting = (row for row in begun if spans.ends[row] >= run.end)
            around[run.number] = [row for row in lasting if found.all.of_span[row] != run.number]
    return around


def _names(tool: str, run: Run) -> bool:
    return re.search(rf"(?:^|_){re.escape(names.key(run.name))}(?:_|$)", names.key(tool)) is not None


# -- scopes and their order -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Scope:
    """A run, or a span that holds several of them in different branches."""

    row: int  # the outermost span of it within the scope around it
    runs: list[Run]
    parts: list[_Scope] = field(default_factory=list)
    time: tuple[int, int] = field(init=False)  # from the first start to the last end

    def __post_init__(self) -> None:
        self.time = min((run.start for run in self.runs), default=0), max((run.end for run in self.runs), default=0)


def _scope(spans: Spans, runs: list[Run], below: int) -> _Scope:
    """The runs as nested scopes, seen from the span `below` (-1: from outside)."""
    paths = {run.number: _path(spans, run, below) for run in runs}

    def build(members: list[Run], depth: int, top: int) -> _Scope:
        if len(members) == 1:
            return _Scope(top if top >= 0 else members[0].row, members)
        while True:
            groups: dict[int, list[Run]] = defaultdict(list)
            for run in members:
                path = paths[run.number]
                groups[path[depth] if depth < len(path) else -1 - run.number].append(run)
            if len(groups) > 1:
                parts = [build(group, depth + 1, row if row >= 0 else group[0].row) for row, group in groups.items()]
                return _Scope(top, members, parts)
            depth, top = depth + 1, top if top >= 0 else next(iter(groups))

    return build(runs, 0, -1)


def _path(spans: Spans, run: Run, below: int) -> list[int]:
    path = spans.forest.path(run.row)
    return path[path.index(below) + 1 :] if below in path else path


def _contents(found: Found, container: Run) -> _Scope:
    return _scope(found.spans, [run for run in found.runs if run.parent == container.number], container.row)


def _stages(spans: Spans, parts: list[_Scope]) -> tuple[list[list[_Scope]], Evidence]:
    """Parts that ran at the same time share a stage: those of one graph step where that is told, else who overlaps."""
    steps = [spans.hint("langgraph_step")[part.row] for part in parts]
    if all(step.isdigit() for step in steps):
        by_step: dict[int, list[_Scope]] = defaultdict(list)
        for step, part in zip(steps, parts, strict=True):
            by_step[int(step)].append(part)
        return [by_step[step] for step in sorted(by_step)], "graph_hint"
    stages: list[list[_Scope]] = []
    until = 0
    for part in sorted(parts, key=_span_of_time):
        start, end = part.time
        if stages and start < until:
            stages[-1].append(part)
        else:
            stages.append([part])
        until = max(until, end)
    return stages, "sequence"


def _span_of_time(part: _Scope) -> tuple[int, int]:
    return part.time


def _first(stages: list[list[_Scope]]) -> list[_Scope]:
    return stages[0]


def _last(stages: list[list[_Scope]]) -> list[_Scope]:
    return stages[-1]


def _ends(found: Found, scope: _Scope, end: Callable[[list[list[_Scope]]], list[_Scope]]) -> list[Run]:
    """The runs a scope begins or ends with; a container stands for those inside of it."""
    if scope.parts:
        return [run for part in end(_stages(found.spans, scope.parts)[0]) for run in _ends(found, part, end)]
    run = scope.runs[0]
    return _ends(found, _contents(found, run), end) if run.container else [run]


def _in_order(found: Found, scope: _Scope, hinted: Mapping[int, Run], around: Surroundings) -> None:
    """Edges from every stage of a scope to the next one, for the runs that nothing stronger explains. Where somebody
    unknown worked in between, they follow that one, not each other."""
    if scope.parts:
        stages, evidence = _stages(found.spans, scope.parts)
        for part in scope.parts:
            _in_order(found, part, hinted, around)
        joined = _joined_at(found, stages)
        for before, after in pairwise(stages):
            if evidence == "sequence" and _stranger_between(found, before, after, around):
                continue
            sources = [run for part in before for run in _ends(found, part, _last)]
            held = {
                run for run, joins in joined.items() if after not in joins
            }  # those led to the join and nowhere else
            for part in after:
                waited = _waited_for(found, part, stages)
                led = [run for run in sources if run.number not in held]
                if not waited and len(sources) > 1 and len(after) > 1:
                    continue  # several to several: who goes with whom is not told
                for target in _ends(found, part, _first):
                    if not found.explains(target):
                        _joined(found, target, waited, led or sources, evidence, hinted.get(target.number))


def _stranger_between(found: Found, before: list[_Scope], after: list[_Scope], around: Surroundings) -> bool:
    ended, begun = max(part.time[1] for part in before), min(part.time[0] for part in after)
    traces = {found.spans.trace[part.runs[0].row] for part in (*before, *after)}
    calls = [around.strangers.get(trace, []) for trace in traces]
    return any(bisect_left(times, ended) < bisect_left(times, begun) for times in calls)


def _joined(
    found: Found, target: Run, waited: list[Run], sources: list[Run], evidence: Evidence, hint: Run | None
) -> None:
    """Edges into `target` from those it waited for, else from whom its node names, else from all that ended before it.
    AutoGen and CrewAI name one predecessor however many there were."""
    if hint in sources and found.spans.framework[target.row] not in ("autogen", "crewai"):
        sources = [hint]
    for source in waited or sources:
        told = bool(waited) or source is hint
        weight = 1.0 if told or len(sources) == 1 else JOINED
        found.add(source, target, "graph_hint" if told else evidence, "pass_control", weight=weight)


def _joined_at(found: Found, stages: list[list[_Scope]]) -> dict[int, list[list[_Scope]]]:
    """Per run that a join waits for the stages of those joins."""
    triggers = found.spans.hint("langgraph_triggers")
    joined: dict[int, list[list[_Scope]]] = defaultdict(list)
    for stage in stages:
        for part in stage:
            if "join:" in triggers[part.row]:
                for run in _waited_for(found, part, stages):
                    joined[run.number].append(stage)
    return joined


def _waited_for(found: Found, part: _Scope, stages: list[list[_Scope]]) -> list[Run]:
    """LangGraph writes who is waited for into the trigger: `join:weather+hotels:aggregator`."""
    triggers = str(found.spans.hint("langgraph_triggers")[part.row])
    if "join:" not in triggers:
        return []
    waited = {
        names.key(names.node_name(node))
        for joined in re.findall(r"join:([^:\"']+):", triggers)
        for node in joined.split("+")
    }
    latest: dict[str, Run] = {}
    if waited:
        start = part.time[0]
        earlier = [other for stage in stages for other in stage if other.time[1] <= start]
        for other in sorted(earlier, key=_span_of_time):
            for run in _ends(found, other, _last):
                latest |= dict.fromkeys({names.key(run.name), *run.labels} & waited, run)
    return list({run.number: run for _, run in sorted(latest.items())}.values())


def _graph_parents(found: Found, around: Surroundings) -> dict[int, Run]:
    """Runs whose span names the graph node before its own, and that node is another run's."""
    trace = found.spans.trace
    at_node: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in found.runs:
        for node in around.nodes.get(run.number, ()):
            at_node[trace[run.row], node].append(run)
    hinted: dict[int, Run] = {}
    for run in found.runs:
        for parent in around.node_parents.get(run.number, ()):
            others = at_node.get((trace[run.row], parent), [])
            before = others[: bisect_right(others, run.start, key=lambda other: other.start)]
            if other := next((other for other in reversed(before) if other is not run), None):
                hinted[run.number] = other
    return hinted
