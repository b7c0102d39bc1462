"""Where a read command gets its answer: a data directory that nobody owns, a server, or a running maslens."""

from __future__ import annotations

import fcntl
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar
from urllib.parse import urlencode

import pyarrow as pa
from maslens.cli.faults import BadInput, NotThere

if TYPE_CHECKING:
    from maslens.cli.settings import Settings
    from maslens.storage import Store

T = TypeVar("T")
ROWS_IN_AN_ARRAY = {"output_format_json_array_of_rows": 1, "output_format_json_quote_64bit_integers": 0}
LOCK_FILE = "maslens.lock"  # held by whoever has the embedded store open (maslens.storage.owner)
OWNER_FILE = "maslens-up.json"


class Source(Protocol):
    """Answers read-only SQL. `params` are ClickHouse's `{name:Type}`."""

    def arrow(self, sql: str, params: Mapping[str, object]) -> pa.Table: ...

    def raw(self, sql: str, form: str) -> tuple[str, bytes]:
        """The answer in one of ClickHouse's formats: the one the statement names, or else `form`."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """What a running `maslens up` writes into its data directory, so that others find it."""

    pid: int
    url: str
    clickhouse: str
    otlp_grpc: str
    otlp_http: str

    def write(self, directory: Path) -> None:
        pending = directory / (OWNER_FILE + ".new")
        pending.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")
        pending.replace(directory / OWNER_FILE)

    @staticmethod
    def clear(directory: Path) -> None:
        (directory / OWNER_FILE).unlink(missing_ok=True)

    @staticmethod
    def of(directory: Path) -> Owner | None:
        """The living owner of `directory`; a file left behind by a killed one does not count."""
        try:
            owner = Owner(**json.loads((directory / OWNER_FILE).read_text(encoding="utf-8")))
            with (directory / LOCK_FILE).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # given only if nobody has the directory
        except BlockingIOError:
            return owner
        except (OSError, ValueError, TypeError):
            return None
        return None


class StoreSource:
    """A store opened by this process; every statement runs outside the main thread, so that Ctrl-C is heard."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def arrow(self, sql: str, params: Mapping[str, object]) -> pa.Table:
        return self._ask(lambda: self.store.arrow(sql, params))

    def raw(self, sql: str, form: str) -> tuple[str, bytes]:
        from maslens.storage.guard import only_reads, parse

        def ask() -> tuple[str, bytes]:
            statement = parse(self.store, sql)
            only_reads(statement, {})
            named = statement.form or form
            return named, self.store.query_raw(sql, fmt=named, settings=ROWS_IN_AN_ARRAY)

        return self._ask(ask)

    def close(self) -> None:
        in_worker(self.store.close)

    def _ask(self, question: Callable[[], T]) -> T:
        from maslens.storage import StoreBusy, Unavailable
        from maslens.storage.errors import StoreError

        try:
            return in_worker(question)
        except (Unavailable, StoreBusy) as reason:
            raise NotThere(str(reason)) from None
        except StoreError as reason:
            raise BadInput(one_line(str(reason))) from None


class UrlSource:
    """A running maslens, asked over the ClickHouse interface that its page address carries as `/clickhouse`."""

    def __init__(self, url: str, *, token: str | None = None, timeout_s: float = 120.0) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._timeout_s = timeout_s

    def arrow(self, sql: str, params: Mapping[str, object]) -> pa.Table:
        _, body = self._post(sql, "ArrowStream", params)
        return pa.ipc.open_stream(body).read_all() if body else pa.table({})

    def raw(self, sql: str, form: str) -> tuple[str, bytes]:
        return self._post(sql, form, {})

    def close(self) -> None:
        """Nothing stays open between two questions."""

    def _post(self, sql: str, form: str, params: Mapping[str, object]) -> tuple[str, bytes]:
        from maslens.storage.params import texts

        named = {f"param_{name}": text for name, text in texts(params).items()}
        arguments = {"default_format": form, **ROWS_IN_AN_ARRAY, **named}
        address = f"{self._url}/clickhouse/?{urlencode(arguments)}"
        request = urllib.request.Request(address, data=sql.encode(), method="POST")  # noqa: S310 http(s) by open_source
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_s) as answer:  # noqa: S310 as above
                return answer.headers.get("X-ClickHouse-Format", form), bytes(answer.read())
        except urllib.error.HTTPError as refused:
            raise self._fault(refused.code, refused.read().decode("utf-8", "replace")) from None
        except (OSError, ValueError) as reason:
            why = getattr(reason, "reason", reason)
            raise NotThere(f"no maslens answers at {self._url} ({why}); is `maslens up` running?") from None

    def _fault(self, status: int, text: str) -> Exception:
        if status in (401, 403):
            return BadInput(f"{self._url} asks for another token; set MASLENS_TOKEN or --token-file")
        if status == 404 and "Code:" not in text:
            return BadInput(f"{self._url} is no maslens page address (default http://127.0.0.1:8088)")
        return NotThere(one_line(text)) if status in (429, 502, 503, 504) else BadInput(one_line(text))


def open_source(settings: Settings, *, url: str | None = None) -> Source:
    """`url` if given; else the owner of the data directory, if it has a living one; else the store itself."""
    if url is not None:
        if not url.startswith(("http://", "https://")):
            raise BadInput(f"--url must start with http:// or https://, got {url!r}")
        return UrlSource(url, token=settings.bearer_token())
    directory = settings.data_dir
    if directory is not None:
        owner = Owner.of(directory)
        if owner is not None:
            return UrlSource(owner.url, token=settings.bearer_token())
        check_data_dir(directory)
    return StoreSource(open_own(settings))


def check_data_dir(directory: Path) -> None:
    """Raise unless `directory` is one of ours: a read must not make a new one, and none inside another's."""
    if not directory.exists():
        raise NotThere(
            f"no data at {directory}: start `maslens up`, or name another place with --data DIR or --url URL"
        )
    if not directory.is_dir():
        raise BadInput(f"--data needs a directory, and {directory} is a file")
    if any(directory.iterdir()) and not (directory / LOCK_FILE).exists():
        raise BadInput(f"{directory} is no data directory of maslens")


def open_own(settings: Settings) -> Store:
    """The store, opened by this process and brought up to date; faults in the words of the command line."""
    from maslens.storage import StoreBusy, StoreConfig, StoreError, Unavailable, open_store

    def opened() -> Store:
        store = open_store(settings.store, settings=StoreConfig(fsync=settings.survives_power_loss))
        try:
            store.migrate()
        except BaseException:
            store.close()
            raise
        return store

    try:
        return in_worker(opened)
    except (StoreBusy, Unavailable) as reason:
        raise NotThere(one_line(str(reason))) from None
    except StoreError as reason:
        raise NotThere(f"{settings.store} cannot be brought up to date: {one_line(str(reason))}") from None
    except OSError as reason:
        raise NotThere(f"{settings.store} cannot be opened: {reason.strerror or reason}") from None


def in_worker(work: Callable[[], T]) -> T:
    """Run `work` in a daemon thread and wait: a query on the main thread would hold back Ctrl-C until it ends."""
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as reason:
            failed.append(reason)

    thread = threading.Thread(target=run, daemon=True, name="maslens-query")
    thread.start()
    while thread.is_alive():
        thread.join(0.2)
    if failed:
        raise failed[0]
    return done[0]


def one_line(text: str) -> str:
    """An engine's message without its stack and line breaks."""
    return " ".join(text.split())[:600]
