"""The materialized views: text built here, applied by `migrate` and applied again whenever the text changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

from maslens.semconv.dialects.sql import agent_spans_select


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A materialized view that fills `target` from `source` with every insert."""

    name: str
    source: str
    target: str
    select: str


def views() -> Iterator[View]:
    """In the order they are applied: a view's target exists before it."""
    yield View(name="otel_traces_decode", source="otlp_traces_inbox", target="otel_traces", select=TRACES)
    yield View(
        name="otel_traces_trace_id_ts_mv", source="otel_traces", target="otel_traces_trace_id_ts", select=TRACE_TIMES
    )
    yield View(name="otel_logs_decode", source="otlp_logs_inbox", target="otel_logs", select=LOGS)
    yield View(name="spans_with_events_mv", source="otel_traces", target="spans_with_events", select=WITH_EVENTS)
    yield View(name="agent_events_from_spans", source="spans_with_events", target="agent_events", select=SPAN_EVENTS)
    yield View(name="agent_events_from_logs", source="otel_logs", target="agent_events", select=LOG_EVENTS)
    yield View(name="log_contents_from_logs", source="otel_logs", target="log_contents", select=LOG_CONTENTS)
    yield View(name="agent_spans_mv", source="otel_traces", target="agent_spans", select=agent_spans_select())


def _text(value: str) -> str:
    """An AnyValue as the Collector's `AsString` writes it.

    Arrays and key-value lists are JSON text by the time they come here; should one arrive raw, its bytes are kept,
    marked as what they are (the view `undecoded_values` finds them).
    """
    return f"""coalesce({value}.int_value, {value}.bool_value, {_double(f"{value}.double_value")},
        concat('{{"otlp.array_value":"', base64Encode({value}.array_value), '"}}'),
        concat('{{"otlp.kvlist_value":"', base64Encode({value}.kvlist_value), '"}}'),
        if({value}.bytes_value = '', {value}.string_value, base64Encode({value}.bytes_value)))"""


def _double(text: str) -> str:
    """The engine's text of a double as Go's JSON writes it; they part over infinities, NaN and large exponents."""
    return f"""multiIf(
            {text} IN ('inf', '-inf', 'nan'),
                transform(assumeNotNull({text}), ['inf', '-inf', 'nan'], ['Infinity', '-Infinity', 'NaN'], ''),
            match({text}, 'e[0-9]'), replaceOne({text}, 'e', 'e+'),
            {text})"""


def _map(attributes: str, key: str = "", value: str = "", when: str = "") -> str:
    """Attributes as the Collector stores them: a map sorted by key, every value a string; `when` so, one pair more.

    Sorting keys and values apart is a tenth faster over the whole decoding than sorting pairs.
    """
    keys, values = f"{attributes}.key", f"arrayMap(a -> {_text('a.value')}, {attributes})"
    if when:
        keys, values = (f"arrayConcat({all_}, if({when}, [{one}], []))" for all_, one in ((keys, key), (values, value)))
    return f"CAST((arraySort({keys}), arraySort((v, k) -> k, {values}, {keys})), 'Map(LowCardinality(String), String)')"


def _time(nanoseconds: str) -> str:
    return f"fromUnixTimestamp64Nano(reinterpretAsInt64({nanoseconds}))"


_SPAN_ATTRIBUTES = _map(
    "span.attributes",
    key="'otel.dropped_attributes_count'",  # the OpenTelemetry name where a format has no field for it
    value="toString(span.dropped_attributes_count)",
    when="span.dropped_attributes_count > 0",
)

TRACES = f"""
WITH span.end_time_unix_nano AS ended, span.start_time_unix_nano AS started
SELECT
    {_time("started")} AS Timestamp,
    lower(hex(span.trace_id)) AS TraceId,
    lower(hex(span.span_id)) AS SpanId,
    lower(hex(span.parent_span_id)) AS ParentSpanId,
    span.trace_state AS TraceState,
    span.name AS SpanName,
    transform(span.kind, [0, 1, 2, 3, 4, 5],
        ['Unspecified', 'Internal', 'Server', 'Client', 'Producer', 'Consumer'], '') AS SpanKind,
    ResourceAttributes['service.name'] AS ServiceName,
    ResourceAttributes,
    scope.name AS ScopeName,
    scope.version AS ScopeVersion,
    {_SPAN_ATTRIBUTES} AS SpanAttributes,
    if(ended > started, ended - started, 0) AS Duration,
    transform(span.status.code, [0, 1, 2], ['Unset', 'Ok', 'Error'], '') AS StatusCode,
    span.status.message AS StatusMessage,
    arrayMap(e -> {_time("e.time_unix_nano")}, span.events) AS `Events.Timestamp`,
    span.events.name AS `Events.Name`,
    arrayMap(e -> {_map("e.attributes")}, span.events) AS `Events.Attributes`,
    arrayMap(l -> lower(hex(l.trace_id)), span.links) AS `Links.TraceId`,
    arrayMap(l -> lower(hex(l.span_id)), span.links) AS `Links.SpanId`,
    span.links.trace_state AS `Links.TraceState`,
    arrayMap(l -> {_map("l.attributes")}, span.links) AS `Links.Attributes`
FROM
(
    SELECT ResourceAttributes, scoped.scope AS scope, arrayJoin(scoped.spans) AS span
    FROM
    (
        SELECT {_map("resource.attributes")} AS ResourceAttributes, arrayJoin(scope_spans) AS scoped
        FROM otlp_traces_inbox
    )
)"""

