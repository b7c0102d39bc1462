"""Every table that is filled from another says the same before and after its parts are merged."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import polars as pl
import pytest
from maslens.storage import Store
from maslens.storage.views import SPAN_EVENTS
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from tests.storage.otlp import NOON

AT = datetime(2025, 11, 20, 12, tzinfo=timezone.utc)
TABLES = (
    "otel_traces",
    "otel_traces_trace_id_ts",
    "otel_logs",
    "agent_spans",
    "agent_events",
    "fact_sessions",
    "fact_handoffs",
    "sidecar_ledger",
)


def merged(store: Store, sql: str) -> list[dict[str, Any]]:
    """The answer, which must be the same after every table was merged into one part."""
    before = store.rows(sql)
    for table in TABLES:
        store.command(f"OPTIMIZE TABLE {table} FINAL")
    assert store.rows(sql) == before
    return before


def attributes(**pairs: object) -> list[KeyValue]:
    out = []
    for key, value in pairs.items():
        kind = {str: "string_value", float: "double_value", int: "int_value"}[type(value)]
        item = KeyValue(key=key.replace("_", ".").replace("..", "_"))
        setattr(item.value, kind, value)
        out.append(item)
    return out


def send_span(
    store: Store, token: str, second: int, events: Sequence[tuple[str, list[KeyValue]]] = (), **said: object
) -> None:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.extend(attributes(service_name="desk"))
    span = resource.scope_spans.add().spans.add(
        trace_id=b"\x01" * 16,
        span_id=second.to_bytes(8, "big"),
        name="invoke_agent billing",
        start_time_unix_nano=NOON + second * 10**9,
        end_time_unix_nano=NOON + (second + 2) * 10**9,
        attributes=attributes(**said),
    )
    for name, pairs in events:
        span.events.add(name=name, time_unix_nano=NOON, attributes=pairs)
    store.insert_otlp("traces", request.SerializeToString(), token=token)


def test_when_a_trace_was(store: Store) -> None:
    for second in (7, 0, 3):
        send_span(store, f"t{second}", second)
    sql = "SELECT TraceId, toString(min(Start)) AS a, toString(max(End)) AS z FROM otel_traces_trace_id_ts GROUP BY 1"
    assert merged(store, sql) == [{"TraceId": "01" * 16, "a": "2025-11-20 12:00:00", "z": "2025-11-20 12:00:07"}]


def test_spans_arrive_as_agent_spans(store: Store) -> None:
    send_span(store, "t1", 1, gen__ai_operation_name="invoke_agent", gen__ai_agent_name="billing")
    send_span(store, "t2", 2, gen__ai_operation_name="invoke_agent", gen__ai_agent_name="refunds")
    sql = "SELECT AgentName, Duration, ServiceName FROM agent_spans ORDER BY Timestamp"
    assert merged(store, sql) == [
        {"AgentName": "billing", "Duration": 2 * 10**9, "ServiceName": "desk"},
        {"AgentName": "refunds", "Duration": 2 * 10**9, "ServiceName": "desk"},
    ]


def test_events_of_spans_and_log_records_are_typed_alike(store: Store) -> None:
    vote = attributes(mas_vote_option="refund", mas_vote_weight=2.0, mas_vote_confidence=0.5, mas_consensus_id="c1")
    send_span(store, "t", 1, events=[("mas.vote.cast", vote), ("exception", []), ("gen_ai.choice", [])])
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for name, said in (("mas.vote.cast", vote), ("gen_ai.user.message", []), ("", [])):
        scope.log_records.add(event_name=name, time_unix_nano=NOON, trace_id=b"\x01" * 16, attributes=said)
    evaluation = attributes(
        gen__ai_evaluation_name="helpful",
        gen__ai_evaluation_score_value=0.75,
        gen__ai_evaluation_score_label="good",
        gen__ai_evaluation_explanation="it was",
        gen__ai_evaluation_evaluator_type="human",
        mas_evaluation_target_type="session",
        mas_evaluation_target_id="s1",
        session_id="s1",
    )
    scope.log_records.add(
        time_unix_nano=NOON + 1, attributes=[*evaluation, *attributes(event_name="gen_ai.evaluation.result")]
    )
    scope.log_records[-1].body.string_value = "thanks"
    store.insert_otlp("logs", request.SerializeToString(), token="l")
    votes = merged(
        store,
        "SELECT Origin, TraceId, VoteOption, VoteWeight, VoteConfidence, ConsensusId, Score FROM agent_events"
        " WHERE EventName = 'mas.vote.cast' ORDER BY Origin",
    )
    said = {
        "TraceId": "01" * 16,
        "VoteOption": "refund",
        "VoteWeight": 2.0,
        "VoteConfidence": 0.5,
        "ConsensusId": "c1",
        "Score": None,
    }
    assert votes == [{"Origin": "log", **said}, {"Origin": "span", **said}]
    assert store.rows(
        "SELECT EvaluationName, Score, ScoreLabel, Explanation, EvaluatorType, TargetType, TargetId, SessionId, Body"
        " FROM agent_events WHERE EventName = 'gen_ai.evaluation.result'"
    ) == [
        {
            "EvaluationName": "helpful",
            "Score": 0.75,
            "ScoreLabel": "good",
            "Explanation": "it was",
            "EvaluatorType": "human",
            "TargetType": "session",
            "TargetId": "s1",
            "SessionId": "s1",
            "Body": "thanks",
        }
    ]
    assert store.rows("SELECT count() AS n FROM agent_events") == [{"n": 3}]
    assert store.rows("SELECT count() AS n FROM otel_logs") == [{"n": 4}]


def test_events_are_typed_once_however_often_their_insert_is_sent(store: Store) -> None:
    for _ in range(3):
        send_span(store, "t", 1, events=[("mas.vote.cast", attributes(mas_vote_option="refund"))])
        send_span(store, "none", 2, events=[("exception", [])])
    assert store.rows("SELECT EventName, VoteOption FROM agent_events") == [
        {"EventName": "mas.vote.cast", "VoteOption": "refund"}
    ]


def test_a_store_whose_events_were_read_from_the_spans_themselves_goes_on(store: Store) -> None:
    """As it was before `spans_with_events`: one view from otel_traces to agent_events."""
    before = SPAN_EVENTS.replace("FROM spans_with_events", "FROM otel_traces")
    store.command("DROP VIEW spans_with_events_mv")
    store.command("DROP VIEW agent_events_from_spans")
    store.command(f"CREATE MATERIALIZED VIEW agent_events_from_spans TO agent_events AS {before}")
    for name in ("spans_with_events_mv", "agent_events_from_spans"):
        store.command(f"INSERT INTO maslens_migrations (name, checksum) VALUES ('{name}', 'of another text')")
    send_span(store, "before", 1, events=[("mas.vote.cast", attributes(mas_vote_option="refund"))])
    assert store.migrate() == ["spans_with_events_mv", "agent_events_from_spans"]
    send_span(store, "after", 2, events=[("mas.vote.cast", attributes(mas_vote_option="wait"))])
    assert store.rows("SELECT VoteOption FROM agent_events ORDER BY VoteOption") == [
        {"VoteOption": "refund"},
        {"VoteOption": "wait"},
    ]


def write_session(store: Store, version: int, is_deleted: int = 0, **said: object) -> None:
    frame = pl.DataFrame({"session_id": ["s"], **{key: [value] for key, value in said.items()}}).with_columns(
        pl.lit(version, pl.UInt64).alias("version"), pl.lit(is_deleted, pl.UInt8).alias("is_deleted")
    )
    store.insert_arrow("fact_sessions", frame.to_arrow(), token=f"s{version}")


@pytest.mark.parametrize("order", [(1, 2), (2, 1)], ids=["in order", "late"])
def test_the_highest_version_of_a_fact_counts(store: Store, order: tuple[int, int]) -> None:
    for version in order:
        write_session(store, version, outcome=f"outcome {version}", agents=["a", "b"], cost_usd=None)
    assert merged(store, "SELECT session_id, outcome, agents, cost_usd FROM sessions") == [
        {"session_id": "s", "outcome": "outcome 2", "agents": ["a", "b"], "cost_usd": None}
    ]


def test_a_fact_can_be_taken_back_and_come_again(store: Store) -> None:
    write_session(store, 1, outcome="success")
    write_session(store, 2, is_deleted=1)
    assert merged(store, "SELECT * FROM sessions") == []
    write_session(store, 3, outcome="failure")
    assert merged(store, "SELECT outcome FROM sessions") == [{"outcome": "failure"}]


def test_two_handoffs_of_one_span_are_two_facts(store: Store) -> None:
    frame = pl.DataFrame(
        {
            "session_id": "s",
            "trace_id": "t",
            "span_id": "x",
            "source": "a",
            "target": ["b", "c"],
            "at": [AT, AT],
            "version": [1, 1],
        }
    )
    store.insert_arrow("fact_handoffs", frame.to_arrow(), token="h")
    assert merged(store, "SELECT target, at FROM handoffs ORDER BY target") == [
        {"target": "b", "at": AT},
        {"target": "c", "at": AT},
    ]


def test_one_insert_moves_position_totals_and_contributions_together(store: Store) -> None:
    def commit(version: int) -> None:
        frame = pl.DataFrame(
            {
                "kind": ["state", "total", "contribution"],
                "session_id": ["", "", "s"],
                "key": ["position", "runs{}", "runs{}"],
                "text": [f"block {version}", "", ""],
                "net": [0.0, version * 1.5, version * 1.0],
                "shown": [0.0, version * 2.0, 0.0],
                "version": [version] * 3,
            }
        )
        store.insert_arrow("sidecar_ledger", frame.to_arrow(), token=f"commit {version}")

    for version in (1, 2, 2):
        commit(version)
    assert merged(store, "SELECT * FROM sidecar_state") == [{"key": "position", "value": "block 2", "version": 2}]
    assert merged(store, "SELECT * FROM metric_totals") == [
        {"series": "runs{}", "net": 3.0, "shown": 4.0, "version": 2}
    ]
    assert merged(store, "SELECT * FROM session_contributions") == [
        {"session_id": "s", "series": "runs{}", "value": 2.0, "version": 2}
    ]


def test_openinference_annotations_on_a_span_are_evaluations(store: Store) -> None:
    hung = {
        "annotations.0.annotation.name": "correctness",
        "annotations.0.annotation.score": 0.25,
        "annotations.0.annotation.annotator_kind": "LLM",
        "annotations.0.annotation.identifier": "judge-1",
        "annotations.11.annotation.name": "tone",
        "annotations.11.annotation.label": "rude",
        "session.evaluations.0.evaluation.name": "solved",
        "session.evaluations.0.evaluation.score": 1,
        "session.evaluations.0.evaluation.annotator_kind": "HUMAN",
        "session.id": "s1",
        "my.annotations.0.annotation.name": "not one of them",
    }
    send_span(store, "annotated", 1, **{key.replace("_", "__").replace(".", "_"): value for key, value in hung.items()})
    assert store.rows(
        "SELECT EvaluationName, Score, ScoreLabel, EvaluatorType, EvaluatorId, TargetType, SessionId, Origin"
        " FROM agent_events ORDER BY EvaluationName"
    ) == [
        {
            "EvaluationName": name,
            "Score": score,
            "ScoreLabel": label,
            "EvaluatorType": kind,
            "EvaluatorId": judge,
            "TargetType": target,
            "SessionId": "s1",
            "Origin": "span",
        }
        for name, score, label, kind, judge, target in (
            ("correctness", 0.25, "", "llm_judge", "judge-1", "span"),
            ("solved", 1.0, "", "human", "", "session"),
            ("tone", None, "rude", "", "", "span"),
        )
    ]
