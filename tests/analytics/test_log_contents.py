"""Contents that arrive as log records are those of the span they name, whichever comes first."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from maslens.analytics import reads
from maslens.collector_processor.inspection import Window
from maslens.collector_processor.intake import prepare
from maslens.storage import Store, open_store
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from tests.analytics.test_sidecar import FACTS, NOON, TABLES, desk, put, sidecar
from tests.validate.captures import log_bodies

TRACE = "a" * 32
DETAILS = "gen_ai.client.inference.operation.details"
_numbers = itertools.count()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = open_store(f"chdb://{tmp_path_factory.mktemp('contents')}")
    store.migrate()
    yield store
    store.close()


@pytest.fixture
def store(opened: Store) -> Store:
    for table in (*TABLES, "log_contents", "otel_logs", *(f"fact_{name}" for name in (*FACTS, "context_drift"))):
        opened.command(f"TRUNCATE TABLE {table}")
    return opened


def value(given: Any) -> AnyValue:
    if isinstance(given, Mapping):
        pairs = [KeyValue(key=key, value=value(one)) for key, one in given.items()]
        return AnyValue(kvlist_value=KeyValueList(values=pairs))
    if isinstance(given, list):
        return AnyValue(array_value=ArrayValue(values=map(value, given)))
    return AnyValue(string_value=given) if isinstance(given, str) else AnyValue(int_value=given)


Record = tuple[str, Any, Mapping[str, Any]]  # event name, body, attributes


def send(store: Store, records: Sequence[Record], span: int = 3, *, trace: str = TRACE, named: bool = True) -> None:
    """As a receiver hands them on. named: the event's name is in its field, not in an attribute."""
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    begin = int(NOON.timestamp()) * 10**9
    for number, (name, body, attributes) in enumerate(records):
        record = scope.log_records.add(
            trace_id=bytes.fromhex(trace), span_id=span.to_bytes(8, "big"), observed_time_unix_nano=begin + number
        )
        if named:
            record.event_name = name
        else:
            record.attributes.add(key="event.name", value=value(name))
        record.attributes.extend(KeyValue(key=key, value=value(one)) for key, one in attributes.items())
        if body is not None:
            record.body.CopyFrom(value(body))
    body = prepare("logs", request.SerializeToString(), now_ns=begin, window=Window()).body
    store.insert_otlp("logs", bytes(body), token=f"contents:{next(_numbers)}")


def told(store: Store) -> dict[str, Any]:
    """What the records say of the one span they are of, opened."""
    (row,) = store.rows("SELECT SystemContent, InputContent, OutputContent FROM span_contents")
    return {name: json.loads(text) if text[:1] in ("[", "{") else text for name, text in row.items()}


ASKED = [{"role": "user", "parts": [{"type": "text", "content": "refund invoice 42"}]}]
ANSWERED = [{"role": "assistant", "parts": [{"type": "text", "content": "done"}], "finish_reason": "stop"}]
CALL = {"id": "c1", "type": "function", "function": {"name": "transfer_to_billing", "arguments": "{}"}}
BODIES: list[Record] = [
    ("gen_ai.system.message", {"content": "You are triage."}, {"gen_ai.system": "openai"}),
    ("gen_ai.user.message", {"content": "refund invoice 42"}, {"gen_ai.system": "openai"}),
    ("gen_ai.assistant.message", {"tool_calls": [CALL]}, {"gen_ai.system": "openai"}),
    ("gen_ai.tool.message", {"id": "c1", "content": "ok"}, {"gen_ai.system": "openai"}),
    ("gen_ai.choice", {"index": 0, "finish_reason": "stop", "message": {"content": "done"}}, {}),
]  # fmt: skip
SAID = {
    "SystemContent": "You are triage.",
    "InputContent": [
        {"role": "system", "content": "You are triage."},
        {"role": "user", "content": "refund invoice 42"},
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "id": "c1", "content": "ok"},
    ],
    "OutputContent": [{"role": "assistant", "content": "done"}],
}


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        pytest.param(
            [(DETAILS, None, {"gen_ai.input.messages": ASKED, "gen_ai.output.messages": ANSWERED})],
            {"SystemContent": "", "InputContent": ASKED, "OutputContent": ANSWERED},
            id="all at once, structured",
        ),
        pytest.param(
            [(DETAILS, None, {"gen_ai.input.messages": json.dumps(ASKED), "gen_ai.system_instructions": "be brief"})],
            {"SystemContent": "be brief", "InputContent": ASKED, "OutputContent": ""},
            id="all at once, as JSON text",
        ),
        pytest.param(BODIES, SAID, id="one a message"),
        pytest.param(
            [(name, json.dumps(body), given) for name, body, given in BODIES], SAID, id="one a message, as JSON text"
        ),
        pytest.param(
            [("gen_ai.user.message", "hi", {}), ("gen_ai.choice", "ho {", {})],
            {
                "SystemContent": "",
                "InputContent": [{"role": "user", "content": "hi"}],
                "OutputContent": [{"role": "assistant", "content": "ho {"}],
            },
            id="plain text",
        ),
        pytest.param(
            [("gen_ai.user.message", {"role": "customer", "content": "hi"}, {}), ("gen_ai.choice", {}, {})],
            {
                "SystemContent": "",
                "InputContent": [{"role": "customer", "content": "hi"}],
                "OutputContent": [{"role": "assistant"}],
            },
            id="with a role, and an empty one",
        ),
    ],
)
@pytest.mark.parametrize("named", [True, False], ids=["event name", "attribute event.name"])
def test_what_records_tell(store: Store, records: list[Record], expected: Mapping[str, Any], named: bool) -> None:
    send(store, records, named=named)
    send(store, records, named=named)  # the exporter sends it again
    assert told(store) == expected


