"""Receivers on free ports, with the real store or one in memory behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from maslens.collector_processor import Receiver, ReceiverConfig
from maslens.storage import Store, open_store

from tests.collector_processor.stores import MemoryStore
from tests.contract.otlp.endpoint import Endpoint


class Running:
    """A started receiver, seen from outside and inside."""

    def __init__(self, receiver: Receiver, store: Any) -> None:
        self.receiver = receiver
        self.store = store
        self.endpoint = Endpoint(f"http://127.0.0.1:{receiver.http_port}", f"127.0.0.1:{receiver.grpc_port}", ours=True)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start a receiver with these settings; the same directory again unless another is given."""
    started: list[Receiver] = []

    def start(store: Any = None, **settings: Any) -> Running:
        behind = MemoryStore() if store is None else store
        ports = {"grpc_port": 0, "http_port": 0}
        receiver = Receiver(ReceiverConfig(**{"directory": tmp_path / "data", **ports, **settings}), behind)
        receiver.start()
        started.append(receiver)
        return Running(receiver, behind)

    yield start
    for receiver in started:
        receiver.stop()


@pytest.fixture
def chdb_store(tmp_path: Path) -> Iterator[Store]:
    """The embedded engine with our tables in it."""
    store = open_store(f"chdb://{tmp_path / 'store'}")
    store.migrate()
    yield store
    store.close()
