"""From spans to facts: agent runs, handoffs, model and tool calls, errors and sessions, for many sessions at once."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Any

import numpy as np
import polars as pl

from . import frames, names
from .attribution import ModelCalls, has_usage, model_calls
from .cost import price
from .errors import Marks, Mishap, marks, mishaps, run_failures
from .forest import Flags, Forest, Ints
from .frames import UNATTRIBUTED, hints
from .handoffs import Edge, handoff_edges
from .prices import PriceBook
from .runs import Run, Runs, agent_runs
from .sessions import stitched, without_repeats
from .transfers import TOOLS


@dataclass(frozen=True, slots=True)
class Facts:
    """One frame a fact, columns as in `frames`."""

    sessions: pl.DataFrame
    agent_runs: pl.DataFrame
    handoffs: pl.DataFrame
    llm_calls: pl.DataFrame
    tool_calls: pl.DataFrame
    agent_errors: pl.DataFrame


def compute(spans: pl.DataFrame, events: pl.DataFrame | None = None, *, prices: PriceBook | None = None) -> Facts:
    """The facts of all sessions in `spans`. The same spans in any order, or sent twice, give the same facts.

    spans: `agent_spans`, whole sessions of it (`sessions.stitch_keys` says what belongs together).
    events: `agent_events`; outcomes that became known late are taken from it.
    """
    spans, repeats = without_repeats(frames.agent_spans(spans))
    if spans.is_empty():
        return _nothing()
    forest = Forest.of(spans)
    calls = model_calls(spans, forest)
    traces = stitched(spans, forest, calls.same_call)
    session_of_trace = dict(traces.select("TraceId", "session_id").iter_rows())
    marked = marks(spans)
    runs = agent_runs(spans, forest, calls, TOOLS)
    edges = handoff_edges(spans, forest, calls, runs, marked.failed, session_of_trace)
    errors = mishaps(spans, forest, calls, runs, edges, marked, session_of_trace)
    seen = _Seen(spans, forest, calls, runs, edges, errors, marked, session_of_trace)
    llm_calls = _llm_calls(seen)
    if prices is not None:
        llm_calls = price(llm_calls, prices)
    tool_calls = _tool_calls(seen)
    run_facts = _agent_runs(seen, llm_calls, tool_calls)
    handoffs = _with_late_outcomes(_handoffs(seen), events)
    error_facts = _agent_errors(seen)
    sessions = _sessions(seen, traces, repeats, run_facts, handoffs, llm_calls, tool_calls, error_facts, events)
    return Facts(
        frames.facts(sessions, frames.SESSIONS), frames.facts(run_facts, frames.AGENT_RUNS), frames.facts(handoffs, frames.HANDOFFS),
        frames.facts(llm_calls, frames.LLM_CALLS), frames.facts(tool_calls, frames.TOOL_CALLS), frames.facts(error_facts, frames.AGENT_ERRORS),
    )  # fmt: skip


def _nothing() -> Facts:
    return Facts(*(frames.empty(getattr(frames, field.name.upper())) for field in fields(Facts)))


@dataclass(frozen=True, slots=True)
class _Seen:
    spans: pl.DataFrame
    forest: Forest
    calls: ModelCalls
    runs: Runs
    edges: list[Edge]
    errors: list[Mishap]
    marked: Marks
    session_of_trace: Mapping[str, str]

    def at(self, rows: Ints | list[int]) -> pl.DataFrame:
        """What every fact says about the spans it is from."""
        spans = self.spans[rows]
        return spans.select(
            pl.col("TraceId").replace_strict(self.session_of_trace, return_dtype=pl.String).alias("session_id"),
            trace_id="TraceId", span_id="SpanId", at="Timestamp", duration_ns="Duration",
        )  # fmt: skip

    def run_ids(self) -> list[str]:
        """By run number, and '' for -1."""
        return [*(str(self.spans["SpanId"][int(run.row)]) for run in self.runs), ""]

    def agents(self) -> list[str]:
        return [*(run.name for run in self.runs), UNATTRIBUTED]

    def by_run(self, numbers: Ints) -> list[pl.Series]:
        ids, agents = np.array(self.run_ids(), dtype=object), np.array(self.agents(), dtype=object)
        return [
            pl.Series("run_id", ids[numbers], dtype=pl.String),
            pl.Series("agent", agents[numbers], dtype=pl.String),
        ]


def _llm_calls(seen: _Seen) -> pl.DataFrame:
    rows = seen.calls.rows
    spans, told = seen.spans[rows], seen.calls.told
    frame = seen.at(rows).with_columns(
        *seen.by_run(seen.runs.of_span[rows]),
        model=pl.coalesce(*(pl.when(name != "").then(name) for name in (told["ResponseModel"], told["RequestModel"])), pl.lit("")),
        provider=told["Provider"],
        status=pl.Series(_status(seen.marked, rows), dtype=pl.String),
        input_tokens=told["InputTokens"], output_tokens=told["OutputTokens"], cached_tokens=told["CacheReadTokens"],
        cache_write_tokens=told["CacheWriteTokens"], reasoning_tokens=told["ReasoningTokens"],
        cost_usd=pl.lit(None, dtype=pl.Float64), unpriced_reason=pl.lit(""),
    )  # fmt: skip
    del spans
    return pl.concat([frame.select(_CALL), _usage_elsewhere(seen).select(_CALL)]).with_columns(
        tokens_known=pl.all_horizontal(pl.col("input_tokens", "output_tokens").is_not_null())
    )


_CALL = [name for name in frames.LLM_CALLS if name != "tokens_known"]


def _status(marked: Marks, rows: Ints) -> list[str]:
    return ["error" if marked.failed[row] else "cancelled" if marked.cancelled[row] else "ok" for row in rows]


def _usage_elsewhere(seen: _Seen) -> pl.DataFrame:
    """Usage of calls that have no span of their own: on the lowest span that has any, or in AutoGen's messages."""
    spans, forest = seen.spans, seen.forest
    called = _mask(len(forest), seen.calls.rows)
    telling = spans.select(has_usage())["InputTokens"].to_numpy() & ~np.isin(
        spans["Kind"].to_numpy(), ["llm", "embedding"]
    )
    lowest = (
        telling
        & ~forest.below(called)
        & ~forest.below(telling)
        & (forest.nearest(np.isin(spans["Kind"].to_numpy(), ["llm", "embedding"])) < 0)
    )
    rows = np.flatnonzero(lowest)
    told = spans[rows]
    frame = seen.at(rows).with_columns(
        *seen.by_run(seen.runs.of_span[rows]),
        model=pl.when(told["ResponseModel"] != "").then(told["ResponseModel"]).otherwise(told["RequestModel"]), provider=told["Provider"],
        status=pl.Series(_status(seen.marked, rows), dtype=pl.String), input_tokens=told["InputTokens"], output_tokens=told["OutputTokens"],
        cached_tokens=told["CacheReadTokens"], cache_write_tokens=told["CacheWriteTokens"], reasoning_tokens=told["ReasoningTokens"],
        cost_usd=pl.lit(None, dtype=pl.Float64), unpriced_reason=pl.lit(""),
    )  # fmt: skip
    messages = _usage_in_messages(seen)
    return pl.concat([frame.select(_CALL), messages.select(_CALL)]) if len(messages) else frame


