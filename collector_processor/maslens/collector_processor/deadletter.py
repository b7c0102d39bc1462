"""What the store will never take: kept in a folder with the reason, one `.otlp.pb` and one `.json` a request."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from maslens.collector_processor.cuts import sync_directory
from maslens.collector_processor.errors import ConfigError
from maslens.collector_processor.signals import Signal

_log = structlog.get_logger(__name__)
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")  # in the name of a file


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterConfig:
    max_bytes: int = 1 << 30  # past either limit a refused request is counted and dropped: ...
    max_files: int = 10_000  # ... a bad deploy must not fill the disk
    keep_for: timedelta = timedelta(0)  # then they go, counted; 0: for ever

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_files"):
            if getattr(self, name) < 0:
                raise ConfigError(f"dead_letters.{name} must not be negative, got {getattr(self, name)}")
        if self.keep_for < timedelta(0):
            raise ConfigError("dead_letters.keep_for must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    name: str
    signal: Signal
    reason: str
    token: str
    items: int
    size: int
    received_ns: int
    # A view refused what the base table had taken already: only the same token again, by the loader, completes it.
    half_loaded: bool = False


class DeadLetters:
    """The folder. One process writes (the loader's); anybody may list."""

    def __init__(self, directory: Path, config: DeadLetterConfig | None = None) -> None:
        self.directory = directory
        self.config = config or DeadLetterConfig()
        self.count = self.size = self.expired = 0
        self._oldest_ns = 0
        self._retrying = threading.Lock()
        self._recount()

    def add(
        self,
        body: bytes,
        *,
        signal: Signal,
        reason: str,
        token: str,
        items: int,
        received_ns: int,
        half_loaded: bool = False,
    ) -> bool:
        """Keep it, durable on return; False where the folder is at its limit. Raises OSError where it cannot be kept.

        The same token again replaces what was kept under it.
        """
        self.expire(time.time_ns())
        if self._is_full(len(body)):
            self._recount()  # somebody else may have made room
            if self._is_full(len(body)):
                return False
        letter = DeadLetter(
            name=f"{received_ns}-" + _UNSAFE.sub("-", token),
            signal=signal,
            reason=reason[:4000],
            token=token,
            items=items,
            size=len(body),
            received_ns=received_ns,
            half_loaded=half_loaded,
        )
        self.directory.mkdir(parents=True, exist_ok=True)
        _write(self._body(letter.name), body)
        _write(self._description(letter.name), json.dumps(asdict(letter), indent=1).encode())
        sync_directory(self.directory)
        self._oldest_ns = min(self._oldest_ns, received_ns) if self.count else received_ns
        self.count += 1
        self.size += len(body)
        return True

    def list(self) -> Sequence[DeadLetter]:
        """Oldest first; a description that cannot be read is skipped (its body stays)."""
        found = []
        for path in sorted(self.directory.glob("*.json")):
            with suppress(ValueError, TypeError, OSError):
                content: dict[str, Any] = json.loads(path.read_bytes())
                found.append(DeadLetter(**content))
        return found

    def body(self, letter: DeadLetter) -> bytes:
        return self._body(letter.name).read_bytes()

    def forget(self, letter: DeadLetter) -> None:
        self._body(letter.name).unlink(missing_ok=True)
        self._description(letter.name).unlink(missing_ok=True)
        self.count -= 1
        self.size -= letter.size

    def retry(self, insert: Callable[[Signal, bytes, str], None], *, names: Sequence[str] = ()) -> tuple[int, int]:
        """Insert each again (or those of `names`) under the token it had, forget what was taken; (taken, left).

        `insert` returns once the rows are in every table, and raises otherwise. The token makes it safe to be killed
        in between: what is in already is not stored twice, and what a view refused is filled in.
        """
        taken = left = 0
        with self._retrying:
            for letter in self.list():
                if names and letter.name not in names:
                    continue
                try:
                    insert(letter.signal, self.body(letter), letter.token)
                except Exception as error:  # one that fails must not keep the rest
                    _log.warning("left in the dead-letter folder", name=letter.name, error=str(error)[:500])
                    left += 1
                else:
                    self.forget(letter)
                    taken += 1
        return taken, left

    def expire(self, now_ns: int) -> None:
        """Remove what is older than `keep_for` allows."""
        keep_ns = self.config.keep_for // timedelta(microseconds=1) * 1000
        if not keep_ns or not self.count or self._oldest_ns > now_ns - keep_ns:
            return
        for letter in self.list():
            if letter.received_ns < now_ns - keep_ns:
                self.forget(letter)
                self.expired += 1
                _log.warning("a dead letter has become too old and is gone", name=letter.name, items=letter.items)
        self._recount()

    def _is_full(self, more: int) -> bool:
        return self.count >= self.config.max_files or self.size + more > self.config.max_bytes

    def _recount(self) -> None:
        letters = self.list()
        self.count, self.size = len(letters), sum(letter.size for letter in letters)
        self._oldest_ns = min((letter.received_ns for letter in letters), default=0)

    def _body(self, name: str) -> Path:
        return self.directory / f"{name}.otlp.pb"

    def _description(self, name: str) -> Path:
        return self.directory / f"{name}.json"


def _write(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
