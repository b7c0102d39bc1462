"""What the benchmarks measure servers with."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path

from tests.bench.processes import cpu_seconds, disk_bytes, until_at_rest


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


def test_work_that_begins_after_a_second_of_rest_counts_whole() -> None:
    code = """
import sys, time
print(flush=True)
time.sleep(1.5)
until = time.process_time() + 0.6
while time.process_time() < until: pass
print(flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        before = cpu_seconds(process.pid)
        assert until_at_rest(process.pid, quiet_s=3) - before >= 0.5
        assert process.stdout.readline()  # it was over
        assert process.stdin is not None
        process.stdin.close()
