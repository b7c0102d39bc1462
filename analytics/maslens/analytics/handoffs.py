"""Handoff edges: who handed over to whom, how that was seen, and how far it can be trusted.

An edge is searched from the strongest evidence to the weakest, and what a stronger one explains is not explained again:

explicit    a span or link says source and target
tool_name   a transfer tool was called, in a span or in the model's answer
message     a message was routed from one agent to another
graph_hint  the framework's graph names the predecessor (node parent, step, trigger)
structure   an agent ran inside another's run
sequence    an agent started when the ones before it had ended, and nothing else says why
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import polars as pl

from . import names
from .attribution import ModelCalls
from .forest import Flags, Forest
from .frames import hints
from .runs import Run, Runs
from .transfers import TOOLS, answered_transfers

# How often an edge of this evidence is right, as far as we would bet; docs/handoffs.md has what was measured.
CONFIDENCE: Final[Mapping[str, float]] = MappingProxyType(
    {"explicit": 1.0, "tool_name": 0.95, "message": 0.9, "graph_hint": 0.85, "structure": 0.8, "sequence": 0.6}
)
GUESSED_TARGET: Final = 0.9  # the source is told, the target is only who came next
JOINED: Final = 0.8  # one of several that ended before: who waits for whom is not told
_RANK: Final = {evidence: place for place, evidence in enumerate(CONFIDENCE)}
_HINTS = ["__handoff_destination", "langgraph_step", "langgraph_triggers", "executor.id", "message"]


@dataclass(slots=True)
class Edge:
    """One transfer of control, or one call of another agent."""

    source: str
    target: str
    mode: str
    evidence: str
    confidence: float
    at: int
    row: int  # the span that shows it
    source_run: int = -1
    target_run: int = -1
    handoff_id: str = ""
    outcome: str = ""
    context: tuple[str, int | None] = ("", None)  # hash and size of what was sent


@dataclass(slots=True)
class _Transfer:
    """Something that says "hand over": a span, an answer, a message."""

    row: int
    source_run: int
    source: str
    target: str  # empty: unknown
    mode: str
    evidence: str
    carrier: str  # two carriers can tell of the same delegation, one carrier cannot tell of it twice
    start: int
    end: int
    failed: bool = False


@dataclass(slots=True)
class _Session:
    """What is searched in one session."""

    runs: list[Run] = field(default_factory=list)
    transfers: list[_Transfer] = field(default_factory=list)


def handoff_edges(
    spans: pl.DataFrame,
    forest: Forest,
    calls: ModelCalls,
    runs: Runs,
    failed: Flags,
    session_of_trace: Mapping[str, str],
) -> list[Edge]:
    """All edges in `spans` (rows as in `forest`), one a transfer, in time order. People are not in them."""
    view = _View(spans, forest, runs, failed)
    sessions: dict[str, _Session] = defaultdict(_Session)
    for run in runs:
        sessions[session_of_trace[view.trace[run.row]]].runs.append(run)
    for transfer in (*_told_by_spans(view), *_told_by_answers(view, calls), *_told_by_messages(view)):
        sessions[session_of_trace[view.trace[transfer.row]]].transfers.append(transfer)
    routed = _routes(view)
    edges: list[Edge] = []
    for _, session in sorted(sessions.items()):
        found = _Found(view, session.runs)
        _explain_by_links(found)
        _explain_by_transfers(found, session.transfers)
        _explain_by_callers(found)
        _explain_by_routes(found, routed)
        _explain_by_neighbours(found)
        edges += found.edges
    edges = [edge for edge in edges if not {names.key(edge.source), names.key(edge.target)} & (names.PEOPLE | {""})]
    for edge in edges:
        edge.outcome = edge.outcome or _outcome(view, edge)
    return sorted(edges, key=lambda edge: (edge.at, edge.row, edge.source_run, edge.target_run))


class _View:
    """The columns the rules below look at."""

    def __init__(self, spans: pl.DataFrame, forest: Forest, runs: Runs, failed: Flags) -> None:
        self.spans, self.forest, self.runs, self.failed = spans, forest, runs, failed
        self.trace = spans["TraceId"].to_numpy()
        self.kind = spans["Kind"].to_numpy()
        self.framework = spans["Framework"].to_numpy()
        self.start = spans["Timestamp"].dt.timestamp("ns").to_numpy()
        self.end = self.start + spans["Duration"].cast(pl.Int64).to_numpy()
        self.hints = hints(spans, _HINTS)
        self.row_of = (
            {span: row for row, span in enumerate(zip(spans["TraceId"], spans["SpanId"], strict=True))}
            if self._links()
            else {}
        )

    def _links(self) -> bool:
        return bool((self.spans["LinkSpanIds"].list.len() > 0).any())

    def text(self, column: str, row: int) -> str:
        return str(self.spans[column][int(row)])

    def links(self, row: int) -> list[tuple[int, str]]:
        """Rows that the span links to, with the link's type."""
        traces, spans, types = (self.spans[column][int(row)] for column in ("LinkTraceIds", "LinkSpanIds", "LinkTypes"))
        kinds = list(types) if len(types) == len(spans) else [""] * len(spans)
        return [
            (self.row_of[pair], kind)
            for *pair_, kind in zip(traces, spans, kinds, strict=True)
            if (pair := tuple(pair_)) in self.row_of
        ]


