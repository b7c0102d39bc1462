"""Our endpoint is ClickHouse as far as its clients can tell, and gives nothing away but the tables."""

# ruff: noqa: E501  Grafana writes long lines

from __future__ import annotations

import base64
import gzip
import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import clickhouse_connect
import httpx
import lz4.frame
import pytest
import zstandard
from clickhouse_connect.driver.exceptions import DatabaseError
from maslens.storage import Rejected, Store, native_blocks, open_store
from maslens.storage.chdb_store import ChdbStore
from maslens.storage.clickhouse_http import EndpointConfig, clickhouse_app

from tests.storage.endpoint import listening
from tests.storage.test_store import request


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One with two spans, for all tests here: they only read."""
    opened = open_store(f"chdb://{tmp_path_factory.mktemp('http')}")
    opened.migrate()
    opened.insert_otlp("traces", request("a", "b"), token="t")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def url(store: Store) -> Iterator[str]:
    with listening(clickhouse_app(store)) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url) as client:
        yield client


def test_ping(http: httpx.Client) -> None:
    for path in ("/ping", "/replicas_status", "/"):
        assert http.get(path).text == "Ok.\n"
    assert http.head("/ping").status_code == 200


def test_a_query_on_the_address_line_in_the_body_and_in_both(http: httpx.Client) -> None:
    assert http.get("/", params={"query": "SELECT 1"}).text == "1\n"
    assert http.post("/", content="SELECT 1").text == "1\n"
    assert http.post("/", params={"query": "SELECT 1 +"}, content="2").text == "3\n"


def test_the_statement_names_its_format_or_the_address_line_does(http: httpx.Client) -> None:
    assert http.post("/", content="SELECT 1 AS a FORMAT JSONEachRow").text == '{"a":1}\n'
    assert http.post("/", params={"default_format": "CSVWithNames"}, content="SELECT 1 AS a").text == '"a"\n1\n'
    answer = http.post("/", headers={"X-ClickHouse-Format": "JSONCompactEachRow"}, content="SELECT 1 AS a")
    assert (answer.text, answer.headers["X-ClickHouse-Format"]) == ("[1]\n", "JSONCompactEachRow")
    answer = http.post("/", params={"default_format": "CSV"}, content="SELECT 1 FORMAT JSON")
    assert answer.headers["Content-Type"] == "application/json; charset=UTF-8"
    assert json.loads(answer.text)["rows"] == 1


def test_the_answer_says_what_clients_look_for(http: httpx.Client) -> None:
    headers = http.post("/", params={"query_id": "mine"}, content="SELECT 1").headers
    assert headers["X-ClickHouse-Query-Id"] == "mine"
    assert headers["X-ClickHouse-Timezone"] == "UTC"
    assert headers["X-ClickHouse-Server-Display-Name"] == "maslens"
    assert int(json.loads(headers["X-ClickHouse-Summary"])["elapsed_ns"]) > 0
    assert http.post("/", content="SELECT 1").headers["X-ClickHouse-Query-Id"] not in ("", "mine")


def test_parameters(http: httpx.Client) -> None:
    params = {"query": "SELECT {s:String}, {l:Array(String)}, {n:Nullable(String)}", "param_s": "a\\tb'c"}
    answer = http.get("/", params={**params, "param_l": "['x\\'y']", "param_n": "\\N"})
    assert answer.text == "a\\tb\\'c\t['x\\'y']\t\\N\n"


def test_settings_and_databases(http: httpx.Client) -> None:
    answer = http.get("/", params={"query": "SELECT 18446744073709551615 AS n FORMAT JSONEachRow",
                                   "output_format_json_quote_64bit_integers": "1"})  # fmt: skip
    assert answer.text == '{"n":"18446744073709551615"}\n'
    assert http.get("/", params={"query": "SELECT currentDatabase()"}).text == "maslens\n"
    assert http.get("/", params={"query": "SELECT currentDatabase()", "database": "default"}).text == "maslens\n"
    assert http.get("/", params={"query": "SELECT currentDatabase()", "database": "system"}).text == "system\n"
    assert http.get("/", params={"query": "SELECT 1", "database": "none"}).status_code == 404


@pytest.mark.parametrize(
    ("query", "status", "code", "said"),
    [
        pytest.param("SELEC 1", 400, 62, "Syntax error", id="syntax"),
        pytest.param("SELECT * FROM nothing", 404, 60, "UNKNOWN_TABLE", id="no such table"),
        pytest.param("SELECT nothing FROM otel_traces", 404, 47, "UNKNOWN_IDENTIFIER", id="no such column"),
        pytest.param("SELECT throwIf(1, 'aha')", 500, 395, "aha", id="an exception while running"),
        pytest.param("SELECT 1; SELECT 2", 400, 62, "Multi-statements", id="two statements"),
    ],
)
def test_errors_look_like_clickhouses(http: httpx.Client, query: str, status: int, code: int, said: str) -> None:
    answer = http.post("/", content=query)
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")
    assert said in answer.text
    assert answer.headers["X-ClickHouse-Exception-Code"] == str(code)
    assert answer.status_code == (400 if code == 395 else status)


@pytest.mark.parametrize(
    ("coding", "decode"),
    [
        ("gzip", gzip.decompress),
        ("deflate", zlib.decompress),
        ("zstd", lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data)),
        ("lz4", lz4.frame.decompress),
    ],
)
def test_answers_are_compressed_when_asked(url: str, coding: str, decode: object) -> None:
    query = "SELECT number FROM numbers(200000)"
    with httpx.Client() as client, client.stream(
        "GET", url, params={"query": query, "enable_http_compression": "1"}, headers={"Accept-Encoding": coding}
    ) as answer:  # fmt: skip
        assert answer.headers["Content-Encoding"] == coding
        assert "Content-Length" not in answer.headers
        body = b"".join(answer.iter_raw())
    assert decode(body) == "".join(f"{n}\n" for n in range(200_000)).encode()  # type: ignore[operator]
    with httpx.Client() as client:
        plain = client.get(url, params={"query": "SELECT 1"}, headers={"Accept-Encoding": coding})
        assert "Content-Encoding" not in plain.headers


def test_clickhouses_own_compression(http: httpx.Client) -> None:
    answer = http.post("/", params={"compress": "1"}, content="SELECT number FROM numbers(300000)")
    assert native_blocks.decompressed(answer.content, 1 << 24) == "".join(f"{n}\n" for n in range(300_000)).encode()
    question = b"".join(native_blocks.compressed(b"SELECT 1"))
    assert http.post("/", params={"decompress": "1"}, content=question).text == "1\n"
    assert http.post("/", params={"decompress": "1"}, content=b"SELECT 1").status_code == 400


def test_our_checksum_is_the_engines(store: Store) -> None:
    """Column files on disk are made of the same blocks."""
    assert isinstance(store, ChdbStore)
    store.command(
        "CREATE TABLE t (a UInt64 CODEC(LZ4), b String CODEC(ZSTD(1)), c UInt8 CODEC(NONE)) ENGINE = MergeTree"
        " ORDER BY a SETTINGS min_bytes_for_wide_part = 0"
    )
    for rows in (1, 2, 3, 7, 20, 100, 100_000):
        store.command("INSERT INTO t SELECT number, toString(number), number FROM numbers({n:UInt64})", {"n": rows})
    blocks = 0
    for file in (store.directory / "store").rglob("all_*/[abc].bin"):
        data, at = file.read_bytes(), 0
        while at < len(data):
            body = data[at + 16 : at + 16 + int.from_bytes(data[at + 17 : at + 21], "little")]
            assert native_blocks.city_hash_128(body) == data[at : at + 16]
            at += 16 + len(body)
            blocks += 1
    assert blocks >= 21


def test_a_frame_larger_than_its_block_says_is_refused_unread() -> None:
    for said in (0, 1, 100):
        frame = zstandard.compress(bytes(64 << 20))
        block = bytes(16) + struct.pack("<BII", 0x90, 9 + len(frame), said) + frame
        with pytest.raises(Rejected, match="another size"):
            native_blocks.decompressed(block, 1 << 20)


def test_compressed_questions(http: httpx.Client) -> None:
    question = b"SELECT 1"
    for coding, body in {
        "gzip": gzip.compress(question),
        "deflate": zlib.compress(question),
        "zstd": zstandard.compress(question),
        "lz4": lz4.frame.compress(question),
    }.items():
        assert http.post("/", content=body, headers={"Content-Encoding": coding}).text == "1\n"
        assert http.post("/", content=body[:-3], headers={"Content-Encoding": coding}).status_code == 400
        assert http.post("/", content=b"junk", headers={"Content-Encoding": coding}).status_code == 400
    assert http.post("/", content=question, headers={"Content-Encoding": "br"}).status_code == 400
    for bomb in (gzip.compress(b" " * 10**8), zstandard.compress(b" " * 10**8), lz4.frame.compress(b" " * 10**8)):
        coding = "gzip" if bomb[:2] == b"\x1f\x8b" else "zstd" if bomb[:2] == b"\x28\xb5" else "lz4"
        assert http.post("/", content=bomb, headers={"Content-Encoding": coding}).status_code == 413
    assert http.post("/", content=b" " * (5 * 1024 * 1024)).status_code == 413


def test_long_questions_come_as_forms(http: httpx.Client) -> None:
    ids = [f"{number:032x}" for number in range(20_000)]
    fields = {
        "param_ids": (None, "[" + ",".join(f"'{i}'" for i in ids) + "]"),
        "query": (None, "SELECT length({ids:Array(String)})"),
    }
    assert http.post("/", files=fields).text == "20000\n"


# --- nothing but the tables -------------------------------------------------------------------------------------------


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.txt"
    path.write_text("hunter2")
    return path


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO otel_traces (SpanName) VALUES ('x')",
        "TRUNCATE TABLE otel_traces",
        "DROP TABLE otel_traces",
        "ALTER TABLE otel_traces DELETE WHERE 1",
        "CREATE TABLE x (a UInt8) ENGINE = Memory",
        "CREATE TEMPORARY TABLE x (a UInt8)",
        "CREATE FUNCTION f AS x -> x",
        "SYSTEM STOP MERGES",
        "SET readonly = 0",
        "KILL QUERY WHERE 1",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT * FROM eval('DROP TABLE otel_traces')",
        "EXPLAIN SELECT 1 INTO OUTFILE '{out}'",
        "SELECT 'hunter2' INTO OUTFILE '{out}'",
        "SELECT 'hunter2' into /* x */ outfile\n'{out}' FORMAT TSV",
        "SHOW TABLES INTO OUTFILE '{out}'",
        "SELECT file('{secret}')",
        "SELECT `file`('{secret}')",
        "SELECT \"file\"('{secret}')",
        "SELECT fil/**/e('{secret}')",
        "SELECT file /**/ ('{secret}')",
        "SELECT * APPLY file FROM (SELECT '{secret}')",
        "SELECT * APPLY(`file`) FROM (SELECT '{secret}')",
        "SELECT COLUMNS('x') APPLY(x -> file(x)) FROM (SELECT '{secret}' AS x)",
        "SELECT arrayMap(file, ['{secret}'])",
        "SELECT arrayMap({f:Identifier}, ['{secret}'])",
        "WITH x -> file(x) AS f SELECT f('{secret}')",
        "SELECT * FROM file('{secret}', 'LineAsString')",
        "SELECT * FROM `{secret}`",
        "SELECT * FROM default.`{secret}`",
        "SELECT * FROM format(LineAsString, file('{secret}'))",
        "SELECT * FROM eval('SELECT file(\\'{secret}\\')')",
        "SELECT * FROM eval(concat('SELECT fi', 'le(\\'{secret}\\')'))",
        "SELECT * FROM executable('cat {secret}', 'TSV', 'a String')",
        "SELECT * FROM url('file://{secret}', 'LineAsString')",
        "SELECT * FROM sqlite('{secret}', 't')",
        "SELECT * FROM Python(secret)",
        "SELECT * FROM python('secret')",
        "SELECT * FROM filesystem('{secret}')",
        "SELECT * FROM remote('127.0.0.1', system.one)",
        "DESCRIBE file('{secret}')",
        "DESCRIBE (SELECT file('{secret}'))",
        "EXPLAIN SELECT file('{secret}')",
        "SELECT 1 FORMAT Template SETTINGS format_template_resultset = '{secret}'",
        "SELECT aiGenerate('x', 'y')",
        "SELECT * FROM system.stack_trace",
    ],
)
def test_a_stranger_reads_no_files_and_changes_nothing(
    http: httpx.Client, store: Store, secret: Path, tmp_path: Path, query: str
) -> None:
    out = tmp_path / "written.txt"
    before = set(tmp_path.iterdir())
    text = query.replace("{secret}", str(secret)).replace("{out}", str(out))
    answer = http.post("/", params={"param_f": "file"}, content=text)
    assert answer.status_code in (400, 403, 404), answer.text
    assert "hunter2" not in answer.text.replace(text, "")
    assert set(tmp_path.iterdir()) == before
    assert store.rows("SELECT count() AS n FROM otel_traces") == [{"n": 2}]


@pytest.mark.parametrize(("functions", "status"), [(100, 200), (1_500, 403)])
def test_plans_are_explained_of_statements_of_a_size(http: httpx.Client, functions: int, status: int) -> None:
    query = f"EXPLAIN SELECT {', '.join(f'length(toString({n}))' for n in range(functions))}"
    assert http.post("/", content=query).status_code == status
    assert http.post("/", content="SELECT 1").text == "1\n"


def test_names_that_reach_out_only_as_functions_are_fine_as_columns(http: httpx.Client) -> None:
    query = "SELECT 'file(1) INTO OUTFILE' AS url, 1 AS input, 2 AS \"cluster\", `input` + 1 AS remote"
    assert http.post("/", content=query).text == "file(1) INTO OUTFILE\t1\t2\t2\n"


@pytest.mark.parametrize(
    "setting",
    [
        "format_template_resultset",
        "format_schema",
        "readonly_",
        "allow_ddl",
        "max_server_memory_usage",
        "a b",
        "insert_x",
    ],
)
def test_settings_that_reach_out_are_refused(http: httpx.Client, setting: str) -> None:
    answer = http.get("/", params={"query": "SELECT 1", setting: "/etc/passwd"})
    assert answer.status_code in (403, 404)


def test_limits_can_be_lowered_and_not_raised(store: Store) -> None:
    with listening(clickhouse_app(store, config=EndpointConfig(query_seconds=1, result_bytes=10_000))) as port:
        url = f"http://127.0.0.1:{port}"
        slow = "SELECT count() FROM numbers(100000000000) WHERE NOT ignore(sipHash64(number))"
        for params in ({}, {"max_execution_time": "100"}, {"max_execution_time": "0"}):
            assert httpx.post(url, params=params, content=slow).status_code == 408
        assert (
            "TOO_MANY_ROWS_OR_BYTES" in httpx.post(url, content="SELECT number FROM numbers(100000) FORMAT JSON").text
        )
        assert httpx.post(url, params={"readonly": "0"}, content="SELECT getSetting('readonly')").text == "1\n"


def test_who_may_ask(store: Store) -> None:
    def authorize(headers: Mapping[str, str], params: Mapping[str, str]) -> bool:
        return (
            headers.get("authorization") in (f"Basic {base64.b64encode(b'me:secret').decode()}", "Bearer token")
            or headers.get("x-clickhouse-key") == "secret"
            or params.get("password") == "secret"
        )

    with listening(clickhouse_app(store, authorize=authorize)) as port:
        url = f"http://127.0.0.1:{port}"
        refused = httpx.post(url, content="SELECT 1")
        assert (refused.status_code, refused.headers["X-ClickHouse-Exception-Code"]) == (401, "516")
        assert refused.headers["WWW-Authenticate"].startswith("Basic")
        assert httpx.get(f"{url}/ping").status_code == 200
        for headers in ({"Authorization": "Bearer token"}, {"X-ClickHouse-User": "me", "X-ClickHouse-Key": "secret"}):
            assert httpx.post(url, content="SELECT 1", headers=headers).text == "1\n"
        assert httpx.post(url, params={"user": "me", "password": "secret"}, content="SELECT 1").text == "1\n"
        assert httpx.post(url, auth=("me", "secret"), content="SELECT 1").text == "1\n"
        client = clickhouse_connect.get_client(host="127.0.0.1", port=port, username="me", password="secret")
        assert client.command("SELECT 1") == 1
        client.close()


# --- real clients and their queries -----------------------------------------------------------------------------------


def test_clickhouse_connect(url: str) -> None:
    client = clickhouse_connect.get_client(dsn=f"{url}/default")
    assert client.command("SELECT {n:UInt8} + 1", parameters={"n": 1}) == 2
    assert client.query("SELECT SpanName, Timestamp FROM otel_traces ORDER BY SpanName").result_columns[0] == ["a", "b"]
    named = client.query("SELECT SpanName FROM otel_traces WHERE SpanName IN {names:Array(String)}", {"names": ["b"]})
    assert named.result_rows == [("b",)]
    assert client.query_arrow("SELECT 1 AS one").to_pylist() == [{"one": 1}]
    assert client.query_df("SELECT SpanAttributes, Duration FROM otel_traces").shape == (2, 2)
    assert client.raw_query("SELECT 1", fmt="TSV") == b"1\n"
    with client.query_row_block_stream("SELECT number FROM numbers(100000)") as blocks:
        assert sum(len(block) for block in blocks) == 100_000
    with pytest.raises(DatabaseError, match=r"READONLY|ACCESS_DENIED"):
        client.command("DROP TABLE otel_traces")
    with pytest.raises(DatabaseError):
        client.insert("otel_traces_trace_id_ts", [["a", 1, 1]])
    client.close()


# As Grafana's ClickHouse data source writes them (grafana/clickhouse-datasource v4, src/data/sqlGenerator.ts).
GRAFANA = {
    "a trace": """
        WITH '{id}' AS trace_id,
            (SELECT min(Start) FROM "maslens"."otel_traces_trace_id_ts" WHERE TraceId = trace_id) AS trace_start,
            (SELECT max(End) + 1 FROM "maslens"."otel_traces_trace_id_ts" WHERE TraceId = trace_id) AS trace_end
        SELECT "TraceId" AS traceID, "SpanId" AS spanID, "ParentSpanId" AS parentSpanID, "ServiceName" AS serviceName,
            "SpanName" AS operationName, multiply(toUnixTimestamp64Nano("Timestamp"), 0.000001) AS startTime,
            multiply("Duration", 0.000001) AS duration,
            arrayMap(key -> map('key', key, 'value', "SpanAttributes"[key]), mapKeys("SpanAttributes")) AS tags,
            arrayMap(key -> map('key', key, 'value', "ResourceAttributes"[key]), mapKeys("ResourceAttributes")) AS serviceTags,
            if("StatusCode" IN ('Error', 'STATUS_CODE_ERROR'), 2, 0) AS statusCode,
            arrayMap((name, timestamp, attributes) -> tuple(name, toString(multiply(toFloat64(timestamp), 1000)),
                arrayMap(key -> map('key', key, 'value', attributes[key]), mapKeys(attributes)))::Tuple(name String, timestamp String, fields Array(Map(String, String))),
                "Events.Name", "Events.Timestamp", "Events.Attributes") AS logs,
            arrayMap((traceID, spanID, attributes) -> tuple(traceID, spanID,
                arrayMap(key -> map('key', key, 'value', attributes[key]), mapKeys(attributes)))::Tuple(traceID String, spanID String, tags Array(Map(String, String))),
                "Links.TraceId", "Links.SpanId", "Links.Attributes") AS references,
            "SpanKind" AS kind, "StatusMessage" AS statusMessage, "TraceState" AS traceState
        FROM "maslens"."otel_traces"
        WHERE traceID = trace_id AND "Timestamp" >= trace_start AND "Timestamp" <= trace_end LIMIT 1000""",
    "the list of traces": """
        SELECT "TraceId" AS traceID, "ServiceName" AS serviceName, "SpanName" AS operationName, "Timestamp" AS startTime,
            multiply("Duration", 0.000001) AS duration
        FROM "maslens"."otel_traces"
        WHERE ( "Timestamp" >= fromUnixTimestamp64Milli({from}) AND "Timestamp" <= fromUnixTimestamp64Milli({to}) )
            AND ( ParentSpanId = '' ) AND ( Duration >= 0 ) ORDER BY Timestamp DESC, Duration DESC LIMIT 1000""",
    "the schema": """
        SELECT name, type, comment FROM system.columns WHERE database = 'maslens' AND table = 'otel_traces'""",
    "which schema of logs": 'DESC TABLE "maslens"."otel_logs"',
    "values of a key": """
        SELECT DISTINCT arrayJoin(SpanAttributes.keys) AS keys FROM "maslens"."otel_traces"
        WHERE ( Timestamp >= fromUnixTimestamp64Milli({from}) AND Timestamp <= fromUnixTimestamp64Milli({to}) ) LIMIT 1000""",
    "spans over time": """
        SELECT toStartOfInterval(toDateTime(Timestamp), INTERVAL 60 second) AS time, count(*) FROM "maslens"."otel_traces"
        WHERE ( Timestamp >= toDateTime({seconds}) AND Timestamp <= toDateTime({seconds} + 60) ) GROUP BY time ORDER BY time""",
}


# As ClickStack's page writes them: formats that it reads row by row, SETTINGS in the text, and what it asks of the schema.
CLICKSTACK = {
    "the list": """
        SELECT Timestamp, ServiceName AS service, StatusCode AS level, round(Duration / 1e6) AS duration, SpanName, TraceId, SpanId
        FROM "maslens"."otel_traces"
        WHERE (Timestamp >= fromUnixTimestamp64Milli({from:Int64}) AND Timestamp <= fromUnixTimestamp64Milli({to:Int64}))
            AND ((SpanName ILIKE '%a%') OR (lower(SpanName) LIKE lower('%b%')))
        ORDER BY (toDateTime(Timestamp), Timestamp) DESC LIMIT 0, 200
        SETTINGS optimize_read_in_order = 0, cast_string_to_dynamic_use_inference = 1""",
    "a trace": """
        SELECT Timestamp, SpanId, ParentSpanId, SpanName AS Body, Duration, ServiceName, StatusCode, `Events.Name`,
            `Events.Timestamp`, `Events.Attributes`, SpanAttributes, ResourceAttributes, mapFilter((k, v) -> v != '', SpanAttributes) AS some
        FROM "maslens"."otel_traces" WHERE TraceId = '61616161' ORDER BY Timestamp""",
    "over time": """
        SELECT count() AS n, StatusCode AS g, toStartOfInterval(toDateTime(Timestamp), INTERVAL 1 minute) AS `__hdx_time_bucket`
        FROM "maslens"."otel_traces"
        WHERE Timestamp BETWEEN fromUnixTimestamp64Milli({from:Int64}) AND fromUnixTimestamp64Milli({to:Int64})
        GROUP BY g, `__hdx_time_bucket` ORDER BY `__hdx_time_bucket` SETTINGS optimize_read_in_order = 0""",
    "keys": """
        WITH sampled AS (SELECT SpanAttributes FROM "maslens"."otel_traces" LIMIT 100000)
        SELECT groupUniqArrayArray(1000)(mapKeys(SpanAttributes)) AS keys FROM sampled""",
    "percentiles": """
        SELECT quantile(0.95)(toFloat64OrDefault(toString(Duration / 1e6))) AS p95, SpanName FROM "maslens"."otel_traces"
        GROUP BY SpanName ORDER BY p95 DESC LIMIT 20""",
    "tables": "SELECT * FROM system.tables WHERE database = 'maslens' AND name = 'otel_traces'",
    "columns": 'DESCRIBE "maslens"."otel_traces"',
    "all columns": "SELECT database, table, name, type, is_in_primary_key, is_in_sorting_key FROM system.columns WHERE database = 'maslens'",
    "indexes": "SELECT name, expr, type FROM system.data_skipping_indices WHERE database = 'maslens' AND table = 'otel_traces'",
    "settings": "SELECT name, value FROM system.settings WHERE name = 'enable_full_text_index' OR name = 'readonly'",
    "databases": "SELECT name FROM system.databases",
    "a row by its block": 'SELECT _part, _block_number FROM "maslens"."otel_traces" WHERE SpanName = \'a\'',
}


@pytest.mark.parametrize("query", CLICKSTACK.values(), ids=CLICKSTACK)
def test_clickstacks_queries(http: httpx.Client, query: str) -> None:
    params = {
        "param_from": "1763639999000", "param_to": "1763640001000", "date_time_output_format": "iso",
        "default_format": "JSONCompactEachRowWithNamesAndTypes", "wait_end_of_query": "0",
    }  # fmt: skip
    answer = http.post("/", params=params, content=query)
    assert answer.status_code == 200, answer.text
    names, types, *rows = (json.loads(line) for line in answer.text.splitlines())
    assert len(names) == len(types)
    assert rows
    assert {len(row) for row in rows} == {len(names)}


def test_settings_in_the_text_count_as_those_of_the_address_line(http: httpx.Client) -> None:
    def ask(query: str, **params: str) -> httpx.Response:
        return http.post("/", params=params, content=query)

    text = "SELECT getSetting('max_block_size'), ' SETTINGS x = 1' SETTINGS max_block_size = 77"
    assert ask(text).text == "77\t SETTINGS x = 1\n"
    assert ask(f"{text} FORMAT CSV").text == '77," SETTINGS x = 1"\n'
    assert ask("SELECT {n:UInt8} AS n FORMAT JSONEachRow SETTINGS max_block_size = 7", param_n="5").text == '{"n":5}\n'
    assert ask("SELECT toDateTime(0) SETTINGS session_timezone = 'Asia/Tokyo'").text == "1970-01-01 09:00:00\n"
    lowered = "SELECT getSetting('max_execution_time') SETTINGS max_execution_time = {}"
    assert ask(lowered.format(3)).text == "3\n"
    assert ask(lowered.format(3000), max_execution_time="4").text == "4\n"
    assert ask("SELECT 1 SETTINGS format_schema = 'x'").status_code == 403
    assert ask("SELECT * FROM (SELECT 1 SETTINGS max_block_size = 7)").status_code == 403


@pytest.mark.parametrize("query", GRAFANA.values(), ids=GRAFANA)
def test_grafanas_queries(http: httpx.Client, query: str) -> None:
    moment = {"{id}": "61616161", "{from}": "1763639999000", "{to}": "1763640001000", "{seconds}": "1763640000"}
    for name, value in moment.items():
        query = query.replace(name, value)
    answer = http.post("/", params={"default_format": "JSONEachRow"}, content=query)
    assert answer.status_code == 200, answer.text
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert rows or "arrayJoin" in query
    if "operationName" in query:
        assert {row["operationName"] for row in rows} <= {"a", "b"}
