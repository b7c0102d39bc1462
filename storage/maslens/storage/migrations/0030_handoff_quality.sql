-- How well did each handoff of this session go? Keyed like fact_handoffs, one row each; every part is a column of its own,
-- NULL where the telemetry does not tell. `lost_evidence`: content, hash, or empty when the part is unknown.
CREATE TABLE IF NOT EXISTS fact_handoff_quality
(
    session_id String CODEC(ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),
    span_id String CODEC(ZSTD(1)),
    handoff_id String CODEC(ZSTD(1)),
    source LowCardinality(String) CODEC(ZSTD(1)),
    target LowCardinality(String) CODEC(ZSTD(1)),
    at DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    source_run_id String CODEC(ZSTD(1)),
    target_run_id String CODEC(ZSTD(1)),
    failed Nullable(Float64) CODEC(ZSTD(1)),
    bounced Nullable(Float64) CODEC(ZSTD(1)),
    repeated Nullable(Float64) CODEC(ZSTD(1)),
    re_asked Nullable(Float64) CODEC(ZSTD(1)),
    lost Nullable(Float64) CODEC(ZSTD(1)),
    lost_evidence LowCardinality(String) CODEC(ZSTD(1)),
    lost_facts Array(String) CODEC(ZSTD(1)),
    waited_ns Nullable(UInt64) CODEC(ZSTD(1)),
    repeated_calls Nullable(UInt64) CODEC(ZSTD(1)),
    rediscovery_tokens Nullable(UInt64) CODEC(ZSTD(1)),
    rediscovery_cost_usd Nullable(Float64) CODEC(ZSTD(1)),
    score Nullable(Float64) CODEC(ZSTD(1)),
    coverage Float64 CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)),
    is_deleted UInt8 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (session_id, trace_id, span_id, source, target, at)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE VIEW IF NOT EXISTS handoff_quality AS
SELECT session_id, trace_id, span_id, handoff_id, source, target, at, source_run_id, target_run_id, failed, bounced, repeated, re_asked, lost, lost_evidence, lost_facts, waited_ns, repeated_calls, rediscovery_tokens, rediscovery_cost_usd, score, coverage
FROM fact_handoff_quality FINAL;
