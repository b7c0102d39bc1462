"""Prices conform to genai-prices', and money that is cut up adds up again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, get_args

import polars as pl
import pytest
from genai_prices import Usage, calc_price
from hypothesis import given, settings
from hypothesis import strategies as st
from maslens.analytics.cost import TOTAL, By, cost_by, price
from maslens.analytics.frames import UNATTRIBUTED
from maslens.analytics.prices import PriceBook, PriceError, Tokens

from tests.validate import llm_prices

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
TIME = pl.Datetime("ns", "UTC")
CALLS = {
    "session_id": pl.String,
    "run_id": pl.String,
    "agent": pl.String,
    "model": pl.String,
    "provider": pl.String,
    "at": TIME,
    "input_tokens": pl.UInt64,
    "output_tokens": pl.UInt64,
    "cached_tokens": pl.UInt64,
    "cache_write_tokens": pl.UInt64,
    "reasoning_tokens": pl.UInt64,
}


@dataclass(frozen=True)
class Frames:
    llm_calls: pl.DataFrame
    tool_calls: pl.DataFrame
    agent_runs: pl.DataFrame
    handoffs: pl.DataFrame


def calls(*rows: dict[str, Any]) -> pl.DataFrame:
    blank = {"session_id": "s", "run_id": "r", "agent": "a", "model": "gpt-4o", "provider": "openai", "at": NOON}
    return pl.DataFrame([{**dict.fromkeys(CALLS), **blank, **row} for row in rows], schema=CALLS)


def frames(
    llm: pl.DataFrame,
    *,
    tools: list[dict[str, Any]] | None = None,
    runs: list[dict[str, Any]] | None = None,
    handoffs: list[dict[str, Any]] | None = None,
) -> Frames:
    text = dict.fromkeys(("session_id", "run_id"), pl.String)
    return Frames(
        llm_calls=llm,
        tool_calls=pl.DataFrame(tools or [], schema={**text, "tool": pl.String, "at": TIME}),
        agent_runs=pl.DataFrame(runs or [], schema={**text, "agent_version": pl.String, "variant": pl.String}),
        handoffs=pl.DataFrame(
            handoffs or [],
            schema={
                **dict.fromkeys(("session_id", "target_run_id", "source", "target"), pl.String),
                "at": TIME,
            },
        ),
    )


def one_cost(book: PriceBook | None = None, **row: Any) -> tuple[float | None, str]:
    priced = price(calls(row), book or PriceBook())
    return priced["cost_usd"][0], priced["unpriced_reason"][0]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        pytest.param({"input_tokens": 1_000_000, "output_tokens": 0}, 2.5, id="a million in"),
        pytest.param({"input_tokens": 1_000_000, "cached_tokens": 1_000_000}, 1.25, id="all of it cached"),
        pytest.param(
            {"input_tokens": 0, "output_tokens": 10, "cached_tokens": 1_000_000},
            1.2501,
            id="cached left out of input is counted in",
        ),
        pytest.param({"output_tokens": 100_000}, 1.0, id="input not said"),
        pytest.param(
            {"model": "claude-sonnet-4-5", "provider": "anthropic", "input_tokens": 1_000_000, "output_tokens": 0},
            6.0,
            id="long context tier: every token at the tier's price",
        ),
        pytest.param(
            {"model": "claude-sonnet-4-5", "provider": "anthropic", "input_tokens": 200_000, "output_tokens": 0},
            0.6,
            id="at the tier's edge the base price",
        ),
        pytest.param(
            {
                "model": "claude-3-5-haiku-latest",
                "provider": "anthropic",
                "input_tokens": 300_000,
                "cached_tokens": 100_000,
                "cache_write_tokens": 100_000,
                "output_tokens": 0,
            },
            0.188,
            id="cache read and write apart",
        ),
    ],
)
def test_price(row: dict[str, Any], expected: float) -> None:
    assert one_cost(**row) == (pytest.approx(expected, abs=1e-12), "")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        pytest.param({"model": "", "input_tokens": 5}, "no model", id="no name"),
        pytest.param({"model": None, "input_tokens": 5}, "no model", id="null name"),
        pytest.param({"model": "scripted-model", "provider": "", "input_tokens": 5}, "unknown model", id="nobody's"),
        pytest.param({"cached_tokens": 5}, "no usage", id="neither input nor output"),
        pytest.param({"model": "gpt-4o", "provider": "ollama", "input_tokens": 5}, "unknown model", id="own machine"),
    ],
)
def test_unpriced(row: dict[str, Any], reason: str) -> None:
    assert one_cost(**row) == (None, reason)


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4o", "azure.ai.openai"),
        ("gpt-4o", "langchain"),
        ("openai/gpt-4o", "litellm"),
        ("openai:gpt-4o", ""),
        ("azure/gpt-4o", ""),
        ("anthropic.claude-3-5-sonnet-20240620-v1:0", ""),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", "aws.bedrock"),
        ("gemini-2.0-flash", "gcp.gen_ai"),
        ("gemini-2.0-flash", "gcp.vertex_ai"),
        ("deepseek-chat", "openai"),
        ("text-embedding-3-small", ""),
        ("grok-3", "x_ai"),
    ],
)
def test_names_that_spans_use_find_a_price(model: str, provider: str) -> None:
    cost, reason = one_cost(model=model, provider=provider, input_tokens=10_000, output_tokens=10)
    assert reason == ""
    assert cost is not None
    assert cost > 0


def test_price_is_that_of_the_day() -> None:
    row = {"model": "o3", "provider": "openai", "input_tokens": 1_000_000, "output_tokens": 0}
    before, _ = one_cost(**row, at=datetime(2025, 6, 1, tzinfo=timezone.utc))
    after, _ = one_cost(**row, at=datetime(2025, 7, 1, tzinfo=timezone.utc))
    assert (before, after) == (10.0, 2.0)


def test_every_call_gets_its_own_price_and_place() -> None:
    rows = [{"input_tokens": i % 7, "output_tokens": 0, "at": NOON + timedelta(seconds=i)} for i in range(200)]
    priced = price(calls(*rows), PriceBook())
    assert priced["cost_usd"].to_list() == pytest.approx([i % 7 * 2.5e-6 for i in range(200)])
    assert priced["at"].to_list() == calls(*rows)["at"].to_list()


@settings(max_examples=150, deadline=None)
@given(
    model=st.sampled_from(["gpt-4o", "claude-sonnet-4-5", "gemini-2.5-pro", "o4-mini", "gpt-5", "claude-opus-4-1"]),
    uncached=st.integers(0, 500_000),
    cached=st.integers(0, 500_000),
    written=st.integers(0, 100_000),
    output=st.integers(0, 100_000),
    hidden=st.integers(0, 100_000),
)
def test_what_was_learnt_of_a_price_is_what_genai_prices_says(
    model: str, uncached: int, cached: int, written: int, output: int, hidden: int
) -> None:
    book = PriceBook()
    rate = book.rate(model, "", NOON)
    assert rate is not None
    usage = Usage(
        input_tokens=uncached + cached + written,
        output_tokens=output + hidden,
        cache_read_tokens=cached,
        cache_write_tokens=written,
        output_reasoning_tokens=hidden,
    )
    tokens = Tokens(
        input=uncached + cached + written, output=output + hidden, cached=cached, cache_write=written, reasoning=hidden
    )
    assert rate.cost(tokens) == calc_price(usage, model, genai_request_timestamp=NOON).total_price


SHEET = """
prices:
  - {model: "house-*", input_mtok: 1, output_mtok: 2}
  - {model: house-big, input_mtok: 10, output_mtok: 20, cache_read_mtok: 1}
  - {model: house-big, since: 2026-06-01, input_mtok: 5, output_mtok: 10}
  - {model: house-big, provider: ollama, input_mtok: 0.25, output_mtok: 0}
  - {model: gpt-4o, input_mtok: "1.5", output_mtok: 3, requests_kcount: 2}
