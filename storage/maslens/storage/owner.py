"""One process owns a data directory; the others learn who it is."""

from __future__ import annotations

import fcntl
import json
import os
import re
import sys
import threading
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from maslens.storage.errors import StoreBusy

LOCK_FILE = "maslens.lock"

_guard = threading.Lock()
_held: dict[Path, tuple[int, int]] = {}  # directory -> (file descriptor, times acquired in this process)


def acquire(directory: Path) -> None:
    """Own `directory` until `release`; may be called again in the same process.

    The lock is the kernel's (`flock`), so it is gone when the process is, however it ended. Raises StoreBusy.
    """
    with _guard:
        if directory in _held:
            descriptor, times = _held[directory]
            _held[directory] = (descriptor, times + 1)
            return
        for other in _held:
            raise StoreBusy(
                f"this process already has {other} open and the embedded engine serves one directory per process; "
                f"close it before opening {directory}"
            )
        descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise StoreBusy(busy_message(directory)) from None
        if _engine_runs(directory):  # started by a program that is not ours
            os.close(descriptor)
            raise StoreBusy(busy_message(directory))
        note = {"pid": os.getpid(), "command": " ".join(sys.argv), "since": datetime.now(timezone.utc).isoformat()}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(note).encode(), 0)
        _held[directory] = (descriptor, 1)


def is_first(directory: Path) -> bool:
    """Whether nobody else in this process has it open."""
    with _guard:
        return _held[directory][1] == 1


def release(directory: Path) -> None:
    with _guard:
        descriptor, times = _held[directory]
        if times > 1:
            _held[directory] = (descriptor, times - 1)
            return
        os.ftruncate(descriptor, 0)
        os.close(descriptor)  # lets go of the lock
        del _held[directory]


def busy_message(directory: Path) -> str:
    """Who owns `directory`, as far as its owner wrote it down, and what to do."""
    who, cure = "another process", "stop it"
    try:
        note = json.loads((directory / LOCK_FILE).read_text())
        who = f"process {note['pid']} ({note['command']}, since {note['since']})"
        cure = f"stop process {note['pid']}"
    except (OSError, ValueError, KeyError, TypeError):
        with suppress(OSError):
            if found := re.search(r"^PID: (\d+)", (directory / _ENGINE_FILE).read_text(), re.MULTILINE):
                who, cure = f"process {found[1]}", f"stop process {found[1]}"
    return (
        f"{directory} belongs to {who}. Ask that process instead (--url http://127.0.0.1:8088), "
        f"{cure}, or use another directory"
    )


def _engine_runs(directory: Path) -> bool:
    """The engine locks a file of its own, and says so on stderr only."""
    try:
        with (directory / _ENGINE_FILE).open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


_ENGINE_FILE = "status"
