-- How far is each step of this session from its goal, and which of the goal's facts got lost on the way? One row a model
-- call (or a run that made none); NULL where contents were not captured.
CREATE TABLE IF NOT EXISTS fact_context_drift
(
    session_id String CODEC(ZSTD(1)),
    step UInt64 CODEC(ZSTD(1)),
    agent LowCardinality(String) CODEC(ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),
    span_id String CODEC(ZSTD(1)),
    run_id String CODEC(ZSTD(1)),
    at DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    distance Nullable(Float64) CODEC(ZSTD(1)),
    goal_facts Nullable(UInt64) CODEC(ZSTD(1)),
    facts_carried Nullable(UInt64) CODEC(ZSTD(1)),
    facts_lost Nullable(UInt64) CODEC(ZSTD(1)),
    lost_facts Array(String) CODEC(ZSTD(1)),
    context_tokens Nullable(UInt64) CODEC(ZSTD(1)),
    compacted Bool CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)),
    is_deleted UInt8 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (session_id, trace_id, span_id)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE VIEW IF NOT EXISTS context_drift AS
SELECT session_id, step, agent, trace_id, span_id, run_id, at, distance, goal_facts, facts_carried, facts_lost, lost_facts, context_tokens, compacted
FROM fact_context_drift FINAL;
