"""What the size of an insert costs the engine: spans per CPU-second, memory, and what settings change.

    python -m tests.bench.engine_sizes [--spans 100000] [--variants]

Each row is a process of its own. A constant part of every insert is the planning of the views' queries, so small
inserts are dear; large ones take memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from tests.bench.requests import SPANS_PER_REQUEST, requests

SIZES = (1_000, 5_000, 10_000, 20_000, 50_000, 100_000)
VARIANTS: dict[str, tuple[str, ...]] = {
    "as it is": (),
    "without agent_spans": ("DROP VIEW agent_spans_mv",),
    "without agent_spans and events": ("DROP VIEW agent_spans_mv", "DROP VIEW spans_with_events_mv"),
    "decoding only": (
        "DROP VIEW agent_spans_mv",
        "DROP VIEW spans_with_events_mv",
        "DROP VIEW otel_traces_trace_id_ts_mv",
        "CREATE TABLE nowhere AS otel_traces ENGINE = Null",
        "RENAME TABLE otel_traces TO kept, nowhere TO otel_traces",
    ),
    "parsing only": ("DROP VIEW otel_traces_decode",),
    "without bloom filters": tuple(
        f"ALTER TABLE otel_traces DROP INDEX idx_{name}"
        for name in ("trace_id", "res_attr_key", "res_attr_value", "span_attr_key", "span_attr_value")
    ),
    "wide parts": (
        "ALTER TABLE otel_traces MODIFY SETTING min_bytes_for_wide_part = 10485760",
        "ALTER TABLE agent_spans MODIFY SETTING min_bytes_for_wide_part = 10485760",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    variant: str
    insert: int  # spans per insert
    spans: int
    cpu_s: float
    wall_s: float
    peak_bytes: int

    @property
    def per_cpu_s(self) -> float:
        return self.spans / self.cpu_s


def measure(insert: int, spans: int, variant: str = "as it is") -> Rate:
    """In a process of its own."""
    command = [sys.executable, "-m", "tests.bench.engine_sizes", "--one", str(insert), str(spans), variant]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Rate(**json.loads(told.stdout.splitlines()[-1]))


def measure_here(insert: int, spans: int, variant: str) -> Rate:
    from maslens.storage import StoreConfig, open_store

    per_insert = max(1, insert // SPANS_PER_REQUEST)
    bodies = list(requests(max(1, spans // SPANS_PER_REQUEST)))
    with tempfile.TemporaryDirectory() as folder:
        room = StoreConfig(max_memory=2 << 30, max_query_memory=1 << 30) if variant == "wide parts" else None
        store = open_store(f"chdb://{folder}/data", settings=room)
        store.migrate()
        for statement in VARIANTS[variant]:
            store.command(statement)
        store.insert_otlp("traces", b"", token="warm-up")
        cpu, wall = time.process_time(), time.perf_counter()
        for number, start in enumerate(range(0, len(bodies), per_insert)):
            store.insert_otlp("traces", bodies[start : start + per_insert], token=f"bench:{number}")
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        store.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Rate(
        variant=variant, insert=per_insert * SPANS_PER_REQUEST, spans=len(bodies) * SPANS_PER_REQUEST, cpu_s=cpu,
        wall_s=wall, peak_bytes=peak,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.engine_sizes")
    parser.add_argument("--spans", type=int, default=100_000)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--variants", action="store_true", help="what each part of the way costs, at 10,000 per insert")
    parser.add_argument("--one", nargs=3, metavar=("INSERT", "SPANS", "VARIANT"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(asdict(measure_here(int(asked.one[0]), int(asked.one[1]), asked.one[2]))))
        return
    table = Table("", "spans/insert", "spans/CPU-s", "spans/s", "peak MiB", "CPU ms/insert")
    cases = (
        [(name, 10_000) for name in VARIANTS]
        if asked.variants
        else [("as it is", int(s)) for s in asked.sizes.split(",")]
    )
    for variant, insert in cases:
        rate = measure(insert, max(asked.spans, insert), variant)
        table.add_row(
            variant, f"{rate.insert:,}", f"{rate.per_cpu_s:,.0f}", f"{rate.spans / rate.wall_s:,.0f}",
            f"{rate.peak_bytes / 2**20:.0f}", f"{1000 * rate.cpu_s * rate.insert / rate.spans:.0f}",
        )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()
