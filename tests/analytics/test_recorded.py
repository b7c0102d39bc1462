"""Recorded spans of two programs that no framework made, read right: the edges, the tokens, the sessions."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from maslens.analytics.facts import compute

from tests.analytics.emitted import agent_spans
from tests.validate import agntcy, mas_sim

pytestmark = pytest.mark.captures


def _there(shared: Path, name: str) -> Path:
    folder = shared / "datasets" / name
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}")
    return folder


def test_agntcys_graph_told_in_five_traces_is_one_session_of_three_runs(shared: Path) -> None:
    for name, rows, truth in agntcy.recordings(_there(shared, "agntcy_spans")):
        facts = compute(agent_spans(agntcy.spans(rows)))
        session = facts.sessions.row(0, named=True)
        assert (len(facts.sessions), session["traces"]) == (1, truth["traces"]), name
        assert (session["input_tokens"], session["output_tokens"]) == (truth["input_tokens"], truth["output_tokens"])
        assert session["llm_calls"] == truth["model_calls"]
        declared = {(source, target) for source, target, _ in truth.get("declared_edges", ())}
        assert set(facts.handoffs.select("source", "target").iter_rows()) <= declared, name
        assert len(facts.handoffs) == max(len(truth["agent_runs_in_time_order"]) - 1, 0), name


def test_a_pipeline_written_by_hand_is_read_by_what_it_borrows(shared: Path) -> None:
    traces = mas_sim.traces(_there(shared, "mas_sim_otel"))
    facts = compute(agent_spans(span for trace in traces for span in mas_sim.spans(trace)))
    edges = Counter(facts.handoffs.select("source", "target", "evidence").iter_rows())
    assert edges == {
        ("Coordinator", "Researcher", "explicit"): len(traces),
        ("Researcher", "Executor", "sequence"): len(traces),
        ("Executor", "Evaluator", "sequence"): len(traces),
    }
    used = sum(span["attributes"].get("gen_ai.usage.input_tokens", 0) for trace in traces for span in trace["spans"])
    assert facts.llm_calls["input_tokens"].sum() == used
    assert facts.llm_calls.filter(pl.col("agent") == "(unattributed)").is_empty()
    assert set(facts.tool_calls["tool"]) == {"ProductCatalogSearch"}
