"""Large answers are sent while they are found: the same bytes, little memory, nothing left behind when they break."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import clickhouse_connect
import httpx
import pytest
import zstandard
from maslens.storage import Store, native_blocks, open_store
from maslens.storage.chdb_store import ChdbStore
from maslens.storage.clickhouse_http import EndpointConfig, clickhouse_app
from maslens.storage.streaming import HEAD_BYTES

from tests.bench.processes import resident_bytes
from tests.storage.endpoint import listening, served

ROWS = (
    "SELECT number AS n, concat('it''s \"', toString(number), '\"\\n\t') AS `a \"quoted\"\nname` FROM numbers(200000)"
)
MANY = "SELECT number, toString(cityHash64(number)) AS text FROM numbers(100000000)"
FORMATS = (
    "TabSeparated", "TabSeparatedWithNames", "TabSeparatedWithNamesAndTypes", "TSVRaw", "CSV", "CSVWithNames",
    "JSONEachRow", "JSONCompactEachRow", "JSONCompactEachRowWithNames", "JSONCompactEachRowWithNamesAndTypes",
    "RowBinary", "RowBinaryWithNames", "RowBinaryWithNamesAndTypes", "Native",
)  # fmt: skip
WHOLE = ("JSON", "JSONCompact", "XML", "Values", "Markdown", "ArrowStream")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChdbStore]:
    opened = open_store(f"chdb://{tmp_path_factory.mktemp('streaming')}")
    assert isinstance(opened, ChdbStore)
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def url(store: Store) -> Iterator[str]:
    with listening(clickhouse_app(store, config=EndpointConfig(queries_at_once=2))) as port:
        yield f"http://127.0.0.1:{port}"


def free_places(store: ChdbStore) -> int:
    taken = 0
    while store._places.acquire(blocking=False):
        taken += 1
    for _ in range(taken):
        store._places.release()
    return taken


def settled(store: ChdbStore) -> bool:
    """Every place is given back, within a while."""
    until = time.monotonic() + 20
    while free_places(store) < store.config.handles and time.monotonic() < until:
        time.sleep(0.05)
    return free_places(store) == store.config.handles


@pytest.mark.parametrize("form", FORMATS)
def test_a_streamed_answer_has_the_bytes_of_a_whole_one(store: ChdbStore, url: str, form: str) -> None:
    whole = store.query_raw(ROWS, fmt=form)
    assert len(whole) > 2 * HEAD_BYTES
    for query in (ROWS, f"{ROWS} FORMAT {form}"):
        answer = httpx.post(url, params={"default_format": form}, content=query, timeout=60)
        assert answer.headers["Transfer-Encoding"] == "chunked"
        assert answer.content == whole


@pytest.mark.parametrize("form", WHOLE)
def test_a_format_with_an_end_is_made_whole(store: ChdbStore, url: str, form: str) -> None:
    sql = "SELECT number AS n FROM numbers(200000)"
    answer = httpx.post(url, content=f"{sql} FORMAT {form}", timeout=60)
    assert "Content-Length" in answer.headers
    if form not in ("JSON", "JSONCompact", "XML"):  # those end with how long it took
        assert answer.content == store.query_raw(sql, fmt=form)


@pytest.mark.parametrize(
    ("query", "params"),
    [
        pytest.param("SELECT number AS a, count() FROM numbers(200000) GROUP BY a WITH TOTALS", {}, id="totals"),
        pytest.param("SELECT number AS a FROM numbers(200000)", {"extremes": "1"}, id="extremes"),
    ],
)  # fmt: skip
def test_what_follows_the_rows_is_not_lost(url: str, query: str, params: dict[str, str]) -> None:
    body = httpx.post(url, params=params, content=query, timeout=60).text
    assert "\n\n" in body[-60:]


def test_an_array_of_rows_ends(url: str) -> None:
    answer = httpx.post(
        url, params={"output_format_json_array_of_rows": "1"}, timeout=60,
        content="SELECT number AS a FROM numbers(200000) FORMAT JSONEachRow",
    )  # fmt: skip
    assert len(answer.json()) == 200_000


@pytest.mark.parametrize("form", [form for form in FORMATS if "Names" in form])
def test_no_rows_have_their_names_all_the_same(store: ChdbStore, url: str, form: str) -> None:
    query = "SELECT 1 AS a, 'x' AS b WHERE 0"
    assert httpx.post(url, content=f"{query} FORMAT {form}").content == store.query_raw(query, fmt=form) != b""


def test_compressed_while_it_is_found(store: ChdbStore, url: str) -> None:
    whole = store.query_raw(ROWS, fmt="CSV")
    query = {"query": ROWS, "default_format": "CSV", "enable_http_compression": "1"}
    codings = {
        "gzip": gzip.decompress,
        "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
    }
    for coding, decode in codings.items():
        with httpx.stream("GET", url, params=query, headers={"Accept-Encoding": coding}, timeout=60) as answer:
            assert answer.headers["Content-Encoding"] == coding
            assert decode(b"".join(answer.iter_raw())) == whole
    own = httpx.get(url, params={**query, "enable_http_compression": "0", "compress": "1"}, timeout=60)
    assert native_blocks.decompressed(own.content, 1 << 26) == whole


def test_an_error_before_the_first_bytes_is_an_ordinary_refusal(url: str, store: ChdbStore) -> None:
    answer = httpx.post(url, content="SELECT throwIf(number = 3, 'aha') FROM numbers(10)")
    assert answer.status_code == 400
    assert answer.text.startswith("Code: 395. DB::Exception: ")
    assert settled(store)


def test_an_error_in_the_middle_is_said_and_breaks_the_answer(url: str, store: ChdbStore) -> None:
    query = "SELECT number, throwIf(number = 3000000, 'aha') FROM numbers(4000000)"
    got, small = b"", {"max_block_size": "65536"}
    with (
        pytest.raises(httpx.RemoteProtocolError),
        httpx.stream("POST", url, params=small, content=query, timeout=60) as answer,
    ):
        assert answer.status_code == 200
        for piece in answer.iter_raw():
            got = (got + piece)[-5000:]
    assert b"Code: 395. DB::Exception: aha" in got
    assert settled(store)
    assert httpx.post(url, content="SELECT 1").text == "1\n"


def test_a_client_that_goes_away_ends_its_query(url: str, store: ChdbStore) -> None:
    for _ in range(6):  # more than may ask at once
        with httpx.stream("POST", url, content=MANY, timeout=60) as answer:
            next(answer.iter_raw())
    assert settled(store)
    assert httpx.post(url, content="SELECT 1", timeout=60).text == "1\n"


def test_a_client_that_takes_nothing_is_let_go(store: ChdbStore) -> None:
    config = EndpointConfig(queries_at_once=1, query_seconds=1)
    with (
        listening(clickhouse_app(store, config=config)) as port,
        httpx.stream("POST", f"http://127.0.0.1:{port}", content=MANY, timeout=60),
    ):
        assert httpx.post(f"http://127.0.0.1:{port}", content="SELECT 1", timeout=60).text == "1\n"
    assert settled(store)


def test_several_at_once(url: str, store: ChdbStore) -> None:
    """Five clients, two places: each gets all of its own."""

    def ask(number: int) -> tuple[int, int]:
        query = f"SELECT {number} AS who FROM numbers(400000)"
        rows = httpx.post(url, params={"max_block_size": "20000"}, content=query, timeout=120).text.split()
        return len(rows), rows.count(str(number))

    with ThreadPoolExecutor(5) as pool:
        assert list(pool.map(ask, range(10, 15))) == [(400_000, 400_000)] * 5
    assert settled(store)


def test_rows_are_there_before_the_last_is_found(url: str) -> None:
    """And clickhouse-connect reads them as they come."""
    client = clickhouse_connect.get_client(dsn=f"{url}/default")
    seen = 0
    with client.query_row_block_stream("SELECT number, toString(number) FROM numbers(1000000)") as blocks:
        for block in blocks:
            seen += len(block)
    assert seen == 1_000_000
    client.close()


def test_memory_does_not_grow_with_the_answer(tmp_path: Path) -> None:
    """400 MB, more than would be made whole; the endpoint is another process, so that only its memory counts."""
    with served(tmp_path / "data") as (port, pid):
        url = f"http://127.0.0.1:{port}"
        assert httpx.post(url, content="SELECT number FROM numbers(1000000)", timeout=60).status_code == 200
        before, most, over = resident_bytes(pid), 0, threading.Event()

        def watch() -> None:
            nonlocal most
            while not over.wait(0.05):
                most = max(most, resident_bytes(pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            query = "SELECT repeat('x', 99) FROM numbers(4000000)"
            with httpx.stream("POST", url, content=query, timeout=120) as answer:
                size = sum(len(piece) for piece in answer.iter_raw())
        finally:
            over.set()
            watcher.join()
    assert size == 400_000_000
    assert most - before < 150 * 1024 * 1024


def test_an_answer_that_would_be_whole_is_limited(store: ChdbStore) -> None:
    with listening(clickhouse_app(store, config=EndpointConfig(result_bytes=10_000))) as port:
        url = f"http://127.0.0.1:{port}"
        refused = httpx.post(url, content="SELECT number FROM numbers(100000) FORMAT JSON")
        assert "TOO_MANY_ROWS_OR_BYTES" in refused.text
        assert len(httpx.post(url, content="SELECT number FROM numbers(100000)").content) == 588_890
        asked = httpx.post(url, params={"max_result_bytes": "1000"}, content="SELECT number FROM numbers(100000)")
        assert "TOO_MANY_ROWS_OR_BYTES" in asked.text
