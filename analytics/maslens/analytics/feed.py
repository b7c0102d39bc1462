"""New rows since a position: what the sidecar reads, once each and in order, however much is stored.

`_block_number` is given out when an insert commits, so rows become visible in its order (on one node). Only the parts
that hold newer blocks are read.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import polars as pl
from maslens.analytics import frames
from maslens.analytics.frames import CONTENTS
from maslens.semconv.dialects.columns import AGENT_SPAN_COLUMNS
from maslens.storage import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The last block read of each table."""

    spans: int = 0
    events: int = 0
    contents: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """Rows after one position up to the next. `behind`: span rows that are there already but were left for later."""

    spans: pl.DataFrame
    event_traces: frozenset[str]
    event_sessions: frozenset[str]  # that events name without naming a trace
    content_traces: frozenset[str]  # that contents arrived for as log records
    upto: Position
    behind: int = 0


def read_news(store: Store, after: Position, *, limit: int) -> News:
    """At most about `limit` new spans (whole blocks), and the traces that events and contents arrived for."""
    newest, newer = _stored(store, after)
    upto, behind = _cut(store, after.spans, newest.spans, limit) if newer > limit else (newest.spans, 0)
    spans = _no_spans()
    if upto > after.spans:
        spans = _frame(
            store, f"SELECT {SPAN_COLUMNS} FROM agent_spans WHERE {_NEWER}", {"after": after.spans, "upto": upto}
        )
    traces: frozenset[str] = frozenset()
    sessions: frozenset[str] = frozenset()
    if newest.events > after.events:
        found = _frame(
            store,
            f"SELECT DISTINCT TraceId, if(TraceId = '', {_SESSION}, '') AS Session FROM agent_events WHERE {_NEWER}",
            {"after": after.events, "upto": newest.events},
        )
        traces = frozenset(found.get_column("TraceId")) - {""}
        sessions = frozenset(found.get_column("Session")) - {""}
    told: frozenset[str] = frozenset()
    if newest.contents > after.contents:
        found = _frame(
            store,
            f"SELECT DISTINCT TraceId FROM log_contents WHERE {_NEWER}",
            {"after": after.contents, "upto": newest.contents},
        )
        told = frozenset(found.get_column("TraceId"))
    return News(
        spans=frames.agent_spans(spans),
        event_traces=traces,
        event_sessions=sessions,
        content_traces=told,
        upto=Position(spans=upto, events=newest.events, contents=newest.contents),
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


def events_of(store: Store, traces: list[str], sessions: list[str]) -> pl.DataFrame:
    """Every stored event of `traces`, and those that only name one of `sessions`."""
    return _frame(
        store,
        f"""
        SELECT * EXCEPT (Attributes, Body) REPLACE ({_SESSION} AS SessionId),
            Attributes['gen_ai.response.id'] AS ResponseId
        FROM agent_events
        WHERE TraceId IN {{traces:Array(String)}} OR (TraceId = '' AND {_SESSION} IN {{sessions:Array(String)}})""",
        {"traces": traces, "sessions": sessions},
    )


def some_events_name_only_sessions(store: Store) -> bool:
    return bool(store.rows("SELECT 1 AS one FROM agent_events WHERE TraceId = '' LIMIT 1"))


_SESSION = "if(TargetType = 'session' AND SessionId = '', TargetId, SessionId)"


def traces_in(store: Store, table: Literal["agent_events", "log_contents"], traces: list[str]) -> set[str]:
    """Those of `traces` that `table` has rows of."""
    found = _frame(
        store, f"SELECT DISTINCT TraceId FROM {table} WHERE TraceId IN {{traces:Array(String)}}", {"traces": traces}
    )
    return set(found.get_column("TraceId"))


def with_log_contents(store: Store, spans: pl.DataFrame, traces: list[str]) -> pl.DataFrame:
    """`spans` with the contents that log records of `traces` told of them, where they tell none themselves."""
    if not traces or spans.is_empty():
        return spans
    told = _frame(
        store,
        f"SELECT TraceId, SpanId, {', '.join(_cut_text(name) for name in CONTENTS)}"
        " FROM span_contents WHERE TraceId IN {traces:Array(String)}",
        {"traces": traces},
    )
    texts = [
        pl.when(pl.col(name) == "").then(pl.col(f"{name}_told").fill_null("")).otherwise(name) for name in CONTENTS
    ]
    joined = spans.join(told, on=["TraceId", "SpanId"], how="left", suffix="_told", maintain_order="left")
    return joined.with_columns(text.alias(name) for text, name in zip(texts, CONTENTS, strict=True)).select(
        spans.columns
    )


def traces_since(store: Store, since: Any) -> list[str]:
    """Traces with a span that started at or after `since`."""
    found = _frame(
        store,
        "SELECT DISTINCT TraceId FROM agent_spans WHERE Timestamp >= {since:DateTime64(9)} ORDER BY TraceId",
        {"since": since},
    )
    return found.get_column("TraceId").to_list()


# Facts need what a message begins and ends with, and whether two are the same, not a megabyte of it.
_KEPT = 8192


def _cut_text(name: str) -> str:
    return (
        f"if(length({name}) <= {4 * _KEPT}, {name}, concat(leftUTF8({name}, {_KEPT}), ' … ',"
        f" hex(sipHash128({name})), ' … ', rightUTF8({name}, {_KEPT}))) AS {name}"
    )


SPAN_COLUMNS = ", ".join(
    _cut_text(column.name) if column.name in CONTENTS else column.name for column in AGENT_SPAN_COLUMNS
)


def _no_spans() -> pl.DataFrame:
    return frames.empty(frames.AGENT_SPANS)


def _stored(store: Store, after: Position) -> tuple[Position, int]:
    """The newest block of each table, and how many span rows at most are newer than `after`."""
    parts = store.rows(
        """
        SELECT
            maxIf(max_block_number, table = 'agent_spans') AS spans,
            maxIf(max_block_number, table = 'agent_events') AS events,
            maxIf(max_block_number, table = 'log_contents') AS contents,
            sumIf(rows, table = 'agent_spans' AND max_block_number > {after:UInt64}) AS newer
        FROM system.parts
        WHERE database = currentDatabase() AND table IN ('agent_spans', 'agent_events', 'log_contents')
            AND active AND rows > 0""",
        {"after": after.spans},
    )[0]
    newest = Position(**{name: max(int(parts[name]), at) for name, at in asdict(after).items()})
    return newest, int(parts["newer"])


def _cut(store: Store, after: int, last: int, limit: int) -> tuple[int, int]:
    """Up to which block to read so that there are about `limit` rows, and how many are left behind it."""
    blocks = _frame(
        store,
        f"SELECT _block_number AS block, count() AS rows FROM agent_spans WHERE {_NEWER} GROUP BY block ORDER BY block",
        {"after": after, "upto": last},
    )
    total = blocks.get_column("rows").cum_sum()
    fitting = max(int((total <= limit).sum()), 1) - 1  # one block at least
    return int(blocks.get_column("block")[fitting]), int(total[-1] - total[fitting])


# A part is called <partition>_<first block>_<last block>_<level>[_<mutation>]: the older ones are not even opened.
_NEWER = (
    "toUInt64(splitByChar('_', _part)[3]) > {after:UInt64}"
    " AND _block_number > {after:UInt64} AND _block_number <= {upto:UInt64}"
)


def _frame(store: Store, sql: str, params: dict[str, object]) -> pl.DataFrame:
    return cast(pl.DataFrame, pl.from_arrow(store.arrow(sql, params)))
