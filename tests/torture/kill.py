"""`kill -9` at random moments under load, then every span by its id: what was acknowledged is there, once.

    python -m tests.torture.kill --kills 100

A request is sent once. When its answer never came, its spans may be stored or not, but never twice and never in part.
The process holds receiver, loader and sidecar, and inserts dead letters again all the while; the first kills come while
the tables are made. Afterwards facts are checked against spans: one model call each.
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from maslens.collector_processor import DeadLetters
from maslens.collector_processor.signals import Signal
from maslens.storage import open_store
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue

ROOT = Path(__file__).parents[2]
TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
RECONNECT = [
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 100),
    ("grpc.use_local_subchannel_pool", 1),
]
PATIENCE_S = 900  # for the rest to be loaded, and its facts computed
TABLES = {"traces": ("otel_traces", "agent_spans", "llm_calls"), "logs": ("otel_logs",)}
SPAN_ID = {"llm_calls": "span_id"}


@dataclass
class Told:
    """What the senders know: ids from `start` on, and whether they were acknowledged."""

    ranges: dict[str, list[tuple[int, int, bool]]] = field(default_factory=lambda: {"traces": [], "logs": []})
    next_id: int = 1
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reserve(self, number: int) -> int:
        with self.lock:
            start, self.next_id = self.next_id, self.next_id + number
            return start

    def sent(self, kind: str, start: int, number: int, acknowledged: bool) -> None:
        with self.lock:
            self.ranges[kind].append((start, start + number, acknowledged))

    def acknowledged(self) -> int:
        with self.lock:
            return sum(end - start for ranges in self.ranges.values() for start, end, known in ranges if known)


@dataclass(frozen=True)
class Verdict:
    kills: int
    acknowledged: int
    lost: int
    doubled: int
    torn: int  # requests of which only a part is stored
    strangers: int  # ids nobody sent

    @property
    def right(self) -> bool:
        return not (self.lost or self.doubled or self.torn or self.strangers)

    def __str__(self) -> str:
        text = f"{self.kills} kills, {self.acknowledged} spans, {self.lost} lost, {self.doubled} doubled"
        return (
            text
            + (f", {self.torn} requests stored in part" if self.torn else "")
            + (f", {self.strangers} that nobody sent" if self.strangers else "")
        )


class Server:
    """The process under test, started again after every kill."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.grpc_port, self.http_port = _free_ports(2)
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.torture.server", str(self.directory)]
        with (self.directory / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, str(self.grpc_port), str(self.http_port)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def wait_ready(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip() == "ready":
                return
        raise RuntimeError(f"the server ended by itself; see {self.directory / 'server.log'}")

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self._gone()

    def finish(self) -> None:
        """Let it load what is left, and end."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._gone()

    def _gone(self) -> None:
        assert self.process is not None
        try:
            self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()  # no server outlives the run
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def torture(kills: int, *, seed: int, directory: Path, senders: int = 4, say: Any = None) -> Verdict:
    """Kill the server `kills` times while `senders` threads send; then count."""
    rng = random.Random(seed)
    told, stop = Told(), threading.Event()
    server = Server(directory)
    for _ in range(min(3, kills)):  # while the engine opens and the tables are made
        server.start()
        time.sleep(rng.uniform(0.5, 4.0))
        server.kill()
    server.start()
    server.wait_ready()
    letters = threading.Thread(target=_put_aside, args=(directory, told, stop, random.Random(seed)))
    threads = [letters]
    threads += [
        threading.Thread(target=_send, args=(server, told, stop, random.Random(seed * 1000 + number), number))
        for number in range(senders)
    ]
    for thread in threads:
        thread.start()
    try:
        for number in range(kills):
            time.sleep(rng.uniform(0.05, 2.5))
            server.kill()
            server.start()
            if rng.random() < 0.2:  # and sometimes again while it is still getting up
                time.sleep(rng.uniform(0.0, 1.5))
                server.kill()
                server.start()
            server.wait_ready()
            if say is not None:
                say(f"{number + 1} of {kills} kills, {told.acknowledged()} spans acknowledged")
        time.sleep(1.0)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        server.finish()
    return _verdict(kills, told, directory)


def _send(server: Server, told: Told, stop: threading.Event, rng: random.Random, number: int) -> None:
    over_grpc, kind = number % 2 == 0, "logs" if number % 4 == 3 else "traces"
    channel = grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", options=RECONNECT)
    call = channel.unary_unary(TRACES if kind == "traces" else LOGS)
    connection: http.client.HTTPConnection | None = None
    while not stop.is_set():
        size = rng.choice((1, 10, 100))
        start = told.reserve(size)
        body = _request(kind, start, size, rng)
        try:
            if over_grpc:
                acknowledged = call(body, timeout=20) == b""
            else:
                connection = connection or http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=20)
                connection.request("POST", f"/v1/{kind}", body, {"Content-Type": "application/x-protobuf"})
                answer = connection.getresponse()
                acknowledged = answer.status == 200
                answer.read()
        except (grpc.RpcError, OSError, http.client.HTTPException):
            acknowledged = False
            if connection is not None:
                connection.close()
                connection = None
        told.sent(kind, start, size, acknowledged)
        if not acknowledged:
            time.sleep(0.02)
        else:
            time.sleep(rng.uniform(0.0, 0.02))
    channel.close()
    if connection is not None:
        connection.close()


def _put_aside(directory: Path, told: Told, stop: threading.Event, rng: random.Random) -> None:
    """Dead letters, as a loader leaves them behind; each must be in the tables in the end, once."""
    folder = DeadLetters(directory / "otlp" / "deadletter")
    while not stop.wait(rng.uniform(0.5, 5.0)):  # an insert has a fixed cost
        kind: Signal = rng.choice(("traces", "logs"))
        size = rng.choice((1, 50))
        start = told.reserve(size)
        body, token = _request(kind, start, size, rng), f"letter:{start}"
        folder.add(body, signal=kind, reason="torture", token=token, items=size, received_ns=time.time_ns())
        told.sent(kind, start, size, acknowledged=True)


def _request(kind: str, start: int, size: int, rng: random.Random) -> bytes:
    """Spans (or log records, which carry their id as a span id) numbered from `start`."""
    now, trace = time.time_ns(), os.urandom(16)
    nested = AnyValue(array_value=ArrayValue(values=[AnyValue(string_value="stop")]))
    pair = KeyValue(key="reasons", value=nested if rng.random() < 0.3 else AnyValue(string_value="x" * 100))
    ids = [number.to_bytes(8, "big") for number in range(start, start + size)]
    if kind == "logs":
        logs = ExportLogsServiceRequest()
        records = logs.resource_logs.add().scope_logs.add().log_records
        for each in ids:
            records.add(time_unix_nano=now, trace_id=trace, span_id=each, attributes=[pair])
        return logs.SerializeToString()
    traces = ExportTraceServiceRequest()
    spans = traces.resource_spans.add().scope_spans.add().spans
    call = KeyValue(key="gen_ai.operation.name", value=AnyValue(string_value="chat"))
    model = KeyValue(key="gen_ai.request.model", value=AnyValue(string_value="gpt-4.1-mini"))
    for each in ids:
        spans.add(
            name="s",
            trace_id=trace,
            span_id=each,
            start_time_unix_nano=now,
            end_time_unix_nano=now + 1000,
            attributes=[call, model, pair],
        )
    return traces.SerializeToString()


def _verdict(kills: int, told: Told, directory: Path) -> Verdict:
    store = open_store(f"chdb://{directory / 'store'}")
    lost = doubled = torn = strangers = 0
    try:
        for kind, tables in TABLES.items():
            for table in tables:
                name = SPAN_ID.get(table, "SpanId")
                column = store.arrow(f"SELECT reinterpretAsUInt64(reverse(unhex({name}))) AS id FROM {table}")["id"]
                seen = np.bincount(column.to_numpy().astype(np.int64), minlength=told.next_id)
                expected = np.zeros(len(seen), dtype=bool)
                for start, end, acknowledged in told.ranges[kind]:
                    part = seen[start:end]
                    expected[start:end] = True
                    doubled += int((part > 1).sum())
                    if acknowledged:
                        lost += int((part == 0).sum())
                    elif part.any() and not part.all():
                        torn += 1
                strangers += int((seen[~expected] > 0).sum())
    finally:
        store.close()
    return Verdict(kills, told.acknowledged(), lost, doubled, torn, strangers)


def _free_ports(number: int) -> Iterable[int]:
    probes = [socket.socket() for _ in range(number)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=int(os.environ.get("KILLS", "100")))
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--keep", action="store_true", help="leave the directory, to look at")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="maslens-torture-"))
    print(f"seed {options.seed}, in {directory}", flush=True)

    def say(text: str) -> None:
        print(f"\r{text}", end="", file=sys.stderr, flush=True)

    verdict = torture(options.kills, seed=options.seed, directory=directory, say=say)
    print(f"\n{verdict}", flush=True)
    if not options.keep and verdict.right:
        shutil.rmtree(directory, ignore_errors=True)
    return 0 if verdict.right else 1


if __name__ == "__main__":
    sys.exit(main())
