"""New rows since a position: what the sidecar reads, once each and in order, however much is stored.

`_block_number` is given out when an insert commits, so rows become visible in its order (one node; see docs). Only the
parts that hold newer blocks are read. Parts merge while we read: a read counts only if every part it named was still
there afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import polars as pl
from maslens.analytics import frames
from maslens.semconv.dialects.columns import AGENT_SPAN_COLUMNS
from maslens.storage import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The last block read of each table."""

    spans: int = 0
    events: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """Rows after one position up to the next. `behind`: span rows that are there already but were left for later."""

    spans: pl.DataFrame
    event_traces: frozenset[str]
    upto: Position
    behind: int = 0


def read_news(store: Store, after: Position, *, limit: int) -> News:
    """At most about `limit` new spans (whole blocks), and the traces that events arrived for."""
    parts = _newer_parts(store, "agent_spans", after.spans)
    upto, behind = _cut(store, parts, after.spans, limit)
    spans = _read(store, "agent_spans", SPAN_COLUMNS, after.spans, upto) if upto > after.spans else _no_spans()
    event_parts = _newer_parts(store, "agent_events", after.events)
    events_upto = max((part["max_block"] for part in event_parts), default=after.events)
    traces: frozenset[str] = frozenset()
    if events_upto > after.events:
        rows = _read(store, "agent_events", "TraceId", after.events, events_upto)
        traces = frozenset(rows.get_column("TraceId")) - {""}
    return News(
        spans=frames.agent_spans(spans),
        event_traces=traces,
        upto=Position(spans=upto, events=events_upto),
        behind=behind,
    )


def spans_of(store: Store, traces: list[str], *, upto: int) -> pl.DataFrame:
    """Every stored span of `traces` up to block `upto`, repeats included."""
    if not traces:
        return frames.agent_spans(_no_spans())
    return frames.agent_spans(
        _frame(
            store,
            f"SELECT {SPAN_COLUMNS} FROM agent_spans WHERE TraceId IN {{traces:Array(String)}}"
            " AND _block_number <= {upto:UInt64}",
            {"traces": traces, "upto": upto},
        )
    )


def events_of(store: Store, traces: list[str]) -> pl.DataFrame:
    """Every stored event of `traces`."""
    return _frame(store, "SELECT * FROM agent_events WHERE TraceId IN {traces:Array(String)}", {"traces": traces})


def traces_with_events(store: Store, traces: list[str]) -> set[str]:
    found = _frame(
        store, "SELECT DISTINCT TraceId FROM agent_events WHERE TraceId IN {traces:Array(String)}", {"traces": traces}
    )
    return set(found.get_column("TraceId"))


def traces_since(store: Store, since: Any) -> list[str]:
    """Traces with a span that started at or after `since`."""
    found = _frame(
        store,
        "SELECT DISTINCT TraceId FROM agent_spans WHERE Timestamp >= {since:DateTime64(9)} ORDER BY TraceId",
        {"since": since},
    )
    return found.get_column("TraceId").to_list()


# Facts need what a message begins and ends with, and whether two are the same, not a megabyte of it.
_CONTENT = frozenset({"SystemContent", "InputContent", "OutputContent", "ToolArguments", "ToolResult"})
_KEPT = 8192
SPAN_COLUMNS = ", ".join(
    f"if(length({column.name}) <= {4 * _KEPT}, {column.name}, concat(leftUTF8({column.name}, {_KEPT}), ' … ',"
    f" hex(sipHash128({column.name})), ' … ', rightUTF8({column.name}, {_KEPT}))) AS {column.name}"
    if column.name in _CONTENT
    else column.name
    for column in AGENT_SPAN_COLUMNS
)


def _no_spans() -> pl.DataFrame:
    return frames.empty(frames.AGENT_SPANS)


def _newer_parts(store: Store, table: str, after: int) -> list[dict[str, Any]]:
    return store.rows(
        """
        SELECT name, rows, min_block_number AS min_block, max_block_number AS max_block FROM system.parts
        WHERE database = currentDatabase() AND table = {table:String} AND active
            AND max_block_number > {after:UInt64} AND rows > 0
        ORDER BY max_block""",
        {"table": table, "after": after},
    )


def _cut(store: Store, parts: list[dict[str, Any]], after: int, limit: int) -> tuple[int, int]:
    """Up to which block to read, and how many rows are left behind it."""
    last = max((part["max_block"] for part in parts), default=after)
    if sum(part["rows"] for part in parts) <= limit:
        return last, 0
    blocks = _read(store, "agent_spans", "_block_number AS block, count() AS rows", after, last, group="block").sort(
        "block"
    )
    total = blocks.get_column("rows").cum_sum()
    fitting = int((total <= limit).sum())
    upto = blocks.get_column("block")[max(fitting, 1) - 1] if blocks.height else last
    read = int(total[max(fitting, 1) - 1]) if blocks.height else 0
    return int(upto), int(blocks.get_column("rows").sum()) - read


def _read(store: Store, table: str, columns: str, after: int, upto: int, *, group: str = "") -> pl.DataFrame:
    """`columns` of the rows in blocks after `after` up to `upto`, none missed."""
    rows = f"SELECT {columns} FROM {table} WHERE _block_number > {{after:UInt64}} AND _block_number <= {{upto:UInt64}}"
    grouped = f" GROUP BY {group}" if group else ""
    for _ in range(_ATTEMPTS):
        names = [part["name"] for part in _newer_parts(store, table, after)]
        found = _frame(
            store,
            rows + " AND _part IN {parts:Array(String)}" + grouped,
            {"after": after, "upto": upto, "parts": names},
        )
        still = {part["name"] for part in _newer_parts(store, table, after)}
        if still.issuperset(names):
            return found
    return _frame(store, rows + grouped, {"after": after, "upto": upto})


_ATTEMPTS = 3


def _frame(store: Store, sql: str, params: dict[str, object]) -> pl.DataFrame:
    return cast(pl.DataFrame, pl.from_arrow(store.arrow(sql, params)))
