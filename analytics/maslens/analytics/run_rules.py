"""How agents are found in spans: one rule for each way in which an emitter tells them, the strongest first.

A rule anchors runs at spans; later every span belongs to the run of its closest anchor.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl

from . import names, transfers
from .attribution import ModelCalls
from .forest import Flags, Ints
from .spans import Spans


@dataclass(slots=True)
class Draft:
    """Runs while they are being found: their names, and per span the number of the run it anchors, -1 for none."""

    anchor: Ints
    names: list[str] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)  # how the name was found

    def add(self, name: str, evidence: str, rows: Iterable[int]) -> int:
        number = len(self.names)
        self.names.append(name)
        self.evidence.append(evidence)
        for row in rows:
            self.anchor[row] = number
        return number

    @property
    def anchored(self) -> Flags:
        return self.anchor >= 0

    def rows(self) -> list[int]:
        return list(np.flatnonzero(self.anchored).tolist())


def draft_runs(spans: Spans, calls: ModelCalls) -> Draft:
    """Run all rules."""
    draft = Draft(np.full(len(spans), -1, dtype=np.int64))
    called = spans.mask(calls.rows)
    _told_by_kind(spans, draft)
    _told_by_model_nodes(spans, draft)
    _told_by_graph(spans, called, draft)
    _told_by_moderators(spans, called, draft)
    _told_by_steps(spans, draft)
    _told_by_modules(spans, draft)
    _merge_repeats(spans, draft)
    _drop_wrappers(spans, called, draft)
    _told_by_delegation(spans, called, draft)
    _told_beside(spans, called, draft)
    _told_by_calls(spans, calls, draft)
    return draft


def _told_by_kind(spans: Spans, draft: Draft) -> None:
    """Spans of kind agent. In a trace with graph nodes LangChain's are left to the nodes, which know better."""
    agents = spans.of_kind("agent") & ~spans.handoff_markers
    graphs = set(spans.trace[spans.hint("langgraph_checkpoint_ns") != ""])
    inside_named = spans.forest.nearest(agents & (spans.own_name != ""), own=False) >= 0
    for row in np.flatnonzero(agents).tolist():
        if spans.framework[row] in ("langgraph", "langchain") and spans.trace[row] in graphs:
            continue
        if name := spans.own_name[row]:
            draft.add(name, "agent_name", [row])
        elif (name := spans.called[row]) and (not inside_named[row] or name != spans.text("SpanName", row)):
            draft.add(name, "span_name", [row])  # inside a named agent a plain word is a part of it, `X.run` is not


def _told_by_model_nodes(spans: Spans, draft: Draft) -> None:
    """OpenLIT on LangGraph: the graph that `create_agent` makes is told as a workflow of the agent's name (without its
    kind if control left it), and what it is known by is its node `model`, told as an agent."""
    nodes = (spans.frame["Dialect"] == "openlit").to_numpy() & (
        spans.frame["SpanName"] == "invoke_agent model"
    ).to_numpy()
    for row in dict.fromkeys(spans.forest.parent[nodes].tolist()):
        name = names.clean(spans.text("WorkflowName", row)) if row >= 0 else ""
        if name and spans.kind[row] in ("workflow", "other") and draft.anchor[row] < 0:
            draft.add(name, "graph_agent", [row])