# -- what says "hand over" ------------------------------------------------------------------------------------------


def _told_by_spans(view: _View) -> Iterable[_Transfer]:
    spans, tools = view.spans, view.spans["ToolName"]
    unique = [tool for tool in tools.unique() if tool and TOOLS.named(tool) is not None]
    acting = pl.col("Kind").is_in(["tool", "handoff"])
    chosen = spans.with_row_index("row").with_columns(destination=view.hints["__handoff_destination"]).filter(
        (pl.col("Kind") == "handoff") | (acting & (pl.col("ToolName").is_in(unique) | (pl.col("destination") != "")
         | (pl.col("TransferMode") != "") | (pl.col("TransferTarget") != "")))
    )["row"]  # fmt: skip
    for row in chosen.to_list():
        tool, framework = view.text("ToolName", row), view.framework[row]
        known = TOOLS.named(tool, framework) if tool else None
        above = int(view.runs.doer[row])
        told = view.text("TransferTarget", row)
        destination = view.hints["__handoff_destination"][row]
        by_tool = TOOLS.target(tool, view.text("ToolArguments", row), framework) if known else ""
        mode = view.text("TransferMode", row) or (known.mode if known else "pass_control")
        source = names.clean(view.text("TransferSource", row)) if view.kind[row] == "handoff" or told else ""
        explicit = not known and not destination and (told or source or view.kind[row] == "handoff")
        for target in _several(told or destination or by_tool):
            yield _Transfer(
                row=row, source_run=above, source=source or _name(view, above), target=_target(target),
                mode=mode if mode in ("pass_control", "return_to_caller") else "pass_control",
                evidence="explicit" if explicit or view.text("TransferMode", row) else "tool_name",
                carrier="tool" if known or destination else "span",
                start=int(view.start[row]), end=int(view.end[row]), failed=bool(view.failed[row]),
            )  # fmt: skip


def _target(name: str) -> str:
    return names.clean(name) if names.key(name) not in names.PEOPLE else name


def _several(target: str) -> Sequence[str]:
    """A target can be a JSON list of them (a fan-out); an unknown one is still one transfer."""
    if target.startswith("["):
        try:
            return [str(item) for item in json.loads(target)] or [""]
        except ValueError:
            return [target]
    return [target]


def _name(view: _View, run: int) -> str:
    return view.runs[run].name if run >= 0 else ""


def _told_by_answers(view: _View, calls: ModelCalls) -> Iterable[_Transfer]:
    for row, targets in zip(calls.rows.tolist(), answered_transfers(calls.told["OutputContent"]), strict=True):
        run = int(view.runs.of_span[row])
        for target in targets:
            yield _Transfer(row=row, source_run=run, source=_name(view, run), target=target, mode="pass_control", evidence="tool_name",
                            carrier="answer", start=int(view.end[row]), end=int(view.end[row]))  # fmt: skip


