"""What in the spans says "hand over": handoff spans, transfer tools, answers that call them, messages and routes."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl

from . import names, transfers
from .attribution import ModelCalls
from .runs import Runs
from .spans import Spans

Evidence: TypeAlias = Literal["explicit", "tool_name", "message", "graph_hint", "structure", "sequence"]
Mode: TypeAlias = Literal["pass_control", "return_to_caller"]
# What a sign was read from. Two carriers can tell of one delegation, one carrier cannot tell of it twice.
Carrier: TypeAlias = Literal["span", "tool", "answer", "message"]


ALL = "*"  # the target of a tool that calls all members of a team


@dataclass(slots=True)
class Sign:
    """One thing that says that somebody hands over."""

    row: int
    run: int  # number of the run that says it, -1 for none
    source: str
    target: str  # empty: not told
    mode: Mode
    evidence: Evidence
    carrier: Carrier
    start: int
    end: int
    failed: bool = False
    to_people: bool = False


def signs(spans: Spans, calls: ModelCalls, runs: Runs, failed: np.ndarray[Any, Any]) -> list[Sign]:
    """All signs, what was done before what was only answered or sent."""
    return [
        *_in_spans(spans, runs, failed),
        *_in_events(spans, runs),
        *_in_answers(spans, calls, runs),
        *_in_messages(spans),
    ]


def _in_spans(spans: Spans, runs: Runs, failed: np.ndarray[Any, Any]) -> Iterator[Sign]:
    frame, destination, to_whom = (
        spans.frame,
        spans.hint("__handoff_destination"),
        spans.hint("mas.handoff.target.type"),
    )
    tools = [tool for tool in frame["ToolName"].unique() if tool and transfers.transfer_tool(tool) is not None]
    marks = (pl.col("TransferMode") != "") | (pl.col("TransferTarget") != "") | pl.Series(destination != "")
    by_tool = (pl.col("Kind") == "tool") & (pl.col("ToolName").is_in(tools) | marks)
    saying = frame.select((pl.col("Kind") == "handoff") | by_tool)["Kind"].to_numpy() | spans.handoff_markers
    for row in np.flatnonzero(saying).tolist():
        tool = spans.text("ToolName", row)
        known = transfers.transfer_tool(tool, spans.framework[row]) if tool else None
        given = transfers.target(tool, spans.text("ToolArguments", row), spans.framework[row]) if known else ""
        mode = spans.text("TransferMode", row) or (known.mode if known else "")
        run = int(runs.doer[row])
        source = names.clean(spans.text("TransferSource", row)) or (runs[run].name if run >= 0 else "")
        explicit = bool(spans.text("TransferMode", row)) or not (known or destination[row])
        marked = str(spans.own_name[row]) if spans.handoff_markers[row] else ""
        told = spans.text("TransferTarget", row) or destination[row] or given or marked
        if (not told and spans.framework[row] in ("langgraph", "langchain")) or told == ALL:
            continue  # a graph's `goto` to its end; a call of all members, who are inside the caller
        for target in _several(told):
            yield Sign(
                row=row, run=run, source=source, target=_person_or_agent(target),
                mode="return_to_caller" if mode == "return_to_caller" else "pass_control",
                evidence="explicit" if explicit else "tool_name",
                carrier="tool" if known or destination[row] else "span",
                start=spans.starts[row], end=spans.ends[row], failed=bool(failed[row]),
                to_people=to_whom[row] == "human" or names.key(target) in names.PEOPLE,
            )  # fmt: skip


def _in_events(spans: Spans, runs: Runs) -> Iterator[Sign]:
    """A span event of a run that says to whom it delegated; written by hand, and so without a mode."""
    told = spans.hint("delegated_to")
    for row in np.flatnonzero(told != "").tolist():
        run = int(runs.of_span[row])
        if run >= 0:
            yield Sign(row, run, runs[run].name, _person_or_agent(told[row]), "pass_control", "explicit", "span",
                       spans.starts[row], spans.ends[row],
                       to_people=names.key(told[row]) in names.PEOPLE)  # fmt: skip


def _several(target: str) -> Sequence[str]:
    """A target can be a JSON list of them (a fan-out); an untold one is still one transfer."""
    if target.startswith("["):
        try:
            return [str(item) for item in json.loads(target)] or [""]
        except (ValueError, RecursionError):
            return [target]
    return [target]


def _person_or_agent(target: str) -> str:
    return target if names.key(target) in names.PEOPLE else names.clean(target)


def _in_answers(spans: Spans, calls: ModelCalls, runs: Runs) -> Iterator[Sign]:
    for row, targets in zip(
        calls.rows.tolist(), transfers.answered_transfers(calls.told["OutputContent"]), strict=True
    ):
        run, end = int(runs.of_span[row]), spans.ends[row]
        for target in targets:
            source = runs[run].name if run >= 0 else ""
            yield Sign(row, run, source, target, "pass_control", "tool_name", "answer", end, end)


def _in_messages(spans: Spans) -> Iterator[Sign]:
    """AutoGen: a HandoffMessage names both sides. It is delivered several times and counted once, by its id."""
    messages = spans.hint("message")
    seen: set[str] = set()
    for row in np.flatnonzero(pl.Series(messages).str.contains("HandoffMessage", literal=True).to_numpy()).tolist():
        for item in objects(messages[row]):
            if item.get("type") == "HandoffMessage" and str(item.get("id")) not in seen:
                seen.add(str(item.get("id")))
                source, target = names.clean(str(item.get("source", ""))), str(item.get("target", ""))
                at = spans.starts[row]
                yield Sign(row, -1, source, _person_or_agent(target), "pass_control", "message", "message", at, at,
                           to_people=names.key(target) in names.PEOPLE)  # fmt: skip


def objects(text: str) -> Iterator[dict[str, Any]]:
    """All objects in a JSON document, however deep; none if it is not JSON."""
    try:
        waiting: list[Any] = [json.loads(text)]
    except (ValueError, RecursionError):
        return
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item


def routes(spans: Spans, runs: Runs) -> dict[int, list[int]]:
    """Per run the runs whose messages started it, told by links between the spans that process and that send messages.

    Microsoft's executors and the agents of AutoGen and Semantic Kernel process a message in a span that links to the
    one that sent it. Executors that are no agents pass on what they got.
    """
    executor = spans.hint("executor.id") != ""
    boxes = executor | spans.frame["SpanName"].str.contains(r"^(?:autogen|agent_runtime) process").to_numpy()
    if not boxes.any():
        return {}
    box = spans.forest.nearest(boxes)
    inside: dict[int, list[int]] = defaultdict(list)
    for run in runs:
        if box[run.row] >= 0:
            inside[int(box[run.row])].append(run.number)

    def senders(receiver: int, seen: set[int]) -> set[int]:
        found: set[int] = set()
        for row, _ in spans.links(receiver):
            sender = int(box[row])
            if sender < 0 and spans.framework[row] == "semantic_kernel" and row not in seen:
                seen.add(row)  # its messages are sent from a span of their own, which links to the one that made them
                found |= senders(row, seen)
            if sender in seen or sender < 0:
                continue
            seen.add(sender)
            near = int(runs.of_span[row])
            if near in inside[sender]:
                found.add(near)
            elif inside[sender]:
                found.add(inside[sender][-1])
            elif executor[sender]:
                found |= senders(sender, seen)
        return found

    started = {numbers[0]: senders(receiver, {receiver}) for receiver, numbers in list(inside.items())}
    return {number: sorted(found) for number, found in started.items() if found}
