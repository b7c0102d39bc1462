"""The named queries."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from maslens.storage import Store, queries
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.storage.endpoint import ROOT
from tests.storage.otlp import NOON


def send(store: Store, token: str, *spans: tuple[int, int], seconds: int = 1, name: str = "") -> None:
    """Spans given as (trace, span)."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for trace, span in spans:
        scope.spans.add(
            trace_id=trace.to_bytes(16, "big"),
            span_id=span.to_bytes(8, "big"),
            name=name,
            start_time_unix_nano=NOON + span,
            end_time_unix_nano=NOON + seconds * 10**9,
        )
    store.insert_otlp("traces", request.SerializeToString(), token=token)


def touched(store: Store, after: int) -> tuple[dict[int, int], int]:
    rows = store.rows(*queries.touched_traces(after))
    return {int(row["TraceId"], 16): row["spans"] for row in rows}, max(
        (row["last_block"] for row in rows), default=after
    )


def test_traces_are_touched_once_by_what_arrives(store: Store) -> None:
    assert touched(store, 0) == ({}, 0)
    send(store, "a", (1, 1), (1, 2), (2, 3))
    first, block = touched(store, 0)
    assert first == {1: 2, 2: 1}
    assert touched(store, block) == ({}, block)
    send(store, "b", (2, 4), (3, 5))
    send(store, "c", (3, 6))
    second, later = touched(store, block)
    assert second == {2: 1, 3: 2}
    store.command("OPTIMIZE TABLE agent_spans FINAL")
    assert touched(store, block) == (second, later)
    assert touched(store, later) == ({}, later)


def test_spans_sent_again_are_not_news(store: Store) -> None:
    send(store, "a", (1, 1))
    _, block = touched(store, 0)
    send(store, "a", (1, 1))
    assert touched(store, block) == ({}, block)


def test_only_parts_with_newer_blocks_are_read(store: Store) -> None:
    store.command("SYSTEM STOP MERGES agent_spans")
    for number in range(5):
        send(store, f"t{number}", (number, number))
    _, block = touched(store, 0)
    send(store, "new", (9, 9))
    sql, params = queries.touched_traces(block)
    plan = [row["explain"].strip() for row in store.rows(f"EXPLAIN indexes = 1 {sql}", params)]
    assert "Parts: 1 | Granules: 1" in " ".join(plan)


def test_events_say_which_trace_or_session_they_are_about(store: Store) -> None:
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    scope.log_records.add(event_name="mas.task.outcome", time_unix_nano=NOON, trace_id=b"\x01" * 16)
    feedback = scope.log_records.add(event_name="gen_ai.evaluation.result", time_unix_nano=NOON)
    for key, value in (("mas.evaluation.target.type", "session"), ("mas.evaluation.target.id", "s1")):
        feedback.attributes.add(key=key).value.string_value = value
    store.insert_otlp("logs", request.SerializeToString(), token="l")
    rows = store.rows(*queries.touched_events(0))
    assert {(row["TraceId"], row["SessionId"]) for row in rows} == {("01" * 16, ""), ("", "s1")}
    assert store.rows(*queries.touched_events(max(row["last_block"] for row in rows))) == []


def test_a_span_stored_twice_is_given_once_and_counted(store: Store) -> None:
    send(store, "collector a", (1, 1), (1, 2))
    send(store, "collector b", (1, 1), (2, 7))
    send(store, "whole after placeholder", (1, 2), seconds=5, name="whole")
    for _ in range(2):
        rows = store.rows(*queries.spans_of([f"{1:032x}"]))
        assert [(int(row["SpanId"], 16), row["Copies"], row["SpanName"]) for row in rows] == [
            (1, 2, ""),
            (2, 2, "whole"),
        ]
        store.command("OPTIMIZE TABLE agent_spans FINAL")
    assert store.rows(*queries.spans_of([])) == []


def test_values_the_engine_could_not_write_out_are_counted(store: Store) -> None:
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(start_time_unix_nano=NOON)
    span.attributes.add(key="a").value.array_value.SetInParent()
    span.attributes.add(key="b").value.string_value = "[]"
    store.insert_otlp("traces", request.SerializeToString(), token="t")
    assert store.rows(*queries.undecoded_values()) == [{"signal": "traces", "rows": 1}]


IN_ANOTHER_ZONE = """
import sys
from maslens.storage import open_store
from tests.storage.test_queries import send
store = open_store("chdb://" + sys.argv[1])
store.migrate()
send(store, "t", (1, 1))
print(store.rows("SELECT toString(Timestamp) AS at, toDate(Timestamp) AS day FROM otel_traces"))
print(store.rows("SELECT partition FROM system.parts WHERE table = 'otel_traces' AND active"))
noon = {"at": "2025-11-20 12:00:00.000000001"}
print(store.rows("SELECT {at:DateTime64(9)} = Timestamp AS same FROM otel_traces", noon))
store.close()
"""


def test_times_are_utc_wherever_the_machine_stands(tmp_path: Path) -> None:
    environment = {**os.environ, "TZ": "Pacific/Kiritimati"}  # UTC+14: noon is another day
    told = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_ZONE, str(tmp_path / "data")],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout.splitlines() == [
        "[{'at': '2025-11-20 12:00:00.000000001', 'day': datetime.date(2025, 11, 20)}]",
        "[{'partition': '2025-11-20'}]",
        "[{'same': 1}]",
    ]