"""


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        pytest.param({"model": "house-small"}, 1.0, id="pattern"),
        pytest.param({"model": "House-Big"}, 10.0, id="full name wins over pattern, case is no matter"),
        pytest.param({"model": "house-big", "at": NOON + timedelta(days=200)}, 5.0, id="newest that is valid"),
        pytest.param({"model": "house-big", "provider": "ollama"}, 0.25, id="own machine has the price you give it"),
        pytest.param({"model": "gpt-4o"}, 1.502, id="over the table, with a price per call"),
    ],
)
def test_sheet(tmp_path: Path, row: dict[str, Any], expected: float) -> None:
    sheet = tmp_path / "prices.yaml"
    sheet.write_text(SHEET)
    cost, reason = one_cost(PriceBook.load(sheet), **{"input_tokens": 1_000_000, "output_tokens": 0, **row})
    assert (cost, reason) == (pytest.approx(expected, abs=1e-12), "")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1", "not a readable price sheet"),
        ("- a", "expected `prices:`"),
        ("prices: [{input_mtok: 1}]", "prices[0]: an entry needs a `model`"),
        ("prices: [{model: m}]", "prices[0]: no price"),
        ("prices: [{model: m, input_mtok: much}]", "prices[0]"),
        ("prices: [{model: m, input_mtok: -1}]", "prices[0]"),
        ("prices: [{model: m, input_mtok: .nan}]", "prices[0]: a price must be a number, got nan"),
        ("prices: [{model: m, input_mtok: .inf}]", "prices[0]: a price must be a number, got inf"),
        ("prices: [{model: m, input_mtok: 1e400}]", "prices[0]: a price must be a number"),
        ("prices: [{model: m, input_mtok: 1, inptu_mtok: 1}]", "inptu_mtok"),
        ("prices: [{model: m, input_mtok: 1, since: soon}]", "`since` must be a date"),
        ("prices: [{model: m, input_mtok: 1, since: 3}]", "`since` must be a date"),
    ],
)
def test_sheet_that_cannot_be_used_says_which_entry(tmp_path: Path, text: str, says: str) -> None:
    sheet = tmp_path / "prices.yaml"
    sheet.write_text(text)
    with pytest.raises(PriceError) as error:
        PriceBook.load(sheet)
    assert says in str(error.value)
    assert str(sheet) in str(error.value)


def test_table_that_is_none(tmp_path: Path) -> None:
    table = tmp_path / "table.json"
    table.write_text("{}")
    with pytest.raises(PriceError, match="not a genai-prices table"):
        PriceBook.load(table=table)


# --- real usage objects ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def usages(shared: Path) -> pl.DataFrame:
    return llm_prices.labelled(shared / "datasets" / "llm_prices")


@pytest.mark.captures
def test_every_expected_price_is_met(shared: Path, usages: pl.DataFrame) -> None:
    priced = price(usages, llm_prices.table(shared / "datasets" / "llm_prices"))
    wrong = priced.filter(~pl.Series(llm_prices.right(priced)))
    assert wrong.is_empty(), wrong.select("model", "provider", "cost_usd", "expected")


@pytest.mark.captures
def test_openai_and_anthropic_at_the_prices_installed_today(usages: pl.DataFrame) -> None:
    subset = llm_prices.usually_judged(usages)
    assert all(llm_prices.right(price(subset, PriceBook())))
    assert llm_prices.cached(subset).height >= 1


# --- who spent it ----------------------------------------------------------------------------------------------------


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def spent(table: pl.DataFrame) -> dict[str, float]:
    return dict(zip(table[table.columns[0]], table["cost_usd"], strict=True))


@pytest.fixture
def desk() -> Frames:
    """triage asks two tools at once, hands to billing; billing's call has no price; one call has no agent."""
    llm = calls(
        {"run_id": "t", "agent": "triage", "input_tokens": 400_000, "output_tokens": 0, "at": at(0)},
        {"run_id": "t", "agent": "triage", "input_tokens": 40_000, "output_tokens": 0, "at": at(5)},
        {"run_id": "b", "agent": "billing", "model": "scripted", "provider": "", "input_tokens": 7, "at": at(11)},
        {"run_id": "b", "agent": "billing", "input_tokens": 4_000, "cached_tokens": 4_000, "at": at(12)},
        {"run_id": "", "agent": "", "input_tokens": 400, "output_tokens": 0, "at": at(13)},
    )
    return frames(
        price(llm, PriceBook()),
        tools=[
            {"session_id": "s", "run_id": "t", "tool": "search", "at": at(1)},
            {"session_id": "s", "run_id": "t", "tool": "lookup", "at": at(2)},
            {"session_id": "s", "run_id": "b", "tool": "refund", "at": at(14)},
            {"session_id": "s", "run_id": "b", "tool": "orphan", "at": at(3)},
        ],
        runs=[
            {"session_id": "s", "run_id": "t", "agent_version": "v1", "variant": ""},
            {"session_id": "s", "run_id": "b", "agent_version": "v2", "variant": "short"},
        ],
        handoffs=[
            {"session_id": "s", "target_run_id": "b", "source": "triage", "target": "billing", "at": at(10)},
            {"session_id": "s", "target_run_id": "", "source": "user", "target": "triage", "at": at(0)},
        ],
    )


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("agent", {"triage": 1.1, "billing": 0.005, UNATTRIBUTED: 0.001, TOTAL: 1.106}),
        ("model", {"gpt-4o": 1.106, "scripted": 0.0, UNATTRIBUTED: 0.0, TOTAL: 1.106}),
        ("session", {"s": 1.106, UNATTRIBUTED: 0.0, TOTAL: 1.106}),
        ("version", {"v1": 1.1, "v2": 0.005, UNATTRIBUTED: 0.001, TOTAL: 1.106}),
        ("variant", {"short": 0.005, UNATTRIBUTED: 1.101, TOTAL: 1.106}),
        ("handoff", {"triage → billing": 0.005, UNATTRIBUTED: 1.101, TOTAL: 1.106}),
        ("tool", {"lookup": 0.5, "search": 0.5, "refund": 0.005, UNATTRIBUTED: 0.101, TOTAL: 1.106}),
        ("task", {UNATTRIBUTED: 1.106, TOTAL: 1.106}),
    ],
)
def test_cost_by(desk: Frames, by: By, expected: dict[str, float]) -> None:
    table = cost_by(desk, by)
    assert spent(table) == pytest.approx(expected, abs=1e-12)
    assert table[by].to_list()[-2:] == [UNATTRIBUTED, TOTAL]
    assert table["unpriced_calls"].to_list()[-1] == 1
    assert table["llm_calls"].to_list()[-1] == 5


