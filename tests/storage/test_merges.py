"""Merges give way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from maslens.storage import merges

PROGRAM = """
import os, sys, threading
from maslens.storage import open_store
from maslens.storage.merges import merge_threads

def look():
    store = open_store(sys.argv[1])
    store.migrate()
    threads = list(merge_threads())
    told = {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads}
    print(len(threads), told, os.getpriority(os.PRIO_PROCESS, 0))
    store.close()

one = threading.Thread(target=look)
one.start()
one.join()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="priorities of threads are Linux's")
def test_the_engines_merges_have_a_lower_priority_than_everything_else(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, f"chdb://{tmp_path / 'data'}"], capture_output=True, text=True, timeout=200
    )
    assert ran.returncode == 0, ran.stderr
    count, told, own = ran.stdout.split()
    assert int(count) > 0
    assert told == f"{{{os.getpriority(os.PRIO_PROCESS, 0) + merges.NICENESS}}}"
    assert int(own) == os.getpriority(os.PRIO_PROCESS, 0)
