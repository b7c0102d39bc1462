-- What did people, judges and agents say about this trace? Evaluations, votes, late outcomes: log records with an event
-- name, and span events of the same names. Message contents stay in otel_logs.
CREATE TABLE IF NOT EXISTS agent_events
(
    Timestamp DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    EventName LowCardinality(String) CODEC(ZSTD(1)),
    TraceId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)),
    Origin LowCardinality(String) CODEC(ZSTD(1)), -- log or span
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    SessionId String CODEC(ZSTD(1)),
    AgentName LowCardinality(String) CODEC(ZSTD(1)),
    AgentInstanceId String CODEC(ZSTD(1)),
    TaskId String CODEC(ZSTD(1)),
    TaskOutcome LowCardinality(String) CODEC(ZSTD(1)),
    EvaluationName LowCardinality(String) CODEC(ZSTD(1)),
    Score Nullable(Float64) CODEC(ZSTD(1)),
    ScoreLabel LowCardinality(String) CODEC(ZSTD(1)),
    Explanation String CODEC(ZSTD(1)),
    EvaluatorType LowCardinality(String) CODEC(ZSTD(1)),
    EvaluatorId LowCardinality(String) CODEC(ZSTD(1)),
    TargetType LowCardinality(String) CODEC(ZSTD(1)),
    TargetId String CODEC(ZSTD(1)),
    HandoffId String CODEC(ZSTD(1)),
    HandoffOutcome LowCardinality(String) CODEC(ZSTD(1)),
    ConsensusId String CODEC(ZSTD(1)),
    VoteOption LowCardinality(String) CODEC(ZSTD(1)),
    VoteWeight Nullable(Float64) CODEC(ZSTD(1)),
    VoteConfidence Nullable(Float64) CODEC(ZSTD(1)),
    IterationIndex Nullable(UInt32) CODEC(ZSTD(1)),
    ConvergenceScore Nullable(Float64) CODEC(ZSTD(1)),
    StopReason LowCardinality(String) CODEC(ZSTD(1)),
    Body String CODEC(ZSTD(1)),
    Attributes Map(LowCardinality(String), String) CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (TraceId, Timestamp, EventName)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1,
    enable_block_number_column = 1, non_replicated_deduplication_window = 10000;
