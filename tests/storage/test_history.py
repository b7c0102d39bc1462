"""Histories that every model call repeats take little space, and come back byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from maslens.collector_processor.flattening import flatten_request
from maslens.storage import Store, migrate, open_store
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.bench.conversations import DIALECTS, Corpus, corpus
from tests.storage.otlp import NOON

TABLES = ("otel_traces", "agent_spans")


@pytest.fixture(scope="module")
def sent() -> Corpus:
    """14 MiB: what is merged of it becomes wide."""
    return corpus(9, 16, at_ns=NOON)


def send(store: Store, bodies: list[bytes], name: str) -> None:
    half = len(bodies) // 2
    for number, part in enumerate((bodies[:half], bodies[half:])):
        store.insert_otlp("traces", [flatten_request("traces", body) for body in part], token=f"{name}:{number}")


def merged_bytes(store: Store) -> dict[str, int]:
    for table in TABLES:
        store.command(f"OPTIMIZE TABLE {table} FINAL")
    rows = store.rows(
        "SELECT table, sum(data_compressed_bytes) AS bytes FROM system.parts"
        " WHERE active AND database = currentDatabase() AND table IN ('otel_traces', 'agent_spans') GROUP BY table"
    )
    return {row["table"]: int(row["bytes"]) for row in rows}


def stored(store: Store) -> dict[str, dict[str, str]]:
    table = store.arrow("SELECT SpanId, SpanAttributes FROM otel_traces")
    return {row["SpanId"]: dict(row["SpanAttributes"]) for row in table.to_pylist()}


def said(bodies: list[bytes]) -> dict[str, dict[str, str]]:
    """The texts of every span as they were sent, arrays and maps as the receiver writes them."""
    found = {}
    for body in bodies:
        request = ExportTraceServiceRequest.FromString(flatten_request("traces", body))
        for group in request.resource_spans:
            for span in group.scope_spans[0].spans:
                found[span.span_id.hex()] = {
                    pair.key: pair.value.string_value or str(pair.value.int_value) for pair in span.attributes
                }
    return found


def test_conversations_are_in_every_dialect_and_repeat_themselves(sent: Corpus) -> None:
    assert sent.turns == 9 * 16
    assert sent.spans == 4 * sent.turns
    assert sum(map(len, sent.bodies)) > 20 * sent.unique_bytes
    texts = b"".join(sent.bodies)
    for sign in (b"llm.input_messages.29.message.content", b"traceloop.entity.input", b"gen_ai.system_instructions"):
        assert sign in texts
    assert len(DIALECTS) == 3


def test_repeated_histories_are_compressed_away_and_no_byte_is_lost(store: Store, sent: Corpus) -> None:
    send(store, sent.bodies, "a")
    expected = said(sent.bodies)
    assert stored(store) == expected
    sizes = merged_bytes(store)
    assert stored(store) == expected
    otlp = sum(map(len, sent.bodies))
    assert sizes["otel_traces"] < 0.07 * otlp
    assert sizes["agent_spans"] < 0.12 * otlp


def test_a_store_that_was_there_before_is_brought_along(
    tmp_path: Path, sent: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parts stay readable, and shrink when they are merged."""
    store = open_store(f"chdb://{tmp_path / 'data'}")
    with monkeypatch.context() as patch:
        older = [each for each in migrate.migrations() if not each.name.startswith("0016")]
        patch.setattr(migrate, "migrations", lambda: older)
        patch.setattr(migrate, "_REPEATED", frozenset())
        patch.setattr(migrate, "_PARTS", "min_bytes_for_wide_part = 134217728")
        store.migrate()
    send(store, sent.bodies, "a")
    expected, before = stored(store), merged_bytes(store)
    applied = store.migrate()
    assert {"0016_history_codecs.sql", "agent_spans"} <= set(applied)
    assert store.migrate() == []
    assert stored(store) == expected
    send(store, sent.bodies[:2], "b")  # something to merge with
    after = merged_bytes(store)
    assert stored(store) == expected
    assert after["otel_traces"] < 0.6 * before["otel_traces"]
    assert after["agent_spans"] < 0.9 * before["agent_spans"]
    kept = store.rows(
        "SELECT name, compression_codec AS codec FROM system.columns WHERE database = currentDatabase()"
        " AND table = 'agent_spans' AND name IN ('InputContent', 'SystemContent')"
    )
    assert {row["codec"] for row in kept} == {"CODEC(ZSTD(1, 24))"}
    store.close()
