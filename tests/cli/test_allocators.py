"""The allocators of the process are told to give memory back, before the libraries that bring them are loaded."""

from __future__ import annotations

import os
import subprocess
import sys

from maslens.cli.allocators import DEFAULTS, give_back

SEEN = """
import sys
from maslens.cli import entry

sys.argv = ["maslens", "--help"]
try:
    entry.main()
except SystemExit:
    import pyarrow

    def heap():
        lines = [line.split()[0].split("-") for line in open("/proc/self/maps") if "[heap]" in line]
        return sum(int(end, 16) - int(start, 16) for start, end in lines)

    before, kept = heap(), []
    for _ in range(4):
        pyarrow.allocate_buffer(30 << 20)  # given back at once
        kept.append(pyarrow.allocate_buffer(20 << 20))
    print("heap grew by", (heap() - before) >> 20)
    print("pool", pyarrow.default_memory_pool().backend_name)
"""


def test_what_is_not_set_is_set() -> None:
    environ = {"PATH": "/bin"}
    give_back(environ)
    assert environ == {"PATH": "/bin", **DEFAULTS}


def test_what_the_user_set_stays() -> None:
    environ = dict.fromkeys(DEFAULTS, "theirs") | {"MALLOC_ARENA_MAX": "7"}
    give_back(environ)
    assert environ == dict.fromkeys(DEFAULTS, "theirs") | {"MALLOC_ARENA_MAX": "7"}


def test_commands_run_with_them() -> None:
    bare = {name: value for name, value in os.environ.items() if name not in DEFAULTS}
    told = subprocess.run([sys.executable, "-c", SEEN], env=bare, capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "pool system"
    assert int(told.stdout.splitlines()[-2].rpartition(" ")[2]) < 20  # what is large is given back by itself
