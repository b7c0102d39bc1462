"""The store behind a ClickHouse server's HTTP interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import clickhouse_connect
import clickhouse_connect.common
import pyarrow as pa
from clickhouse_connect.driver.exceptions import ClickHouseError
from clickhouse_connect.driver.httputil import get_pool_manager
from maslens.storage.arrow import plain_rows, stream_bytes, table
from maslens.storage.config import StoreConfig
from maslens.storage.durability import sync_tables
from maslens.storage.errors import QueryError, Unavailable, error_code, insert_failure
from maslens.storage.ingest import FORMAT, INSERT_SETTINGS, columns, inbox, insert_batch, schema_settings
from maslens.storage.migrate import migrate
from maslens.storage.params import plain
from maslens.storage.store import Params, Signal


class ServerStore:
    """A `Store` on a server. One HTTP client for all threads; no sessions, so requests run in parallel."""

    def __init__(self, dsn: str, config: StoreConfig) -> None:
        self.config = config
        url = urlsplit(dsn)
        self.database = unquote(url.path.strip("/")) or "default"
        self._pool = get_pool_manager(maxsize=config.handles, num_pools=1, block=True)
        # Its default, JSON, is for a type of that name; the engine reads a Map parameter as a Map literal only.
        clickhouse_connect.common.set_setting("dict_parameter_format", "map")
        common: dict[str, Any] = {
            "host": url.hostname,
            "port": url.port or (8443 if url.scheme == "https" else 8123),
            "username": unquote(url.username) if url.username else "default",
            "password": unquote(url.password) if url.password else "",
            "interface": url.scheme,
            "pool_mgr": self._pool,
            "connect_timeout": config.connect_seconds,
            "send_receive_timeout": config.query_seconds * 2,
            "autogenerate_session_id": False,
            "compress": False,
            "form_encode_query_params": True,  # thousands of trace ids do not fit into an address line
        }
        try:
            if self.database != "default":
                with clickhouse_connect.get_client(**common) as client:
                    client.command(f"CREATE DATABASE IF NOT EXISTS `{self.database}`")
            self._client = clickhouse_connect.get_client(**common, database=self.database)
        except ClickHouseError as error:
            raise Unavailable(f"no ClickHouse at {url.scheme}://{url.hostname}:{common['port']}: {error}") from error

    def migrate(self, *, on_progress: Callable[[str], None] | None = None) -> list[str]:
        done = migrate(self, on_progress=on_progress)
        if self.config.fsync:
            sync_tables(self)  # never undone here: another process may have asked for it
        return done

    def arrow(self, sql: str, params: Params | None = None, settings: Params | None = None) -> pa.Table:
        return table(self._query(sql, "ArrowStream", params, settings))

    def rows(self, sql: str, params: Params | None = None) -> list[dict[str, Any]]:
        return plain_rows(self.arrow(sql, params))

    def command(self, sql: str, params: Params | None = None) -> None:
        self._query(sql, None, params, None)

    def insert_otlp(self, signal: Signal, body: bytes | Sequence[bytes], *, token: str) -> None:
        into, settings = inbox(signal), {**schema_settings(signal), **INSERT_SETTINGS}

        def send(chunks: list[bytes], part: str) -> None:
            self._insert(into, FORMAT, chunks, {**settings, "insert_deduplication_token": part})

        insert_batch(body, token, send)

    def insert_arrow(self, table: str, data: pa.Table, *, token: str) -> None:
        if data.num_rows:
            settings = {**INSERT_SETTINGS, "insert_deduplication_token": token}
            self._insert(f"{table} {columns(data)}", "ArrowStream", [stream_bytes(data)], settings)

    def insert_raw(self, into: str, *, fmt: str, data: bytes, settings: Params | None = None) -> None:
        self._insert(into, fmt, [data], settings or {})

    def query_raw(
        self, sql: str, *, fmt: str, params: Params | None = None, settings: Params | None = None, readonly: bool = True
    ) -> bytes:
        return self._query(sql, fmt, params, {**(settings or {}), "readonly": 1} if readonly else settings)

    def close(self) -> None:
        self._client.close()
        self._pool.clear()

    def _query(self, sql: str, fmt: str | None, params: Params | None, settings: Params | None) -> bytes:
        try:
            return bytes(self._client.raw_query(sql, plain(params), settings={**_SESSION, **(settings or {})}, fmt=fmt))
        except ClickHouseError as error:
            raise (QueryError if error_code(str(error)) else Unavailable)(str(error)) from error

    def _insert(self, into: str, fmt: str, chunks: Sequence[bytes], settings: Params) -> None:
        # The client sends a request once more by itself when the connection breaks: the token makes that harmless.
        try:
            self._client.raw_insert(into, insert_block=b"".join(chunks), fmt=fmt, settings=dict(settings))
        except ClickHouseError as error:
            raise insert_failure(str(error)) from error


_SESSION = {"session_timezone": "UTC", "output_format_arrow_compression_method": "none"}
