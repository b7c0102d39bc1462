"""What the benchmarks measure servers with."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

from tests.bench.processes import disk_bytes


def test_what_lies_on_disk(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "one").write_bytes(b"123")
    (tmp_path / "two").write_bytes(b"45")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    assert disk_bytes(tmp_path / "deep", tmp_path / "two") == 5
    assert disk_bytes(tmp_path) == 5


def test_files_that_go_meanwhile_do_not_matter(tmp_path: Path) -> None:
    """A merge renames its parts while they are counted."""
    over = threading.Event()

    def churn() -> None:
        while not over.is_set():
            for number in range(50):
                (tmp_path / f"part{number}").mkdir()
                (tmp_path / f"part{number}" / "data").write_bytes(b"x")
            for number in range(50):
                shutil.rmtree(tmp_path / f"part{number}")

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        assert all(0 <= disk_bytes(tmp_path) <= 50 for _ in range(200))
    finally:
        over.set()
        thread.join()
