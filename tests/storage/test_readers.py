"""What readers of the tables may rest on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from maslens.analytics import feed
from maslens.analytics.feed import Position, read_news
from maslens.storage import Store
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.storage.endpoint import ROOT
from tests.storage.otlp import NOON


def send(store: Store, token: str, *spans: tuple[int, int]) -> None:
    """Spans given as (trace, span)."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for trace, span in spans:
        scope.spans.add(
            trace_id=trace.to_bytes(16, "big"),
            span_id=span.to_bytes(8, "big"),
            start_time_unix_nano=NOON + span,
            end_time_unix_nano=NOON + 10**9,
        )
    store.insert_otlp("traces", request.SerializeToString(), token=token)


def arrived(store: Store, after: Position) -> tuple[list[int], Position]:
    """The ids of the spans after a position, and the next position."""
    news = read_news(store, after, limit=1_000_000)
    return sorted(int(span, 16) for span in news.spans["SpanId"]), news.upto


def test_what_arrives_is_read_once_and_merging_changes_nothing(store: Store) -> None:
    start = Position()
    assert arrived(store, start) == ([], start)
    send(store, "a", (1, 1), (1, 2), (2, 3))
    first, position = arrived(store, start)
    assert first == [1, 2, 3]
    assert arrived(store, position) == ([], position)
    send(store, "b", (2, 4), (3, 5))
    send(store, "c", (3, 6))
    second, later = arrived(store, position)
    assert second == [4, 5, 6]
    store.command("OPTIMIZE TABLE agent_spans FINAL")
    assert arrived(store, position) == (second, later)
    assert arrived(store, later) == ([], later)


def test_a_batch_sent_again_is_no_news(store: Store) -> None:
    send(store, "a", (1, 1))
    _, position = arrived(store, Position())
    send(store, "a", (1, 1))
    assert arrived(store, position) == ([], position)


def test_only_parts_with_newer_blocks_are_read(store: Store) -> None:
    store.command("SYSTEM STOP MERGES agent_spans")
    for number in range(5):
        send(store, f"t{number}", (number, number))
    _, position = arrived(store, Position())
    send(store, "new", (9, 9))
    plan = store.rows(
        f"EXPLAIN indexes = 1 SELECT SpanId FROM agent_spans WHERE {feed._NEWER}",
        {"after": position.spans, "upto": position.spans + 100},
    )
    assert "Parts: 1 | Granules: 1" in " ".join(row["explain"].strip() for row in plan)


def test_values_the_engine_could_not_write_out_are_found(store: Store) -> None:
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    spans.add(start_time_unix_nano=NOON, span_id=b"\x01" * 8).attributes.add(key="a").value.array_value.SetInParent()
    spans.add(start_time_unix_nano=NOON, span_id=b"\x02" * 8).attributes.add(key="b").value.string_value = "[]"
    store.insert_otlp("traces", request.SerializeToString(), token="t")
    assert store.rows("SELECT signal, SpanId FROM undecoded_values") == [{"signal": "traces", "SpanId": "01" * 8}]


IN_ANOTHER_ZONE = """
import sys
from maslens.storage import open_store
from tests.storage.test_readers import send
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
