-- What did the optional judge, a model, say about this failed session? `digest` is that of all it was asked: the same
-- question is never paid for twice. Kept apart from the suspects, which no model has a hand in.
CREATE TABLE IF NOT EXISTS fact_judge_verdicts
(
    session_id String CODEC(ZSTD(1)),
    digest String CODEC(ZSTD(1)),
    judged_at DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    evidence LowCardinality(String) CODEC(ZSTD(1)),
    model LowCardinality(String) CODEC(ZSTD(1)),
    status LowCardinality(String) CODEC(ZSTD(1)), -- ok, unusable (no verdict in the answer) or failed (no answer)
    agent LowCardinality(String) CODEC(ZSTD(1)),
    step Nullable(UInt64) CODEC(ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),
    span_id String CODEC(ZSTD(1)),
    run_id String CODEC(ZSTD(1)),
    confidence Nullable(Float64) CODEC(ZSTD(1)),
    category LowCardinality(String) CODEC(ZSTD(1)),
    reason String CODEC(ZSTD(1)),
    label_convention LowCardinality(String) CODEC(ZSTD(1)),
    calls UInt64 CODEC(ZSTD(1)),
    input_tokens UInt64 CODEC(ZSTD(1)),
    output_tokens UInt64 CODEC(ZSTD(1)),
    cost_usd Nullable(Float64) CODEC(ZSTD(1)),
    unpriced_reason LowCardinality(String) CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)),
    is_deleted UInt8 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (session_id, digest)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE VIEW IF NOT EXISTS judge_verdicts AS
SELECT session_id, digest, judged_at, evidence, model, status, agent, step, trace_id, span_id, run_id, confidence, category, reason, label_convention, calls, input_tokens, output_tokens, cost_usd, unpriced_reason
FROM fact_judge_verdicts FINAL;