def _told_by_graph(spans: Spans, called: Flags, draft: Draft) -> None:
    """LangGraph: the namespace of what an agent does is `agent:id|node:id`, so the agent is the segment before the
    last; `create_agent` names itself as well. The run is the outermost span of that namespace."""
    namespace, agent, parent = spans.hint("langgraph_checkpoint_ns"), spans.hint("lc_agent_name"), spans.forest.parent
    tool = spans.of_kind("tool", "handoff")
    found: dict[tuple[str, str], int] = {}

    def outermost(row: int, space: str, own: str) -> int:
        while (above := int(parent[row])) >= 0 and not tool[above] and agent[above] in ("", own):
            if namespace[above] != space and not namespace[above].startswith(f"{space}|"):
                break
            row = above
        return row

    starts = [
        row for row in np.flatnonzero(agent != "").tolist() if parent[row] < 0 or agent[parent[row]] != agent[row]
    ]
    sharing: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in starts:
        sharing[spans.trace[row], namespace[row]].add(agent[row])
    for row in starts:
        space, name = namespace[row], names.clean(agent[row])
        alone = space and len(sharing[spans.trace[row], space]) == 1
        top = outermost(row, space, agent[row]) if alone else row
        key = (spans.trace[row], f"{space}\0{agent[row]}" if space else str(top))
        if not name or draft.anchor[top] >= 0:
            continue
        if key in found:
            draft.anchor[top] = found[key]
        else:
            found[key] = draft.add(name, "graph_agent", [top])
    told = spans.forest.nearest(
        namespace != ""
    )  # a model span of another library says no namespace, those around it do
    for row in dict.fromkeys(told[called].tolist()):
        if row < 0 or agent[row]:
            continue
        parts = namespace[row].split("|")
        space = "|".join(parts[:-1] or parts)
        if (spans.trace[row], space) in found:
            continue
        top = outermost(row, space, "")
        name = names.node_name(space.rsplit("|", 1)[-1])
        if not name and parent[top] >= 0 and not tool[parent[top]]:
            top = int(parent[top])  # a graph of one agent: its nodes are at the outside, its name is the graph's
        name = name or spans.called[top]
        if name and draft.anchor[top] < 0:
            found[spans.trace[row], space] = draft.add(name, "graph_node", [top])
    _told_apart(spans, draft, {space: number for (_, space), number in found.items()})


def _told_apart(spans: Spans, draft: Draft, at_node: Mapping[str, int]) -> None:
    """AGNTCY: a node's agent starts a trace of its own, the graph's trace has its calls. One run, by the namespace."""
    namespace = spans.hint("langgraph_checkpoint_ns")
    apart = spans.of_kind("agent") & (spans.frame["Dialect"] == "agntcy").to_numpy() & (namespace != "")
    for row in np.flatnonzero(apart & ~draft.anchored).tolist():
        if namespace[row] in at_node:
            draft.anchor[row] = at_node[namespace[row]]
        elif name := spans.own_name[row] or spans.called[row]:
            draft.add(name, "agent_name", [row])


# AutoGen's moderators that let a model choose who speaks next; the others follow a rule and are no agents.
_CHOOSING: Final = re.compile(r"^(?:Selector|MagenticOne)")
# Magentic-One's orchestrator asks its model after every answer, also after the last one, when nobody else is to speak.
_JUDGING: Final = re.compile(r"^MagenticOne")


def _told_by_moderators(spans: Spans, called: Flags, draft: Draft) -> None:
    """AutoGen: a message handled by a moderator who calls a model, or is known to before asking somebody to speak."""
    moderator = spans.hint("recipient_agent_class")
    handled = spans.forest.nearest(moderator != "")
    calling = set(handled[called & (spans.forest.nearest(draft.anchored) < 0)].tolist())
    asking = set(handled[spans.hint("messaging.message.type") == "GroupChatRequestPublish"].tolist())
    for row in np.flatnonzero(moderator != "").tolist():
        answered = spans.hint("message")[row].startswith('{"response"')
        chooses = (row in asking and _CHOOSING.match(moderator[row])) or (answered and _JUDGING.match(moderator[row]))
        if (row in calling or chooses) and draft.anchor[row] < 0 and (name := names.moderator(moderator[row])):
            draft.add(name, "class_name", [row])


_CURRENT: Final = r"current_agent_name[\\'\"]*\s*[=:]\s*[\\'\"]+([^'\"\\]+)"


def _told_by_steps(spans: Spans, draft: Draft) -> None:
    """LlamaIndex: the agents of a workflow share its steps; who works is only in what goes in and out of them."""
    rows = np.flatnonzero(spans.framework == "llama_index")
    if not len(rows):
        return
    current = pl.col("InputContent", "OutputContent").str.extract_all(_CURRENT).list.last().str.extract(_CURRENT)
    steps = (
        spans.frame[rows]
        .select("Timestamp", "SpanId", current, row=pl.Series(rows), parent=pl.Series(spans.forest.parent[rows]))
        .filter(pl.col("parent") >= 0)
        .sort("parent", "Timestamp", "SpanId")
        .with_columns(name=pl.coalesce("InputContent", "OutputContent"))
        .with_columns(pl.col("name").forward_fill().backward_fill().over("parent"))
        .filter(pl.col("name").is_not_null())
        .with_columns(turn=(pl.col("name") != pl.col("name").shift(1)).fill_null(True).cum_sum().over("parent"))
    )
    for (_, _, name), turn in steps.group_by("parent", "turn", "name", maintain_order=True):
        if cleaned := names.clean(str(name)):
            draft.add(cleaned, "step_content", turn["row"].to_list())


