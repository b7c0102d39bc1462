"""The coordination graph of a session worked out by hand, and what holds for any."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maslens.analytics.graph import EVIDENCE, coordination_graph, edge_table

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
TIME = pl.Datetime("ns", "UTC")
HANDOFFS = {
    **dict.fromkeys(("session_id", "source", "target", "mode", "evidence"), pl.String),
    "confidence": pl.Float64,
    "outcome": pl.String,
    "at": TIME,
    "target_run_id": pl.String,
    "connection_type": pl.String,
}
RUNS = {
    **dict.fromkeys(("session_id", "run_id", "parent_run_id", "agent"), pl.String),
    "started_at": TIME,
    "duration_ns": pl.Int64,
    "status": pl.String,
    "cost_usd": pl.Float64,
}


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def handoffs(*rows: dict[str, Any]) -> pl.DataFrame:
    blank = {"session_id": "s", "mode": "pass_control", "evidence": "explicit", "confidence": 1.0, "outcome": ""}
    blank |= {"at": NOON, "target_run_id": "", "connection_type": ""}
    return pl.DataFrame([{**blank, **row} for row in rows], schema=HANDOFFS)


def runs(*rows: dict[str, Any]) -> pl.DataFrame:
    blank = {"session_id": "s", "parent_run_id": "", "status": "ok", "cost_usd": 0.0, "duration_ns": 10**9}
    return pl.DataFrame([{**blank, "started_at": NOON, **row} for row in rows], schema=RUNS)


@pytest.fixture
def desk() -> tuple[pl.DataFrame, pl.DataFrame]:
    """user → triage → {billing, tech}; billing → triage (back, and round again); tech → human."""
    edges = handoffs(
        {"source": "triage", "target": "billing", "at": at(1), "target_run_id": "b1"},
        {"source": "billing", "target": "triage", "at": at(5), "target_run_id": "t2", "evidence": "sequence"},
        {"source": "triage", "target": "billing", "at": at(6), "target_run_id": "b2", "evidence": "tool_name"},
        {"source": "triage", "target": "tech", "at": at(7), "mode": "return_to_caller", "outcome": "refused"},
        {"source": "tech", "target": "human", "at": at(9)},
    )
    ran = runs(
        {"run_id": "t1", "agent": "triage", "cost_usd": 0.5},
        {"run_id": "b1", "agent": "billing", "started_at": at(3), "duration_ns": 2 * 10**9, "status": "error"},
        {"run_id": "t2", "agent": "triage", "started_at": at(5)},
        {"run_id": "b2", "agent": "billing", "started_at": at(10), "duration_ns": 4 * 10**9, "cost_usd": 0.25},
        {"run_id": "x", "agent": "tech", "parent_run_id": "t2"},
    )
    return edges, ran


def test_edges(desk: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    table = edge_table(*desk)
    told = {
        (row["client"], row["server"]): (row["connection_type"], row["handoffs"], row["failed"])
        for row in table.iter_rows(named=True)
    }
    assert told == {
        ("user", "triage"): ("virtual_node", 1, 0),
        ("triage", "billing"): ("", 2, 1),
        ("billing", "triage"): ("", 1, 0),
        ("triage", "tech"): ("", 1, 1),
        ("tech", "human"): ("virtual_node", 1, 0),
    }
    busiest = table.row(0, named=True)
    assert (busiest["client"], busiest["server"], busiest["mode"]) == ("triage", "billing", "pass_control")
    assert (busiest["wait_p50_s"], busiest["run_p50_s"]) == (3.0, 3.0)  # waits of 2 and 4 s, runs of 2 and 4 s
    assert (busiest["explicit"], busiest["tool_name"], busiest["sequence"]) == (1, 1, 0)


def test_nodes_and_metrics(desk: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    graph = coordination_graph(*desk)
    nodes = {row["agent"]: row for row in graph.nodes.iter_rows(named=True)}
    assert {name: row["kind"] for name, row in nodes.items()} == {
        "triage": "agent",
        "billing": "agent",
        "tech": "agent",
        "user": "virtual_node",
        "human": "virtual_node",
    }
    assert (nodes["triage"]["runs"], nodes["triage"]["cost_usd"], nodes["billing"]["errors"]) == (2, 0.5, 1)
    assert (nodes["triage"]["fan_out"], nodes["triage"]["fan_in"]) == (2, 2)
    assert nodes["triage"]["betweenness"] == 0.5  # on one of the two shortest ways: billing → triage → tech
    assert graph.metrics == pytest.approx(
        {
            "agents": 3,
            "edges": 3,
            "density": 0.5,
            "depth": 3,  # user → triage → tech → human
            "cycles": 1,
            "reciprocity": 2 / 3,
            "fan_out_max": 2,
            "centralisation": (0 + 1 + 2) / 4,
            "handoffs": 4,
            "failure_rate": 0.5,
            "inferred_ratio": 0.5,
            # triage: 2 of 3 to billing, 1 of 3 to tech; billing always to triage; 3 targets
            "determinism": 1 - (2 * 0.5849625 + 1.5849625) / 4 / 1.5849625,
        }
    )


def test_a_single_agent_is_a_graph() -> None:
    graph = coordination_graph(handoffs(), runs({"run_id": "a", "agent": "solo"}))
    assert graph.edges.select("client", "server").rows() == [("user", "solo")]
    assert (graph.metrics["agents"], graph.metrics["depth"], graph.metrics["density"]) == (1, 1, 0.0)


def test_nothing_is_a_graph() -> None:
    graph = coordination_graph(handoffs(), runs())
    assert graph.nodes.is_empty()
    assert graph.edges.is_empty()
    assert graph.metrics["depth"] == 0


def test_an_agent_called_human_is_an_agent() -> None:
    graph = coordination_graph(
        handoffs({"source": "a", "target": "human", "target_run_id": "h"}),
        runs({"run_id": "a", "agent": "a"}, {"run_id": "h", "agent": "human"}),
    )
    assert graph.edges.filter(pl.col("server") == "human")["connection_type"].to_list() == [""]
    assert graph.metrics["agents"] == 2


def test_a_person_is_a_virtual_node_whatever_their_name() -> None:
    graph = coordination_graph(
        handoffs({"source": "a", "target": "Lee", "connection_type": "virtual_node"}),
        runs({"run_id": "a", "agent": "a"}),
    )
    assert graph.edges.filter(pl.col("server") == "Lee")["connection_type"].to_list() == ["virtual_node"]
    assert dict(graph.nodes.select("agent", "kind").iter_rows())["Lee"] == "virtual_node"


def test_an_agent_that_hands_over_to_itself_goes_in_a_circle() -> None:
    graph = coordination_graph(
        handoffs({"source": "a", "target": "a", "target_run_id": "2"}),
        runs({"run_id": "1", "agent": "a"}, {"run_id": "2", "agent": "a"}),
    )
    assert (graph.metrics["cycles"], graph.metrics["density"], graph.metrics["reciprocity"]) == (1, 0.0, 0.0)


NAMES = st.sampled_from(["a", "b", "c", "user", "human", "ü<i>"])
EDGE = st.fixed_dictionaries(
    {
        "session_id": st.sampled_from(["s1", "s2"]),
        "source": NAMES,
        "target": NAMES,
        "evidence": st.sampled_from(EVIDENCE),
        "at": st.integers(0, 9).map(at),
        "target_run_id": st.sampled_from(["", "1", "2", "3"]),
    }
)
RUN = st.fixed_dictionaries(
    {
        "session_id": st.sampled_from(["s1", "s2"]),
        "run_id": st.sampled_from(["1", "2", "3"]),
        "parent_run_id": st.sampled_from(["", "1", "2"]),
        "agent": NAMES,
        "status": st.sampled_from(["ok", "error"]),
    }
)


@settings(max_examples=80, deadline=None)
@given(
    edges=st.lists(EDGE, max_size=12),
    ran=st.lists(RUN, max_size=6, unique_by=lambda row: (row["session_id"], row["run_id"])),
    order=st.randoms(use_true_random=False),
)
def test_every_handoff_is_counted_once_whatever_the_order(
    edges: list[dict[str, Any]], ran: list[dict[str, Any]], order: Any
) -> None:
    graph = coordination_graph(handoffs(*edges), runs(*ran))
    table = graph.edges
    started_by_user = table["handoffs"].sum() - len(edges)
    assert 0 <= started_by_user <= len(ran)
    assert table.select(pl.sum_horizontal(EVIDENCE).sum()).item() == table["handoffs"].sum()
    assert (table["failed"] <= table["handoffs"]).all()
    for name in ("density", "reciprocity", "centralisation", "failure_rate", "inferred_ratio"):
        assert 0 <= graph.metrics[name] <= 1
    assert -1e-9 <= graph.metrics["determinism"] <= 1
    order.shuffle(edges)
    order.shuffle(ran)
    again = coordination_graph(handoffs(*edges), runs(*ran))
    assert again.edges.drop("confidence").equals(table.drop("confidence"))
    assert again.metrics == pytest.approx(graph.metrics)


def test_a_hundred_agents_and_a_hundred_thousand_edges() -> None:
    n, agents = 100_000, 100
    nth = pl.int_range(n, eager=True)
    many = pl.select(
        session_id="s" + (nth // 20).cast(pl.String),
        source="agent" + (nth * 7919 % agents).cast(pl.String),
        target="agent" + (nth * 104729 // 7 % agents).cast(pl.String),
        mode=pl.lit("pass_control"),
        evidence=pl.lit("explicit"),
        confidence=pl.lit(1.0),
        outcome=pl.lit(""),
        at=pl.lit(NOON).cast(TIME),
        target_run_id="r" + nth.cast(pl.String),
        connection_type=pl.lit(""),
    )
    ran = many.select(
        "session_id",
        run_id="target_run_id",
        parent_run_id=pl.lit(""),
        agent="target",
        started_at="at",
        duration_ns=pl.lit(5, dtype=pl.Int64),
        status=pl.lit("ok"),
        cost_usd=pl.lit(0.0),
    )
    took = []
    for _ in range(3):
        began = time.perf_counter()
        graph = coordination_graph(many, ran)
        took.append(time.perf_counter() - began)
    assert graph.metrics["handoffs"] == n
    assert graph.metrics["agents"] == agents
    print(f"\ngraph: {agents} agents, {n} handoffs, {graph.edges.height} edges: {min(took) * 1e3:.0f} ms")
