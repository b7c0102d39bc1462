-- Which spans and log records hold an array or a list that came to the engine undecoded? The receiver writes such values out
-- as JSON text, so there are none unless something else inserted. Their bytes are kept in the value, as base64.
CREATE VIEW IF NOT EXISTS undecoded_values AS
SELECT 'traces' AS signal, Timestamp, TraceId, SpanId
FROM otel_traces
WHERE arrayExists(value -> startsWith(value, '{"otlp.'), mapValues(SpanAttributes))
UNION ALL
SELECT 'logs' AS signal, Timestamp, TraceId, SpanId
FROM otel_logs
WHERE startsWith(Body, '{"otlp.') OR arrayExists(value -> startsWith(value, '{"otlp.'), mapValues(LogAttributes));
