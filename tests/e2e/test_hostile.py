"""What a model may have written, on every surface: kept as it is, obeyed by nobody, and the next request is served."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import shutil
import subprocess
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import zstandard
from maslens.cli.text import safe
from maslens.collector_processor import DeadLetters
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_metrics

from tests.e2e.running import Up, answer, eventually, here

PROTOBUF = {"Content-Type": "application/x-protobuf"}
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
HOSTILE = {
    "sql": "'; DROP TABLE otel_traces; -- \\'",
    "html": "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">",
    "template": "{{7*7}}${7*7}%s%n{0}__import__('os')",
    "terminal": "\x1b[2J\x1b]0;owned\x07\x9b31mred\u202egnp.exe",
    "osc": "\x1b]8;;http://evil.example\x1b\\\\click\x1b]8;;\x1b\\\\\x1b]52;c;cm0gLXJm\x07\x9d52;c;cm0=\x9c\u2067bidi\u2069\u202d",
    "lines": "first\nsecond\r\nthird\ttab",
    "nul": "a\0b",
    "labels": 'a"b\\c\nd{e="f"} 1',
    "csv": '=HYPERLINK("http://evil.example";"x"),"q""',
    "path": "../../etc/passwd%00%2f?a=b&c#d",
    "unicode": "\ufeff\u2028é日本😀\ufffe\U0010ffff",
    "graphql": '"}) { __schema { types { name } } } #',
    "long": "x" * 5000,
}


def text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def hostile_session(name: str, said: str, *, seed: int) -> ExportTraceServiceRequest:
    """One agent run with a model call and a tool, every name of it hostile."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.extend([text("service.name", said), text(said, said)])
    scoped = group.scope_spans.add()
    scoped.scope.name, scoped.scope.version = said, said
    now, trace = time.time_ns(), bytes([seed]) * 16
    everywhere = [text("gen_ai.conversation.id", f"{name} {said}"), text("gen_ai.agent.name", said)]
    for index, (operation, more) in enumerate(
        [
            ("invoke_agent", []),
            ("chat", [text("gen_ai.request.model", said), text("gen_ai.provider.name", said)]),
            ("execute_tool", [text("gen_ai.tool.name", said), text("gen_ai.tool.call.arguments", said)]),
        ],
        1,
    ):
        span = scoped.spans.add(
            trace_id=trace,
            span_id=bytes([seed, index]) * 4,
            parent_span_id=bytes([seed, 1]) * 4 if index > 1 else b"",
            name=said,
            start_time_unix_nano=now + index,
            end_time_unix_nano=now + 10_000_000 - index,
            attributes=[text("gen_ai.operation.name", operation), *everywhere, *more, text(said, said)],
        )
        span.status.code, span.status.message = 2, said
        span.events.add(name=said, time_unix_nano=now, attributes=[text("exception.message", said), text(said, said)])
        span.links.add(trace_id=trace, span_id=b"l" * 8, trace_state=said, attributes=[text(said, said)])
    return request


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("hostile") / "data").start()
    for seed, (name, said) in enumerate(HOSTILE.items(), 1):
        send(running, hostile_session(name, said, seed=seed).SerializeToString())
        logs = ExportLogsServiceRequest()
        record = logs.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=time.time_ns())
        record.body.string_value, record.severity_text, record.event_name = said, said, said
        record.attributes.append(text(said, said))
        httpx.post(
            f"{running.otlp_http}/v1/logs", content=logs.SerializeToString(), headers=PROTOBUF
        ).raise_for_status()
    eventually(lambda: len(query(running, "SELECT DISTINCT session_id FROM sessions")) == len(HOSTILE), within_s=120)
    yield running
    running.kill()


def send(up: Up, body: bytes, **headers: str) -> httpx.Response:
    return httpx.post(f"{up.otlp_http}/v1/traces", content=body, headers=PROTOBUF | headers, timeout=120)


def query(up: Up, sql: str, **params: str) -> list[dict[str, Any]]:
    arguments = {"query": sql, "default_format": "JSONEachRow", **{f"param_{name}": v for name, v in params.items()}}
    reply = httpx.get(f"{up.addresses['clickhouse']}/", params=arguments, timeout=60).raise_for_status()
    return [json.loads(line) for line in reply.content.splitlines()]


