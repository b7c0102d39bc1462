"""Facts into their tables: only rows that changed, and a tombstone for each that is no more."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, cast
from uuid import uuid4

import polars as pl
from maslens.analytics import frames
from maslens.analytics.totals import FactFrames
from maslens.storage import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class FactTable:
    """`key`: what the table is sorted by; two rows with one key are one fact."""

    name: str
    schema: frames.Schema
    key: tuple[str, ...]

    @property
    def table(self) -> str:
        return f"fact_{self.name}"


_SPAN = ("session_id", "trace_id", "span_id")
TABLES = (
    FactTable(name="sessions", schema=frames.SESSIONS, key=("session_id",)),
    FactTable(name="agent_runs", schema=frames.AGENT_RUNS, key=("session_id", "trace_id", "run_id")),
    FactTable(name="handoffs", schema=frames.HANDOFFS, key=(*_SPAN, "source", "target", "at")),
    FactTable(name="llm_calls", schema=frames.LLM_CALLS, key=_SPAN),
    FactTable(name="tool_calls", schema=frames.TOOL_CALLS, key=_SPAN),
    FactTable(name="agent_errors", schema=frames.AGENT_ERRORS, key=(*_SPAN, "error_type")),
    FactTable(name="handoff_quality", schema=frames.HANDOFF_QUALITY, key=(*_SPAN, "source", "target", "at")),
    FactTable(name="suspects", schema=frames.SUSPECTS, key=("session_id", "rank")),
    FactTable(name="context_drift", schema=frames.CONTEXT_DRIFT, key=_SPAN),
    FactTable(name="bottlenecks", schema=frames.BOTTLENECKS, key=("session_id", "agent")),
    FactTable(name="coordination", schema=frames.COORDINATION, key=("session_id",)),
    FactTable(name="evaluations", schema=frames.EVALUATIONS, key=frames.EVALUATION_KEY),
)

Key = tuple[Any, ...]


class FactWriter:
    """Knows what it wrote for sessions at hand, and reads it back for others."""

    def __init__(self, store: Store) -> None:
        self.written: dict[str, int] = {each.name: 0 for each in TABLES}  # rows, since the start
        self.tombstones = 0
        self._store = store
        self._name = uuid4().hex
        self._rows: dict[str, dict[str, dict[Key, int]]] = {each.name: {} for each in TABLES}  # session → key → digest
        self._sessions: set[str] = set()
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="maslens-facts")

    def begin(
        self, facts: FactFrames, *, sessions: Collection[str], known: Collection[str], version: int
    ) -> Callable[[], None]:
        """Begin to make the tables say `facts` of `sessions` and nothing else of them; the answer waits for the end.

        known: those of `sessions` that may have facts already. Repeating a write that failed half way is harmless.
        """
        strange = [session for session in known if session not in self._sessions]
        writing = [
            self._pool.submit(self._write, each, getattr(facts, each.name), sessions, strange, version)
            for each in TABLES
        ]

        def finish() -> None:
            wait(writing)
            for each in writing:
                each.result()
            self._sessions.update(sessions)

        return finish

    def let_go(self, sessions: Iterable[str]) -> None:
        for session in sessions:
            self._sessions.discard(session)
            for rows in self._rows.values():
                rows.pop(session, None)

    def _write(
        self, table: FactTable, now: pl.DataFrame, sessions: Collection[str], strange: list[str], version: int
    ) -> None:
        now = _whole_picodollars(now).unique(table.key, keep="last")
        written = self._rows[table.name]
        stored = self._stored(table, strange) if strange else {}
        before = {session: written.get(session) or stored.get(session, {}) for session in sessions}
        after: dict[str, dict[Key, int]] = {session: {} for session in sessions}
        fresh = []
        keys = now.select(_plain(table)).iter_rows()
        for row, (key, digest) in enumerate(zip(keys, now.hash_rows(seed=7), strict=True)):
            after[key[0]][key] = digest
            if before[key[0]].get(key) != digest:
                fresh.append(row)
        gone = [key for session, rows in before.items() for key in rows.keys() - after[session].keys()]
        self._put(table, now[fresh], gone, version)
        written.update(after)

    def _put(self, table: FactTable, fresh: pl.DataFrame, gone: list[Key], version: int) -> None:
        if not gone and fresh.is_empty():
            return
        deleted = pl.DataFrame(gone, schema=list(table.key), orient="row").cast(
            cast(Any, {name: table.schema[name] for name in table.key})
        )
        rows = pl.concat(  # what a tombstone does not say is the column's default
            [
                fresh.with_columns(pl.lit(0, dtype=pl.UInt8).alias("is_deleted")),
                deleted.with_columns(pl.lit(1, dtype=pl.UInt8).alias("is_deleted")),
            ],
            how="diagonal",
        ).with_columns(pl.lit(version, dtype=pl.UInt64).alias("version"))
        arrow = rows.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
        self._store.insert_arrow(table.table, arrow, token=f"{self._name}:{version}:{table.name}")
        self.written[table.name] += fresh.height
        self.tombstones += len(gone)

    def _stored(self, table: FactTable, sessions: list[str]) -> Mapping[str, dict[Key, int]]:
        """The keys of what is stored; the rows themselves are written again."""
        found = self._store.arrow(
            f"SELECT {', '.join(table.key)} FROM {table.name} WHERE session_id IN {{sessions:Array(String)}}",
            {"sessions": sessions},
        )
        rows: dict[str, dict[Key, int]] = {}
        for key in cast(pl.DataFrame, pl.from_arrow(found)).select(_plain(table)).iter_rows():
            rows.setdefault(key[0], {})[key] = _UNKNOWN
        return rows


_UNKNOWN = -1  # no digest of a row


def _plain(table: FactTable) -> list[pl.Expr]:
    """The key as values that compare fast: times as nanoseconds."""
    return [
        pl.col(name).cast(pl.Datetime("ns")).cast(pl.Int64) if table.schema[name] == frames.TIME else pl.col(name)
        for name in table.key
    ]


def _whole_picodollars(rows: pl.DataFrame) -> pl.DataFrame:
    """Sums of the same prices differ in their last digit with the order of adding: that is no change of a fact."""
    return rows.with_columns(pl.col("cost_usd").round(12)) if "cost_usd" in rows.columns else rows
