"""What the store will never take: kept in a folder with the reason, one `.otlp.pb` and one `.json` a request."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog
from maslens.collector_processor.cuts import sync_directory
from maslens.collector_processor.errors import ConfigError
from maslens.collector_processor.signals import Signal

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterConfig:
    max_bytes: int = 1 << 30  # past either limit a refused request is counted and dropped: ...
    max_files: int = 10_000  # ... a bad deploy must not fill the disk

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_files"):
            if getattr(self, name) < 0:
                raise ConfigError(f"dead_letters.{name} must not be negative, got {getattr(self, name)}")


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
    """The folder. One writer (the loader); anybody may list."""

    def __init__(self, directory: Path, config: DeadLetterConfig | None = None) -> None:
        self.directory = directory
        self.config = config or DeadLetterConfig()
        self.count = self.size = 0
        for letter in self.list():
            self.count += 1
            self.size += letter.size

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
        if self.count >= self.config.max_files or self.size + len(body) > self.config.max_bytes:
            return False
        letter = DeadLetter(
            name=f"{received_ns}-{token.replace(':', '-')}",
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

    def retry(self, send: Callable[[Signal, bytes], None], *, names: Sequence[str] = ()) -> tuple[int, int]:
        """Send each again (or those of `names`) as a new request and forget what was taken; (taken, left).

        `send` returns once the request is safe, and raises otherwise. Half-loaded ones are left to the loader, which
        tries them at every start: sent as new requests their rows would be stored twice.
        """
        taken = left = 0
        for letter in self.list():
            if names and letter.name not in names:
                continue
            try:
                if letter.half_loaded:
                    raise ValueError("half loaded: tried again when the receiver starts")
                send(letter.signal, self.body(letter))
            except Exception as error:  # one that fails must not keep the rest
                _log.warning("left in the dead-letter folder", name=letter.name, error=str(error))
                left += 1
            else:
                self.forget(letter)
                taken += 1
        return taken, left

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
