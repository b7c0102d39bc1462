"""Evaluations and feedback: what people, judges and code said, joined to the run, handoff or session it is about."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from . import frames

_SAID = pl.col("EventName").str.starts_with("gen_ai.evaluation.") | (pl.col("EvaluationName") != "")
_NEEDED = (
    *("Timestamp", "EventName", "TraceId", "SpanId", "Origin", "SessionId", "AgentName", "EvaluationName", "Score"),
    *("ScoreLabel", "Explanation", "EvaluatorType", "EvaluatorId", "TargetType", "TargetId", "HandoffId", "ResponseId"),
)
_TEXTS = tuple(name for name in _NEEDED if name not in ("Timestamp", "Score"))
_WIDE = ("session", "trace", "task")  # targets that are no work of one agent


def evaluations(
    events: pl.DataFrame | None,
    spans: pl.DataFrame,
    handoffs: pl.DataFrame,
    session_of_trace: Mapping[str, str],
) -> pl.DataFrame:
    """One row for each evaluation result, as `frames.EVALUATIONS` has it.

    events: `agent_events` of the sessions, with `ResponseId`. spans: one row a span, `TraceId, SpanId, ResponseId,
    run_id, agent`; a result belongs to the run of the span that it hangs on, else of the model answer whose id it names
    (`gen_ai.response.id`). handoffs: as `frames.HANDOFFS`; what names a handoff is about its source, who handed over.
    An evaluation of a session, a trace or a task belongs to no agent. The same result told twice is one row.
    """
    if events is None or not set(_NEEDED) <= set(events.columns):
        return frames.empty(frames.EVALUATIONS)
    told = (
        events.select(_NEEDED)
        .with_columns(pl.col(_TEXTS).cast(pl.String))
        .filter(_SAID & (pl.col("Score").is_not_null() | (pl.col("ScoreLabel") != "")))
    )
    if told.is_empty():
        return frames.empty(frames.EVALUATIONS)
    sessions = pl.DataFrame(list(session_of_trace.items()), schema=["TraceId", "_session"], orient="row")
    known = set(session_of_trace.values())
    told = (
        told.join(sessions, on="TraceId", how="left")
        .with_columns(session_id=pl.coalesce("_session", "SessionId"))
        .filter(pl.col("session_id").is_in(list(known)))
    )
    wide = pl.col("TargetType").is_in(_WIDE)
    by_span = spans.select("TraceId", "SpanId", _run="run_id", _agent="agent")
    by_answer = spans.filter(pl.col("ResponseId") != "").select(
        "TraceId", "ResponseId", _answer_span="SpanId", _answer_run="run_id", _answer_agent="agent"
    )
    by_handoff = handoffs.filter(pl.col("handoff_id") != "").select(
        "session_id", HandoffId="handoff_id", _handing_run="source_run_id", _handing="source"
    )
    joined = (
        told.join(by_span, on=["TraceId", "SpanId"], how="left")
        .join(by_answer.unique(["TraceId", "ResponseId"], keep="first"), on=["TraceId", "ResponseId"], how="left")
        .join(by_handoff.unique(["session_id", "HandoffId"], keep="first"), on=["session_id", "HandoffId"], how="left")
    )
    named = pl.when(pl.col("TargetType") == "agent").then(pl.col("TargetId")).otherwise(pl.lit(""))
    rows = joined.select(
        "session_id",
        trace_id="TraceId",
        span_id=_first("SpanId", "_answer_span"),
        run_id=pl.when(wide).then(pl.lit("")).otherwise(_first("_handing_run", "_run", "_answer_run")),
        agent=pl.when(wide)
        .then(pl.lit(""))
        .otherwise(_first(named, "_handing", "_agent", "_answer_agent", "AgentName")),
        handoff_id="HandoffId",
        at=pl.col("Timestamp").cast(pl.Datetime("ns")).dt.replace_time_zone("UTC"),
        name="EvaluationName",
        score="Score",
        label="ScoreLabel",
        explanation="Explanation",
        evaluator_type="EvaluatorType",
        evaluator_id="EvaluatorId",
        target_type="TargetType",
        target_id="TargetId",
        origin="Origin",
    )
    return frames.facts(rows.unique(frames.EVALUATION_KEY, keep="first", maintain_order=True), frames.EVALUATIONS)


def _first(*columns: str | pl.Expr) -> pl.Expr:
    """The first that says something."""
    told = [pl.col(column) if isinstance(column, str) else column for column in columns]
    return pl.coalesce(*(pl.when(column != "").then(column) for column in told)).fill_null("")
