"""From spans to facts: agent runs, handoffs, model and tool calls, errors and sessions, for many sessions at once."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Any

import numpy as np
import polars as pl

from . import frames, names
from .attribution import ModelCalls, model_calls
from .bottlenecks import bottlenecks
from .context_drift import context_drift
from .coordination import coordination
from .cost import price
from .errors import Marks, Mishap, marks, mishaps, run_failures
from .evaluations import evaluations
from .forest import Ints
from .frames import UNATTRIBUTED
from .handoff_quality import handoff_quality
from .handoff_signs import objects
from .handoffs import Edge, handoff_edges
from .lexical import Embed, lexical
from .neighbours import is_check
from .prices import PriceBook
from .runs import Run, Runs, agent_runs
from .sessions import outcomes, stitched, without_repeats
from .spans import Spans
from .steps import steps
from .suspects import failed_sessions, suspects
from .transfers import is_but_a_handoff


@dataclass(frozen=True, slots=True)
class Facts:
    """One frame a fact, columns as in `frames`."""

    sessions: pl.DataFrame
    agent_runs: pl.DataFrame
    handoffs: pl.DataFrame
    llm_calls: pl.DataFrame
    tool_calls: pl.DataFrame
    agent_errors: pl.DataFrame
    handoff_quality: pl.DataFrame
    suspects: pl.DataFrame
    context_drift: pl.DataFrame
    bottlenecks: pl.DataFrame
    coordination: pl.DataFrame
    evaluations: pl.DataFrame


def compute(
    spans: pl.DataFrame,
    events: pl.DataFrame | None = None,
    *,
    prices: PriceBook | None = None,
    embed: Embed = lexical,
) -> Facts:
    """The facts of all sessions in `spans`. The same spans in any order, or sent twice, give the same facts.

    spans: `agent_spans`, whole sessions of it (`sessions.stitch_keys` says what belongs together).
    events: `agent_events`; outcomes that became known late are taken from it. embed: what context drift measures
    distances by.
    """
    once, repeats = without_repeats(frames.agent_spans(spans))
    if once.is_empty():
        return Facts(*(frames.empty(getattr(frames, field.name.upper())) for field in fields(Facts)))
    seen = _look(Spans(once))
    llm_calls = _llm_calls(seen)
    if prices is not None:
        llm_calls = price(llm_calls, prices)
    tool_calls = _tool_calls(seen)
    run_facts = _agent_runs(seen, llm_calls, tool_calls)
    handoffs = _with_late_outcomes(_handoffs(seen), events)
    errors = _agent_errors(seen)
    facts = {"agent_runs": run_facts, "handoffs": handoffs, "llm_calls": llm_calls, "tool_calls": tool_calls}
    sessions = _sessions(seen, repeats, {**facts, "errors": errors}, events)
    judged = evaluations(events, _doers(seen), handoffs, seen.session_of_trace)
    facts |= {"sessions": sessions, "agent_errors": errors, "evaluations": judged}
    facts |= _judged(once, facts, _with_session(seen, events), embed)
    return Facts(**{name: frames.facts(frame, getattr(frames, name.upper())) for name, frame in facts.items()})


def suspects_of(spans: pl.DataFrame) -> pl.DataFrame:
    """The suspects of every session in `spans`, whether or not anything says that it failed."""
    return suspects(steps_of(spans))


def steps_of(spans: pl.DataFrame) -> pl.DataFrame:
    """The steps of every session in `spans`."""
    facts = compute(spans)
    told = frames.agent_spans(spans)
    quality = facts.handoff_quality
    return steps(told, facts.agent_runs, facts.llm_calls, facts.tool_calls, facts.handoffs, quality)


def _judged(
    spans: pl.DataFrame, facts: Mapping[str, pl.DataFrame], events: pl.DataFrame | None, embed: Embed
) -> dict[str, pl.DataFrame]:
    """What is read out of the facts themselves and the contents of spans."""
    runs, calls, tools, handoffs = (facts[name] for name in ("agent_runs", "llm_calls", "tool_calls", "handoffs"))
    quality = handoff_quality(handoffs, runs, calls, tools, spans)
    failed = failed_sessions(facts["sessions"], facts["agent_errors"], events)
    found = frames.empty(frames.SUSPECTS)
    if len(failed):
        mine = pl.col("session_id").is_in(failed.implode())
        found = suspects(
            steps(spans, runs.filter(mine), calls.filter(mine), tools.filter(mine), handoffs.filter(mine), quality)
        )
    return {
        "handoff_quality": quality, "suspects": found,
        "context_drift": context_drift(spans, runs, calls, handoffs, embed=embed),
        "bottlenecks": bottlenecks(runs, handoffs, calls, tools),
        "coordination": coordination(runs, handoffs, calls, bounced=quality, events=events),
    }  # fmt: skip


def _with_session(seen: _Seen, events: pl.DataFrame | None) -> pl.DataFrame | None:
    """Events with the session that their trace is of, or that they name."""
    if events is None or not {"TraceId", "SessionId"} <= set(events.columns):
        return None
    traces = pl.DataFrame(list(seen.session_of_trace.items()), schema=["TraceId", "of_trace"], orient="row")
    told = events.with_columns(pl.col("TraceId", "SessionId").cast(pl.String)).join(traces, on="TraceId", how="left")
    return told.with_columns(session_id=pl.coalesce("of_trace", "SessionId"))


@dataclass(frozen=True, slots=True)
class _Seen:
    """All that was found in the spans, before it becomes rows."""

    spans: Spans
    calls: ModelCalls
    runs: Runs
    edges: list[Edge]
    errors: list[Mishap]
    marked: Marks
    failures: Mapping[int, tuple[str, str]]
    session_of_trace: Mapping[str, str]
    run_ids: pl.Series  # by number, and at the end what a span of no run has
    agents: pl.Series

    def session(self, row: int) -> str:
        return self.session_of_trace[self.spans.trace[row]]

    def at(self, rows: Ints | Sequence[int]) -> pl.DataFrame:
        """What the facts say about the spans they are from."""
        return self.spans.frame[rows].select(
            pl.col("TraceId").replace_strict(self.session_of_trace, return_dtype=pl.String).alias("session_id"),
            trace_id="TraceId",
            span_id="SpanId",
            at="Timestamp",
            duration_ns="Duration",
        )

    def by_run(self, numbers: Ints | Sequence[int]) -> list[pl.Series]:
        of = np.asarray(numbers, dtype=np.int64)
        at = np.where(of < 0, len(self.runs), of)
        return [self.run_ids.gather(at), self.agents.gather(at)]

    def status(self, rows: Ints) -> pl.Series:
        failed, cancelled = self.marked.failed[rows], self.marked.cancelled[rows]
        return pl.Series("status", np.where(failed, "error", np.where(cancelled, "cancelled", "ok")), dtype=pl.String)


def _look(spans: Spans) -> _Seen:
    calls = model_calls(spans)
    session_of_trace = dict(stitched(spans, calls.same_call).iter_rows())
    marked = marks(spans)
    runs = agent_runs(spans, calls, session_of_trace)
    edges = handoff_edges(spans, calls, runs, marked.failed, session_of_trace)
    errors = mishaps(spans, calls, runs, edges, marked)
    failures = run_failures(runs, errors, marked)
    run_ids = _texts("run_id", [*(spans.text("SpanId", run.row) for run in runs), ""])
    agents = _texts("agent", [*(run.name for run in runs), UNATTRIBUTED])
    return _Seen(spans, calls, runs, edges, errors, marked, failures, session_of_trace, run_ids, agents)


def _doers(seen: _Seen) -> pl.DataFrame:
    """`TraceId, SpanId, ResponseId, run_id, agent`: whose doing each span is."""
    told = seen.spans.frame.select("TraceId", "SpanId", "ResponseId")
    run_id, agent = seen.by_run(seen.runs.doer)
    return told.with_columns(run_id, agent.replace(UNATTRIBUTED, ""))


def _texts(name: str, values: Iterable[str]) -> pl.Series:
    return pl.Series(name, list(values), dtype=pl.String)


def _times(name: str, nanoseconds: Iterable[int]) -> pl.Series:
    times: pl.Series = pl.Series(name, list(nanoseconds), dtype=pl.Int64).cast(frames.TIME)
    return times


# -- model calls ----------------------------------------------------------------------------------------------------


def _llm_calls(seen: _Seen) -> pl.DataFrame:
    elsewhere = _rows_with_usage_elsewhere(seen)
    told = seen.spans.frame[elsewhere].select(pl.exclude("Hints"))
    parts = [_calls(seen, seen.calls.rows, seen.calls.told), _calls(seen, elsewhere, told), _calls_in_messages(seen)]
    known = pl.all_horizontal(pl.col("input_tokens", "output_tokens").is_not_null())
    return pl.concat(part.select(_CALL) for part in parts).with_columns(tokens_known=known)


_CALL = [name for name in frames.LLM_CALLS if name != "tokens_known"]
_USAGE = {
    "input_tokens": "InputTokens",
    "output_tokens": "OutputTokens",
    "cached_tokens": "CacheReadTokens",
    "cache_write_tokens": "CacheWriteTokens",
    "reasoning_tokens": "ReasoningTokens",
}


def _calls(seen: _Seen, rows: Ints, told: pl.DataFrame) -> pl.DataFrame:
    answered = pl.when(pl.col("ResponseModel") != "").then("ResponseModel").otherwise("RequestModel")
    return seen.at(rows).with_columns(
        *seen.by_run(seen.runs.of_span[rows]),
        seen.status(rows),
        *told.select(model=answered, provider="Provider", **_USAGE),
        cost_usd=pl.lit(None, dtype=pl.Float64),
        unpriced_reason=pl.lit(""),
    )


def _rows_with_usage_elsewhere(seen: _Seen) -> Ints:
    """The lowest spans that tell usage of calls which have no span of their own."""
    spans = seen.spans
    model = spans.of_kind("llm", "embedding")
    used = pl.any_horizontal(pl.col("InputTokens", "OutputTokens") > 0).fill_null(False).alias("used")
    telling = spans.frame.select(used)["used"].to_numpy() & ~model
    counted = spans.forest.below(model | telling) | (spans.forest.nearest(model) >= 0)
    return _not_retold(spans, seen.calls, np.flatnonzero(telling & ~counted))


def _not_retold(spans: Spans, calls: ModelCalls, rows: Ints) -> Ints:
    """Those of `rows` that tell no call again that another span told: OpenLIT's nodes stand beside the call's own span.
    The answer's id says so, else the same usage in the same trace at the same time. Nor what may be the sum of calls
    inside whose spans in between were lost."""
    columns = ("TraceId", "ResponseId", "InputTokens", "OutputTokens")
    told, known = (
        spans.frame.select(columns)[at].with_columns(
            row=pl.Series(at), start=pl.Series(spans.start[at]), end=pl.Series(spans.end[at])
        )
        for at in (rows, calls.rows)
    )
    answers = known["ResponseId"].unique().to_list()
    fresh = told.filter(
        (pl.col("ResponseId") == "")
        | (~pl.col("ResponseId").is_in(answers) & (pl.int_range(pl.len()).over("ResponseId") == 0))
    )
    tops = [spans.text("ParentSpanId", spans.forest.path(row)[0]) for row in calls.rows.tolist()]
    orphans = known.filter(pl.Series([top != "" for top in tops], dtype=pl.Boolean))
    alike = [
        fresh.join(known, on=["TraceId", "InputTokens", "OutputTokens"], suffix="_known"),
        fresh.join(orphans, on="TraceId", suffix="_known"),
    ]
    at_once = (pl.col("start") < pl.col("end_known")) & (pl.col("start_known") < pl.col("end"))
    met = pl.concat([pairs.filter(at_once).select("row") for pairs in alike])["row"].unique().to_list()
    return np.asarray(fresh.filter(~pl.col("row").is_in(met))["row"].to_numpy(), dtype=np.int64)


def _calls_in_messages(seen: _Seen) -> pl.DataFrame:
    """AutoGen without a model instrumentation: every message says what it cost. It is delivered to many and counted
    once, by its id. A session in which model calls were traced does not need this."""
    spans, messages = seen.spans, seen.spans.hint("message")
    counted = {seen.session(row) for row in seen.calls.rows.tolist()}
    found: dict[str, tuple[int, dict[str, Any]]] = {}
    for row in np.flatnonzero(pl.Series(messages).str.contains("models_usage", literal=True).to_numpy()).tolist():
        if seen.session(row) not in counted:
            costly = (item for item in objects(messages[row]) if isinstance(item.get("models_usage"), dict))
            for message in costly:
                found.setdefault(str(message.get("id")), (row, message))
    speaking: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in seen.runs:
        speaking[seen.session(run.row), names.key(run.name)].append(run)
    rows = [row for row, _ in found.values()]
    runs = [_speaker(seen, speaking, row, message) for row, message in found.values()]
    said = [names.clean(str(message.get("source", ""))) or UNATTRIBUTED for _, message in found.values()]
    usage = [message["models_usage"] for _, message in found.values()]
    before: dict[int, int] = defaultdict(int)
    ids = []
    for row in rows:
        before[row] += 1
        ids.append(spans.text("SpanId", row) + (f"#{before[row]}" if before[row] > 1 else ""))
    blank = {name: pl.lit(None, dtype=frames.LLM_CALLS[name]) for name in _CALL if name.endswith(("_tokens", "_usd"))}
    blank |= {name: pl.lit("") for name in ("model", "provider", "unpriced_reason")}
    blank |= {"status": pl.lit("ok"), "duration_ns": pl.lit(0, dtype=pl.UInt64)}
    return seen.at(rows).with_columns(**blank).with_columns(
        _texts("span_id", ids), seen.by_run([run.number if run else -1 for run in runs])[0],
        _texts("agent", (run.name if run else name for run, name in zip(runs, said, strict=True))),
        pl.Series("input_tokens", [told.get("prompt_tokens") for told in usage], dtype=pl.UInt64),
        pl.Series("output_tokens", [told.get("completion_tokens") for told in usage], dtype=pl.UInt64),
    )  # fmt: skip


def _speaker(
    seen: _Seen, speaking: Mapping[tuple[str, str], list[Run]], row: int, message: Mapping[str, Any]
) -> Run | None:
    name = names.key(names.clean(str(message.get("source", ""))))
    begun = [run for run in speaking.get((seen.session(row), name), ()) if run.start <= seen.spans.start[row]]
    return begun[-1] if begun else None


# -- tool calls, runs, handoffs, errors -----------------------------------------------------------------------------


def _tool_calls(seen: _Seen) -> pl.DataFrame:
    """Tools that were carried out, each once: not the transport inside a tool, nor a tool that is but a handoff."""
    spans = seen.spans
    tools = spans.frame["ToolName"]
    handoffs = [tool for tool in tools.unique() if tool and is_but_a_handoff(tool)]
    acting = spans.of_kind("tool", "handoff") & (tools != "").to_numpy() & ~tools.is_in(handoffs).to_numpy()
    above = spans.forest.nearest(acting | spans.of_kind("agent"), own=False)
    called = np.array([names.key(names.tool(tool)) for tool in tools], dtype=object)
    same = np.append(called, "")[above] == called
    transport = (spans.frame["Dialect"] == "mcp").to_numpy()
    rows = np.flatnonzero(acting & ~(np.append(acting, False)[above] & (same | transport)))
    told = spans.frame[rows]
    return seen.at(rows).with_columns(
        *seen.by_run(seen.runs.doer[rows]),
        seen.status(rows),
        _texts("tool", map(names.tool, told["ToolName"])),
        _texts("arguments_hash", map(_hash, told["ToolArguments"])),
        error_type=pl.when(pl.Series(seen.marked.failed[rows])).then(told["ErrorType"]).otherwise(pl.lit("")),
    )


def _hash(arguments: str) -> str:
    """Equal for equal arguments, whatever their order: shows a tool called again with the same ones."""
    if not arguments:
        return ""
    with contextlib.suppress(ValueError):
        arguments = json.dumps(json.loads(arguments), sort_keys=True)
    return hashlib.sha256(arguments.encode()).hexdigest()[:16]


_SPENT = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")


def _spent() -> list[pl.Expr]:
    cost = pl.col("cost_usd")
    return [pl.len().alias("llm_calls"), pl.col(_SPENT).sum(), pl.when(cost.is_not_null().any()).then(cost.sum())]


def _agent_runs(seen: _Seen, llm_calls: pl.DataFrame, tool_calls: pl.DataFrame) -> pl.DataFrame:
    runs, rows = seen.runs.runs, [run.row for run in seen.runs]
    told = seen.spans.frame[rows]
    status = [seen.failures.get(run.number, ("ok", "")) for run in runs]
    frame = seen.at(rows).select("session_id", "trace_id", run_id="span_id").with_columns(
        seen.by_run([run.parent for run in runs])[0].alias("parent_run_id"),
        _texts("agent", (run.name for run in runs)),
        _times("started_at", (run.start for run in runs)),
        _times("ended_at", (run.end for run in runs)),
        pl.Series("duration_ns", [run.end - run.start for run in runs], dtype=pl.UInt64),
        pl.Series("self_ns", _self_times(runs), dtype=pl.UInt64),
        _texts("status", (state for state, _ in status)), _texts("error_type", (kind for _, kind in status)),
        _texts("name_evidence", (run.evidence for run in runs)),
        _task(seen.spans, rows),
        role=told["AgentRole"], agent_version=told["AgentVersion"], variant=told["Variant"],
        service=told["ServiceName"], framework=told["Framework"],
    )  # fmt: skip
    of_run = ["session_id", "run_id"]
    spent, used = llm_calls.group_by(of_run).agg(_spent()), tool_calls.group_by(of_run).agg(tool_calls=pl.len())
    joined = frame.join(spent, on=of_run, how="left").join(used, on=of_run, how="left")
    return joined.with_columns(pl.col("llm_calls", "tool_calls", *_SPENT).fill_null(0))


def _task(spans: Spans, rows: list[int]) -> pl.Series:
    """What each of `rows` was for: the task that it or the closest span above it names."""
    task = spans.frame.select(pl.when(pl.col("TaskName") != "").then("TaskName").otherwise("TaskId"))["TaskName"]
    above = spans.forest.nearest((task != "").to_numpy())[rows]
    return _texts("task", (task[row] if row >= 0 else "" for row in above.tolist()))


def _self_times(runs: list[Run]) -> list[int]:
    """Per run its duration without the time that runs inside of it cover."""
    inside: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for run in runs:
        inside[run.parent].append((run.start, run.end))
    result = []
    for run in runs:
        spans = sorted((max(start, run.start), min(end, run.end)) for start, end in inside.get(run.number, ()))
        reached = accumulate((end for _, end in spans), max, initial=run.start)
        covered = sum(max(0, end - max(start, before)) for (start, end), before in zip(spans, reached, strict=False))
        result.append(max(0, run.end - run.start - covered))
    return result


def _handoffs(seen: _Seen) -> pl.DataFrame:
    edges = seen.edges
    told = Counter[tuple[int, str, str, int]]()  # branches of one agent that end together, joined: a nanosecond apart
    for edge in edges:
        at = (edge.row, edge.source, edge.target, edge.at)
        edge.at += told[at]
        told[at] += 1
    received, by_handoff = seen.spans.frame["ContextHash"], _received(seen.spans.frame)
    arrived = (
        by_handoff.get(edge.handoff_id) or (received[seen.runs[edge.target_run].row] if edge.target_run >= 0 else "")
        for edge in edges
    )
    return seen.at([edge.row for edge in edges]).drop("at", "duration_ns").with_columns(
        *(_texts(name, (getattr(edge, name) for edge in edges))
          for name in ("handoff_id", "source", "target", "mode", "evidence", "outcome", "connection_type")),
        _times("at", (edge.at for edge in edges)),
        seen.by_run([edge.source_run for edge in edges])[0].alias("source_run_id"),
        seen.by_run([edge.target_run for edge in edges])[0].alias("target_run_id"),
        _texts("context_hash_sent", (edge.context_hash for edge in edges)),
        _texts("context_hash_received", arrived),
        pl.Series("confidence", [edge.confidence for edge in edges], dtype=pl.Float64),
        pl.Series("context_size", [edge.context_size for edge in edges], dtype=pl.UInt64),
    )  # fmt: skip


def _received(spans: pl.DataFrame) -> dict[str, str]:
    """What arrived with each handoff, whichever of the receiver's spans says so: an instrumentor may write several."""
    told = spans.filter(
        (pl.col("HandoffId") != "") & (pl.col("TransferTarget") == "") & (pl.col("ContextHash") != "")
    ).sort("Timestamp", descending=True)
    return dict(told.select(pl.col("HandoffId", "ContextHash").cast(pl.String)).iter_rows())


