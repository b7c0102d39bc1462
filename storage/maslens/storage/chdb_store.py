"""The store in this process: chDB, which is ClickHouse as a library."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from maslens.storage import owner
from maslens.storage.arrow import plain_rows, stream_bytes, table
from maslens.storage.config import StoreConfig
from maslens.storage.deduplication_logs import forget_absent
from maslens.storage.durability import leave_tables_to_the_system, sync_tables
from maslens.storage.errors import QueryError, Unavailable, insert_failure
from maslens.storage.ingest import FORMAT, INSERT_SETTINGS, columns, embedded_schema_settings, inbox, insert_batch
from maslens.storage.merges import let_merges_yield
from maslens.storage.migrate import migrate
from maslens.storage.params import identifier, literal, setting, texts
from maslens.storage.store import Params, Signal

DATABASE = "maslens"  # Atomic: `default` is an overlay over the file system in the embedded engine


class ChdbStore:
    """A `Store` on a directory. Every statement has a session of its own; they run in parallel."""

    def __init__(self, directory: Path, config: StoreConfig) -> None:
        self.directory = directory.expanduser().absolute()
        self.config = config
        if "?" in str(self.directory):
            raise ValueError(f"the embedded engine takes no ? in the name of a directory, got {self.directory}")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            owner.acquire(self.directory)
        except OSError as error:
            raise Unavailable(f"cannot use {self.directory} as a data directory: {error}") from error
        self._places = threading.BoundedSemaphore(config.handles)
        self._closed = False
        try:
            if owner.is_first(self.directory):
                forget_absent(self.directory)
            self._keeper = self._connect()  # the engine lives as long as a handle does
            _query(self._keeper, f"CREATE DATABASE IF NOT EXISTS {DATABASE} ENGINE = Atomic", "Null")
        except BaseException:
            owner.release(self.directory)
            raise

    def migrate(self, *, on_progress: Callable[[str], None] | None = None) -> list[str]:
        done = migrate(self, on_progress=on_progress)
        if self.config.fsync:
            sync_tables(self)
            os.sync()  # the tables themselves, which may be new
        else:
            leave_tables_to_the_system(self)
        let_merges_yield()  # the engine has such threads once it has tables
        return done

    def arrow(self, sql: str, params: Params | None = None, settings: Params | None = None) -> pa.Table:
        with self._session(self._limits | dict(settings or {})) as handle:
            return table(_query(handle, sql, "ArrowStream", params))

    def rows(self, sql: str, params: Params | None = None) -> list[dict[str, Any]]:
        return plain_rows(self.arrow(sql, params))

    def command(self, sql: str, params: Params | None = None) -> None:
        with self._session() as handle:
            _query(handle, sql, "Null", params)

    def insert_otlp(self, signal: Signal, body: bytes | Sequence[bytes], *, token: str) -> None:
        into, settings = inbox(signal), {**embedded_schema_settings(signal), **INSERT_SETTINGS}

        def send(chunks: list[bytes], part: str) -> None:
            self._insert(into, FORMAT, chunks, {**settings, "insert_deduplication_token": part})

        insert_batch(body, token, send)

    def insert_arrow(self, table: str, data: pa.Table, *, token: str) -> None:
        if data.num_rows == 0:
            return
        settings = {**INSERT_SETTINGS, "insert_deduplication_token": token}
        self._insert(f"{table} {columns(data)}", "ArrowStream", [stream_bytes(data)], settings)

    def insert_raw(self, into: str, *, fmt: str, data: bytes, settings: Params | None = None) -> None:
        self._insert(into, fmt, [data], settings or {})

    def query_raw(
        self, sql: str, *, fmt: str, params: Params | None = None, settings: Params | None = None, readonly: bool = True
    ) -> bytes:
        own = self._limits | dict(settings or {}) | ({"readonly": 1} if readonly else {})
        with self._session(own) as handle:
            return _query(handle, sql, fmt, params)

    def query_stream(
        self, sql: str, *, fmt: str, params: Params | None = None, settings: Params | None = None, readonly: bool = True
    ) -> Generator[bytes, None, None]:
        own = self._limits | dict(settings or {}) | ({"readonly": 1} if readonly else {})
        with self._session(own) as handle, _streaming(handle, sql, fmt, params) as pieces:
            yield from pieces

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for _ in range(self.config.handles):  # every running statement has given its place back
            self._places.acquire()
        self._keeper.close()
        owner.release(self.directory)
        for _ in range(self.config.handles):  # whoever waited for one learns that it is over
            self._places.release()

    def _insert(self, into: str, fmt: str, chunks: Sequence[bytes], settings: Params) -> None:
        """Through a file that never touches a disk: chDB's own streaming insert reports success when a view fails."""
        with self._session(settings) as handle, _as_file(chunks, self.directory) as path:
            try:
                _query(
                    handle, f"INSERT INTO {into} FROM INFILE {literal(path)} COMPRESSION 'none' FORMAT {fmt}", "Null"
                )
            except QueryError as error:
                raise insert_failure(str(error)) from error

    @contextmanager
    def _session(self, settings: Params | None = None) -> Iterator[Any]:
        """A handle of its own for one statement (a millisecond), so that no setting or table outlives the call."""
        with self._places:
            if self._closed:
                raise Unavailable(f"the store on {self.directory} is closed")
            handle = self._connect()
            try:
                wanted = self._defaults | dict(settings or {})
                _query(handle, f"USE {identifier(str(wanted.pop('database', DATABASE)))}", "Null")
                _query(handle, f"SET {_assignments(wanted)}", "Null")
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
            return chdb.connect(where)
        except RuntimeError as error:
            raise Unavailable(f"cannot open {self.directory}: {error}") from error

    @property
    def _defaults(self) -> dict[str, object]:
        memory = self.config.max_query_memory
        return {
            "session_timezone": "UTC",
            "max_memory_usage": memory,
            "max_bytes_before_external_group_by": memory // 2,
            "max_bytes_before_external_sort": memory // 2,
            "output_format_arrow_compression_method": "none",
            **({"max_threads": self.config.max_threads} if self.config.max_threads else {}),
        }

    @property
    def _limits(self) -> dict[str, object]:
        return {"max_execution_time": self.config.query_seconds}


