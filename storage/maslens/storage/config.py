"""Settings of a store."""

from __future__ import annotations

from dataclasses import dataclass

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreConfig:
    """Limits of the engine. The defaults keep the whole process below 1 GiB resident under sustained load."""

    handles: int = 8  # statements that may run at once
    max_memory: int = 640 * _MIB  # all queries, merges and caches of the embedded engine together
    max_query_memory: int = 400 * _MIB  # one statement; past half of it, sorts and groupings go to disk
    mark_cache: int = 32 * _MIB
    index_mark_cache: int = 16 * _MIB
    max_threads: int = 0  # per query; 0 = as many as there are cores
    query_seconds: float = 60.0  # read queries are stopped after this
    fsync: bool = False  # every insert survives power loss, not only the death of the process; much slower
    connect_seconds: float = 10.0  # server only

    def __post_init__(self) -> None:
        for name in ("handles", "max_memory", "max_query_memory", "mark_cache", "index_mark_cache"):
            if getattr(self, name) < 1:
                raise ValueError(f"store.{name} must be at least 1, got {getattr(self, name)}")
        if self.query_seconds <= 0:
            raise ValueError(f"store.query_seconds must be above 0, got {self.query_seconds}")