def _usage_in_messages(seen: _Seen) -> pl.DataFrame:
    """AutoGen without a model instrumentation: every message says what it cost. It is delivered to many; its id is one.
    Sessions that have model calls in AutoGen's agents do not need this."""
    spans = seen.spans
    carrying = (
        hints(spans, ["message", "recipient_agent_class"])
        .with_row_index("row")
        .filter(pl.col("message").str.contains("models_usage"))
    )
    empty = frames.empty(frames.LLM_CALLS)
    if carrying.is_empty():
        return empty
    counted = {
        seen.session_of_trace[trace]
        for trace in spans.filter(pl.Series(_mask(len(spans), seen.calls.rows)))["TraceId"].unique()
    }
    named: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in seen.runs:
        named[seen.session_of_trace[spans["TraceId"][int(run.row)]], names.key(run.name)].append(run)
    found: dict[str, dict[str, Any]] = {}
    for row, text in carrying.select("row", "message").iter_rows():
        session = seen.session_of_trace[spans["TraceId"][int(row)]]
        if session in counted:
            continue
        for message in _with_usage(text):
            found.setdefault(str(message["id"]), {"row": row, "session": session, **message})
    rows, taken = [], defaultdict(int)
    for message in found.values():
        span = spans.row(message["row"], named=True)
        agent = names.clean(str(message.get("source", "")))
        ran = [run for run in named.get((message["session"], names.key(agent)), ()) if run.start <= int(seen_ns(span))]
        taken[span["SpanId"]] += 1
        usage = message["models_usage"]
        rows.append({
            "session_id": message["session"], "trace_id": span["TraceId"],
            "span_id": span["SpanId"] + (f"#{taken[span['SpanId']]}" if taken[span["SpanId"]] > 1 else ""),
            "run_id": spans["SpanId"][ran[-1].row] if ran else "", "agent": ran[-1].name if ran else agent or UNATTRIBUTED,
            "model": "", "provider": "", "at": span["Timestamp"], "duration_ns": 0, "status": "ok",
            "input_tokens": usage.get("prompt_tokens"), "output_tokens": usage.get("completion_tokens"),
            "cached_tokens": None, "cache_write_tokens": None, "reasoning_tokens": None, "cost_usd": None, "unpriced_reason": "", "tokens_known": True,
        })  # fmt: skip
    return pl.DataFrame(rows, schema=dict(frames.LLM_CALLS)) if rows else empty


