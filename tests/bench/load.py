"""The load generator: ready-made request bodies from a file, over several connections, at full speed or a given rate.

    python -m tests.bench.load FILE http://127.0.0.1:4318/v1/traces --connections 4 [--rate REQUESTS_PER_S]

Prints one JSON object: how many requests were acknowledged, and how often one had to be sent again. Loopback only.
"""

from __future__ import annotations

import argparse
import json
import queue
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import grpc

from tests.bench.engine import read_requests

RETRYABLE = (429, 502, 503, 504)
GIVE_UP_S = 120.0
_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("url")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--content-type", default="application/x-protobuf", help="over HTTP")
    parser.add_argument("--header", action="append", default=[], metavar="NAME=VALUE", help="over HTTP, one more")
    arguments = parser.parse_args()
    bodies: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    for body in read_requests(arguments.file):
        bodies.put(body)
    tally = Tally(rate=arguments.rate)
    over_grpc = urlsplit(arguments.url).scheme == "grpc"
    headers = dict(header.split("=", 1) for header in arguments.header) | {"content-type": arguments.content_type}
    send = _grpc if over_grpc else partial(_http, headers=headers)
    workers = [threading.Thread(target=send, args=(arguments.url, bodies, tally)) for _ in range(arguments.connections)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    json.dump({"acknowledged": tally.acknowledged, "refused": tally.refused, "retries": tally.retries}, sys.stdout)


class Tally:
    """What became of the requests, and when the next one is due."""

    def __init__(self, *, rate: float) -> None:
        self.acknowledged = self.refused = self.retries = 0
        self._lock = threading.Lock()
        self._every = 1 / rate if rate else 0.0
        self._due = time.monotonic()

    def turn(self) -> None:
        """Wait for this request's turn at the given rate."""
        with self._lock:
            self._due = max(self._due + self._every, time.monotonic() - 1) if self._every else 0.0
            pause = self._due - time.monotonic()
        if pause > 0:
            time.sleep(pause)

    def count(self, name: str) -> None:
        with self._lock:
            setattr(self, name, getattr(self, name) + 1)


def _http(url: str, bodies: queue.SimpleQueue[bytes], tally: Tally, *, headers: dict[str, str]) -> None:
    address = urlsplit(url)
    connection = HTTPConnection(address.hostname or "127.0.0.1", address.port, timeout=GIVE_UP_S)
    for body in _waiting(bodies, tally):
        give_up = time.monotonic() + GIVE_UP_S
        while time.monotonic() < give_up:
            try:
                connection.request("POST", address.path, body, headers)
                answer = connection.getresponse()
                answer.read()
                status = answer.status
            except (OSError, HTTPException):
                connection.close()
                status = 503
            if status not in RETRYABLE:
                break
            tally.count("retries")
            time.sleep(0.2)
        tally.count("acknowledged" if status == 200 else "refused")
    connection.close()


def _grpc(url: str, bodies: queue.SimpleQueue[bytes], tally: Tally) -> None:
    options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(urlsplit(url).netloc, options=options) as channel:
        export = channel.unary_unary(_EXPORT)
        for body in _waiting(bodies, tally):
            give_up = time.monotonic() + GIVE_UP_S
            done = False
            while not done and time.monotonic() < give_up:
                try:
                    export(body, timeout=GIVE_UP_S)
                    done = True
                except grpc.RpcError as error:
                    if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
                        break
                    tally.count("retries")
                    time.sleep(0.2)
            tally.count("acknowledged" if done else "refused")


def _waiting(bodies: queue.SimpleQueue[bytes], tally: Tally) -> Iterator[bytes]:
    while True:
        try:
            body = bodies.get_nowait()
        except queue.Empty:
            return
        tally.turn()
        yield body


if __name__ == "__main__":
    main()
