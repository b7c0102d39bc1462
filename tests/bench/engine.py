"""The engine's own insert rate: the same bytes, tables and views; no receiver and no journal.

    python -m tests.bench.engine REQUESTS_FILE      prints one JSON object

In a process of its own, because an engine belongs to one directory and CPU is counted by process. Inserts are as large
as the loader's under load, so that what is compared is the way there and not the size of an insert.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from maslens.storage import open_store

from tests.bench.processes import MERGED_S, cpu_seconds, until_at_rest

BATCH_BYTES = 12 << 20  # what `maslens up` takes per insert at most


def main(file: str) -> None:
    requests = read_requests(Path(file))
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"chdb://{folder}/data")
        store.migrate()
        store.insert_otlp("traces", b"", token="warm-up")
        before, started = cpu_seconds(os.getpid()), time.monotonic()
        number = -1
        for number, batch in enumerate(batches(requests)):
            store.insert_otlp("traces", batch, token=f"bench:{number}")
        (row,) = store.rows("SELECT count() AS spans, uniqExact(SpanId) AS ids FROM agent_spans")
        wall = time.monotonic() - started
        cpu = until_at_rest(os.getpid(), quiet_s=MERGED_S) - before
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        store.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        json.dumps({**row, "inserts": number + 1, "cpu_s": cpu, "wall_s": wall, "peak_bytes": peak, "disk_bytes": size})
    )


def batches(requests: Sequence[bytes]) -> Iterator[list[bytes]]:
    """`requests` in the order they came, as many at a time as one insert takes."""
    batch: list[bytes] = []
    size = 0
    for body in requests:
        if batch and size + len(body) > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(body)
        size += len(body)
    if batch:
        yield batch


def read_requests(file: Path) -> list[bytes]:
    """Bodies written by `write_requests`."""
    data, place, bodies = file.read_bytes(), 0, []
    while place < len(data):
        size = int.from_bytes(data[place : place + 4], "little")
        bodies.append(data[place + 4 : place + 4 + size])
        place += 4 + size
    return bodies


def write_requests(file: Path, bodies: Sequence[bytes]) -> None:
    """Each body behind its length in four bytes, little-endian."""
    file.write_bytes(b"".join(len(body).to_bytes(4, "little") + body for body in bodies))


if __name__ == "__main__":
    worker = threading.Thread(target=main, args=sys.argv[1:2])  # never a query on the main thread: signals would wait
    worker.start()
    worker.join()
