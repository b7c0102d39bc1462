"""The same request through the real Collector's ClickHouse exporter and through us: the rows must be the same.

Values of every kind, nested at random, on spans, events, links, resources, scopes, log bodies and attributes.
"""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from maslens.collector_processor.inspection import Window
from maslens.collector_processor.intake import prepare
from maslens.storage import Store, open_store
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.bench.processes import free_port, wait_until
from tests.contract.collector.build import collector, missing
from tests.storage.endpoint import served

CONFIG = Path(__file__).parent / "oracle.yaml"
TRACES = """
SELECT Timestamp, TraceId, SpanId, ParentSpanId, TraceState, SpanName, SpanKind, ServiceName, ResourceAttributes,
    ScopeName, ScopeVersion, SpanAttributes, Duration, StatusCode, StatusMessage, `Events.Timestamp` AS ets,
    `Events.Name` AS en, `Events.Attributes` AS ea, `Links.TraceId` AS lt, `Links.SpanId` AS ls,
    `Links.TraceState` AS lts, `Links.Attributes` AS la
FROM {database}otel_traces ORDER BY SpanId"""
LOGS = """
SELECT Timestamp, TraceId, SpanId, TraceFlags, SeverityText, SeverityNumber, ServiceName, Body, ResourceSchemaUrl,
    ResourceAttributes, ScopeSchemaUrl, ScopeName, ScopeVersion, ScopeAttributes, LogAttributes
FROM {database}otel_logs ORDER BY SpanId"""
TEXTS = [
    "",
    "plain",
    "é日本😀",
    "<b>&'\"\\/",
    "line\nbreak\ttab",
    "\x00\x1f\x7f",
    "\u2028\u2029",
    "a" * 300,
    "1",
    "null",
]
DOUBLES = [
    0.0, -0.0, 0.1, 1.0, -1.5, 1e20, 1e21, 1.5e300, 1e-6, 1e-7, 123456789.0, 5e-324, 2.0**53, 1 / 3, 1e15, 1e16, 1e17,
    1e22, -2.5e-8, 100.0, 1234567.0, 12345678.9, 3.0e6, 1.7976931348623157e308,
]  # fmt: skip


def value(rng: random.Random, depth: int = 4, *, finite: bool = False) -> AnyValue:
    kind = rng.randrange(8 if depth else 6)
    if kind == 0:
        return AnyValue(string_value=rng.choice(TEXTS))
    if kind == 1:
        return AnyValue(bool_value=rng.random() < 0.5)
    if kind == 2:
        return AnyValue(int_value=rng.choice([0, -1, 2**63 - 1, -(2**63), rng.randrange(10**6)]))
    if kind == 3:
        odd = [] if finite else [math.nan, math.inf, -math.inf]
        return AnyValue(double_value=rng.choice([*DOUBLES, rng.uniform(-1e9, 1e9), rng.uniform(-1, 1), *odd]))
    if kind == 4:
        return AnyValue(bytes_value=rng.randbytes(rng.randrange(6)))
    if kind == 5:
        return AnyValue()
    if kind == 6:
        inner = [value(rng, depth - 1, finite=True) for _ in range(rng.randrange(4))]
        return AnyValue(array_value=ArrayValue(values=inner))
    return AnyValue(kvlist_value=KeyValueList(values=attributes(rng, depth - 1, finite=True)))


def attributes(rng: random.Random, depth: int = 4, *, finite: bool = False) -> list[KeyValue]:
    keys = rng.sample(["a", "b", "B", "z.y", "é", "0", "with space", 'quo"te', "\u2028"], rng.randrange(5))
    return [KeyValue(key=key, value=value(rng, depth, finite=finite)) for key in keys]


