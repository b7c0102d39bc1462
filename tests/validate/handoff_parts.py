"""Handoffs of failed runs: do the parts of the quality score tell those that broke the work from the others?

A handoff is a change of speaker; it broke the work if the step that people marked is the work it led to, or, where one
agent briefs another, the briefing itself. `python -m tests.validate.handoff_parts DATASETS=<folder>` prints severities.
"""

from __future__ import annotations

import hashlib
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from maslens.analytics.facts import compute
from maslens.analytics.frames import AGENT_RUNS, AGENT_SPANS, HANDOFFS, LLM_CALLS, TOOL_CALLS, agent_spans, empty
from maslens.analytics.handoff_quality import PARTS, SEVERITY, handoff_quality
from scipy.optimize import minimize

from tests.validate.handoffbench import Task, area, scores, tasks
from tests.validate.rows import Floats, Number, Row, Validation, bootstrap, row
from tests.validate.runs_with_faults import Failed, who_and_when

QUALITY = Number(
    name="handoff quality: score",
    definition="The chance that none of the known parts of a handoff broke the work.",
    formula="""Π (1 − severity · part) over the known parts: target failed, control bounced, tool calls repeated,
    questions asked again, share of facts lost. Severities: noisy-or with a leak, largest likelihood with a ridge of 1
    towards their mean; `lost` has severity 1, as every payload that lacks a needed fact breaks its task (handoffbench).
    Coverage is the share of parts known.""",
    source="`handoffs`, `agent_runs`, `tool_calls`, `llm_calls`, contents of `agent_spans`",
    distrust="""on real runs the separation below is weak: most handoffs that decided a failure look like any other,
    and that decisive mistakes come early in a run tells more. Hashes show that a payload changed, not what of it was
    needed; without contents and hashes nothing of the transfer is judged. Parts that are
    unknown count as good, so compare scores of like coverage only. A high score says that nothing countable went wrong,
    not that the handoff was needed.""",
    tried="a weighted mean of parts (ranks alike, but one total loss hides among good parts)",
)
RIDGE = 1.0
_SCHEMA = {"TraceId": pl.String, "SpanId": pl.String, "InputContent": pl.String, "OutputContent": pl.String,
           "ToolArguments": pl.String, "ToolResult": pl.String}  # fmt: skip


def parts(runs: Sequence[Failed]) -> list[tuple[str, bool, Floats]]:
    """(run, whether it broke the work, its parts with NaN for unknown) per handoff."""
    found = handoff_quality(*_frames(runs)).with_columns(bounced=None)  # speaking in turns is no bouncing
    marked = {(run.name, _turn(run)) for run in runs}
    return [
        (row["session_id"], (row["session_id"], row["target_run_id"]) in marked,
         np.array([np.nan if row[part] is None else row[part] for part in PARTS]))
        for row in found.iter_rows(named=True)
    ]  # fmt: skip


def _turns(run: Failed) -> list[list[dict[str, Any]]]:
    """Steps of one speaker in a row are one turn."""
    turns: list[list[dict[str, Any]]] = []
    for step in run.steps:
        if turns and turns[-1][-1]["agent"] == step["agent"]:
            turns[-1].append(step)
        else:
            turns.append([step])
    return turns


def _turn(run: Failed) -> str:
    return next((f"turn {at}" for at, turn in enumerate(_turns(run)) if any(s["step"] == run.step for s in turn)), "")