def test_records_of_no_span_and_of_other_events_tell_nothing(store: Store) -> None:
    send(store, [("gen_ai.evaluation.result", "x", {}), ("", "plain log line", {})])
    assert store.rows("SELECT count() AS n FROM log_contents") == [{"n": 0}]


def drift(store: Store) -> list[tuple[Any, ...]]:
    rows = store.rows("SELECT span_id, goal_facts FROM context_drift ORDER BY step")
    return [(row["span_id"][-1], row["goal_facts"]) for row in rows]


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("first", ["spans", "records"])
def test_whichever_comes_first(store: Store, first: str, restart: bool) -> None:
    running = sidecar(store)
    for what in (first, "records" if first == "spans" else "spans"):
        if what == "spans":
            put(store, desk())
        else:
            send(store, BODIES[:2])
        running = sidecar(store) if restart else running
        running.drain()
    assert drift(store)[0] == ("3", 1)  # of the goal: invoice 42
    put(store, [{**desk()[0], "SpanId": "f" * 16}])  # computed again, nothing is forgotten
    sidecar(store).drain()
    assert drift(store)[0] == ("3", 1)


def test_an_answer_in_a_record_names_whom_control_passed_to(store: Store) -> None:
    put(store, desk())
    sidecar(store).drain()
    assert store.rows("SELECT evidence FROM handoffs WHERE target = 'billing'") == [{"evidence": "sequence"}]
    send(store, [("gen_ai.choice", {"message": {"tool_calls": [CALL]}}, {})])
    sidecar(store).drain()
    assert store.rows("SELECT evidence FROM handoffs WHERE target = 'billing'") == [{"evidence": "tool_name"}]


def test_what_the_span_tells_itself_counts(store: Store) -> None:
    spans = desk()
    put(store, [{**spans[0], "InputContent": "its own"}, *spans[1:]])
    send(store, BODIES)
    where = "TraceId = {trace:String} AND SpanId = {span:String}"
    (row,) = store.rows(reads.spans_with_contents(where), {"trace": TRACE, "span": f"{3:016x}"})
    assert (row["InputContent"], json.loads(row["OutputContent"])) == ("its own", SAID["OutputContent"])


def test_a_trace_without_records_costs_no_look(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    arrow = store.arrow

    def noted(sql: str, *rest: Any) -> Any:
        asked.append(sql)
        return arrow(sql, *rest)

    monkeypatch.setattr(store, "arrow", noted)
    put(store, desk())
    running = sidecar(store)
    running.drain()
    assert not [sql for sql in asked if "FROM log_contents" in sql or "FROM span_contents" in sql]


@pytest.mark.captures
@pytest.mark.parametrize(
    ("name", "spans", "goal"),
    [
        ("sdk-contrib-openai-v2-content-pipeline", 4, "cats"),
        ("google-adk-native-content-transfer", 5, "help me"),
        ("agent-framework-native-handoff", 5, "I was double charged on invoice 42"),
        ("openai-agents-openlit-handoff", 5, "I was double charged on invoice 42, refund me"),
    ],
)
def test_contents_of_captured_records(store: Store, shared: Path, name: str, spans: int, goal: str) -> None:
    bodies = log_bodies(shared / "captures", name)
    for number, body in enumerate(bodies):
        ready = prepare("logs", body, now_ns=1_795_200_000 * 10**9, window=Window()).body
        store.insert_otlp("logs", bytes(ready), token=f"{name}:{number}")
    found = pl.DataFrame(store.arrow("SELECT * FROM span_contents"))
    assert len(found) == spans
    assert any(goal in text for text in found["InputContent"])
    for text in (*found["InputContent"], *found["OutputContent"]):
        assert not text or json.loads(text)[0]["role"]