def seen_ns(span: Mapping[str, Any]) -> int:
    return int(pl.Series([span["Timestamp"]], dtype=frames.TIME).dt.timestamp("ns")[0])


def _with_usage(text: str) -> list[dict[str, Any]]:
    """All messages in a JSON document that say what they cost."""
    try:
        waiting: list[Any] = [json.loads(text)]
    except ValueError:
        return []
    found = []
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if isinstance(item.get("models_usage"), dict) and item.get("id"):
                found.append(item)
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
    return found


def _mask(size: int, rows: Ints) -> Flags:
    mask = np.zeros(size, dtype=np.bool_)
    mask[rows] = True
    return mask


def _tool_calls(seen: _Seen) -> pl.DataFrame:
    """Tools that were carried out, each once: not the transport inside a tool, not a handoff whose name is its target."""
    spans, forest = seen.spans, seen.forest
    tool = np.isin(spans["Kind"].to_numpy(), ["tool", "handoff"]) & (spans["ToolName"] != "").to_numpy()
    handing = {name for name in spans["ToolName"].unique() if name and TOOLS.in_name(name)}
    tool &= ~spans["ToolName"].is_in(list(handing)).to_numpy()
    name, dialect = spans["ToolName"].to_numpy(), spans["Dialect"].to_numpy()
    above = forest.nearest(tool | (spans["Kind"] == "agent").to_numpy(), own=False)
    inside = np.append(tool, False)[above] & ((np.append(name, "")[above] == name) | (dialect == "mcp"))
    rows = np.flatnonzero(tool & ~inside)
    numbers = seen.runs.doer[rows]
    told = spans[rows]
    return seen.at(rows).with_columns(
        *seen.by_run(numbers), tool=told["ToolName"], status=pl.Series(_status(seen.marked, rows), dtype=pl.String),
        error_type=pl.when(pl.Series(seen.marked.failed[rows])).then(told["ErrorType"]).otherwise(pl.lit("")),
        arguments_hash=pl.Series([_hash(text) for text in told["ToolArguments"]], dtype=pl.String),
    )  # fmt: skip


def _hash(arguments: str) -> str:
    """Equal for equal arguments, whatever their order: a tool called again with the same ones can be seen."""
    if not arguments:
        return ""
    try:
        arguments = json.dumps(json.loads(arguments), sort_keys=True)
    except ValueError:
        pass
    return hashlib.sha256(arguments.encode()).hexdigest()[:16]


