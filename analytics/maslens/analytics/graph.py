"""Who works with whom: the coordination graph over whatever sessions it is given.

Rows are counted in Polars first, so that the algorithms (NetworkX's) see one edge per pair of agents. An edge has the
labels of Tempo's service graph: `client`, `server` and `connection_type`, which is `virtual_node` where one end is the
user or a human instead of an agent, and '' otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import polars as pl
from maslens.analytics.names import PEOPLE

USER = "user"
VIRTUAL = tuple(sorted(PEOPLE))  # names that stand for people, unless an agent is called so
EVIDENCE = ("explicit", "tool_name", "message", "graph_hint", "structure", "sequence")
FAILED_OUTCOMES = ("failed", "failure", "error", "rejected", "refused", "timeout", "timed_out", "bounced", "cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinationGraph:
    """nodes: agent, kind (agent | virtual_node), runs, errors, cost_usd, fan_in, fan_out, betweenness.

    edges: client, server, connection_type, mode, handoffs, failed, sessions, wait and run times, one count per kind of
    evidence, mean confidence. metrics: one number each, see `measure`.
    """

    nodes: pl.DataFrame
    edges: pl.DataFrame
    metrics: Mapping[str, float]


def coordination_graph(
    handoffs: pl.DataFrame, agent_runs: pl.DataFrame, *, run_key: Sequence[str] = ("session_id", "run_id")
) -> CoordinationGraph:
    """The graph of the sessions that `handoffs` and `agent_runs` are of.

    run_key: what tells runs apart; `run_id` alone where ids are unique over sessions, which is quicker.
    """
    edges = edge_table(handoffs, agent_runs, run_key=run_key)
    nodes, metrics = measure(node_table(agent_runs, edges), edges)
    return CoordinationGraph(nodes=nodes, edges=edges, metrics=metrics)


def edge_table(
    handoffs: pl.DataFrame, agent_runs: pl.DataFrame, *, run_key: Sequence[str] = ("session_id", "run_id")
) -> pl.DataFrame:
    """One row per (client, server), the busiest first. Runs that nothing led to were started by the user.

    wait: from the handoff to the start of the run it led to; run: how long that run took; both in seconds. A handoff
    counts as failed if its outcome says so or the run it led to ended in an error.
    """
    agents = agent_runs.get_column("agent").unique().cast(pl.String)
    led_to = [f"target_{name}" if name == "run_id" else name for name in run_key]
    runs = agent_runs if _told_apart(agent_runs, run_key) else agent_runs.unique(run_key, keep="first")
    begun = runs.select(
        *run_key, pl.col("started_at").alias("_start"), "duration_ns", (pl.col("status") == "error").alias("_error")
    )
    virtual_node = pl.col("connection_type") == "virtual_node"
    transfers = (
        handoffs.filter((pl.col("source") != "") & (pl.col("target") != ""))
        .join(begun, left_on=led_to, right_on=run_key, how="left")
        .select(
            "session_id",
            pl.col("source").alias("client"),
            pl.col("target").alias("server"),
            (pl.col("mode") == "pass_control").alias("_passed"),
            *((pl.col("evidence") == kind).alias(kind) for kind in EVIDENCE),
            "confidence",
            (pl.col("_start") - pl.col("at")).dt.total_nanoseconds().clip(lower_bound=0).alias("_wait"),
            pl.col("duration_ns").cast(pl.Int64),
            (_any_of("outcome", FAILED_OUTCOMES) | pl.col("_error").fill_null(False)).alias("_failed"),
            virtual_node.alias("_person"),
        )
    )
    seen = pl.concat([transfers, _entries(handoffs, runs, transfers, run_key)], how="vertical")
    virtual = pl.any_horizontal(
        pl.col("_person"),
        *(pl.col(end).is_in(VIRTUAL) & ~pl.col(end).is_in(agents.implode()) for end in ("client", "server")),
    )
    return (
        seen.group_by("client", "server")
        .agg(
            pl.col("_passed").mean().alias("mode"),
            pl.len().alias("handoffs"),
            pl.col("_failed").sum().alias("failed"),
            pl.col("session_id").n_unique().alias("sessions"),
            *_seconds("_wait", "wait"),
            *_seconds("duration_ns", "run"),
            *(pl.col(kind).sum() for kind in EVIDENCE),
            pl.col("confidence").mean(),
            pl.col("_person").any(),
        )
        .with_columns(pl.col("client", "server").cast(pl.String))
        .with_columns(
            pl.when(pl.col("mode") > 0.5)
            .then(pl.lit("pass_control"))
            .otherwise(pl.lit("return_to_caller"))
            .alias("mode"),
            pl.when(virtual).then(pl.lit("virtual_node")).otherwise(pl.lit("")).alias("connection_type"),
            (pl.col("failed") / pl.col("handoffs")).alias("failure_rate"),
        )
        .sort(["handoffs", "client", "server"], descending=[True, False, False])
        .select(EDGE_COLUMNS)
    )


def _told_apart(runs: pl.DataFrame, key: Sequence[str]) -> bool:
    return runs.select(pl.struct(key) if len(key) > 1 else pl.col(*key)).to_series().n_unique() == runs.height


def _any_of(column: str, values: Sequence[str]) -> pl.Expr:
    """As `is_in`, for texts and for categories alike."""
    return pl.any_horizontal(pl.col(column) == value for value in values)


EDGE_COLUMNS = (
    "client",
    "server",
    "connection_type",
    "mode",
    "handoffs",
    "failed",
    "failure_rate",
    "sessions",
    "wait_p50_s",
    "wait_p95_s",
    "run_p50_s",
    "run_p95_s",
    "confidence",
    *EVIDENCE,
)


def _entries(
    handoffs: pl.DataFrame, agent_runs: pl.DataFrame, like: pl.DataFrame, run_key: Sequence[str]
) -> pl.DataFrame:
    """A handoff by the user for every run that has no parent among the runs and that no handoff led to."""
    above = [f"parent_{name}" if name == "run_id" else name for name in run_key]
    led_to = [f"target_{name}" if name == "run_id" else name for name in run_key]
    roots = (
        agent_runs.filter(pl.col("agent") != "")
        .join(agent_runs, left_on=above, right_on=run_key, how="anti")
        .join(handoffs, left_on=run_key, right_on=led_to, how="anti")
    )
    return roots.select(
        "session_id",
        pl.lit(USER).alias("client"),
        pl.col("agent").alias("server"),
        pl.lit(False).alias("_passed"),
        *(pl.lit(kind == "structure").alias(kind) for kind in EVIDENCE),
        pl.lit(1.0).alias("confidence"),
        pl.lit(0, dtype=pl.Int64).alias("_wait"),
        pl.col("duration_ns").cast(pl.Int64),
        (pl.col("status") == "error").alias("_failed"),
        pl.lit(True).alias("_person"),
    ).cast(like.schema)


def _seconds(column: str, name: str) -> list[pl.Expr]:
    seconds = pl.col(column).cast(pl.Float64) / 1e9
    return [seconds.quantile(q, "linear").alias(f"{name}_p{q * 100:.0f}_s") for q in (0.5, 0.95)]


def node_table(agent_runs: pl.DataFrame, edges: pl.DataFrame) -> pl.DataFrame:
    """One row per agent that ran, and per end of an edge that did not: those are virtual, or not traced themselves."""
    ran = (
        agent_runs.filter(pl.col("agent") != "")
        .group_by("agent")
        .agg(pl.len().alias("runs"), (pl.col("status") == "error").sum().alias("errors"), pl.col("cost_usd").sum())
        .with_columns(pl.col("agent").cast(pl.String))
    )
    person = pl.col("connection_type") == "virtual_node"
    ends = (
        pl.concat([edges.select(pl.col(end).alias("agent"), person.alias("_person")) for end in ("client", "server")])
        .group_by("agent")
        .agg(pl.col("_person").any())
    )
    return (
        ends.join(ran, on="agent", how="full", coalesce=True)
        .with_columns(
            pl.when(pl.col("runs").is_null() & (pl.col("agent").is_in(VIRTUAL) | pl.col("_person")))
            .then(pl.lit("virtual_node"))
            .otherwise(pl.lit("agent"))
            .alias("kind"),
            pl.col("runs", "errors").fill_null(0),
            pl.col("cost_usd").fill_null(0.0),
        )
        .sort(["runs", "agent"], descending=[True, False])
        .select("agent", "kind", "runs", "errors", "cost_usd")
    )


# Exact betweenness visits every edge once per node; past this many visits it is estimated from fewer starting points.
_EXACT_VISITS = 40_000


def measure(nodes: pl.DataFrame, edges: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, float]]:
    """`nodes` with fan_in, fan_out and betweenness, and the numbers of the whole graph, among agents only.

    density: pairs that hand over among those that could; depth: handoffs between the user and the furthest agent;
    cycles: groups of agents that control can go round in, an agent handing over to itself among them; reciprocity:
    share of edges that also run back; centralisation: Freeman's, of fan-out (1: one agent hands over to all others);
    determinism: 1 if the source always tells the target, 0 if every target is as likely (weighted by handoffs);
    inferred_ratio: handoffs that nobody said explicitly; failure_rate: of handoffs.
    """
    people = set(nodes.filter(pl.col("kind") == "virtual_node").get_column("agent"))
    between_agents = edges.filter(~pl.col("client").is_in(people) & ~pl.col("server").is_in(people))
    agents = _of(nodes.filter(pl.col("kind") == "agent")["agent"], between_agents)
    between, form = betweenness(agents), _form(agents)
    agents.add_nodes_from(nodes["agent"])  # it is slow to make: from here on it is the whole graph
    agents.add_edges_from(edges.join(between_agents, on=["client", "server"], how="anti")["client", "server"].rows())
    per_node = nodes.with_columns(
        pl.Series("fan_in", [agents.in_degree(agent) for agent in nodes["agent"]], dtype=pl.Int64),
        pl.Series("fan_out", [agents.out_degree(agent) for agent in nodes["agent"]], dtype=pl.Int64),
        pl.Series("betweenness", [between.get(agent, 0.0) for agent in nodes["agent"]], dtype=pl.Float64),
    )
    return per_node, {**form, "depth": _depth(agents, people), **_flow(between_agents)}


def _of(nodes: pl.Series, edges: pl.DataFrame) -> Any:
    made = nx.DiGraph()
    made.add_nodes_from(nodes)
    made.add_edges_from(edges.select("client", "server").rows())
    return made


def betweenness(agents: Any) -> dict[str, float]:
    """Share of shortest paths that lead through each node; estimated from fewer starts in a large graph."""
    visits = agents.number_of_nodes() * agents.number_of_edges()
    pivots = None if visits <= _EXACT_VISITS else max(_EXACT_VISITS // agents.number_of_edges(), 1)
    result: dict[str, float] = nx.betweenness_centrality(agents, k=pivots, seed=0)
    return result


def shape(agents: Any, whole: Any, people: set[str]) -> dict[str, float]:
    """Numbers of `agents`, a directed graph, being `whole` without `people`; see `measure`."""
    return {**_form(agents), "depth": _depth(whole, people)}


def _form(agents: Any) -> dict[str, float]:
    n: int = agents.number_of_nodes()
    out = [degree - agents.has_edge(agent, agent) for agent, degree in agents.out_degree()]
    pairs = agents.number_of_edges() - nx.number_of_selfloops(agents)
    loops = [group for group in nx.strongly_connected_components(agents) if len(group) > 1]
    return {
        "agents": n,
        "edges": agents.number_of_edges(),
        "density": pairs / (n * (n - 1)) if n > 1 else 0.0,
        "cycles": len(loops)
        + sum(1 for agent in nx.nodes_with_selfloops(agents) if not any(agent in g for g in loops)),
        "reciprocity": sum(a != b and agents.has_edge(b, a) for a, b in agents.edges) / pairs if pairs else 0.0,
        "fan_out_max": max(out, default=0),
        "centralisation": sum(max(out) - degree for degree in out) / (n - 1) ** 2 if n > 1 else 0.0,
    }


def _depth(whole: Any, people: set[str]) -> int:
    starts = [person for person in people if whole.out_degree(person)]
    below = 0
    if not starts:
        starts, below = [agent for agent in whole if not whole.in_degree(agent)], 1
    reached = [max(nx.single_source_shortest_path_length(whole, start).values()) for start in starts]
    return max(reached, default=-below) + below


def _flow(edges: pl.DataFrame) -> dict[str, float]:
    total = int(edges["handoffs"].sum())
    return {
        "handoffs": total,
        "failure_rate": int(edges["failed"].sum()) / total if total else 0.0,
        "inferred_ratio": 1 - int(edges["explicit"].sum()) / total if total else 0.0,
        "determinism": determinism(edges),
    }


def determinism(edges: pl.DataFrame) -> float:
    """How surely the source tells the target: 1 - H(target | source) / log2(targets).

    edges: `client, server, handoffs`.
    """
    total, targets = int(edges["handoffs"].sum()), edges["server"].n_unique()
    if targets < 2 or not total:
        return 1.0
    of_source = pl.col("handoffs") / pl.col("handoffs").sum().over("client")
    surprise: float = edges.select((pl.col("handoffs") * -of_source.log(2)).sum()).item()
    return 1 - surprise / total / math.log2(targets)
