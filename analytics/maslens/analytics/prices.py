"""What a model call costs: genai-prices' table at the date of the call, with your own price sheet over it.

Nothing is priced by us: which model a name means, tiers, discounts by hour, cached and reasoning tokens apart are all
genai-prices' own data and arithmetic. Within a tier a price is linear in the tokens, so genai-prices is asked once per
(model, provider, minute, tier) what one more token of each kind costs; from then on it is multiplied, in whole numbers.
"""

from __future__ import annotations

import json
import lzma
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml
from genai_prices import Usage
from genai_prices.data_snapshot import DataSnapshot, find_provider_by_id, get_snapshot
from genai_prices.types import ModelPrice, TieredPrices, _providers_from_raw


class PriceError(ValueError):
    """A price sheet or table that cannot be used; the message names the file and the entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """The usage of one call. `input` counts cached tokens in, `output` counts reasoning tokens in, as OTel has it."""

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    rarer: tuple[tuple[str, int], ...] = ()  # under genai-prices' names: input_audio_tokens, cache_write_5m_tokens …

    def consistent(self) -> Tokens:
        """A part larger than its whole was left out of the whole by its emitter: put it back in."""
        cached = self.cached + self.cache_write
        return Tokens(
            input=self.input + cached if cached > self.input else self.input,
            output=self.output + self.reasoning if self.reasoning > self.output else self.output,
            cached=self.cached,
            cache_write=self.cache_write,
            reasoning=self.reasoning,
            rarer=self.rarer,
        )


class Rate:
    """The price of one model at one time."""

    def __init__(self, price: ModelPrice) -> None:
        tiered = [value for value in vars(price).values() if isinstance(value, TieredPrices)]
        self._price = price
        self._tier_starts = sorted({tier.start for value in tiered for tier in value.tiers}, reverse=True)
        self._slopes: dict[int, _Slopes] = {}

    def cost(self, tokens: Tokens) -> Decimal:
        """USD, exactly. ValueError if the rarer tokens contradict the others."""
        tokens = tokens.consistent()
        if tokens.rarer:
            return self._ask(
                tokens.input, tokens.output, tokens.cached, tokens.cache_write, tokens.reasoning, dict(tokens.rarer)
            )
        slopes = self._slopes_at(tokens.input)
        whole = slopes.whole(tokens.input, tokens.output, tokens.cached, tokens.cache_write, tokens.reasoning)
        return Decimal(whole) / slopes.unit

    def usd(self, input: int, output: int, cached: int = 0, cache_write: int = 0, reasoning: int = 0) -> float:
        """The float that is closest to `cost` of as many tokens, in a tenth of the time."""
        if cached + cache_write > input:
            input += cached + cache_write
        if reasoning > output:
            output += reasoning
        slopes = self._slopes_at(input)
        return slopes.whole(input, output, cached, cache_write, reasoning) / slopes.unit

    def _slopes_at(self, input: int) -> _Slopes:
        tier = next((start for start in self._tier_starts if input > start), 0) if self._tier_starts else 0
        slopes = self._slopes.get(tier)
        if slopes is None:
            slopes = self._slopes[tier] = self._measure(tier + 1)
        return slopes

    def _measure(self, n: int) -> _Slopes:
        """What one more token of each kind costs in the tier that `n` input tokens fall in."""
        here = self._ask(n)
        one_input, one_output = self._ask(n + 1) - here, self._ask(n, 1) - here
        return _Slopes.of(
            call=here - one_input * n,
            input=one_input,
            output=one_output,
            cached=self._ask(n, 0, 1) - here,
            cache_write=self._ask(n, 0, 0, 1) - here,
            reasoning=self._ask(n, 1, 0, 0, 1) - here - one_output,
        )

    def _ask(
        self,
        input: int = 0,
        output: int = 0,
        cached: int = 0,
        cache_write: int = 0,
        reasoning: int = 0,
        rarer: Mapping[str, int] | None = None,
    ) -> Decimal:
        usage = Usage(
            input_tokens=input,
            output_tokens=output,
            cache_read_tokens=cached,
            cache_write_tokens=cache_write,
            output_reasoning_tokens=reasoning,
            **(rarer or {}),
        )
        total: Decimal = self._price.calc_price(usage)["total_price"]
        return total


@dataclass(frozen=True, slots=True)
class _Slopes:
    """Of one tier, in whole parts of a dollar, `unit` of them: sums are exact, and quicker than of decimals."""

    call: int
    input: int
    output: int
    cached: int
    cache_write: int
    reasoning: int
    unit: int

    @staticmethod
    def of(**usd: Decimal) -> _Slopes:
        """usd: what one more token of each kind, and the call itself, costs."""
        ratios = {kind: price.as_integer_ratio() for kind, price in usd.items()}
        unit = math.lcm(*(parts for _, parts in ratios.values()))
        return _Slopes(**{kind: price * (unit // parts) for kind, (price, parts) in ratios.items()}, unit=unit)

    def whole(self, input: int, output: int, cached: int, cache_write: int, reasoning: int) -> int:
        return (
            self.call
            + self.input * input
            + self.output * output
            + self.cached * cached
            + self.cache_write * cache_write
            + self.reasoning * reasoning
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetPrice:
    """One price of your own. `rate` is made of genai-prices' keys: input_mtok, output_mtok, cache_read_mtok …"""

    model: str  # a name, or a pattern: ft:gpt-4o*
    rate: Rate
    provider: str = ""  # '' is any
    since: date = date.min

    def covers(self, model: str, provider: str, on: date) -> bool:
        return self.since <= on and self.provider in ("", provider) and fnmatchcase(model.lower(), self.model.lower())

    @property
    def precedence(self) -> tuple[bool, bool, date]:
        """A full name before a pattern, a named provider before any, the newest of what is left."""
        return not set("*?[") & set(self.model), self.provider != "", self.since


