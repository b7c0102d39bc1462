"""What strangers' bytes go into, each with the errors it may answer with; anything else that comes out is a bug.

A target takes any bytes. Some of them say how the rest is to be read, so that one target covers several settings.
"""

from __future__ import annotations

import asyncio
import atexit
import gzip
import json
import shutil
import tempfile
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import zstandard
from maslens.cli import otlp_files
from maslens.cli.faults import BadInput
from maslens.collector_processor.deep_values import flatten_deep
from maslens.collector_processor.encodings import decompress
from maslens.collector_processor.errors import JournalError, Malformed, Refused
from maslens.collector_processor.http_server import HttpLimits, HttpServer, Request, Response, _Connection
from maslens.collector_processor.inspection import Window, count
from maslens.collector_processor.intake import prepare
from maslens.collector_processor.journal import Journal, JournalConfig
from maslens.collector_processor.otlp_json import request_from_json
from maslens.collector_processor.redaction import RedactionRules, redact
from maslens.collector_processor.signals import Signal
from maslens.collector_processor.wire import Item
from maslens.instrumentation.carried import BAGGAGE, SPAN, current
from maslens.instrumentation.carrier import carrier_of, opened
from maslens.storage import Rejected, Store, encodings, native_blocks, open_store
from maslens.storage.clickhouse_http import EndpointConfig, _question
from maslens.storage.deduplication_logs import forget_absent
from maslens.storage.errors import QueryError
from opentelemetry.context import Context
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.trace import NonRecordingSpan

from tests.contract.otlp.endpoint import log_json, log_request, trace_json, trace_request

Target: TypeAlias = Callable[[bytes], None]
LIMIT = 1 << 20
NOW = 1_795_000_000 * 10**9
REDACTION = redact(RedactionRules(keys=("*pass*", "k"), patterns=("email", "key", "card"), content_off=("con*",)))
MESSAGES: dict[Signal, Any] = {"traces": ExportTraceServiceRequest, "logs": ExportLogsServiceRequest}


@dataclass(frozen=True)
class Fuzzed:
    target: Target
    seeds: tuple[bytes, ...]
    ready: Callable[[], object] = lambda: None  # what is made once, and is no part of an input's time


def protobuf(data: bytes) -> None:
    """Inspection, flattening, mending, redaction: what is kept is a request that needs nothing more."""
    for signal in MESSAGES:
        try:
            kept = prepare(signal, data, now_ns=NOW, window=Window())
        except Malformed:
            continue
        again = prepare(signal, kept.body, now_ns=NOW, window=Window())
        assert (again.items, again.rejected) == (kept.items, {})
        assert count(again.body) == kept.items
        if kept.items:  # else nothing of it goes anywhere
            redacted = prepare(signal, REDACTION(signal, kept.body), now_ns=NOW, window=Window())
            assert (redacted.items, redacted.rejected) == (kept.items, {})


def otlp_json(data: bytes) -> None:
    for signal in MESSAGES:
        with suppress(Malformed):
            protobuf_of = request_from_json(signal, data)
            prepare(signal, protobuf_of, now_ns=NOW, window=Window())


def deep_values(data: bytes) -> None:
    """The way without the library finds what the library finds, wherever the library can read it."""
    for signal, kind in Item.items():
        try:
            flat = flatten_deep(kind, data)
        except Malformed:
            continue
        with suppress(Exception):
            kind.FromString(data)
            kind.FromString(flat)
        assert flatten_deep(kind, flat) == flat, signal


def compressed(data: bytes) -> None:
    encoding = ("gzip", "deflate", "zstd", "")[data[0] % 4] if data else "gzip"
    with suppress(Refused):
        assert len(decompress(encoding, data[1:], limit=LIMIT)) <= LIMIT
    for theirs in ("gzip", "deflate", "zstd", "lz4"):
        with suppress(ValueError):
            assert len(encodings.decoded(data[1:], theirs, LIMIT)) <= LIMIT
    with suppress(Rejected):
        assert len(native_blocks.decompressed(data[1:], LIMIT)) <= LIMIT


class _Wire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False

    def write(self, data: Any) -> None:
        assert not self.closed, "written after closing"
        self.sent += bytes(data)

    def close(self) -> None:
        self.closed = True

    abort = close

    def write_eof(self) -> None:
        pass

    def can_write_eof(self) -> bool:
        return True

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default


_LOOP: list[asyncio.AbstractEventLoop] = []


