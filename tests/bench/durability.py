"""What `--durability power` costs: an insert of the engine with and without its syncs.

    python -m tests.bench.durability [--inserts 6] [--requests 10]

Inserts alternate between the two, in one process and one store; the median of each counts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time

from maslens.storage import Store, open_store
from maslens.storage.durability import leave_tables_to_the_system, sync_tables
from rich.console import Console
from rich.table import Table

from tests.bench.requests import SPANS_PER_REQUEST, requests

_EVENTS = ("FileSync", "DirectorySync", "FileSyncElapsedMicroseconds", "DirectorySyncElapsedMicroseconds")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.durability")
    parser.add_argument("--inserts", type=int, default=6, help="of each kind")
    parser.add_argument("--requests", type=int, default=10, help=f"an insert, of {SPANS_PER_REQUEST} spans each")
    asked = parser.parse_args()
    table = Table("durability", "syncs/insert", "of which directories", "waited for them, s", "CPU s", "wall s")
    for column in table.columns[1:]:
        column.justify = "right"
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"chdb://{folder}/data")
        store.migrate()
        store.insert_otlp("traces", requests(1), token="warm-up")
        seen: dict[str, list[dict[str, float]]] = {"process": [], "power": []}
        for number in range(asked.inserts):
            for kind in seen:
                (sync_tables if kind == "power" else leave_tables_to_the_system)(store)
                bodies = requests(asked.requests, seed=number)
                seen[kind].append(_insert(store, bodies, f"{kind} {number}"))
        store.close()
    for kind, inserts in seen.items():
        middle = {name: statistics.median(insert[name] for insert in inserts) for name in inserts[0]}
        waited = (middle[_EVENTS[2]] + middle[_EVENTS[3]]) / 1e6
        table.add_row(
            kind, f"{middle['FileSync'] + middle['DirectorySync']:.0f}", f"{middle['DirectorySync']:.0f}",
            f"{waited:.2f}", f"{middle['cpu']:.2f}", f"{middle['wall']:.2f}",
        )  # fmt: skip
    Console(width=100).print(table)


def _insert(store: Store, bodies: list[bytes], token: str) -> dict[str, float]:
    before, cpu, wall = _events(store), time.process_time(), time.perf_counter()
    store.insert_otlp("traces", bodies, token=token)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    after = _events(store)
    return {name: after[name] - before[name] for name in _EVENTS} | {"cpu": cpu, "wall": wall}


def _events(store: Store) -> dict[str, float]:
    rows = store.rows("SELECT event, value FROM system.events WHERE event LIKE '%Sync%'")
    return dict.fromkeys(_EVENTS, 0.0) | {row["event"]: float(row["value"]) for row in rows if row["event"] in _EVENTS}


if __name__ == "__main__":
    worker = threading.Thread(target=main)  # never a query on the main thread: signals would wait
    worker.start()
    worker.join()