TRACE_TIMES = """
SELECT TraceId, min(Timestamp) AS Start, max(Timestamp) AS End
FROM otel_traces
WHERE TraceId != ''
GROUP BY TraceId"""

LOGS = f"""
SELECT
    {_time("if(record.time_unix_nano = 0, record.observed_time_unix_nano, record.time_unix_nano)")} AS Timestamp,
    lower(hex(record.trace_id)) AS TraceId,
    lower(hex(record.span_id)) AS SpanId,
    toUInt8(bitAnd(record.flags, 255)) AS TraceFlags,
    record.severity_text AS SeverityText,
    toUInt8(bitAnd(record.severity_number, 255)) AS SeverityNumber,
    ResourceAttributes['service.name'] AS ServiceName,
    {_text("record.body")} AS Body,
    ResourceSchemaUrl,
    ResourceAttributes,
    scoped.schema_url AS ScopeSchemaUrl,
    scoped.scope.name AS ScopeName,
    scoped.scope.version AS ScopeVersion,
    ScopeAttributes,
    {_map("record.attributes")} AS LogAttributes,
    record.event_name AS EventName
FROM
(
    SELECT ResourceSchemaUrl, ResourceAttributes, scoped, {_map("scoped.scope.attributes")} AS ScopeAttributes,
        arrayJoin(scoped.log_records) AS record
    FROM
    (
        SELECT schema_url AS ResourceSchemaUrl, {_map("resource.attributes")} AS ResourceAttributes,
            arrayJoin(scope_logs) AS scoped
        FROM otlp_logs_inbox
    )
)"""

# Which events are typed in agent_events; message contents are not (`log_contents` has those).
_OURS = "(startsWith({name}, 'mas.') OR startsWith({name}, 'gen_ai.evaluation.'))"

# Column of agent_events → the attributes it is read from, the first that says something counts.
_EVENT_TEXTS = {
    "SessionId": ("gen_ai.conversation.id", "session.id"),
    "AgentName": ("gen_ai.agent.name",),
    "AgentInstanceId": ("mas.agent.instance.id",),
    "TaskId": ("mas.task.id",),
    "TaskOutcome": ("mas.task.outcome",),
    "EvaluationName": ("gen_ai.evaluation.name",),
    "ScoreLabel": ("gen_ai.evaluation.score.label",),
    "Explanation": ("gen_ai.evaluation.explanation",),
    "EvaluatorType": ("gen_ai.evaluation.evaluator.type",),
    "EvaluatorId": ("gen_ai.evaluation.evaluator.id",),
    "TargetType": ("mas.evaluation.target.type",),
    "TargetId": ("mas.evaluation.target.id",),
    "HandoffId": ("mas.handoff.id",),
    "HandoffOutcome": ("mas.handoff.outcome",),
    "ConsensusId": ("mas.consensus.id",),
    "VoteOption": ("mas.vote.option",),
    "StopReason": ("mas.iteration.stop_reason",),
}
_EVENT_NUMBERS = {
    "Score": ("gen_ai.evaluation.score.value", "Float64"),
    "VoteWeight": ("mas.vote.weight", "Float64"),
    "VoteConfidence": ("mas.vote.confidence", "Float64"),
    "IterationIndex": ("mas.iteration.index", "UInt32"),
    "ConvergenceScore": ("mas.convergence.score", "Float64"),
}


def _event_columns(attributes: str) -> str:
    texts = (f"{_first(attributes, keys)} AS {column}" for column, keys in _EVENT_TEXTS.items())
    numbers = (f"to{kind}OrNull({attributes}['{key}']) AS {column}" for column, (key, kind) in _EVENT_NUMBERS.items())
    return ",\n    ".join((*texts, *numbers))


