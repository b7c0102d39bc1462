"""The text of the schema for a cluster: of every statement, and such that the engine's own parser takes it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from maslens.storage import Store
from maslens.storage.cluster import LOCAL, cluster_schema, on_cluster
from maslens.storage.migrate import migrations, split

from tests.storage.endpoint import ROOT


def test_every_statement_is_for_the_cluster_and_parses(store: Store) -> None:
    statements = list(cluster_schema("main"))
    assert len(statements) > sum(len(list(split(migration.text))) for migration in migrations())
    for statement in statements:
        (row,) = store.rows("SELECT formatQuerySingleLine({sql:String}) AS text", {"sql": statement})
        assert re.search(r"^(CREATE|ALTER).*? ON CLUSTER main\b", str(row["text"])), row["text"][:200]
        store.rows(f"EXPLAIN AST {statement}")


def test_tables_are_replicated_but_for_what_a_node_keeps_to_itself(store: Store) -> None:
    made: dict[str, str] = {}
    for statement in cluster_schema("main"):
        table = re.search(r"CREATE TABLE IF NOT EXISTS (\w+)", statement)
        engine = re.search(r"^ENGINE = (\w+)", statement, re.MULTILINE)
        if table and engine:
            made[table[1]] = engine[1]
            windows = "non_replicated_deduplication_window" in statement, "seconds = 604800" in statement
            if table[1] in LOCAL:
                assert not engine[1].startswith("Replicated")
                assert not windows[1]
            elif engine[1] != "Null":
                assert windows == (False, True), table[1]
    here = {
        row["name"]: row["engine"]
        for row in store.rows(
            "SELECT name, engine FROM system.tables WHERE database = currentDatabase() AND engine NOT LIKE '%View'"
        )
    }
    assert made == {
        name: engine if name in LOCAL or engine == "Null" else f"Replicated{engine}" for name, engine in here.items()
    }


def test_arguments_and_comments_stay() -> None:
    text = "-- Why?\nCREATE TABLE IF NOT EXISTS f\n(\n    a UInt8\n)\nENGINE = ReplacingMergeTree(v, d)\nORDER BY a"
    assert on_cluster(text, "{cluster}") == text.replace("EXISTS f", "EXISTS f ON CLUSTER '{cluster}'").replace(
        "= Replacing", "= ReplicatedReplacing"
    )


@pytest.mark.parametrize("name", ["", "a'b", "a b", "x'; DROP TABLE y"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a cluster's name"):
        next(cluster_schema(name))


def test_what_cannot_be_rewritten_is_refused() -> None:
    with pytest.raises(ValueError, match="do not know how"):
        on_cluster("INSERT INTO x SELECT 1", "main")


def test_the_command_prints_it() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "maslens.storage.cluster", "main"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert told.stdout.count("ON CLUSTER 'main'") == len(list(cluster_schema("main")))