def _told_by_messages(view: _View) -> Iterable[_Transfer]:
    """AutoGen: a HandoffMessage on its way names both sides; it is delivered several times and counted once by its id."""
    carrying = view.hints.with_row_index("row").filter(pl.col("message").str.contains("HandoffMessage"))
    seen: set[str] = set()
    for row, text in carrying.select("row", "message").iter_rows():
        for message in _objects(text):
            if message.get("type") != "HandoffMessage" or str(message.get("id")) in seen:
                continue
            seen.add(str(message.get("id")))
            yield _Transfer(row=row, source_run=-1, source=names.clean(str(message.get("source", ""))), target=_target(str(message.get("target", ""))),
                            mode="pass_control", evidence="message", carrier="message", start=int(view.start[row]), end=int(view.start[row]))  # fmt: skip


def _objects(text: str) -> Iterable[dict[str, Any]]:
    """All objects in a JSON document, however deep."""
    try:
        waiting: list[Any] = [json.loads(text)]
    except ValueError:
        return
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


def _routes(view: _View) -> dict[int, list[int]]:
    """Per run the runs whose messages started it, through links between the spans that send and process messages.

    Microsoft's executors and AutoGen's agents get a message by a span linked to the one that sent it; executors that are no
    agents pass on what they got.
    """
    runs, forest = view.runs, view.forest
    box = (view.hints["executor.id"] != "").to_numpy() | view.spans["SpanName"].str.starts_with(
        "autogen process"
    ).to_numpy()
    if not box.any() or not view.row_of:
        return {}
    boxed = forest.nearest(box)
    runs_in: dict[int, list[int]] = defaultdict(list)
    for run in runs:
        if (holder := int(boxed[run.row])) >= 0:
            runs_in[holder].append(run.number)

    def senders(holder: int, seen: set[int]) -> set[int]:
        found: set[int] = set()
        for sender, _ in view.links(holder):
            near = int(runs.of_span[sender])
            source = int(boxed[sender])
            if near >= 0 and (boxed[runs[near].row] == source):
                found.add(near)
            elif source >= 0 and source not in seen:
                seen.add(source)
                inside = runs_in.get(source)
                if inside:
                    found.add(inside[-1])
                elif view.hints["executor.id"][source]:
                    found |= senders(source, seen)
        return found

    return {
        number: sorted(found) for holder, inside in runs_in.items() for number in inside[:1]
        if (found := senders(holder, {holder}) - {number})
    }  # fmt: skip


# -- what is explained by it ----------------------------------------------------------------------------------------


class _Found:
    """The edges of one session so far, and which runs they explain."""

    def __init__(self, view: _View, runs: list[Run]) -> None:
        self.view, self.runs = view, sorted(runs, key=lambda run: (run.start, run.number))
        self.edges: list[Edge] = []
        self.into: dict[int, list[Edge]] = defaultdict(list)
        self.carriers: dict[int, set[str]] = defaultdict(set)
        self.by_name: dict[str, list[Run]] = defaultdict(list)
        for run in self.runs:
            for label in {names.key(run.name)} | run.labels:
                self.by_name[label].append(run)

    def add(
        self,
        source: Run,
        target: Run,
        evidence: str,
        mode: str,
        *,
        row: int = -1,
        at: int | None = None,
        weight: float = 1.0,
    ) -> None:
        if (
            names.key(source.name) == names.key(target.name)
            and source.parent != target.number != source.number
            and mode == "pass_control"
        ):
            return  # going on alone is no handoff
        self._keep(Edge(
            source.name, target.name, mode, evidence, CONFIDENCE[evidence] * weight, target.start if at is None else at,
            target.row if row < 0 else row, source.number, target.number,
        ))  # fmt: skip

    def _keep(self, edge: Edge) -> None:
        self.edges.append(edge)
        if edge.target_run >= 0:
            self.into[edge.target_run].append(edge)


def _explain_by_links(found: _Found) -> None:
    """Typed links on the receiving side: from the span that handed over, or from every branch that is joined."""
    view = found.view
    if not view.row_of:
        return
    for run in found.runs:
        for row, kind in view.links(run.row):
            source = int(view.runs.of_span[row])
            if kind in ("handoff", "agent_handoff", "join") and source >= 0 and source != run.number:
                mode = view.text("TransferMode", row) or "pass_control"
                found.add(
                    view.runs[source],
                    run,
                    "explicit",
                    mode,
                    row=row if kind == "handoff" else -1,
                    at=int(view.start[row]) if kind == "handoff" else None,
                )


