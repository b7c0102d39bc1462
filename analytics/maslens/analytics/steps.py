"""What happened in a session, step by step: who said or did what, with which outcome."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import polars as pl

from .content import carried, messages, parsed, plain, plain_document, words
from .said import CONTENTS

STEPS: Mapping[str, pl.DataType] = {
    "session_id": pl.String(), "step": pl.Int64(), "agent": pl.String(), "kind": pl.String(), "goal": pl.String(),
    "text": pl.String(), "handed": pl.String(), "acts": pl.Boolean(), "failed": pl.Boolean(), "result": pl.String(),
    "error": pl.String(), "handoff_loss": pl.Float64(), "run_id": pl.String(), "trace_id": pl.String(),
    "span_id": pl.String(), "at": pl.Datetime("ns", "UTC"),
}  # fmt: skip
MOST_TEXT = 8_000  # characters of a text that are looked at: what it begins and what it ends with
_RUN = ("session_id", "run_id")
_UNSAID = ("sequence", "graph_hint")  # evidence of a handoff that does not say who wrote what the target was given
_RULES = ("system", "developer")
_RESTATED = 0.6  # of the goal's words: it has been told
_EXECUTED = re.compile(r"\s*exitcode: (-?\d+)")  # how AutoGen's executors begin
_CHECKER = r"(?i)(?:^|[\W_])(?:evaluator|judge|critic|grader|reviewer|guardrail|quality[\W_]?assurance)$"
_CHECKS = ("evaluator", "guardrail", "reranker")


def steps(
    spans: pl.DataFrame,
    runs: pl.DataFrame,
    llm_calls: pl.DataFrame,
    tool_calls: pl.DataFrame,
    handoffs: pl.DataFrame,
    handoff_quality: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """One row per model call (or per run that made none) and per tool call, in order of time, counted from 0.

    A model call's step carries the outcome of the tool calls of its run that follow it. Contents are empty where they
    were not captured. `goal` is what the session was asked first; `handed` is what a run passed on, at its last step
    before; `handoff_loss` is what the run's worst handoff lost. spans: `agent_spans` of the same sessions.
    """
    told = (
        spans.filter(pl.col("TraceId").is_in(runs["trace_id"].append(llm_calls["trace_id"]).unique().implode()))
        .select("TraceId", "SpanId", "ParentSpanId", "Timestamp", "Kind", "ErrorMessage", *CONTENTS)
        .unique(["TraceId", "SpanId"], keep="first", maintain_order=True)
    )
    contents = {(row["TraceId"], row["SpanId"]): row for row in told.iter_rows(named=True)}
    asked = told.filter(pl.col("InputContent") != "").sort("Timestamp", "SpanId")
    for row in asked.unique("TraceId", keep="first").iter_rows(named=True):
        contents[row["TraceId"], ""] = row  # what each trace was asked first
    losses = _losses(handoff_quality)
    sessions = (
        _events(runs, llm_calls, tool_calls)
        .sort("session_id", "at", "order", "span_id")
        .partition_by("session_id", maintain_order=True)
    )
    passed = _passed(handoffs, llm_calls, contents)
    rows = [row for session in sessions for row in _session(session.rows(named=True), contents, passed, losses)]
    return pl.DataFrame([{name: row[name] for name in STEPS} for row in rows], schema=dict(STEPS), orient="row")


def _events(runs: pl.DataFrame, llm_calls: pl.DataFrame, tool_calls: pl.DataFrame) -> pl.DataFrame:
    silent = runs.join(llm_calls.select("session_id", "run_id").unique(), on=["session_id", "run_id"], how="anti")
    shape = ["session_id", "trace_id", "span_id", "run_id", "agent", "at", "status", "name"]
    parts = [
        silent.with_columns(span_id="run_id", at="started_at", name=pl.lit("")).select(*shape, order=pl.lit(0)),
        llm_calls.with_columns(name=pl.lit("")).select(*shape, order=pl.lit(1)),
        tool_calls.with_columns(name="tool").select(*shape, order=pl.lit(2)),
    ]
    checks = pl.any_horizontal(pl.col("agent", "role").fill_null("").str.contains(_CHECKER))
    ended = runs.select("session_id", "run_id", run_error=pl.col("status") == "error", checks=checks)
    return pl.concat(parts).join(ended, on=["session_id", "run_id"], how="left")


def _session(
    events: list[dict[str, Any]],
    contents: Mapping[tuple[str, str], dict[str, Any]],
    passed: Mapping[tuple[str, str], list[tuple[Any, str]]],
    losses: Mapping[tuple[str, str], float],
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    current: dict[str, dict[str, Any]] = {}  # per run its latest step
    goal = _goal(events, contents)
    for event in events:
        content = contents.get((event["trace_id"], event["span_id"]), {})
        row = {
            "session_id": event["session_id"], "step": len(rows), "agent": event["agent"], "kind": "agent",
            "goal": goal, "given": "", "text": "", "handed": "", "acts": False, "failed": False, "result": "",
            "error": "", "handoff_loss": None, "run_id": event["run_id"], "trace_id": event["trace_id"],
            "span_id": event["span_id"], "at": event["at"],
        }  # fmt: skip
        if event["order"] == 2:
            row |= {"agent": event["name"], "kind": "tool"} | _outcome(event, content)
            _report(current.get(event["run_id"]), row)
        else:
            doing = contents.get((event["trace_id"], event["run_id"]), content)
            around = contents.get((event["trace_id"], content.get("ParentSpanId", "")), {})
            checking = not {content.get("Kind"), doing.get("Kind"), around.get("Kind")}.isdisjoint(_CHECKS)
            row["kind"] = "check" if checking or event["checks"] else "agent"
            row["given"] = str(content.get("InputContent") or doing.get("InputContent") or "")
            row["text"] = cut(plain(str(content.get("OutputContent") or "")))
            row["failed"] = event["status"] == "error"
            row["error"] = str(content.get("ErrorMessage") or "")
            if event["order"] == 0 and (executed := _EXECUTED.match(row["text"])):
                row |= {"kind": "tool", "result": row["text"], "failed": _unsuccessful(executed, row["text"])}
                _report(next((before for before in reversed(rows) if before["kind"] != "tool"), None), row)
            else:
                current[event["run_id"]] = row
        rows.append(row)
    spoken: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["kind"] != "tool":
            spoken[row["run_id"]].append(row)
    for run_id, mine in spoken.items():
        if (events[0]["session_id"], run_id) in passed and run_id:
            for at, text in passed[events[0]["session_id"], run_id]:
                before = [row for row in mine if row["at"] <= at] or mine[:1]
                before[-1]["handed"] = text
            current[run_id]["handoff_loss"] = losses.get((events[0]["session_id"], run_id))
    speaking = [row for row in rows if row["kind"] == "agent"]
    if speaking and not speaking[0]["handed"] and _briefs(speaking, goal):
        speaking[0]["handed"] = speaking[0]["text"]
    for run_id in {event["run_id"] for event in events if event["run_error"]} & current.keys():
        if not current[run_id]["error"]:
            current[run_id]["failed"] = True
    return rows


def _goal(events: list[dict[str, Any]], contents: Mapping[tuple[str, str], dict[str, Any]]) -> str:
    """What the first step was asked, else what the first span of its trace was."""
    trace = events[0]["trace_id"]
    asked = ((trace, events[0]["span_id"]), (trace, events[0]["run_id"]), (trace, ""))
    told = (goal_of(str(contents.get(key, {}).get("InputContent") or "")) for key in asked)
    return next(filter(None, told), "")


def _briefs(speaking: list[dict[str, Any]], goal: str) -> bool:
    """What the first to speak says is all that the others know of the goal: they are not told it otherwise."""
    opening = speaking[0]["text"].strip()
    other = next((row for row in speaking[1:] if row["given"]), None)
    if not goal or not opening or len({row["agent"] for row in speaking}) < 2:
        return False
    if other is None:
        return carried(words(goal), words(opening)) >= _RESTATED
    given = plain(other["given"])
    return opening in given and carried(words(goal), words(given.replace(opening, " "))) < _RESTATED


def _outcome(event: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    result = cut(plain(str(content.get("ToolResult") or content.get("OutputContent") or "")))
    executed = _EXECUTED.match(result)
    return {
        "failed": event["status"] == "error" or (executed is not None and _unsuccessful(executed, result)),
        "result": result,
        "error": str(content.get("ErrorMessage") or ""),
    }


def _unsuccessful(executed: re.Match[str], answer: str) -> bool:
    """Code that ended badly, or printed nothing."""
    return executed.group(1) != "0" or len(answer.split("Code output:")[-1].strip()) < 3


def _report(caller: dict[str, Any] | None, tool: Mapping[str, Any]) -> None:
    """A tool's outcome is told to the step that called it; the first failure stays."""
    if caller is None:
        return
    caller["acts"] = True
    caller["result"] = cut("\n".join(filter(None, [caller["result"], tool["result"]])))
    if tool["failed"] and not caller["failed"]:
        caller |= {"failed": True, "error": tool["error"]}