def _with_late_outcomes(handoffs: pl.DataFrame, events: pl.DataFrame | None) -> pl.DataFrame:
    if events is None or not {"HandoffId", "HandoffOutcome", "Timestamp"} <= set(events.columns):
        return handoffs
    told = events.select(
        "Timestamp", handoff_id=pl.col("HandoffId").cast(pl.String), late=pl.col("HandoffOutcome").cast(pl.String)
    )
    late = told.filter((pl.col("handoff_id") != "") & (pl.col("late") != "")).sort("Timestamp", "late")
    last = late.group_by("handoff_id", maintain_order=True).agg(pl.col("late").last())
    return (
        handoffs.join(last, on="handoff_id", how="left")
        .with_columns(outcome=pl.coalesce("late", "outcome"))
        .drop("late")
    )


def _agent_errors(seen: _Seen) -> pl.DataFrame:
    errors = seen.errors
    return seen.at([error.row for error in errors]).drop("at", "duration_ns").with_columns(
        *seen.by_run([error.run for error in errors]),
        _texts("error_type", (error.error_type for error in errors)),
        _texts("message", (error.message for error in errors)),
        _times("at", (error.at for error in errors)),
        pl.Series("recovered", [error.recovered for error in errors], dtype=pl.Boolean),
    )  # fmt: skip


