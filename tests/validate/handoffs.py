"""`python -m tests.validate.handoffs CAPTURES=<folder> [ONLY=<part of a name>] [ROWS=<validity.json>] [PAGE=<page>]`

Holds agents, tokens, tools and handoffs against captured runs of real frameworks whose truth is known: sends the
captured bodies into a store, reads `agent_spans`, computes the facts. Prints a line a capture, a line a kind of
evidence, and what the spans of the rest lack.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import polars as pl
from maslens.analytics.facts import Facts, compute
from maslens.analytics.handoff_signs import Evidence
from maslens.analytics.handoffs import CONFIDENCE
from maslens.storage import open_store

from tests.validate.captures import Capture, agent_spans, captures
from tests.validate.lacks import lacking, lacks
from tests.validate.report import lines, merge
from tests.validate.rows import Number, Row, share

ROOT = Path(__file__).parent.parent.parent
Edge: TypeAlias = tuple[str, str, str]  # source, target, mode

NUMBER = Number(
    name="handoff edges",
    definition="who handed over to whom, read from the spans of any framework",
    formula="an edge is right if the program's own log has it with the same source, target and mode, as often",
    source="captured runs of real frameworks; the truth is the log of the program and of its scripted model server",
    distrust="where the spans lack it (the table says where), and on `sequence` edges of a framework not seen here",
)


@dataclass(frozen=True, slots=True)
class Held:
    """One capture held against its truth."""

    name: str
    agents: bool
    tokens: bool
    tools: bool
    right: Counter[Edge]
    wrong: Counter[Edge]
    missed: Counter[Edge]
    right_by: Counter[str]  # edges by evidence
    wrong_by: Counter[str]

    @property
    def edges(self) -> bool:
        return not self.wrong and not self.missed

    def holds(self, what: str) -> bool:
        return {"agents": self.agents, "tokens": self.tokens, "tools": self.tools, "handoffs": self.edges}[what]


def held(capture: Capture, facts: Facts) -> Held:
    truth = capture.truth
    found = facts.handoffs.filter(pl.col("connection_type") == "").select("source", "target", "mode", "evidence").rows()
    left = _true_edges(truth)
    right: list[tuple[Edge, str]] = []
    wrong: list[tuple[Edge, str]] = []
    for *edge_, evidence in found:
        edge = (edge_[0], edge_[1], edge_[2])
        known = left[edge] > 0
        left[edge] -= known
        (right if known else wrong).append((edge, evidence))
    return Held(
        name=capture.name,
        agents=set(facts.agent_runs["agent"]) == set(truth["agents"]),
        tokens=_tokens(facts.llm_calls) == _true_tokens(truth),
        tools=_tools(facts, truth),
        right=Counter(edge for edge, _ in right),
        wrong=Counter(edge for edge, _ in wrong),
        missed=+left,
        right_by=Counter(evidence for _, evidence in right),
        wrong_by=Counter(evidence for _, evidence in wrong),
    )


def _true_edges(truth: Mapping[str, Any]) -> Counter[Edge]:
    passed = [(source, target, "pass_control") for source, target in truth.get("handoffs") or ()]
    called = [(source, target, "return_to_caller") for source, target in truth.get("delegations") or ()]
    return Counter([*passed, *called])


def _tokens(calls: pl.DataFrame) -> dict[str, tuple[int, int]]:
    summed = calls.group_by("agent").agg(pl.col("input_tokens", "output_tokens").sum())
    rows = summed.select("agent", "input_tokens", "output_tokens").iter_rows()
    return {agent: (used, made) for agent, used, made in rows if (used, made) != (0, 0)}


def _true_tokens(truth: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """What reached the program: not the answers to calls that it had given up."""
    spent: dict[str, tuple[int, int]] = {}
    for call in truth["llm_calls"]:
        if not call.get("client_gone"):
            used, made = spent.get(call["agent"], (0, 0))
            spent[call["agent"]] = (used + call["input_tokens"], made + call["output_tokens"])
    return {agent: tokens for agent, tokens in spent.items() if tokens != (0, 0)}


def _tools(facts: Facts, truth: Mapping[str, Any]) -> bool:
    """Who called which tool. `*` in the truth: whoever did, it does not count."""
    told = {(agent, tool) for agent, tool in truth.get("tool_calls") or ()}
    anybody = {tool for agent, tool in told if agent == "*"}
    calls = set(facts.tool_calls.select("agent", "tool").iter_rows())
    return {call for call in calls if call[1] not in anybody} == {call for call in told if call[1] not in anybody}


def validate(folder: Path, only: str = "") -> list[Held]:
    """All captures of `folder` whose name contains `only`, through a store of their own."""
    chosen = [capture for capture in captures(folder) if only in capture.name]
    with tempfile.TemporaryDirectory() as data:
        store = open_store(f"chdb://{data}/store")
        try:
            store.migrate()
            spans = agent_spans(store, chosen)
        finally:
            store.close()
    return [held(capture, compute(spans[capture.name])) for capture in chosen]


def rows(results: Sequence[Held], data: str) -> Iterator[Row]:
    """What `build/validity.json` keeps."""
    for what, bar in (("agents", 100.0), ("tokens", 100.0), ("tools", 100.0), ("handoffs", 99.0)):
        hits = [result.holds(what) for result in results if what not in lacking(result.name)]
        yield share(NUMBER, data, f"captures with all {what} right where the spans carry them", hits, ("at least", bar))
    carrying = [result for result in results if "handoffs" not in lacking(result.name)]
    yield from _edge_rows(carrying, data, "where the spans carry them", ("at least", 99.0))
    yield from _edge_rows(results, data, "all captures", None)
    for evidence, (right, wrong) in _by_evidence(carrying).items():
        yield share(NUMBER, data, f"edges, precision of {evidence}", [True] * right + [False] * wrong)
    found, true = 0, sum(result.right.total() + result.missed.total() for result in carrying)
    for evidence, (right, _) in _by_evidence(carrying).items():
        found += right
        metric = f"edges, recall of {evidence} and what is stronger"
        yield share(NUMBER, data, metric, [True] * found + [False] * (true - found))


def _edge_rows(
    results: Sequence[Held], data: str, of: str, bar: tuple[Literal["at least"], float] | None
) -> Iterator[Row]:
    right = sum(result.right.total() for result in results)
    wrong = sum(result.wrong.total() for result in results)
    missed = sum(result.missed.total() for result in results)
    for metric, misses in (("precision", wrong), ("recall", missed)):
        yield share(NUMBER, data, f"edges, {metric}, {of}", [True] * right + [False] * misses, bar)


def _by_evidence(results: Sequence[Held]) -> dict[Evidence, tuple[int, int]]:
    """Right and wrong edges by evidence."""
    right = sum((result.right_by for result in results), Counter())
    wrong = sum((result.wrong_by for result in results), Counter())
    return {evidence: (right[evidence], wrong[evidence]) for evidence in CONFIDENCE}


def table(results: Sequence[Held]) -> Iterator[str]:
    """A line a capture."""
    width = max((len(result.name) for result in results), default=0)
    yield f"{'capture':{width}}  agents  tokens  tools   edges  right  wrong  missed  evidence"
    for result in results:
        cells = "  ".join(f"{_cell(result, what):6}" for what in ("agents", "tokens", "tools", "handoffs"))
        told = " ".join(f"{evidence}:{count}" for evidence, count in (result.right_by + result.wrong_by).items())
        counts = f"{result.right.total():4}  {result.wrong.total():5}  {result.missed.total():6}"
        yield f"{result.name:{width}}  {cells} {counts}  {told}".rstrip()
    for result in results:
        for sign, edges in (("not true", result.wrong), ("missed", result.missed)):
            if edges and "handoffs" not in lacking(result.name):
                told = ", ".join(f"{source} → {target} ({mode})" for source, target, mode in edges.elements())
                yield f"{result.name}: {sign}: {told}"


def evidence_table(results: Sequence[Held]) -> Iterator[str]:
    """A line a kind of evidence."""
    yield "| evidence | edges | true | precision | recall with what is stronger | stated confidence |"
    yield "|---|---|---|---|---|---|"
    found, known = 0, sum(result.right.total() + result.missed.total() for result in results)
    for evidence, (right, wrong) in _by_evidence(results).items():
        precision = f"{right / (right + wrong):.3f}" if right + wrong else ""
        found += right
        recall = f"{found / known:.3f}" if known else ""
        yield f"| {evidence} | {right + wrong} | {right} | {precision} | {recall} | {CONFIDENCE[evidence]} |"


def lacks_table(results: Sequence[Held]) -> Iterator[str]:
    """A line for what the spans of some captures lack, marked `-` in `table`."""
    yield "| not in the spans | because | `maslens run` adds | captures |"
    yield "|---|---|---|---|"
    for (what, missing, supplied), named in _lacking(results).items():
        examples = ", ".join(f"`{name}`" for name in named[:2]) + (" …" if len(named) > 2 else "")
        yield f"| {what} | {missing} | {supplied} | {len(named)}: {examples} |"


def _lacking(results: Sequence[Held]) -> dict[tuple[str, str, str], list[str]]:
    named: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for result in results:
        for lack in lacks(result.name):
            told = [what for what in lack.what if what in ("session", "outcome") or not result.holds(what)]
            if told:
                named[", ".join(told), lack.missing, lack.supplied].append(result.name)
    return named


def _cell(result: Held, what: str) -> str:
    if result.holds(what):
        return "yes"
    return "-" if what in lacking(result.name) else "NO"


def measured(results: Sequence[Held], told: Sequence[Row]) -> str:
    """What docs/handoffs.md shows between its markers."""
    return "\n".join(["", "```text", lines(told), "```", "", *evidence_table(results), "", *lacks_table(results), ""])


BEGIN, END = "<!-- measured: make validate-handoffs -->", "<!-- measured: end -->"


def renewed(page: str, text: str) -> str:
    """`page` with `text` between its markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{text}{END}{after}"


def main(arguments: Sequence[str]) -> int:
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    folder = Path(given.get("CAPTURES") or ROOT.parent / "shared" / "captures")
    if not folder.is_dir():
        print(f"no captures at {folder}: give CAPTURES=<folder>", file=sys.stderr)
        return 2
    results = validate(folder, given.get("ONLY", ""))
    told = list(rows(results, "captures"))
    print("\n".join([*table(results), "", *evidence_table(results), "", *lacks_table(results), "", lines(told)]))
    merge(Path(given.get("ROWS") or ROOT / "build" / "validity.json"), told)
    if given.get("PAGE"):
        page = Path(given["PAGE"])
        page.write_text(renewed(page.read_text(), measured(results, told)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
