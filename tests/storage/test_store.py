"""What every store promises, embedded or behind HTTP."""

from __future__ import annotations

import threading
from datetime import datetime, timezone

import pyarrow as pa
import pytest
from maslens.storage import QueryError, Rejected, Store, Unavailable
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.storage.otlp import NOON


def request(*names: str) -> bytes:
    message = ExportTraceServiceRequest()
    for name in names:
        message.resource_spans.add().scope_spans.add().spans.add(
            name=name, trace_id=name.encode() * 4, span_id=name.encode() * 2, start_time_unix_nano=NOON
        )
    return message.SerializeToString()


def names(store: Store, table: str = "otel_traces") -> list[str]:
    return store.arrow(f"SELECT SpanName FROM {table} ORDER BY SpanName")["SpanName"].to_pylist()


def test_migrating_twice_does_nothing_the_second_time(any_store: Store) -> None:
    assert any_store.migrate() == []


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        pytest.param("String", 'it\'s \\ a\nb\tc\rd\0e é 🙂 `x` "y"', None, id="text that needs escapes"),
        pytest.param("String", "", None, id="empty text"),
        pytest.param("String", "\\N", None, id="text that looks like NULL"),
        pytest.param("Nullable(String)", None, None, id="NULL"),
        pytest.param("UInt64", 2**64 - 1, None, id="largest integer"),
        pytest.param("Float64", -0.1, None, id="float"),
        pytest.param("Bool", False, None, id="boolean"),
        pytest.param("Array(String)", ["a'b", "c\\d", "", "e\nf"], None, id="list of text"),
        pytest.param("Array(String)", [], None, id="empty list"),
        pytest.param("Array(Nullable(UInt8))", [1, None], None, id="list with NULL"),
        pytest.param("Map(String, UInt8)", {"a'": 1}, None, id="map"),
        pytest.param("Tuple(String, Bool)", ("x", True), {"1": "x", "2": True}, id="tuple"),
        pytest.param(
            "DateTime64(6)",
            datetime(2025, 11, 20, 12, 0, 0, 123456, tzinfo=timezone.utc),
            None,
            id="time to the microsecond",
        ),
        pytest.param("Array(DateTime64(6))", [datetime(2025, 1, 1, tzinfo=timezone.utc)], None, id="list of times"),
    ],
)
def test_a_parameter_comes_back_as_it_went_in(any_store: Store, kind: str, value: object, expected: object) -> None:
    (row,) = any_store.rows(f"SELECT {{value:{kind}}} AS value", {"value": value})
    assert row["value"] == (value if expected is None else expected)


def test_arrow_keeps_nanoseconds_and_plain_text(any_store: Store) -> None:
    data = any_store.arrow(
        "SELECT toDateTime64('2025-11-20 12:00:00.123456789', 9) AS at, toLowCardinality('x') AS text"
    )
    assert data.schema.field("at").type == pa.timestamp("ns", "UTC")
    assert data.schema.field("text").type == pa.string()
    assert data["at"].cast(pa.int64()).to_pylist() == [NOON + 123_456_789]


def test_a_result_without_rows_has_its_columns(any_store: Store) -> None:
    assert any_store.arrow("SELECT SpanName, Duration FROM otel_traces").column_names == ["SpanName", "Duration"]


def test_settings_hold_for_one_query(any_store: Store) -> None:
    with pytest.raises(QueryError, match="TOO_MANY_ROWS"):
        any_store.arrow("SELECT * FROM numbers(10)", settings={"max_result_rows": 5})
    assert any_store.arrow("SELECT * FROM numbers(10)").num_rows == 10


def test_a_wrong_statement_says_what_is_wrong(any_store: Store) -> None:
    with pytest.raises(QueryError, match="no_such_table") as caught:
        any_store.rows("SELECT * FROM no_such_table")
    assert caught.value.code == 60


def test_query_raw_cannot_change_anything_unless_told_to(any_store: Store) -> None:
    with pytest.raises(QueryError, match="readonly"):
        any_store.query_raw("TRUNCATE TABLE otel_traces", fmt="TSV")
    assert any_store.query_raw("SELECT 1 AS one", fmt="JSONEachRow") == b'{"one":1}\n'
    any_store.query_raw("TRUNCATE TABLE otel_traces", fmt="TSV", readonly=False)