@pytest.fixture(autouse=True)
def _still_serving(up: Up) -> Iterator[None]:
    """Whatever happened, the next good request of every surface is served."""
    yield
    assert send(up, ExportTraceServiceRequest().SerializeToString()).status_code == 200
    for address in (f"{up.url}/healthz", f"{up.url}/metrics", f"{up.url}/api/v1/agents", f"{up.url}/"):
        assert httpx.get(address, timeout=60).status_code == 200, address
    assert query(up, "SELECT 1 AS one") == [{"one": 1}]


EVERY = pytest.mark.parametrize("name", HOSTILE)


@EVERY
def test_the_tables_hold_it_as_it_was(up: Up, name: str) -> None:
    said = HOSTILE[name]
    sql = (
        "SELECT ServiceName, SpanName, StatusMessage, ScopeName, SpanAttributes[{said:String}] AS attribute, "
        "ResourceAttributes[{said:String}] AS resource, `Events.Name`[1] AS event, `Events.Attributes`[1] AS inside, "
        "`Links.TraceState`[1] AS link FROM otel_traces WHERE ServiceName = {said:String}"
    )
    # A parameter is text as ClickHouse escapes it.
    escaped = (
        said.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r").replace("\0", "\\0")
    )
    found = query(up, sql, said=escaped)
    assert len(found) == 3
    for row in found:
        assert row.pop("inside") == {"exception.message": said, said: said}
        assert set(row.values()) == {said}
    log = (
        "SELECT Body, SeverityText, LogAttributes[{said:String}] AS attribute FROM otel_logs WHERE Body = {said:String}"
    )
    assert query(up, log, said=escaped) == [{"Body": said, "SeverityText": said, "attribute": said}]


def test_the_api_answers_with_the_exact_names(up: Up) -> None:
    agents = httpx.get(f"{up.url}/api/v1/agents", timeout=60).raise_for_status()
    assert agents.headers["content-type"].startswith("application/json")
    assert agents.headers["x-content-type-options"] == "nosniff"
    named = json.dumps(agents.json(), ensure_ascii=False)
    sessions = {f"{name} {said}" for name, said in HOSTILE.items()}
    seen = (
        {row["session_id"] for row in httpx.get(f"{up.url}/api/v1/sessions", timeout=60).json()["rows"]}
        if (isinstance(httpx.get(f"{up.url}/api/v1/sessions", timeout=60).json(), dict))
        else {row["session_id"] for row in httpx.get(f"{up.url}/api/v1/sessions", timeout=60).json()}
    )
    assert sessions == seen
    assert "script" in named


@EVERY
def test_a_session_is_found_by_its_hostile_name(up: Up, name: str) -> None:
    session = f"{name} {HOSTILE[name]}"
    (row,) = answer("sessions", f"--url={up.url}", f"--session={session}")
    assert row["session_id"] == session


@EVERY
def test_graphql_takes_it_as_a_variable(up: Up, name: str) -> None:
    session = f"{name} {HOSTILE[name]}"
    asked = {
        "query": "query($s: String!) { session(session_id: $s) { session_id root_agent } }",
        "variables": {"s": session},
    }
    reply = httpx.post(f"{up.url}/graphql", json=asked, timeout=60).raise_for_status().json()
    assert "errors" not in reply, reply
    assert reply["data"]["session"] == {"session_id": session, "root_agent": HOSTILE[name]}


@pytest.mark.parametrize(
    ("accept", "parse"),
    [
        pytest.param("text/plain", plain_metrics, id="Prometheus"),
        pytest.param("application/openmetrics-text; version=1.0.0", open_metrics, id="OpenMetrics"),
    ],
)
def test_metrics_parse_and_carry_the_names(up: Up, accept: str, parse: Any) -> None:
    reply = httpx.get(f"{up.url}/metrics", headers={"Accept": accept}, timeout=60).raise_for_status()
    families = list(parse(reply.text))
    labels = {value for family in families for sample in family.samples for value in sample.labels.values()}
    for name, said in HOSTILE.items():
        if name not in ("long", "nul"):
            assert said in labels, name


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool (Debian package prometheus) here")
def test_promtool_finds_nothing_wrong(up: Up) -> None:
    body = httpx.get(f"{up.url}/metrics", headers={"Accept": "text/plain"}, timeout=60).content
    checked = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr


_OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@pytest.mark.parametrize(
    "command", [("sessions",), ("agents",), ("cost", "--by=agent"), ("query", "SELECT * FROM agent_runs")]
)
def test_no_terminal_obeys_it(up: Up, command: tuple[str, ...]) -> None:
    """In a table; JSON on stdout has no raw controls either and parses to the exact texts; CSV has them exactly."""
    table = here(*command, f"--url={up.url}")
    assert table.returncode == 0, table.stderr
    assert not _OBEYED.search(table.stdout)
    assert safe(HOSTILE["terminal"])[:10] in table.stdout
    as_json = here(*command, f"--url={up.url}", "--format=json")
    assert not _OBEYED.search(as_json.stdout)
    values = {value for row in json.loads(as_json.stdout) for value in row.values() if isinstance(value, str)}
    as_csv = here(*command, f"--url={up.url}", "--format=csv")
    cells = {cell for row in csv.reader(io.StringIO(as_csv.stdout, newline="")) for cell in row}
    for name in ("terminal", "csv", "html", "labels"):
        wanted = f"{name} {HOSTILE[name]}" if command == ("sessions",) else HOSTILE[name]
        assert wanted in values, name
        assert wanted in cells, name


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium (Debian package chromium) to look with")
def test_the_page_shows_it_and_runs_none_of_it(up: Up, tmp_path: Path) -> None:
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}",
        "--virtual-time-budget=20000", "--dump-dom", up.url,
    ]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    assert "&lt;script&gt;" in dom or "&lt;img" in dom
    assert "<title>owned" not in dom
    assert "onerror=" not in re.sub(r"&lt;.*?&gt;", "", dom)


FORMATS = [
    "JSON", "JSONCompact", "JSONEachRow", "JSONCompactEachRow", "JSONStrings", "JSONColumns", "CSV", "CSVWithNames",
    "TabSeparated", "TabSeparatedWithNamesAndTypes", "TabSeparatedRaw", "Pretty", "PrettyCompact", "PrettySpace",
    "Vertical", "Values", "XML", "Markdown", "Native", "RowBinary", "Arrow", "ArrowStream", "Parquet", "MsgPack",
]  # fmt: skip


@pytest.mark.parametrize("form", FORMATS)
def test_the_clickhouse_address_sends_no_browser_anything_to_run(up: Up, form: str) -> None:
    """Whatever is in the tables, in whatever format: no content type that a browser draws, and none it may guess."""
    asked = {"query": "SELECT SpanName, SpanAttributes FROM otel_traces ORDER BY SpanName", "default_format": form}
    reply = httpx.get(f"{up.addresses['clickhouse']}/", params=asked, timeout=60)
    assert reply.status_code in (200, 400, 404, 501), reply.text[:300]
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert not re.search("html|xml|svg|javascript", reply.headers["content-type"])
    if form == "JSON":
        assert {row["SpanName"] for row in reply.json()["data"]} >= set(HOSTILE.values())
    if form == "CSV":
        cells = {cell for row in csv.reader(io.StringIO(reply.text, newline="")) for cell in row}
        assert HOSTILE["csv"] in cells


def test_errors_that_repeat_what_was_asked_are_no_page(up: Up) -> None:
    said = HOSTILE["html"]
    addresses = [
        f"{up.addresses['clickhouse']}/", f"{up.url}/api/v1/agents", f"{up.url}/api/v1/query", f"{up.url}/graphql",
    ]  # fmt: skip
    for address in addresses:
        for name in ("query", "since", "session", "database", "default_format", "param_x", said):
            reply = httpx.get(address, params={name: said}, timeout=60)
            assert "text/html" not in reply.headers["content-type"], (address, name)
            assert reply.headers["x-content-type-options"] == "nosniff", (address, name)
    reply = httpx.get(f"{up.url}/api/v1/sessions/{said}", timeout=60)
    assert (reply.status_code, reply.headers["content-type"]) == (404, "application/json")


@EVERY
def test_feedback_with_it_in_every_field_is_kept_or_refused(up: Up, name: str) -> None:
    said = HOSTILE[name]
    fields = ("session_id", "trace_id", "run_id", "handoff_id", "agent", "name", "label", "comment", "source", "id")
    for given in fields:
        about = {"session_id": f"{name} {said}", "score": 0.5, given: said}
        reply = httpx.post(f"{up.url}/api/v1/feedback", json=about, timeout=60)
        assert reply.status_code in (201, 404, 422), (given, reply.status_code, reply.text[:300])
        assert reply.headers["content-type"].startswith("application/json")
    rows = answer("query", "SELECT * FROM evaluations", f"--url={up.url}")
    assert isinstance(rows, list)


