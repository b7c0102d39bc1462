"""The shapes of the frames: agent spans in, facts out. Times are nanoseconds in UTC, money is US dollars."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

import polars as pl
from maslens.semconv.dialects.columns import AGENT_SPAN_COLUMNS

Schema: TypeAlias = Mapping[str, pl.DataType]

TIME: Final = pl.Datetime("ns", "UTC")
_TEXT, _COUNT, _FLAG, _REAL, _TEXTS = pl.String(), pl.UInt64(), pl.Boolean(), pl.Float64(), pl.List(pl.String)
_SCALARS: Final[Mapping[str, pl.DataType]] = {
    "String": _TEXT, "UInt64": _COUNT, "UInt32": pl.UInt32(), "Float64": _REAL,
    "DateTime64(9)": TIME, "Array(String)": _TEXTS,
    "Map(String, String)": pl.List(pl.Struct({"key": pl.String(), "value": pl.String()})),
}  # fmt: skip

UNATTRIBUTED: Final = "(unattributed)"
# The columns of `agent_spans` that hold what was said; log records may tell them too.
CONTENTS: Final = ("SystemContent", "InputContent", "OutputContent", "ToolArguments", "ToolResult")


def _polars(clickhouse: str) -> pl.DataType:
    return _SCALARS[re.sub(r"(?:LowCardinality|Nullable)\(([^()]*)\)", r"\1", clickhouse)]


AGENT_SPANS: Final[Schema] = MappingProxyType({column.name: _polars(column.type) for column in AGENT_SPAN_COLUMNS})
_NULLABLE: Final = frozenset(column.name for column in AGENT_SPAN_COLUMNS if column.type.startswith("Nullable"))

SESSIONS: Final[Schema] = MappingProxyType({
    "session_id": _TEXT, "started_at": TIME, "ended_at": TIME, "duration_ns": _COUNT, "outcome": _TEXT,
    "root_agent": _TEXT, "final_agent": _TEXT, "agents": _TEXTS, "services": _TEXTS, "traces": _COUNT, "spans": _COUNT,
    "agent_runs": _COUNT, "handoffs": _COUNT, "llm_calls": _COUNT, "tool_calls": _COUNT, "errors": _COUNT,
    "input_tokens": _COUNT, "output_tokens": _COUNT, "cached_tokens": _COUNT, "cost_usd": _REAL,
    "unpriced_calls": _COUNT, "known_origin_ratio": _REAL, "duplicate_spans": _COUNT,
})  # fmt: skip
AGENT_RUNS: Final[Schema] = MappingProxyType({
    "session_id": _TEXT, "trace_id": _TEXT, "run_id": _TEXT, "parent_run_id": _TEXT, "agent": _TEXT, "role": _TEXT,
    "agent_version": _TEXT, "variant": _TEXT, "service": _TEXT, "framework": _TEXT, "started_at": TIME,
    "ended_at": TIME, "duration_ns": _COUNT, "self_ns": _COUNT, "status": _TEXT, "error_type": _TEXT,
    "llm_calls": _COUNT, "tool_calls": _COUNT, "input_tokens": _COUNT, "output_tokens": _COUNT,
    "cached_tokens": _COUNT, "reasoning_tokens": _COUNT, "cost_usd": _REAL, "name_evidence": _TEXT,
    "task": _TEXT,
})  # fmt: skip
HANDOFFS: Final[Schema] = MappingProxyType({
    "session_id": _TEXT, "trace_id": _TEXT, "span_id": _TEXT, "handoff_id": _TEXT, "source": _TEXT, "target": _TEXT,
    "mode": _TEXT, "evidence": _TEXT, "confidence": _REAL, "at": TIME, "outcome": _TEXT, "source_run_id": _TEXT,
    "target_run_id": _TEXT, "context_hash_sent": _TEXT, "context_hash_received": _TEXT, "context_size": _COUNT,
    "connection_type": _TEXT,
})  # fmt: skip
LLM_CALLS: Final[Schema] = MappingProxyType({
    "session_id": _TEXT, "trace_id": _TEXT, "span_id": _TEXT, "run_id": _TEXT, "agent": _TEXT, "model": _TEXT,
    "provider": _TEXT, "at": TIME, "duration_ns": _COUNT, "status": _TEXT, "input_tokens": _COUNT,
    "output_tokens": _COUNT, "cached_tokens": _COUNT, "cache_write_tokens": _COUNT, "reasoning_tokens": _COUNT,
    "cost_usd": _REAL, "unpriced_reason": _TEXT, "tokens_known": _FLAG,
})  # fmt: skip
TOOL_CALLS: Final[Schema] = MappingProxyType({
    "session_id": _TEXT, "trace_id": _TEXT, "span_id": _TEXT, "run_id": _TEXT, "agent": _TEXT, "tool": _TEXT,
    "at": TIME, "duration_ns": _COUNT, "status": _TEXT, "error_type": _TEXT, "arguments_hash": _TEXT,
})  # fmt: skip
AGENT_ERRORS: Final[Schema] = MappingProxyType({
    "session_id": _TEXT, "trace_id": _TEXT, "span_id": _TEXT, "run_id": _TEXT, "agent": _TEXT, "error_type": _TEXT,
    "message": _TEXT, "at": TIME, "recovered": _FLAG,
})  # fmt: skip
HANDOFF_QUALITY: Final[Schema] = MappingProxyType({
    "session_id": _TEXT, "trace_id": _TEXT, "span_id": _TEXT, "handoff_id": _TEXT, "source": _TEXT, "target": _TEXT,
    "at": TIME, "source_run_id": _TEXT, "target_run_id": _TEXT, "failed": _REAL, "bounced": _REAL, "repeated": _REAL,
    "re_asked": _REAL, "lost": _REAL, "lost_evidence": _TEXT, "lost_facts": _TEXTS, "waited_ns": _COUNT,
    "repeated_calls": _COUNT, "rediscovery_tokens": _COUNT, "rediscovery_cost_usd": _REAL, "score": _REAL,
    "coverage": _REAL,
})  # fmt: skip
SUSPECTS: Final[Schema] = MappingProxyType({
    "session_id": _TEXT, "rank": _COUNT, "agent": _TEXT, "step": _COUNT, "kind": _TEXT, "trace_id": _TEXT,
    "span_id": _TEXT, "run_id": _TEXT, "at": TIME, "confidence": _REAL, "category": _TEXT, "signs": _TEXTS,
    "evidence": _TEXTS, "label_convention": _TEXT,
})  # fmt: skip
JUDGE_VERDICTS: Final[Schema] = MappingProxyType({
    "session_id": _TEXT, "digest": _TEXT, "judged_at": TIME, "evidence": _TEXT, "model": _TEXT, "status": _TEXT,
    "agent": _TEXT, "step": _COUNT, "trace_id": _TEXT, "span_id": _TEXT, "run_id": _TEXT, "confidence": _REAL,
    "category": _TEXT, "reason": _TEXT, "label_convention": _TEXT, "calls": _COUNT, "input_tokens": _COUNT,
    "output_tokens": _COUNT, "cost_usd": _REAL, "unpriced_reason": _TEXT,
})  # fmt: skip
CONTEXT_DRIFT: Final[Schema] = MappingProxyType({
    "session_id": _TEXT, "step": _COUNT, "agent": _TEXT, "trace_id": _TEXT, "span_id": _TEXT, "run_id": _TEXT,
    "at": TIME, "distance": _REAL, "goal_facts": _COUNT, "facts_carried": _COUNT, "facts_lost": _COUNT,
    "lost_facts": _TEXTS, "context_tokens": _COUNT, "compacted": _FLAG,
})  # fmt: skip
BOTTLENECKS: Final[Schema] = MappingProxyType({
    "session_id": _TEXT, "agent": _TEXT, "started_at": TIME, "rank": _COUNT, "runs": _COUNT, "errors": _COUNT,
    "critical_ns": _COUNT, "waiting_ns": _COUNT, "model_ns": _COUNT, "tool_ns": _COUNT, "queue_ns": _COUNT,
    "retries": _COUNT, "retry_ns": _COUNT, "saves_ns": _COUNT, "session_ns": _COUNT, "share": _REAL,
})  # fmt: skip
COORDINATION: Final[Schema] = MappingProxyType({
    "session_id": _TEXT, "started_at": TIME, "pattern": _TEXT, "pattern_confidence": _REAL, "agents": _COUNT,
    "edges": _COUNT, "handoffs": _COUNT, "messages": _COUNT, "density": _REAL, "depth": _COUNT, "fan_out_max": _COUNT,
    "centralisation": _REAL, "cycles": _COUNT, "reciprocity": _REAL, "betweenness_max": _REAL,
    "coordination_tokens": _COUNT, "work_tokens": _COUNT, "failed": _COUNT, "bounced": _COUNT, "redelegated": _COUNT,
    "delegation_accuracy": _REAL, "decisions": _COUNT, "agreement": _REAL, "loops": _COUNT, "rounds_max": _COUNT,
    "rounds_to_stable": _COUNT,
})  # fmt: skip
EVALUATIONS: Final[Schema] = MappingProxyType({
    "session_id": _TEXT, "trace_id": _TEXT, "span_id": _TEXT, "run_id": _TEXT, "agent": _TEXT, "handoff_id": _TEXT,
    "at": TIME, "name": _TEXT, "score": _REAL, "label": _TEXT, "explanation": _TEXT, "evaluator_type": _TEXT,
    "evaluator_id": _TEXT, "target_type": _TEXT, "target_id": _TEXT, "origin": _TEXT,
})  # fmt: skip
EVALUATION_KEY: Final = (
    "session_id",
    "trace_id",
    "span_id",
    "at",
    "name",
    "evaluator_type",
    "evaluator_id",
    "target_id",
)


def agent_spans(frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` with exactly the columns of `agent_spans`: missing ones empty, engine types brought to ours."""
    schema = frame.schema
    return frame.select(_column(schema, name, dtype) for name, dtype in AGENT_SPANS.items())


