"""Which spans are model calls, each counted once, and what was told about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from .forest import Flags, Forest, Ints

_USAGE = ("InputTokens", "OutputTokens", "CacheReadTokens", "CacheWriteTokens", "ReasoningTokens")
_TOLD = (*_USAGE, "RequestModel", "ResponseModel", "Provider", "ResponseId", "OutputContent", "SystemContent")


@dataclass(frozen=True, slots=True)
class ModelCalls:
    """`rows`: the spans that are model calls, each call once. `told`: per call (in the order of `rows`) what any span of
    it said about usage, model and content. `same_call`: rows of two spans of one call, kept one first; they may be in
    different traces."""

    rows: Ints
    told: pl.DataFrame
    same_call: list[tuple[int, int]]


def model_calls(spans: pl.DataFrame, forest: Forest) -> ModelCalls:
    """Leaf model spans, one a call, whatever repeated them: wrappers above, a second library beside, another trace.

    spans: `agent_spans`, one row a span, in the row order of `forest`.
    """
    kind = spans["Kind"]
    model = (kind == "llm").to_numpy() | (kind == "embedding").to_numpy()
    wrapped_in = _wrappers(model, kind, forest)
    leaf = model & ~_marked(wrapped_in[wrapped_in >= 0], len(forest))
    rows = np.flatnonzero(leaf)
    told = spans.select(_TOLD)[rows].with_columns(pl.Series("row", rows))
    told = _filled_by_wrappers(told, spans, wrapped_in)
    copies = _copies(told, spans, forest)
    if not copies:
        return ModelCalls(rows, told, [])
    told = _filled(
        told, pl.DataFrame({"row": [kept for kept, _ in copies], "source": [copy for _, copy in copies]}), spans
    )
    dropped = _marked(np.array([copy for _, copy in copies], dtype=np.int64), len(forest))
    keep = ~dropped[rows]
    return ModelCalls(rows[keep], told.filter(pl.Series(keep)), copies)


def has_usage() -> pl.Expr:
    return pl.any_horizontal(pl.col("InputTokens", "OutputTokens").is_not_null())


def _marked(rows: Ints, size: int) -> Flags:
    marked = np.zeros(size, dtype=np.bool_)
    marked[rows] = True
    return marked


def _wrappers(model: Flags, kind: pl.Series, forest: Forest) -> Ints:
    """For every model span the model span around the same call: above it with no tool or agent between."""
    bounds = model | kind.is_in(["tool", "handoff", "agent"]).to_numpy()
    above = forest.nearest(bounds, own=False)
    return np.where(model & (above >= 0) & np.append(model, False)[above], above, -1)


def _filled_by_wrappers(told: pl.DataFrame, spans: pl.DataFrame, wrapped_in: Ints) -> pl.DataFrame:
    """Usage that only the wrapper has belongs to the call inside it, if it wraps a single one."""
    pairs = told.select("row", source=pl.Series(wrapped_in[told["row"].to_numpy()])).filter(pl.col("source") >= 0)
    return _filled(told, pairs.filter(pl.len().over("source") == 1), spans)


def _filled(told: pl.DataFrame, pairs: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
    """`told` with its gaps filled from the `source` row of each pair; a provider's own SDK is believed over others."""
    if pairs.is_empty():
        return told
    other = spans.select(*_TOLD, own_sdk=_own_sdk())[pairs["source"].to_numpy()].with_columns(pairs["row"])
    joined = told.join(other.unique("row", keep="first", maintain_order=True), on="row", how="left", suffix="_other",
                       maintain_order="left")  # fmt: skip
    usage = [
        pl.when(pl.col("own_sdk") & pl.col(f"{name}_other").is_not_null()).then(f"{name}_other")
        .otherwise(pl.coalesce(name, f"{name}_other")).alias(name)
        for name in _USAGE
    ]  # fmt: skip
    texts = [
        pl.when(pl.col(name) == "").then(pl.col(f"{name}_other").fill_null("")).otherwise(name).alias(name)
        for name in _TOLD[len(_USAGE) :]
    ]
    return joined.with_columns(*usage, *texts).select(told.columns)


