"""What survives a crash of the process, and of the machine where it is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from maslens.storage import Store, StoreConfig, open_store
from maslens.storage.deduplication_logs import forget_absent
from maslens.storage.durability import SYNCED

from tests.bench.requests import requests

BASE_AND_VIEWS = ("otel_traces", "agent_spans", "otel_traces_trace_id_ts")
ENDED_NS = 1_795_000_000_000_000_000


def opened(directory: Path, *, fsync: bool = False) -> Store:
    store = open_store(f"chdb://{directory}", settings=StoreConfig(fsync=fsync))
    store.migrate()
    return store


def spans(seed: int) -> list[bytes]:
    return requests(1, seed=seed, ended_ns=ENDED_NS)


def counted(store: Store) -> dict[str, int]:
    (row,) = store.rows(
        "SELECT (SELECT count() FROM otel_traces) AS otel_traces, (SELECT count() FROM agent_spans) AS agent_spans"
    )
    return row


def part_folders(directory: Path, store: Store, table: str) -> list[Path]:
    (row,) = store.rows("SELECT data_paths FROM system.tables WHERE name = {name:String}", {"name": table})
    return sorted(path for path in Path(row["data_paths"][0]).iterdir() if path.name[:2] == "20")


@pytest.mark.parametrize("table", BASE_AND_VIEWS[:2])
def test_a_token_noted_before_its_rows_were_in_place_does_not_keep_them_out(tmp_path: Path, table: str) -> None:
    """What `kill -9` between the two leaves: the engine's own order of things."""
    directory = tmp_path / "data"
    store = opened(directory)
    store.insert_otlp("traces", spans(1), token="first")
    before = set(part_folders(directory, store, table))
    store.insert_otlp("traces", spans(2), token="second")
    (late,) = set(part_folders(directory, store, table)) - before
    store.close()
    late.rename(late.with_name(f"tmp_insert_{late.name}"))

    store = opened(directory)
    store.insert_otlp("traces", spans(1), token="first")  # known: nothing happens
    store.insert_otlp("traces", spans(2), token="second")
    assert counted(store) == {"otel_traces": 1024, "agent_spans": 1024}
    store.insert_otlp("traces", spans(2), token="second")
    assert counted(store) == {"otel_traces": 1024, "agent_spans": 1024}
    store.close()


def test_tokens_of_merged_parts_are_kept(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    store = opened(directory)
    for seed in range(4):
        store.insert_otlp("traces", spans(seed), token=f"token {seed}")
    store.command("OPTIMIZE TABLE otel_traces FINAL")
    store.command("OPTIMIZE TABLE agent_spans FINAL")
    store.close()
    assert forget_absent(directory) == 0
    store = opened(directory)
    for seed in range(4):
        store.insert_otlp("traces", spans(seed), token=f"token {seed}")
    assert counted(store) == {"otel_traces": 2048, "agent_spans": 2048}
    store.close()


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        pytest.param(b"1\t20261128_3_3_0\thash\n", True, id="its part is there"),
        pytest.param(b"1\t20261128_5_5_0\thash\n", True, id="merged into one that is there"),
        pytest.param(b"1\t20261128_6_6_0\thash\n", True, id="merged and mutated"),
        pytest.param(b"1\t20261128_9_9_0\thash\n", False, id="nowhere"),
        pytest.param(b"1\t20261127_3_3_0\thash\n", False, id="of another partition"),
        pytest.param(b"2\t20261128_9_9_0\thash\n", True, id="a token that was dropped"),
        pytest.param(b"1\t20261128_3_3_0\tha", False, id="half a line"),
        pytest.param(b"1\tsomething else\thash\n", True, id="no part's name"),
    ],
)
def test_lines(tmp_path: Path, line: bytes, kept: bool) -> None:
    table = tmp_path / "store" / "abc" / "abc-def"
    for name in ("20261128_3_3_0", "20261128_4_6_1_8", "detached", "tmp_insert_20261128_9_9_0", "deduplication_logs"):
        (table / name).mkdir(parents=True)
    log = table / "deduplication_logs" / "deduplication_log_1.txt"
    log.write_bytes(b"1\t20261128_3_3_0\tfirst\n" + line)
    assert forget_absent(tmp_path) == (0 if kept else 1)
    assert log.read_bytes() == b"1\t20261128_3_3_0\tfirst\n" + (line if kept else b"")


SYNCS = "SELECT event, value FROM system.events WHERE event IN ('FileSync', 'DirectorySync')"
PARTS = """
SELECT count() AS n FROM system.parts WHERE active AND database = currentDatabase() AND rows > 0
AND table IN ('otel_traces', 'otel_traces_trace_id_ts', 'agent_spans', 'agent_events', 'stitch_keys')
"""


def test_with_fsync_every_part_of_an_insert_is_synced_and_so_is_what_merges_make_of_it(tmp_path: Path) -> None:
    store = opened(tmp_path / "data", fsync=True)
    (before,) = store.rows(PARTS)
    syncs = _syncs(store)
    store.insert_otlp("traces", spans(1), token="one")
    (after,) = store.rows(PARTS)
    made, now = after["n"] - before["n"], _syncs(store)
    assert made >= 3  # the base table and the views' targets
    assert now["DirectorySync"] - syncs["DirectorySync"] >= 2 * made  # its folder, and the entry of it in the table's
    assert now["FileSync"] - syncs["FileSync"] >= 5 * made
    store.insert_otlp("traces", spans(2), token="two")
    syncs = _syncs(store)
    store.command("OPTIMIZE TABLE agent_spans FINAL")
    assert _syncs(store)["FileSync"] > syncs["FileSync"]
    assert _syncs(store)["DirectorySync"] > syncs["DirectorySync"]
    store.close()


def test_fsync_reaches_every_table_and_goes_away_again(tmp_path: Path) -> None:
    def changed(fsync: bool) -> set[bool]:
        store = opened(tmp_path / "data", fsync=fsync)
        rows = store.rows(
            "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
        )
        store.close()
        assert len(rows) > 10
        return {all(f"{name} = 1" in row["engine_full"] for name in SYNCED) for row in rows}

    assert changed(True) == {True}
    assert changed(True) == {True}
    assert changed(False) == {False}


def _syncs(store: Store) -> dict[str, int]:
    return {"FileSync": 0, "DirectorySync": 0} | {row["event"]: int(row["value"]) for row in store.rows(SYNCS)}
