"""Failed runs as spans, the way an instrumented group chat would have sent them: what the product sees of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import polars as pl
from maslens.analytics import frames
from maslens.analytics.facts import compute
from maslens.analytics.steps import steps

from tests.validate.runs_with_faults import Failed, Step

_START = datetime(2026, 1, 1, tzinfo=timezone.utc)
_SECOND = 1_000_000_000


def spans(runs: Sequence[Failed], *, inputs: bool = True) -> pl.DataFrame:
    """`agent_spans` of one session a run: a root that was asked the goal, per step an agent with one model call, and a
    tool call where the step acted or is one. inputs: model calls say what they were given; outputs are there anyway."""
    rows = [row for run in runs for row in _session(run, inputs=inputs)]
    schema = {name: frames.AGENT_SPANS[name] for name in {key for row in rows for key in row}}
    return frames.agent_spans(pl.DataFrame(rows, schema=schema, orient="row"))


def as_steps(runs: Sequence[Failed], *, inputs: bool = True) -> dict[str, list[dict[str, Any]]]:
    """Per run the steps that the product makes of its spans, `place` being their number in the data set."""
    told = spans(runs, inputs=inputs)
    facts = compute(told)
    found = steps(told, facts.agent_runs, facts.llm_calls, facts.tool_calls, facts.handoffs, facts.handoff_quality)
    by_run: dict[str, list[dict[str, Any]]] = {run.name: [] for run in runs}
    for row in found.iter_rows(named=True):
        by_run[row["session_id"]].append(row | {"place": place(row["span_id"])})
    return by_run


def place(span_id: str) -> int:
    """The number of the step that a span was made of."""
    return int(span_id.rsplit("-", 1)[1])


def _session(run: Failed, *, inputs: bool) -> list[dict[str, Any]]:
    goal = run.steps[0]["goal"]
    last = run.steps[-1]["step"] + 2
    asked = {"InputContent": json.dumps([{"role": "user", "content": goal}])}
    failure = {"TaskOutcome": "failure"}
    rows = [_span(run, "root", "", "workflow", "workflow", 0, last, **asked, **failure)]
    history: list[dict[str, str]] = []  # a chat begins with what the first to speak says of the task
    for step in run.steps:
        at, who = step["step"], step["agent"]
        if step["kind"] == "tool":
            rows.append(_tool(run, step, f"agent-{_caller(run, step)}", at, tool=who))
            continue
        name, failed = f"agent-{at}", _failed(step) if step["error"] and not step["acts"] else {}
        kind = "evaluator" if step["kind"] == "check" else "agent"
        rows.append(_span(run, name, "root", kind, f"invoke_agent {who}", at, at + 0.9, AgentName=who, **failed))
        if step["handed"] and step["handed"] != step["text"]:
            following = next(other["agent"] for other in run.steps if other["step"] > at and other["kind"] == "agent")
            plan = {"TransferTarget": following, "ToolArguments": step["handed"], "TransferMode": "return_to_caller"}
            rows.append(_span(run, f"pass-{at}", name, "handoff", "delegate", at + 0.6, at + 0.7, **plan))
        given = {"InputContent": json.dumps(history)} if inputs and history else {}
        said = {"OutputContent": step["text"], "RequestModel": "m", "AgentName": who}
        rows.append(_span(run, f"call-{at}", name, "llm", "chat m", at + 0.1, at + 0.4, **given, **said))
        if step["acts"] and not any(other["kind"] == "tool" for other in run.steps):
            rows.append(_tool(run, step, name, at + 0.5, tool="code_execution"))  # the terminal's turn comes next
        history.append({"role": "assistant", "content": step["text"]})
        if step["result"]:
            history.append({"role": "tool", "content": step["result"]})
    return rows


def _caller(run: Failed, tool: Step) -> int:
    return int(max(step["step"] for step in run.steps if step["step"] < tool["step"] and step["kind"] == "agent"))


def _tool(run: Failed, step: Step, under: str, at: float, *, tool: str) -> dict[str, Any]:
    broke = _failed(step) if step["failed"] else {}
    told = {"ToolName": tool, "ToolResult": step["result"], "ToolArguments": json.dumps({"call": step["text"][:200]})}
    number = step["step"] + (step["kind"] != "tool")
    return _span(run, f"tool-{number}", under, "tool", f"execute_tool {tool}", at, at + 0.2, **told, **broke)


def _failed(step: Step) -> dict[str, str]:
    return {"StatusCode": "Error", "ErrorType": "ToolError", "ErrorMessage": step["error"] or step["result"]}


def _span(
    run: Failed, name: str, under: str, kind: str, called: str, begin: float, end: float, **told: Any
) -> dict[str, Any]:
    return {
        "TraceId": run.name, "SpanId": f"{run.name}/{name}", "ParentSpanId": f"{run.name}/{under}" if under else "",
        "SpanName": called, "Kind": kind, "StatusCode": "Unset", "SessionId": run.name, "ServiceName": "runs",
        "Dialect": "mas", "Timestamp": _START + timedelta(seconds=begin), "Duration": int((end - begin) * _SECOND),
        **told,
    }  # fmt: skip