def _explain_by_transfers(found: _Found, transfers: list[_Transfer]) -> None:
    strongest_first = sorted(transfers, key=lambda t: (t.carrier == "answer", t.carrier == "message", t.start, t.row))
    targets_of_answers: dict[int, list[_Transfer]] = defaultdict(list)
    for transfer in strongest_first:
        if transfer.carrier == "answer":
            targets_of_answers[transfer.source_run].append(transfer)
    for transfer in strongest_first:
        _explain_transfer(found, transfer, targets_of_answers)


def _explain_transfer(found: _Found, transfer: _Transfer, answers: Mapping[int, list[_Transfer]]) -> None:
    view = found.view
    source = view.runs[transfer.source_run] if transfer.source_run >= 0 else None
    if transfer.source and (source is None or names.key(source.name) != names.key(transfer.source)):
        source = _last_before(found, transfer.source, transfer.start) or source
    guessed = False
    if not transfer.target and transfer.source_run >= 0:
        told = [answer for answer in answers.get(transfer.source_run, ()) if answer.start <= transfer.end]
        transfer.target = told[-1].target if told else ""
    target = _claimed_by_id(found, transfer) or _who_takes_over(found, transfer, source)
    if target is None and not transfer.target:
        target, guessed = _next_beside(found, source, transfer), True
    if not transfer.source and source is None:
        return
    if target is not None:
        if source is not None and source.number == target.number:
            return
        _settle(found, transfer, source, target, guessed)
    elif (
        transfer.carrier in ("span", "tool") and transfer.target and not transfer.failed and _is_agent(found, transfer)
    ):
        if not _said_before(found, transfer, source):
            found._keep(_edge(view, transfer, source, None, guessed))


def _is_agent(found: _Found, transfer: _Transfer) -> bool:
    """Graph nodes are gone to as well: without a run behind it only a transfer tool's or a handoff's target is an agent."""
    return transfer.carrier == "tool" or found.view.framework[transfer.row] not in ("langgraph", "langchain")


def _said_before(found: _Found, transfer: _Transfer, source: Run | None) -> bool:
    number = source.number if source else -1
    return transfer.mode == "pass_control" and any(
        edge.source_run == number and edge.target_run < 0 and names.key(edge.target) == names.key(transfer.target)
        for edge in found.edges
    )


def _settle(found: _Found, transfer: _Transfer, source: Run | None, target: Run, guessed: bool) -> None:
    """Keep the transfer as the edge into `target`, or let it add to the edge that stronger evidence already made."""
    number = source.number if source else -1
    for edge in found.into[target.number]:
        if edge.source_run == number or names.key(edge.source) == names.key(transfer.source):
            found.carriers[target.number].add(transfer.carrier)
            return
    if found.into[target.number] and transfer.carrier in ("answer", "message"):
        return
    found.carriers[target.number].add(transfer.carrier)
    found._keep(_edge(found.view, transfer, source, target, guessed))


def _edge(view: _View, transfer: _Transfer, source: Run | None, target: Run | None, guessed: bool) -> Edge:
    row = transfer.row
    shows = transfer.carrier in ("span", "tool")
    size = view.spans["ContextSize"][int(row)] if shows else None
    return Edge(
        source=source.name if source else transfer.source, target=target.name if target else transfer.target, mode=transfer.mode,
        evidence=transfer.evidence, confidence=CONFIDENCE[transfer.evidence] * (GUESSED_TARGET if guessed else 1.0), at=transfer.start,
        row=row, source_run=source.number if source else -1, target_run=target.number if target else -1,
        handoff_id=view.text("HandoffId", row) if shows else "", outcome=view.text("HandoffOutcome", row) if shows else "",
        context=(view.text("ContextHash", row), size) if shows else ("", None),
    )  # fmt: skip


def _claimed_by_id(found: _Found, transfer: _Transfer) -> Run | None:
    handoff = found.view.text("HandoffId", transfer.row) if transfer.carrier in ("span", "tool") else ""
    if not handoff:
        return None
    return next(
        (run for run in found.runs if run.row != transfer.row and found.view.text("HandoffId", run.row) == handoff),
        None,
    )


