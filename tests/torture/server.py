"""The process that is killed: the whole way from the sockets to the tables.

python -m tests.torture.server DIRECTORY GRPC_PORT HTTP_PORT
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

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
    receiver.start()
    print("ready", flush=True)
    sys.stdin.read()
    receiver.stop(drain=120)
    store.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