def test_handoff_that_came_back_is_charged_with_what_followed() -> None:
    llm = price(
        calls(
            {"run_id": "t", "input_tokens": 4, "at": at(1)},
            {"run_id": "t", "input_tokens": 8, "at": at(9)},
        ),
        PriceBook(),
    )
    back = [
        {"session_id": "s", "target_run_id": "t", "source": "user", "target": "triage", "at": at(2)},
        {"session_id": "s", "target_run_id": "t", "source": "billing", "target": "triage", "at": at(5)},
    ]
    assert spent(cost_by(frames(llm, handoffs=back), "handoff")) == pytest.approx(
        {"user → triage": 1e-5, "billing → triage": 2e-5, UNATTRIBUTED: 0.0, TOTAL: 3e-5}
    )


def test_nothing_is_a_table_too() -> None:
    for by in get_args(By):
        table = cost_by(frames(price(calls(), PriceBook())), by)
        assert table[by].to_list() == [UNATTRIBUTED, TOTAL]
        assert table["cost_usd"].to_list() == [0.0, 0.0]


AGENTS = st.sampled_from(["", "a", "b", "(total)", "ö\x00<b>"])
RUNS = st.sampled_from(["", "r1", "r2", "r3"])
CALL = st.fixed_dictionaries(
    {
        "session_id": st.sampled_from(["s1", "s2"]),
        "run_id": RUNS,
        "agent": AGENTS,
        "model": st.sampled_from(["gpt-4o", "claude-sonnet-4-5", "scripted", ""]),
        "at": st.integers(0, 50).map(at),
        "input_tokens": st.none() | st.integers(0, 10**6),
        "output_tokens": st.none() | st.integers(0, 10**5),
        "cached_tokens": st.none() | st.integers(0, 10**5),
        "reasoning_tokens": st.none() | st.integers(0, 10**4),
    }
)
TOOL = st.fixed_dictionaries(
    {
        "session_id": st.sampled_from(["s1", "s2"]),
        "run_id": RUNS,
        "tool": st.sampled_from(["x", "y", ""]),
        "at": st.integers(0, 50).map(at),
    }
)
RUN = st.fixed_dictionaries(
    {
        "session_id": st.sampled_from(["s1", "s2"]),
        "run_id": RUNS,
        "agent_version": AGENTS,
        "variant": AGENTS,
    }
)
EDGE = st.fixed_dictionaries(
    {
        "session_id": st.sampled_from(["s1", "s2"]),
        "target_run_id": RUNS,
        "source": AGENTS,
        "target": AGENTS,
        "at": st.integers(0, 50).map(at),
    }
)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(CALL, max_size=12),
    tools=st.lists(TOOL, max_size=8),
    runs=st.lists(RUN, max_size=5),
    edges=st.lists(EDGE, max_size=5),
    order=st.randoms(use_true_random=False),
)
def test_parts_and_unattributed_are_the_total_whatever_the_cut(
    rows: list[dict[str, Any]],
    tools: list[dict[str, Any]],
    runs: list[dict[str, Any]],
    edges: list[dict[str, Any]],
    order: Any,
) -> None:
    llm = price(calls(*rows), PriceBook())
    whole = llm["cost_usd"].fill_null(0).sum()
    shuffled = list(rows)
    order.shuffle(shuffled)
    for by in get_args(By):
        table = cost_by(frames(llm, tools=tools, runs=runs, handoffs=edges), by)
        assert table[by][-1] == TOTAL
        parts, total = table[:-1], table[-1:]
        for name in table.columns[1:]:
            assert parts[name].sum() == pytest.approx(total[name].item(), abs=1e-9)
        assert total["cost_usd"].item() == pytest.approx(whole, abs=1e-9)
        assert total["llm_calls"].item() == len(rows)
        again = cost_by(frames(price(calls(*shuffled), PriceBook()), tools=tools, runs=runs, handoffs=edges), by)
        if by != "tool":  # calls of one run at the very same instant: which asked for the tool is anybody's guess
            assert sorted(again.rows()) == sorted(table.rows())
