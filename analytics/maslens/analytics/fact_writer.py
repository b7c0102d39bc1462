"""Facts into their tables: only rows that changed, and a tombstone for each that is no more."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import uuid4

import polars as pl
import pyarrow as pa
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


TABLES = (
    FactTable(name="sessions", schema=frames.SESSIONS, key=("session_id",)),
    FactTable(name="agent_runs", schema=frames.AGENT_RUNS, key=("session_id", "trace_id", "run_id")),
    FactTable(
        name="handoffs",
        schema=frames.HANDOFFS,
        key=("session_id", "trace_id", "span_id", "source", "target", "at"),
    ),
    FactTable(name="llm_calls", schema=frames.LLM_CALLS, key=("session_id", "trace_id", "span_id")),
    FactTable(name="tool_calls", schema=frames.TOOL_CALLS, key=("session_id", "trace_id", "span_id")),
    FactTable(name="agent_errors", schema=frames.AGENT_ERRORS, key=("session_id", "trace_id", "span_id", "error_type")),
)


@dataclass(slots=True)
class FactWriter:
    """Knows what it wrote for the sessions it was told to keep in mind, and reads it back for others."""

    store: Store
    written: dict[str, int] = field(default_factory=dict)  # rows by table, since the start
    tombstones: int = 0
    _name: str = field(default_factory=lambda: uuid4().hex)
    _rows: dict[str, pl.DataFrame] = field(default_factory=dict)  # per table: key columns and a digest of the row
    _sessions: set[str] = field(default_factory=set)

    def write(self, facts: FactFrames, *, sessions: Collection[str], known: Collection[str], version: int) -> None:
        """Make the tables say `facts` of `sessions` and nothing else of them.

        known: those of `sessions` that may have facts already. Repeating a write that failed half way is harmless.
        """
        strange = [session for session in known if session not in self._sessions]
        for each in TABLES:
            now = _whole_picodollars(getattr(facts, each.name))
            rows = self._rows.get(each.name, _nothing(each))
            before = rows.filter(pl.col("session_id").is_in(list(sessions)))
            if strange:
                before = pl.concat([before, self._stored(each, strange)])
            after = now.select(*each.key, now.hash_rows(seed=_SEED).alias("_digest")).unique(each.key, keep="last")
            self._put(each, now, before, after, version)
            self._rows[each.name] = pl.concat([rows.filter(~pl.col("session_id").is_in(list(sessions))), after])
        self._sessions.update(sessions)

    def forget(self, sessions: Collection[str]) -> None:
        gone = list(sessions)
        for name, rows in self._rows.items():
            self._rows[name] = rows.filter(~pl.col("session_id").is_in(gone))
        self._sessions.difference_update(gone)

    def _put(
        self, table: FactTable, now: pl.DataFrame, before: pl.DataFrame, after: pl.DataFrame, version: int
    ) -> None:
        key = list(table.key)
        changed = after.join(before, on=[*key, "_digest"], how="anti", nulls_equal=True)
        fresh = now.unique(key, keep="last").join(changed.select(key), on=key, how="semi", nulls_equal=True)
        gone = before.select(key).join(after, on=key, how="anti", nulls_equal=True)
        rows = pl.concat(  # what a tombstone does not say is the column's default
            [
                fresh.with_columns(pl.lit(0, dtype=pl.UInt8).alias("is_deleted")),
                gone.with_columns(pl.lit(1, dtype=pl.UInt8).alias("is_deleted")),
            ],
            how="diagonal",
        ).with_columns(pl.lit(version, dtype=pl.UInt64).alias("version"))
        if rows.height:
            self.store.insert_arrow(table.table, _arrow(rows), token=f"{self._name}:{version}:{table.name}")
        self.written[table.name] = self.written.get(table.name, 0) + fresh.height
        self.tombstones += gone.height

    def _stored(self, table: FactTable, sessions: list[str]) -> pl.DataFrame:
        key = ", ".join(table.key)
        found = self.store.arrow(
            f"SELECT {key} FROM {table.name} WHERE session_id IN {{sessions:Array(String)}}", {"sessions": sessions}
        )
        rows = cast(pl.DataFrame, pl.from_arrow(found)).with_columns(pl.lit(0, dtype=pl.UInt64).alias("_digest"))
        return rows.cast(cast(Any, dict(_nothing(table).schema)))


def _whole_picodollars(rows: pl.DataFrame) -> pl.DataFrame:
    """Sums of the same prices differ in their last digit with the order of adding: that is no change of a fact."""
    return rows.with_columns(pl.col("cost_usd").round(12)) if "cost_usd" in rows.columns else rows


_SEED = 7


def _nothing(table: FactTable) -> pl.DataFrame:
    return pl.DataFrame(schema={**{name: table.schema[name] for name in table.key}, "_digest": pl.UInt64})


def _arrow(rows: pl.DataFrame) -> pa.Table:
    return rows.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
