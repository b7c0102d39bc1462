"""What a turn of a conversation takes on disk when every model call repeats the whole history.

    make bench ARGS="history"                              10 and 50 turns, a few conversations
    make bench ARGS="history --turns 50 --conversations 60 --before"

Conversations in three dialects go on at the same time; their requests go through what the receiver does to them and
into the store in the order they ended. Per table and column: bytes on disk per turn, as inserted and after everything
was merged, beside the OTLP bytes and beside what is left when every message is kept once (as it is, and zstd level 3).
`--before` also measures the tables as they were before migration 0016. Rows join build/bench.json under "history".
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import zstandard
from maslens.collector_processor.inspection import Window
from maslens.collector_processor.intake import prepare
from maslens.storage import Store, open_store
from rich.console import Console
from rich.table import Table

from tests.bench.conversations import Corpus, corpus

RESULTS = Path(__file__).parents[2] / "build" / "bench.json"
TABLES = ("otel_traces", "agent_spans")
INSERT_BYTES = 4 << 20  # what comes together in a second or two
_PARTS_BEFORE = (
    "min_bytes_for_wide_part = 134217728, min_level_for_wide_part = 0,"
    " min_columns_to_activate_adaptive_write_buffer = 500"
)
BEFORE = tuple(
    statement
    for table, columns in {
        "otel_traces": {"SpanAttributes": "Map(LowCardinality(String), String)"},
        "agent_spans": {"SystemContent": "String", "InputContent": "String"},
    }.items()
    for statement in (
        *(f"ALTER TABLE {table} MODIFY COLUMN {name} {kind} CODEC(ZSTD(1))" for name, kind in columns.items()),
        *(
            f"ALTER TABLE {table} MODIFY COLUMN {name} RESET SETTING max_compress_block_size, min_compress_block_size"
            for name in columns
        ),
        f"ALTER TABLE {table} MODIFY SETTING {_PARTS_BEFORE}",
    )
)
# What is read: the spans of one trace, everything but contents, every content.
READS = {
    "a trace": "SELECT * FROM otel_traces WHERE TraceId = {trace:String}",
    "its agent spans": "SELECT * FROM agent_spans WHERE TraceId = {trace:String}",
    "no content": "SELECT ServiceName, SpanName, count(), sum(Duration) FROM otel_traces GROUP BY ALL",
    "all contents": "SELECT sum(length(InputContent)) FROM agent_spans",
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="make bench ARGS=history", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--turns", type=int, nargs="+", default=[10, 50])
    parser.add_argument("--conversations", type=int, default=12)
    parser.add_argument("--before", action="store_true", help="also as it was before migration 0016")
    chosen = parser.parse_args(arguments)
    rows: dict[str, Any] = {}
    for turns in chosen.turns:
        sent = corpus(chosen.conversations, turns, at_ns=time.time_ns() - turns * 60 * 10**9 - 120 * 10**9)
        for before in (True, False) if chosen.before else (False,):
            name = f"{turns} turns{', before' if before else ''}"
            rows[name] = _in_a_thread(sent, BEFORE if before else ())
            _print(name, rows[name])
    RESULTS.parent.mkdir(exist_ok=True)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**known, "history": {**known.get("history", {}), **rows}}, indent=1) + "\n")


def _in_a_thread(sent: Corpus, statements: Sequence[str]) -> dict[str, Any]:
    """Never a query on the main thread: signals would wait."""
    found: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: found.append(measured(sent, statements)))
    thread.start()
    thread.join()
    return found[0]


def measured(sent: Corpus, statements: Sequence[str]) -> dict[str, Any]:
    packer = zstandard.ZstdCompressor(level=3)
    turns = sent.turns
    row: dict[str, Any] = {
        "turns": turns,
        "spans": sent.spans,
        "otlp": sum(map(len, sent.bodies)) // turns,
        "unique": sent.unique_bytes // turns,
        "unique_zstd": sum(len(packer.compress(each)) for each in sent.unique) // turns,
    }
    window = Window(past=timedelta(days=3), future=timedelta(days=1))
    now = time.time_ns()
    bodies = [prepare("traces", body, now_ns=now, window=window).body for body in sent.bodies]
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"chdb://{folder}/data")
        store.migrate()
        for statement in statements:
            store.command(statement)
        store.insert_otlp("traces", b"", token="warm-up")
        began = _cpu_seconds()
        for number, batch in enumerate(_batches(bodies)):
            store.insert_otlp("traces", batch, token=f"bench:{number}")
        row["insert_cpu_s"] = round(_cpu_seconds() - began, 2)
        row["inserted"] = _sizes(store, turns)
        began = _cpu_seconds()
        for table in TABLES:
            store.command(f"OPTIMIZE TABLE {table} FINAL")
        row["merge_cpu_s"] = round(_cpu_seconds() - began, 2)
        row["merged"] = _sizes(store, turns)
        row["columns"] = _columns(store, turns)
        row["read_cpu_ms"] = _reads(store)
        store.close()
    row["times_unique"] = round(sum(row["merged"].values()) / row["unique"], 2)
    return row


def _batches(bodies: Sequence[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for body in bodies:
        batch.append(body)
        size += len(body)
        if size >= INSERT_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _sizes(store: Store, turns: int) -> dict[str, int]:
    found = store.rows(
        """
        SELECT table, sum(data_compressed_bytes) AS bytes FROM system.parts
        WHERE active AND database = currentDatabase() AND table IN {tables:Array(String)}
        GROUP BY table ORDER BY table DESC""",
        {"tables": list(TABLES)},
    )
    return {row["table"]: int(row["bytes"]) // turns for row in found}


def _columns(store: Store, turns: int) -> dict[str, dict[str, int]]:
    """The largest columns. Parts below 10 MiB are compact: their columns are not told apart."""
    found = store.rows(
        """
        SELECT concat(table, '.', column) AS name, sum(column_data_compressed_bytes) AS disk,
            sum(column_data_uncompressed_bytes) AS plain
        FROM system.parts_columns
        WHERE active AND database = currentDatabase() AND table IN {tables:Array(String)}
        GROUP BY table, column HAVING plain > 0 ORDER BY disk DESC LIMIT 6""",
        {"tables": list(TABLES)},
    )
    return {row["name"]: {"disk": int(row["disk"]) // turns, "plain": int(row["plain"]) // turns} for row in found}


def _reads(store: Store) -> dict[str, float]:
    (middle,) = store.rows(
        "SELECT argMin(TraceId, abs(Duration - 4000000000)) AS trace FROM otel_traces WHERE SpanName LIKE 'chat%'"
    )
    costs = {}
    for name, sql in READS.items():
        store.query_raw(sql, fmt="Null", params=middle)
        began = _cpu_seconds()
        for _ in range(3):
            store.query_raw(sql, fmt="Null", params=middle)
        costs[name] = round((_cpu_seconds() - began) / 3 * 1e3, 1)
    return costs


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _print(name: str, row: dict[str, Any]) -> None:
    table = Table(title=f"{name}: {row['turns']} turns, {row['spans']} spans; bytes per turn")
    table.add_column("what")
    for heading in ("bytes", "of the OTLP bytes", "times unique"):
        table.add_column(heading, justify="right")
    lines = {
        "OTLP": row["otlp"],
        "every message once": row["unique"],
        "every message once, zstd 3": row["unique_zstd"],
        **{f"{table} as inserted": size for table, size in row["inserted"].items()},
        **{f"{table} merged": size for table, size in row["merged"].items()},
        "both, merged": sum(row["merged"].values()),
        **{f"  {column}": size["disk"] for column, size in row["columns"].items()},
    }
    for what, size in lines.items():
        table.add_row(what, f"{size:,}", f"{size / row['otlp']:.1%}", f"{size / row['unique']:.2f}")
    console = Console()
    console.print(table)
    reads = ", ".join(f"{name} {cost} ms" for name, cost in row["read_cpu_ms"].items())
    console.print(f"CPU: inserts {row['insert_cpu_s']} s, merging {row['merge_cpu_s']} s; reads: {reads}\n")


if __name__ == "__main__":
    main()
