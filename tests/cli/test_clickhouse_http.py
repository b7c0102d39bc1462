"""ClickHouse's HTTP interface over an embedded store: real clients, real engine, and what a stranger may not do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import clickhouse_connect
import httpx
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from maslens.cli.access import Guarded
from maslens.cli.clickhouse_http import clickhouse_app
from maslens.cli.servers import HttpServer, bind
from maslens.collector_processor.access import Tokens
from maslens.storage import Store, open_store

TOKEN = "a-token-of-sixteen"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = open_store(f"chdb://{tmp_path_factory.mktemp('clickhouse-http')}")
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def port(store: Store) -> Iterator[int]:
    server = HttpServer(
        Guarded(clickhouse_app(store), tokens=Tokens(), host="127.0.0.1"), bind("127.0.0.1", 0, flag="-"), name="test"
    )
    server.start()
    yield server.port
    server.stop()


@pytest.fixture
def http(port: int) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        yield client


def test_clickhouse_connect_queries_with_parameters(port: int) -> None:
    client = clickhouse_connect.get_client(host="127.0.0.1", port=port)
    awkward = "x'\n\t\\ \"é"
    answer = client.query("SELECT {a:String} AS a, number AS n FROM numbers(2)", parameters={"a": awkward})
    assert answer.result_rows == [(awkward, 0), (awkward, 1)]
    assert client.query_arrow("SELECT 1 AS one").to_pylist() == [{"one": 1}]
    assert client.query("SELECT count() FROM otel_traces").result_rows == [(0,)]
    with pytest.raises(DatabaseError, match="only statements that read"):
        client.command("DROP TABLE otel_traces")
    client.close()


def test_the_trace_query_of_a_dashboard(http: httpx.Client) -> None:
    sql = """
        SELECT TraceId AS traceID, ServiceName, SpanName, Timestamp, multiply(Duration, 0.000001) AS duration,
            arrayMap(key -> map('key', key, 'value', SpanAttributes[key]), mapKeys(SpanAttributes)) AS tags
        FROM otel_traces WHERE TraceId = '0af7' ORDER BY Timestamp FORMAT JSON"""
    answer = http.post("/", content=sql)
    assert answer.status_code == 200, answer.text
    assert [column["name"] for column in answer.json()["meta"]][:2] == ["traceID", "ServiceName"]
    assert answer.headers["content-type"].startswith("application/json")


@pytest.mark.parametrize(
    ("method", "arguments", "body", "answer"),
    [
        pytest.param("GET", {"query": "SELECT 1"}, "", "1\n", id="query in the address"),
        pytest.param("POST", {}, "SELECT 1", "1\n", id="query in the body"),
        pytest.param("POST", {"query": "SELECT"}, " 1", "1\n", id="query in both"),
        pytest.param("GET", {"query": "SELECT 1;"}, "", "1\n", id="a semicolon"),
        pytest.param("GET", {"query": "SELECT 1 AS a", "default_format": "JSONEachRow"}, "", '{"a":1}\n', id="default"),
        pytest.param("GET", {"query": "SELECT 1 AS a FORMAT CSV"}, "", "1\n", id="named format"),
        pytest.param("GET", {"query": "SELECT 'x FORMAT JSON'"}, "", "x FORMAT JSON\n", id="a format in a string"),
        pytest.param("GET", {"query": "SELECT {p:UInt8}", "param_p": "7"}, "", "7\n", id="parameter"),
        pytest.param("GET", {"query": "SELECT {p:String}", "param_p": "a\\tb"}, "", "a\\tb\n", id="escaped"),
        pytest.param("GET", {"query": "SHOW TABLES LIKE 'otel_logs'"}, "", "otel_logs\n", id="show"),
        pytest.param("GET", {}, "", "Ok.\n", id="no query"),
    ],
)
def test_a_query(http: httpx.Client, method: str, arguments: dict[str, str], body: str, answer: str) -> None:
    for path in ("/", "/clickhouse"):
        response = http.request(method, path, params=arguments, content=body)
        assert (response.status_code, response.text) == (200, answer)


def test_ping(http: httpx.Client) -> None:
    assert http.get("/ping").text == "Ok.\n"


@pytest.mark.parametrize(
    ("sql", "status"),
    [
        pytest.param("DROP TABLE otel_traces", 403, id="drop"),
        pytest.param("INSERT INTO otel_traces (TraceId) VALUES ('x')", 403, id="insert"),
        pytest.param("CREATE TABLE t (a Int8) ENGINE = Memory", 403, id="create"),
        pytest.param("SET max_memory_usage = 0", 403, id="set"),
        pytest.param("SYSTEM SHUTDOWN", 403, id="system"),
        pytest.param("KILL QUERY WHERE 1", 403, id="kill"),
        pytest.param("BACKUP DATABASE maslens TO File('/tmp/x')", 403, id="backup"),
        pytest.param("SELECT file('/etc/passwd')", 403, id="a file by function"),
        pytest.param("SELECT /* */ `file` ('/etc/passwd')", 403, id="a file by a quoted name"),
        pytest.param("SELECT FiLe('/etc/passwd')", 403, id="a file in another case"),
        pytest.param("SELECT * FROM file('/etc/passwd', 'LineAsString')", 403, id="a file as a table"),
        pytest.param("SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')", 403, id="another server"),
        pytest.param("SELECT * FROM s3('http://127.0.0.1:1/b/x', 'CSV')", 403, id="a bucket"),
        pytest.param("SELECT * FROM remote('127.0.0.1', system.one)", 403, id="another clickhouse"),
        pytest.param("SELECT 1 INTO OUTFILE '/tmp/maslens-outfile'", 403, id="a new file"),
        pytest.param("SELECT 1; SELECT 2", 400, id="two statements"),
        pytest.param("SELECT 1; DROP TABLE otel_traces", 400, id="a second that writes"),
        pytest.param("SELEC 1", 400, id="no SQL"),
        pytest.param("SELECT nothing_of_that_name", 404, id="unknown column"),
        pytest.param("SELECT * FROM nothing_of_that_name", 404, id="unknown table"),
        pytest.param("SELECT 1 SETTINGS readonly = 0", 403, id="not read-only any more"),
        pytest.param("SELECT 1 SETTINGS max_memory_usage = 1000000000000", 403, id="all the memory"),
    ],
)
def test_what_is_refused_and_the_next_question_is_answered(http: httpx.Client, sql: str, status: int) -> None:
    response = http.post("/", content=sql)
    assert response.status_code == status, response.text
    assert "Code: " in response.text
    assert "root:" not in response.text
    assert int(response.headers["x-clickhouse-exception-code"]) > 0
    assert http.get("/", params={"query": "SELECT 1"}).text == "1\n"
    assert not Path("/tmp/maslens-outfile").exists()


def test_settings_that_would_lift_a_limit_are_left_out(http: httpx.Client) -> None:
    sql = "SELECT value FROM system.settings WHERE name = 'max_memory_usage'"
    plain = http.get("/", params={"query": sql}).text
    assert http.get("/", params={"query": sql, "max_memory_usage": "0"}).text == plain
    limited = http.get("/", params={"query": "SELECT number FROM numbers(10)", "limit": "2"}).text
    assert limited == "0\n1\n"


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        pytest.param({"compress": "1", "query": "SELECT 1"}, b"", id="block compression"),
        pytest.param({}, b"\xff\xfe", id="no text"),
        pytest.param({}, b"SELECT '" + b"x" * (1 << 20) + b"'", id="too long"),
    ],
)
def test_what_is_not_spoken_here_is_said(http: httpx.Client, arguments: dict[str, str], body: bytes) -> None:
    response = http.post("/", params=arguments, content=body)
    assert response.status_code == 400
    assert response.text.startswith("Code: ")


def test_a_page_from_elsewhere_cannot_ask(http: httpx.Client) -> None:
    response = http.get("/", params={"query": "SELECT 1"}, headers={"Host": "rebound.example:8123"})
    assert response.status_code == 421
    for host in ("localhost:8123", "127.0.0.1", "[::1]:8123"):
        assert http.get("/", params={"query": "SELECT 1"}, headers={"Host": host}).text == "1\n"


def test_with_a_token_it_is_asked_for_in_any_of_the_ways_clients_have(store: Store) -> None:
    server = HttpServer(
        Guarded(clickhouse_app(store), tokens=Tokens.parse(f"{TOKEN} scopes=read", source="test"), host="0.0.0.0"),
        bind("127.0.0.1", 0, flag="-"),
        name="test",
    )
    server.start()
    try:
        url, query = f"http://127.0.0.1:{server.port}/", {"query": "SELECT 1"}
        assert httpx.get(url, params=query).status_code == 401
        assert httpx.get(url, params=query, headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert httpx.get(url, params=query, headers={"Authorization": "Basic !!"}).status_code == 401
        assert httpx.get(url, params=query, headers={"Authorization": f"Bearer {TOKEN}"}).text == "1\n"
        assert httpx.get(url, params=query, auth=("anybody", TOKEN)).text == "1\n"
        assert httpx.get(url, params=query, headers={"X-ClickHouse-Key": TOKEN}).text == "1\n"
        assert httpx.get(url, params={**query, "password": TOKEN}).text == "1\n"
        assert httpx.get(url + "ping").text == "Ok.\n"
        client = clickhouse_connect.get_client(host="127.0.0.1", port=server.port, password=TOKEN)
        assert client.command("SELECT 2") == 2
        client.close()
    finally:
        server.stop()


def test_a_hostile_string_comes_back_as_it_is(http: httpx.Client) -> None:
    hostile = "'; DROP TABLE otel_traces; --\x1b[2J<script>"
    response = http.get("/", params={"query": "SELECT {p:String} AS p FORMAT JSONEachRow", "param_p": hostile})
    assert json.loads(response.text) == {"p": hostile}
