-- What went into and came out of this span, where that was sent as log records? OpenTelemetry's GenAI events: one record with
-- all of a call's messages, or, before 1.37, one a message (`Message`, the record's body). agent_spans has what the span
-- itself carries. Read through the view span_contents.
CREATE TABLE IF NOT EXISTS log_contents
(
    Timestamp DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    TraceId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)),
    EventName LowCardinality(String) CODEC(ZSTD(1)),
    SystemContent String CODEC(ZSTD(1)),
    InputContent String CODEC(ZSTD(1, 24)),
    OutputContent String CODEC(ZSTD(1)),
    ToolArguments String CODEC(ZSTD(1)),
    ToolResult String CODEC(ZSTD(1)),
    Message String CODEC(ZSTD(1, 24))
)
ENGINE = MergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (TraceId, SpanId, Timestamp)
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1,
    enable_block_number_column = 1, non_replicated_deduplication_window = 10000,
    min_bytes_for_wide_part = 10485760, min_level_for_wide_part = 1, min_columns_to_activate_adaptive_write_buffer = 1;

-- A row a span: of records that tell all at once the last one, else the messages in order, each once, as a JSON list.
CREATE VIEW IF NOT EXISTS span_contents AS
SELECT
    TraceId,
    SpanId,
    if(system != '', system, JSONExtractString(arrayFirst(m -> m.2 = 'gen_ai.system.message', messages).3, 'content')) AS SystemContent,
    if(input != '' OR empty(given), input, concat('[', arrayStringConcat(given, ','), ']')) AS InputContent,
    if(output != '' OR empty(chosen), output, concat('[', arrayStringConcat(chosen, ','), ']')) AS OutputContent,
    arguments AS ToolArguments,
    result AS ToolResult
FROM
(
    SELECT
        TraceId,
        SpanId,
        argMaxIf(SystemContent, Timestamp, SystemContent != '') AS system,
        argMaxIf(InputContent, Timestamp, InputContent != '') AS input,
        argMaxIf(OutputContent, Timestamp, OutputContent != '') AS output,
        argMaxIf(ToolArguments, Timestamp, ToolArguments != '') AS arguments,
        argMaxIf(ToolResult, Timestamp, ToolResult != '') AS result,
        arraySort(m -> (m.1, m.2 != 'gen_ai.system.message', m.2, m.3), groupUniqArrayIf((Timestamp, CAST(EventName, 'String'), Message), Message != '')) AS messages,
        arrayMap(m -> multiIf(
            JSONHas(m.3, 'role'), m.3,
            NOT (startsWith(m.3, '{') AND isValidJSON(m.3)), concat('{"role":"', extract(m.2, '(\\w+)\\.message$'), '","content":', toJSONString(m.3), '}'),
            match(m.3, '^\\{\\s*\\}'), concat('{"role":"', extract(m.2, '(\\w+)\\.message$'), '"}'),
            concat('{"role":"', extract(m.2, '(\\w+)\\.message$'), '",', substring(m.3, 2))
        ), arrayFilter(m -> m.2 != 'gen_ai.choice', messages)) AS given,
        arrayMap(c -> multiIf(
            JSONHas(c, 'role'), c,
            NOT (startsWith(c, '{') AND isValidJSON(c)), concat('{"role":"assistant","content":', toJSONString(c), '}'),
            match(c, '^\\{\\s*\\}'), '{"role":"assistant"}',
            concat('{"role":"assistant",', substring(c, 2))
        ), arrayMap(m -> if(startsWith(JSONExtractRaw(m.3, 'message'), '{'), JSONExtractRaw(m.3, 'message'), m.3),
            arrayFilter(m -> m.2 = 'gen_ai.choice', messages))) AS chosen
    FROM log_contents
    GROUP BY TraceId, SpanId
);