# Names that spans give a provider → genai-prices' id, where its own matching does not see it or sees another one.
PROVIDER_IDS = {
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "az.ai.inference": "azure",
    "az.ai.openai": "azure",
    "azure.openai": "azure",
    "azure_openai": "azure",
    "azureopenai": "azure",
    "fireworks_ai": "fireworks",
    "gcp.gen_ai": "google",
    "google_genai": "google",
    "x_ai": "x-ai",
}
# Models on a machine of your own cost what your sheet says, never what somebody sells the same weights for.
SELF_HOSTED = frozenset(
    {"ollama", "vllm", "llamacpp", "llama.cpp", "llama_cpp", "lmstudio", "lm_studio", "tgi", "sglang"}
)
# Who to ask for a model whose name betrays no provider to genai-prices: those that sell what they make.
_MAKERS = ("openai", "anthropic", "google", "mistral", "cohere", "deepseek", "x-ai", "aws")


@dataclass(frozen=True, slots=True)
class PriceBook:
    """Prices of models by name, provider and time.

    sheet: own prices, which win over the table.
    table: which prices of genai-prices; those installed with it if None.
    """

    sheet: Sequence[SheetPrice] = ()
    table: DataSnapshot | None = None
    _rates: dict[tuple[str, str, datetime], Rate | None] = field(default_factory=dict, repr=False, compare=False)
    _by_price: dict[int, tuple[ModelPrice, Rate]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(cls, sheet: Path | None = None, *, table: Path | None = None) -> PriceBook:
        """Read a price sheet (YAML or JSON) and, to pin the prices, a table in genai-prices' v2 format (.json, .xz)."""
        return cls(
            sheet=read_sheet(sheet) if sheet is not None else (), table=read_table(table) if table is not None else None
        )

    def rate(self, model: str, provider: str, at: datetime) -> Rate | None:
        """The price of `model` at `at`, to the minute; None if nobody says one."""
        at = at.replace(second=0, microsecond=0)
        key = (model, provider, at)
        if key not in self._rates:
            if len(self._rates) >= _KEPT_RATES:
                self._rates.clear()
            self._rates[key] = self._find(model, provider.strip().lower(), at)
        return self._rates[key]

    def _find(self, model: str, provider: str, at: datetime) -> Rate | None:
        own = [entry for entry in self.sheet if entry.covers(model, provider, at.date())]
        if own:
            return max(own, key=lambda entry: entry.precedence).rate
        if provider in SELF_HOSTED:
            return None
        table = self.table if self.table is not None else get_snapshot()
        for provider_id, name in _readings(model, provider, table):
            try:
                _, info = table.find_provider_model(name, None, provider_id, None)
            except LookupError:
                continue
            return self._rate_of(info.get_prices(at))
        return None

    def _rate_of(self, price: ModelPrice) -> Rate:
        """One `Rate` per price, so that what it has learnt serves every minute."""
        known = self._by_price.get(id(price))
        if known is None or known[0] is not price:
            known = self._by_price[id(price)] = (price, Rate(price))
        return known[1]


_KEPT_RATES = 100_000


def _readings(model: str, provider: str, table: DataSnapshot) -> list[tuple[str | None, str]]:
    """(provider, model) pairs to look up, the likeliest first.

    A provider that genai-prices knows is believed, but for `openai`: that is what a client says of whatever endpoint
    it was pointed at. Frameworks and gateways in the provider's place say nothing, so the model's name decides.
    """
    provider = PROVIDER_IDS.get(provider, provider)
    known = find_provider_by_id(table.providers, provider) if provider else None
    readings: list[tuple[str | None, str]] = [(known.id, model)] if known is not None else []
    prefix, _, rest = model.replace(":", "/", 1).partition("/") if known is None or "/" in model else ("", "", "")
    if rest and find_provider_by_id(table.providers, PROVIDER_IDS.get(prefix.lower(), prefix)) is not None:
        readings.append((PROVIDER_IDS.get(prefix.lower(), prefix), rest))
    if known is None or known.id == "openai":
        readings.append((None, model))
        readings.extend((maker, model) for maker in _MAKERS)
    return readings


def read_sheet(path: Path) -> tuple[SheetPrice, ...]:
    """Own prices, as `prices: [{model, provider?, since?, input_mtok, output_mtok, cache_read_mtok, …}]`.

    USD per million tokens (`requests_kcount`: per thousand calls), under genai-prices' names.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PriceError(f"{path}: not a readable price sheet: {error}") from error
    entries = document.get("prices") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise PriceError(f"{path}: expected `prices:` with a list of entries")
    return tuple(_sheet_price(entry, where=f"{path}, prices[{i}]") for i, entry in enumerate(entries))


def _sheet_price(entry: Any, *, where: str) -> SheetPrice:
    if not isinstance(entry, dict) or not isinstance(entry.get("model"), str) or not entry["model"]:
        raise PriceError(f"{where}: an entry needs a `model`")
    rest = {key: value for key, value in entry.items() if key not in ("model", "provider", "since")}
    since = entry.get("since", date.min)
    if isinstance(since, str):
        try:
            since = date.fromisoformat(since)
        except ValueError as error:
            raise PriceError(f"{where}: `since` must be a date like 2026-01-31, got {since!r}") from error
    if isinstance(since, datetime) or not isinstance(since, date):
        raise PriceError(f"{where}: `since` must be a date like 2026-01-31, got {since!r}")
    return SheetPrice(
        model=entry["model"],
        provider=str(entry.get("provider", "")).lower(),
        since=since,
        rate=Rate(_model_price(rest, where=where)),
    )


def _model_price(prices: Mapping[str, Any], *, where: str) -> ModelPrice:
    if not prices:
        raise PriceError(f"{where}: no price; say at least input_mtok and output_mtok")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # genai-prices only warns of a key it does not know
            price = ModelPrice(**{str(key): _number(value) for key, value in prices.items()})
            price.calc_price(Usage(input_tokens=1, output_tokens=1))
    except (ArithmeticError, ValueError, UserWarning) as error:
        raise PriceError(f"{where}: {error or 'a price must be a number'}") from error
    return price


def _number(value: Any) -> Decimal:
    number = Decimal(str(value))
    if not number.is_finite() or number > _DEAREST:
        raise ValueError(f"a price must be a number, got {value!r}")
    return number


_DEAREST = Decimal(10**12)  # so that whatever is multiplied by it is a number still


def read_table(path: Path) -> DataSnapshot:
    """A table in genai-prices' own JSON form, so that a price can be pinned to the day it was agreed on."""
    try:
        raw = json.loads(lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes())
        return DataSnapshot(providers=_providers_from_raw(raw), from_auto_update=False)
    except (OSError, ValueError, lzma.LZMAError) as error:
        raise PriceError(f"{path}: not a genai-prices table: {error}") from error
