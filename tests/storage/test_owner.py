"""A directory belongs to one process, and whoever comes second learns to whom."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from maslens.storage import Store, StoreBusy, Unavailable, open_store

OURS = "import sys; from maslens.storage import open_store; s = open_store('chdb://' + sys.argv[1])"
THEIRS = "import sys, chdb; c = chdb.connect(sys.argv[1]); c.query('SELECT 1')"


def open_elsewhere(directory: Path, code: str = OURS) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", f"{code}; print('open', flush=True); sys.stdin.read()", str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process


def test_the_second_process_learns_who_owns_the_directory_and_what_to_do(tmp_path: Path) -> None:
    with open_elsewhere(tmp_path / "data") as owner:
        with pytest.raises(StoreBusy) as caught:
            open_store(f"chdb://{tmp_path / 'data'}")
        for said in (str(tmp_path / "data"), f"process {owner.pid}", "--url http://127.0.0.1:8088"):
            assert said in str(caught.value)
        assert owner.stdin is not None
        owner.stdin.close()
        owner.wait(30)
    store = open_store(f"chdb://{tmp_path / 'data'}")
    assert store.rows("SELECT 1 AS one") == [{"one": 1}]
    store.close()


def test_a_killed_owner_leaves_the_directory_free(tmp_path: Path) -> None:
    with open_elsewhere(tmp_path / "data") as owner:
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait(30)
    open_store(f"chdb://{tmp_path / 'data'}").close()


def test_a_program_that_is_not_ours_owns_the_directory(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with open_elsewhere(tmp_path / "data", THEIRS) as owner:
        with pytest.raises(StoreBusy, match=f"belongs to process {owner.pid}"):
            open_store(f"chdb://{tmp_path / 'data'}")
        assert owner.stdin is not None
        owner.stdin.close()
        owner.wait(30)


def test_one_directory_per_process_at_a_time(tmp_path: Path) -> None:
    first = open_store(f"chdb://{tmp_path / 'one'}")
    again = open_store(f"chdb://{tmp_path / 'one'}")
    with pytest.raises(StoreBusy, match="this process already has"):
        open_store(f"chdb://{tmp_path / 'two'}")
    first.close()
    assert again.rows("SELECT 1 AS one") == [{"one": 1}]
    again.close()
    open_store(f"chdb://{tmp_path / 'two'}").close()


def test_a_closed_store_says_so(store: Store) -> None:
    store.close()
    store.close()
    with pytest.raises(Unavailable, match="is closed"):
        store.rows("SELECT 1")


def test_what_is_stored_and_which_tokens_were_seen_outlives_the_process(tmp_path: Path) -> None:
    from tests.storage.test_store import names, request

    for _ in range(2):
        store = open_store(f"chdb://{tmp_path / 'data'}")
        store.migrate()
        store.insert_otlp("traces", request("a"), token="t")
        assert names(store) == ["a"]
        assert names(store, "agent_spans") == ["a"]
        store.close()


@pytest.mark.parametrize("name", ["with space", "that's", "ünï", "a&b=c", "a:b", "a%20b"])
def test_any_directory_name(tmp_path: Path, name: str) -> None:
    store = open_store(f"chdb://{tmp_path / name}")
    store.command("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
    store.command("INSERT INTO t VALUES (1)")
    store.close()
    store = open_store(f"chdb://{tmp_path / name}")
    assert store.rows("SELECT a FROM t") == [{"a": 1}]
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="file"):
        open_store(f"chdb://{tmp_path / 'file'}")


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(Unavailable, match="no ClickHouse at http"):
        open_store("http://127.0.0.1:9/default")


def test_a_directory_name_that_the_engine_does_not_take(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="in the name of a directory"):
        open_store(f"chdb://{tmp_path}/what?")
    assert not list(tmp_path.iterdir())


def test_a_dsn_that_is_none() -> None:
    with pytest.raises(ValueError, match="a store is chdb://DIRECTORY or"):
        open_store("postgres://x")
