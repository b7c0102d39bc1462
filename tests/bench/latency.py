"""How long after a span has ended it is seen: in the facts through SQL, and counted in /metrics.

    python -m tests.bench.latency [--rate 5000] [--seconds 60]

A real `maslens up` gets live agent spans over OTLP/HTTP at a steady rate. A request is due as its last spans end,
whether the ones before it were answered or not, so that a slow server cannot slow the clock down. Visible is a session
when all of its model calls are in `llm_calls`; counted are a request's calls when /metrics has them all. The readers
ask all the time, and their answers are part of the server's work. Results join build/bench.json under "latency".
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from queue import SimpleQueue
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from tests.bench.processes import cpu_seconds, resident_bytes, until_at_rest
from tests.bench.requests import LLM_PLACES, SPANS_PER_REQUEST, SPANS_PER_SESSION, live_requests, session_id
from tests.e2e.running import Up

RESULTS = Path(__file__).parents[2] / "build" / "bench.json"
SENDERS = 4
LOOK_S = 0.5  # how often is looked (60 ms of CPU a time): what is measured is late by half of it on average
PATIENCE_S = 60.0  # after the last request


@dataclass(slots=True)
class Watch:
    """Which requests are due, sent and seen. Times are of the monotonic clock, in seconds."""

    count: int
    every_s: float
    began: float = 0.0
    facts: dict[int, float] = field(default_factory=dict)  # session → seen after
    metrics: dict[int, float] = field(default_factory=dict)  # request → counted after
    sent: dict[int, float] = field(default_factory=dict)  # request → acknowledged after
    refused: int = 0

    def due(self, request: int) -> float:
        return self.began + request * self.every_s

    def happened(self) -> int:
        """How many requests are due by now."""
        return min(self.count, int((time.monotonic() - self.began) / self.every_s) + 1)

    @property
    def done(self) -> bool:
        late = time.monotonic() > self.due(self.count) + PATIENCE_S
        return late or (len(self.metrics) == self.count and len(self.facts) == len(probes(self.count)))


def probes(count: int) -> dict[int, int]:
    """Session → the request that holds all of it: the first and the last such session of every request."""
    found = {}
    for request in range(count):
        first = -(-request * SPANS_PER_REQUEST // SPANS_PER_SESSION) + 1
        last = (request + 1) * SPANS_PER_REQUEST // SPANS_PER_SESSION
        found.update({first: request, last: request})
    return found


def calls_until(spans: int) -> int:
    """Model calls among the first `spans` spans."""
    sessions, rest = divmod(spans, SPANS_PER_SESSION)
    return sessions * len(LLM_PLACES) + sum(place < rest for place in LLM_PLACES)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.latency")
    parser.add_argument("--rate", type=float, default=5_000, help="spans offered a second")
    parser.add_argument("--seconds", type=float, default=60)
    asked = parser.parse_args()
    measure(rate=asked.rate, seconds=asked.seconds)


def measure(*, rate: float, seconds: float) -> None:
    """Print the table, and write the figures."""
    every_s = SPANS_PER_REQUEST / rate
    watch = Watch(count=max(1, round(seconds / every_s)), every_s=every_s)
    bodies = list(live_requests(watch.count, every_ns=round(every_s * 1e9), first_ns=time.time_ns()))
    with tempfile.TemporaryDirectory() as folder:
        up = Up(Path(folder) / "data").start(within_s=600)
        try:
            assert up.process is not None
            until_at_rest(up.process.pid)
            cpu, watch.began = cpu_seconds(up.process.pid), time.monotonic()
            _offer_and_look(up, watch, bodies)
            wall = time.monotonic() - watch.began
            cpu, peak = cpu_seconds(up.process.pid) - cpu, resident_bytes(up.process.pid, peak=True)
        finally:
            up.stop()
    _report(watch, rate=rate, cpu_s=cpu, wall_s=wall, peak_bytes=peak)


def _offer_and_look(up: Up, watch: Watch, bodies: Sequence[bytes]) -> None:
    work: SimpleQueue[int | None] = SimpleQueue()
    threads = [threading.Thread(target=_send, args=(up, watch, bodies, work)) for _ in range(SENDERS)]
    threads += [threading.Thread(target=_look, args=(watch, look)) for look in (_facts(up), _counted(up))]
    for thread in threads:
        thread.start()
    for request in range(watch.count):
        time.sleep(max(0.0, watch.due(request) - time.monotonic()))
        work.put(request)
    for _ in range(SENDERS):
        work.put(None)
    for thread in threads:
        thread.join()


def _send(up: Up, watch: Watch, bodies: Sequence[bytes], work: SimpleQueue[int | None]) -> None:
    address = urlsplit(up.otlp_http)
    connection = HTTPConnection(address.hostname or "127.0.0.1", address.port, timeout=PATIENCE_S)
    while (request := work.get()) is not None:
        connection.request("POST", "/v1/traces", bodies[request], {"content-type": "application/x-protobuf"})
        answer = connection.getresponse()
        answer.read()
        if answer.status == 200:
            watch.sent[request] = time.monotonic() - watch.due(request)
        else:  # an exporter would come again; here it counts as never seen
            watch.refused += 1
    connection.close()


def _look(watch: Watch, look: Callable[[Watch], None]) -> None:
    while not watch.done:
        began = time.monotonic()
        look(watch)
        time.sleep(max(0.0, began + LOOK_S - time.monotonic()))


def _facts(up: Up) -> Callable[[Watch], None]:
    url = f"{up.addresses['clickhouse']}/"

    def look(watch: Watch) -> None:
        awaited = {s: r for s, r in probes(watch.happened()).items() if s not in watch.facts}
        if not awaited:
            return
        ids = ", ".join(f"'{session_id(session)}'" for session in list(awaited)[:200])
        sql = (
            f"SELECT session_id FROM llm_calls WHERE session_id IN ({ids}) GROUP BY session_id "
            f"HAVING count() = {len(LLM_PLACES)} FORMAT TSV"
        )
        seen = _get(url, sql.encode()).split()
        now = time.monotonic()
        for session, request in awaited.items():
            if session_id(session) in seen:
                watch.facts[session] = now - watch.due(request)

    return look


def _counted(up: Up) -> Callable[[Watch], None]:
    url = f"{up.url}/metrics"

    def look(watch: Watch) -> None:
        told = _get(url)
        now = time.monotonic()
        counts = re.findall(r"^maslens_agent_llm_calls_total\{[^\n]*\} (\S+)", told, re.MULTILINE)
        count = sum(map(float, counts))
        for request in range(len(watch.metrics), watch.happened()):
            if count < calls_until((request + 1) * SPANS_PER_REQUEST):
                break
            watch.metrics[request] = now - watch.due(request)

    return look


def _get(url: str, body: bytes | None = None) -> str:
    with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=PATIENCE_S) as answer:
        return str(answer.read().decode())


def _report(watch: Watch, *, rate: float, cpu_s: float, wall_s: float, peak_bytes: int) -> None:
    spans = watch.count * SPANS_PER_REQUEST
    rows = {
        "acknowledged": _quantiles(list(watch.sent.values()), missing=watch.count - len(watch.sent)),
        "in facts": _quantiles(list(watch.facts.values()), missing=len(probes(watch.count)) - len(watch.facts)),
        "in /metrics": _quantiles(list(watch.metrics.values()), missing=watch.count - len(watch.metrics)),
    }
    table = Table("seconds after a span has ended", "p50", "p95", "p99", "max", "never")
    for name, row in rows.items():
        table.add_row(name, *(f"{row[part]:.2f}" for part in ("p50", "p95", "p99", "max")), f"{row['never']:.0f}")
    console = Console(width=120)
    console.print(table)
    console.print(
        f"{spans:,} spans, {rate:,.0f} offered a second: {cpu_s / wall_s:.2f} cores, "
        f"{1e6 * cpu_s / spans:.0f} us of CPU a span, {peak_bytes / 2**20:,.0f} MiB at most (to reach: p99 2 s)"
    )
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    results["latency"] = {
        "offered_spans_per_s": rate, "spans": spans, "cpu_s": cpu_s, "wall_s": wall_s, "peak_bytes": peak_bytes,
        **{name.replace("in ", "").strip("/"): row for name, row in rows.items()},
    }  # fmt: skip
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


def _quantiles(seconds: list[float], *, missing: int) -> dict[str, float]:
    """By rank; what was never seen is not in them, and counted."""
    ranked = sorted(seconds) or [float("nan")]
    parts = {f"p{part}": ranked[min(len(ranked) - 1, part * len(ranked) // 100)] for part in (50, 95, 99)}
    return {**parts, "max": ranked[-1], "never": missing}


if __name__ == "__main__":
    main()