def _agent_runs(seen: _Seen, llm_calls: pl.DataFrame, tool_calls: pl.DataFrame) -> pl.DataFrame:
    runs, ids = seen.runs.runs, seen.run_ids()
    rows = [run.row for run in runs]
    status = run_failures(seen.runs, seen.errors, seen.marked)
    told = seen.spans[rows]
    frame = seen.at(rows).drop("at", "duration_ns").rename({"span_id": "run_id"}).with_columns(
        parent_run_id=pl.Series([ids[run.parent] for run in runs], dtype=pl.String), agent=pl.Series([run.name for run in runs], dtype=pl.String),
        role=told["AgentRole"], agent_version=told["AgentVersion"], variant=told["Variant"], service=told["ServiceName"], framework=told["Framework"],
        started_at=_time([run.start for run in runs]), ended_at=_time([run.end for run in runs]),
        duration_ns=pl.Series([run.end - run.start for run in runs], dtype=pl.UInt64), self_ns=pl.Series(_self_times(runs), dtype=pl.UInt64),
        status=pl.Series([status.get(run.number, ("ok", ""))[0] for run in runs], dtype=pl.String),
        error_type=pl.Series([status.get(run.number, ("ok", ""))[1] for run in runs], dtype=pl.String),
        name_evidence=pl.Series([run.evidence for run in runs], dtype=pl.String),
    )  # fmt: skip
    spent = llm_calls.group_by("session_id", "run_id").agg(
        pl.len().alias("llm_calls"), *(pl.col(name).sum() for name in ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")),
        cost_usd=pl.when(pl.col("cost_usd").is_not_null().any()).then(pl.col("cost_usd").sum()),
    )  # fmt: skip
    used = tool_calls.group_by("session_id", "run_id").agg(pl.len().alias("tool_calls"))
    counts = ["llm_calls", "tool_calls", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"]
    return (
        frame.join(spent, on=["session_id", "run_id"], how="left").join(used, on=["session_id", "run_id"], how="left")
        .with_columns(pl.col(counts).fill_null(0))
    )  # fmt: skip


def _time(nanoseconds: list[int]) -> pl.Series:
    return pl.Series(nanoseconds, dtype=pl.Int64).cast(pl.Datetime("ns")).dt.replace_time_zone("UTC")


def _self_times(runs: list[Run]) -> list[int]:
    """Per run its duration without the time that runs inside of it cover."""
    inside: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for run in runs:
        if run.parent >= 0:
            inside[run.parent].append((run.start, run.end))
    result = []
    for run in runs:
        spans = sorted((max(start, run.start), min(end, run.end)) for start, end in inside.get(run.number, ()))
        reached = list(accumulate((end for _, end in spans), max, initial=run.start))
        covered = sum(max(0, end - max(start, before)) for (start, end), before in zip(spans, reached, strict=False))
        result.append(max(0, run.end - run.start - covered))
    return result


def _handoffs(seen: _Seen) -> pl.DataFrame:
    ids, edges = seen.run_ids(), seen.edges
    received = seen.spans["ContextHash"]
    return seen.at([edge.row for edge in edges]).drop("at", "duration_ns").with_columns(
        handoff_id=pl.Series([edge.handoff_id for edge in edges], dtype=pl.String),
        source=pl.Series([edge.source for edge in edges], dtype=pl.String), target=pl.Series([edge.target for edge in edges], dtype=pl.String),
        mode=pl.Series([edge.mode for edge in edges], dtype=pl.String), evidence=pl.Series([edge.evidence for edge in edges], dtype=pl.String),
        confidence=pl.Series([edge.confidence for edge in edges], dtype=pl.Float64), at=_time([edge.at for edge in edges]),
        outcome=pl.Series([edge.outcome for edge in edges], dtype=pl.String),
        source_run_id=pl.Series([ids[edge.source_run] for edge in edges], dtype=pl.String),
        target_run_id=pl.Series([ids[edge.target_run] for edge in edges], dtype=pl.String),
        context_hash_sent=pl.Series([edge.context[0] for edge in edges], dtype=pl.String),
        context_hash_received=pl.Series([received[seen.runs[edge.target_run].row] if edge.target_run >= 0 else "" for edge in edges], dtype=pl.String),
        context_size=pl.Series([edge.context[1] for edge in edges], dtype=pl.UInt64),
    )  # fmt: skip


def _with_late_outcomes(handoffs: pl.DataFrame, events: pl.DataFrame | None) -> pl.DataFrame:
    if events is None or events.is_empty() or not {"HandoffId", "HandoffOutcome"} <= set(events.columns):
        return handoffs
    late = (
        events.select(handoff_id=pl.col("HandoffId").cast(pl.String), late=pl.col("HandoffOutcome").cast(pl.String), at_event="Timestamp")
        .filter((pl.col("handoff_id") != "") & (pl.col("late") != "")).sort("at_event", "late")
        .group_by("handoff_id", maintain_order=True).agg(pl.col("late").last())
    )  # fmt: skip
    return (
        handoffs.join(late, on="handoff_id", how="left")
        .with_columns(outcome=pl.coalesce("late", "outcome"))
        .drop("late")
    )


def _agent_errors(seen: _Seen) -> pl.DataFrame:
    errors = seen.errors
    numbers = np.array([error.run for error in errors], dtype=np.int64)
    return seen.at([error.row for error in errors]).drop("at", "duration_ns").with_columns(
        *seen.by_run(numbers), error_type=pl.Series([error.error_type for error in errors], dtype=pl.String),
        message=pl.Series([error.message for error in errors], dtype=pl.String), at=_time([error.at for error in errors]),
        recovered=pl.Series([error.recovered for error in errors], dtype=pl.Boolean),
    )  # fmt: skip


def _sessions(
    seen: _Seen, traces: pl.DataFrame, repeats: pl.DataFrame, run_facts: pl.DataFrame, handoffs: pl.DataFrame,
    llm_calls: pl.DataFrame, tool_calls: pl.DataFrame, errors: pl.DataFrame, events: pl.DataFrame | None,
) -> pl.DataFrame:  # fmt: skip
    """Sessions in which an agent worked, a model or a tool was called; traces that only set something up are none."""
    spans = seen.spans.join(traces.select("TraceId", "session_id"), on="TraceId")
    base = spans.group_by("session_id").agg(
        started_at=pl.col("Timestamp").min(), ended_at=(pl.col("Timestamp") + pl.duration(nanoseconds=pl.col("Duration").cast(pl.Int64))).max(),
        services=pl.col("ServiceName").unique().sort(), traces=pl.col("TraceId").n_unique(), spans=pl.len(),
    )  # fmt: skip
    base = base.join(
        repeats.join(traces.select("TraceId", "session_id"), on="TraceId").group_by("session_id").agg(pl.col("duplicate_spans").sum()),
        on="session_id", how="left",
    )  # fmt: skip
    for name, fact in (
        ("agent_runs", run_facts),
        ("handoffs", handoffs),
        ("llm_calls", llm_calls),
        ("tool_calls", tool_calls),
        ("errors", errors),
    ):
        base = base.join(fact.group_by("session_id").agg(pl.len().alias(name)), on="session_id", how="left")
    base = base.join(llm_calls.group_by("session_id").agg(
        *(pl.col(name).sum() for name in ("input_tokens", "output_tokens", "cached_tokens")),
        cost_usd=pl.when(pl.col("cost_usd").is_not_null().any()).then(pl.col("cost_usd").sum()),
        unpriced_calls=pl.col("cost_usd").is_null().sum(),
    ), on="session_id", how="left")  # fmt: skip
    counts = [
        "agent_runs",
        "handoffs",
        "llm_calls",
        "tool_calls",
        "errors",
        "input_tokens",
        "output_tokens",
        "cached_tokens",
        "unpriced_calls",
        "duplicate_spans",
    ]
    base = base.with_columns(
        pl.col(counts).fill_null(0), duration_ns=(pl.col("ended_at") - pl.col("started_at")).dt.total_nanoseconds()
    ).filter(pl.sum_horizontal("agent_runs", "llm_calls", "tool_calls", "errors") > 0)
    told = _told_of_sessions(seen, events)
    return base.join(told, on="session_id", how="left")


def _told_of_sessions(seen: _Seen, events: pl.DataFrame | None) -> pl.DataFrame:
    """`session_id, agents, root_agent, final_agent, known_origin_ratio, outcome`."""
    spans = seen.spans
    session = [seen.session_of_trace[trace] for trace in spans["TraceId"]]
    by_session: dict[str, list[Run]] = defaultdict(list)
    for run in seen.runs:
        by_session[session[run.row]].append(run)
    outcome = _outcomes(seen, session, by_session, events)
    into = {edge.target_run for edge in seen.edges}
    statuses = run_failures(seen.runs, seen.errors, seen.marked)
    rows = []
    for name in sorted(set(session)):
        runs = by_session.get(name, [])
        outer = [run for run in runs if run.parent < 0 or seen.runs[run.parent].container]
        leading = [run for run in outer if not run.container] or outer
        ended = [run for run in leading if statuses.get(run.number, ("",))[0] != "cancelled"] or leading
        known = sum(run.number in into or _is_entry(seen, run, outer) for run in runs)
        rows.append({
            "session_id": name, "agents": sorted({run.name for run in runs}),
            "root_agent": min(leading, key=lambda run: (run.start, run.number)).name if leading else "",
            "final_agent": max(ended, key=lambda run: (run.end, run.start, run.number)).name if ended else "",
            "known_origin_ratio": known / len(runs) if runs else None, "outcome": outcome[name],
        })  # fmt: skip
    schema = {
        name: frames.SESSIONS[name]
        for name in ("session_id", "agents", "root_agent", "final_agent", "known_origin_ratio", "outcome")
    }
    return pl.DataFrame(rows, schema=schema)


def _is_entry(seen: _Seen, run: Run, outer: list[Run]) -> bool:
    """Started by whoever is outside: nothing in its trace or team had ended before it. Containers' starts are known too."""
    trace = seen.spans["TraceId"]
    beside = [
        other
        for other in outer
        if other is not run and (trace[other.row] == trace[run.row] or (run.team and other.team == run.team))
    ]
    return (
        run.container or (run in outer and not any(other.end <= run.start for other in beside)) or _is_check(seen, run)
    )


def _is_check(seen: _Seen, run: Run) -> bool:
    return any(seen.spans["Kind"][int(row)] in ("guardrail", "evaluator") for row in seen.forest.path(run.row))


def _outcomes(
    seen: _Seen, session: list[str], by_session: Mapping[str, list[Run]], events: pl.DataFrame | None
) -> dict[str, str]:
    spans = seen.spans
    outcome = dict.fromkeys(session, "unknown")
    failing = {session[error.row] for error in seen.errors if not error.recovered}
    statuses = run_failures(seen.runs, seen.errors, seen.marked)
    waiting: dict[str, int] = {}
    for row in np.flatnonzero(seen.marked.interrupted):
        waiting[session[row]] = max(waiting.get(session[row], 0), _end(spans, int(row)))
    begun: dict[str, int] = defaultdict(int)
    for row in (*seen.calls.rows.tolist(), *np.flatnonzero((spans["Kind"] == "tool").to_numpy()).tolist()):
        begun[session[row]] = max(begun[session[row]], seen_start(spans, row))
    acted = {session[row] for row in seen.calls.rows.tolist()} | set(by_session)
    for name in outcome:
        runs = by_session.get(name, [])
        if name in failing:
            outcome[name] = "failure"
        elif runs and all(statuses.get(run.number, ("",))[0] == "cancelled" for run in runs):
            outcome[name] = "cancelled"
        elif name in waiting and begun[name] <= waiting[name]:
            outcome[name] = "partial"
        elif name in acted:
            outcome[name] = "success"
    told = spans.with_columns(pl.Series("session", session)).filter(
        (pl.col("TaskOutcome") != "") & (pl.col("ParentSpanId") == "") & (pl.col("Dialect") == "mas")
    )
    outcome |= dict(told.sort("Timestamp", "SpanId").select("session", "TaskOutcome").iter_rows())
    if events is not None and {"TaskOutcome", "TraceId", "SessionId"} <= set(events.columns):
        late = events.select(
            "Timestamp", *(pl.col(name).cast(pl.String) for name in ("TaskOutcome", "TraceId", "SessionId"))
        ).filter(pl.col("TaskOutcome") != "")
        for _, result, trace, name in late.sort("Timestamp", "TaskOutcome").iter_rows():
            if (name := seen.session_of_trace.get(trace, name)) in outcome:
                outcome[name] = result
    return outcome


def seen_start(spans: pl.DataFrame, row: int) -> int:
    return int(spans["Timestamp"].dt.timestamp("ns")[row])


def _end(spans: pl.DataFrame, row: int) -> int:
    return seen_start(spans, row) + int(spans["Duration"][int(row)])
