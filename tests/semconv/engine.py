"""chDB in a process of its own: a process can open one data directory only, and other tests open theirs.

Run as a program it answers one line (`{"sql": …, "format": …}`) with one line (`{"result": …}` or `{"error": …}`).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from maslens.semconv.dialects.columns import AGENT_SPAN_COLUMNS
from maslens.semconv.dialects.python import RawSpan
from maslens.semconv.dialects.sql import agent_spans_select

OTEL_TRACES = """
CREATE TABLE otel_traces (
  Timestamp DateTime64(9), TraceId String, SpanId String, ParentSpanId String, TraceState String,
  SpanName LowCardinality(String), SpanKind LowCardinality(String), ServiceName LowCardinality(String),
  ResourceAttributes Map(LowCardinality(String), String), ScopeName String, ScopeVersion String,
  SpanAttributes Map(LowCardinality(String), String), Duration UInt64,
  StatusCode LowCardinality(String), StatusMessage String,
  Events Nested (Timestamp DateTime64(9), Name LowCardinality(String), Attributes Map(LowCardinality(String), String)),
  Links Nested (TraceId String, SpanId String, TraceState String, Attributes Map(LowCardinality(String), String))
) ENGINE = MergeTree PARTITION BY toDate(Timestamp) ORDER BY (ServiceName, SpanName, toDateTime(Timestamp))
"""


class Engine:
    """`otel_traces` of the Collector's exporter in front of the view that fills `agent_spans`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(folder / "data")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.query(OTEL_TRACES)
        columns = ", ".join(f"{column.name} {column.type}" for column in AGENT_SPAN_COLUMNS)
        self.query(f"CREATE TABLE agent_spans ({columns}) ENGINE = MergeTree ORDER BY (TraceId, SpanId)")
        self.query(f"CREATE MATERIALIZED VIEW agent_spans_mv TO agent_spans AS {agent_spans_select()}")

    def query(self, sql: str, format: str = "JSONEachRow") -> list[dict[str, Any]]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"sql": sql, "format": format}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return [json.loads(line) for line in answer["result"].splitlines()]

    def resolve(self, spans: Iterable[RawSpan]) -> list[dict[str, Any]]:
        """The rows of `agent_spans`, in the order of `spans`, through the materialized view."""
        rows = [row(span, number) for number, span in enumerate(spans)]
        file = self._folder / "rows.jsonl"
        file.write_text("\n".join(json.dumps(one, ensure_ascii=False) for one in rows), encoding="utf-8")
        self.query("TRUNCATE TABLE otel_traces")
        self.query("TRUNCATE TABLE agent_spans")
        self.query(f"INSERT INTO otel_traces FROM INFILE '{file}' FORMAT JSONEachRow")
        settings = "SETTINGS output_format_json_quote_64bit_integers = 0, output_format_json_escape_forward_slashes = 0"
        found = self.query(f"SELECT *, toUnixTimestamp64Nano(Timestamp) AS Timestamp FROM agent_spans {settings}")
        assert len(found) == len(rows)
        return sorted(found, key=lambda one: one["Timestamp"])

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


def row(span: RawSpan, number: int) -> Mapping[str, Any]:
    """`span` as the exporter stores it, its timestamp replaced by its number so that order is kept."""
    return {
        "Timestamp": f"1700000000.{number:09d}",
        "TraceId": span.trace_id,
        "SpanId": span.span_id,
        "ParentSpanId": span.parent_span_id,
        "SpanName": span.span_name,
        "SpanKind": span.span_kind,
        "ServiceName": span.service_name,
        "ResourceAttributes": dict(sorted(span.resource.items())),
        "ScopeName": span.scope_name,
        "SpanAttributes": dict(sorted(span.attributes.items())),
        "Duration": span.duration_ns,
        "StatusCode": span.status_code,
        "StatusMessage": span.status_message,
        "Events.Timestamp": ["1700000000.000000000" for _ in span.events],
        "Events.Name": [name for name, _ in span.events],
        "Events.Attributes": [dict(sorted(attributes.items())) for _, attributes in span.events],
        "Links.TraceId": [trace_id for trace_id, _, _ in span.links],
        "Links.SpanId": [span_id for _, span_id, _ in span.links],
        "Links.TraceState": ["" for _ in span.links],
        "Links.Attributes": [dict(sorted(attributes.items())) for _, _, attributes in span.links],
    }


def _serve(folder: str) -> None:
    import chdb

    connection = chdb.connect(folder)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = {"result": str(connection.query(asked["sql"], asked["format"]))}
        except Exception as error:  # whatever the engine says goes back to the test
            answer = {"error": str(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    connection.close()


if __name__ == "__main__":
    _serve(sys.argv[1])
