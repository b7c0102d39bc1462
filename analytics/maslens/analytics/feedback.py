"""Feedback sent to the API: checked, made a log record with an event name like any other, and stored once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import uuid4

from maslens.analytics.reads import Read
from maslens.semconv import attributes as names
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Insert = Callable[[bytes, str], None]  # a serialized ExportLogsServiceRequest and its token
Text = Annotated[str, Field(max_length=512)]
MOST = 1_000  # in one request

_OUTCOMES = Literal["success", "partial", "failure", "abandoned", "cancelled"]


class Feedback(BaseModel):
    """What somebody thought of a session, a run, a handoff or a span. At least one of them is named, and something is
    said: a score, a label or how the task ended."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[Text, Field(description="Sent again under the same id, it is stored once; made up if left out")] = ""
    name: Annotated[Text, Field(description="What was judged, as `helpfulness`")] = "feedback"
    score: float | None = None
    label: Text = ""
    explanation: Annotated[str, Field(max_length=65_536)] = ""
    outcome: Annotated[_OUTCOMES | None, Field(description="How the task really ended; replaces what was inferred")] = (
        None
    )
    session_id: Text = ""
    trace_id: Annotated[str, Field(pattern="^([0-9a-fA-F]{32})?$")] = ""
    span_id: Annotated[str, Field(pattern="^([0-9a-fA-F]{16})?$", description="Needs trace_id")] = ""
    run_id: Annotated[Text, Field(description="A run as `maslens runs` names it")] = ""
    handoff_id: Text = ""
    agent: Annotated[Text, Field(description="Who is judged, where no span says it")] = ""
    evaluator: Annotated[Literal["human", "llm_judge", "code", "implicit"], Field()] = "human"
    evaluator_id: Text = ""
    at: Annotated[datetime | None, Field(description="When it was said; now, if left out")] = None

    @field_validator("score")
    @classmethod
    def _is_a_number(cls, score: float | None) -> float | None:
        if score is not None and not math.isfinite(score):
            raise ValueError("score must be a finite number")
        return score

    @model_validator(mode="after")
    def _says_something_of_something(self) -> Feedback:
        if self.score is None and not self.label and self.outcome is None:
            raise ValueError("feedback needs a score, a label or an outcome")
        if not (self.session_id or self.trace_id or self.run_id or self.handoff_id):
            raise ValueError("feedback needs what it is about: session_id, trace_id, run_id or handoff_id")
        if self.span_id and not self.trace_id:
            raise ValueError("span_id needs trace_id")
        return self


class Unknown(Exception):
    """Nothing stored has the id that the feedback is about."""


def located(feedback: Feedback, rows: Callable[[Read], Sequence[dict[str, Any]]]) -> Feedback:
    """`feedback` with the trace and span of the run or handoff that it names. Raises Unknown.

    rows: what a read answers.
    """
    if feedback.trace_id or not (feedback.run_id or feedback.handoff_id):
        return feedback
    if feedback.run_id:
        found = rows(_read("agent_runs", "run_id", "run_id", feedback.run_id, feedback.session_id))
        what = f"run {feedback.run_id!r}"
    else:
        found = rows(_read("handoffs", "handoff_id", "span_id", feedback.handoff_id, feedback.session_id))
        what = f"handoff {feedback.handoff_id!r}"
    if not found:
        raise Unknown(f"no {what}; name the session_id or trace_id too if its spans are still to come")
    at = {name: str(found[0][name]) for name in ("session_id", "trace_id", "span_id")}
    return feedback.model_copy(update=at)


def _read(table: str, column: str, span: str, value: str, session: str) -> Read:
    narrowed = " AND session_id = {session:String}" if session else ""
    return Read(
        sql=f"SELECT session_id, trace_id, {span} AS span_id FROM {table} WHERE {column} = {{value:String}}{narrowed}"
        " LIMIT 1",
        params={"value": value, **({"session": session} if session else {})},
    )


def store(feedback: Feedback, insert: Insert, *, now_ns: int) -> str:
    """Store it, under its id as the token: what is sent again is there once. Returns the id."""
    known = feedback.id or uuid4().hex
    insert(request(feedback, now_ns=now_ns).SerializeToString(), f"feedback:{known}")
    return known


def request(feedback: Feedback, *, now_ns: int) -> ExportLogsServiceRequest:
    """One log record for what was thought, another for how the task ended."""
    at = now_ns if feedback.at is None else int(feedback.at.timestamp() * 1e6) * 1000
    made = ExportLogsServiceRequest()
    resource = made.resource_logs.add()
    resource.resource.attributes.append(_pair("service.name", "maslens.feedback"))
    records = resource.scope_logs.add().log_records
    if feedback.score is not None or feedback.label:
        records.append(_record(names.EVENT_GEN_AI_EVALUATION_RESULT, feedback, _evaluation(feedback), at))
    if feedback.outcome is not None:
        records.append(_record(names.EVENT_MAS_TASK_OUTCOME, feedback, {names.MAS_TASK_OUTCOME: feedback.outcome}, at))
    return made


def _evaluation(feedback: Feedback) -> dict[str, str | float | None]:
    target = next(
        (kind, value)
        for kind, value in (
            ("handoff", feedback.handoff_id),
            ("span", feedback.span_id or feedback.run_id),
            ("agent", feedback.agent),
            ("session", feedback.session_id),
            ("trace", feedback.trace_id),
        )
        if value
    )
    return {
        names.GEN_AI_EVALUATION_NAME: feedback.name,
        names.GEN_AI_EVALUATION_SCORE_VALUE: feedback.score,
        names.GEN_AI_EVALUATION_SCORE_LABEL: feedback.label,
        names.GEN_AI_EVALUATION_EXPLANATION: feedback.explanation,
        names.GEN_AI_EVALUATION_EVALUATOR_TYPE: feedback.evaluator,
        names.GEN_AI_EVALUATION_EVALUATOR_ID: feedback.evaluator_id,
        names.MAS_EVALUATION_TARGET_TYPE: target[0],
        names.MAS_EVALUATION_TARGET_ID: target[1],
        names.MAS_HANDOFF_ID: feedback.handoff_id,
        names.GEN_AI_AGENT_NAME: feedback.agent,
    }


def _record(event: str, feedback: Feedback, said: dict[str, Any], at: int) -> LogRecord:
    told = {**said, names.SESSION_ID: feedback.session_id}
    return LogRecord(
        time_unix_nano=at,
        observed_time_unix_nano=at,
        event_name=event,
        trace_id=bytes.fromhex(feedback.trace_id),
        span_id=bytes.fromhex(feedback.span_id),
        attributes=[_pair(key, value) for key, value in told.items() if value is not None and value != ""],
    )


def _pair(key: str, value: str | float) -> KeyValue:
    if isinstance(value, str):
        return KeyValue(key=key, value=AnyValue(string_value=value))
    return KeyValue(key=key, value=AnyValue(double_value=value))
