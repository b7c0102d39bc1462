"""Agent runs: from spans to "this agent worked from here to there", with the name a person would use.

A run is anchored at one or more spans; every span belongs to the run of its closest anchor. How an anchor is found
depends on what the emitter tells: a span of kind agent, a graph node, a moderator's message, a delegation tool, steps that
name the agent, and where nothing is told, the model calls themselves.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from . import names
from .attribution import ModelCalls
from .forest import Flags, Forest, Ints
from .frames import hints
from .transfers import TransferTools

_HINTS = ["langgraph_checkpoint_ns", "lc_agent_name", "recipient_agent_class", "messaging.message.type"]
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
# AutoGen moderators that let a model choose who speaks next; the others follow a rule and are no agents.
_CHOOSING = re.compile(r"^(?:Selector|MagenticOne)")
_DSPY_MODULES = re.compile(
    r"^(Predict|ChainOfThought|ReAct|ProgramOfThought|CodeAct|BestOfN|Refine|MultiChainComparison|RLM)\.(?:forward|__call__|acall)$"
)


@dataclass(slots=True)
class Run:
    """One run of one agent."""

    number: int
    name: str
    evidence: str  # how the name was found
    row: int  # the span the run is identified by
    start: int
    end: int
    anchors: list[int]
    parent: int = -1  # number of the run this one happened inside of
    container: bool = False  # only orders others: it neither calls a model or tool nor hands over
    labels: frozenset[str] = frozenset()  # keys of the other names it goes by: node, id, team it is the entry of
    team: str = ""  # AutoGen's team
    lost: bool = False  # the span around it never arrived


@dataclass(frozen=True, slots=True)
class Runs:
    runs: list[Run]
    of_span: Ints  # per span the number of its run, -1 for none
    doer: Ints  # per span the number of the run that made it: as `of_span`, but a delegation tool is its caller's doing

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    def __getitem__(self, number: int) -> Run:
        return self.runs[number]

    def __len__(self) -> int:
        return len(self.runs)


@dataclass(slots=True)
class _Draft:
    """What is known while runs are being found: per span the number of the run it anchors."""

    anchor: Ints
    names: list[str] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)

    def add(self, name: str, evidence: str, rows: Iterable[int]) -> int:
        number = len(self.names)
        self.names.append(name)
        self.evidence.append(evidence)
        for row in rows:
            self.anchor[row] = number
        return number


def agent_runs(spans: pl.DataFrame, forest: Forest, calls: ModelCalls, tools: TransferTools) -> Runs:
    """All agent runs in `spans` (rows as in `forest`), found from the strongest telling to the weakest."""
    seen = _Seen(spans, forest, calls)
    draft = _Draft(np.full(len(forest), -1, dtype=np.int64))
    _told_by_kind(seen, draft)
    _told_by_graph_nodes(seen, draft)
    _told_by_moderators(seen, draft)
    _told_by_steps(seen, draft)
    _told_by_modules(seen, draft)
    _merge_repeats(seen, draft)
    _drop_wrappers(seen, draft)
    _told_by_delegation(seen, draft, tools)
    _told_by_calls(seen, draft)
    return _finished(seen, draft)


class _Seen:
    """The columns the rules below look at, as arrays by row."""

    def __init__(self, spans: pl.DataFrame, forest: Forest, calls: ModelCalls) -> None:
        self.spans, self.forest, self.calls = spans, forest, calls
        self.size = len(forest)
        self.kind = spans["Kind"].to_numpy()
        self.framework = spans["Framework"].to_numpy()
        self.trace = spans["TraceId"].to_numpy()
        self.start = spans["Timestamp"].dt.timestamp("ns").to_numpy()
        self.end = self.start + spans["Duration"].cast(pl.Int64).to_numpy()
        self.own_name = _cleaned(spans["AgentName"])
        told = hints(spans, _HINTS)
        self.namespace = told["langgraph_checkpoint_ns"].to_numpy()
        self.graph_agent = told["lc_agent_name"].to_numpy()
        self.recipient = told["recipient_agent_class"].to_numpy()
        self.message_type = told["messaging.message.type"].to_numpy()
        self.call = np.zeros(self.size, dtype=np.bool_)
        self.call[calls.rows] = True
        self.tool = np.isin(self.kind, ["tool", "handoff"])

    def span_name(self, row: int) -> str:
        return names.clean(str(self.spans["SpanName"][int(row)]))

    def text(self, column: str, row: int) -> str:
        return str(self.spans[column][int(row)])


def _cleaned(column: pl.Series) -> np.ndarray:  # type: ignore[type-arg]
    unique = column.unique()
    table = {name: names.clean(name) for name in unique}
    return (
        column.replace_strict(list(table), list(table.values()), return_dtype=pl.String).to_numpy()
        if table
        else column.to_numpy()
    )


def _told_by_kind(seen: _Seen, draft: _Draft) -> None:
    """Spans of kind agent. Those of LangChain in a trace with graph nodes are left to the nodes, which know better."""
    graphs = set(seen.trace[seen.namespace != ""])
    named = seen.forest.nearest((seen.kind == "agent") & (seen.own_name != ""), own=False)
    works_on = _nearest_count(seen, seen.call | seen.tool, (seen.kind == "agent"))
    for row in np.flatnonzero(seen.kind == "agent"):
        if seen.framework[row] in ("langgraph", "langchain") and seen.trace[row] in graphs:
            continue
        if name := seen.own_name[row]:
            draft.add(name, "agent_name", [row])
        elif (
            (name := seen.span_name(row)) and (works_on[row] or named[row] < 0) and not _is_plain_word(seen, row, name)
        ):
            draft.add(name, "span_name", [row])


def _is_plain_word(seen: _Seen, row: int, name: str) -> bool:
    """A span name from which nothing had to be taken off and that has agents below names a workflow."""
    return name == seen.text("SpanName", row) and bool(seen.forest.below(seen.kind == "agent")[row])


def _nearest_count(seen: _Seen, what: Flags, holders: Flags) -> Ints:
    """How much of `what` each holder has closest to it."""
    nearest = seen.forest.nearest(holders)[what]
    return np.bincount(nearest[nearest >= 0], minlength=seen.size)


def _told_by_graph_nodes(seen: _Seen, draft: _Draft) -> None:
    """LangGraph: a model call's namespace is `agent:id|node:id`, so the agent is the segment before the last; `create_agent`
    also names itself. The run is the outermost span of that namespace."""
    parent = seen.forest.parent
    found: dict[tuple[str, str], int] = {}

    def climb(row: int, space: str, agent: str) -> int:
        while (
            (above := int(parent[row])) >= 0
            and not seen.tool[above]
            and (seen.namespace[above] == space or seen.namespace[above].startswith(space + "|"))
            and seen.graph_agent[above] in ("", agent)
        ):
            row = above
        return row

    starts = [
        row
        for row in np.flatnonzero(seen.graph_agent != "")
        if parent[row] < 0 or seen.graph_agent[parent[row]] != seen.graph_agent[row]
    ]
    per_space: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in starts:
        per_space[seen.trace[row], seen.namespace[row]].add(seen.graph_agent[row])
    for row in starts:
        agent, space = seen.graph_agent[row], seen.namespace[row]
        top = climb(row, space, agent) if space and len(per_space[seen.trace[row], space]) == 1 else row
        if draft.anchor[top] >= 0:
            continue
        key = (seen.trace[row], f"{space}\0{agent}" if space else str(top))
        if key in found:
            draft.anchor[top] = found[key]
        elif name := names.clean(agent):
            found[key] = draft.add(name, "graph_agent", [top])
    taken = seen.forest.nearest(draft.anchor >= 0)
    for row in np.flatnonzero(seen.call & (seen.namespace != "") & (seen.graph_agent == "")):
        parts = seen.namespace[row].split("|")
        space = "|".join(parts[:-1] or parts)
        key = (seen.trace[row], space)
        if key in found or (taken[row] >= 0 and seen.namespace[taken[row]] == space):
            continue
        top = climb(row, space, "")
        name = names.node_name(space.rsplit("|", 1)[-1])
        if not name and parent[top] >= 0 and not seen.tool[parent[top]]:
            top = int(parent[top])
        name = name or seen.span_name(top)
        if name and draft.anchor[top] < 0:
            found[key] = draft.add(name, "graph_node", [top])


def _told_by_moderators(seen: _Seen, draft: _Draft) -> None:
    """AutoGen: a message processed by a moderator that calls a model, or is known to, and then asks someone to speak."""
    handled = seen.forest.nearest(seen.recipient != "")
    calling = set(handled[seen.call & (seen.forest.nearest(draft.anchor >= 0) < 0)].tolist())
    asking = set(handled[seen.message_type == "GroupChatRequestPublish"].tolist())
    for row in np.flatnonzero(seen.recipient != ""):
        chooses = _CHOOSING.match(seen.recipient[row]) is not None and row in asking
        if (row in calling or chooses) and draft.anchor[row] < 0 and (name := names.manager_name(seen.recipient[row])):
            draft.add(name, "class_name", [row])


_CURRENT = r"current_agent_name[\\'\"]*\s*[=:]\s*[\\'\"]+([^'\"\\]+)"


def _told_by_steps(seen: _Seen, draft: _Draft) -> None:
    """LlamaIndex: all agents of a workflow share the same steps; who works is only in what goes in and out of them."""
    mine = np.flatnonzero(seen.framework == "llama_index")
    if not len(mine):
        return
    steps = (
        seen.spans[mine].select(
            "Timestamp", "SpanId",
            row=pl.Series(mine), parent=pl.Series(seen.forest.parent[mine]),
            into=pl.col("InputContent").str.extract_all(_CURRENT).list.last().str.extract(_CURRENT),
            out=pl.col("OutputContent").str.extract_all(_CURRENT).list.last().str.extract(_CURRENT),
        )
        .filter(pl.col("parent") >= 0).sort("parent", "Timestamp", "SpanId")
        .with_columns(name=pl.coalesce("into", "out"))
        .filter(pl.col("name").is_not_null().any().over("parent"))
        .with_columns(pl.col("name").forward_fill().backward_fill().over("parent"))
        .with_columns(turn=(pl.col("name") != pl.col("name").shift(1)).fill_null(True).cum_sum().over("parent"))
    )  # fmt: skip
    for (_, _, name), turn in steps.group_by("parent", "turn", "name", maintain_order=True):
        if cleaned := names.clean(str(name)):
            draft.add(cleaned, "step_content", turn["row"].to_list())


def _told_by_modules(seen: _Seen, draft: _Draft) -> None:
    """DSPy: the outermost of its own modules; their class is all the spans name."""
    for row in np.flatnonzero(seen.framework == "dspy"):
        found = _DSPY_MODULES.match(seen.text("SpanName", row))
        if (
            found
            and draft.anchor[row] < 0
            and not any(draft.anchor[above] >= 0 for above in seen.forest.path(int(row)))
        ):
            draft.add(found.group(1), "span_name", [row])


def _merge_repeats(seen: _Seen, draft: _Draft) -> None:
    """An anchor directly inside an anchor of the same agent is the same run told twice; through a tool it is another."""
    anchors = draft.anchor >= 0
    above = seen.forest.nearest(anchors, own=False)
    barrier = seen.forest.nearest(anchors | seen.tool, own=False)
    rows = np.flatnonzero(anchors)
    for row in rows[np.argsort(seen.forest.depth[rows], kind="stable")]:
        outer = int(above[row])
        if outer < 0 or barrier[row] != outer:
            continue
        one, two = int(draft.anchor[row]), int(draft.anchor[outer])
        if names.key(draft.names[one]) == names.key(draft.names[two]):
            draft.anchor[row] = two


def _drop_wrappers(seen: _Seen, draft: _Draft) -> None:
    """Anchors that do nothing themselves and hold other runs are workflows, unless they are told to be agents."""
    nearest = seen.forest.nearest(draft.anchor >= 0)
    work = np.flatnonzero(seen.call | seen.tool)
    working = {int(draft.anchor[row]) for row in nearest[work] if row >= 0}
    above = seen.forest.nearest(draft.anchor >= 0, own=False)
    holds: dict[int, list[int]] = defaultdict(list)
    for row in np.flatnonzero((draft.anchor >= 0) & (above >= 0)):
        holds[int(draft.anchor[above[row]])].append(int(row))
    for row in np.flatnonzero(draft.anchor >= 0):
        number = int(draft.anchor[row])
        inner = [other for other in holds.get(number, ()) if draft.anchor[other] != number]
        if number in working or not inner:
            continue
        told = draft.evidence[number] == "agent_name" and seen.framework[row] not in ("langgraph", "langchain")
        services = seen.spans["ServiceName"]
        proxy = len(inner) == 1 and services[inner[0]] != services[int(row)]
        if not told or proxy:
            draft.anchor[row] = -1


def _told_by_delegation(seen: _Seen, draft: _Draft, tools: TransferTools) -> None:
    """A delegation tool under which models are called, but no agent is told: the coworker in its arguments is at work."""
    delegating = seen.spans["ToolName"].is_in(tools.returning(seen.spans["ToolName"])).to_numpy() & seen.tool
    if not delegating.any():
        return
    below = seen.forest.below(draft.anchor >= 0)
    calls = seen.forest.below(seen.call)
    for row in np.flatnonzero(delegating & calls & ~below & (draft.anchor < 0)):
        if name := names.clean(
            tools.target(seen.text("ToolName", row), seen.text("ToolArguments", row), seen.framework[row])
        ):
            draft.add(name, "tool_argument", [row])


def _told_by_calls(seen: _Seen, draft: _Draft) -> None:
    """Model calls whose agent no span around them tells, or tells otherwise: named by themselves, by their prompt, by the
    span around them. Calls in a row under one parent by one agent are one run; tools in between are its own."""
    nearest = seen.forest.nearest(draft.anchor >= 0)
    dead = _lost_parents(seen, draft, nearest)
    loose: dict[int, list[tuple[int, int, str, str]]] = defaultdict(list)
    for row in seen.calls.rows.tolist():
        outer = int(nearest[row])
        own = seen.own_name[row] if not seen.namespace[row] else ""
        if outer >= 0 and (not own or names.key(own) == names.key(draft.names[draft.anchor[outer]])):
            continue
        name, evidence = (own, "agent_name") if own else _named_by_surroundings(seen, row, dead)
        if name:
            loose[_group(seen, row, dead)].append((int(seen.start[row]), row, name, evidence))
    if not loose:
        return
    for row in np.flatnonzero(seen.tool & (nearest < 0)).tolist():
        if (group := _group(seen, row, dead)) in loose:
            loose[group].append((int(seen.start[row]), row, "", ""))
    for members in loose.values():
        number, last = -1, ""
        for _, row, name, evidence in sorted(members):
            if name and (number < 0 or names.key(name) != last):
                number, last = draft.add(name, evidence, [row]), names.key(name)
            elif number >= 0:
                draft.anchor[row] = number


def _group(seen: _Seen, row: int, dead: dict[int, int]) -> int:
    """Calls under one parent, or under one lost parent, belong together; a lone root call stands for itself."""
    top = row if row in dead else next((above for above in reversed(seen.forest.path(row)) if above in dead), -1)
    if top >= 0:
        return -2 - dead[top]
    parent = int(seen.forest.parent[row])
    return parent if parent >= 0 else row


def _lost_parents(seen: _Seen, draft: _Draft, nearest: Ints) -> dict[int, int]:
    """Rows whose parent never arrived although their trace has a root: the agent above died unexported. → group number."""
    spans = seen.spans
    lost = (spans["ParentSpanId"] != "").to_numpy() & (seen.forest.parent < 0) & (draft.anchor < 0)
    rooted = set(seen.trace[(spans["ParentSpanId"] == "").to_numpy()])
    groups: dict[tuple[str, str], int] = {}
    return {
        int(row): groups.setdefault((seen.trace[row], spans["ParentSpanId"][int(row)]), len(groups))
        for row in np.flatnonzero(lost)
        if seen.trace[row] in rooted and spans["SpanKind"][int(row)] in ("Internal", "Unspecified", "")
    }


def _named_by_surroundings(seen: _Seen, row: int, dead: dict[int, int]) -> tuple[str, str]:
    told = seen.calls.told.row(int(np.searchsorted(seen.calls.rows, row)), named=True)
    for text in (told["SystemContent"], seen.text("InputContent", row)):
        if name := names.introduced(text):
            return name, "system_prompt"
    for above in reversed(seen.forest.path(row)[:-1]):
        if seen.kind[above] == "llm":
            continue
        plain = seen.kind[above] in ("other", "chain", "step", "task") and seen.text("SpanKind", above) == "Internal"
        name = seen.span_name(above) if plain and above not in dead else ""
        return (name, "span_name") if name and seen.framework[above] in ("", "langchain") else ("", "")
    return "", ""


def _finished(seen: _Seen, draft: _Draft) -> Runs:
    anchored = draft.anchor >= 0
    rows_of: dict[int, list[int]] = defaultdict(list)
    for row in np.flatnonzero(anchored).tolist():
        rows_of[int(draft.anchor[row])].append(row)
    order = sorted(rows_of, key=lambda number: _place(seen, rows_of[number]))
    renumbered = np.full(len(draft.names) + 1, -1, dtype=np.int64)
    for place, number in enumerate(order):
        renumbered[number] = place
    anchor = renumbered[draft.anchor]
    nearest = seen.forest.nearest(anchored)
    of_span = np.where(nearest >= 0, anchor[nearest], -1)
    above = seen.forest.nearest(anchored, own=False)
    above = np.where(above >= 0, anchor[above], -1)
    busy = set(of_span[seen.call | (seen.tool & ~anchored)].tolist())
    runs = []
    for place, number in enumerate(order):
        rows = rows_of[number]
        row = min(rows, key=lambda row: (int(seen.start[row]), int(seen.forest.depth[row]), row))
        outer = _outside(above, anchor, seen.forest, row, place)
        runs.append(Run(
            number=place, name=draft.names[number], evidence=draft.evidence[number], row=row,
            start=int(seen.start[rows].min()), end=int(seen.end[rows].max()), anchors=rows, parent=outer,
            labels=_labels(seen, row, anchor), team=_team(seen, row),
        ))  # fmt: skip
    holding = {run.parent for run in runs}
    for run in runs:
        run.container = run.number in holding and run.number not in busy and seen.framework[run.row] == "google_adk"
    _inside_by_time(seen, runs)
    delegated = np.array([run.evidence == "tool_argument" for run in runs] + [False], dtype=np.bool_)
    return Runs(runs, of_span, np.where(anchored & delegated[of_span], above, of_span))


def _place(seen: _Seen, rows: list[int]) -> tuple[int, str, int]:
    first = min(rows, key=lambda row: (int(seen.start[row]), row))
    return int(seen.start[first]), str(seen.trace[first]), first


def _outside(above: Ints, anchor: Ints, forest: Forest, row: int, place: int) -> int:
    outer = int(above[row])
    while outer == place:  # an anchor inside another one of the same run
        row = int(forest.parent[row])
        while anchor[row] != place:
            row = int(forest.parent[row])
        outer = int(above[row])
    return outer


def _labels(seen: _Seen, row: int, anchor: Ints) -> frozenset[str]:
    """Keys of the names around a run: its node and the teams or graphs that it is inside of, up to the next run."""
    found = {names.key(names.clean(seen.text("AgentId", row)))}
    for part in str(seen.namespace[row]).split("|")[-1:]:
        found |= {names.key(part.split(":", 1)[0]), names.key(names.node_name(part))}
    for above in reversed(seen.forest.path(row)):
        if above != row and anchor[above] >= 0:
            break
        found |= {names.key(seen.span_name(above)), names.key(seen.own_name[above])}
        found |= {names.key(names.node_name(part)) for part in str(seen.namespace[above]).split("|")[-1:]}
    return frozenset(found - {""})


def _team(seen: _Seen, row: int) -> str:
    found = (
        re.search(rf"_({_UUID})", seen.text("AgentId", row) or seen.text("SpanName", row))
        if seen.framework[row] == "autogen"
        else None
    )
    return found.group(1) if found else ""


def _inside_by_time(seen: _Seen, runs: list[Run]) -> None:
    """Runs whose parent span was lost happened inside the narrowest run of their trace that spans them."""
    by_trace: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_trace[seen.trace[run.row]].append(run)
    for run in runs:
        if run.parent >= 0 or seen.text("ParentSpanId", seen.forest.path(run.row)[0]) == "":
            continue
        around = [
            other
            for other in by_trace[seen.trace[run.row]]
            if other is not run and other.start <= run.start and run.end <= other.end
        ]
        if around:
            run.parent, run.lost = min(around, key=lambda other: other.end - other.start).number, True


__all__ = ["Run", "Runs", "agent_runs"]
