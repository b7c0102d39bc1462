-- Where OTLP bytes arrive (FORMAT ProtobufList with otlp/traces.proto or otlp/logs.proto). Nothing is kept here: the views
-- otel_traces_decode and otel_logs_decode flatten each row into otel_traces and otel_logs.
-- An AnyValue's numbers and booleans are read as text, NULL when they are not the kind that was set: the engine formats them
-- while it parses, and 0 and false are told from unset.

-- One row per ResourceSpans.
CREATE TABLE IF NOT EXISTS otlp_traces_inbox
(
    resource Tuple(attributes Array(Tuple(key String, value Tuple(string_value String, bool_value Nullable(String), int_value Nullable(String), double_value Nullable(String), array_value Nullable(String), kvlist_value Nullable(String), bytes_value String)))),
    scope_spans Array(Tuple(
        scope Tuple(name String, version String),
        spans Array(Tuple(
            trace_id String, span_id String, trace_state String, parent_span_id String, name String, kind Int32,
            start_time_unix_nano UInt64, end_time_unix_nano UInt64,
            attributes Array(Tuple(key String, value Tuple(string_value String, bool_value Nullable(String), int_value Nullable(String), double_value Nullable(String), array_value Nullable(String), kvlist_value Nullable(String), bytes_value String))),
            dropped_attributes_count UInt32,
            events Array(Tuple(
                time_unix_nano UInt64, name String,
                attributes Array(Tuple(key String, value Tuple(string_value String, bool_value Nullable(String), int_value Nullable(String), double_value Nullable(String), array_value Nullable(String), kvlist_value Nullable(String), bytes_value String))))),
            links Array(Tuple(
                trace_id String, span_id String, trace_state String,
                attributes Array(Tuple(key String, value Tuple(string_value String, bool_value Nullable(String), int_value Nullable(String), double_value Nullable(String), array_value Nullable(String), kvlist_value Nullable(String), bytes_value String))))),
            status Tuple(message String, code Int32)))))
)
ENGINE = Null;

-- One row per ResourceLogs.
CREATE TABLE IF NOT EXISTS otlp_logs_inbox
(
    resource Tuple(attributes Array(Tuple(key String, value Tuple(string_value String, bool_value Nullable(String), int_value Nullable(String), double_value Nullable(String), array_value Nullable(String), kvlist_value Nullable(String), bytes_value String)))),
    scope_logs Array(Tuple(
        scope Tuple(name String, version String, attributes Array(Tuple(key String, value Tuple(string_value String, bool_value Nullable(String), int_value Nullable(String), double_value Nullable(String), array_value Nullable(String), kvlist_value Nullable(String), bytes_value String)))),
        log_records Array(Tuple(
            time_unix_nano UInt64, severity_number Int32, severity_text String,
            body Tuple(string_value String, bool_value Nullable(String), int_value Nullable(String), double_value Nullable(String), array_value Nullable(String), kvlist_value Nullable(String), bytes_value String),
            attributes Array(Tuple(key String, value Tuple(string_value String, bool_value Nullable(String), int_value Nullable(String), double_value Nullable(String), array_value Nullable(String), kvlist_value Nullable(String), bytes_value String))),
            flags UInt32, trace_id String, span_id String, observed_time_unix_nano UInt64, event_name String)),
        schema_url String)),
    schema_url String
)
ENGINE = Null;
