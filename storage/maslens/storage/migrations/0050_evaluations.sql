-- What was said about this session, its runs and its handoffs: evaluation results and feedback.
CREATE TABLE IF NOT EXISTS fact_evaluations
(
    session_id String CODEC(ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),
    span_id String CODEC(ZSTD(1)),
    run_id String CODEC(ZSTD(1)),
    agent LowCardinality(String) CODEC(ZSTD(1)),
    handoff_id String CODEC(ZSTD(1)),
    at DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    name LowCardinality(String) CODEC(ZSTD(1)),
    score Nullable(Float64) CODEC(ZSTD(1)),
    label LowCardinality(String) CODEC(ZSTD(1)),
    explanation String CODEC(ZSTD(1)),
    evaluator_type LowCardinality(String) CODEC(ZSTD(1)),
    evaluator_id LowCardinality(String) CODEC(ZSTD(1)),
    target_type LowCardinality(String) CODEC(ZSTD(1)),
    target_id String CODEC(ZSTD(1)),
    origin LowCardinality(String) CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)),
    is_deleted UInt8 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (session_id, trace_id, span_id, at, name, evaluator_type, evaluator_id, target_id)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE VIEW IF NOT EXISTS evaluations AS
SELECT session_id, trace_id, span_id, run_id, agent, handoff_id, at, name, score, label, explanation, evaluator_type, evaluator_id, target_type, target_id, origin
FROM fact_evaluations FINAL;

-- What a run was for, as the span or one above it says: tokens and money are cut up by it.
ALTER TABLE fact_agent_runs ADD COLUMN IF NOT EXISTS task LowCardinality(String) CODEC(ZSTD(1)) AFTER name_evidence;

CREATE OR REPLACE VIEW agent_runs AS
SELECT session_id, trace_id, run_id, parent_run_id, agent, role, agent_version, variant, service, framework, started_at, ended_at, duration_ns, self_ns, status, error_type, llm_calls, tool_calls, input_tokens, output_tokens, cached_tokens, reasoning_tokens, cost_usd, name_evidence, task
FROM fact_agent_runs FINAL;
