"""What happened in a session, step by step: who said or did what, with which outcome."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import polars as pl

from .content import parsed, plain
from .said import CONTENTS

STEPS: Mapping[str, pl.DataType] = {
    "session_id": pl.String(), "step": pl.Int64(), "agent": pl.String(), "kind": pl.String(), "goal": pl.String(),
    "text": pl.String(), "handed": pl.String(), "acts": pl.Boolean(), "failed": pl.Boolean(), "result": pl.String(),
    "error": pl.String(), "handoff_loss": pl.Float64(), "run_id": pl.String(), "trace_id": pl.String(),
    "span_id": pl.String(), "at": pl.Datetime("ns", "UTC"),
}  # fmt: skip
MOST_TEXT = 8_000  # characters of a text that are looked at: what it begins and what it ends with
_RUN = ("session_id", "run_id")
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
    before; `handoff_loss` is 1 - score of the run's worst handoff. spans: `agent_spans` of the same sessions.
    """
    told = (
        spans.filter(pl.col("TraceId").is_in(runs["trace_id"].append(llm_calls["trace_id"]).unique().implode()))
        .select("TraceId", "SpanId", "Kind", "ErrorMessage", *CONTENTS)
        .unique(["TraceId", "SpanId"], keep="first", maintain_order=True)
    )
    contents = {(row["TraceId"], row["SpanId"]): row for row in told.iter_rows(named=True)}
    losses = _losses(handoff_quality)
    sessions = (
        _events(runs, llm_calls, tool_calls)
        .sort("session_id", "at", "order", "span_id")
        .partition_by("session_id", maintain_order=True)
    )
    passed = _passed(handoffs, llm_calls, contents)
    rows = [row for session in sessions for row in _session(session.rows(named=True), contents, passed, losses)]
    return pl.DataFrame(rows, schema=dict(STEPS), orient="row")


def _events(runs: pl.DataFrame, llm_calls: pl.DataFrame, tool_calls: pl.DataFrame) -> pl.DataFrame:
    silent = runs.join(llm_calls.select("session_id", "run_id").unique(), on=["session_id", "run_id"], how="anti")
    shape = ["session_id", "trace_id", "span_id", "run_id", "agent", "at", "status", "name"]
    parts = [
        silent.with_columns(span_id="run_id", at="started_at", name=pl.lit("")).select(*shape, order=pl.lit(0)),
        llm_calls.with_columns(name=pl.lit("")).select(*shape, order=pl.lit(1)),
        tool_calls.with_columns(name="tool").select(*shape, order=pl.lit(2)),
    ]
    ended = runs.select("session_id", "run_id", run_error=pl.col("status") == "error")
    return pl.concat(parts).join(ended, on=["session_id", "run_id"], how="left")


def _session(
    events: list[dict[str, Any]],
    contents: Mapping[tuple[str, str], dict[str, Any]],
    passed: Mapping[tuple[str, str], list[tuple[Any, str]]],
    losses: Mapping[tuple[str, str], float],
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    current: dict[str, dict[str, Any]] = {}  # per run its latest step
    first = contents.get((events[0]["trace_id"], events[0]["span_id"]), {})
    goal = goal_of(str(first.get("InputContent") or ""))
    for event in events:
        content = contents.get((event["trace_id"], event["span_id"]), {})
        row = {
            "session_id": event["session_id"], "step": len(rows), "agent": event["agent"], "kind": "agent",
            "goal": goal, "text": "", "handed": "", "acts": False, "failed": False, "result": "", "error": "",
            "handoff_loss": None, "run_id": event["run_id"], "trace_id": event["trace_id"],
            "span_id": event["span_id"], "at": event["at"],
        }  # fmt: skip
        if event["order"] == 2:
            row |= {"agent": event["name"], "kind": "tool"} | _outcome(event, content)
            _report(current.get(event["run_id"]), row)
        else:
            row["kind"] = "check" if content.get("Kind") in _CHECKS else "agent"
            row["text"] = cut(plain(str(content.get("OutputContent") or "")))
            row["failed"] = event["status"] == "error"
            row["error"] = str(content.get("ErrorMessage") or "")
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
    for run_id in {event["run_id"] for event in events if event["run_error"]} & current.keys():
        if not current[run_id]["error"]:
            current[run_id]["failed"] = True
    return rows


def _outcome(event: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "failed": event["status"] == "error",
        "result": cut(str(content.get("ToolResult") or content.get("OutputContent") or "")),
        "error": str(content.get("ErrorMessage") or ""),
    }


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
    """Per source run what it passed on, and when: the transfer's arguments and what the target was given.

    The arguments alone do not say what a target knows that takes control over: the conversation goes with it.
    """
    first = llm_calls.sort("at", "span_id").unique(["session_id", "run_id"], keep="first", maintain_order=True)
    asked = {(row[0], row[1]): (row[2], row[3]) for row in first.select(*_RUN, "trace_id", "span_id").iter_rows()}
    found: dict[tuple[str, str], list[tuple[Any, str]]] = {}
    for row in handoffs.sort("at", "span_id").iter_rows(named=True):
        transfer = contents.get((row["trace_id"], row["span_id"]), {})
        run = (row["session_id"], row["target_run_id"])
        target = contents.get((row["trace_id"], row["target_run_id"]), {})
        given = str(target.get("InputContent") or contents.get(asked.get(run, ("", "")), {}).get("InputContent") or "")
        arguments = str(transfer.get("ToolArguments") or "")
        if not given and row["mode"] == "pass_control":
            continue
        told = [_within(text) for text in (arguments, given) if text]
        if row["source_run_id"] and told:
            text = told[0] if len(told) == 1 else json.dumps(told)
            found.setdefault((row["session_id"], row["source_run_id"]), []).append((row["at"], text))
    return found


def _within(text: str) -> str:
    """Structured content stays whole up to four times the length of a text."""
    return text if len(text) <= 4 * MOST_TEXT else cut(text)


def _losses(handoff_quality: pl.DataFrame | None) -> dict[tuple[str, str], float]:
    if handoff_quality is None:
        return {}
    worst = (
        handoff_quality.drop_nulls("score").group_by("session_id", "source_run_id").agg(loss=1 - pl.col("score").min())
    )
    return {(session, run_id): loss for session, run_id, loss in worst.rows()}


def cut(text: str) -> str:
    """Three quarters of what is kept are the beginning."""
    head = MOST_TEXT * 3 // 4
    return text if len(text) <= MOST_TEXT else f"{text[:head]} … {text[head - MOST_TEXT :]}"


def goal_of(content: str) -> str:
    """The first thing a user said, or all of the content where nobody is called a user."""
    document = parsed(content)
    messages = document.get("messages") if isinstance(document, dict) else document
    for message in messages if isinstance(messages, list) else []:
        if isinstance(message, dict) and message.get("role") in ("user", "human"):
            said = message.get("content", message.get("parts", ""))
            return said if isinstance(said, str) else plain(json.dumps(said))
    return plain(content)
