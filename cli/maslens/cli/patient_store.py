"""A store that may not be there yet: receiving goes on into the journal while it is looked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import structlog
from maslens.cli.sources import one_line
from maslens.storage import Signal, Store, StoreError, Unavailable

_log = structlog.get_logger(__name__)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0


class PatientStore:
    """A `Store` that raises Unavailable until `open_` has succeeded; it is tried again with growing pauses."""

    def __init__(self, open_: Callable[[], Store], *, name: str) -> None:
        self._open = open_
        self._name = name
        self._store: Store | None = None
        self._why = "not tried yet"
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._look, name="maslens-store", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        return self._store is not None

    def migrate(self, *, on_progress: Callable[[str], None] | None = None) -> list[str]:
        return self._there().migrate(on_progress=on_progress)

    def arrow(
        self, sql: str, params: Mapping[str, object] | None = None, settings: Mapping[str, object] | None = None
    ) -> pa.Table:
        return self._there().arrow(sql, params, settings)

    def rows(self, sql: str, params: Mapping[str, object] | None = None) -> list[dict[str, Any]]:
        return self._there().rows(sql, params)

    def command(self, sql: str, params: Mapping[str, object] | None = None) -> None:
        self._there().command(sql, params)

    def insert_otlp(self, signal: Signal, body: bytes | Sequence[bytes], *, token: str) -> None:
        self._there().insert_otlp(signal, body, token=token)

    def insert_arrow(self, table: str, data: pa.Table, *, token: str) -> None:
        self._there().insert_arrow(table, data, token=token)

    def query_raw(
        self,
        sql: str,
        *,
        fmt: str,
        params: Mapping[str, object] | None = None,
        settings: Mapping[str, object] | None = None,
        readonly: bool = True,
    ) -> bytes:
        return self._there().query_raw(sql, fmt=fmt, params=params, settings=settings, readonly=readonly)

    def close(self) -> None:
        self._closing.set()
        self._thread.join(timeout=30)
        if self._store is not None:
            self._store.close()

    def _there(self) -> Store:
        if self._store is None:
            raise Unavailable(f"{self._name} is not there yet: {self._why}")
        return self._store

    def _look(self) -> None:
        pause = FIRST_PAUSE_S
        while not self._closing.is_set():
            try:
                store = self._open()
            except StoreError as reason:
                self._why = one_line(str(reason))
                _log.warning("the store is not there; spans wait in the journal", store=self._name, why=self._why)
                self._closing.wait(pause)
                pause = min(LONGEST_PAUSE_S, pause * 2)
                continue
            self._store = store
            _log.info("the store is there", store=self._name)
            return