def _first(attributes: str, keys: tuple[str, ...]) -> str:
    *others, last = (f"{attributes}['{key}']" for key in keys)
    return reduce(lambda rest, value: f"if({value} != '', {value}, {rest})", reversed(others), last)


# OpenInference hangs evaluations on the span itself: `annotations.0.annotation.score`, `session.evaluations.1.…`.
_ANNOTATION = r"^((?:trace\\.|session\\.)?(?:annotations\\.[0-9]+\\.annotation|evaluations\\.[0-9]+\\.evaluation))\\."
_ANNOTATED = """mapFilter((key, value) -> value != '', map(
        'gen_ai.evaluation.name', SpanAttributes[concat(at, '.name')],
        'gen_ai.evaluation.score.value', SpanAttributes[concat(at, '.score')],
        'gen_ai.evaluation.score.label', SpanAttributes[concat(at, '.label')],
        'gen_ai.evaluation.explanation', SpanAttributes[concat(at, '.explanation')],
        'gen_ai.evaluation.evaluator.type', transform(SpanAttributes[concat(at, '.annotator_kind')],
            ['HUMAN', 'LLM', 'CODE'], ['human', 'llm_judge', 'code'], ''),
        'gen_ai.evaluation.evaluator.id', SpanAttributes[concat(at, '.identifier')],
        'mas.evaluation.target.type', multiIf(startsWith(at, 'trace.'), 'trace', startsWith(at, 'session.'), 'session',
            'span'),
        'session.id', SpanAttributes['session.id']))"""

# The engine plans a view's query when rows come to it: this one is all that an insert without such events pays for.
WITH_EVENTS = f"""
SELECT Timestamp, TraceId, SpanId, ServiceName, SpanAttributes, Events.Timestamp, Events.Name, Events.Attributes
FROM otel_traces
WHERE arrayExists(name -> {_OURS.format(name="name")}, Events.Name)
    OR arrayExists(key -> match(key, '{_ANNOTATION}'), mapKeys(SpanAttributes))"""

SPAN_EVENTS = f"""
SELECT
    event.1 AS Timestamp,
    event.2 AS EventName,
    TraceId,
    SpanId,
    'span' AS Origin,
    ServiceName,
    {_event_columns("event.3")},
    '' AS Body,
    event.3 AS Attributes
FROM
(
    SELECT TraceId, SpanId, ServiceName, arrayJoin(arrayConcat(
        arrayFilter(event -> {_OURS.format(name="event.2")},
            arrayZip(Events.Timestamp, Events.Name, Events.Attributes)),
        arrayMap(at -> (Timestamp, 'gen_ai.evaluation.result', CAST({_ANNOTATED},
            'Map(LowCardinality(String), String)')), arrayDistinct(arrayFilter(at -> at != '',
            arrayMap(key -> extract(key, '{_ANNOTATION}'), mapKeys(SpanAttributes))))))) AS event
    FROM spans_with_events
)"""

# Log records with the name of their event, which older emitters sent as an attribute.
_NAMED_LOGS = "(SELECT *, if(EventName = '', LogAttributes['event.name'], EventName) AS Name FROM otel_logs)"

LOG_EVENTS = f"""
SELECT
    Timestamp,
    Name AS EventName,
    TraceId,
    SpanId,
    'log' AS Origin,
    ServiceName,
    {_event_columns("LogAttributes")},
    Body,
    LogAttributes AS Attributes
FROM {_NAMED_LOGS}
WHERE {_OURS.format(name="Name")}"""

# OpenTelemetry's events with contents: all of a call at once, or (before 1.37) a message each. Records without a span
# cannot be joined to one.
_DETAILS = "gen_ai.client.inference.operation.details"
_MESSAGES = tuple(f"gen_ai.{name}" for name in ("system.message", "user.message", "assistant.message", "tool.message",
                                                "choice"))  # fmt: skip

LOG_CONTENTS = f"""
SELECT
    Timestamp,
    TraceId,
    SpanId,
    Name AS EventName,
    LogAttributes['gen_ai.system_instructions'] AS SystemContent,
    LogAttributes['gen_ai.input.messages'] AS InputContent,
    LogAttributes['gen_ai.output.messages'] AS OutputContent,
    LogAttributes['gen_ai.tool.call.arguments'] AS ToolArguments,
    LogAttributes['gen_ai.tool.call.result'] AS ToolResult,
    if(Name = '{_DETAILS}', '', if(Body = '', LogAttributes['gen_ai.event.content'], Body)) AS Message
FROM {_NAMED_LOGS}
WHERE Name IN {(_DETAILS, *_MESSAGES)} AND SpanId != ''"""
