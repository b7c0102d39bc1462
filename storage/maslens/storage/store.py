"""The way to the tables: one DSN, one interface, chDB in this process or a ClickHouse server behind it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

from maslens.storage.config import StoreConfig

if TYPE_CHECKING:
    import pyarrow as pa

Signal: TypeAlias = Literal["traces", "logs", "metrics"]
Params: TypeAlias = Mapping[str, object]


class Store(Protocol):
    """ClickHouse with our tables in it. Thread-safe; every call blocks, so call from worker threads.

    `params` fill `{name:Type}` in the text. Times go in and come out in UTC. Reads and statements raise QueryError
    when the engine refuses them and Unavailable when it cannot be reached.
    """

    def migrate(self, *, on_progress: Callable[[str], None] | None = None) -> list[str]:
        """Bring the schema up to date; return the names of what was applied."""

    def arrow(self, sql: str, params: Params | None = None, settings: Params | None = None) -> pa.Table:
        """The result of a query as an Arrow table. LowCardinality comes as plain text, DateTime64 as `timestamp`, but
        DateTime as seconds since 1970 and an Enum as its number: the engine has it so.
        """

    def rows(self, sql: str, params: Params | None = None) -> list[dict[str, Any]]:
        """The result as dictionaries, for small results: times are `datetime`s in UTC, cut to the microsecond."""

    def command(self, sql: str, params: Params | None = None) -> None:
        """Run a statement that answers nothing."""

    def insert_otlp(self, signal: Signal, body: bytes | Sequence[bytes], *, token: str) -> None:
        """Insert serialized Export…ServiceRequests; several, joined end to end, are one request.

        Returns once every table holds the rows. The same token with the same bytes stores them once, however often it
        is sent and whatever failed in between; a token must never be used for other bytes. Raises Unavailable (send
        again, same token) or Rejected (the bytes are wrong).
        """

    def insert_arrow(self, table: str, data: pa.Table, *, token: str) -> None:
        """Insert rows, matching columns by name; token and errors as for `insert_otlp`."""

    def query_raw(
        self, sql: str, *, fmt: str, params: Params | None = None, settings: Params | None = None, readonly: bool = True
    ) -> bytes:
        """The result in any of ClickHouse's formats, in a session of its own; `readonly` forbids every change.

        The setting `database` names another one than ours for the session.
        """

    def close(self) -> None:
        """Let go of the store; waits for statements that are running."""


@runtime_checkable
class InsertsRaw(Protocol):
    """What a writable HTTP endpoint needs besides: an INSERT whose data came apart from its text."""

    def insert_raw(self, into: str, *, fmt: str, data: bytes, settings: Params | None = None) -> None:
        """Insert `data` into a table, optionally followed by its columns. Raises as `insert_otlp` does."""


@runtime_checkable
class Streams(Protocol):
    """What an HTTP endpoint needs to send an answer while it is found."""

    def query_stream(
        self, sql: str, *, fmt: str, params: Params | None = None, settings: Params | None = None, readonly: bool = True
    ) -> Generator[bytes, None, None]:
        """The result of a SELECT, a few megabytes at a time. Nothing is asked before the first piece is taken; taking
        one raises what `query_raw` raises. To be closed: it holds one of the store's places until then.

        Each piece is a whole document of the format, with its header; `streaming` has what can be joined.
        """


def open_store(dsn: str, *, settings: StoreConfig | None = None) -> Store:
    """Open `chdb://directory` (made if absent) or `http(s)://user:password@host:port/database`.

    Raises StoreBusy when another process owns the directory, Unavailable when the server does not answer.
    """
    config = settings or StoreConfig()
    if dsn.startswith("chdb://"):
        from maslens.storage.chdb_store import ChdbStore

        return ChdbStore(Path(dsn.removeprefix("chdb://")), config)
    if dsn.startswith(("http://", "https://")):
        from maslens.storage.server_store import ServerStore

        return ServerStore(dsn, config)
    raise ValueError(f"a store is chdb://DIRECTORY or http(s)://user:password@host:port/database, got {dsn!r}")
