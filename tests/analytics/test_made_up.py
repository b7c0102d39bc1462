"""Programs made up at random, told as different emitters would: the facts are what was made up, whatever happens on the
way to their spans."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from maslens.analytics.facts import Facts, compute
from maslens.semconv.dialects.python import RawSpan

from tests.analytics.emitted import agent_spans
from tests.analytics.made_up import Edge, Truth, slug
from tests.analytics.made_up_families import FAMILIES, told

SEEDS = range(8)


def facts(spans: list[RawSpan]) -> Facts:
    return compute(agent_spans(spans))


def edges(found: Facts) -> Counter[Edge]:
    rows: Counter[Any] = Counter(found.handoffs.select("source", "target", "mode").iter_rows())
    return rows


def wrong(found: Facts, truth: Truth) -> dict[str, Any]:
    """What the facts say and should not, or do not and should."""
    spent = found.llm_calls.group_by("agent").agg(pl.col("input_tokens", "output_tokens").sum())
    tokens: Counter[tuple[str, str]] = Counter()
    for agent, used, made in spent.iter_rows():
        tokens.update({(agent, "in"): used, (agent, "out"): made})
    tools: Counter[Any] = Counter(found.tool_calls.select("agent", "tool").iter_rows())
    agents = set(found.agent_runs["agent"])
    compared = {
        "agents": (agents - truth.agents, truth.agents - agents),
        "edges": (edges(found) - truth.edges, truth.edges - edges(found)),
        "tokens": (tokens - truth.tokens, truth.tokens - tokens),
        "tools": (tools - truth.tools, truth.tools - tools),
    }
    return {what: sides for what, sides in compared.items() if any(sides)}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_facts_are_what_was_made_up(family: str) -> None:
    for seed in SEEDS:
        spans, truth = told(family, seed)
        assert not wrong(facts(spans), truth), seed


@pytest.mark.parametrize("family", FAMILIES)
def test_sessions_interleaved_shuffled_and_sent_twice_are_as_good(family: str) -> None:
    for seed in range(4):
        spans, truth = told(family, 1000 + seed, sessions=5)
        rng = random.Random(seed)
        sent = [*spans, *rng.sample(spans, len(spans) // 3)]
        rng.shuffle(sent)
        assert not wrong(facts(sent), truth), seed


@pytest.mark.parametrize("family", FAMILIES)
def test_lost_spans_make_no_tokens_and_no_explicit_edge_that_was_not(family: str) -> None:
    for seed in range(6):
        spans, truth = told(family, 2000 + seed, sessions=2)
        rng = random.Random(seed)
        found = facts(rng.sample(spans, max(1, len(spans) * 2 // 3)))
        assert found.llm_calls["input_tokens"].sum() <= sum(
            used for (_, side), used in truth.tokens.items() if side == "in"
        )
        sure = (pl.col("evidence") == "explicit") & (pl.col("confidence") == 1)  # less where the target is a guess
        said = found.handoffs.filter(sure).select("source", "target", "mode").rows()
        known = {(source, slug(target)) for source, target, _ in truth.edges}
        assert not {(source, slug(target)) for source, target, _ in said} - known, seed


def test_clocks_that_differ_between_services_change_nothing_that_is_told_by_nesting() -> None:
    for seed in range(8):
        spans, truth = told("Pydantic AI", 3000 + seed)
        for skew_ms in (-5_000, 250, 60_000):
            moved = [_moved(spans, span, skew_ms) for span in spans]
            assert not wrong(facts(moved), truth), (seed, skew_ms)


def _moved(spans: list[RawSpan], span: RawSpan, skew_ms: int) -> RawSpan:
    """All that is below a tool runs in a service whose clock is off by `skew_ms`."""
    parents = {other.span_id: other for other in spans}
    above = parents.get(span.parent_span_id)
    while above is not None:
        if above.span_name.startswith("execute_tool"):
            return replace(span, timestamp_ns=span.timestamp_ns + skew_ms * 1_000_000, service_name="remote")
        above = parents.get(above.parent_span_id)
    return span
