"""The process that is killed: the whole way from the sockets to the tables and the facts, and dead letters tried again.

python -m tests.torture.server DIRECTORY GRPC_PORT HTTP_PORT
"""

from __future__ import annotations

import sys
import threading
from datetime import timedelta
from functools import partial
from pathlib import Path

from maslens.analytics.facts import compute
from maslens.analytics.prices import PriceBook
from maslens.analytics.sidecar import Sidecar, SidecarConfig
from maslens.collector_processor import BatchConfig, JournalConfig, LoaderConfig, Receiver, ReceiverConfig
from maslens.storage import open_store


def main(directory: Path, grpc_port: int, http_port: int) -> None:
    """Serve until standard input closes, then load the rest and leave."""
    store = open_store(f"chdb://{directory / 'store'}")
    store.migrate()
    config = ReceiverConfig(
        directory=directory / "otlp",
        grpc_port=grpc_port,
        http_port=http_port,
        journal=JournalConfig(segment_bytes=1 << 20, max_bytes=64 << 20),  # small: many come and go
        loader=LoaderConfig(batch=BatchConfig(busy_wait=timedelta(milliseconds=200))),
    )
    receiver = Receiver(config, store)
    sidecar = Sidecar(store, partial(compute, prices=PriceBook.load(None)), SidecarConfig(interval_s=0.2, idle_s=5.0))
    receiver.start()
    sidecar.start()
    over = threading.Event()
    retrying = threading.Thread(target=_retry, args=(receiver, over))
    retrying.start()
    print("ready", flush=True)
    sys.stdin.read()
    over.set()
    retrying.join()
    receiver.loader.retry_dead_letters()
    receiver.stop(drain=120)
    sidecar.stop()
    sidecar.drain()
    store.close()


def _retry(receiver: Receiver, over: threading.Event) -> None:
    while not over.wait(0.05):
        receiver.loader.retry_dead_letters()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