def _frames(runs: Sequence[Failed]) -> tuple[pl.DataFrame, ...]:
    """Handoffs, runs, model calls, tool calls and contents, as the product would have them."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        turns = _turns(run)
        for at, turn in enumerate(turns):
            same = {"session_id": run.name, "trace_id": run.name, "run_id": f"turn {at}", "agent": turn[0]["agent"]}
            calls = [step for step in turn if step["acts"]]
            ok = "error" if calls and calls[-1]["failed"] else "ok"
            rows["runs"].append(
                same
                | {"started_at": turn[0]["step"] * 10, "status": ok, "llm_calls": len(turn), "tool_calls": len(calls)}
            )
            for step in turn:
                span = f"step {step['step']}"
                rows["llm"].append(same | {"span_id": span, "at": step["step"] * 10, "status": "ok"})
                rows["spans"].append({"TraceId": run.name, "SpanId": span, "OutputContent": step["text"]})
                if step["acts"]:
                    code = hashlib.sha256(step["text"].encode()).hexdigest()
                    status = "error" if step["failed"] else "ok"
                    call = {"span_id": f"{span} code", "at": step["step"] * 10 + 5, "tool": "code"}
                    rows["tools"].append(same | call | {"arguments_hash": code, "status": status})
            if at:
                before = turns[at - 1]
                edge = {"source": before[0]["agent"], "target": turn[0]["agent"], "mode": "pass_control"}
                ends = {"source_run_id": f"turn {at - 1}", "target_run_id": f"turn {at}", "span_id": f"change {at}"}
                when = {"session_id": run.name, "trace_id": run.name, "at": before[-1]["step"] * 10 + 9}
                rows["handoffs"].append(when | edge | ends)
    blank = pl.DataFrame(rows["spans"], schema=_SCHEMA, orient="row").with_columns(pl.all().fill_null(""))
    shapes = {"handoffs": HANDOFFS, "runs": AGENT_RUNS, "llm": LLM_CALLS, "tools": TOOL_CALLS}
    return (*(_frame(rows[name], shape) for name, shape in shapes.items()), blank)


def _frame(rows: list[dict[str, Any]], shape: Any) -> pl.DataFrame:
    given = [name for name in shape if rows and name in rows[0]]
    plain = pl.DataFrame(rows, orient="row").select(given) if rows else pl.DataFrame()
    return pl.concat(
        [empty(shape), plain.with_columns(pl.col(name).cast(shape[name]) for name in given)], how="diagonal"
    )


def fit(handoffs: Sequence[tuple[str, bool, Floats]], without: str = "") -> Floats:
    """Severities that make the marks most probable: P(broke) = 1 - (1 - leak) Π (1 - severity · part).

    They are drawn towards their mean, so that a part these runs never show gets the severity of the others.
    """
    use = [(broke, found) for run, broke, found in handoffs if run != without]
    strength = np.nan_to_num(np.array([found for _, found in use]))
    broke = np.array([flag for flag, _ in use])

    def loss(given: Floats) -> float:
        survives = (1 - given[-1]) * np.prod(1 - given[:-1] * strength, axis=1)
        chance = np.clip(np.where(broke, 1 - survives, survives), 1e-9, 1)
        return float(-np.log(chance).sum() + RIDGE / 2 * np.sum((given[:-1] - given[:-1].mean()) ** 2))

    start = np.full(len(PARTS) + 1, 0.2)
    return np.asarray(minimize(loss, start, method="L-BFGS-B", bounds=[(0.0, 0.99)] * len(start)).x)


def told(severity: Floats, found: Floats) -> float:
    """The loss that the score shows: 1 - score."""
    return float(1 - np.prod(1 - severity[: len(PARTS)] * np.nan_to_num(found)))


def separated(folder: Path) -> Iterator[Row]:
    handoffs = parts(who_and_when(folder))
    names = sorted({run for run, _, _ in handoffs})
    severities = {run: fit(handoffs, without=run) for run in names}
    by_run: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for run, broke, found in handoffs:
        by_run[run].append((told(severities[run], found), broke))
    bar = 0.5
    for name, guessed in trivial(who_and_when(folder)).items():
        told_by = _auc("who_and_when", f"AUC of {name} (trivial)", guessed, None)
        bar = max(bar, told_by.value)
        yield told_by
    broke_work = "AUC, handoffs that broke the work against others, cross-validated"
    yield _auc("who_and_when", broke_work, by_run, ("above", 0.5))
    yield _auc("who_and_when", f"{broke_work}, against the best trivial guess", by_run, ("above", bar))
    shipped = np.array([SEVERITY[part] for part in PARTS])
    as_shipped: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for run, broke, found in handoffs:
        as_shipped[run].append((told(shipped, found), broke))
    yield _auc("who_and_when", "AUC, shipped severities", as_shipped, ("above", 0.5))
    for at, part in enumerate(PARTS):
        values = [found[at] for _, _, found in handoffs]
        yield row(
            QUALITY,
            "who_and_when",
            f"share of handoffs where `{part}` is known, %",
            100 * float(np.mean(~np.isnan(values))),
        )


def trivial(runs: Sequence[Failed]) -> dict[str, dict[str, list[tuple[float, bool]]]]:
    """What anybody would guess by: the place of a handoff, and how much was said before it; by run."""
    told: dict[str, dict[str, list[tuple[float, bool]]]] = {"how early it is": {}, "how little was said before it": {}}
    for run in runs:
        turns, marked = _turns(run), _turn(run)
        pairs = [(at, f"turn {at}" == marked) for at in range(1, len(turns))]
        said = [sum(len(step["text"]) for step in turn) for turn in turns]
        told["how early it is"][run.name] = [(-at, broke) for at, broke in pairs]
        told["how little was said before it"][run.name] = [(-said[at - 1], broke) for at, broke in pairs]
    return told


def boundaries(folder: Path) -> Iterator[Row]:
    """Handoffs of the benchmark as spans: a payload that lacks or alters a needed fact breaks its task. The same with
    contents captured, with hashes only, and with neither; against the length of the payload."""
    listed = tasks(folder)
    lengths: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for task in listed:
        lengths[task.story] += [(-len(payload.text), payload.damage != "full") for payload in task.payloads]
    shorter = _auc("handoffbench", "AUC of a shorter payload (trivial)", lengths, None)
    yield shorter
    for how in ("contents", "hashes", "neither"):
        found = handoff_score(listed, how)
        units: dict[str, list[tuple[float, bool]]] = defaultdict(list)
        for task, losses in zip(listed, found, strict=True):
            pairs = zip(losses, task.payloads, strict=True)
            units[task.story] += [(loss, payload.damage != "full") for loss, payload in pairs]
        bar = ("above", shorter.value) if how != "neither" else None
        yield _auc("handoffbench", f"AUC, payloads that break the task against whole ones, {how} captured", units, bar)


def handoff_score(listed: Sequence[Task], how: str) -> list[list[float]]:
    """Per task the loss (1 - score) of each payload, by the product from spans."""
    rows: list[dict[str, Any]] = []
    for number, task in enumerate(listed):
        for at, payload in enumerate(task.payloads):
            rows += _boundary(f"{number}/{at}", task, payload.text, how)
    schema = {name: AGENT_SPANS[name] for name in {key for told in rows for key in told}}
    facts = compute(agent_spans(pl.DataFrame(rows, schema=schema, orient="row")))
    score = dict(facts.handoff_quality.select("session_id", "score").iter_rows())
    return [[1 - score[f"{number}/{at}"] for at in range(len(task.payloads))] for number, task in enumerate(listed)]


def _boundary(name: str, task: Task, payload: str, how: str) -> list[dict[str, Any]]:
    """Upstream looks things up and hands the payload to downstream, which asks its model once."""
    start = datetime(2026, 1, 1, tzinfo=timezone.utc)

    def span(number: str, under: str, kind: str, begin: int, **told: Any) -> dict[str, Any]:
        return {
            "TraceId": name, "SpanId": f"{name}-{number}", "ParentSpanId": f"{name}-{under}" if under else "",
            "SpanName": kind, "Kind": kind, "Dialect": "mas", "SessionId": name, "StatusCode": "Unset",
            "Timestamp": start + timedelta(seconds=begin), "Duration": 500_000_000, **told,
        }  # fmt: skip

    whole = task.payloads[0].text
    sent, arrived = (hashlib.sha256(text.encode()).hexdigest() for text in (whole, payload))
    hashed = how == "hashes"
    found = [{"ToolResult": text} if how == "contents" else {} for text in task.upstream]
    passed = {"ToolArguments": payload} if how == "contents" else {"ContextHash": sent} if hashed else {}
    given = {"InputContent": payload} if how == "contents" else {}
    received = {"ContextHash": arrived} if hashed else {}
    lookups = [span(f"tool{at}", "one", "tool", at + 1, ToolName="lookup", **told) for at, told in enumerate(found)]
    last = len(found) + 2
    return [
        span("one", "", "agent", 0, AgentName="upstream", Duration=(last + 1) * 10**9),
        *lookups,
        span("pass", "one", "handoff", last, TransferTarget="downstream", HandoffId=name, **passed),
        span("two", "", "agent", last + 2, AgentName="downstream", HandoffId=name, **given, **received),
        span("call", "two", "llm", last + 2, RequestModel="m", InputTokens=1, OutputTokens=1),
    ]


def _auc(data: str, metric: str, by_unit: dict[str, list[tuple[float, bool]]], bar: Any) -> Row:
    def of(units: Sequence[list[tuple[float, bool]]]) -> float:
        pairs = [pair for unit in units for pair in unit]
        return area([loss for loss, _ in pairs], [broke for _, broke in pairs])

    units = list(by_unit.values())
    count = sum(len(unit) for unit in units)
    return row(QUALITY, data, f"{metric}, n = {count}", of(units), bootstrap(units, of, draws=500), bar)


VALIDATIONS = (
    Validation(number=QUALITY, data="who_and_when", run=separated),
    Validation(number=QUALITY, data="handoffbench", run=boundaries),
)


def main(arguments: Sequence[str]) -> int:
    folder = Path(dict(argument.split("=", 1) for argument in arguments)["DATASETS"])
    handoffs = parts(who_and_when(folder / "who_and_when"))
    fitted = fit(handoffs)
    print({name: round(float(value), 2) for name, value in zip((*PARTS, "leak"), fitted, strict=True)})
    losses = [
        1 - share
        for task in tasks(folder / "handoffbench")
        for payload, share in zip(task.payloads, scores(task), strict=True)
        if payload.damage != "full"
    ]
    print(f"lost: every payload that lacks a needed fact breaks the task; a damaged one loses {np.mean(losses):.2f}")
    for at, part in enumerate(PARTS):
        for flag in (True, False):
            values = np.array([found[at] for _, broke, found in handoffs if broke == flag])
            print(
                part,
                "broke" if flag else "others",
                f"mean {np.nanmean(values) if (~np.isnan(values)).any() else np.nan:.3f}",
                len(values),
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
