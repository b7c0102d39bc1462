"""What spans show when something is set up wrong: one question to the tables a symptom, and its cure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Symptom:
    """`sql` answers one row: how many are `bad`, `of` how many, and perhaps an `example`."""

    check: str
    said: str  # "12 of 300 …"
    cure: str
    sql: str


SYMPTOMS = (
    Symptom(
        check="clock",
        said="spans start in the future",
        cure="set the sender's clock (NTP); durations stay right, times and windows do not",
        sql="""
SELECT uniqCombined64If(id, future) AS bad, uniqCombined64(id) AS of, anyIf(ServiceName, future) AS example
FROM (
    SELECT (TraceId, SpanId) AS id, ServiceName, Timestamp > now64(9) + INTERVAL 2 MINUTE AS future FROM agent_spans
)""",
    ),
    Symptom(
        check="agents",
        said="model calls belong to no agent",
        cure="name the agents: maslens.instrumentation.agent(...), or an instrumentor that writes gen_ai.agent.name",
        sql="""
SELECT countIf(nobodys) AS bad, count() AS of, anyIf(model, nobodys) AS example
FROM (SELECT model, agent IN ('', '(unattributed)') AS nobodys FROM llm_calls)""",
    ),
    Symptom(
        check="attribute limit",
        said="spans lost attributes in the app's SDK",
        cure="set OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=10000 in the app: what is dropped first is tokens and model",
        sql="""
SELECT uniqCombined64If((TraceId, SpanId), DroppedAttributes > 0) AS bad, uniqCombined64((TraceId, SpanId)) AS of,
    anyIf(SpanName, DroppedAttributes > 0) AS example
FROM agent_spans""",
    ),
    Symptom(
        check="token counts",
        said="model calls do not say their tokens",
        cure="let the model client report usage when it streams (stream_options.include_usage, stream_usage=True)",
        sql="""
SELECT countIf(silent) AS bad, count() AS of, anyIf(model, silent) AS example
FROM (SELECT model, NOT tokens_known AND status != 'error' AS silent FROM llm_calls)""",
    ),
    Symptom(
        check="prices",
        said="model calls have no price",
        cure="update genai-prices, or check the model's name; unpriced calls are in no sum",
        sql="""
SELECT countIf(unpriced) AS bad, count() AS of,
    arrayStringConcat(arraySlice(groupUniqArrayIf(model, unpriced), 1, 3), ', ') AS example
FROM (SELECT model, isNull(cost_usd) AND tokens_known AS unpriced FROM llm_calls)""",
    ),
    Symptom(
        check="session ids",
        said="traces carry no session id",
        cure="set gen_ai.conversation.id or session.id, or use maslens.instrumentation.session(id): without it every "
        "trace is a session of its own",
        sql="""
SELECT countIf(id = '') AS bad, count() AS of
FROM (SELECT max(SessionId) AS id FROM agent_spans GROUP BY TraceId)""",
    ),
    Symptom(
        check="double instrumentation",
        said="model answers were traced more than once",
        cure="two libraries trace the same calls; switch one off with OTEL_PYTHON_DISABLED_INSTRUMENTATIONS (the facts "
        "count each call once)",
        sql="""
SELECT countIf(doubled) AS bad, count() AS of, anyIf(scopes, doubled) AS example
FROM (
    SELECT
        uniqExact(ScopeName) > 1 AND max(Timestamp) - min(Timestamp) < 60 AS doubled,
        arrayStringConcat(arraySort(groupUniqArray(ScopeName)), ' and ') AS scopes
    FROM agent_spans WHERE ResponseId != '' AND Kind = 'llm' GROUP BY ResponseId
)""",
    ),
    Symptom(
        check="repeated spans",
        said="spans arrived more than once",
        cure="two exporters or collectors send the same spans (the facts count each span once)",
        sql="SELECT count() - uniqExact(TraceId, SpanId) AS bad, count() AS of FROM agent_spans",
    ),
)
