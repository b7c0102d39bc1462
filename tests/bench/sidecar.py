"""What facts cost: CPU of a step of the sidecar, by spans a step, and with none or many spans stored already.

    python -m tests.bench.sidecar [--stored 0 1000000] [--spans 5120 20480] [--steps 8]

Each case has an engine of its own in a process of its own: the spans of a fleet are inserted, and the sidecar's step
that makes facts of them is measured, the processes that compute for it included. A step's cost must not grow with what
is stored. Rows join build/bench.json under "sidecar".
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from maslens.analytics.computing import Elsewhere, Here, fact_rules
from maslens.analytics.sidecar import Sidecar
from maslens.storage import Store, open_store
from rich.console import Console
from rich.table import Table

from tests.bench.processes import cpu_seconds, resident_bytes
from tests.bench.requests import SPANS_PER_REQUEST, live_requests

RESULTS = Path(__file__).parents[2] / "build" / "bench.json"
WARM_UP = 2  # steps
FILL_REQUESTS = 100  # of one insert that only fills


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sidecar")
    parser.add_argument("--stored", type=int, nargs="+", default=[0, 1_000_000], help="spans with facts already")
    parser.add_argument("--spans", type=int, nargs="+", default=[5_120, 20_480], help="new spans of a step")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--case", nargs=2, type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.case:
        worker = threading.Thread(target=_case, args=(*asked.case, asked.steps, asked.processes))
        worker.start()  # never a query on the main thread: signals would wait
        worker.join()
        return
    rows = []
    for stored in asked.stored:
        for spans in asked.spans:
            print(f"{spans:,} spans a step, {stored:,} stored ...", file=sys.stderr)
            command = [sys.executable, "-m", __spec__.name if __spec__ else "tests.bench.sidecar"]
            command += ["--case", str(stored), str(spans), "--steps", str(asked.steps)]
            command += ["--processes", str(asked.processes)]
            rows.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    _report(rows)


def _case(stored: int, spans: int, steps: int, processes: int) -> None:
    requests = max(1, spans // SPANS_PER_REQUEST)
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"chdb://{folder}/data")
        store.migrate()
        sidecar = Sidecar(store, Elsewhere(fact_rules, processes=processes) if processes else Here(fact_rules()))
        fill = -(-stored // SPANS_PER_REQUEST)
        bodies = live_requests(fill + requests * (steps + WARM_UP), every_ns=10_000_000, first_ns=time.time_ns())
        for start in range(0, fill, FILL_REQUESTS):
            _insert(store, [next(bodies) for _ in range(min(FILL_REQUESTS, fill - start))])
            sidecar.drain()
        inserting = computing = 0.0
        for step in range(steps + WARM_UP):
            body = [next(bodies) for _ in range(requests)]
            began = cpu_seconds(os.getpid())
            _insert(store, body)
            inserted = cpu_seconds(os.getpid())
            sidecar.drain()
            if step >= WARM_UP:
                inserting += inserted - began
                computing += cpu_seconds(os.getpid()) - inserted
        row = {
            "stored": stored, "spans": requests * SPANS_PER_REQUEST, "processes": processes,
            "insert_cpu_s": inserting / steps, "step_cpu_s": computing / steps,
            "us_per_span": 1e6 * computing / steps / (requests * SPANS_PER_REQUEST),
            "spans_per_cpu_s": steps * requests * SPANS_PER_REQUEST / computing,
            "peak_bytes": resident_bytes(os.getpid(), peak=True),
        }  # fmt: skip
        sidecar.close()
        store.close()
    print(json.dumps(row))


_inserted = 0


def _insert(store: Store, bodies: list[bytes]) -> None:
    global _inserted
    _inserted += 1
    store.insert_otlp("traces", bodies, token=f"bench:{_inserted}")


def _report(rows: list[dict[str, float]]) -> None:
    table = Table("stored spans", "spans a step", "CPU s a step", "us a span", "spans per CPU-s", "insert CPU s", "MiB")
    for row in rows:
        table.add_row(
            f"{row['stored']:,}", f"{row['spans']:,}", f"{row['step_cpu_s']:.2f}", f"{row['us_per_span']:.0f}",
            f"{row['spans_per_cpu_s']:,.0f}", f"{row['insert_cpu_s']:.2f}", f"{row['peak_bytes'] / 2**20:,.0f}",
        )  # fmt: skip
    Console(width=120).print(table)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    RESULTS.write_text(json.dumps({**results, "sidecar": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