@pytest.mark.parametrize("text", ['"\\ud800"', '"\\udfff\\ud800"', '"\xff\xfe"', '"a\\u0000b"'])
def test_json_with_half_a_character_is_kept_readable_or_refused(up: Up, text: str) -> None:
    now = time.time_ns()
    span = (
        f'{{"traceId":"{now:032x}","spanId":"00000000000000aa","name":{text},"startTimeUnixNano":"{now}",'
        f'"endTimeUnixNano":"{now}","attributes":[{{"key":{text},"value":{{"stringValue":{text}}}}}]}}'
    )
    body = f'{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}'.encode("latin-1")
    reply = httpx.post(
        f"{up.otlp_http}/v1/traces", content=body, headers={"Content-Type": "application/json"}, timeout=60
    )
    assert reply.status_code in (200, 400)
    if reply.status_code == 200:
        found = eventually(lambda: query(up, f"SELECT SpanName AS n FROM otel_traces WHERE TraceId = '{now:032x}'"))
        found[0]["n"].encode()  # is text
    for address in (f"{up.url}/graphql", f"{up.url}/api/v1/feedback"):
        given = b'{"query": %b, "session_id": %b, "score": 1}' % (text.encode("latin-1"), text.encode("latin-1"))
        reply = httpx.post(address, content=given, headers={"Content-Type": "application/json"}, timeout=60)
        assert reply.status_code in (200, 201, 400, 404, 422), (address, reply.status_code, reply.text[:300])


def test_headers_that_are_hostile_are_refused_or_ignored_and_in_no_log(up: Up) -> None:
    for said in ("\x1b]0;owned\x07", "a" * 9000, "\xff\xfe", "'; DROP TABLE x; --", "Bearer " + "x" * 5000):
        for name in (
            "User-Agent",
            "Authorization",
            "Content-Type",
            "Content-Encoding",
            "X-Scope-OrgID",
            "Host",
            "Traceparent",
        ):
            raw = said.encode("latin-1")
            for address in (f"{up.otlp_http}/v1/traces", f"{up.url}/metrics", f"{up.addresses['clickhouse']}/"):
                try:
                    reply = httpx.post(address, headers=[(name.encode(), raw)], content=b"", timeout=60)
                except httpx.TransportError:
                    continue  # a header that is none is no HTTP: closed
                assert reply.status_code < 500, (address, name, said[:20])


def test_the_log_of_the_server_is_plain_lines(up: Up) -> None:
    """What was refused above was said there too: on one line each, and in characters that no terminal obeys."""
    httpx.post(
        f"{up.otlp_http}/v1/traces", content=b"\xff" + HOSTILE["terminal"].encode(), headers=PROTOBUF, timeout=60
    )
    said = up.log.read_bytes().decode("utf-8")
    assert not _OBEYED.search(said), _OBEYED.search(said)


def test_dead_letters_and_the_doctor_show_it_and_obey_none_of_it(up: Up) -> None:
    letters = DeadLetters(up.data / "deadletter")
    names = [
        letters.add(b"x", signal="traces", reason=f"Code: 26. {said}", token=f"{said[:50]}", items=1, received_ns=1)
        for said in HOSTILE.values()
    ]
    assert len(names) == len(HOSTILE)
    for command in (("deadletter", "list"), ("doctor",)):
        for form in ("table", "json"):
            done = here(*command, f"--data={up.data}", f"--format={form}")
            assert not _OBEYED.search(done.stdout), (command, form, _OBEYED.search(done.stdout))
    reasons = {letter["reason"] for letter in answer("deadletter", "list", f"--data={up.data}")}
    assert f"Code: 26. {HOSTILE['terminal']}" in reasons
    for letter in letters.list():
        letters.forget(letter)


# --- sizes and shapes -------------------------------------------------------------------------------------------------


def nested(levels: int) -> bytes:
    """An AnyValue of arrays, made by hand: encoders have a limit."""
    raw = b"\x0a\x01x"
    for _ in range(levels):
        raw = field(0x2A, field(0x0A, raw))
    return raw


def field(tag: int, raw: bytes) -> bytes:
    size, length = bytearray(), len(raw)
    while length > 0x7F:
        size.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([tag]) + bytes(size) + bytes([length]) + raw