def _who_takes_over(found: _Found, transfer: _Transfer, source: Run | None) -> Run | None:
    """The first run of the target that began since, in the same trace or team, and that nobody else started."""
    if not transfer.target:
        return None
    trace = found.view.trace
    for run in found.by_name.get(names.key(transfer.target), ()):
        if run.start < transfer.start or (source is not None and run.number == source.number):
            continue
        if (
            trace[run.row] != trace[transfer.row]
            and not (run.team and source is not None and run.team == source.team)
            and transfer.carrier != "message"
        ):
            continue
        if transfer.mode == "return_to_caller" and run.start > transfer.end:
            continue
        if names.key(run.name) == names.key(transfer.source) and transfer.mode == "pass_control":
            continue
        taken = found.into[run.number]
        mine = [edge for edge in taken if source is not None and edge.source_run == source.number]
        if taken and not mine:
            continue
        if mine and transfer.mode == "return_to_caller" and transfer.carrier in found.carriers[run.number]:
            continue
        if source is not None and transfer.mode == "pass_control" and _spoken_since(found, source, transfer, run):
            return None
        return run
    return None


def _spoken_since(found: _Found, source: Run, transfer: _Transfer, target: Run) -> bool:
    """The source itself was started anew between the transfer and `target`: this transfer led nowhere."""
    return transfer.carrier == "answer" and any(
        run.number != source.number and names.key(run.name) == names.key(source.name) and transfer.start <= run.start < target.start
        and run.parent == source.parent
        for run in found.runs
    )  # fmt: skip


def _next_beside(found: _Found, source: Run | None, transfer: _Transfer) -> Run | None:
    """The next run beside the source after the transfer, if nobody else explains it."""
    if source is None:
        return None
    after = (
        run
        for run in found.runs
        if run.start >= transfer.end and run.parent == source.parent and not found.into[run.number]
    )
    trace = found.view.trace
    return next(
        (run for run in after if trace[run.row] == trace[source.row] and names.key(run.name) != names.key(source.name)),
        None,
    )


def _last_before(found: _Found, name: str, at: int) -> Run | None:
    earlier = [run for run in found.by_name.get(names.key(name), ()) if run.start <= at]
    return earlier[-1] if earlier else None


def _explain_by_callers(found: _Found) -> None:
    """An agent span that names its caller."""
    view = found.view
    for run in found.runs:
        caller = names.clean(view.text("TransferSource", run.row)) if view.kind[run.row] == "agent" else ""
        if caller and not found.into[run.number] and names.key(caller) != names.key(run.name):
            source = view.runs[run.parent] if run.parent >= 0 else _last_before(found, caller, run.start)
            mode = view.text("TransferMode", run.row) or "return_to_caller"
            if source is not None:
                found.add(source, run, "explicit", mode, row=run.row)


def _explain_by_routes(found: _Found, routes: Mapping[int, list[int]]) -> None:
    for run in found.runs:
        if not found.into[run.number]:
            for source in routes.get(run.number, ()):
                found.add(found.view.runs[source], run, "message", "pass_control")


# -- what is left: the graph, what is inside of what, and the order -------------------------------------------------


@dataclass(slots=True)
class _Block:
    """A run, or what holds several runs and orders them."""

    row: int  # the outermost span of it, in its scope
    runs: list[Run]
    parts: list[_Block] = field(default_factory=list)

    @property
    def start(self) -> int:
        return min(run.start for run in self.runs)

    @property
    def end(self) -> int:
        return max(run.end for run in self.runs)


def _explain_by_neighbours(found: _Found) -> None:
    """Scope by scope: what ran inside a run was called by it, what ran beside it came before, at once, or after."""
    lent = _called_beside(found)
    inner: dict[tuple[int, int], list[Run]] = defaultdict(list)
    outer: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in found.runs:
        if run.number in lent:
            continue
        if run.parent >= 0:
            inner[run.parent, _branch(found.view, run)].append(run)
        elif run.team:
            outer["team", run.team].append(run)
        else:
            outer["trace", found.view.trace[run.row]].append(run)
    hinted = _graph_parents(found)
    for runs in outer.values():
        _in_order(found, _blocks(found.view, runs, -1), hinted)
    for (parent, branch), runs in sorted(inner.items()):
        caller = found.view.runs[parent]
        if caller.container:
            continue
        block = _blocks(found.view, runs, caller.row)
        if not _is_check(found.view, runs[0], caller):
            for run in _entries(found, block):
                if not found.into[run.number]:
                    found.add(caller, run, "structure", "return_to_caller")
        _in_order(found, block, hinted)
    containers = [run for run in found.runs if run.container]
    for run in containers:
        _in_order(found, _inside_container(found, run), hinted)


