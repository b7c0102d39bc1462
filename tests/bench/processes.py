"""What a tree of processes has used, from /proc: CPU seconds, resident memory, bytes on disk."""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_REST_CPU_S = 0.1  # of a second: less than this is rest
MERGED_S = 3  # of rest: the engine has merged what it will


def family(pid: int) -> list[int]:
    """`pid` and every living descendant."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        found.append(current := todo.pop())
        todo.extend(children.get(current, ()))
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of `pid`, its living descendants, and those of them already reaped."""
    total = 0
    for member in family(pid):
        fields = _stat(member)
        total += sum(int(ticks) for ticks in fields[11:15]) if fields else 0
    return total / _TICKS


def until_at_rest(*pids: int, quiet_s: int = 1) -> float:
    """Wait until processes have done nothing for so long, half a minute at most; their CPU seconds until then.

    Before: some servers import for seconds after they answer. After: what a store merges in the background counts
    whole, whenever it does so.
    """
    used, quiet = sum(map(cpu_seconds, pids)), 0
    for _ in range(30):
        before = used
        time.sleep(1)
        used = sum(map(cpu_seconds, pids))
        quiet = quiet + 1 if used - before < _REST_CPU_S else 0
        if quiet >= quiet_s:
            break
    return used


def resident_bytes(pid: int, *, peak: bool = False, anonymous: bool = False) -> int:
    """Resident memory of the tree now, or the sum of each member's own peak, or what of it is no file's."""
    key = "VmHWM:" if peak else "RssAnon:" if anonymous else "VmRSS:"
    total = 0
    for member in family(pid):
        try:
            lines = Path(f"/proc/{member}/status").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))
    return total


def disk_bytes(*paths: Path) -> int:
    """What the files below `paths` hold; some come and go meanwhile."""
    files = [path for path in paths if path.is_file()]
    files += [Path(folder) / name for path in paths for folder, _, names in os.walk(path) for name in names]
    total = 0
    for file in files:
        with suppress(FileNotFoundError):
            told = file.lstat()
            total += told.st_size if stat.S_ISREG(told.st_mode) else 0
    return total


def free_port() -> int:
    """A port on loopback that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(ready: Callable[[], bool], *, timeout_s: float, what: str, every_s: float = 0.1) -> None:
    """Return once `ready()` is true; TimeoutError naming `what` otherwise."""
    end = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {timeout_s:.0f} s")
        time.sleep(every_s)


def _stat(pid: int) -> list[str]:
    """/proc/<pid>/stat from the state on (field 3), or nothing when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
