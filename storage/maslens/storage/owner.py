"""One process owns a data directory; the others learn who it is."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import threading
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
        note = {"pid": os.getpid(), "command": " ".join(sys.argv), "since": datetime.now(timezone.utc).isoformat()}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(note).encode(), 0)
        _held[directory] = (descriptor, 1)


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
    try:
        note = json.loads((directory / LOCK_FILE).read_text())
        who = f"process {note['pid']} ({note['command']}, since {note['since']})"
        cure = f"stop process {note['pid']}"
    except (OSError, ValueError, KeyError, TypeError):
        who, cure = "another process", "stop it"
    return (
        f"{directory} belongs to {who}. Ask that process instead (--url http://127.0.0.1:8088), "
        f"{cure}, or use another directory"
    )