# -- sessions -------------------------------------------------------------------------------------------------------


def _sessions(
    seen: _Seen, repeats: pl.DataFrame, facts: Mapping[str, pl.DataFrame], events: pl.DataFrame | None
) -> pl.DataFrame:
    """Sessions in which an agent worked or a model or a tool was called; traces that only set something up are none."""
    traces = pl.DataFrame(list(seen.session_of_trace.items()), schema=["TraceId", "session_id"], orient="row")
    spans = seen.spans.frame.select("TraceId", "Timestamp", "Duration", "ServiceName").join(traces, on="TraceId")
    ended = pl.col("Timestamp") + pl.duration(nanoseconds=pl.col("Duration").cast(pl.Int64))
    base = spans.group_by("session_id").agg(
        started_at=pl.col("Timestamp").min(),
        ended_at=ended.max(),
        services=pl.col("ServiceName").unique().sort(),
        traces=pl.col("TraceId").n_unique(),
        spans=pl.len(),
    )
    counts = [
        fact.group_by("session_id").agg(pl.len().alias(name)) for name, fact in facts.items() if name != "llm_calls"
    ]
    counts.append(repeats.join(traces, on="TraceId").group_by("session_id").agg(pl.col("duplicate_spans").sum()))
    unpriced = pl.col("cost_usd").is_null().sum().alias("unpriced_calls")
    counts.append(facts["llm_calls"].group_by("session_id").agg(*_spent(), unpriced))
    for count in (*counts, _told_of_sessions(seen, events)):
        base = base.join(count, on="session_id", how="left")
    numbers = [name for name, dtype in frames.SESSIONS.items() if dtype == pl.UInt64() and name != "duration_ns"]
    return base.with_columns(
        pl.col(numbers).fill_null(0), duration_ns=(pl.col("ended_at") - pl.col("started_at")).dt.total_nanoseconds()
    ).filter(pl.sum_horizontal("agent_runs", "llm_calls", "tool_calls", "errors") > 0)