def http(data: bytes) -> None:
    """Whatever comes in whatever pieces: answers are HTTP, and what was buffered is given back."""
    if not _LOOP:
        _LOOP.append(asyncio.new_event_loop())
    _LOOP[0].run_until_complete(_http(data))


async def _http(data: bytes) -> None:
    async def handle(request: Request) -> Response:
        return Response(200, request.body[:10])

    server = HttpServer(
        early=lambda request: Response(404) if request.path == "/no" else None,
        handle=handle,
        complain=lambda status, message, _headers: Response(status, message.encode()),
        limits=HttpLimits(max_body_bytes=1000, max_header_bytes=500, max_buffered_bytes=3000),
    )
    connection, wire = _Connection(server), _Wire()
    connection.connection_made(wire)
    step = data[0] + 1 if data else 1
    for start in range(1, len(data), step):
        if wire.closed:
            break
        connection.data_received(data[start : start + step])
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    assert wire.sent == b"" or wire.sent.startswith(b"HTTP/1.1 ")
    connection.connection_lost(None)
    for _ in range(5):
        await asyncio.sleep(0)
    assert server.buffered == 0, server.buffered


@contextmanager
def _folder() -> Iterator[Path]:
    memory = Path("/dev/shm")  # no disk is needed to find out what bytes mean
    folder = Path(tempfile.mkdtemp(prefix="maslens-fuzz-", dir=memory if memory.is_dir() else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def segment(data: bytes) -> None:
    """A journal opens over any segment and any cuts, or says why not; what it hands out, it hands out once."""
    config = JournalConfig(segment_bytes=4096, max_bytes=1 << 20, min_free_bytes=0, reload_without_cuts=True)
    with _folder() as folder:
        (folder / "segments").mkdir()
        if data[:1] == b"\x01":
            (folder / "cuts").write_bytes(data[1:])
        else:
            (folder / "segments" / "000000000001.seg").write_bytes(data[1:])
        try:
            journal = Journal(folder, config)
        except JournalError:
            return
        try:
            for signal in MESSAGES:
                seen = set()
                while batch := journal.cut(signal, max_bytes=100, max_items=10):
                    assert batch.cut.token not in seen
                    seen.add(batch.cut.token)
                    journal.done(batch.cut)
            journal.append("traces", b"next", items=1).result(10)
            after = journal.cut("traces", max_bytes=1 << 20, max_items=10)
            assert after is not None
            assert after.body() == b"next"
        finally:
            journal.close()


def otlp_file(data: bytes) -> None:
    with _folder() as folder:
        path = folder / ("f.xz" if data[:1] == b"\x02" else "f.gz" if data[:1] == b"\x01" else "f.pb")
        path.write_bytes(data[1:])
        try:
            understood = otlp_files.check(path)
        except BadInput as wrong:
            assert "\n" not in str(wrong)
            return
        assert sum(1 for _ in otlp_files.read(understood)) == understood.requests


def clickhouse(data: bytes) -> None:
    """The address line, the headers and the body of a question, up to where the engine reads it."""
    line, _, body = data.partition(b"\n")
    arguments = dict(part.partition("=")[::2] for part in line.decode("latin-1").split("&"))
    headers = {
        "content-type": arguments.pop("content-type", ""),
        "x-clickhouse-database": arguments.pop("x-database", ""),
        "x-clickhouse-format": arguments.pop("x-format", ""),
    }
    for writable in (False, True):
        with suppress(ValueError, Rejected, QueryError):
            _question(arguments, headers, body, EndpointConfig(writable=writable, body_bytes=LIMIT))


_STORE: list[Store] = []


def _store() -> Store:
    """One for the whole process: opening it takes seconds."""
    if not _STORE:
        folder = tempfile.mkdtemp(prefix="maslens-fuzz-")
        _STORE.append(open_store(f"chdb://{folder}"))
        _STORE[0].migrate()
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        atexit.register(close)
    return _STORE[0]


def close() -> None:
    """The engine serves one directory per process: who comes after in this one needs it."""
    while _STORE:
        _STORE.pop().close()


def engine(data: bytes) -> None:
    """What inspection lets pass is taken by the engine: every span and record of it is in its table."""
    for signal, table in (("traces", "otel_traces"), ("logs", "otel_logs")):
        try:
            kept = prepare(signal, data, now_ns=NOW, window=Window())  # type: ignore[arg-type]
        except Malformed:
            continue
        if not kept.items:
            continue
        store = _store()
        store.command(f"TRUNCATE TABLE {table}")
        store.insert_otlp(signal, [bytes(kept.body)], token=uuid.uuid4().hex)  # type: ignore[arg-type]
        assert store.rows(f"SELECT count() AS n FROM {table}") == [{"n": kept.items}], signal


def tokenlog(data: bytes) -> None:
    """A log of tokens in any state: mended once, and then there is nothing to mend."""
    with _folder() as folder:
        table = folder / "store" / "abc" / "abc-def"
        (table / "deduplication_logs").mkdir(parents=True)
        for name in ("202611_1_1_0", "202611_2_9_2"):
            (table / name).mkdir()
        log = table / "deduplication_logs" / "deduplication_log_1.txt"
        log.write_bytes(data)
        forget_absent(folder)
        kept = log.read_bytes().splitlines()
        assert all(line in data.splitlines() for line in kept)
        assert forget_absent(folder) == 0


def carried(data: bytes) -> None:
    """Headers of a message from anybody: joined or not, never an error in the app, nothing that bloats its spans."""
    headers = dict(line.partition(b":")[::2] for line in data.split(b"\n"))
    arrived = opened({name.decode("latin-1"): value for name, value in headers.items()})
    context = Context({BAGGAGE: arrived.baggage, SPAN: NonRecordingSpan(arrived.origin)})
    assert all(len(str(value)) <= 256 for value in current(context).stamp.values())
    again = carrier_of(context, NonRecordingSpan(arrived.origin))
    assert not any("\n" in text or "\r" in text for text in again.values())
    assert opened(again).origin.trace_id == arrived.origin.trace_id


def _requests() -> tuple[bytes, ...]:
    plain = ExportTraceServiceRequest.FromString(
        trace_request("a", "b", start_time_unix_nano=NOW, end_time_unix_nano=NOW)
    )
    plain.resource_spans[0].resource.attributes.add(key="list").value.array_value.values.add(string_value="x@y.zz")
    span = plain.resource_spans[0].scope_spans[0].spans[0]
    span.attributes.add(key="k").value.kvlist_value.values.add(key="pass").value.string_value = '{"k": "v"}'
    span.attributes.add(key="raw").value.bytes_value = b"\xff\x00"
    span.attributes.add(key="card").value.int_value = 4111111111111111
    span.events.add(name="gen_ai.choice").attributes.add(key="content").value.double_value = 1.5
    span.links.add(trace_id=b"l" * 16).attributes.add(key="flag").value.bool_value = True
    return (plain.SerializeToString(), log_request("a"), b"")


def _of_every_kind() -> tuple[bytes, ...]:
    """A span and a record with a value of every kind in every place that takes one."""
    values = [
        AnyValue(string_value="s"),
        AnyValue(bool_value=True),
        AnyValue(int_value=-1),
        AnyValue(double_value=1e300),
    ]
    values += [AnyValue(bytes_value=b"\xff"), AnyValue(), AnyValue(array_value=ArrayValue(values=values))]
    values += [AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="a", value=values[-1])]))]
    pairs = [KeyValue(key=f"k{number}", value=each) for number, each in enumerate(values)]
    traces, logs = ExportTraceServiceRequest(), ExportLogsServiceRequest()
    group = traces.resource_spans.add(schema_url="u")
    group.resource.attributes.extend(pairs)
    scoped = group.scope_spans.add(schema_url="u")
    scoped.scope.name, scoped.scope.version = "n", "v"
    span = scoped.spans.add(
        trace_id=b"t" * 16, span_id=b"s" * 8, parent_span_id=b"p" * 8, trace_state="a=b", flags=1, name="n", kind=3,
        start_time_unix_nano=NOW, end_time_unix_nano=NOW + 5, attributes=pairs, dropped_attributes_count=1,
    )  # fmt: skip
    span.status.code, span.status.message = 2, "m"
    span.events.add(time_unix_nano=NOW, name="e", attributes=pairs)
    span.links.add(trace_id=b"l" * 16, span_id=b"k" * 8, trace_state="c=d", attributes=pairs, flags=1)
    records = logs.resource_logs.add()
    records.resource.attributes.extend(pairs)
    for body in values:
        records.scope_logs.add().log_records.add(
            time_unix_nano=NOW, observed_time_unix_nano=NOW, severity_number=9, severity_text="INFO", body=body,
            attributes=pairs, trace_id=b"t" * 16, span_id=b"s" * 8, flags=1, event_name="gen_ai.evaluation.result",
        )  # fmt: skip
    return traces.SerializeToString(), logs.SerializeToString()