def _inside_container(found: _Found, run: Run) -> _Block:
    return _blocks(found.view, [other for other in found.runs if other.parent == run.number], run.row)


def _branch(view: _View, run: Run) -> int:
    """The span just inside the parent run under which the run is."""
    path = view.forest.path(run.row)
    anchors = set(view.runs[run.parent].anchors)
    inside = [place for place, row in enumerate(path) if row in anchors]
    return path[inside[-1] + 1] if inside and inside[-1] + 1 < len(path) else -1 - run.number


def _is_check(view: _View, run: Run, caller: Run) -> bool:
    """An agent run inside a guardrail or an evaluator judges; nobody handed over to it."""
    path = view.forest.path(run.row)
    return any(view.kind[row] in ("guardrail", "evaluator") for row in path)


def _called_beside(found: _Found) -> set[int]:
    """Agents-as-tools that an emitter shows beside their caller: inside the time of its tool call and named in the tool."""
    view = found.view
    numbers = {run.number for run in found.runs}
    holders = np.flatnonzero(
        (view.kind == "tool") & ~view.forest.below(_mask(view, [row for run in found.runs for row in run.anchors]))
    )
    tools = [int(row) for row in holders if int(view.runs.of_span[row]) in numbers]
    by_trace: dict[str, list[int]] = defaultdict(list)
    for row in tools:
        by_trace[view.trace[row]].append(row)
    lent: set[int] = set()
    used: set[int] = set()
    for run in found.runs:
        if found.into[run.number] or not by_trace:
            continue
        for row in by_trace.get(view.trace[run.row], ()):
            caller = view.runs[int(view.runs.of_span[row])]
            around = view.start[row] <= run.start and run.end <= view.end[row]
            if row in used or not around or caller.number == run.number or caller.parent != run.parent:
                continue
            if re.search(rf"(?:^|_){re.escape(names.key(run.name))}(?:_|$)", names.key(view.text("ToolName", row))):
                found.add(caller, run, "structure", "return_to_caller", row=row)
                used.add(row)
                lent.add(run.number)
                break
    return lent


def _mask(view: _View, rows: list[int]) -> Any:
    mask = np.zeros(len(view.forest), dtype=np.bool_)
    mask[rows] = True
    return mask


def _blocks(view: _View, runs: list[Run], below: int) -> _Block:
    """The runs as nested scopes: a scope is the deepest span that holds more than one of them in different branches."""
    paths = {run.number: _path_below(view, run, below) for run in runs}

    def build(members: list[Run], depth: int) -> _Block:
        while True:
            if len(members) == 1 and members[0].team == "":
                return _Block(paths[members[0].number][min(depth, len(paths[members[0].number]) - 1)], members)
            groups: dict[tuple[int, str], list[Run]] = defaultdict(list)
            for run in members:
                path = paths[run.number]
                groups[(path[depth], "") if depth < len(path) else (-1 - run.number, "")].append(run)
            if len(groups) > 1:
                parts = [build(group, depth) for group in groups.values()]
                return _Block(paths[members[0].number][max(0, depth - 1)], members, parts)
            if depth >= max(len(paths[run.number]) for run in members):
                return _Block(
                    members[0].row, members, [_Block(run.row, [run]) for run in members] if len(members) > 1 else []
                )
            depth += 1

    return build(runs, 0) if runs else _Block(-1, [])


def _path_below(view: _View, run: Run, below: int) -> list[int]:
    path = view.forest.path(run.row)
    return path[path.index(below) + 1 :] if below in path else path


def _stages(view: _View, parts: list[_Block]) -> tuple[list[list[_Block]], str]:
    """Parts that ran at the same time share a stage. Graph steps say it exactly; else those overlapping do."""
    steps = [view.hints["langgraph_step"][part.row] for part in parts]
    if all(step.isdigit() for step in steps) and parts:
        by_step: dict[int, list[_Block]] = defaultdict(list)
        for step, part in zip(steps, parts, strict=True):
            by_step[int(step)].append(part)
        return [by_step[step] for step in sorted(by_step)], "graph_hint"
    stages: list[list[_Block]] = []
    until = 0
    for part in sorted(parts, key=lambda part: (part.start, part.end)):
        if stages and part.start < until:
            stages[-1].append(part)
        else:
            stages.append([part])
        until = max(until, part.end) if stages[-1] != [part] else part.end
    return stages, "sequence"