_MODULES: Final = re.compile(
    r"^(Predict|ChainOfThought|ReAct|ProgramOfThought|CodeAct|BestOfN|Refine|MultiChainComparison|RLM)"
    r"\.(?:forward|__call__|acall)$"
)


def _told_by_modules(spans: Spans, draft: Draft) -> None:
    """DSPy: the outermost of its own modules. Their class is all the name that there is, unless they are named."""
    for row in np.flatnonzero(spans.framework == "dspy").tolist():
        found = _MODULES.match(spans.text("SpanName", row))
        if found and not any(draft.anchor[above] >= 0 for above in spans.forest.path(row)):
            name = spans.own_name[row]
            draft.add(name or found.group(1), "agent_name" if name else "span_name", [row])


def _merge_repeats(spans: Spans, draft: Draft) -> None:
    """An anchor directly inside one of the same agent is the same run told twice; through a tool it is another."""
    above = spans.forest.nearest(draft.anchored, own=False)
    bound = spans.forest.nearest(draft.anchored | spans.of_kind("tool", "handoff"), own=False)
    rows = np.flatnonzero(draft.anchored)
    for row in rows[np.argsort(spans.forest.depth[rows], kind="stable")].tolist():
        if above[row] < 0 or bound[row] != above[row]:
            continue
        inner, outer = int(draft.anchor[row]), int(draft.anchor[above[row]])
        if names.key(draft.names[inner]) == names.key(draft.names[outer]):
            draft.anchor[row] = outer


def _drop_wrappers(spans: Spans, called: Flags, draft: Draft) -> None:
    """Anchors that do nothing but hold other runs are workflows, unless the emitter says they are agents. A stand-in
    for a remote agent says so too, but holds nothing except the other side."""
    nearest = spans.forest.nearest(draft.anchored)
    working = {int(draft.anchor[row]) for row in nearest[called | spans.of_kind("tool", "handoff")] if row >= 0}
    above = spans.forest.nearest(draft.anchored, own=False)
    held: dict[int, list[int]] = defaultdict(list)
    for row in draft.rows():
        if above[row] >= 0 and draft.anchor[above[row]] != draft.anchor[row]:
            held[int(draft.anchor[above[row]])].append(row)
    for row in draft.rows():
        number = int(draft.anchor[row])
        if number in working or number not in held:
            continue
        told = draft.evidence[number] == "agent_name" and spans.framework[row] not in ("langgraph", "langchain")
        if not told or (len(held[number]) == 1 and _remote(spans, held[number][0], int(above[held[number][0]]))):
            draft.anchor[row] = -1


def _remote(spans: Spans, row: int, above: int) -> bool:
    path = spans.forest.path(row)
    between = path[path.index(above) + 1 :]
    return any(spans.text("SpanKind", span) == "Server" for span in between)


def _told_by_delegation(spans: Spans, called: Flags, draft: Draft) -> None:
    """A delegation tool under which models are called, but no agent is told: the coworker in its arguments works."""
    tools = spans.frame["ToolName"]
    delegating = tools.is_in(transfers.delegating(tools.unique())).to_numpy() & spans.of_kind("tool", "handoff")
    if not delegating.any():
        return
    silent = ~spans.forest.below(draft.anchored) & (draft.anchor < 0)
    for row in np.flatnonzero(delegating & silent & spans.forest.below(called)).tolist():
        target = transfers.target(spans.text("ToolName", row), spans.text("ToolArguments", row), spans.framework[row])
        if name := names.clean(target):
            draft.add(name, "tool_argument", [row])