def _told_of_sessions(seen: _Seen, events: pl.DataFrame | None) -> pl.DataFrame:
    """`session_id, agents, root_agent, final_agent, known_origin_ratio, outcome`."""
    own: dict[str, list[Run]] = {session: [] for session in seen.session_of_trace.values()}
    for run in seen.runs:
        own[seen.session(run.row)].append(run)
    outcome = outcomes(
        seen.spans, seen.calls, seen.runs, seen.errors, seen.failures, seen.marked, seen.session_of_trace, events
    )
    explained = {edge.target_run for edge in seen.edges}
    lost_to = {seen.session(error.row): error.run for error in seen.errors if not error.recovered and error.run >= 0}
    rows = [
        (session, sorted({run.name for run in runs}), _root_agent(seen, runs),
         _final_agent(seen, runs, lost_to.get(session, -1)), _known_origins(seen, runs, explained), outcome[session])
        for session, runs in own.items()
    ]  # fmt: skip
    columns = ("session_id", "agents", "root_agent", "final_agent", "known_origin_ratio", "outcome")
    return pl.DataFrame(rows, schema={name: frames.SESSIONS[name] for name in columns}, orient="row")


def _outermost(seen: _Seen, runs: list[Run]) -> list[Run]:
    """Those that nobody called, seen through containers."""
    outer = [run for run in runs if run.parent < 0 or seen.runs[run.parent].container]
    return [run for run in outer if not run.container] or outer


