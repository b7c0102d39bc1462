"""Small hand-made frames of agent spans: only what a test is about is written down."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import polars as pl
from maslens.analytics import frames

START = datetime(2026, 11, 20, 9, 0, tzinfo=timezone.utc)


class Trace:
    """Spans of one trace. Times are milliseconds after START; every span gets an id from its place."""

    def __init__(self, name: str = "t", **common: Any) -> None:
        self.name = name
        self.common = {
            "Dialect": "otel_genai",
            "ServiceName": "desk",
            "SpanKind": "Internal",
            "ScopeName": "scope",
            **common,
        }
        self.rows: list[dict[str, Any]] = []

    def span(self, name: str, kind: str, begin: float, end: float, under: str = "", **columns: Any) -> str:
        """Add a span and answer its id."""
        hints = columns.pop("hints", {})
        self.rows.append(
            {
                "TraceId": self.name,
                "SpanId": f"{self.name}-{len(self.rows)}",
                "ParentSpanId": under,
                "SpanName": name,
                "Kind": kind,
                "StatusCode": "Unset",
                "Timestamp": START + timedelta(milliseconds=begin),
                "Duration": int((end - begin) * 1_000_000),
                "Hints": [{"key": key, "value": value} for key, value in hints.items()],
                **self.common,
                **columns,
            }
        )
        return str(self.rows[-1]["SpanId"])

    def agent(self, agent: str, begin: float, end: float, under: str = "", **columns: Any) -> str:
        return self.span(f"invoke_agent {agent}", "agent", begin, end, under, AgentName=agent, **columns)

    def call(
        self, begin: float, end: float, under: str = "", tokens: tuple[int, int] | None = None, **columns: Any
    ) -> str:
        used = {"InputTokens": tokens[0], "OutputTokens": tokens[1]} if tokens else {}
        return self.span("chat m", "llm", begin, end, under, **{"RequestModel": "m", **used, **columns})

    def tool(self, tool: str, begin: float, end: float, under: str = "", **columns: Any) -> str:
        return self.span(f"execute_tool {tool}", "tool", begin, end, under, ToolName=tool, **columns)


def frame(*traces: Trace) -> pl.DataFrame:
    """The spans of `traces` as `agent_spans` has them."""
    rows = [row for trace in traces for row in trace.rows]
    schema = {name: frames.AGENT_SPANS[name] for name in {key for row in rows for key in row}}
    return frames.agent_spans(pl.DataFrame(rows, schema=schema, orient="row"))


def edges(handoffs: pl.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    """`source, target` and further columns of the handoffs, in time order."""
    return handoffs.sort("at", "source", "target").select("source", "target", *columns).rows()