def _own_sdk() -> pl.Expr:
    """Spans the model provider's SDK makes itself, such as `com.anthropic.sdk.python`."""
    return pl.col("ScopeName").str.contains(r"^com\..+\.sdk\.")


def _copies(told: pl.DataFrame, spans: pl.DataFrame, forest: Forest) -> list[tuple[int, int]]:
    """Pairs (kept, copy) of spans that are one call: same answer id, or two libraries saying the same at the same time."""
    calls = told.select("row", "InputTokens", "OutputTokens", "ResponseId").with_columns(
        spans.select("TraceId", "SpanId", "ServiceName", "ScopeName", "Timestamp", "Duration")[told["row"].to_numpy()]
    )
    calls = calls.with_columns(
        start=pl.col("Timestamp").dt.timestamp("ns"),
        end=pl.col("Timestamp").dt.timestamp("ns") + pl.col("Duration").cast(pl.Int64),
        parent=pl.Series(forest.parent[told["row"].to_numpy()]),
        depth=pl.Series(forest.depth[told["row"].to_numpy()]),
    )
    by_answer = calls.filter(pl.col("ResponseId") != "").filter(pl.len().over("ResponseId") > 1)
    pairs = _overlapping(by_answer, ["ResponseId"], anyhow=True)
    gone = {copy for _, copy in pairs}
    telling = calls.filter(has_usage() & ~pl.col("row").is_in(list(gone)))
    telling = telling.filter(pl.col("ScopeName").n_unique().over("ServiceName", "InputTokens", "OutputTokens") > 1)
    return pairs + _overlapping(telling, ["ServiceName", "InputTokens", "OutputTokens"], anyhow=False)


def _overlapping(calls: pl.DataFrame, same: list[str], *, anyhow: bool) -> list[tuple[int, int]]:
    """Within equal `same`: calls that overlap in time. Unless `anyhow`, one must lie within the other, come from another
    library, not have another answer's id, and be a sibling or alone in its trace."""
    pairs: list[tuple[int, int]] = []
    if calls.is_empty():
        return pairs
    # whoever sits in a deeper tree knows its agent; ties go to the earlier and wider span
    calls = calls.sort("start", pl.col("end"), "TraceId", "SpanId", descending=[False, True, False, False])
    for group in calls.partition_by(same, maintain_order=True):
        live: list[dict[str, object]] = []
        for call in group.iter_rows(named=True):
            match = next((other for other in live if _meet(other, call) and (anyhow or _twins(other, call))), None)
            match = match or next((other for other in live if anyhow and other["TraceId"] == call["TraceId"]), None)
            live = live if anyhow else [other for other in live if _meet(other, call)]
            if match is None:
                live.append(call)
                continue
            kept, copy = (call, match) if call["depth"] > match["depth"] else (match, call)
            pairs.append((kept["row"], copy["row"]))  # type: ignore[arg-type]
            match.update({**kept, "start": min(call["start"], match["start"]), "end": max(call["end"], match["end"])})  # type: ignore[type-var]
    return _flattened(pairs)


def _meet(one: Mapping[str, object], two: Mapping[str, object]) -> bool:
    return bool(one["end"] > two["start"] or one["start"] == two["start"])  # type: ignore[operator]


def _twins(one: Mapping[str, object], two: Mapping[str, object]) -> bool:
    within = one["start"] <= two["start"] and two["end"] <= one["end"]  # type: ignore[operator]
    ids = {one["ResponseId"], two["ResponseId"]} - {""}
    near = one["parent"] == two["parent"] and one["TraceId"] == two["TraceId"]
    alone = one["TraceId"] != two["TraceId"] and (one["depth"] == 0 or two["depth"] == 0)
    return bool(within and len(ids) < 2 and one["ScopeName"] != two["ScopeName"] and (near or alone))


def _flattened(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Copies of what later turned out to be a copy itself go to the one finally kept."""
    kept_by = {copy: kept for kept, copy in pairs}

    def final(row: int) -> int:
        while row in kept_by:
            row = kept_by[row]
        return row

    return [(final(kept), copy) for kept, copy in pairs]
