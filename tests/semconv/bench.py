"""What the dialects cost a span: the SELECT beside plain Map lookups. `python -m tests.semconv.bench [shared folder]`

Spans are those of the captures, repeated; one thread; best of three; CPU time of the engine's process.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maslens.semconv.dialects.columns import AGENT_SPAN_COLUMNS
from maslens.semconv.dialects.dialect_table import TABLE
from maslens.semconv.dialects.keys import runs
from maslens.semconv.dialects.sql import agent_spans_select

from tests.semconv.captured import captures, spans_of
from tests.semconv.engine import OTEL_TRACES, row

REPEATS = 33  # of about 3,000 captured spans
SETTINGS = "max_threads = 1, max_insert_threads = 1, min_insert_block_size_rows = 0, min_insert_block_size_bytes = 0"


def main(folder: Path) -> None:
    import chdb

    with tempfile.TemporaryDirectory() as scratch:
        connection = chdb.connect(":memory:")
        file = Path(scratch) / "rows.jsonl"
        spans = [span for capture in captures(folder / "captures") for span in spans_of(capture)]
        file.write_text("\n".join(json.dumps(row(span, n), ensure_ascii=False) for n, span in enumerate(spans)))
        query = connection.query
        query(OTEL_TRACES)
        query("CREATE TABLE seed AS otel_traces ENGINE = Memory")
        query(f"INSERT INTO seed FROM INFILE '{file}' FORMAT JSONEachRow")
        query("CREATE TABLE spans AS otel_traces ENGINE = Memory")
        again = " UNION ALL ".join(["SELECT * FROM seed"] * 11)
        for _ in range(REPEATS // 11):
            query(
                f"INSERT INTO spans {again} SETTINGS max_threads = 1, min_insert_block_size_rows = 30000, "
                "min_insert_block_size_bytes = 2000000000"
            )
        count = len(spans) * REPEATS
        columns = ", ".join(f"{column.name} {column.type}" for column in AGENT_SPAN_COLUMNS)
        query(f"CREATE TABLE nowhere ({columns}) ENGINE = Null")
        query("CREATE TABLE inbox AS otel_traces ENGINE = Null")
        query(f"CREATE MATERIALIZED VIEW view TO nowhere AS {agent_spans_select('inbox')}")
        keys = list(_keys())
        print(f"{count} spans, {len(keys)} fields from {sum(map(len, keys))} plain keys")
        plain = _cpu(connection, f"SELECT {_coalesced(keys)} FROM spans FORMAT Null SETTINGS max_threads = 1")
        print(f"plain lookups, plain keys only  {plain / count * 1e6:8.2f} us a span")
        view = _cpu(connection, f"INSERT INTO inbox SELECT * FROM spans SETTINGS {SETTINGS}")
        print(f"the view, all columns           {view / count * 1e6:8.2f} us a span")
        one = _cpu(connection, f"INSERT INTO inbox SELECT * FROM spans LIMIT 1 SETTINGS {SETTINGS}")
        print(f"the view, one span an insert    {one * 1e3:8.1f} ms an insert (analysing the statement)")
        connection.close()


def _keys() -> Iterator[list[str]]:
    for sources in TABLE.fields.values():
        keys = [key for run in runs(sources) if isinstance(run, tuple) for key in run]
        if keys:
            yield keys


def _coalesced(fields: list[list[str]]) -> str:
    return ", ".join(
        "coalesce(" + ", ".join(f"nullIf(SpanAttributes['{key}'], '')" for key in keys) + ", '')" for keys in fields
    )


def _cpu(connection: Any, sql: str) -> float:
    best = float("inf")
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF)
        connection.query(sql)
        after = resource.getrusage(resource.RUSAGE_SELF)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return best


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[3] / "shared")