def _segment_of(*payloads: bytes) -> bytes:
    with _folder() as folder:
        journal = Journal(folder, JournalConfig(segment_bytes=4096, max_bytes=1 << 20, min_free_bytes=0))
        for payload in payloads:
            journal.append("traces", payload, items=1).result(10)
        if len(payloads) > 1:
            journal.cut("traces", max_bytes=1, max_items=1)
        journal.close()
        content = (folder / "segments" / "000000000001.seg").read_bytes()
        return b"\x00" + content if payloads else b"\x01" + (folder / "cuts").read_bytes()


def _deep() -> tuple[bytes, ...]:
    request = ExportTraceServiceRequest.FromString(_requests()[0])
    return (request.resource_spans[0].scope_spans[0].spans[0].SerializeToString(),)


def _post(body: bytes, *more: bytes) -> bytes:
    return (
        b"POST /v1/traces HTTP/1.1\r\nHost: x\r\n" + b"".join(more) + b"Content-Length: %d\r\n\r\n" % len(body) + body
    )


TARGETS: dict[str, Fuzzed] = {
    "protobuf": Fuzzed(protobuf, _requests()),
    "json": Fuzzed(otlp_json, (json.dumps(trace_json()).encode(), json.dumps(log_json()).encode(), b"[]")),
    "deep": Fuzzed(deep_values, _deep()),
    "compressed": Fuzzed(
        compressed,
        (
            b"\x00" + gzip.compress(b"hello"),
            b"\x01" + zlib.compress(b"hello"),
            b"\x02" + zstandard.compress(b"hello"),
            b"\x03" + b"".join(native_blocks.compressed(b"hello" * 100)),
        ),
    ),
    "http": Fuzzed(
        http,
        (
            b"\x20" + _post(b"hello") * 2,
            b"\x05POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            b"\xff" + _post(b"x", b"Expect: 100-continue\r\n", b"Connection: close\r\n"),
            b"\x09GET /no HTTP/1.0\r\n\r\n",
        ),
    ),
    "segment": Fuzzed(segment, (_segment_of(b"one"), _segment_of(b"one", b"two", b"three"), _segment_of())),
    "file": Fuzzed(
        otlp_file,
        (
            b"\x00" + _requests()[0],
            b"\x00" + bytes([len(_requests()[1])]) + _requests()[1],
            b"\x00" + json.dumps(trace_json()).encode() + b"\n" + json.dumps(log_json()).encode(),
            b"\x01" + gzip.compress(_requests()[0]),
        ),
    ),
    "engine": Fuzzed(engine, (*_requests()[:2], *_of_every_kind()), _store),
    "tokenlog": Fuzzed(
        tokenlog,
        (
            b"1\t202611_1_1_0\tabc\n1\t202611_3_4_1\tdef\n1\t202611_10_10_0\tghi\n2\t202611_1_1_0\tabc\n",
            b"1\t202611_1_1_0\tab",
        ),
    ),
    "carried": Fuzzed(
        carried,
        (
            (
                b"traceparent:00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\ntracestate:a=1,b=2\n"
                b"baggage:gen_ai.agent.name=billing,mas.task.id=%C3%A9%0d%0a,k=v;p=1"
            ),
        ),
    ),
    "clickhouse": Fuzzed(
        clickhouse,
        (
            b"query=SELECT 1&param_a=1&max_execution_time=5&default_format=JSON\n",
            b"database=default&x-format=CSV\nSELECT {a:String}",
            b"decompress=1&query=INSERT INTO t FORMAT Native\n" + b"".join(native_blocks.compressed(b"x" * 50)),
            (
                b"content-type=multipart/form-data; boundary=b\n--b\r\nContent-Disposition: form-data; "
                b'name="query"\r\n\r\nSELECT 1\r\n--b--\r\n'
            ),
        ),
    ),
}


def check(name: str, data: bytes) -> None:
    """Run one target; slowness is a bug too."""
    TARGETS[name].ready()
    started = time.process_time()
    TARGETS[name].target(data)
    spent = time.process_time() - started
    assert spent < 5.0 + len(data) / 10_000, f"{len(data)} bytes took {spent:.1f} s"