def one_span(name: str, extra: bytes = b"") -> bytes:
    request = ExportTraceServiceRequest()
    span = (
        request.resource_spans.add()
        .scope_spans.add()
        .spans.add(
            trace_id=b"Z" * 16, span_id=name.encode()[:8].ljust(8, b"z"), name=name, start_time_unix_nano=time.time_ns()
        )
    )
    return field(0x0A, field(0x12, field(0x12, span.SerializeToString() + extra)))


def test_a_value_of_four_thousand_levels_reaches_the_table(up: Up) -> None:
    assert send(up, one_span("deep", field(0x4A, field(0x0A, b"deep") + field(0x12, nested(4000))))).status_code == 200
    (row,) = eventually(
        lambda: query(up, "SELECT SpanAttributes['deep'] AS deep FROM otel_traces WHERE SpanName = 'deep'")
    )
    assert row["deep"] == "[" * 4000 + '"x"' + "]" * 4000


@pytest.mark.slow
def test_a_span_of_a_million_attributes_is_stored_or_put_aside_and_holds_up_nobody(up: Up) -> None:
    pairs = b"".join(
        field(0x4A, KeyValue(key=f"k{n}", value=AnyValue(int_value=n)).SerializeToString()) for n in range(1_000_000)
    )
    assert send(up, one_span("wide", pairs)).status_code == 200
    assert send(up, one_span("behind")).status_code == 200

    def settled() -> bool:
        stored = query(up, "SELECT length(SpanAttributes) AS n FROM otel_traces WHERE SpanName = 'wide'")
        letters = answer("deadletter", "list", f"--data={up.data}")
        return stored == [{"n": "1000000"}] or stored == [{"n": 1_000_000}] or len(letters) == 1

    eventually(settled, within_s=120)
    eventually(lambda: query(up, "SELECT 1 AS one FROM otel_traces WHERE SpanName = 'behind'"), within_s=60)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_a_bomb_costs_nothing(up: Up, encoding: str) -> None:
    compress = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstandard.compress}[encoding]
    reply = send(up, compress(bytes(200 << 20)), **{"Content-Encoding": encoding})
    assert reply.status_code == 413
    for address in (f"{up.addresses['clickhouse']}/", f"{up.url}/graphql"):
        headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
        reply = httpx.post(address, content=compress(bytes(200 << 20)), headers=headers, timeout=60)
        assert 400 <= reply.status_code < 500, address


def test_a_bomb_over_grpc_costs_nothing(up: Up) -> None:
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(up.otlp_grpc.removeprefix("grpc://"), options=options) as channel:
        with pytest.raises(grpc.RpcError) as raised:
            channel.unary_unary(EXPORT)(bytes(200 << 20), timeout=60, compression=grpc.Compression.Gzip)
        assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert channel.unary_unary(EXPORT)(b"", timeout=30) == b""


def test_texts_that_are_no_utf8_are_kept_readable(up: Up) -> None:
    array = AnyValue(array_value=ArrayValue(values=[AnyValue(string_value="BAD")]))
    body = one_span("utf8", field(0x4A, KeyValue(key="BAD", value=array).SerializeToString())).replace(
        b"BAD", b"\xff\xfe\xc3"
    )
    assert send(up, body).status_code == 200
    rows = eventually(lambda: query(up, "SELECT SpanAttributes AS a FROM otel_traces WHERE SpanName = 'utf8'"))
    assert rows == [{"a": {"\ufffd\ufffd\ufffd": '["\ufffd\ufffd\ufffd"]'}}]


@pytest.mark.parametrize(
    "query_", ["{" * 5000, "query { " + "a " * 100_000 + "}", "query { ...f } fragment f on Query { ...f }", "\x00"]
)
def test_graphql_that_is_no_question_is_refused(up: Up, query_: str) -> None:
    reply = httpx.post(f"{up.url}/graphql", json={"query": query_}, timeout=60)
    assert reply.status_code in (200, 400)
    assert reply.json().get("errors"), reply.text[:200]


@pytest.mark.parametrize(
    "path",
    ["/api/v1/sessions/%00", "/api/v1/nothing", "/..%2f..%2fetc/passwd", "/api/v1/agents?since=';DROP", "/%ff%fe"],
)
def test_addresses_that_are_none_are_refused(up: Up, path: str) -> None:
    reply = httpx.get(f"{up.url}{path}", timeout=60)
    assert 400 <= reply.status_code < 500, (path, reply.status_code)
    assert "root:" not in reply.text
