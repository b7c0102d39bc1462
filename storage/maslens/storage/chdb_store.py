"""The store in this process: chDB, which is ClickHouse as a library."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
from maslens.storage import owner
from maslens.storage.arrow import plain_rows, stream_bytes, table
from maslens.storage.config import StoreConfig
from maslens.storage.errors import QueryError, StoreBusy, Unavailable, insert_failure
from maslens.storage.ingest import FORMAT, INSERT_SETTINGS, columns, embedded_schema_settings, framed, inbox
from maslens.storage.migrate import migrate
from maslens.storage.params import literal, setting, texts
from maslens.storage.store import Params, Signal

DATABASE = "maslens"  # Atomic: `default` is an overlay over the file system in the embedded engine


class ChdbStore:
    """A `Store` on a directory. Handles are independent sessions on one engine; each runs one statement at a time."""

    def __init__(self, directory: Path, config: StoreConfig) -> None:
        self.directory = directory.expanduser().absolute()
        self.config = config
        self.directory.mkdir(parents=True, exist_ok=True)
        owner.acquire(self.directory)
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._places = threading.BoundedSemaphore(config.handles)
        self._closed = False
        try:
            self._keeper = self._connect()  # the engine lives as long as a handle does
        except BaseException:
            owner.release(self.directory)
            raise

    def migrate(self, *, on_progress: Callable[[str], None] | None = None) -> list[str]:
        return migrate(self, on_progress=on_progress)

    def arrow(self, sql: str, params: Params | None = None, settings: Params | None = None) -> pa.Table:
        with self._handle(settings) as handle:
            return table(_query(handle, sql, "ArrowStream", params))

    def rows(self, sql: str, params: Params | None = None) -> list[dict[str, Any]]:
        return plain_rows(self.arrow(sql, params))

    def command(self, sql: str, params: Params | None = None) -> None:
        with self._handle() as handle:
            _query(handle, sql, "Null", params)

    def insert_otlp(self, signal: Signal, body: bytes | Sequence[bytes], *, token: str) -> None:
        settings = {**embedded_schema_settings(signal), **INSERT_SETTINGS, "insert_deduplication_token": token}
        self._insert(f"INSERT INTO {inbox(signal)} {_clause(settings)}", FORMAT, framed(body))

    def insert_arrow(self, table: str, data: pa.Table, *, token: str) -> None:
        if data.num_rows == 0:
            return
        settings = {**INSERT_SETTINGS, "insert_deduplication_token": token}
        self._insert(f"INSERT INTO {table} {columns(data)} {_clause(settings)}", "ArrowStream", [stream_bytes(data)])

    def query_raw(
        self, sql: str, *, fmt: str, params: Params | None = None, settings: Params | None = None, readonly: bool = True
    ) -> bytes:
        with self._handle({**(settings or {}), "readonly": 1} if readonly else (settings or {})) as handle:
            return _query(handle, sql, fmt, params)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for _ in range(self.config.handles):  # every running statement has given its place back
            self._places.acquire()
        with suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()
        self._keeper.close()
        owner.release(self.directory)

    def _insert(self, sql: str, fmt: str, chunks: Sequence[bytes]) -> None:
        with self._handle() as handle:
            try:
                with handle.send_insert(sql, fmt) as insert:
                    for chunk in chunks:
                        insert.append(chunk)
                    insert.finish()
            except (RuntimeError, _chdb_error()) as error:
                raise insert_failure(str(error)) from error

    @contextmanager
    def _handle(self, settings: Params | None = None) -> Iterator[Any]:
        """A handle for one statement: pooled, or with `settings` a fresh one (half a millisecond) that keeps no trace."""
        with self._places:
            if self._closed:
                raise Unavailable(f"the store on {self.directory} is closed")
            if settings is None:
                try:
                    handle = self._idle.get_nowait()
                except queue.Empty:
                    handle = self._connect()
                try:
                    yield handle
                finally:
                    self._idle.put(handle)
                return
            handle = self._connect()
            try:
                for name, value in sorted(settings.items(), key=lambda item: item[0] == "readonly"):
                    _query(handle, f"SET {name} = {setting(value)}", "Null", None)
                yield handle
            finally:
                handle.close()

    def _connect(self) -> Any:
        import chdb  # half a second and 150 MB: only who opens a store pays

        options = {
            "max_server_memory_usage": self.config.max_memory,
            "mark_cache_size": self.config.mark_cache,
            "index_mark_cache_size": self.config.index_mark_cache,
        }
        where = f"{self.directory}?" + "&".join(f"{name}={value}" for name, value in options.items())
        try:
            handle = chdb.connect(where)
        except RuntimeError as error:
            if "Cannot lock file" in str(error):
                raise StoreBusy(owner.busy_message(self.directory)) from error
            raise Unavailable(f"cannot open {self.directory}: {error}") from error
        _query(handle, f"CREATE DATABASE IF NOT EXISTS {DATABASE} ENGINE = Atomic", "Null", None)
        _query(handle, f"USE {DATABASE}", "Null", None)
        _query(
            handle,
            "SET " + ", ".join(f"{name} = {setting(value)}" for name, value in self._session().items()),
            "Null",
            None,
        )
        return handle

    def _session(self) -> dict[str, object]:
        memory = self.config.max_query_memory
        return {
            "session_timezone": "UTC",
            "max_memory_usage": memory,
            "max_bytes_before_external_group_by": memory // 2,
            "max_bytes_before_external_sort": memory // 2,
            "max_execution_time": self.config.query_seconds,
            "output_format_arrow_compression_method": "none",
            **({"max_threads": self.config.max_threads} if self.config.max_threads else {}),
        }


def _query(handle: Any, sql: str, fmt: str, params: Params | None) -> bytes:
    try:
        return bytes(handle.query(sql, fmt, params=texts(params)).bytes())
    except (RuntimeError, _chdb_error()) as error:
        raise QueryError(str(error)) from error


def _chdb_error() -> type[Exception]:
    from chdb import ChdbError

    return ChdbError  # type: ignore[no-any-return]  # chdb carries no types


def _clause(settings: Mapping[str, str]) -> str:
    return "SETTINGS " + ", ".join(f"{name} = {literal(value)}" for name, value in settings.items())
