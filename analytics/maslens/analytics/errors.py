"""What went wrong, once each: not the exceptions that steer a graph, not every span an error passed through, and also
failures that no span marks. And whether the work went on after it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from .attribution import ModelCalls
from .forest import Flags, Forest, Ints
from .handoffs import Edge
from .runs import Run, Runs
from .transfers import IN_ANSWER

# LangGraph leaves its nodes by raising these; AutoGen tells every idle agent of a failed team that it cannot handle that.
_STEERING: Final = r"(?:^|[.\s'\"\[,])(?:ParentCommand|GraphInterrupt|GraphBubbleUp|NodeInterrupt|GraphDelegate)\b"
_STEERING_TEXT: Final = (
    r"^(?:ParentCommand\(|GraphInterrupt\(|GraphBubbleUp\(|NodeInterrupt\(|Command\(graph=|\(Interrupt\()"
)
_INTERRUPT: Final = r"(?:GraphInterrupt|NodeInterrupt|^\(Interrupt\()"
_CANCELLED: Final = r"(?:^|[.\s'\"\[,])(?:CancelledError|CancelledByUser|OperationCancelled|TaskCancelled)\b"
_ECHO: Final = r"^Unhandled message in agent container|ValueError: Unhandled message in agent container"
_TOOL_CALL: Final = re.compile(r"tool_call|function_call|ToolCall")


@dataclass(frozen=True, slots=True)
class Marks:
    """Per span: did it fail, was it cancelled, did it wait for somebody outside."""

    failed: Flags
    cancelled: Flags
    interrupted: Flags


@dataclass(frozen=True, slots=True)
class Mishap:
    """One error."""

    row: int
    run: int
    error_type: str
    message: str
    at: int
    recovered: bool


def marks(spans: pl.DataFrame) -> Marks:
    """Status `Error` or an exception, whatever status says beside it: OK is often set before anything has happened."""
    text = pl.concat_str([
        pl.col("ExceptionTypes").list.join(" "), pl.col("ErrorType"), pl.col("ErrorMessage"), pl.col("StatusMessage")
    ], separator=" ")  # fmt: skip
    told = spans.select(
        wrong=(pl.col("Dialect") != "") & ((pl.col("StatusCode") == "Error") | (pl.col("ExceptionTypes").list.len() > 0) | (pl.col("ErrorType") != "")),
        steering=pl.concat_str([pl.col("ExceptionTypes").list.join(" "), pl.col("ErrorType")], separator=" ").str.contains(_STEERING)
        | pl.any_horizontal(pl.col("ErrorMessage", "StatusMessage").str.contains(_STEERING_TEXT)),
        echo=pl.any_horizontal(pl.col("ErrorMessage", "StatusMessage").str.contains(_ECHO)),
        cancelled=text.str.contains(_CANCELLED), interrupted=text.str.contains(_INTERRUPT),
    )  # fmt: skip
    wrong, steering = told["wrong"].to_numpy(), told["steering"].to_numpy()
    cancelled = wrong & ~steering & told["cancelled"].to_numpy()
    failed = wrong & ~steering & ~cancelled & ~told["echo"].to_numpy()
    return Marks(failed, cancelled, wrong & steering & told["interrupted"].to_numpy())


def mishaps(
    spans: pl.DataFrame, forest: Forest, calls: ModelCalls, runs: Runs, edges: list[Edge], marked: Marks,
    session_of_trace: Mapping[str, str],
) -> list[Mishap]:  # fmt: skip
    """Every error where it began, in time order."""
    work = _Work(spans, forest, calls, runs, session_of_trace)
    found = []
    for row in np.flatnonzero(_origins(forest, marked.failed, work)):
        message = str(spans["ErrorMessage"][int(row)]) or str(spans["StatusMessage"][int(row)])
        kind = (
            str(spans["ErrorType"][int(row)]) or next(iter(spans["ExceptionTypes"][int(row)]), "") or _kind_in(message)
        )
        run = int(runs.of_span[row])
        found.append(
            Mishap(int(row), run, kind, message, int(work.end[row]), work.went_on(run, int(row), int(work.end[row])))
        )
    found += _unmarked(spans, calls, runs, edges, work, {mishap.run for mishap in found if not mishap.recovered})
    return sorted(found, key=lambda mishap: (mishap.at, mishap.row))


class _Work:
    """What was done when, to see whether something came after."""

    def __init__(
        self, spans: pl.DataFrame, forest: Forest, calls: ModelCalls, runs: Runs, session_of_trace: Mapping[str, str]
    ) -> None:
        self.runs, self.forest = runs, forest
        self.trace = spans["TraceId"].to_numpy()
        self.session_of_trace = session_of_trace
        self.start = spans["Timestamp"].dt.timestamp("ns").to_numpy()
        self.end = self.start + spans["Duration"].cast(pl.Int64).to_numpy()
        self.doing = np.isin(spans["Kind"].to_numpy(), ["tool", "handoff"])
        self.doing[calls.rows] = True
        self.last_in_run: dict[int, int] = defaultdict(int)  # latest start of a model or tool call
        for row in np.flatnonzero(self.doing):
            run = int(runs.of_span[row])
            self.last_in_run[run] = max(self.last_in_run[run], int(self.start[row]))
        self.outer: dict[tuple[str, str], list[Run]] = defaultdict(list)
        for run in runs:
            if self.top(run) is run:
                self.outer[self._scope(run)].append(run)

    def top(self, run: Run) -> Run:
        while run.parent >= 0:
            run = self.runs[run.parent]
        return run

    def _scope(self, run: Run) -> tuple[str, str]:
        return ("team", run.team) if run.team else ("trace", str(self.trace[run.row]))

    def went_on(self, number: int, row: int, at: int) -> bool:
        """Something was begun after `at` by the same run, by one it runs inside of, or by the workflow around."""
        if number < 0:
            return bool((self.doing & (self.trace == self.trace[row]) & (self.start > at)).any())
        run = self.runs[number]
        while True:
            if self.last_in_run.get(run.number, 0) > at:
                return True
            if run.parent < 0:
                break
            run = self.runs[run.parent]
        beside = [other for other in self.outer[self._scope(run)] if other is not run and other.start > at]
        return any(other.start >= run.end for other in beside)


def _origins(forest: Forest, failed: Flags, work: _Work) -> Flags:
    """Failed spans below which nothing failed, or below which the work had gone on before they failed themselves."""
    last_failure = _latest_below(forest, np.where(failed, work.end, 0))
    last_begun = _latest_below(forest, np.where(work.doing, work.start, 0))
    return failed & ((last_failure == 0) | (last_begun > last_failure))


def _latest_below(forest: Forest, when: Ints) -> Ints:
    """The largest `when` strictly below each span, 0 for none."""
    latest = np.zeros(len(forest), dtype=np.int64)
    if len(forest):
        order = np.argsort(forest.depth, kind="stable")
        levels = np.split(order, np.flatnonzero(np.diff(forest.depth[order])) + 1)
        for level in reversed(levels[1:]):
            np.maximum.at(latest, forest.parent[level], np.maximum(latest[level], when[level]))
    return latest


def _kind_in(message: str) -> str:
    """`BadRequestError: …` and `Max turns exceeded: {…}` say what they are."""
    if found := re.match(r"^\{'message': '([^']{1,80})'", message):
        return found.group(1)
    found = re.match(r"^([A-Za-z][\w. ()\-]{1,60}?)(?:[:(]\s*[{'\"\w\[<]|$)", message)
    return found.group(1).strip() if found else "error"


def _unmarked(
    spans: pl.DataFrame, calls: ModelCalls, runs: Runs, edges: list[Edge], work: _Work, failing: set[int]
) -> list[Mishap]:
    """Runs that ended in a tool call nobody carried out, and runs whose own span never arrived."""
    found = []
    leaving = {edge.source_run for edge in edges}
    last_call: dict[int, int] = {}
    for place, row in enumerate(calls.rows.tolist()):
        run = int(runs.of_span[row])
        if run >= 0 and (run not in last_call or work.start[row] >= work.start[calls.rows[last_call[run]]]):
            last_call[run] = place
    shown = set(
        spans.filter(pl.col("Kind").is_in(["tool", "handoff"])).select("TraceId", "ScopeName").unique().iter_rows()
    )
    for number, place in last_call.items():
        row = int(calls.rows[place])
        answer = str(calls.told["OutputContent"][place])
        unknown = re.findall(IN_ANSWER, answer)
        trusted = str(spans["Framework"][int(row)]) == "openai_agents" or unknown
        if not trusted or not _TOOL_CALL.search(answer) or number in failing or number in leaving:
            continue
        tells = (str(spans["TraceId"][int(row)]), str(spans["ScopeName"][int(row)])) in shown
        if tells and work.last_in_run[number] <= work.start[row] and not work.went_on(number, row, int(work.end[row])):
            kind = "tool_not_found" if unknown else "tool_not_executed"
            found.append(Mishap(row, number, kind, f"asked for {unknown[-1] if unknown else 'a tool'}, which was never carried out",
                                int(work.end[row]), False))  # fmt: skip
    ids = set(zip(spans["TraceId"], spans["SpanId"], strict=True)) if any(run.lost for run in runs) else set()
    for run in runs:
        if run.lost and run.number not in failing and ids:
            found.append(Mishap(run.row, run.number, "span_lost", f"the span around {run.name} never arrived", run.end,
                                work.went_on(run.number, run.row, run.end)))  # fmt: skip
    return found


def run_failures(runs: Runs, found: list[Mishap], marked: Marks) -> dict[int, tuple[str, str]]:
    """Per run that did not end well: its status (error or cancelled) and the type of error."""
    status: dict[int, tuple[str, str]] = {}
    for run in runs:
        if any(marked.cancelled[row] for row in run.anchors):
            status[run.number] = ("cancelled", "")
    for mishap in found:
        if mishap.run < 0:
            continue
        run = runs[mishap.run]
        own = (
            any(marked.failed[row] for row in run.anchors)
            or mishap.row in run.anchors
            or mishap.error_type.startswith(("tool_not", "span_lost"))
        )
        if own or not mishap.recovered:
            status[run.number] = ("error", mishap.error_type)
    for run in runs:
        if run.number not in status and any(marked.failed[row] for row in run.anchors):
            status[run.number] = ("error", "")
    return status


__all__ = ["Marks", "Mishap", "marks", "mishaps", "run_failures"]
