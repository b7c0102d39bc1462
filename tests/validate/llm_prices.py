"""Real usage objects with the prices that genai-prices expects, priced by maslens, through spans as well."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
from maslens.analytics.cost import price
from maslens.analytics.prices import PriceBook
from maslens.semconv.dialects.python import RawSpan

from tests.validate.recorded import facts_of
from tests.validate.rows import Number, Row, Validation, row, share

NUMBER = Number(
    name="cost of a model call",
    definition="What a model call cost at its date, in US dollars, cached and reasoning tokens apart.",
    formula="tokens × the provider's price at the date of the call, tier by tier, as genai-prices has them",
    source="model, provider and usage of leaf model calls",
    distrust="""as an invoice: the truth here is a public table applied to recorded usage. Negotiated prices, credits
    and batch discounts are in no table; give them as a price sheet.""",
)
# The expected prices were made with a table of 2026-08 at a date between the last price change of o3 and the first of
# a model that came later; any noon in between gives all of them.
LABELLED_AT = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
_NAMES = {"cache_read_tokens": "cached_tokens", "output_reasoning_tokens": "reasoning_tokens"}
_TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
_ATTRIBUTES = {
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "cached_tokens": "gen_ai.usage.cache_read.input_tokens",
    "cache_write_tokens": "gen_ai.usage.cache_creation.input_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
}


def labelled(folder: Path) -> pl.DataFrame:
    """One row for each usage, reading and provider with an expected price: what `cost.price` takes, and `expected`."""
    rows = [
        {
            "provider": expected["provider_id"],
            "model": record["model"],
            "at": LABELLED_AT,
            **{_NAMES.get(key, key): value for key, value in reading["usage"].items()},
            "expected": _total(expected),
            "named": record["body"].get("model") or "",
            "first": nth == 0,
            "record": number,
        }
        for number, record in enumerate(json.loads(lzma.decompress((folder / "usages.json.xz").read_bytes())))
        for nth, reading in enumerate(record["extracted"])
        for expected in reading["extractors"]
        if "input_price" in expected
    ]
    frame = pl.DataFrame(rows, infer_schema_length=None)
    missing = [pl.lit(None, dtype=pl.Int64).alias(name) for name in _TOKENS if name not in frame.columns]
    return frame.with_columns(*missing)


def _total(expected: Mapping[str, Any]) -> float:
    parts = Decimal(expected["input_price"]) + Decimal(expected["output_price"])
    return float(Decimal(expected.get("total_price", parts)))


def table(folder: Path) -> PriceBook:
    """The prices of the day the labels were made."""
    return PriceBook.load(table=folder / "genai_prices_v2_data.json.xz")


def usually_judged(frame: pl.DataFrame) -> pl.DataFrame:
    """The OpenAI and Anthropic records that token-price tables are judged on."""
    maker = (
        pl.when(pl.col("named").str.contains(r"^(gpt-|o1|o3|o4|chatgpt|text-embedding)"))
        .then(pl.lit("openai"))
        .when(pl.col("named").str.starts_with("claude"))
        .then(pl.lit("anthropic"))
    )
    return frame.filter(pl.col("first") & (pl.col("provider") == maker)).unique("record", maintain_order=True)


def right(priced: pl.DataFrame) -> list[bool]:
    """Which agree to 1e-9 US dollars; without a price none does."""
    agree = (pl.col("cost_usd") - pl.col("expected")).abs().fill_null(1.0) <= 1e-9
    return priced.select(agree)["cost_usd"].to_list()


def cached(frame: pl.DataFrame) -> pl.DataFrame:
    some = pl.any_horizontal(pl.col("cached_tokens", "cache_write_tokens").fill_null(0) > 0)
    return frame.filter(some)


def through_spans(frame: pl.DataFrame) -> pl.DataFrame:
    """The same calls as OpenTelemetry GenAI spans write them, read by the dialects and priced by `compute`."""
    raw = [_span(number, call) for number, call in enumerate(frame.to_dicts())]
    calls = facts_of(raw, prices=PriceBook()).llm_calls.select("span_id", "cost_usd")
    expected = frame.select("expected").with_row_index("number").select(
        "expected", span_id=pl.col("number").map_elements(lambda n: f"{n + 1:016x}", return_dtype=pl.String)
    )  # fmt: skip
    return expected.join(calls, on="span_id", how="left")


def _span(number: int, call: Mapping[str, Any]) -> RawSpan:
    usage = {_ATTRIBUTES[name]: str(call[name]) for name in _TOKENS if call[name] is not None}
    return RawSpan(
        timestamp_ns=int(LABELLED_AT.timestamp()) * 10**9,
        duration_ns=10**9,
        trace_id=f"{number + 1:032x}",
        span_id=f"{number + 1:016x}",
        parent_span_id="",
        service_name="prices",
        span_name=f"chat {call['model']}",
        span_kind="Client",
        scope_name="prices",
        status_code="Unset",
        status_message="",
        attributes={
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": call["provider"],
            "gen_ai.request.model": call["model"],
            **usage,
        },
        resource={"service.name": "prices"},
        events=[],
    )


def validate(folder: Path) -> Iterator[Row]:
    data, frame = "llm_prices", labelled(folder)
    then = price(frame, table(folder))
    yield share(NUMBER, data, "expected prices met to 1e-9 USD, table of that day", right(then), ("at least", 100))
    yield share(NUMBER, data, "of them with cached tokens", right(cached(then)), ("at least", 100))
    subset = usually_judged(frame)
    now = price(subset, PriceBook())
    yield share(NUMBER, data, "OpenAI and Anthropic, table installed", right(now), ("above", 93.3))
    yield share(NUMBER, data, "of them with cached tokens, table installed", right(cached(now)), ("at least", 100))
    plain = subset.filter(pl.all_horizontal(pl.col(name).is_null() for name in _rarer(subset)))
    yield share(NUMBER, data, "the same through spans", right(through_spans(plain)), ("above", 93.3))
    unknown = price(frame.unique("record"), PriceBook()).filter(pl.col("cost_usd").is_null()).height
    yield row(
        NUMBER, data, "priced records whose model has no price today, %", 100 * unknown / frame["record"].n_unique()
    )


def _rarer(frame: pl.DataFrame) -> list[str]:
    """Kinds of usage that the semantic conventions have no attribute for."""
    known = {*_TOKENS, "provider", "model", "at", "expected", "named", "first", "record"}
    return [name for name in frame.columns if name not in known]


VALIDATIONS = (Validation(number=NUMBER, data="llm_prices", run=validate),)
