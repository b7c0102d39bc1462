"""What the engine answers is what counting row by row says, over facts that were computed again and taken back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, cast, get_args

import polars as pl
import pytest
from maslens.analytics import frames, spend
from maslens.analytics.api import graph_of
from maslens.analytics.cost import By, cost_by
from maslens.analytics.fact_writer import TABLES, FactTable
from maslens.analytics.facts import compute
from maslens.analytics.graph import CoordinationGraph, coordination_graph
from maslens.analytics.prices import PriceBook
from maslens.analytics.questions import entry, load
from maslens.analytics.questions.costs import Costs
from maslens.analytics.questions.question import Asked
from maslens.analytics.reader import Reader
from maslens.analytics.reads import Filters
from maslens.analytics.sidecar import Sidecar
from maslens.storage import Store, open_store
from polars.testing import assert_frame_equal

from tests.analytics.emitted import agent_spans
from tests.analytics.made_up_families import FAMILIES, told

PARTS = 3  # what arrives late is computed with what was there


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = open_store(f"chdb://{tmp_path_factory.mktemp('same')}")
    store.migrate()
    sidecar = Sidecar(store, lambda spans, events: compute(spans, events, prices=PriceBook()))
    rng = random.Random(7)
    made = [told(family, seed, sessions=3)[0] for family in FAMILIES for seed in (1, 2)]
    for part in range(PARTS):
        late = [span for spans in made for span in spans if rng.random() < 1 / (PARTS - part)]
        made = [[span for span in spans if span not in late] for spans in made]
        table = agent_spans(late).drop("Hints").rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
        store.insert_arrow("agent_spans", table, token=f"part {part}")
        sidecar.drain()
    yield store
    store.close()


def frame(store: Store, sql: str) -> pl.DataFrame:
    return cast(pl.DataFrame, pl.from_arrow(store.arrow(sql)))


def of_fact(store: Store, name: str) -> pl.DataFrame:
    """The facts as they are now, found without the engine's FINAL."""
    (table,) = (each for each in TABLES if each.name == name)
    newest = frame(store, f"SELECT * FROM {table.table}").sort("version").unique(table.key, keep="last")
    return newest.filter(pl.col("is_deleted") == 0).drop("version", "is_deleted")


@pytest.fixture(scope="module")
def facts(store: Store) -> dict[str, pl.DataFrame]:
    return {each.name: of_fact(store, each.name) for each in TABLES}


def asked(store: Store, name: str, filters: Filters | None = None, **options: Any) -> pl.DataFrame:
    chosen = Asked(filters=filters or Filters(), options=entry(name).checked(options))
    return load(name).answer(Reader(store).frames, chosen)


def same(found: pl.DataFrame, expected: pl.DataFrame, *, by: list[str]) -> None:
    names = [name for name in expected.columns if name in found.columns]
    assert len(names) > len(by)
    like = {name: dtype for name, dtype in expected.select(names).schema.items() if dtype != pl.Null}
    assert_frame_equal(
        found.select(names).cast(cast(Any, like)).sort(by), expected.select(names).sort(by), rel_tol=1e-9
    )


def test_facts_were_written_again_and_taken_back(store: Store) -> None:
    told = frame(
        store, "SELECT countIf(is_deleted = 1) AS gone, count() AS n, uniqExact(row_key) AS u FROM fact_handoffs"
    )
    assert told["gone"][0] > 0
    assert told["n"][0] > told["u"][0]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_view_shows_the_newest_version_of_each_row(store: Store, table: FactTable) -> None:
    found = frame(store, f"SELECT * FROM {table.name}").sort(table.key)
    assert_frame_equal(found, of_fact(store, table.name).sort(table.key), check_column_order=False)


def test_the_graph(store: Store, facts: dict[str, pl.DataFrame]) -> None:
    found, expected = graph_of(Reader(store), Filters()), coordination_graph(facts["handoffs"], facts["agent_runs"])
    assert expected.edges.height > 20
    graphs_are_the_same(found, expected)


def test_the_graph_of_a_session(store: Store, facts: dict[str, pl.DataFrame]) -> None:
    for session in facts["sessions"]["session_id"].sort()[:5]:
        mine = [facts[name].filter(pl.col("session_id") == session) for name in ("handoffs", "agent_runs")]
        graphs_are_the_same(graph_of(Reader(store), Filters(session=session)), coordination_graph(*mine))


def graphs_are_the_same(found: CoordinationGraph, expected: CoordinationGraph) -> None:
    same(found.edges, expected.edges, by=["client", "server"])
    same(found.nodes, expected.nodes, by=["agent"])
    assert found.metrics == pytest.approx(expected.metrics)


@pytest.mark.parametrize("by", get_args(By))
def test_costs(store: Store, facts: dict[str, pl.DataFrame], by: By) -> None:
    needed = ("llm_calls", "tool_calls", "agent_runs", "handoffs")
    expected = cost_by(Costs(**{name: facts[name] for name in needed}), by)
    column = "session_id" if by == "session" else by
    same(asked(store, "cost", by=by), expected.rename({by: column}), by=[column])


def test_costs_of_one_agent(store: Store, facts: dict[str, pl.DataFrame]) -> None:
    agent = facts["llm_calls"]["agent"].mode().sort()[0]
    mine = {**facts, "llm_calls": facts["llm_calls"].filter(pl.col("agent") == agent)}
    needed = ("llm_calls", "tool_calls", "agent_runs", "handoffs")
    for by in ("handoff", "task"):
        expected = cost_by(Costs(**{name: mine[name] for name in needed}), cast(By, by))
        same(asked(store, "cost", Filters(agent=agent), by=by), expected, by=[by])


def test_unit_costs_and_waste(store: Store, facts: dict[str, pl.DataFrame]) -> None:
    same(asked(store, "unit-costs"), spend.unit_costs(facts["sessions"]), by=["outcome"])
    expected = spend.waste(facts["sessions"], facts["llm_calls"], facts["handoff_quality"])
    same(asked(store, "waste"), expected, by=["kind"])


def test_paths(store: Store, facts: dict[str, pl.DataFrame]) -> None:
    ways: dict[str, list[str]] = {}
    for session, agent in facts["agent_runs"].sort("session_id", "started_at", "agent")["session_id", "agent"].rows():
        way = ways.setdefault(session, [])
        if not way or way[-1] != agent:
            way.append(agent)
    agents = pl.DataFrame({"session_id": list(ways), "agents": list(ways.values())})
    same(asked(store, "paths"), spend.paths(facts["sessions"], agents), by=["path"])


def test_coordination_adds_up(store: Store, facts: dict[str, pl.DataFrame]) -> None:
    (row,) = asked(store, "coordination").to_dicts()
    each = facts["coordination"]
    assert row["sessions"] == each.height
    for name in ("handoffs", "messages", "coordination_tokens", "work_tokens", "bounced"):
        assert row[name] == each[name].sum()
    versions = asked(store, "coordination", by="version")
    told = facts["agent_runs"].filter(pl.col("agent_version") != "")
    expected = told.group_by("agent_version").agg(pl.col("session_id").n_unique())
    assert dict(versions.select("version", "sessions").rows()) == dict(expected.rows())


def test_frames_of_facts_are_whole(facts: dict[str, pl.DataFrame]) -> None:
    for name, table in facts.items():
        assert set(table.columns) == set(getattr(frames, name.upper()))
