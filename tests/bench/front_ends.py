"""What front ends cost and give: CPU a request, of the journal's owner and of all processes, and requests a second.

    python -m tests.bench.front_ends [--requests 400] [--front-ends 0,1,2] [--rounds 3]

The journal is real; the store takes everything and keeps nothing, so that what is measured is the way to the disk.
Rounds alternate between the modes; the median counts. Whoever shares the machine changes every figure of time.
"""

from __future__ import annotations

import argparse
import base64
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from maslens.collector_processor import Receiver, ReceiverConfig, RedactionRules, redact
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from rich.console import Console
from rich.table import Table

from tests.bench.engine import write_requests
from tests.bench.processes import cpu_seconds
from tests.bench.requests import SPANS_PER_REQUEST, requests

LOADS = ("http", "grpc", "json", "redacted")


@dataclass(frozen=True, slots=True)
class Cost:
    owner_us: float  # CPU of the journal's owner, a request
    all_us: float  # and of its front ends
    per_s: float  # requests a second, wall clock


class Nowhere:
    """A store that keeps nothing."""

    def insert_otlp(self, *_: Any, **__: Any) -> None:
        return None

    def rows(self, *_: Any) -> list[dict[str, Any]]:
        return [{"one": 1}]


def measure(load: str, front_ends: int, file: Path, number: int) -> Cost:
    stages = (redact(RedactionRules(patterns=("email", "card"))),) if load == "redacted" else ()
    with tempfile.TemporaryDirectory() as folder:
        config = ReceiverConfig(directory=Path(folder), grpc_port=0, http_port=0, front_ends=front_ends, stages=stages)
        receiver = Receiver(config, Nowhere())  # type: ignore[arg-type]  # all that the loader asks of it
        receiver.start()
        try:
            url = (
                f"grpc://127.0.0.1:{receiver.grpc_port}"
                if load == "grpc"
                else f"http://127.0.0.1:{receiver.http_port}/v1/traces"
            )
            children = receiver.front_ends.pids if receiver.front_ends else []
            own, theirs = time.process_time(), sum(map(cpu_seconds, children))
            started = time.monotonic()
            told = _send(file, url, as_json=load == "json")
            assert receiver.drained(60)
            took = time.monotonic() - started
            own, theirs = time.process_time() - own, sum(map(cpu_seconds, children)) - theirs
            assert told["acknowledged"] == number, told
        finally:
            receiver.stop()
    return Cost(1e6 * own / number, 1e6 * (own + theirs) / number, number / took)


def _send(file: Path, url: str, *, as_json: bool) -> dict[str, int]:
    command = [sys.executable, "-m", "tests.bench.load", str(file), url, "--connections", "8"]
    if as_json:
        command += ["--content-type", "application/json"]
    return dict(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.front_ends")
    parser.add_argument("--requests", type=int, default=400, help=f"of {SPANS_PER_REQUEST} spans each")
    parser.add_argument("--front-ends", default="0,1,2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loads", default=",".join(LOADS))
    asked = parser.parse_args()
    modes = [int(number) for number in asked.front_ends.split(",")]
    table = Table("load", "front ends", "owner µs/request", "all µs/request", "requests/s")
    for column in table.columns[1:]:
        column.justify = "right"
    with tempfile.TemporaryDirectory() as folder:
        for load in asked.loads.split(","):
            number = asked.requests if load in ("http", "grpc") else max(1, asked.requests // 8)
            bodies = requests(number)
            if load == "json":
                bodies = [_as_json(body) for body in bodies]
            file = Path(folder) / f"{load}.bin"
            write_requests(file, bodies)
            seen: dict[int, list[Cost]] = {mode: [] for mode in modes}
            for _ in range(asked.rounds):
                for mode in modes:
                    seen[mode].append(measure(load, mode, file, number))
            for mode, costs in seen.items():
                table.add_row(
                    load, str(mode), f"{statistics.median(cost.owner_us for cost in costs):,.0f}",
                    f"{statistics.median(cost.all_us for cost in costs):,.0f}",
                    f"{statistics.median(cost.per_s for cost in costs):,.0f}",
                )  # fmt: skip
    Console(width=100).print(table)


def _as_json(body: bytes) -> bytes:
    """OTLP/JSON: ids in hex, everything else as protobuf has it."""
    request = MessageToDict(ExportTraceServiceRequest.FromString(body))
    for resource in request["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for key in ("traceId", "spanId", "parentSpanId"):
                    if key in span:
                        span[key] = _hex(span[key])
    return json.dumps(request).encode()


def _hex(text: str) -> str:
    return base64.b64decode(text).hex()


if __name__ == "__main__":
    main()
