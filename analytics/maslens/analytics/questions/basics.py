"""Questions that the engine answers in one statement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl
from maslens.analytics import frames, reads
from maslens.analytics.questions import evidence
from maslens.analytics.questions.question import Asked, Explain, Question
from maslens.analytics.reads import Filters, Read

_COUNT, _REAL, _TEXTS = pl.UInt64(), pl.Float64(), pl.List(pl.String)

AGENTS: Mapping[str, Any] = {
    "agent": pl.String(),
    **dict.fromkeys(("runs", "errors"), _COUNT),
    **dict.fromkeys(("error_ratio", "p50_ms", "p95_ms", "self_p50_ms"), _REAL),
    **dict.fromkeys(("sessions", "llm_calls", "tool_calls", "input_tokens", "output_tokens", "cached_tokens"), _COUNT),
    "cost_usd": _REAL,
    "versions": _TEXTS,
    "framework": pl.String(),
    "last_seen": frames.TIME,
}
GRAPH: Mapping[str, Any] = {
    **dict.fromkeys(("source", "target", "mode", "connection_type"), pl.String()),
    **dict.fromkeys(("handoffs", "sessions", "failed", "context_changed"), _COUNT),
    "confidence": _REAL,
    "evidence": _TEXTS,
    **dict.fromkeys(("first_at", "last_at"), frames.TIME),
}
ERRORS: Mapping[str, Any] = {
    **dict.fromkeys(("agent", "error_type"), pl.String()),
    **dict.fromkeys(("errors", "recovered", "sessions"), _COUNT),
    **dict.fromkeys(("last_message", "last_session"), pl.String()),
    "last_at": frames.TIME,
}
TOOLS: Mapping[str, Any] = {
    "tool": pl.String(),
    **dict.fromkeys(("calls", "errors"), _COUNT),
    **dict.fromkeys(("p50_ms", "p95_ms"), _REAL),
    "agents": _TEXTS,
}
SUMMARY: Mapping[str, Any] = {
    **dict.fromkeys(
        ("sessions", "failed", "succeeded", "agent_runs", "handoffs", "llm_calls", "tool_calls", "errors",
         "input_tokens", "output_tokens", "cached_tokens"), _COUNT),
    "cost_usd": _REAL, "unpriced_calls": _COUNT, "p50_ms": _REAL, "p95_ms": _REAL, "agents": _COUNT,
    "first_at": frames.TIME, "last_at": frames.TIME,
}  # fmt: skip


def _graph(filters: Filters) -> Read:
    """One row an edge: all handoffs from one agent to another in one mode."""
    read = reads.handoffs(
        Filters(session=filters.session, since=filters.since, until=filters.until, agent=filters.agent)
    )
    sql = f"""
SELECT
    source,
    target,
    mode,
    max(h.connection_type) AS connection_type,
    count() AS handoffs,
    uniqExact(session_id) AS sessions,
    countIf(h.outcome IN ('failed', 'rejected', 'timed_out')) AS failed,
    countIf(
        context_hash_sent != '' AND context_hash_received != '' AND context_hash_sent != context_hash_received
    ) AS context_changed,
    round(avg(h.confidence), 4) AS confidence,
    arraySort(groupUniqArray(h.evidence)) AS evidence,
    min(at) AS first_at,
    max(at) AS last_at
FROM ({read.sql}) AS h
GROUP BY source, target, mode
ORDER BY handoffs DESC, source, target, mode
{f"LIMIT {filters.limit:d}" if filters.limit else ""}"""
    return Read(sql=sql, params=read.params)


def _question(
    name: str,
    title: str,
    read: Callable[[Filters], Read],
    schema: Mapping[str, Any],
    shown: str,
    explain: Explain,
    definition: str,
    order: str = "",
) -> Question:
    def of(asked: Asked) -> Read:
        return read(asked.filters)

    return Question(
        name=name,
        title=title,
        read=of,
        schema=schema,
        shown=shown.split(),
        explain=explain,
        definition=definition,
        order=order,
    )


QUESTIONS: Mapping[str, Question] = {
    each.name: each
    for each in (
        _question(
            "sessions",
            "Sessions",
            reads.sessions,
            frames.SESSIONS,
            "session_id started_at outcome root_agent final_agent agent_runs handoffs llm_calls tool_calls errors"
            " cost_usd",
            evidence.of_session,
            "A session is all traces of one conversation or request. Its outcome is what an event says, else failure "
            "where an error was not recovered from; never the root span's status. Model calls are what is charged.",
        ),
        _question(
            "agents",
            "Agents",
            reads.agents,
            AGENTS,
            "agent runs errors p50_ms p95_ms cost_usd llm_calls tool_calls input_tokens output_tokens",
            evidence.of_agent,
            "All runs of the agent in the window. A run's tokens and cost are those of its own model calls, not of the "
            "agents it called; an error counts once a run.",
        ),
        _question(
            "runs",
            "Agent runs",
            reads.runs,
            frames.AGENT_RUNS,
            "session_id agent started_at duration_ns status error_type llm_calls tool_calls cost_usd",
            evidence.of_run,
            "A run is one stretch of work of one agent. name_evidence says where its name was found; self_ns leaves "
            "out the time of runs inside it.",
        ),
        _question(
            "handoffs",
            "Handoffs",
            reads.handoffs,
            frames.HANDOFFS,
            "session_id source target mode evidence confidence at outcome",
            evidence.of_handoff,
            "One transfer from one run to another. evidence is the strongest sign of it, explicit > tool_name > "
            "message > graph_hint > structure > sequence; confidence is lower where half of the edge is a guess.",
            order="at, session_id, span_id",
        ),
        _question(
            "graph",
            "Who hands to whom",
            _graph,
            GRAPH,
            "source target mode handoffs failed context_changed confidence evidence",
            evidence.of_edge,
            "All handoffs from one agent to another in one mode. context_changed counts those where the hash of what "
            "was sent differs from the hash of what arrived.",
        ),
        _question(
            "errors",
            "Errors",
            reads.errors,
            ERRORS,
            "agent error_type errors recovered sessions last_message last_at",
            evidence.of_error,
            "Errors are what failed, not what control flow raised. recovered: the session went on to succeed at the "
            "same thing.",
        ),
        _question(
            "tools",
            "Tools",
            reads.tools,
            TOOLS,
            "tool calls errors p50_ms p95_ms agents",
            evidence.of_tool,
            "Tools that were carried out, each once: not the transport inside a tool, nor one that is but a handoff.",
        ),
        _question(
            "evaluations",
            "Evaluations and feedback",
            reads.evaluations,
            frames.EVALUATIONS,
            "at session_id agent name score label evaluator_type target_type explanation",
            evidence.of_evaluation,
            "Results of gen_ai.evaluation.result events, of OpenInference annotations and of POST /api/v1/feedback. It "
            "belongs to the run of the span it hangs on, or to whoever made the handoff it names.",
        ),
        _question(
            "summary",
            "Summary",
            reads.summary,
            SUMMARY,
            "",
            evidence.nothing_more,
            "Sums over the sessions of the window.",
        ),
    )
}
