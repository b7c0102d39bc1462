"""Handoff edges: who handed over to whom, how that was seen, and how far it can be trusted.

Edges are looked for from the strongest evidence to the weakest; what a stronger one explains is not explained again.

explicit    a span or a link says source and target
tool_name   a transfer tool was called, in a span or in the model's answer
message     a message was routed from one agent to the other
graph_hint  the framework's graph names the predecessor (a node's parent, step or trigger)
structure   an agent ran inside another's run
sequence    an agent started when the ones before it had ended, and nothing else says why
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, takewhile
from types import MappingProxyType
from typing import Final

from . import names
from .attribution import ModelCalls
from .forest import Flags
from .handoff_signs import Carrier, Evidence, Mode, Sign, routes, signs
from .neighbours import Surroundings, explain_by_neighbours
from .runs import Run, Runs
from .spans import Spans

# How often an edge of this evidence should be right; docs/handoffs.md has what was measured.
CONFIDENCE: Final[Mapping[Evidence, float]] = MappingProxyType(
    {"explicit": 1.0, "tool_name": 0.95, "message": 0.9, "graph_hint": 0.85, "structure": 0.8, "sequence": 0.6}
)
GUESSED: Final = 0.9  # times that: the source is told, the target is only who came next
_STRENGTH: Final = {evidence: place for place, evidence in enumerate(CONFIDENCE)}


@dataclass(slots=True)
class Edge:
    """One transfer of control, or one call of another agent."""

    source: str
    target: str
    mode: Mode
    evidence: Evidence
    confidence: float
    at: int
    row: int  # the span that shows it
    source_run: int = -1
    target_run: int = -1
    handoff_id: str = ""
    outcome: str = ""
    context_hash: str = ""
    context_size: int | None = None
    connection_type: str = ""  # virtual_node: one end is a person


def handoff_edges(
    spans: Spans, calls: ModelCalls, runs: Runs, failed: Flags, session_of_trace: Mapping[str, str]
) -> list[Edge]:
    """All edges in `spans`, one a transfer, in time order."""
    runs_of: dict[str, list[Run]] = defaultdict(list)
    signs_of: dict[str, list[Sign]] = defaultdict(list)
    for run in runs:
        runs_of[session_of_trace[spans.trace[run.row]]].append(run)
    for sign in signs(spans, calls, runs, failed):
        signs_of[session_of_trace[spans.trace[sign.row]]].append(sign)
    routed, around = routes(spans, runs), Surroundings.of(spans, runs, calls)
    edges: list[Edge] = []
    for session in sorted({*runs_of, *signs_of}):
        found = Found(spans, runs, runs_of[session])
        _explain_by_links(found)
        _explain_by_signs(found, signs_of[session])
        _explain_by_callers(found)
        _explain_by_predecessors(found)
        _explain_by_routes(found, routed)
        explain_by_neighbours(found, around)
        edges += found.edges
    for edge in edges:
        edge.outcome = edge.outcome or _outcome(runs, failed, edge)
    return sorted(
        (edge for edge in edges if edge.source and edge.target),
        key=lambda edge: (edge.at, edge.row, edge.source_run, edge.target_run),
    )


class Found:
    """The edges of one session so far, and which of its runs they explain."""

    def __init__(self, spans: Spans, runs: Runs, own: list[Run]) -> None:
        self.spans, self.all = spans, runs
        self.runs = own  # of the session, by start
        self.edges: list[Edge] = []
        self.into: dict[int, list[Edge]] = defaultdict(list)
        self.carriers: dict[int, set[Carrier]] = defaultdict(set)
        self.led_nowhere: set[tuple[int, str]] = set()  # source run and target of transfers without a run
        self.to_people: dict[tuple[str, str], Counter[Carrier]] = defaultdict(Counter)  # by source and person
        self.by_name: dict[str, list[Run]] = defaultdict(list)
        self.by_label: dict[str, list[Run]] = defaultdict(list)
        self.by_function: dict[str, list[Run]] = defaultdict(list)
        self.by_id: dict[str, list[Run]] = defaultdict(list)
        for run in own:
            self.by_name[names.key(run.name)].append(run)
            self.by_function[names.function(run.name)].append(run)
            for label in run.labels:
                self.by_label[label].append(run)
            if handoff := spans.text("HandoffId", run.row):
                self.by_id[handoff].append(run)

    def called(self, name: str) -> list[Run]:
        """The runs of the agent of this name, else those that go by it or whose function is called so, by start."""
        key = names.key(name)
        return (
            self.by_name.get(key) or self.by_label.get(key) or ([] if self.is_unclear(name) else self._function(name))
        )

    def is_unclear(self, name: str) -> bool:
        """It is the function of several agents: all letters but Latin ones look alike in it."""
        return len({names.key(run.name) for run in self._function(name)}) > 1

    def _function(self, name: str) -> list[Run]:
        return self.by_function.get(names.function(name), [])

    def explains(self, run: Run) -> bool:
        return bool(self.into.get(run.number))

    def add(
        self, source: Run, target: Run, evidence: Evidence, mode: Mode, *, row: int | None = None, weight: float = 1.0
    ) -> None:
        """An edge between two runs; one agent going on by itself hands nothing over."""
        if source is target or (mode == "pass_control" and names.key(source.name) == names.key(target.name)):
            return
        moved = min(source.end, target.start) if mode == "pass_control" else target.start
        at = moved if row is None else self.spans.starts[row]
        confidence = CONFIDENCE[evidence] * weight
        self.keep(Edge(source.name, target.name, mode, evidence, confidence, at, target.row if row is None else row,
                       source.number, target.number))  # fmt: skip

    def keep(self, edge: Edge) -> None:
        self.edges.append(edge)
        if edge.target_run >= 0:
            self.into[edge.target_run].append(edge)
        else:
            self.led_nowhere.add((edge.source_run, names.key(edge.target)))


def _explain_by_links(found: Found) -> None:
    """Typed links at the receiving side: to the span that handed over, or to every branch that is joined."""
    spans = found.spans
    for run in found.runs:
        for row, kind in spans.links(run.row):
            source = int(found.all.of_span[row])
            if kind not in ("handoff", "agent_handoff", "join") or source in (-1, run.number):
                continue
            mode: Mode = "return_to_caller" if spans.text("TransferMode", row) == "return_to_caller" else "pass_control"
            found.add(found.all[source], run, "explicit", mode, row=None if kind == "join" else row)
            if kind != "join" and found.into[run.number]:
                _tell_more(found.into[run.number][-1], spans, row)


def _tell_more(edge: Edge, spans: Spans, row: int) -> None:
    """What the span that hands over says about what it passes on."""
    edge.handoff_id, edge.outcome = spans.text("HandoffId", row), spans.text("HandoffOutcome", row)
    edge.context_hash, edge.context_size = spans.text("ContextHash", row), spans.value("ContextSize", row)


# -- signs: each finds the run it led to ----------------------------------------------------------------------------


def _explain_by_signs(found: Found, told: list[Sign]) -> None:
    """What was done first, then what was answered and sent; each in time order."""
    late = {"span": 0, "tool": 0, "answer": 1, "message": 2}
    answers: dict[int, list[Sign]] = defaultdict(list)
    for sign in sorted(told, key=lambda sign: (sign.start, sign.row)):
        if sign.carrier == "answer":
            answers[sign.run].append(sign)
    for sign in sorted(told, key=lambda sign: (late[sign.carrier], sign.start, sign.row)):
        if not sign.target and sign.run >= 0:
            before = [answer for answer in answers.get(sign.run, ()) if answer.start <= sign.end]
            sign.target = before[-1].target if before else ""
        _explain_sign(found, sign)


def _explain_sign(found: Found, sign: Sign) -> None:
    source = found.all[sign.run] if sign.run >= 0 else None
    if sign.source and (source is None or names.key(source.name) != names.key(sign.source)):
        source = _last_before(found, sign.source, sign.start) or (source if _goes_by_node(found, sign) else None)
    if source is None and not sign.source:
        return
    if sign.target and not found.called(sign.target) and found.is_unclear(sign.target):
        sign.target = ""
    if sign.to_people and not found.called(sign.target):
        _hand_to_person(found, sign, source)
        return
    target = _by_id(found, sign) or _by_name(found, sign, source)
    guessed = target is None and not sign.target
    if guessed:
        target = _next_beside(found, sign, source)
    if target is not None and target is not source:
        _settle(found, sign, source, target, guessed)
    elif target is None and _is_worth_telling(found, sign, source):
        found.keep(_edge(found, sign, source, None))


def _goes_by_node(found: Found, sign: Sign) -> bool:
    """Graphs name nodes, which need not be called as their agents; who else names a source means that agent."""
    return sign.evidence != "explicit" or found.spans.framework[sign.row] in ("langgraph", "langchain")


def _hand_to_person(found: Found, sign: Sign, source: Run | None) -> None:
    """A person has no runs. What several carriers tell is one transfer, what one carrier tells again is another."""
    if sign.carrier == "answer" or sign.failed:
        return
    told = found.to_people[names.key(source.name if source else sign.source), names.key(sign.target)]
    known = max(told.values(), default=0)
    told[sign.carrier] += 1
    if told[sign.carrier] > known:
        found.keep(_edge(found, sign, source, None))


def _last_before(found: Found, name: str, at: int) -> Run | None:
    runs = found.called(name)
    place = bisect_right(runs, at, key=_start)
    return runs[place - 1] if place else None


def _start(run: Run) -> int:
    return run.start


def _since(runs: list[Run], at: int) -> Iterator[Run]:
    """Those of `runs`, which are sorted by start, that began at `at` or later."""
    return islice(runs, bisect_left(runs, at, key=_start), None)


def _by_id(found: Found, sign: Sign) -> Run | None:
    """The run that carries the same handoff id."""
    handoff = found.spans.text("HandoffId", sign.row) if sign.carrier in ("span", "tool") else ""
    return next((run for run in found.by_id.get(handoff, ()) if run.row != sign.row), None)


def _by_name(found: Found, sign: Sign, source: Run | None) -> Run | None:
    """The first run of the target that began since, that nobody else started, in the same trace or team."""
    if not sign.target:
        return None
    for run in _since(found.called(sign.target), sign.start):
        if run is source or not _in_reach(found, sign, source, run) or _lent(found, sign, source, run):
            continue
        others = [edge for edge in found.into[run.number] if source is None or edge.source_run != source.number]
        if others and len(others) == len(found.into[run.number]):
            continue
        if sign.mode == "return_to_caller":
            if run.start > sign.end:
                return None
            if sign.carrier in found.carriers[run.number]:
                continue
        elif names.key(run.name) == names.key(sign.source):
            continue
        return None if _begun_anew(found, sign, source, run) else run
    return None


def _in_reach(found: Found, sign: Sign, source: Run | None, run: Run) -> bool:
    if found.spans.trace[run.row] == found.spans.trace[sign.row] or sign.carrier == "message":
        return True
    return source is not None and run.team != "" and run.team == source.team


def _lent(found: Found, sign: Sign, source: Run | None, run: Run) -> bool:
    """The run is inside a tool of the source that is no transfer: it was called, control did not pass to it."""
    if source is None or sign.mode != "pass_control" or run.parent != source.number:
        return False
    path = found.spans.forest.path(run.row)[:-1]
    holding = next((row for row in reversed(path) if found.spans.kind[row] in ("tool", "handoff", "agent")), -1)
    return holding >= 0 and found.spans.kind[holding] == "tool"


def _begun_anew(found: Found, sign: Sign, source: Run | None, target: Run) -> bool:
    """The source itself was started again before `target`: what it had answered led nowhere."""
    if source is None or sign.carrier != "answer":
        return False
    later = takewhile(lambda run: run.start < target.start, _since(found.by_name[names.key(source.name)], sign.start))
    return any(run is not source and run.parent == source.parent for run in later)


def _next_beside(found: Found, sign: Sign, source: Run | None) -> Run | None:
    """The next run beside the source, if nothing else explains it."""
    if source is None:
        return None
    trace, own = found.spans.trace, names.key(source.name)
    near = (
        run
        for run in _since(found.runs, sign.end)
        if run.parent == source.parent and trace[run.row] == trace[source.row] and names.key(run.name) != own
    )
    return next((run for run in near if not found.explains(run)), None)


def _settle(found: Found, sign: Sign, source: Run | None, target: Run, guessed: bool) -> None:
    """Keep the sign as the edge into `target`, or let it strengthen the edge that is already there."""
    found.carriers[target.number].add(sign.carrier)
    number = source.number if source else -1
    for edge in found.into[target.number]:
        if edge.source_run == number or names.key(edge.source) == names.key(sign.source):
            if _STRENGTH[sign.evidence] < _STRENGTH[edge.evidence] and not guessed:
                edge.evidence, edge.confidence, edge.row = sign.evidence, CONFIDENCE[sign.evidence], sign.row
            return
    found.keep(_edge(found, sign, source, target, GUESSED if guessed else 1.0))


def _is_worth_telling(found: Found, sign: Sign, source: Run | None) -> bool:
    """A transfer that was carried out and led to no run we see. Graph nodes are gone to as well, but are no agents."""
    framework = found.spans.framework[sign.row]
    if sign.failed or not sign.target or sign.carrier not in ("span", "tool"):
        return False
    if sign.carrier == "span" and framework in ("langgraph", "langchain"):
        return False
    said = (source.number if source else -1, names.key(sign.target))
    return sign.mode == "return_to_caller" or said not in found.led_nowhere


def _edge(found: Found, sign: Sign, source: Run | None, target: Run | None, weight: float = 1.0) -> Edge:
    edge = Edge(
        source=source.name if source else sign.source, target=target.name if target else sign.target, mode=sign.mode,
        evidence=sign.evidence, confidence=CONFIDENCE[sign.evidence] * weight, at=sign.start, row=sign.row,
        source_run=source.number if source else -1, target_run=target.number if target else -1,
    )  # fmt: skip
    if (target is None and sign.to_people) or (source is None and names.key(sign.source) in names.PEOPLE):
        edge.connection_type = "virtual_node"
    if sign.carrier in ("span", "tool"):
        _tell_more(edge, found.spans, sign.row)
    return edge


def _explain_by_callers(found: Found) -> None:
    """An agent span that names its caller."""
    spans = found.spans
    for run in found.runs:
        caller = names.clean(spans.text("TransferSource", run.row)) if spans.kind[run.row] == "agent" else ""
        if not caller or found.explains(run):
            continue
        source = found.all[run.parent] if run.parent >= 0 else _last_before(found, caller, run.start)
        mode: Mode = "pass_control" if spans.text("TransferMode", run.row) == "pass_control" else "return_to_caller"
        if source is not None:
            found.add(source, run, "explicit", mode, row=run.row)


def _explain_by_predecessors(found: Found) -> None:
    """AGNTCY: an agent names the one before it, a branch who it was forked from, a join the fork that it waits for."""
    keys = [f"ioa_observe.{key}" for key in ("agent.previous", "fork.parent_name", "fork.id", "join.fork_id")]
    if not found.spans.hinted(*keys):
        return
    before, parent, fork, joined = map(found.spans.hint, keys)
    branches: dict[str, list[Run]] = defaultdict(list)
    for run in found.runs:
        if fork[run.row]:
            branches[fork[run.row]].append(run)
    for run in found.runs:
        named = names.clean(parent[run.row]) or names.clean(before[run.row])
        single = _last_before(found, named, run.start - 1) if named else None
        sources = branches.get(joined[run.row], []) or ([single] if single else [])
        if not found.explains(run):
            for source in sources:
                found.add(source, run, "graph_hint", "pass_control")


def _explain_by_routes(found: Found, routed: Mapping[int, list[int]]) -> None:
    """Messages beside a transfer that was told already lead nowhere else: a run hands over to an agent once."""
    passed = {(edge.source_run, names.key(edge.target)) for edge in found.edges if edge.mode == "pass_control"}
    for run in found.runs:
        if not found.explains(run):
            for source in routed.get(run.number, ()):
                if (source, names.key(run.name)) not in passed:
                    found.add(found.all[source], run, "message", "pass_control")


def _outcome(runs: Runs, failed: Flags, edge: Edge) -> str:
    if edge.target_run < 0:
        return ""
    if any(failed[row] for row in runs[edge.target_run].anchors):
        return "failed"
    return "returned" if edge.mode == "return_to_caller" else "completed"
