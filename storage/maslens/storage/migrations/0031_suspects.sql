-- Where did this failed session probably go wrong? Its steps by confidence, the first twenty. `label_convention` says what
-- "decisive step" means; `evidence` is for people, `signs` are the names behind it.
CREATE TABLE IF NOT EXISTS fact_suspects
(
    session_id String CODEC(ZSTD(1)),
    rank UInt64 CODEC(ZSTD(1)),
    agent LowCardinality(String) CODEC(ZSTD(1)),
    step UInt64 CODEC(ZSTD(1)),
    kind LowCardinality(String) CODEC(ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),
    span_id String CODEC(ZSTD(1)),
    run_id String CODEC(ZSTD(1)),
    at DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    confidence Float64 CODEC(ZSTD(1)),
    category LowCardinality(String) CODEC(ZSTD(1)),
    signs Array(LowCardinality(String)) CODEC(ZSTD(1)),
    evidence Array(String) CODEC(ZSTD(1)),
    label_convention LowCardinality(String) CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)),
    is_deleted UInt8 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (session_id, rank)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE VIEW IF NOT EXISTS suspects AS
SELECT session_id, rank, agent, step, kind, trace_id, span_id, run_id, at, confidence, category, signs, evidence, label_convention
FROM fact_suspects FINAL;
