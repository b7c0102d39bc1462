"""The OpenTelemetry Collector with its ClickHouse exporter in front of the same engine, over HTTP.

The engine sits behind our ClickHouse endpoint, opened for writing in this benchmark only, with the same tables and
views. CPU is the Collector's and the engine's together.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from maslens.storage import open_store

from tests.bench.peers import Row
from tests.bench.processes import MERGED_S, disk_bytes, free_port, resident_bytes, until_at_rest, wait_until
from tests.bench.requests import SPANS_PER_REQUEST
from tests.contract.collector.build import collector, missing

CONFIG = Path(__file__).parent / "collector.yaml"
PATIENCE_S = 120.0


def row(file: Path, spans: int) -> Row | None:
    """None, with a line on stderr that says why, where there is no Collector."""
    if (reason := missing()) is not None:
        print(f"collector: left out, {reason}", file=sys.stderr)
        return None
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        log = folder / "otelcol.log"
        engine = subprocess.Popen(
            [sys.executable, "-m", "tests.storage.endpoint", str(folder / "data")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert engine.stdout is not None
        clickhouse = int(engine.stdout.readline())
        store = open_store(f"http://127.0.0.1:{clickhouse}/maslens")
        store.migrate()
        store.close()
        environment = {
            **os.environ,
            "OTELCOL_HTTP_ENDPOINT": f"127.0.0.1:{port}",
            "CLICKHOUSE_ENDPOINT": f"http://127.0.0.1:{clickhouse}",
            "CLICKHOUSE_DATABASE": "maslens",
        }
        with log.open("wb") as out:
            front = subprocess.Popen(
                [str(collector()), "--config", str(CONFIG)], env=environment, stdout=out, stderr=out
            )
        try:
            wait_until(lambda: _listens(port, front, log), timeout_s=30, what="the Collector")
            pids, size = (front.pid, engine.pid), disk_bytes(folder / "data")
            before, started = until_at_rest(*pids), time.monotonic()
            command = [sys.executable, "-m", "tests.bench.load", str(file), f"http://127.0.0.1:{port}/v1/traces"]
            sent = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            acknowledged = sent["acknowledged"] * SPANS_PER_REQUEST
            give_up = time.monotonic() + PATIENCE_S
            while (
                seen := _ask(clickhouse, "SELECT count() FROM agent_spans")
            ) < acknowledged and time.monotonic() < give_up:
                time.sleep(0.25)
            wall = time.monotonic() - started
            cpu = until_at_rest(*pids, quiet_s=MERGED_S) - before
            stored = min(seen, _ask(clickhouse, "SELECT uniqExact(SpanId) FROM agent_spans"))
            peak = sum(resident_bytes(pid, peak=True) for pid in pids)
        finally:
            front.kill()  # everything is measured; an orderly end would wait for its retries
            front.wait(30)
            assert engine.stdin is not None
            engine.stdin.close()
            engine.wait(120)
            engine.stdout.close()
        if stored < acknowledged:
            print(
                f"collector: {acknowledged - stored} spans missing; its log: {_errors(log)}",
                file=sys.stderr,
            )
        return Row(
            name="collector", sent_spans=spans, acknowledged_spans=acknowledged, stored_spans=stored, cpu_s=cpu,
            wall_s=wall, peak_bytes=peak, disk_bytes=disk_bytes(folder / "data") - size,
        )  # fmt: skip


def _ask(port: int, sql: str) -> int:
    query = urllib.parse.urlencode({"query": sql, "default_format": "TSV", "database": "maslens"})
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/?{query}", timeout=60) as answer:
        return int(answer.read() or 0)


def _listens(port: int, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/traces", timeout=2)
    except urllib.error.HTTPError:
        return True  # 405: it wants a POST
    except OSError:
        return False
    return True


def _errors(log: Path) -> str:
    """The last thing it complained about."""
    lines = [line for line in log.read_text().splitlines() if "error" in line]
    return lines[-1][:600] if lines else "nothing to complain about"
