"""Captured runs of real frameworks: agents, tokens, tools, handoffs, sessions and outcomes as they really were, or the
committed table says what the spans lack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from maslens.analytics.facts import Facts, compute
from maslens.storage import open_store
from polars.testing import assert_frame_equal

from tests.validate.captures import Capture, agent_spans, captures
from tests.validate.handoffs import BEGIN, END, Held, held, measured, rows
from tests.validate.lacks import LACKS, lacking, lacks

pytestmark = pytest.mark.captures

ROOT = Path(__file__).parent.parent.parent


def _names() -> list[str]:
    """Known before the fixture is, so that every capture is a test of its own."""
    import os

    folder = Path(os.environ.get("MASLENS_SHARED", ROOT.parent / "shared")) / "captures"
    return sorted(path.name.removesuffix(".otlp.pb") for path in folder.glob("*.otlp.pb") if ".logs." not in path.name)


@pytest.fixture(scope="session")
def spans(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Capture, pl.DataFrame]]]:
    """Every capture and its rows of `agent_spans`, through a real store."""
    found = captures(shared / "captures")
    store = open_store(f"chdb://{tmp_path_factory.mktemp('captures') / 'store'}")
    try:
        store.migrate()
        rows = agent_spans(store, found)
    finally:
        store.close()
    yield {capture.name: (capture, rows[capture.name]) for capture in found}


@pytest.fixture(scope="session")
def computed(spans: dict[str, tuple[Capture, pl.DataFrame]]) -> dict[str, tuple[Capture, Facts]]:
    return {name: (capture, compute(rows)) for name, (capture, rows) in spans.items()}


@pytest.fixture
def result(computed: dict[str, tuple[Capture, Facts]], name: str) -> Held:
    return held(*computed[name])


each = pytest.mark.parametrize("name", _names())


@each
def test_agents(name: str, result: Held) -> None:
    assert result.agents or "agents" in lacking(name), [lack.missing for lack in lacks(name)]


@each
def test_tokens_of_every_agent(name: str, result: Held) -> None:
    assert result.tokens or "tokens" in lacking(name)


@each
def test_tools(name: str, result: Held) -> None:
    assert result.tools or "tools" in lacking(name)


@each
def test_handoffs(name: str, result: Held) -> None:
    if "handoffs" not in lacking(name):
        assert (result.wrong, result.missed) == ({}, {})


@each
def test_passing_control_is_in_the_true_order(name: str, computed: dict[str, tuple[Capture, Facts]]) -> None:
    capture, facts = computed[name]
    if "handoffs" in lacking(name) or capture.truth.get("parallel_groups"):
        return  # branches have no order among each other
    passed = facts.handoffs.filter(pl.col("mode") == "pass_control").sort("at", "span_id")
    assert passed.select("source", "target").rows() == [tuple(edge) for edge in capture.truth.get("handoffs") or ()]


@each
def test_session_and_outcome(name: str, computed: dict[str, tuple[Capture, Facts]]) -> None:
    capture, facts = computed[name]
    if "outcome" not in lacking(name):
        told = str(capture.truth["outcome"]).split(maxsplit=1)[0]
        assert facts.sessions["outcome"].to_list() == [told if told in ("success", "failure") else "success"]
    if "session" not in lacking(name) and capture.truth.get("session"):
        assert facts.sessions["session_id"].to_list() == [capture.truth["session"]]


@each
def test_final_agent(name: str, computed: dict[str, tuple[Capture, Facts]]) -> None:
    capture, facts = computed[name]
    if (
        capture.truth.get("final_agent")
        and not {"agents", "session"} & (lacking(name) - {"session"})
        and len(facts.sessions) == 1
    ):
        assert facts.sessions["final_agent"].to_list() == [capture.truth["final_agent"]]


@each
def test_tokens_add_up(name: str, computed: dict[str, tuple[Capture, Facts]]) -> None:
    _, facts = computed[name]
    for tokens in ("input_tokens", "output_tokens"):
        total = facts.sessions[tokens].sum()
        unattributed = facts.llm_calls.filter(pl.col("run_id") == "")[tokens].sum()
        assert facts.agent_runs[tokens].sum() + unattributed == total == facts.llm_calls[tokens].sum()


def test_the_table_of_what_is_lacking_names_no_gap_that_is_none(computed: dict[str, tuple[Capture, Facts]]) -> None:
    for lack in LACKS:
        mine = [held(*computed[name]) for name in computed if lack in lacks(name)]
        for what in {"agents", "tokens", "tools", "handoffs"} & set(lack.what):
            assert not mine or not all(result.holds(what) for result in mine), (lack, what)


def test_all_captures_at_once_give_each_what_it_gives_alone(
    spans: dict[str, tuple[Capture, pl.DataFrame]], computed: dict[str, tuple[Capture, Facts]]
) -> None:
    """Runs that name no session have nothing to do with each other, however many are computed at once."""
    apart = {name: facts for name, (capture, facts) in computed.items() if not _named_session(facts)}
    together = compute(pl.concat([spans[name][1] for name in apart]))
    for field in ("agent_runs", "handoffs", "llm_calls", "agent_errors"):
        alone = pl.concat([getattr(facts, field) for facts in apart.values()])
        order = [
            column
            for column in ("session_id", "trace_id", "run_id", "span_id", "source", "target", "at")
            if column in alone.columns
        ]
        assert_frame_equal(getattr(together, field).sort(order), alone.sort(order))


def _named_session(facts: Facts) -> bool:
    return any(session.startswith("conv-") for session in facts.sessions["session_id"])


def test_the_page_shows_what_is_measured(computed: dict[str, tuple[Capture, Facts]]) -> None:
    results = [held(*computed[name]) for name in sorted(computed)]
    page = (ROOT / "docs" / "handoffs.md").read_text()
    told = page.split(BEGIN, 1)[1].split(END, 1)[0].strip()
    assert told == measured(results, list(rows(results, "captures"))).strip(), "PAGE=docs/handoffs.md writes it"