@contextmanager
def _as_file(chunks: Sequence[bytes], directory: Path) -> Iterator[str]:
    """A path to read `chunks` from: memory where the system has such files, else a file beside the data."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("maslens-insert"), "wb") as file:
            file.writelines(chunks)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
        return
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        file.writelines(chunks)
        file.flush()
        yield file.name


def _query(handle: Any, sql: str, fmt: str, params: Params | None = None) -> bytes:
    try:
        return bytes(handle.query(sql, fmt, params=texts(params)).bytes())
    except (RuntimeError, _chdb_error()) as error:
        raise QueryError(str(error)) from error


@contextmanager
def _streaming(handle: Any, sql: str, fmt: str, params: Params | None) -> Iterator[Iterator[bytes]]:
    def pieces(stream: Any) -> Iterator[bytes]:
        while (piece := stream.fetch()) is not None and piece.size():
            yield bytes(piece.bytes())

    try:
        stream = handle.send_query(sql, fmt, params=texts(params))
        try:
            yield pieces(stream)
        finally:
            stream.close()  # ends the query where it stands
    except (RuntimeError, _chdb_error()) as error:
        raise QueryError(str(error).removeprefix("Streaming query failed: ")) from error


def _chdb_error() -> type[Exception]:
    from chdb import ChdbError

    return ChdbError  # type: ignore[no-any-return]  # chdb carries no types


def _assignments(settings: Params) -> str:
    return ", ".join(f"{name} = {setting(value)}" for name, value in settings.items())
