"""Named queries: functions that return text and parameters, for `Store.arrow(*query)`."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from maslens.storage.store import Params


class Query(NamedTuple):
    """Text and what fills its placeholders: `store.arrow(*query)`."""

    sql: str
    params: Params


def touched_traces(after_block: int) -> Query:
    """`TraceId, spans, last_block`: the traces that spans arrived for after `after_block`, one row each.

    The next call starts after the highest `last_block`. Block numbers become visible in order on one node, so nothing
    is skipped. What is read are the parts that hold newer blocks, told by their names, not the whole table; the name
    is looked at where the query reads its parts, so that a merge in between changes nothing.
    """
    return Query(
        f"""
        SELECT TraceId, count() AS spans, max(_block_number) AS last_block
        FROM agent_spans
        WHERE {_NEWER_PARTS} AND _block_number > {{after:UInt64}}
        GROUP BY TraceId""",
        {"after": after_block},
    )


def touched_events(after_block: int) -> Query:
    """`TraceId, SessionId, last_block`: the same for `agent_events`; an event may name a trace, a session or both."""
    return Query(
        f"""
        SELECT TraceId, if(TargetType = 'session' AND SessionId = '', TargetId, SessionId) AS SessionId,
            max(_block_number) AS last_block
        FROM agent_events
        WHERE {_NEWER_PARTS} AND _block_number > {{after:UInt64}}
        GROUP BY ALL""",
        {"after": after_block},
    )


# A part is called <partition>_<first block>_<last block>_<level>[_<mutation>].
_NEWER_PARTS = "toUInt64(splitByChar('_', _part)[3]) > {after:UInt64}"


def spans_of(trace_ids: Collection[str]) -> Query:
    """Every column of `agent_spans` and `Copies`, one row per span of the traces, by trace and start.

    The same span may have been stored more than once (sent again by an exporter, sent through two collectors, or as a
    placeholder and then whole): the longest one is kept, the latest of equals, and `Copies` says how many there were.
    """
    return Query(
        """
        SELECT * EXCEPT (Copy)
        FROM
        (
            SELECT
                *,
                count() OVER span AS Copies,
                row_number() OVER (PARTITION BY TraceId, SpanId ORDER BY Duration DESC, _block_number DESC) AS Copy
            FROM agent_spans
            WHERE TraceId IN {traces:Array(String)}
            WINDOW span AS (PARTITION BY TraceId, SpanId)
        )
        WHERE Copy = 1
        ORDER BY TraceId, Timestamp, SpanId""",
        {"traces": sorted(trace_ids)},
    )


def undecoded_values() -> Query:
    """`signal, rows`: spans and log records holding an array or a list that came to the engine undecoded.

    The receiver writes such values out as JSON text, so this is zero unless something else inserted. Reads everything.
    """
    return Query(
        """
        SELECT 'traces' AS signal, count() AS rows FROM otel_traces
        WHERE arrayExists(value -> startsWith(value, '{"otlp.'), mapValues(SpanAttributes)) HAVING rows > 0
        UNION ALL
        SELECT 'logs' AS signal, count() AS rows FROM otel_logs
        WHERE startsWith(Body, '{"otlp.')
            OR arrayExists(value -> startsWith(value, '{"otlp.'), mapValues(LogAttributes)) HAVING rows > 0""",
        {},
    )