def _passed(
    handoffs: pl.DataFrame, llm_calls: pl.DataFrame, contents: Mapping[tuple[str, str], dict[str, Any]]
) -> dict[tuple[str, str], list[tuple[Any, str]]]:
    """Per source run what it passed on, and when: the transfer's arguments, and what the target was given if that was
    made for it. A conversation that goes on is nobody's briefing, and who merely ran before has passed nothing on."""
    first = llm_calls.sort("at", "span_id").unique(["session_id", "run_id"], keep="first", maintain_order=True)
    asked = {(row[0], row[1]): (row[2], row[3]) for row in first.select(*_RUN, "trace_id", "span_id").iter_rows()}
    found: dict[tuple[str, str], list[tuple[Any, str]]] = {}
    for row in handoffs.filter(~pl.col("evidence").is_in(_UNSAID)).sort("at", "span_id").iter_rows(named=True):
        transfer = contents.get((row["trace_id"], row["span_id"]), {})
        run = (row["session_id"], row["target_run_id"])
        target = contents.get((row["trace_id"], row["target_run_id"]), {})
        given = str(target.get("InputContent") or contents.get(asked.get(run, ("", "")), {}).get("InputContent") or "")
        arguments = str(transfer.get("ToolArguments") or "")
        fresh = given and len([m for m in messages(parsed(given)) if m["role"] not in _RULES]) <= 1
        if not fresh and row["mode"] == "pass_control":
            continue
        told = [_within(text) for text in (arguments, given if fresh else "") if text]
        if row["source_run_id"] and told:
            text = told[0] if len(told) == 1 else json.dumps(told)
            found.setdefault((row["session_id"], row["source_run_id"]), []).append((row["at"], text))
    return found


def _within(text: str) -> str:
    """Structured content stays whole up to four times the length of a text."""
    return text if len(text) <= 4 * MOST_TEXT else cut(text)


def _losses(handoff_quality: pl.DataFrame | None) -> dict[tuple[str, str], float]:
    """Per source run the largest share of what it knew that did not arrive."""
    if handoff_quality is None:
        return {}
    worst = handoff_quality.drop_nulls("lost").group_by("session_id", "source_run_id").agg(pl.col("lost").max())
    return {(session, run_id): loss for session, run_id, loss in worst.rows()}


def cut(text: str) -> str:
    """Three quarters of what is kept are the beginning."""
    head = MOST_TEXT * 3 // 4
    return text if len(text) <= MOST_TEXT else f"{text[:head]} … {text[head - MOST_TEXT :]}"


def goal_of(content: str) -> str:
    """The first thing a user said, or all of the content where nobody is called a user."""
    for message in messages(parsed(content)):
        if message["role"] in ("user", "human"):
            said = message.get("content") or message.get("parts") or message.get("text") or ""
            if isinstance(said, str):
                return said
            return plain_document(said) if isinstance(said, dict | list) else plain(json.dumps(said))
    return plain(content)
