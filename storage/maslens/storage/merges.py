"""Merges of the embedded engine give way to inserts and queries: nobody waits for a merge."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# A third of the share that a thread with work to do gets otherwise: less, and merges would not keep up where all cores
# are busy for long.
NICENESS = 5
_TASKS = Path("/proc/self/task")


def let_merges_yield() -> None:
    """Lower the priority of the engine's merge threads in this process. Linux only: elsewhere threads have none."""
    for thread in merge_threads():
        with suppress(OSError):  # ended meanwhile
            os.setpriority(os.PRIO_PROCESS, thread, NICENESS)


def merge_threads() -> Iterator[int]:
    """Their ids, as the system has them."""
    if not _TASKS.is_dir():
        return
    for task in _TASKS.iterdir():
        with suppress(OSError):
            if (task / "comm").read_text().strip() == "MergeMutate":
                yield int(task.name)
