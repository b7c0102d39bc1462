"""When to cut: soon while the store is idle, in large pieces while it is busy: what an insert costs is mostly fixed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta

from maslens.collector_processor.errors import ConfigError
from maslens.collector_processor.journal import Pending

_WEIGHT = 0.3  # of the last insert in what the next one is expected to take
_MARGIN = 1.2


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchConfig:
    max_bytes: int = 15 << 20  # of one insert; the embedded engine needs about ten times as much memory for it
    max_items: int = 50_000  # spans or log records of one insert
    idle_wait: timedelta = timedelta(milliseconds=100)  # data are visible this much later while little arrives ...
    busy_wait: timedelta = timedelta(milliseconds=750)  # ... and this much while the store has no rest
    few_items: int = 1_000  # less than so many do not go into the store insert upon insert ...
    few_wait: timedelta = timedelta(0)  # ... but so long after the last one, where each is dear
    unseen_wait: timedelta = timedelta(seconds=2.5)  # and none waits longer, even if nobody looks at the store sooner

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_items", "few_items"):
            if getattr(self, name) < 1:
                raise ConfigError(f"batch.{name} must be at least 1, got {getattr(self, name)}")
        if not timedelta(0) <= self.idle_wait <= self.busy_wait:
            raise ConfigError("batch.idle_wait must be at least 0 and at most batch.busy_wait")
        for name in ("few_wait", "unseen_wait"):
            if getattr(self, name) < timedelta(0):
                raise ConfigError(f"batch.{name} must be at least 0")


def seconds_until_due(
    pending: Pending,
    *,
    now_ns: int,
    busy: float,
    config: BatchConfig,
    rested: float = math.inf,
    unseen: float = -math.inf,
) -> float:
    """How long the records that wait may go on waiting for company; 0 or less: cut now.

    busy: the share of recent time (0 to 1) that inserts took. rested: seconds since the last one ended. unseen: an
    insert that began within so many seconds would be seen no sooner than one that began then.
    """
    if not pending.records:
        return math.inf
    if pending.size >= config.max_bytes or pending.items >= config.max_items:
        return 0.0
    idle, most = config.idle_wait.total_seconds(), config.busy_wait.total_seconds()
    age = (now_ns - pending.oldest_ns) / 1e9
    due = max(idle + busy * (most - idle) - age, min(unseen, config.unseen_wait.total_seconds() - age))
    if pending.items < config.few_items:
        due = max(due, config.few_wait.total_seconds() - rested)
    return due


class Pace:
    """The share of recent time that inserts took, forgetting with a half-life of some seconds."""

    def __init__(self, *, now: float, half_life: float = 3.0) -> None:
        self._rate = math.log(2) / half_life
        self._at = now
        self._busy = 0.0
        self._ended = -math.inf
        self._takes = 0.0

    def inserted(self, *, started: float, ended: float) -> None:
        self._decay(started, 0.0)
        self._decay(ended, 1.0)
        self._ended = ended
        self._takes += _WEIGHT * (ended - started - self._takes)

    @property
    def takes(self) -> float:
        """Seconds within which an insert is most likely over."""
        return _MARGIN * self._takes

    def rested(self, now: float) -> float:
        """Seconds since the last insert ended."""
        return now - self._ended

    def busy(self, now: float) -> float:
        self._decay(now, 0.0)
        return self._busy

    def _decay(self, now: float, towards: float) -> None:
        kept = math.exp(-self._rate * max(0.0, now - self._at))
        self._busy = towards + (self._busy - towards) * kept
        self._at = max(self._at, now)
