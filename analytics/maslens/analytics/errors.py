"""What went wrong, once each: not the exceptions that steer a graph, not every span an error passed through, but also
failures that no span marks. And whether the work went on after it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from .attribution import ModelCalls
from .forest import Flags
from .handoffs import Edge
from .runs import Run, Runs
from .spans import Spans
from .transfers import IN_ANSWER

# LangGraph leaves its nodes by raising these.
_STEERING: Final = r"\b(?:ParentCommand|GraphInterrupt|GraphBubbleUp|NodeInterrupt|GraphDelegate)\b"
_STEERING_TEXT: Final = (
    r"^(?:ParentCommand|GraphInterrupt|GraphBubbleUp|NodeInterrupt)\(|^Command\(graph=|^\(Interrupt\("
)
_INTERRUPT: Final = r"\b(?:GraphInterrupt|NodeInterrupt)\b|^\(Interrupt\("
_CANCELLED: Final = r"\b(?:CancelledError|OperationCancelled|TaskCancelled)\b"
# AutoGen tells every idle agent of a failed team about it, and each says that it cannot handle that.
_ECHO: Final = r"Unhandled message in agent container"
_TOOL_CALL: Final = re.compile(r"tool_call|function_call|ToolCall")


@dataclass(frozen=True, slots=True)
class Marks:
    """Per span: did it fail, was it cancelled, did it stop to wait for somebody outside."""

    failed: Flags
    cancelled: Flags
    interrupted: Flags


@dataclass(frozen=True, slots=True)
class Mishap:
    """One error."""

    row: int
    run: int  # number of the run it happened in, -1 for none
    error_type: str
    message: str
    at: int
    recovered: bool  # its run, one around it or the workflow went on
    last: bool = True  # its run did nothing after it


def marks(spans: Spans) -> Marks:
    """Status `Error` or an exception, whatever the status says beside it: OK is often set before anything happened."""
    types = pl.concat_str([pl.col("ExceptionTypes").list.join(" "), pl.col("ErrorType")], separator=" ")
    texts = pl.col("ErrorMessage", "StatusMessage")
    raised = (pl.col("ExceptionTypes").list.len() > 0) | (pl.col("ErrorType") != "")
    told = spans.frame.select(
        wrong=(pl.col("Dialect") != "") & ((pl.col("StatusCode") == "Error") | raised),
        steering=types.str.contains(_STEERING) | pl.any_horizontal(texts.str.contains(_STEERING_TEXT)),
        interrupt=types.str.contains(_INTERRUPT) | pl.any_horizontal(texts.str.contains(_INTERRUPT)),
        cancelled=types.str.contains(_CANCELLED) | pl.any_horizontal(texts.str.contains(_CANCELLED)),
        echo=pl.any_horizontal(texts.str.contains(_ECHO, literal=True)),
    )
    wrong, steering = told["wrong"].to_numpy(), told["steering"].to_numpy()
    cancelled = wrong & ~steering & told["cancelled"].to_numpy()
    failed = wrong & ~steering & ~cancelled & ~told["echo"].to_numpy()
    return Marks(failed, cancelled, wrong & steering & told["interrupt"].to_numpy())


def mishaps(spans: Spans, calls: ModelCalls, runs: Runs, edges: list[Edge], marked: Marks) -> list[Mishap]:
    """Every error where it began, in time order."""
    work = _Work(spans, calls, runs)
    found = []
    told_twice = spans.mask([dropped for _, dropped in calls.same_call])
    for row in np.flatnonzero(_origins(spans, marked.failed & ~told_twice, work)).tolist():
        message = spans.text("ErrorMessage", row) or spans.text("StatusMessage", row)
        raised = next(iter(spans.frame["ExceptionTypes"][row]), "")
        run, at = int(runs.of_span[row]), int(spans.end[row])
        kind = spans.text("ErrorType", row) or raised or _kind_in(message)
        last = work.last_begun.get(run, 0) <= at
        found.append(Mishap(row, run, kind, message, at, work.went_on(run, row, at), last))
    failing = {mishap.run for mishap in found if not mishap.recovered}
    failing |= {run.number for run in runs if any(marked.cancelled[row] for row in run.anchors)}
    found += _unanswered(spans, calls, runs, marked, work, failing)
    found += _not_carried_out(spans, calls, runs, {edge.source_run for edge in edges} | failing, work)
    found += [
        Mishap(run.row, run.number, "span_lost", f"the span around {run.name} never arrived", run.end,
               work.went_on(run.number, run.row, run.end))
        for run in runs if run.lost and run.number not in {mishap.run for mishap in found}
    ]  # fmt: skip
    return sorted(found, key=lambda mishap: (mishap.at, mishap.row))


def run_failures(runs: Runs, found: list[Mishap], marked: Marks) -> dict[int, tuple[str, str]]:
    """Status (error or cancelled) and type of error of the runs that did not end well."""
    status = {run.number: ("cancelled", "") for run in runs if any(marked.cancelled[row] for row in run.anchors)}
    status |= {run.number: ("error", "") for run in runs if any(marked.failed[row] for row in run.anchors)}
    for mishap in found:
        if mishap.run >= 0 and mishap.last:
            status[mishap.run] = ("cancelled", "") if mishap.error_type == "no_answer" else ("error", mishap.error_type)
    return status


class _Work:
    """What was begun when, to see whether something came after."""

    def __init__(self, spans: Spans, calls: ModelCalls, runs: Runs) -> None:
        self.spans, self.runs = spans, runs
        self.doing = spans.of_kind("tool", "handoff") | spans.mask(calls.rows)
        self.last_begun: dict[int, int] = defaultdict(int)  # per run its latest model or tool call
        for row in np.flatnonzero(self.doing).tolist():
            number = int(runs.of_span[row])
            self.last_begun[number] = max(self.last_begun[number], int(spans.start[row]))
        self.beside: dict[tuple[str, str], int] = defaultdict(int)  # per workflow its latest outermost run
        for run in runs:
            if run.parent < 0:
                self.beside[self._workflow(run)] = max(self.beside[self._workflow(run)], run.start)

    def _workflow(self, run: Run) -> tuple[str, str]:
        return ("team", run.team) if run.team else ("trace", str(self.spans.trace[run.row]))

    def went_on(self, number: int, row: int, at: int) -> bool:
        """Something was begun after `at` by the run, by one it is inside of, or, once that had ended, beside it."""
        if number < 0:
            same_trace = self.spans.trace == self.spans.trace[row]
            return bool((self.doing & same_trace & (self.spans.start > at)).any())
        run = self.runs[number]
        while self.last_begun.get(run.number, 0) <= at:
            if run.parent < 0:
                return self.beside[self._workflow(run)] >= max(run.end, at + 1)
            run = self.runs[run.parent]
        return True


def _origins(spans: Spans, failed: Flags, work: _Work) -> Flags:
    """Failed spans below which nothing failed, or below which the work had gone on before they failed themselves."""
    last_failure = spans.forest.latest_below(np.where(failed, spans.end, 0))
    last_begun = spans.forest.latest_below(np.where(work.doing, spans.start, 0))
    origins: Flags = failed & ((last_failure == 0) | (last_begun > last_failure))
    return origins


def _kind_in(message: str) -> str:
    """`BadRequestError: …`, `Max turns exceeded: {…}` and `{'message': 'Max turns exceeded', …}` say what they are."""
    if found := re.match(r"^\{'message': '([^']{1,80})'", message):
        return found.group(1)
    found = re.match(r"^([A-Za-z][\w. ()\-]{1,60}?)(?:[:(]\s*[{'\"\w\[<]|$)", message)
    return found.group(1).strip() if found else "error"


# -- failures that leave no mark ------------------------------------------------------------------------------------


def _last_calls(spans: Spans, calls: ModelCalls, runs: Runs) -> dict[int, int]:
    """Per run the place of its latest model call in `calls`."""
    last: dict[int, int] = {}
    for place, row in enumerate(calls.rows.tolist()):
        run = int(runs.of_span[row])
        if run >= 0 and (run not in last or spans.start[row] >= spans.start[calls.rows[last[run]]]):
            last[run] = place
    return last


def _unanswered(
    spans: Spans, calls: ModelCalls, runs: Runs, marked: Marks, work: _Work, failing: set[int]
) -> Iterator[Mishap]:
    """Runs that ended in a model call without an answer, from an emitter that tells the answers of other calls: it was
    cancelled on the way."""
    silent = calls.told.select(
        (pl.col("OutputContent") == "") & pl.all_horizontal(pl.col("InputTokens", "OutputTokens").is_null())
    )["OutputContent"].to_numpy()  # fmt: skip
    scope = spans.frame["ScopeName"].to_numpy()
    telling = {(spans.trace[row], scope[row]) for row in calls.rows[~silent].tolist()}
    dropped = spans.frame["DroppedAttributes"].to_numpy()
    for number, place in _last_calls(spans, calls, runs).items():
        row, end = int(calls.rows[place]), int(spans.end[calls.rows[place]])
        untold = (
            silent[place] and not dropped[row] and not marked.failed[row] and (spans.trace[row], scope[row]) in telling
        )
        if untold and number not in failing and not work.went_on(number, row, end):
            yield Mishap(row, number, "no_answer", "the model's answer never came", end, recovered=False)


def _not_carried_out(spans: Spans, calls: ModelCalls, runs: Runs, explained: set[int], work: _Work) -> Iterator[Mishap]:
    """Runs that ended in asking for a tool which nobody carried out, from an emitter that shows tools."""
    acting = spans.frame.filter(pl.col("Kind").is_in(["tool", "handoff"]))
    shown = set(acting.select("TraceId", "ScopeName").unique().iter_rows())
    for number, place in _last_calls(spans, calls, runs).items():
        row, end = int(calls.rows[place]), int(spans.end[calls.rows[place]])
        answer = str(calls.told["OutputContent"][place])
        transfers = re.findall(IN_ANSWER, answer)
        asked = _TOOL_CALL.search(answer) and (transfers or spans.framework[row] == "openai_agents")
        if not asked or number in explained or (spans.trace[row], spans.text("ScopeName", row)) not in shown:
            continue
        if work.last_begun[number] <= spans.start[row] and not work.went_on(number, row, end):
            tool = transfers[-1] if transfers else "a tool"
            kind = "tool_not_found" if transfers else "tool_not_executed"
            yield Mishap(row, number, kind, f"asked for {tool}, which was never carried out", end, recovered=False)