def _root_agent(seen: _Seen, runs: list[Run]) -> str:
    return next((run.name for run in _outermost(seen, runs)), "")


def _final_agent(seen: _Seen, runs: list[Run], lost_to: int) -> str:
    """Who failed last without recovery, else who of the outermost ended last and was not cancelled."""
    if lost_to >= 0:
        return seen.runs[lost_to].name
    outer = _outermost(seen, runs)
    ended = [run for run in outer if seen.failures.get(run.number, ("",))[0] != "cancelled"] or outer
    return max(ended, key=lambda run: (run.end, run.number)).name if ended else ""


def _known_origins(seen: _Seen, runs: list[Run], explained: set[int]) -> float | None:
    """Share of the runs of which it is known who started them: an edge, a check, or somebody outside, which is what is
    left for runs before which nothing had ended in their trace or team."""
    if not runs:
        return None
    earliest_end: dict[str, int] = {}
    outer = _outermost(seen, runs)
    for run in outer:
        place = run.team or seen.spans.trace[run.row]
        earliest_end[place] = min(earliest_end.get(place, run.end), run.end)
    entries = {run.number for run in outer if run.start < earliest_end[run.team or seen.spans.trace[run.row]]}
    told = explained & {run.number for run in runs} | entries  # `explained` is of all sessions
    known = [run for run in runs if run.number in told or run.container or is_check(seen.spans, run)]
    return len(known) / len(runs)
