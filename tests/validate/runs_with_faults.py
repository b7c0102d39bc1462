"""The two sets of failed runs whose decisive step people marked, as the steps that suspects are looked for among."""

from __future__ import annotations

import json
import lzma
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_EXIT = re.compile(r"exitcode: (\d+)")
_TERMINAL = "Computer_terminal"
_CATEGORIES = {
    "Instruction/Plan Adherence Failure": "plan_adherence_failure",
    "Invention of New Information": "invention_of_new_information",
    "Invalid Invocation": "invalid_invocation",
    "Misinterpretation of Tool Output": "misinterpretation_of_tool_output",
    "System Failure": "system_failure",
}
Step = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """One failed run: its steps, and which of them people found decisive."""

    name: str
    steps: list[Step]
    agent: str
    step: int
    category: str = ""


def who_and_when(folder: Path) -> list[Failed]:
    """Steps count from 0. What the terminal answers belongs to whoever spoke before it, and is no step of its own."""
    labels = {label["trace_id"]: label for label in _lines(folder / "labels.jsonl")}
    return [
        Failed(
            name=trace["trace_id"],
            steps=list(_messages(trace)),
            agent=labels[trace["trace_id"]]["mistake_agent"],
            step=int(labels[trace["trace_id"]]["mistake_step"]),
        )
        for trace in _lines(folder / "traces.jsonl.xz")
        if trace["trace_id"] in labels
    ]


def _messages(trace: dict[str, Any]) -> Iterator[Step]:
    history = trace["history"]
    for at, message in enumerate(history):
        if message.get("name") == _TERMINAL:
            continue
        answer = (
            history[at + 1]["content"] if at + 1 < len(history) and history[at + 1].get("name") == _TERMINAL else ""
        )
        code = _EXIT.search(answer)
        printed = answer.split("Code output:")[-1].strip()
        yield _step(
            session_id=trace["trace_id"], step=at, agent=message.get("name") or message["role"], goal=trace["question"],
            text=message["content"],
            handed=message["content"] if at == 0 else "",
            acts=code is not None or "```python" in message["content"] or "```sh" in message["content"],
            failed=code is not None and (code.group(1) != "0" or len(printed) < 3), result=answer if code else "",
        )  # fmt: skip


def mas_sim(folder: Path) -> list[Failed]:
    """Steps count from 1, in order of time, the root span left out."""
    labels = {label["run_id"]: label for label in _lines(folder / "labels.jsonl")}
    return [
        Failed(
            name=run["run_id"],
            steps=list(_spans(run)),
            agent=labels[run["run_id"]]["failed_component"],
            step=int(labels[run["run_id"]]["critical_failure_step"]),
            category=_CATEGORIES.get(labels[run["run_id"]]["failure_category"], ""),
        )
        for run in _lines(folder / "traces.jsonl.xz")
        if run["run_id"] in labels
    ]


def _spans(run: dict[str, Any]) -> Iterator[Step]:
    spans = sorted(
        (span for span in run["spans"] if span["parent_span_id"]), key=lambda span: span["start_time_unix_ns"]
    )
    kinds = {"dependency": "tool", "quality_assurance": "check"}
    for at, span in enumerate(spans):
        told = span["attributes"]
        following = spans[at + 1]["attributes"] if at + 1 < len(spans) else {}
        called = following if following.get("agent.role") == "dependency" else {}
        kind = kinds.get(told.get("agent.role", ""), "agent")
        outcome = told if kind == "tool" else called
        yield _step(
            session_id=run["run_id"], step=at + 1, agent=told["gen_ai.agent.name"], kind=kind, goal=run["task"],
            text=told.get("agent.output_message", ""), handed=told.get("plan.query_json", ""), acts=bool(called),
            failed=bool(outcome.get("error.type")), result=outcome.get("tool.result_json", ""),
            error=outcome.get("error.message", ""),
        )  # fmt: skip


def _step(**told: Any) -> Step:
    return {"kind": "agent", "handed": "", "error": "", "handoff_loss": None, **told}


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    with lzma.open(path, "rt") if path.suffix == ".xz" else path.open() as file:
        return [json.loads(line) for line in file]