def _entries(found: _Found, block: _Block) -> list[Run]:
    if not block.parts:
        return [entry for run in block.runs for entry in _opened(found, run, _entries)]
    return [run for part in _stages(found.view, block.parts)[0][0] for run in _entries(found, part)]


def _exits(found: _Found, block: _Block) -> list[Run]:
    if not block.parts:
        return [leaf for run in block.runs for leaf in _opened(found, run, _exits)]
    return [run for part in _stages(found.view, block.parts)[0][-1] for run in _exits(found, part)]


def _opened(found: _Found, run: Run, ends: Any) -> list[Run]:
    """A container stands for the first or last of those it orders."""
    return ends(found, _inside_container(found, run)) if run.container else [run]  # type: ignore[no-any-return]


def _in_order(found: _Found, block: _Block, hinted: Mapping[int, Run]) -> None:
    """Edges from every stage of a scope to the next, for runs that nothing stronger explains."""
    if not block.parts:
        return
    stages, evidence = _stages(found.view, block.parts)
    for part in block.parts:
        _in_order(found, part, hinted)
    for before, after in zip(stages, stages[1:], strict=False):
        sources = [run for part in before for run in _exits(found, part)]
        for part in after:
            joined = _joined(found, part, stages)
            for target in _entries(found, part):
                if found.into[target.number]:
                    continue
                told = joined or sources
                if not joined and len(sources) > 1 and len(after) > 1:
                    continue  # several to several: who goes with whom is not told
                for source in told:
                    hint = hinted.get(target.number)
                    exact = bool(joined) or (hint is not None and hint.number == source.number)
                    how = "graph_hint" if exact else evidence
                    found.add(source, target, how, "pass_control", weight=1.0 if exact or len(told) == 1 else JOINED)
    for part in block.parts:
        for run in part.runs:
            hint = hinted.get(run.number)
            if hint is not None and not found.into[run.number] and hint.number != run.number:
                nested = hint.end > run.start
                found.add(hint, run, "graph_hint", "return_to_caller" if nested else "pass_control")


def _joined(found: _Found, part: _Block, stages: list[list[_Block]]) -> list[Run]:
    """LangGraph writes who is waited for into the trigger: `join:weather+hotels:aggregator`."""
    triggers = str(found.view.hints["langgraph_triggers"][part.row])
    waited = {
        names.key(names.node_name(node))
        for nodes in re.findall(r"join:([^:\"']+):", triggers)
        for node in nodes.split("+")
    }
    if not waited:
        return []
    earlier = [other for stage in stages for other in stage if other.end <= part.start]
    latest: dict[str, Run] = {}
    for other in sorted(earlier, key=lambda block: block.start):
        for run in _exits(found, other):
            for label in ({names.key(run.name)} | run.labels) & waited:
                latest[label] = run
    return sorted({run.number: run for run in latest.values()}.values(), key=lambda run: run.number)


def _graph_parents(found: _Found) -> dict[int, Run]:
    """Runs whose span names the graph node before it, and that node is a run's."""
    spans, view = found.view.spans, found.view
    nodes = spans["NodeId"].to_numpy()
    if not (nodes != "").any():
        return {}
    by_node: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in found.runs:
        for row in run.anchors:
            by_node[view.trace[row], nodes[row]].append(run)
    hinted: dict[int, Run] = {}
    for run in found.runs:
        for row in run.anchors:
            parent = view.text("NodeParentId", row)
            before = [
                other
                for other in by_node.get((view.trace[row], parent), ())
                if other.start <= run.start and other is not run
            ]
            if parent and before:
                hinted[run.number] = before[-1]
    return hinted


def _outcome(view: _View, edge: Edge) -> str:
    if edge.target_run < 0:
        return ""
    target = view.runs[edge.target_run]
    if any(view.failed[row] for row in target.anchors):
        return "failed"
    return "returned" if edge.mode == "return_to_caller" else "completed"


__all__ = ["CONFIDENCE", "Edge", "handoff_edges"]