def requests(seed: int, number: int) -> tuple[bytes, bytes]:
    """Traces and logs: `number` items each, a resource of its own for every one."""
    rng, now = random.Random(seed), time.time_ns()
    traces, logs = ExportTraceServiceRequest(), ExportLogsServiceRequest()
    for index in range(1, number + 1):
        group = traces.resource_spans.add()
        group.resource.attributes.extend(attributes(rng))
        if rng.random() < 0.5:
            group.resource.attributes.append(KeyValue(key="service.name", value=value(rng)))
        scope = group.scope_spans.add()
        scope.scope.name, scope.scope.version = rng.choice(TEXTS), rng.choice(TEXTS)
        span = scope.spans.add(
            trace_id=rng.randbytes(15) + b"t", span_id=index.to_bytes(8, "big"), name=rng.choice(TEXTS),
            parent_span_id=rng.choice([b"", rng.randbytes(7) + b"p"]), kind=rng.randrange(6), trace_state="a=b",
            start_time_unix_nano=now + index, end_time_unix_nano=now + index + rng.randrange(10**12),
            attributes=attributes(rng),
        )  # fmt: skip
        span.status.code, span.status.message = rng.randrange(3), rng.choice(TEXTS)
        for _ in range(rng.randrange(3)):
            span.events.add(time_unix_nano=now, name=rng.choice(TEXTS), attributes=attributes(rng))
            span.links.append(
                Span.Link(
                    trace_id=rng.randbytes(16), span_id=rng.randbytes(8), trace_state="c=d", attributes=attributes(rng)
                )
            )
        of = logs.resource_logs.add(schema_url="https://resource")
        of.resource.attributes.extend(attributes(rng))
        lines = of.scope_logs.add(schema_url="https://scope")
        lines.scope.name, lines.scope.version = rng.choice(TEXTS), rng.choice(TEXTS)
        lines.scope.attributes.extend(attributes(rng))
        record = lines.log_records.add(
            time_unix_nano=now + index, span_id=index.to_bytes(8, "big"), trace_id=rng.randbytes(15) + b"t",
            severity_number=rng.randrange(1, 25), severity_text=rng.choice(TEXTS), flags=rng.randrange(2),
            attributes=attributes(rng),
        )  # fmt: skip
        record.body.CopyFrom(value(rng))
    return traces.SerializeToString(), logs.SerializeToString()


@dataclass(frozen=True)
class Oracle:
    url: str  # of the Collector's OTLP
    theirs: Store


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    if (reason := missing()) is not None:
        pytest.skip(reason)
    folder, port = tmp_path_factory.mktemp("oracle"), free_port()
    with served(folder / "data") as (clickhouse, _pid):
        theirs = open_store(f"http://127.0.0.1:{clickhouse}/maslens")
        theirs.migrate()
        environment = {
            **os.environ,
            "OTELCOL_HTTP_ENDPOINT": f"127.0.0.1:{port}",
            "CLICKHOUSE_ENDPOINT": f"http://127.0.0.1:{clickhouse}",
            "CLICKHOUSE_DATABASE": "maslens",
        }
        log = folder / "otelcol.log"
        with log.open("wb") as out:
            front = subprocess.Popen(
                [str(collector()), "--config", str(CONFIG)], env=environment, stdout=out, stderr=out
            )
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: _listens(url, front, log), timeout_s=60, what="the Collector")
            yield Oracle(url, theirs)
        finally:
            front.terminate()
            front.wait(30)
            theirs.close()


def _listens(url: str, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    try:
        urllib.request.urlopen(f"{url}/v1/traces", timeout=2)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def rows(store: Store, sql: str) -> list[dict[str, Any]]:
    settings = {"output_format_json_quote_denormals": 1}
    raw = store.query_raw(sql.replace("{database}", ""), fmt="JSONEachRow", settings=settings)
    return [json.loads(line) for line in raw.splitlines()]


def differences(left: Any, right: Any, where: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(left, dict) and isinstance(right, dict) and left.keys() == right.keys():
        for key in left:
            yield from differences(left[key], right[key], f"{where}/{key}")
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for index, (one, other) in enumerate(zip(left, right, strict=True)):
            yield from differences(one, other, f"{where}/{index}")
    elif left != right:
        yield where, left, right


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_collector_and_we_store_the_same(oracle: Oracle, tmp_path: Path) -> None:
    number = 120
    traces, logs = requests(seed=int(time.time()) // 86400, number=number)  # others every day
    for signal, body in (("traces", traces), ("logs", logs)):
        sent = urllib.request.Request(f"{oracle.url}/v1/{signal}", body, {"Content-Type": "application/x-protobuf"})
        try:
            with urllib.request.urlopen(sent, timeout=120) as answer:
                assert answer.status == 200
        except urllib.error.HTTPError as refused:
            pytest.fail(f"the Collector refuses the {signal}: {refused.read()!r}")
    ours = open_store(f"chdb://{tmp_path / 'ours'}")
    try:
        ours.migrate()
        for signal, body in (("traces", traces), ("logs", logs)):
            kept = prepare(signal, body, now_ns=time.time_ns(), window=Window())  # type: ignore[arg-type]
            assert (kept.items, kept.rejected) == (number, {})
            ours.insert_otlp(signal, kept.body, token=signal)  # type: ignore[arg-type]
        for sql in (TRACES, LOGS):
            mine, expected = rows(ours, sql), rows(oracle.theirs, sql)
            assert len(mine) == len(expected) == number
            for left, right in zip(mine, expected, strict=True):
                different = list(differences(left, right))
                assert not different, f"{left['SpanId']}, ours and theirs: {different[0]}"
    finally:
        ours.close()
