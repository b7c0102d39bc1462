"""Money: what each model call cost, and who spent it.

Only leaf model calls are charged. However the money is cut up, the parts and `(unattributed)` add up to `(total)`:
sums are taken in whole picodollars.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Literal, Protocol, TypeAlias

import polars as pl
from maslens.analytics.frames import UNATTRIBUTED
from maslens.analytics.prices import PriceBook, Rate, Tokens

TOTAL = "(total)"

By = Literal["agent", "model", "tool", "session", "version", "variant", "handoff", "task"]


class CostFrames(Protocol):
    """What of the facts costs are cut up by."""

    @property
    def llm_calls(self) -> pl.DataFrame: ...
    @property
    def tool_calls(self) -> pl.DataFrame: ...
    @property
    def agent_runs(self) -> pl.DataFrame: ...
    @property
    def handoffs(self) -> pl.DataFrame: ...


Keyed: TypeAlias = Callable[[pl.DataFrame, CostFrames], pl.DataFrame]  # calls with the `_key` they are charged to


def price(llm_calls: pl.DataFrame, prices: PriceBook) -> pl.DataFrame:
    """`llm_calls` with `cost_usd` and `unpriced_reason` ('' | no model | unknown model | no usage).

    llm_calls: `model, provider, at, input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens`;
    any further column named as genai-prices names a kind of usage (`input_audio_tokens` …) is charged apart. Tokens
    that nobody counted are null and cost nothing, unless neither input nor output is known: then there is no price.
    """
    calls = llm_calls.drop("cost_usd", "unpriced_reason", strict=False)
    rarer = [name for name in calls.columns if name in _RARER_TOKENS]
    minute = pl.col("at").dt.truncate("1m").dt.epoch("s")
    counts = [
        pl.col(name) if calls.schema[name].is_integer() else pl.lit(None).alias(name) for name in (*_TOKENS, *rarer)
    ]
    rows = calls.select("model", "provider", minute, *counts)
    rates: dict[tuple[object, object, int | None], Rate | str] = {}
    costs, reasons = list[float | None](), list[str]()
    for model, provider, at, *usage in zip(*(column.to_list() for column in rows), strict=True):
        key = model, provider, at
        rate = rates.get(key)
        if rate is None:
            rate = rates[key] = _rate(model, provider, at, prices)
        cost, reason = _cost(rate, usage, rarer)
        costs.append(cost)
        reasons.append(reason)
    return calls.with_columns(
        pl.Series("cost_usd", costs, dtype=pl.Float64), pl.Series("unpriced_reason", reasons, dtype=pl.String)
    )


_TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
_RARER_TOKENS = frozenset(
    f"{kind}_tokens"
    for kind in (
        *(f"input_{modality}" for modality in ("text", "audio", "image", "video", "tool")),
        *(f"output_{modality}" for modality in ("text", "audio", "image", "video")),
        *(f"cache_{modality}_read" for modality in ("text", "audio", "image", "video")),
        "cache_write_5m",
        "cache_write_1h",
        "input_text_tool",
    )
) | {"web_searches"}
_ALWAYS = datetime(9999, 1, 1, tzinfo=timezone.utc)  # a call without a time is charged at the newest price


def _rate(model: str | None, provider: str | None, at: int | None, prices: PriceBook) -> Rate | str:
    """at: seconds. What a call is charged at, or why it is not."""
    if not model:
        return "no model"
    time = _ALWAYS if at is None else datetime.fromtimestamp(at, timezone.utc)
    return prices.rate(model, provider or "", time) or "unknown model"


def _cost(rate: Rate | str, usage: Sequence[int | None], rarer: Sequence[str]) -> tuple[float | None, str]:
    input, output, cached, cache_write, reasoning, *more = usage
    if input is None and output is None and rate != "no model":
        return None, "no usage"
    if isinstance(rate, str):
        return None, rate
    if not any(more):
        return rate.usd(input or 0, output or 0, cached or 0, cache_write or 0, reasoning or 0), ""
    tokens = Tokens(
        input=input or 0,
        output=output or 0,
        cached=cached or 0,
        cache_write=cache_write or 0,
        reasoning=reasoning or 0,
        rarer=tuple((name, count) for name, count in zip(rarer, more, strict=True) if count),
    )
    try:
        return float(rate.cost(tokens)), ""
    except ValueError:  # the rarer tokens add up to more than there were
        return None, "no usage"


def cost_by(facts: CostFrames, by: By) -> pl.DataFrame:
    """Who spent what: one row per `by`, the dearest first, then `(unattributed)` and `(total)`.

    Columns: `by`, llm_calls, input_tokens, output_tokens, cached_tokens, reasoning_tokens, cost_usd, unpriced_calls.
    A handoff is charged with the calls of the run it started. A tool is charged with the call that asked for it; one
    that asked for several divides its cost between them and counts as a call of the first.
    """
    calls = facts.llm_calls.select(
        "session_id",
        "run_id",
        "agent",
        "model",
        "at",
        *(pl.col(name).cast(pl.Int64).fill_null(0) for name in _SUMMED),
        pl.lit(1, dtype=pl.Int64).alias("llm_calls"),
        pl.col("cost_usd"),
    ).with_columns(
        _pico(pl.col("cost_usd")).alias("_pico"), pl.col("cost_usd").is_null().cast(pl.Int64).alias("unpriced_calls")
    )
    keyed = _KEYED[by](calls, facts)
    rows = keyed.group_by(_named(pl.col("_key")).alias(by)).agg(_totals())
    named = rows.filter(pl.col(by) != UNATTRIBUTED).sort(["_pico", "llm_calls", by], descending=[True, True, False])
    rest = rows.filter(pl.col(by) == UNATTRIBUTED)
    if rest.is_empty():
        rest = keyed.clear().select(pl.lit(UNATTRIBUTED).alias(by), *_totals())
    total = rows.select(pl.lit(TOTAL).alias(by), *_totals())
    table = pl.concat([named, rest, total], how="vertical_relaxed")
    return table.select(by, "llm_calls", *_SUMMED, _usd(pl.col("_pico")).alias("cost_usd"), "unpriced_calls")


_SUMMED = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")


def _totals() -> list[pl.Expr]:
    return [pl.col(name).cast(pl.Int64).sum() for name in ("llm_calls", *_SUMMED, "_pico", "unpriced_calls")]


def _pico(usd: pl.Expr) -> pl.Expr:
    return (usd.fill_null(0.0) * 1e12).round().cast(pl.Int64)


def _usd(pico: pl.Expr) -> pl.Expr:
    return pico / 1e12


def _named(key: pl.Expr) -> pl.Expr:
    return pl.when(key.is_null() | (key == "")).then(pl.lit(UNATTRIBUTED)).otherwise(key)


def _by_own(name: str) -> Keyed:
    return lambda calls, _: calls.with_columns(pl.col(name).alias("_key"))


def _by_run(name: str) -> Keyed:
    """By a column of the agent run that made the call; unattributed where runs do not say it."""

    def keyed(calls: pl.DataFrame, facts: CostFrames) -> pl.DataFrame:
        if name not in facts.agent_runs.columns:
            return calls.with_columns(pl.lit("").alias("_key"))
        runs = facts.agent_runs.select("session_id", "run_id", pl.col(name).alias("_key"))
        return calls.join(runs.unique(["session_id", "run_id"], keep="first"), on=["session_id", "run_id"], how="left")

    return keyed


def _by_handoff(calls: pl.DataFrame, facts: CostFrames) -> pl.DataFrame:
    """By the handoff that started the run, or that came back into it last before the call."""
    edge = pl.concat_str("source", pl.lit(" → "), "target")
    into = facts.handoffs.filter(pl.col("target_run_id") != "").select(
        "session_id", pl.col("target_run_id").alias("run_id"), "at", edge.alias("_key")
    )
    first = into.sort("at").group_by("session_id", "run_id").agg(pl.col("_key").first().alias("_first"))
    found = _latest_before(calls, into).join(first, on=["session_id", "run_id"], how="left")
    return found.with_columns(pl.coalesce("_key", "_first").alias("_key"))


def _by_tool(calls: pl.DataFrame, facts: CostFrames) -> pl.DataFrame:
    """By the tools the call asked for: those that its run called after it and before its next model call."""
    calls = calls.with_row_index("_call")
    asked = _latest_before(
        facts.tool_calls.select("session_id", "run_id", "at", pl.col("tool").alias("_key")),
        calls.select("session_id", "run_id", "at", "_call"),
    )
    shares = asked.drop_nulls("_call").select("_call", "_key").sort("_call", "_key")
    shares = shares.with_columns(
        pl.len().over("_call").cast(pl.Int64).alias("_of"), pl.int_range(pl.len()).over("_call").alias("_nth")
    )
    divided = ["llm_calls", *_SUMMED, "_pico", "unpriced_calls"]
    return (
        calls.join(shares, on="_call", how="left")
        .with_columns(pl.col("_of").fill_null(1), pl.col("_nth").fill_null(0))
        .with_columns(
            pl.col(name) // pl.col("_of") + (pl.col("_nth") < pl.col(name) % pl.col("_of")).cast(pl.Int64)
            for name in divided
        )
    )


def _latest_before(rows: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """`rows`, each with the row of `known` that is the latest in the same run at or before it."""
    return rows.sort("at").join_asof(
        known.sort("at"), on="at", by=["session_id", "run_id"], strategy="backward", check_sortedness=False
    )


_KEYED: dict[By, Keyed] = {
    "agent": _by_own("agent"),
    "model": _by_own("model"),
    "session": _by_own("session_id"),
    "version": _by_run("agent_version"),
    "variant": _by_run("variant"),
    "task": _by_run("task"),
    "handoff": _by_handoff,
    "tool": _by_tool,
}