def _told_beside(spans: Spans, called: Flags, draft: Draft) -> None:
    """OpenLIT on LangGraph: an agent's node is a span of no name with the call, and beside it one of the agent's name
    without. The narrowest such run that lasted as long as the call made it."""
    loose = called & (spans.forest.nearest(draft.anchored) < 0)
    loose &= (spans.frame["Dialect"] == "openlit").to_numpy() & np.isin(spans.framework, ("langgraph", "langchain"))
    if not loose.any():
        return
    idle = np.array(draft.rows(), dtype=np.int64)
    idle = idle[~spans.forest.below(called)[idle]]
    for row in np.flatnonzero(loose).tolist():
        lasting = idle[
            (spans.trace[idle] == spans.trace[row])
            & (spans.start[idle] <= spans.start[row])
            & (spans.end[idle] >= spans.end[row])
        ]
        if not len(lasting):  # a stream is told until it was read, after its node had ended
            begun = (spans.start[idle] <= spans.start[row]) & (spans.start[row] <= spans.end[idle])
            lasting = idle[(spans.trace[idle] == spans.trace[row]) & begun]
            lasting = lasting if len(lasting) == 1 else lasting[:0]
        if len(lasting):
            narrowest = min(lasting.tolist(), key=lambda at: (int(spans.end[at] - spans.start[at]), at))
            draft.anchor[row] = draft.anchor[narrowest]


# -- nothing but the calls themselves ------------------------------------------------------------------------------


def _told_by_calls(spans: Spans, calls: ModelCalls, draft: Draft) -> None:
    """Model calls whose agent no span around them tells, or tells otherwise. Calls in a row under one parent by one
    agent are one run, and so are the tools in between."""
    nearest = spans.forest.nearest(draft.anchored)
    orphans = _orphans(spans, draft)
    graph = spans.hint("langgraph_checkpoint_ns")
    loose: dict[int, list[tuple[int, int, str, str]]] = defaultdict(list)
    for place, row in enumerate(calls.rows.tolist()):
        own = "" if graph[row] else str(spans.own_name[row])
        if nearest[row] >= 0 and names.key(own) in ("", names.key(draft.names[draft.anchor[nearest[row]]])):
            continue
        name, evidence = (own, "agent_name") if own else _named_by_surroundings(spans, calls, place, orphans)
        if name:
            loose[_place_of(spans, row, orphans)].append((int(spans.start[row]), row, name, evidence))
    if not loose:
        return
    for row in np.flatnonzero(spans.of_kind("tool", "handoff") & (nearest < 0)).tolist():
        if (place := _place_of(spans, row, orphans)) in loose:
            loose[place].append((int(spans.start[row]), row, "", ""))
    for members in loose.values():
        number, last = -1, ""
        for _, row, name, evidence in sorted(members):
            if name and (number < 0 or names.key(name) != last):
                number, last = draft.add(name, evidence, [row]), names.key(name)
            elif number >= 0:
                draft.anchor[row] = number


def _orphans(spans: Spans, draft: Draft) -> dict[int, int]:
    """Rows whose parent never arrived although their trace has a root: the agent above died unexported. → a number,
    equal for children of one parent."""
    ids = spans.frame["ParentSpanId"].to_numpy()
    lost = (ids != "") & (spans.forest.parent < 0) & (draft.anchor < 0)
    lost &= spans.frame["SpanKind"].is_in(["Internal", "Unspecified", ""]).to_numpy()
    rooted = set(spans.trace[ids == ""])
    numbers: dict[tuple[str, str], int] = {}
    return {
        row: numbers.setdefault((spans.trace[row], ids[row]), len(numbers))
        for row in np.flatnonzero(lost).tolist()
        if spans.trace[row] in rooted
    }


def _place_of(spans: Spans, row: int, orphans: dict[int, int]) -> int:
    """Under one parent, or one lost parent, calls belong together; a call alone in its trace stands for itself."""
    top = spans.forest.path(row)[0]
    if top in orphans:
        return -1 - orphans[top]
    return int(spans.forest.parent[row]) if spans.forest.parent[row] >= 0 else row


def _named_by_surroundings(spans: Spans, calls: ModelCalls, place: int, orphans: dict[int, int]) -> tuple[str, str]:
    """A call named by its prompt, else by the plain span around it."""
    row = int(calls.rows[place])
    for prompt in (str(calls.told["SystemContent"][place]), spans.text("InputContent", row)):
        if name := names.introduced(prompt):
            return name, "system_prompt"
    around = [above for above in spans.forest.path(row)[:-1] if spans.kind[above] not in ("llm", "embedding")]
    if not around or around[-1] in orphans or spans.framework[around[-1]] not in ("", "langchain"):
        return "", ""
    plain = spans.kind[around[-1]] in ("other", "chain", "step", "task")
    name = spans.called[around[-1]] if plain and spans.text("SpanKind", around[-1]) == "Internal" else ""
    return (name, "span_name") if name else ("", "")
