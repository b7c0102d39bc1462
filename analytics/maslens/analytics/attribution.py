"""Which spans are model calls, each counted once, and what was told about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from .forest import Ints
from .spans import Spans

_USAGE: Final = ("InputTokens", "OutputTokens", "CacheReadTokens", "CacheWriteTokens", "ReasoningTokens")
_TEXTS: Final = ("RequestModel", "ResponseModel", "Provider", "ResponseId", "SystemContent", "OutputContent")


@dataclass(frozen=True, slots=True)
class ModelCalls:
    """Every model call once.

    rows: the span of each call, ascending.
    told: per call what any of its spans said: `row`, usage, models, provider, answer id, system prompt, answer.
    same_call: (kept, dropped) rows of spans of one call beside or in another trace.
    """

    rows: Ints
    told: pl.DataFrame
    same_call: list[tuple[int, int]]


def model_calls(spans: Spans) -> ModelCalls:
    """Leaf model spans, one a call, whatever repeated them: wrappers above, a second library beside, another trace."""
    wrapper = _wrappers(spans)
    model = spans.of_kind("llm", "embedding")
    rows = np.flatnonzero(model & ~spans.mask(wrapper[wrapper >= 0]))
    told = spans.frame.select(*_USAGE, *_TEXTS)[rows].with_columns(pl.Series("row", rows))
    wrapped = told.select("row", source=pl.Series(wrapper[rows])).filter(pl.col("source") >= 0)
    told = _filled(told, wrapped.filter(pl.len().over("source") == 1), spans)  # usage of many calls cannot be split
    copies = _copies(told, spans)
    if copies:
        told = _filled(told, pl.DataFrame(copies, schema={"row": pl.Int64, "source": pl.Int64}, orient="row"), spans)
        kept = ~spans.mask([dropped for _, dropped in copies])[rows]
        rows, told = rows[kept], told.filter(pl.Series(kept))
    return ModelCalls(rows, told, copies)


def has_usage() -> pl.Expr:
    return pl.any_horizontal(pl.col("InputTokens", "OutputTokens").is_not_null())


def _wrappers(spans: Spans) -> Ints:
    """For every model span the model span around the same call: above it with no tool or agent between; else -1."""
    model = spans.of_kind("llm", "embedding")
    above = spans.forest.nearest(model | spans.of_kind("tool", "handoff", "agent"), own=False)
    return np.where(model & np.append(model, False)[above], above, -1)


def _filled(told: pl.DataFrame, pairs: pl.DataFrame, spans: Spans) -> pl.DataFrame:
    """Gaps in `told` filled from the `source` row of each pair. What a provider's own SDK counts is believed first."""
    if pairs.is_empty():
        return told
    pairs = pairs.unique("row", keep="first", maintain_order=True)
    own_sdk = pl.col("ScopeName").str.contains(r"^com\..+\.sdk\.").alias("own_sdk")  # such as com.anthropic.sdk.python
    other = spans.frame.select(*_USAGE, *_TEXTS, own_sdk)[pairs["source"].to_numpy()].with_columns(pairs["row"])
    both = told.join(other, on="row", how="left", suffix="_other", maintain_order="left")
    usage = [
        pl.when(pl.col("own_sdk") & pl.col(f"{name}_other").is_not_null())
        .then(f"{name}_other")
        .otherwise(pl.coalesce(name, f"{name}_other"))
        .alias(name)
        for name in _USAGE
    ]
    texts = [
        pl.when(pl.col(name) == "").then(pl.col(f"{name}_other").fill_null("")).otherwise(name).alias(name)
        for name in _TEXTS
    ]
    return both.with_columns(*usage, *texts).select(told.columns)


# -- one call, seen by two libraries -------------------------------------------------------------------------------


def _copies(told: pl.DataFrame, spans: Spans) -> list[tuple[int, int]]:
    """Pairs (kept, dropped) of spans that are one call: they have one answer's id, or two libraries said the same at
    the same time, of an answer or of a failure."""
    rows = told["row"].to_numpy()
    calls = told.select("row", "InputTokens", "OutputTokens", "ResponseId").with_columns(
        spans.frame.select("TraceId", "ServiceName", "ScopeName", "StatusCode")[rows],
        start=pl.Series(spans.start[rows]),
        end=pl.Series(spans.end[rows]),
        parent=pl.Series(spans.forest.parent[rows]),
        depth=pl.Series(spans.forest.depth[rows]),
    )
    answered = calls.filter(pl.col("ResponseId") != "").filter(pl.len().over("ResponseId") > 1)
    pairs = _paired(answered, ["ResponseId"], alike=False)
    rest = calls.filter(~pl.col("row").is_in([dropped for _, dropped in pairs]))
    two_libraries = pl.col("ScopeName").n_unique().over("ServiceName") > 1
    telling = rest.filter(two_libraries & has_usage())
    failing = rest.filter(two_libraries & ~has_usage() & (pl.col("StatusCode") == "Error"))
    pairs += _paired(telling, ["ServiceName", "InputTokens", "OutputTokens"], alike=True)
    pairs += _paired(failing, ["ServiceName"], alike=True)
    final = {dropped: kept for kept, dropped in pairs}
    return [(_last(kept, final), dropped) for kept, dropped in pairs]


def _last(row: int, kept_instead: Mapping[int, int]) -> int:
    while row in kept_instead:
        row = kept_instead[row]
    return row


def _paired(calls: pl.DataFrame, same: list[str], *, alike: bool) -> list[tuple[int, int]]:
    """Calls with equal `same` that met in time or in one trace; if `alike`, they must look like one call told twice."""
    pairs: list[tuple[int, int]] = []
    groups = calls.filter(pl.len().over(same) > 1).sort("start", "end", "row", descending=[False, True, False])
    for group in groups.partition_by(same, maintain_order=True):
        open_calls: list[dict[str, Any]] = []
        for call in group.iter_rows(named=True):
            met = [other for other in open_calls if other["end"] > call["start"] or other["start"] == call["start"]]
            near = met if alike else [*met, *(other for other in open_calls if other["TraceId"] == call["TraceId"])]
            match = next((other for other in near if not alike or _twins(other, call)), None)
            if match is None:
                open_calls = [*(met if alike else open_calls), call]
                continue
            # whoever sits deeper in a tree knows its agent
            kept, dropped = (call, match) if call["depth"] > match["depth"] else (match, call)
            pairs.append((kept["row"], dropped["row"]))
            match.update({**kept, "start": match["start"], "end": max(call["end"], match["end"])})
    return pairs


def _twins(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    """Another library's span within this one, beside it or alone in a trace, that does not have another answer's id."""
    within = one["start"] <= two["start"] and two["end"] <= one["end"]
    answers = {one["ResponseId"], two["ResponseId"]} - {""}
    same_trace = one["TraceId"] == two["TraceId"]
    placed = one["parent"] == two["parent"] if same_trace else 0 in (one["depth"], two["depth"])
    return bool(within and placed and len(answers) < 2 and one["ScopeName"] != two["ScopeName"])