def facts(frame: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """`frame` as the fact table of `schema` has it, sorted by all that identifies a row."""
    return frame.select(pl.col(name).cast(dtype) for name, dtype in schema.items()).sort(
        [name for name in (
            "session_id", "rank", "started_at", "at", "trace_id", "run_id", "span_id", "source", "target"
        ) if name in schema]
    )  # fmt: skip


def empty(schema: Schema) -> pl.DataFrame:
    return pl.DataFrame(schema=dict(schema))


def hint(spans: pl.DataFrame, key: str) -> pl.Series:
    """The values of one hint, empty where a span has none."""
    return hints(spans, [key])[key]


def hints(spans: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """One column a hint key, in the order of `spans`, empty where a span has none."""
    rows = spans.select("Hints").with_row_index("row")
    told = (
        rows.filter(pl.col("Hints").list.len() > 0).explode("Hints").unnest("Hints").filter(pl.col("key").is_in(keys))
    )
    result = rows.select("row")
    for key in keys:
        mine = told.filter(pl.col("key") == key).unique("row", keep="first").select("row", pl.col("value").alias(key))
        result = result.join(mine, on="row", how="left", maintain_order="left")
    return result.select(pl.col(keys).fill_null(""))


def _column(schema: Mapping[str, pl.DataType], name: str, dtype: pl.DataType) -> pl.Expr:
    if name not in schema:
        return pl.lit(None if name in _NULLABLE else _default(dtype), dtype=dtype).alias(name)
    have, column = schema[name], pl.col(name)
    if isinstance(dtype, pl.Datetime):
        column = column.cast(pl.Datetime("ns", getattr(have, "time_zone", None)), strict=False)
        zoned = (
            column.dt.convert_time_zone("UTC")
            if getattr(have, "time_zone", None)
            else column.dt.replace_time_zone("UTC")
        )
        return zoned.alias(name)
    if name == "Hints" and isinstance(have, pl.List) and isinstance(have.inner, pl.Struct):
        column = column.list.eval(pl.element().struct.rename_fields(["key", "value"]))
    column = column.cast(dtype, strict=False) if have != dtype else column
    return (column if name in _NULLABLE else column.fill_null(pl.lit(_default(dtype), dtype=dtype))).alias(name)


def _default(dtype: pl.DataType) -> object:
    if isinstance(dtype, pl.List):
        return []
    return "" if isinstance(dtype, pl.String) else 0
