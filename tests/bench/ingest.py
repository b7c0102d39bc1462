"""`make bench`: the same bytes through maslens and through others, until the spans can be queried.

Spans per CPU-second of the server's processes (the load generator does not count), from one run on one machine. CPU
counts until a system has come to rest, so that what it merges afterwards counts too; time, until all can be queried.

engine      the store's own insert of these bytes: same tables and views, no receiver, no journal
maslens     `maslens up`, over OTLP/HTTP and over gRPC, facts not computed
with facts  the same with the sidecar computing sessions, handoffs, costs and metrics meanwhile
collector   the OpenTelemetry Collector with its ClickHouse exporter, writing over HTTP to the same engine
phoenix, mlflow   from pip, default SQLite, the first few requests of the same bytes: they take minutes for more
latency     a minute of 5,000 live spans a second: how long until they are in facts and metrics (`tests.bench.latency`)

Rows join build/bench.json under "ingest".
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import collector, latency, peers
from tests.bench.engine import write_requests
from tests.bench.peers import Row
from tests.bench.processes import MERGED_S, disk_bytes, resident_bytes, until_at_rest
from tests.bench.requests import SPANS_PER_REQUEST, requests
from tests.e2e.running import Up

RESULTS = Path(__file__).parents[2] / "build" / "bench.json"
PEER_REQUESTS = 8
PATIENCE_S = 300.0
SYSTEMS = ("engine", "maslens", "maslens grpc", "maslens with facts", "collector", "phoenix", "mlflow", "latency")


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--spans", type=int, default=204_800, help="spans to send (peers get a few thousand)")
    parser.add_argument("--only", default=",".join(SYSTEMS), help=f"comma-separated: {', '.join(SYSTEMS)}")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each; the median run counts")
    arguments = parser.parse_args()
    wanted = [name.strip() for name in arguments.only.split(",")]
    if unknown := [name for name in wanted if name not in SYSTEMS]:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(SYSTEMS)}")
    count = max(1, round(arguments.spans / SPANS_PER_REQUEST))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in wanted:
            if name == "latency":
                continue
            runs = []
            for turn in range(arguments.repeat):
                print(f"{name}: run {turn + 1} of {arguments.repeat} ...", file=sys.stderr)
                try:
                    runs.append(_run(name, count, Path(folder), seed=turn))
                except (subprocess.SubprocessError, OSError, AssertionError) as reason:
                    print(f"{name}: left out, {reason}", file=sys.stderr)
            runs = [run for run in runs if run is not None]
            if runs:
                rows.append(sorted(runs, key=lambda run: run.spans_per_cpu_s)[len(runs) // 2])
    _print(rows)
    _save(rows)
    if "latency" in wanted:
        latency.measure(rate=5_000, seconds=60)


def _run(name: str, count: int, folder: Path, *, seed: int) -> Row | None:
    bodies = requests(count, seed=seed)
    file = folder / "requests.bin"
    write_requests(file, bodies)
    few = bodies[:PEER_REQUESTS]
    spans, few_spans = count * SPANS_PER_REQUEST, len(few) * SPANS_PER_REQUEST
    systems: dict[str, Callable[[], Row | None]] = {
        "engine": lambda: _engine(file, spans),
        "maslens": lambda: _maslens(name, "otlp_http", file, spans, computing=False),
        "maslens grpc": lambda: _maslens(name, "otlp_grpc", file, spans, computing=False),
        "maslens with facts": lambda: _maslens(name, "otlp_http", file, spans, computing=True),
        "collector": lambda: collector.row(file, spans),
        "phoenix": lambda: peers.phoenix(few, few_spans),
        "mlflow": lambda: peers.mlflow(few, few_spans),
    }
    return systems[name]()


def _engine(file: Path, spans: int) -> Row:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.engine", str(file)], capture_output=True, text=True, check=True
    )
    answer = json.loads(done.stdout)
    return Row(
        name="engine", sent_spans=spans, acknowledged_spans=spans, stored_spans=int(answer["ids"]),
        cpu_s=answer["cpu_s"], wall_s=answer["wall_s"],
        peak_bytes=answer["peak_bytes"], disk_bytes=answer["disk_bytes"], inserts=answer["inserts"],
    )  # fmt: skip


def _maslens(name: str, transport: str, file: Path, spans: int, *, computing: bool) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        interval = {} if computing else {"MASLENS_SIDECAR_INTERVAL_S": "86400"}
        up = Up(Path(folder) / "data", environ=interval).start()
        try:
            assert up.process is not None
            pid = up.process.pid
            before, size, started = until_at_rest(pid), _stored_bytes(up), time.monotonic()
            sent = _send(file, str(up.addresses[transport]), transport)
            question = "SELECT uniqExact(SpanId) FROM agent_spans"
            stored = _until(
                lambda: _ask(up, "SELECT count() FROM agent_spans"), sent["acknowledged"] * SPANS_PER_REQUEST
            )
            if computing:
                ids = "SELECT sum(spans) FROM sessions"
                stored = min(stored, _until(lambda: _ask(up, ids), sent["acknowledged"] * SPANS_PER_REQUEST))
            wall = time.monotonic() - started
            cpu = until_at_rest(pid, quiet_s=MERGED_S) - before
            peak = resident_bytes(pid, peak=True)
            stored = min(stored, _ask(up, question))
            inserts = _inserts(up)
            size = _stored_bytes(up) - size
        finally:
            up.kill()  # an orderly end would compute facts first
        return Row(
            name=name, sent_spans=spans, acknowledged_spans=sent["acknowledged"] * SPANS_PER_REQUEST,
            stored_spans=stored, cpu_s=cpu, wall_s=wall, peak_bytes=peak, disk_bytes=size, inserts=inserts,
        )  # fmt: skip


def _send(file: Path, address: str, transport: str) -> dict[str, int]:
    where = address.rpartition("//")[2]
    url = f"http://{where}/v1/traces" if transport == "otlp_http" else f"grpc://{where}"
    command = [sys.executable, "-m", "tests.bench.load", str(file), url]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return dict(json.loads(answer))


def _ask(up: Up, sql: str) -> int:
    query = urllib.parse.urlencode({"query": sql, "default_format": "TSV"})
    with urllib.request.urlopen(f"{up.addresses['clickhouse']}/?{query}", timeout=60) as answer:
        return int(answer.read() or 0)


def _stored_bytes(up: Up) -> int:
    """Without the journal, whose last segment stays until the next one is full."""
    return disk_bytes(up.data) - disk_bytes(up.data / "journal")


def _inserts(up: Up) -> int:
    """How many the loader made: each has a constant cost, so a rate says little without it."""
    with urllib.request.urlopen(f"{up.url}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return int(float(next(line for line in lines if line.startswith("maslens_loader_inserts_total")).split()[-1]))


def _until(count: Callable[[], int], wanted: int) -> int:
    """The count as soon as it is `wanted`, or what it stands at after five minutes."""
    give_up = time.monotonic() + PATIENCE_S
    while (seen := count()) < wanted and time.monotonic() < give_up:
        time.sleep(0.25)
    return seen


def _print(rows: list[Row]) -> None:
    table = Table(
        "system", "spans", "missing", "CPU s", "wall s", "spans per CPU s", "inserts", "peak MiB", "bytes/span"
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(
            row.name, f"{row.sent_spans:,}", f"{row.acknowledged_spans - row.stored_spans:,}", f"{row.cpu_s:.1f}",
            f"{row.wall_s:.1f}", f"{row.spans_per_cpu_s:,.0f}", "–" if row.inserts is None else f"{row.inserts}",
            f"{row.peak_bytes / 2**20:,.0f}",
            f"{row.disk_bytes / max(row.stored_spans, 1):,.0f}",
        )  # fmt: skip
    console = Console(width=120)
    console.print(table)
    rate = {row.name: row.spans_per_cpu_s for row in rows}
    ours = rate.get("maslens")
    for name, bar in (("engine", "0.8"), ("collector", "1.5"), ("phoenix", "100"), ("mlflow", "100")):
        if ours and rate.get(name):
            console.print(f"maslens / {name}: {ours / rate[name]:.2f} (to reach: {bar})")
    if rate.get("engine") and rate.get("maslens grpc"):
        console.print(f"maslens over gRPC / engine: {rate['maslens grpc'] / rate['engine']:.2f} (to reach: 0.8)")


def _save(rows: list[Row]) -> None:
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    ingest = results.setdefault("ingest", {})
    for row in rows:
        ingest[row.name.replace(" ", "_")] = {
            "spans_per_cpu_s": row.spans_per_cpu_s, "sent_spans": row.sent_spans, "cpu_s": row.cpu_s,
            "missing_spans": row.acknowledged_spans - row.stored_spans, "peak_bytes": row.peak_bytes,
            "disk_bytes_per_span": row.disk_bytes / max(row.stored_spans, 1), "wall_s": row.wall_s,
        }  # fmt: skip
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