def test_a_token_is_stored_once(any_store: Store) -> None:
    for _ in range(3):
        any_store.insert_otlp("traces", [request("a"), request("b")], token="t:1")
    any_store.insert_otlp("traces", request("a"), token="t:2")
    assert names(any_store) == ["a", "a", "b"]
    assert names(any_store, "agent_spans") == ["a", "a", "b"]
    assert any_store.rows("SELECT count() AS n FROM otel_traces_trace_id_ts") == [{"n": 3}]


def test_an_empty_request_is_fine(any_store: Store) -> None:
    any_store.insert_otlp("traces", b"", token="empty")
    any_store.insert_otlp("traces", [b"", request("a"), b""], token="nearly empty")
    assert names(any_store) == ["a"]


def test_wrong_bytes_are_rejected(any_store: Store) -> None:
    with pytest.raises(Rejected):
        any_store.insert_otlp("traces", b"\x0a\x05ab", token="bad")


def test_what_failed_for_now_can_be_sent_again(any_store: Store) -> None:
    any_store.command("RENAME TABLE otlp_traces_inbox TO away")
    with pytest.raises(Unavailable):
        any_store.insert_otlp("traces", request("a"), token="t")
    any_store.command("RENAME TABLE away TO otlp_traces_inbox")
    any_store.insert_otlp("traces", request("a"), token="t")
    assert names(any_store) == ["a"]


def test_a_token_sent_again_fills_exactly_the_view_that_failed(any_store: Store) -> None:
    any_store.command("CREATE TABLE counted (name String) ENGINE = MergeTree ORDER BY name"
                      " SETTINGS non_replicated_deduplication_window = 100")  # fmt: skip
    any_store.command("CREATE TABLE broken (n UInt8) ENGINE = MergeTree ORDER BY n")
    any_store.command("INSERT INTO broken VALUES (1)")
    any_store.command(
        "CREATE MATERIALIZED VIEW counting TO counted AS"
        " SELECT SpanName AS name FROM otel_traces WHERE NOT throwIf((SELECT count() FROM broken) > 0, 'told to fail')"
    )
    with pytest.raises(Unavailable, match="told to fail"):
        any_store.insert_otlp("traces", request("a", "b"), token="t")
    any_store.command("TRUNCATE TABLE broken")
    for _ in range(2):
        any_store.insert_otlp("traces", request("a", "b"), token="t")
    assert names(any_store) == ["a", "b"]
    assert names(any_store, "agent_spans") == ["a", "b"]
    assert any_store.rows("SELECT name FROM counted ORDER BY name") == [{"name": "a"}, {"name": "b"}]


def test_arrow_goes_in_by_column_name(any_store: Store) -> None:
    any_store.command(
        "CREATE TABLE t (a UInt64, b Array(LowCardinality(String)), at DateTime64(9, 'UTC'), n Nullable(Float64),"
        " d UInt8 DEFAULT 7) ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 100"
    )
    data = pa.table(
        {
            "at": pa.array([NOON], pa.timestamp("ns", "UTC")),
            "n": pa.array([None], pa.float64()),
            "b": pa.array([["x", "y"]], pa.large_list(pa.string_view())),
            "a": pa.array([2**63], pa.uint64()),
        }
    )
    for _ in range(2):
        any_store.insert_arrow("t", data, token="once")
    any_store.insert_arrow("t", data.slice(0, 0), token="nothing")
    assert any_store.rows("SELECT *, toUnixTimestamp64Nano(at) AS ns FROM t") == [
        {
            "a": 2**63,
            "b": ["x", "y"],
            "at": datetime(2025, 11, 20, 12, tzinfo=timezone.utc),
            "n": None,
            "d": 7,
            "ns": NOON,
        }
    ]


def test_one_insert_of_arrow_becomes_visible_at_once(any_store: Store) -> None:
    """The sidecar's ledger rests on this: many rows in many record batches are one part."""
    any_store.command("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    any_store.command("SYSTEM STOP MERGES t")
    data = pa.Table.from_batches(
        [pa.record_batch({"a": range(start, start + 1000)}) for start in range(0, 300_000, 1000)]
    )
    any_store.insert_arrow("t", data, token="many")
    assert any_store.rows(
        "SELECT count() AS parts, sum(rows) AS rows FROM system.parts"
        " WHERE database = currentDatabase() AND table = 't' AND active"
    ) == [{"parts": 1, "rows": 300_000}]


def test_threads_share_a_store(any_store: Store) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            any_store.insert_otlp("traces", request(f"n{number}"), token=f"thread:{number}")
            assert any_store.rows("SELECT {n:UInt8} AS n", {"n": number}) == [{"n": number}]
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert names(any_store) == sorted(f"n{number}" for number in range(12))
