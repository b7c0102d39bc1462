"""What went wrong, once each: not the exceptions that steer a graph, not every span an error passed through, but also
failures that no span marks. And whether the work went on after it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import polars as pl

from .attribution import ModelCalls
from .forest import Flags, Ints
from .handoffs import Edge
from .runs import Run, Runs
from .spans import Spans
from .transfers import IN_ANSWER, said_alone

# LangGraph leaves its nodes by raising these.
_STEERING: Final = r"\b(?:ParentCommand|GraphInterrupt|GraphBubbleUp|NodeInterrupt|GraphDelegate)\b"
_STEERING_TEXT: Final = (
    r"^(?:ParentCommand|GraphInterrupt|GraphBubbleUp|NodeInterrupt)\(|^Command\(graph=|^\(Interrupt\("
)
_INTERRUPT: Final = r"\b(?:GraphInterrupt|NodeInterrupt)\b|^\(Interrupt\("
_CANCELLED: Final = r"\b(?:CancelledError|OperationCancelled|TaskCancelled)\b"
# AutoGen tells every idle agent of a failed team about it, and each says that it cannot handle that.
_ECHO: Final = r"Unhandled message in agent container"
_TOOL_CALL: Final = r"tool_call|function_call|ToolCall"
# An answer that is told with all its settings has these words too and asks for nothing.
_NO_TOOL_CALL: Final = r"""\w*(?:tool_calls?|function_call)\w*\\*["']\s*:\s*(?:null|None|true|false|\d+|\[\s*\])"""


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
        last = work.last_begun[run] <= at
        found.append(Mishap(row, run, kind, message, at, work.went_on(run, row, at), last))
    failing = {mishap.run for mishap in found if not mishap.recovered} | set(_anchored(runs, marked.cancelled))
    last_calls = _last_calls(spans, calls, runs)
    found += _unanswered(spans, calls, marked, last_calls, work, failing)
    found += _not_carried_out(spans, calls, last_calls, {edge.source_run for edge in edges} | failing, work)
    hit = {mishap.run for mishap in found}
    found += [
        Mishap(run.row, run.number, "span_lost", f"the span around {run.name} never arrived", run.end,
               work.went_on(run.number, run.row, run.end))
        for run in runs if run.lost and run.number not in hit
    ]  # fmt: skip
    return sorted(found, key=lambda mishap: (mishap.at, mishap.row))


def run_failures(runs: Runs, found: list[Mishap], marked: Marks) -> dict[int, tuple[str, str]]:
    """Status (error or cancelled) and type of error of the runs that did not end well."""
    status = dict.fromkeys(_anchored(runs, marked.cancelled), ("cancelled", ""))
    status |= dict.fromkeys(_anchored(runs, marked.failed), ("error", ""))
    for mishap in found:
        if mishap.run >= 0 and mishap.last:
            status[mishap.run] = ("cancelled", "") if mishap.error_type == "no_answer" else ("error", mishap.error_type)
    return status


def _anchored(runs: Runs, marked: Flags) -> list[int]:
    """Numbers of the runs that have one of the marked spans among their anchors."""
    rows = set(np.flatnonzero(marked).tolist())
    return [run.number for run in runs if not rows.isdisjoint(run.anchors)] if rows else []


class _Work:
    """What was begun when, to see whether something came after."""

    def __init__(self, spans: Spans, calls: ModelCalls, runs: Runs) -> None:
        self.spans, self.runs = spans, runs
        self.doing = spans.of_kind("tool", "handoff") | spans.mask(calls.rows)
        begun = np.zeros(len(runs) + 1, dtype=np.int64)
        np.maximum.at(begun, runs.of_span[self.doing], spans.start[self.doing])
        self.last_begun: list[int] = begun.tolist()  # per run its latest model or tool call, 0 for none; -1: of no run

    @cached_property
    def _beside(self) -> dict[tuple[str, str], int]:
        """Per workflow its latest outermost run."""
        latest: dict[tuple[str, str], int] = defaultdict(int)
        for run in self.runs:
            if run.parent < 0:
                workflow = self._workflow(run)
                latest[workflow] = max(latest[workflow], run.start)
        return latest

    @cached_property
    def _in_trace(self) -> dict[str, int]:
        """Per trace its latest model or tool call."""
        latest: dict[str, int] = defaultdict(int)
        for trace, start in zip(self.spans.trace[self.doing], self.spans.start[self.doing].tolist(), strict=True):
            latest[trace] = max(latest[trace], start)
        return latest

    def _workflow(self, run: Run) -> tuple[str, str]:
        return ("team", run.team) if run.team else ("trace", str(self.spans.trace[run.row]))

    def went_on(self, number: int, row: int, at: int) -> bool:
        """Something was begun after `at` by the run, by one it is inside of, or, once that had ended, beside it."""
        if number < 0:
            return self._in_trace[self.spans.trace[row]] > at
        run = self.runs[number]
        while self.last_begun[run.number] <= at:
            if run.parent < 0:
                return self._beside[self._workflow(run)] >= max(run.end, at + 1)
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


def _last_calls(spans: Spans, calls: ModelCalls, runs: Runs) -> Ints:
    """Places in `calls` of the latest model call of each run that made one."""
    order = np.argsort(spans.start[calls.rows], kind="stable")
    of = runs.of_span[calls.rows]
    last = np.full(len(runs) + 1, -1, dtype=np.int64)
    last[of[order]] = order  # the last one to be written stays
    return last[:-1][last[:-1] >= 0]


def _unanswered(
    spans: Spans, calls: ModelCalls, marked: Marks, last_calls: Ints, work: _Work, failing: set[int]
) -> Iterator[Mishap]:
    """Runs that ended in a model call without an answer, from an emitter that tells the answers of other calls: it was
    cancelled on the way."""
    silent = calls.told.select(
        (pl.col("OutputContent") == "") & pl.all_horizontal(pl.col("InputTokens", "OutputTokens").is_null())
    )["OutputContent"].to_numpy()  # fmt: skip
    rows = calls.rows[last_calls[silent[last_calls]]]
    whole = (spans.frame["DroppedAttributes"] == 0).to_numpy()
    rows = rows[whole[rows] & ~marked.failed[rows]]
    if not len(rows):
        return
    scope = spans.frame["ScopeName"].to_numpy()
    telling = {(spans.trace[row], scope[row]) for row in calls.rows[~silent].tolist()}
    for row in rows.tolist():
        number, end = int(work.runs.of_span[row]), spans.ends[row]
        untold = number not in failing and (spans.trace[row], scope[row]) in telling
        if untold and not work.went_on(number, row, end):
            yield Mishap(row, number, "no_answer", "the model's answer never came", end, recovered=False)


def _not_carried_out(
    spans: Spans, calls: ModelCalls, last_calls: Ints, explained: set[int], work: _Work
) -> Iterator[Mishap]:
    """Runs that ended in asking for a tool which nobody carried out, from an emitter that shows tools."""
    answers = said_alone(calls.told["OutputContent"].gather(last_calls))
    asking = answers.str.contains(_TOOL_CALL)
    if asking.any():
        asking &= answers.str.replace_all(_NO_TOOL_CALL, "").str.contains(_TOOL_CALL)
    if not asking.any():
        return
    acting = spans.frame.filter(pl.col("Kind").is_in(["tool", "handoff"]))
    shown = set(acting.select("TraceId", "ScopeName").unique().iter_rows())
    times = acting.group_by("TraceId", "ToolName").agg(pl.col("Timestamp").max().dt.timestamp("ns")).iter_rows()
    latest = {(trace, tool): at for trace, tool, at in times}  # also where the tool is not the run's own doing
    rows = calls.rows[last_calls[asking.to_numpy()]].tolist()
    for row, transfers in zip(rows, answers.filter(asking).str.extract_all(IN_ANSWER).to_list(), strict=True):
        number, end = int(work.runs.of_span[row]), spans.ends[row]
        told = transfers or spans.framework[row] == "openai_agents"
        if any(latest.get((spans.trace[row], tool), -1) >= spans.starts[row] for tool in transfers):
            continue
        if not told or number in explained or (spans.trace[row], spans.text("ScopeName", row)) not in shown:
            continue
        if work.last_begun[number] <= spans.starts[row] and not work.went_on(number, row, end):
            tool = transfers[-1] if transfers else "a tool"
            kind = "tool_not_found" if transfers else "tool_not_executed"
            yield Mishap(row, number, kind, f"asked for {tool}, which was never carried out", end, recovered=False)
