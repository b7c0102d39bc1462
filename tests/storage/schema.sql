CREATE VIEW agent_errors
(
    `session_id` String,
    `trace_id` String,
    `span_id` String,
    `run_id` String,
    `agent` LowCardinality(String),
    `error_type` LowCardinality(String),
    `message` String,
    `at` DateTime64(9, 'UTC'),
    `recovered` Bool
)
AS SELECT
    session_id,
    trace_id,
    span_id,
    run_id,
    agent,
    error_type,
    message,
    at,
    recovered
FROM fact_agent_errors
FINAL;

CREATE TABLE agent_events
(
    `Timestamp` DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    `EventName` LowCardinality(String) CODEC(ZSTD(1)),
    `TraceId` String CODEC(ZSTD(1)),
    `SpanId` String CODEC(ZSTD(1)),
    `Origin` LowCardinality(String) CODEC(ZSTD(1)),
    `ServiceName` LowCardinality(String) CODEC(ZSTD(1)),
    `SessionId` String CODEC(ZSTD(1)),
    `AgentName` LowCardinality(String) CODEC(ZSTD(1)),
    `AgentInstanceId` String CODEC(ZSTD(1)),
    `TaskId` String CODEC(ZSTD(1)),
    `TaskOutcome` LowCardinality(String) CODEC(ZSTD(1)),
    `EvaluationName` LowCardinality(String) CODEC(ZSTD(1)),
    `Score` Nullable(Float64) CODEC(ZSTD(1)),
    `ScoreLabel` LowCardinality(String) CODEC(ZSTD(1)),
    `Explanation` String CODEC(ZSTD(1)),
    `EvaluatorType` LowCardinality(String) CODEC(ZSTD(1)),
    `EvaluatorId` LowCardinality(String) CODEC(ZSTD(1)),
    `TargetType` LowCardinality(String) CODEC(ZSTD(1)),
    `TargetId` String CODEC(ZSTD(1)),
    `HandoffId` String CODEC(ZSTD(1)),
    `HandoffOutcome` LowCardinality(String) CODEC(ZSTD(1)),
    `ConsensusId` String CODEC(ZSTD(1)),
    `VoteOption` LowCardinality(String) CODEC(ZSTD(1)),
    `VoteWeight` Nullable(Float64) CODEC(ZSTD(1)),
    `VoteConfidence` Nullable(Float64) CODEC(ZSTD(1)),
    `IterationIndex` Nullable(UInt32) CODEC(ZSTD(1)),
    `ConvergenceScore` Nullable(Float64) CODEC(ZSTD(1)),
    `StopReason` LowCardinality(String) CODEC(ZSTD(1)),
    `Body` String CODEC(ZSTD(1)),
    `Attributes` Map(LowCardinality(String), String) CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (TraceId, Timestamp, EventName)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, enable_block_number_column = 1, non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW agent_events_from_logs TO agent_events; -- bf9959d976700b83

CREATE MATERIALIZED VIEW agent_events_from_spans TO agent_events; -- e43538092e92b735

CREATE VIEW agent_runs
(
    `session_id` String,
    `trace_id` String,
    `run_id` String,
    `parent_run_id` String,
    `agent` LowCardinality(String),
    `role` LowCardinality(String),
    `agent_version` LowCardinality(String),
    `variant` LowCardinality(String),
    `service` LowCardinality(String),
    `framework` LowCardinality(String),
    `started_at` DateTime64(9, 'UTC'),
    `ended_at` DateTime64(9, 'UTC'),
    `duration_ns` UInt64,
    `self_ns` UInt64,
    `status` LowCardinality(String),
    `error_type` LowCardinality(String),
    `llm_calls` UInt64,
    `tool_calls` UInt64,
    `input_tokens` UInt64,
    `output_tokens` UInt64,
    `cached_tokens` UInt64,
    `reasoning_tokens` Nullable(UInt64),
    `cost_usd` Nullable(Float64),
    `name_evidence` LowCardinality(String),
    `task` LowCardinality(String)
)
AS SELECT
    session_id,
    trace_id,
    run_id,
    parent_run_id,
    agent,
    role,
    agent_version,
    variant,
    service,
    framework,
    started_at,
    ended_at,
    duration_ns,
    self_ns,
    status,
    error_type,
    llm_calls,
    tool_calls,
    input_tokens,
    output_tokens,
    cached_tokens,
    reasoning_tokens,
    cost_usd,
    name_evidence,
    task
FROM fact_agent_runs
FINAL;

CREATE TABLE agent_spans
(
    `Timestamp` DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    `Duration` UInt64 CODEC(ZSTD(1)),
    `TraceId` String CODEC(ZSTD(1)),
    `SpanId` String CODEC(ZSTD(1)),
    `ParentSpanId` String CODEC(ZSTD(1)),
    `ServiceName` LowCardinality(String) CODEC(ZSTD(1)),
    `SpanName` LowCardinality(String) CODEC(ZSTD(1)),
    `SpanKind` LowCardinality(String) CODEC(ZSTD(1)),
    `ScopeName` LowCardinality(String) CODEC(ZSTD(1)),
    `StatusCode` LowCardinality(String) CODEC(ZSTD(1)),
    `StatusMessage` String CODEC(ZSTD(1)),
    `Dialect` LowCardinality(String) CODEC(ZSTD(1)),
    `Framework` LowCardinality(String) CODEC(ZSTD(1)),
    `Kind` LowCardinality(String) CODEC(ZSTD(1)),
    `AgentName` String CODEC(ZSTD(1)),
    `AgentId` String CODEC(ZSTD(1)),
    `AgentRole` String CODEC(ZSTD(1)),
    `AgentVersion` String CODEC(ZSTD(1)),
    `AgentInstanceId` String CODEC(ZSTD(1)),
    `WorkflowName` String CODEC(ZSTD(1)),
    `TaskId` String CODEC(ZSTD(1)),
    `TaskName` String CODEC(ZSTD(1)),
    `TaskParentId` String CODEC(ZSTD(1)),
    `RunId` String CODEC(ZSTD(1)),
    `SessionId` String CODEC(ZSTD(1)),
    `UserId` String CODEC(ZSTD(1)),
    `RequestModel` String CODEC(ZSTD(1)),
    `ResponseModel` String CODEC(ZSTD(1)),
    `Provider` LowCardinality(String) CODEC(ZSTD(1)),
    `ResponseId` String CODEC(ZSTD(1)),
    `FinishReasons` Array(String) CODEC(ZSTD(1)),
    `InputTokens` Nullable(UInt64) CODEC(ZSTD(1)),
    `OutputTokens` Nullable(UInt64) CODEC(ZSTD(1)),
    `TotalTokens` Nullable(UInt64) CODEC(ZSTD(1)),
    `CacheReadTokens` Nullable(UInt64) CODEC(ZSTD(1)),
    `CacheWriteTokens` Nullable(UInt64) CODEC(ZSTD(1)),
    `ReasoningTokens` Nullable(UInt64) CODEC(ZSTD(1)),
    `CostUsd` Nullable(Float64) CODEC(ZSTD(1)),
    `ToolName` String CODEC(ZSTD(1)),
    `ToolCallId` String CODEC(ZSTD(1)),
    `ToolArguments` String CODEC(ZSTD(1)),
    `ToolResult` String CODEC(ZSTD(1)),
    `TransferSource` String CODEC(ZSTD(1)),
    `TransferTarget` String CODEC(ZSTD(1)),
    `TransferMode` LowCardinality(String) CODEC(ZSTD(1)),
    `HandoffId` String CODEC(ZSTD(1)),
    `HandoffTrigger` LowCardinality(String) CODEC(ZSTD(1)),
    `HandoffOutcome` LowCardinality(String) CODEC(ZSTD(1)),
    `NodeId` String CODEC(ZSTD(1)),
    `NodeParentId` String CODEC(ZSTD(1)),
    `ContextStrategy` LowCardinality(String) CODEC(ZSTD(1)),
    `ContextHash` String CODEC(ZSTD(1)),
    `ContextSize` Nullable(UInt64) CODEC(ZSTD(1)),
    `ContextTokens` Nullable(UInt64) CODEC(ZSTD(1)),
    `IterationIndex` Nullable(UInt32) CODEC(ZSTD(1)),
    `Variant` LowCardinality(String) CODEC(ZSTD(1)),
    `ExperimentId` String CODEC(ZSTD(1)),
    `TaskOutcome` LowCardinality(String) CODEC(ZSTD(1)),
    `ErrorType` LowCardinality(String) CODEC(ZSTD(1)),
    `ErrorMessage` String CODEC(ZSTD(1)),
    `ExceptionTypes` Array(String) CODEC(ZSTD(1)),
    `SystemContent` String CODEC(ZSTD(1, 24)) SETTINGS (min_compress_block_size = 16777216, max_compress_block_size = 16777216),
    `InputContent` String CODEC(ZSTD(1, 24)) SETTINGS (min_compress_block_size = 16777216, max_compress_block_size = 16777216),
    `OutputContent` String CODEC(ZSTD(1)),
    `LinkTraceIds` Array(String) CODEC(ZSTD(1)),
    `LinkSpanIds` Array(String) CODEC(ZSTD(1)),
    `LinkTypes` Array(String) CODEC(ZSTD(1)),
    `EventNames` Array(String) CODEC(ZSTD(1)),
    `DroppedAttributes` UInt32 CODEC(ZSTD(1)),
    `Hints` Map(LowCardinality(String), String) CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (TraceId, SpanId)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, enable_block_number_column = 1, non_replicated_deduplication_window = 10000, min_bytes_for_wide_part = 10485760, min_level_for_wide_part = 1, min_columns_to_activate_adaptive_write_buffer = 1;

CREATE MATERIALIZED VIEW agent_spans_mv TO agent_spans;

CREATE VIEW bottlenecks
(
    `session_id` String,
    `agent` LowCardinality(String),
    `started_at` DateTime64(9, 'UTC'),
    `rank` UInt64,
    `runs` UInt64,
    `errors` UInt64,
    `critical_ns` UInt64,
    `waiting_ns` UInt64,
    `model_ns` UInt64,
    `tool_ns` UInt64,
    `queue_ns` UInt64,
    `retries` UInt64,
    `retry_ns` UInt64,
    `saves_ns` UInt64,
    `session_ns` UInt64,
    `share` Float64
)
AS SELECT
    session_id,
    agent,
    started_at,
    rank,
    runs,
    errors,
    critical_ns,
    waiting_ns,
    model_ns,
    tool_ns,
    queue_ns,
    retries,
    retry_ns,
    saves_ns,
    session_ns,
    share
FROM fact_bottlenecks
FINAL;

CREATE VIEW context_drift
(
    `session_id` String,
    `step` UInt64,
    `agent` LowCardinality(String),
    `trace_id` String,
    `span_id` String,
    `run_id` String,
    `at` DateTime64(9, 'UTC'),
    `distance` Nullable(Float64),
    `goal_facts` Nullable(UInt64),
    `facts_carried` Nullable(UInt64),
    `facts_lost` Nullable(UInt64),
    `lost_facts` Array(String),
    `context_tokens` Nullable(UInt64),
    `compacted` Bool
)
AS SELECT
    session_id,
    step,
    agent,
    trace_id,
    span_id,
    run_id,
    at,
    distance,
    goal_facts,
    facts_carried,
    facts_lost,
    lost_facts,
    context_tokens,
    compacted
FROM fact_context_drift
FINAL;

CREATE VIEW coordination
(
    `session_id` String,
    `started_at` DateTime64(9, 'UTC'),
    `pattern` LowCardinality(String),
    `pattern_confidence` Float64,
    `agents` UInt64,
    `edges` UInt64,
    `handoffs` UInt64,
    `messages` UInt64,
    `density` Float64,
    `depth` UInt64,
    `fan_out_max` UInt64,
    `centralisation` Float64,
    `cycles` UInt64,
    `reciprocity` Float64,
    `betweenness_max` Float64,
    `coordination_tokens` UInt64,
    `work_tokens` UInt64,
    `failed` UInt64,
    `bounced` UInt64,
    `redelegated` UInt64,
    `delegation_accuracy` Nullable(Float64),
    `decisions` UInt64,
    `agreement` Nullable(Float64),
    `loops` UInt64,
    `rounds_max` UInt64,
    `rounds_to_stable` Nullable(UInt64)
)
AS SELECT
    session_id,
    started_at,
    pattern,
    pattern_confidence,
    agents,
    edges,
    handoffs,
    messages,
    density,
    depth,
    fan_out_max,
    centralisation,
    cycles,
    reciprocity,
    betweenness_max,
    coordination_tokens,
    work_tokens,
    failed,
    bounced,
    redelegated,
    delegation_accuracy,
    decisions,
    agreement,
    loops,
    rounds_max,
    rounds_to_stable
FROM fact_coordination
FINAL;

CREATE VIEW degradations
(
    `agent` LowCardinality(String),
    `agent_version` LowCardinality(String),
    `metric` LowCardinality(String),
    `against` LowCardinality(String),
    `epoch` UInt64,
    `reference` String,
    `verdict` LowCardinality(String),
    `alarm` Bool,
    `direction` LowCardinality(String),
    `n_ref` UInt64,
    `n_now` UInt64,
    `reference_value` Nullable(Float64),
    `value` Nullable(Float64),
    `effect` Nullable(Float64),
    `effect_low` Nullable(Float64),
    `effect_high` Nullable(Float64),
    `e_value` Nullable(Float64),
    `p_value` Nullable(Float64),
    `q_value` Nullable(Float64),
    `drift_p` Nullable(Float64),
    `onset_at` Nullable(DateTime64(9, 'UTC')),
    `alarm_at` Nullable(DateTime64(9, 'UTC')),
    `alarm_after` Nullable(UInt64),
    `recovered_at` Nullable(DateTime64(9, 'UTC')),
    `reference_from` Nullable(DateTime64(9, 'UTC')),
    `stream_from` Nullable(DateTime64(9, 'UTC')),
    `last_at` Nullable(DateTime64(9, 'UTC')),
    `closed` Bool
)
AS SELECT
    agent,
    agent_version,
    metric,
    against,
    epoch,
    reference,
    verdict,
    alarm,
    direction,
    n_ref,
    n_now,
    reference_value,
    value,
    effect,
    effect_low,
    effect_high,
    e_value,
    p_value,
    q_value,
    drift_p,
    onset_at,
    alarm_at,
    alarm_after,
    recovered_at,
    reference_from,
    stream_from,
    last_at,
    closed
FROM fact_degradations
FINAL;

CREATE VIEW evaluations
(
    `session_id` String,
    `trace_id` String,
    `span_id` String,
    `run_id` String,
    `agent` LowCardinality(String),
    `handoff_id` String,
    `at` DateTime64(9, 'UTC'),
    `name` LowCardinality(String),
    `score` Nullable(Float64),
    `label` LowCardinality(String),
    `explanation` String,
    `evaluator_type` LowCardinality(String),
    `evaluator_id` LowCardinality(String),
    `target_type` LowCardinality(String),
    `target_id` String,
    `origin` LowCardinality(String)
)
AS SELECT
    session_id,
    trace_id,
    span_id,
    run_id,
    agent,
    handoff_id,
    at,
    name,
    score,
    label,
    explanation,
    evaluator_type,
    evaluator_id,
    target_type,
    target_id,
    origin
FROM fact_evaluations
FINAL;

CREATE TABLE fact_agent_errors
(
    `session_id` String CODEC(ZSTD(1)),
    `trace_id` String CODEC(ZSTD(1)),
    `span_id` String CODEC(ZSTD(1)),
    `run_id` String CODEC(ZSTD(1)),
    `agent` LowCardinality(String) CODEC(ZSTD(1)),
    `error_type` LowCardinality(String) CODEC(ZSTD(1)),
    `message` String CODEC(ZSTD(1)),
    `at` DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    `recovered` Bool CODEC(ZSTD(1)),
    `version` UInt64 CODEC(ZSTD(1)),
    `is_deleted` UInt8 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (session_id, trace_id, span_id, error_type)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE TABLE fact_agent_runs
(
    `session_id` String CODEC(LZ4),
    `trace_id` String CODEC(ZSTD(1)),
    `run_id` String CODEC(ZSTD(1)),
    `parent_run_id` String CODEC(ZSTD(1)),
    `agent` LowCardinality(String) CODEC(LZ4),
    `role` LowCardinality(String) CODEC(LZ4),
    `agent_version` LowCardinality(String) CODEC(LZ4),
    `variant` LowCardinality(String) CODEC(LZ4),
    `service` LowCardinality(String) CODEC(LZ4),
    `framework` LowCardinality(String) CODEC(LZ4),
    `started_at` DateTime64(9, 'UTC') CODEC(LZ4),
    `ended_at` DateTime64(9, 'UTC') CODEC(LZ4),
    `duration_ns` UInt64 CODEC(LZ4),
    `self_ns` UInt64 CODEC(LZ4),
    `status` LowCardinality(String) CODEC(LZ4),
    `error_type` LowCardinality(String) CODEC(LZ4),
    `llm_calls` UInt64 CODEC(LZ4),
    `tool_calls` UInt64 CODEC(LZ4),
    `input_tokens` UInt64 CODEC(LZ4),
    `output_tokens` UInt64 CODEC(LZ4),
    `cached_tokens` UInt64 CODEC(LZ4),
    `reasoning_tokens` Nullable(UInt64) CODEC(LZ4),
    `cost_usd` Nullable(Float64) CODEC(LZ4),
    `name_evidence` LowCardinality(String) CODEC(LZ4),
    `task` LowCardinality(String) CODEC(LZ4),
    `version` UInt64 CODEC(LZ4),
    `is_deleted` UInt8 CODEC(LZ4),
    `run_key` UInt64 MATERIALIZED cityHash64(session_id, run_id) CODEC(NONE),
    `parent_key` UInt64 MATERIALIZED cityHash64(session_id, parent_run_id) CODEC(NONE),
    `row_key` UInt64 MATERIALIZED cityHash64(trace_id, run_id) CODEC(NONE)
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (session_id, row_key)
SETTINGS index_granularity = 2048, non_replicated_deduplication_window = 10000;

CREATE TABLE fact_bottlenecks
(
    `session_id` String CODEC(ZSTD(1)),
    `agent` LowCardinality(String) CODEC(ZSTD(1)),
    `started_at` DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    `rank` UInt64 CODEC(ZSTD(1)),
    `runs` UInt64 CODEC(ZSTD(1)),
    `errors` UInt64 CODEC(ZSTD(1)),
    `critical_ns` UInt64 CODEC(ZSTD(1)),
    `waiting_ns` UInt64 CODEC(ZSTD(1)),
    `model_ns` UInt64 CODEC(ZSTD(1)),
    `tool_ns` UInt64 CODEC(ZSTD(1)),
    `queue_ns` UInt64 CODEC(ZSTD(1)),
    `retries` UInt64 CODEC(ZSTD(1)),
    `retry_ns` UInt64 CODEC(ZSTD(1)),
    `saves_ns` UInt64 CODEC(ZSTD(1)),
    `session_ns` UInt64 CODEC(ZSTD(1)),
    `share` Float64 CODEC(ZSTD(1)),
    `version` UInt64 CODEC(ZSTD(1)),
    `is_deleted` UInt8 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (session_id, agent)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE TABLE fact_context_drift
(
    `session_id` String CODEC(LZ4),
    `step` UInt64 CODEC(LZ4),
    `agent` LowCardinality(String) CODEC(LZ4),
    `trace_id` String CODEC(ZSTD(1)),
    `span_id` String CODEC(ZSTD(1)),
    `run_id` String CODEC(ZSTD(1)),
    `at` DateTime64(9, 'UTC') CODEC(LZ4),
    `distance` Nullable(Float64) CODEC(LZ4),
    `goal_facts` Nullable(UInt64) CODEC(LZ4),
    `facts_carried` Nullable(UInt64) CODEC(LZ4),
    `facts_lost` Nullable(UInt64) CODEC(LZ4),
    `lost_facts` Array(String) CODEC(ZSTD(1)),
    `context_tokens` Nullable(UInt64) CODEC(LZ4),
    `compacted` Bool CODEC(LZ4),
    `version` UInt64 CODEC(LZ4),
    `is_deleted` UInt8 CODEC(LZ4),
    `row_key` UInt64 MATERIALIZED cityHash64(trace_id, span_id) CODEC(NONE)
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (session_id, row_key)
SETTINGS index_granularity = 2048, non_replicated_deduplication_window = 10000;

CREATE TABLE fact_coordination
(
    `session_id` String CODEC(ZSTD(1)),
    `started_at` DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    `pattern` LowCardinality(String) CODEC(ZSTD(1)),
    `pattern_confidence` Float64 CODEC(ZSTD(1)),
    `agents` UInt64 CODEC(ZSTD(1)),
    `edges` UInt64 CODEC(ZSTD(1)),
    `handoffs` UInt64 CODEC(ZSTD(1)),
    `messages` UInt64 CODEC(ZSTD(1)),
    `density` Float64 CODEC(ZSTD(1)),
    `depth` UInt64 CODEC(ZSTD(1)),
    `fan_out_max` UInt64 CODEC(ZSTD(1)),
    `centralisation` Float64 CODEC(ZSTD(1)),
    `cycles` UInt64 CODEC(ZSTD(1)),
    `reciprocity` Float64 CODEC(ZSTD(1)),
    `betweenness_max` Float64 CODEC(ZSTD(1)),
    `coordination_tokens` UInt64 CODEC(ZSTD(1)),
    `work_tokens` UInt64 CODEC(ZSTD(1)),
    `failed` UInt64 CODEC(ZSTD(1)),
    `bounced` UInt64 CODEC(ZSTD(1)),
    `redelegated` UInt64 CODEC(ZSTD(1)),
    `delegation_accuracy` Nullable(Float64) CODEC(ZSTD(1)),
    `decisions` UInt64 CODEC(ZSTD(1)),
    `agreement` Nullable(Float64) CODEC(ZSTD(1)),
    `loops` UInt64 CODEC(ZSTD(1)),
    `rounds_max` UInt64 CODEC(ZSTD(1)),
    `rounds_to_stable` Nullable(UInt64) CODEC(ZSTD(1)),
    `version` UInt64 CODEC(ZSTD(1)),
    `is_deleted` UInt8 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (session_id)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE TABLE fact_degradations
(
    `agent` LowCardinality(String) CODEC(ZSTD(1)),
    `agent_version` LowCardinality(String) CODEC(ZSTD(1)),
    `metric` LowCardinality(String) CODEC(ZSTD(1)),
    `against` LowCardinality(String) CODEC(ZSTD(1)),
    `epoch` UInt64 CODEC(ZSTD(1)),
    `reference` String CODEC(ZSTD(1)),
    `verdict` LowCardinality(String) CODEC(ZSTD(1)),
    `alarm` Bool CODEC(ZSTD(1)),
    `direction` LowCardinality(String) CODEC(ZSTD(1)),
    `n_ref` UInt64 CODEC(ZSTD(1)),
    `n_now` UInt64 CODEC(ZSTD(1)),
    `reference_value` Nullable(Float64) CODEC(ZSTD(1)),
    `value` Nullable(Float64) CODEC(ZSTD(1)),
    `effect` Nullable(Float64) CODEC(ZSTD(1)),
    `effect_low` Nullable(Float64) CODEC(ZSTD(1)),
    `effect_high` Nullable(Float64) CODEC(ZSTD(1)),
    `e_value` Nullable(Float64) CODEC(ZSTD(1)),
    `p_value` Nullable(Float64) CODEC(ZSTD(1)),
    `q_value` Nullable(Float64) CODEC(ZSTD(1)),
    `drift_p` Nullable(Float64) CODEC(ZSTD(1)),
    `onset_at` Nullable(DateTime64(9, 'UTC')) CODEC(ZSTD(1)),
    `alarm_at` Nullable(DateTime64(9, 'UTC')) CODEC(ZSTD(1)),
    `alarm_after` Nullable(UInt64) CODEC(ZSTD(1)),
    `recovered_at` Nullable(DateTime64(9, 'UTC')) CODEC(ZSTD(1)),
    `reference_from` Nullable(DateTime64(9, 'UTC')) CODEC(ZSTD(1)),
    `stream_from` Nullable(DateTime64(9, 'UTC')) CODEC(ZSTD(1)),
    `last_at` Nullable(DateTime64(9, 'UTC')) CODEC(ZSTD(1)),
    `closed` Bool CODEC(ZSTD(1)),
    `version` UInt64 CODEC(ZSTD(1)),
    `is_deleted` UInt8 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (agent, agent_version, metric, against, epoch)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE TABLE fact_evaluations
(
    `session_id` String CODEC(ZSTD(1)),
    `trace_id` String CODEC(ZSTD(1)),
    `span_id` String CODEC(ZSTD(1)),
    `run_id` String CODEC(ZSTD(1)),
    `agent` LowCardinality(String) CODEC(ZSTD(1)),
    `handoff_id` String CODEC(ZSTD(1)),
    `at` DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    `name` LowCardinality(String) CODEC(ZSTD(1)),
    `score` Nullable(Float64) CODEC(ZSTD(1)),
    `label` LowCardinality(String) CODEC(ZSTD(1)),
    `explanation` String CODEC(ZSTD(1)),
    `evaluator_type` LowCardinality(String) CODEC(ZSTD(1)),
    `evaluator_id` LowCardinality(String) CODEC(ZSTD(1)),
    `target_type` LowCardinality(String) CODEC(ZSTD(1)),
    `target_id` String CODEC(ZSTD(1)),
    `origin` LowCardinality(String) CODEC(ZSTD(1)),
    `version` UInt64 CODEC(ZSTD(1)),
    `is_deleted` UInt8 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (session_id, trace_id, span_id, at, name, evaluator_type, evaluator_id, target_id)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE TABLE fact_handoff_quality
(
    `session_id` String CODEC(LZ4),
    `trace_id` String CODEC(ZSTD(1)),
    `span_id` String CODEC(ZSTD(1)),
    `handoff_id` String CODEC(ZSTD(1)),
    `source` LowCardinality(String) CODEC(LZ4),
    `target` LowCardinality(String) CODEC(LZ4),
    `at` DateTime64(9, 'UTC') CODEC(LZ4),
    `source_run_id` String CODEC(ZSTD(1)),
    `target_run_id` String CODEC(ZSTD(1)),
    `failed` Nullable(Float64) CODEC(LZ4),
    `bounced` Nullable(Float64) CODEC(LZ4),
    `repeated` Nullable(Float64) CODEC(LZ4),
    `re_asked` Nullable(Float64) CODEC(LZ4),
    `lost` Nullable(Float64) CODEC(LZ4),
    `lost_evidence` LowCardinality(String) CODEC(LZ4),
    `lost_facts` Array(String) CODEC(ZSTD(1)),
    `waited_ns` Nullable(UInt64) CODEC(LZ4),
    `repeated_calls` Nullable(UInt64) CODEC(LZ4),
    `rediscovery_tokens` Nullable(UInt64) CODEC(LZ4),
    `rediscovery_cost_usd` Nullable(Float64) CODEC(LZ4),
    `score` Nullable(Float64) CODEC(LZ4),
    `coverage` Float64 CODEC(LZ4),
    `version` UInt64 CODEC(LZ4),
    `is_deleted` UInt8 CODEC(LZ4),
    `row_key` UInt64 MATERIALIZED cityHash64(trace_id, span_id, source, target, at) CODEC(NONE)
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (session_id, row_key)
SETTINGS index_granularity = 2048, non_replicated_deduplication_window = 10000;

CREATE TABLE fact_handoffs
(
    `session_id` String CODEC(LZ4),
    `trace_id` String CODEC(ZSTD(1)),
    `span_id` String CODEC(ZSTD(1)),
    `handoff_id` String CODEC(ZSTD(1)),
    `source` LowCardinality(String) CODEC(LZ4),
    `target` LowCardinality(String) CODEC(LZ4),
    `mode` LowCardinality(String) CODEC(LZ4),
    `evidence` LowCardinality(String) CODEC(LZ4),
    `confidence` Float64 CODEC(LZ4),
    `at` DateTime64(9, 'UTC') CODEC(LZ4),
    `outcome` LowCardinality(String) CODEC(LZ4),
    `source_run_id` String CODEC(ZSTD(1)),
    `target_run_id` String CODEC(ZSTD(1)),
    `context_hash_sent` String CODEC(ZSTD(1)),
    `context_hash_received` String CODEC(ZSTD(1)),
    `context_size` Nullable(UInt64) CODEC(LZ4),
    `connection_type` LowCardinality(String) CODEC(LZ4),
    `version` UInt64 CODEC(LZ4),
    `is_deleted` UInt8 CODEC(LZ4),
    `target_key` UInt64 MATERIALIZED cityHash64(session_id, target_run_id) CODEC(NONE),
    `row_key` UInt64 MATERIALIZED cityHash64(trace_id, span_id, source, target, at) CODEC(NONE)
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (session_id, row_key)
SETTINGS index_granularity = 2048, non_replicated_deduplication_window = 10000;

CREATE TABLE fact_judge_verdicts
(
    `session_id` String CODEC(ZSTD(1)),
    `digest` String CODEC(ZSTD(1)),
    `judged_at` DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    `evidence` LowCardinality(String) CODEC(ZSTD(1)),
    `model` LowCardinality(String) CODEC(ZSTD(1)),
    `status` LowCardinality(String) CODEC(ZSTD(1)),
    `agent` LowCardinality(String) CODEC(ZSTD(1)),
    `step` Nullable(UInt64) CODEC(ZSTD(1)),
    `trace_id` String CODEC(ZSTD(1)),
    `span_id` String CODEC(ZSTD(1)),
    `run_id` String CODEC(ZSTD(1)),
    `confidence` Nullable(Float64) CODEC(ZSTD(1)),
    `category` LowCardinality(String) CODEC(ZSTD(1)),
    `reason` String CODEC(ZSTD(1)),
    `label_convention` LowCardinality(String) CODEC(ZSTD(1)),
    `calls` UInt64 CODEC(ZSTD(1)),
    `input_tokens` UInt64 CODEC(ZSTD(1)),
    `output_tokens` UInt64 CODEC(ZSTD(1)),
    `cost_usd` Nullable(Float64) CODEC(ZSTD(1)),
    `unpriced_reason` LowCardinality(String) CODEC(ZSTD(1)),
    `version` UInt64 CODEC(ZSTD(1)),
    `is_deleted` UInt8 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (session_id, digest)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE TABLE fact_llm_calls
(
    `session_id` String CODEC(LZ4),
    `trace_id` String CODEC(ZSTD(1)),
    `span_id` String CODEC(ZSTD(1)),
    `run_id` String CODEC(ZSTD(1)),
    `agent` LowCardinality(String) CODEC(LZ4),
    `model` LowCardinality(String) CODEC(LZ4),
    `provider` LowCardinality(String) CODEC(LZ4),
    `at` DateTime64(9, 'UTC') CODEC(LZ4),
    `duration_ns` UInt64 CODEC(LZ4),
    `status` LowCardinality(String) CODEC(LZ4),
    `input_tokens` Nullable(UInt64) CODEC(LZ4),
    `output_tokens` Nullable(UInt64) CODEC(LZ4),
    `cached_tokens` Nullable(UInt64) CODEC(LZ4),
    `cache_write_tokens` Nullable(UInt64) CODEC(LZ4),
    `reasoning_tokens` Nullable(UInt64) CODEC(LZ4),
    `cost_usd` Nullable(Float64) CODEC(LZ4),
    `unpriced_reason` LowCardinality(String) CODEC(LZ4),
    `tokens_known` Bool CODEC(LZ4),
    `version` UInt64 CODEC(LZ4),
    `is_deleted` UInt8 CODEC(LZ4),
    `run_key` UInt64 MATERIALIZED cityHash64(session_id, run_id) CODEC(NONE),
    `row_key` UInt64 MATERIALIZED cityHash64(trace_id, span_id) CODEC(NONE)
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (session_id, row_key)
SETTINGS index_granularity = 2048, non_replicated_deduplication_window = 10000;

CREATE TABLE fact_sessions
(
    `session_id` String CODEC(ZSTD(1)),
    `started_at` DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    `ended_at` DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    `duration_ns` UInt64 CODEC(ZSTD(1)),
    `outcome` LowCardinality(String) CODEC(ZSTD(1)),
    `root_agent` LowCardinality(String) CODEC(ZSTD(1)),
    `final_agent` LowCardinality(String) CODEC(ZSTD(1)),
    `agents` Array(LowCardinality(String)) CODEC(ZSTD(1)),
    `services` Array(LowCardinality(String)) CODEC(ZSTD(1)),
    `traces` UInt64 CODEC(ZSTD(1)),
    `spans` UInt64 CODEC(ZSTD(1)),
    `agent_runs` UInt64 CODEC(ZSTD(1)),
    `handoffs` UInt64 CODEC(ZSTD(1)),
    `llm_calls` UInt64 CODEC(ZSTD(1)),
    `tool_calls` UInt64 CODEC(ZSTD(1)),
    `errors` UInt64 CODEC(ZSTD(1)),
    `input_tokens` UInt64 CODEC(ZSTD(1)),
    `output_tokens` UInt64 CODEC(ZSTD(1)),
    `cached_tokens` UInt64 CODEC(ZSTD(1)),
    `cost_usd` Nullable(Float64) CODEC(ZSTD(1)),
    `unpriced_calls` UInt64 CODEC(ZSTD(1)),
    `known_origin_ratio` Nullable(Float64) CODEC(ZSTD(1)),
    `duplicate_spans` UInt64 CODEC(ZSTD(1)),
    `version` UInt64 CODEC(ZSTD(1)),
    `is_deleted` UInt8 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (session_id)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE TABLE fact_suspects
(
    `session_id` String CODEC(ZSTD(1)),
    `rank` UInt64 CODEC(ZSTD(1)),
    `agent` LowCardinality(String) CODEC(ZSTD(1)),
    `step` UInt64 CODEC(ZSTD(1)),
    `kind` LowCardinality(String) CODEC(ZSTD(1)),
    `trace_id` String CODEC(ZSTD(1)),
    `span_id` String CODEC(ZSTD(1)),
    `run_id` String CODEC(ZSTD(1)),
    `at` DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    `confidence` Float64 CODEC(ZSTD(1)),
    `category` LowCardinality(String) CODEC(ZSTD(1)),
    `signs` Array(LowCardinality(String)) CODEC(ZSTD(1)),
    `evidence` Array(String) CODEC(ZSTD(1)),
    `label_convention` LowCardinality(String) CODEC(ZSTD(1)),
    `version` UInt64 CODEC(ZSTD(1)),
    `is_deleted` UInt8 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (session_id, rank)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE TABLE fact_tool_calls
(
    `session_id` String CODEC(LZ4),
    `trace_id` String CODEC(ZSTD(1)),
    `span_id` String CODEC(ZSTD(1)),
    `run_id` String CODEC(ZSTD(1)),
    `agent` LowCardinality(String) CODEC(LZ4),
    `tool` LowCardinality(String) CODEC(LZ4),
    `at` DateTime64(9, 'UTC') CODEC(LZ4),
    `duration_ns` UInt64 CODEC(LZ4),
    `status` LowCardinality(String) CODEC(LZ4),
    `error_type` LowCardinality(String) CODEC(LZ4),
    `arguments_hash` String CODEC(ZSTD(1)),
    `version` UInt64 CODEC(LZ4),
    `is_deleted` UInt8 CODEC(LZ4),
    `run_key` UInt64 MATERIALIZED cityHash64(session_id, run_id) CODEC(NONE),
    `row_key` UInt64 MATERIALIZED cityHash64(trace_id, span_id) CODEC(NONE)
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (session_id, row_key)
SETTINGS index_granularity = 2048, non_replicated_deduplication_window = 10000;

CREATE VIEW handoff_quality
(
    `session_id` String,
    `trace_id` String,
    `span_id` String,
    `handoff_id` String,
    `source` LowCardinality(String),
    `target` LowCardinality(String),
    `at` DateTime64(9, 'UTC'),
    `source_run_id` String,
    `target_run_id` String,
    `failed` Nullable(Float64),
    `bounced` Nullable(Float64),
    `repeated` Nullable(Float64),
    `re_asked` Nullable(Float64),
    `lost` Nullable(Float64),
    `lost_evidence` LowCardinality(String),
    `lost_facts` Array(String),
    `waited_ns` Nullable(UInt64),
    `repeated_calls` Nullable(UInt64),
    `rediscovery_tokens` Nullable(UInt64),
    `rediscovery_cost_usd` Nullable(Float64),
    `score` Nullable(Float64),
    `coverage` Float64
)
AS SELECT
    session_id,
    trace_id,
    span_id,
    handoff_id,
    source,
    target,
    at,
    source_run_id,
    target_run_id,
    failed,
    bounced,
    repeated,
    re_asked,
    lost,
    lost_evidence,
    lost_facts,
    waited_ns,
    repeated_calls,
    rediscovery_tokens,
    rediscovery_cost_usd,
    score,
    coverage
FROM fact_handoff_quality
FINAL;

CREATE VIEW handoffs
(
    `session_id` String,
    `trace_id` String,
    `span_id` String,
    `handoff_id` String,
    `source` LowCardinality(String),
    `target` LowCardinality(String),
    `mode` LowCardinality(String),
    `evidence` LowCardinality(String),
    `confidence` Float64,
    `at` DateTime64(9, 'UTC'),
    `outcome` LowCardinality(String),
    `source_run_id` String,
    `target_run_id` String,
    `context_hash_sent` String,
    `context_hash_received` String,
    `context_size` Nullable(UInt64),
    `connection_type` LowCardinality(String)
)
AS SELECT
    session_id,
    trace_id,
    span_id,
    handoff_id,
    source,
    target,
    mode,
    evidence,
    confidence,
    at,
    outcome,
    source_run_id,
    target_run_id,
    context_hash_sent,
    context_hash_received,
    context_size,
    connection_type
FROM fact_handoffs
FINAL;

CREATE VIEW judge_verdicts
(
    `session_id` String,
    `digest` String,
    `judged_at` DateTime64(9, 'UTC'),
    `evidence` LowCardinality(String),
    `model` LowCardinality(String),
    `status` LowCardinality(String),
    `agent` LowCardinality(String),
    `step` Nullable(UInt64),
    `trace_id` String,
    `span_id` String,
    `run_id` String,
    `confidence` Nullable(Float64),
    `category` LowCardinality(String),
    `reason` String,
    `label_convention` LowCardinality(String),
    `calls` UInt64,
    `input_tokens` UInt64,
    `output_tokens` UInt64,
    `cost_usd` Nullable(Float64),
    `unpriced_reason` LowCardinality(String)
)
AS SELECT
    session_id,
    digest,
    judged_at,
    evidence,
    model,
    status,
    agent,
    step,
    trace_id,
    span_id,
    run_id,
    confidence,
    category,
    reason,
    label_convention,
    calls,
    input_tokens,
    output_tokens,
    cost_usd,
    unpriced_reason
FROM fact_judge_verdicts
FINAL;

CREATE VIEW llm_calls
(
    `session_id` String,
    `trace_id` String,
    `span_id` String,
    `run_id` String,
    `agent` LowCardinality(String),
    `model` LowCardinality(String),
    `provider` LowCardinality(String),
    `at` DateTime64(9, 'UTC'),
    `duration_ns` UInt64,
    `status` LowCardinality(String),
    `input_tokens` Nullable(UInt64),
    `output_tokens` Nullable(UInt64),
    `cached_tokens` Nullable(UInt64),
    `cache_write_tokens` Nullable(UInt64),
    `reasoning_tokens` Nullable(UInt64),
    `cost_usd` Nullable(Float64),
    `unpriced_reason` LowCardinality(String),
    `tokens_known` Bool
)
AS SELECT
    session_id,
    trace_id,
    span_id,
    run_id,
    agent,
    model,
    provider,
    at,
    duration_ns,
    status,
    input_tokens,
    output_tokens,
    cached_tokens,
    cache_write_tokens,
    reasoning_tokens,
    cost_usd,
    unpriced_reason,
    tokens_known
FROM fact_llm_calls
FINAL;

CREATE TABLE log_contents
(
    `Timestamp` DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    `TraceId` String CODEC(ZSTD(1)),
    `SpanId` String CODEC(ZSTD(1)),
    `EventName` LowCardinality(String) CODEC(ZSTD(1)),
    `SystemContent` String CODEC(ZSTD(1)),
    `InputContent` String CODEC(ZSTD(1, 24)),
    `OutputContent` String CODEC(ZSTD(1)),
    `ToolArguments` String CODEC(ZSTD(1)),
    `ToolResult` String CODEC(ZSTD(1)),
    `Message` String CODEC(ZSTD(1, 24))
)
ENGINE = MergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (TraceId, SpanId, Timestamp)
SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1, enable_block_number_column = 1, non_replicated_deduplication_window = 10000, min_bytes_for_wide_part = 10485760, min_level_for_wide_part = 1, min_columns_to_activate_adaptive_write_buffer = 1;

CREATE MATERIALIZED VIEW log_contents_from_logs TO log_contents; -- db3324ef9339307f

CREATE TABLE maslens_migrations
(
    `name` String,
    `checksum` String,
    `applied_at` DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY name
SETTINGS index_granularity = 8192;

CREATE VIEW metric_totals
(
    `series` String,
    `net` Float64,
    `shown` Float64,
    `version` UInt64
)
AS SELECT
    key AS series,
    net,
    shown,
    version
FROM sidecar_ledger
FINAL
WHERE kind = 'total';

CREATE TABLE otel_logs
(
    `Timestamp` DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    `TraceId` String CODEC(ZSTD(1)),
    `SpanId` String CODEC(ZSTD(1)),
    `TraceFlags` UInt8,
    `SeverityText` LowCardinality(String) CODEC(ZSTD(1)),
    `SeverityNumber` UInt8,
    `ServiceName` LowCardinality(String) CODEC(ZSTD(1)),
    `Body` String CODEC(ZSTD(1, 24)) SETTINGS (min_compress_block_size = 16777216, max_compress_block_size = 16777216),
    `ResourceSchemaUrl` LowCardinality(String) CODEC(ZSTD(1)),
    `ResourceAttributes` Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    `ScopeSchemaUrl` LowCardinality(String) CODEC(ZSTD(1)),
    `ScopeName` String CODEC(ZSTD(1)),
    `ScopeVersion` LowCardinality(String) CODEC(ZSTD(1)),
    `ScopeAttributes` Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    `LogAttributes` Map(LowCardinality(String), String) CODEC(ZSTD(1, 24)) SETTINGS (min_compress_block_size = 16777216, max_compress_block_size = 16777216),
    `EventName` String CODEC(ZSTD(1)),
    `__otel_materialized_k8s.cluster.name` LowCardinality(String) MATERIALIZED ResourceAttributes['k8s.cluster.name'] CODEC(ZSTD(1)),
    `__otel_materialized_k8s.container.name` LowCardinality(String) MATERIALIZED ResourceAttributes['k8s.container.name'] CODEC(ZSTD(1)),
    `__otel_materialized_k8s.deployment.name` LowCardinality(String) MATERIALIZED ResourceAttributes['k8s.deployment.name'] CODEC(ZSTD(1)),
    `__otel_materialized_k8s.namespace.name` LowCardinality(String) MATERIALIZED ResourceAttributes['k8s.namespace.name'] CODEC(ZSTD(1)),
    `__otel_materialized_k8s.node.name` LowCardinality(String) MATERIALIZED ResourceAttributes['k8s.node.name'] CODEC(ZSTD(1)),
    `__otel_materialized_k8s.pod.name` LowCardinality(String) MATERIALIZED ResourceAttributes['k8s.pod.name'] CODEC(ZSTD(1)),
    `__otel_materialized_k8s.pod.uid` LowCardinality(String) MATERIALIZED ResourceAttributes['k8s.pod.uid'] CODEC(ZSTD(1)),
    `__otel_materialized_deployment.environment.name` LowCardinality(String) MATERIALIZED ResourceAttributes['deployment.environment.name'] CODEC(ZSTD(1)),
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_res_attr_key mapKeys(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_res_attr_value mapValues(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_lower_body lower(Body) TYPE tokenbf_v1(32768, 3, 0) GRANULARITY 8
)
ENGINE = MergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (toStartOfFiveMinutes(Timestamp), ServiceName, Timestamp)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, enable_block_number_column = 1, non_replicated_deduplication_window = 10000, min_bytes_for_wide_part = 10485760, min_level_for_wide_part = 1, min_columns_to_activate_adaptive_write_buffer = 1;

CREATE MATERIALIZED VIEW otel_logs_decode TO otel_logs; -- 21b7c61876cd5d37

CREATE TABLE otel_traces
(
    `Timestamp` DateTime64(9) CODEC(Delta(8), ZSTD(1)),
    `TraceId` String CODEC(ZSTD(1)),
    `SpanId` String CODEC(ZSTD(1)),
    `ParentSpanId` String CODEC(ZSTD(1)),
    `TraceState` String CODEC(ZSTD(1)),
    `SpanName` LowCardinality(String) CODEC(ZSTD(1)),
    `SpanKind` LowCardinality(String) CODEC(ZSTD(1)),
    `ServiceName` LowCardinality(String) CODEC(ZSTD(1)),
    `ResourceAttributes` Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    `ScopeName` String CODEC(ZSTD(1)),
    `ScopeVersion` String CODEC(ZSTD(1)),
    `SpanAttributes` Map(LowCardinality(String), String) CODEC(ZSTD(1, 24)) SETTINGS (min_compress_block_size = 16777216, max_compress_block_size = 16777216),
    `Duration` UInt64 CODEC(ZSTD(1)),
    `StatusCode` LowCardinality(String) CODEC(ZSTD(1)),
    `StatusMessage` String CODEC(ZSTD(1)),
    `Events.Timestamp` Array(DateTime64(9)) CODEC(ZSTD(1)),
    `Events.Name` Array(LowCardinality(String)) CODEC(ZSTD(1)),
    `Events.Attributes` Array(Map(LowCardinality(String), String)) CODEC(ZSTD(1, 24)) SETTINGS (min_compress_block_size = 16777216, max_compress_block_size = 16777216),
    `Links.TraceId` Array(String) CODEC(ZSTD(1)),
    `Links.SpanId` Array(String) CODEC(ZSTD(1)),
    `Links.TraceState` Array(String) CODEC(ZSTD(1)),
    `Links.Attributes` Array(Map(LowCardinality(String), String)) CODEC(ZSTD(1)),
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_res_attr_key mapKeys(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_res_attr_value mapValues(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_span_attr_key mapKeys(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_span_attr_value mapValues(SpanAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX idx_duration Duration TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (ServiceName, SpanName, toDateTime(Timestamp))
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, enable_block_number_column = 1, non_replicated_deduplication_window = 10000, min_bytes_for_wide_part = 10485760, min_level_for_wide_part = 1, min_columns_to_activate_adaptive_write_buffer = 1;

CREATE MATERIALIZED VIEW otel_traces_decode TO otel_traces; -- 762f995b78192681

CREATE TABLE otel_traces_trace_id_ts
(
    `TraceId` String CODEC(ZSTD(1)),
    `Start` DateTime CODEC(Delta(4), ZSTD(1)),
    `End` DateTime CODEC(Delta(4), ZSTD(1)),
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(Start)
ORDER BY (TraceId, Start)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW otel_traces_trace_id_ts_mv TO otel_traces_trace_id_ts; -- 064f2a96ce4eba17

CREATE TABLE otlp_logs_inbox
(
    `resource` Tuple(attributes Array(Tuple(
        key String,
        value Tuple(
            string_value String,
            bool_value Nullable(String),
            int_value Nullable(String),
            double_value Nullable(String),
            array_value Nullable(String),
            kvlist_value Nullable(String),
            bytes_value String)))),
    `scope_logs` Array(Tuple(
        scope Tuple(
            name String,
            version String,
            attributes Array(Tuple(
                key String,
                value Tuple(
                    string_value String,
                    bool_value Nullable(String),
                    int_value Nullable(String),
                    double_value Nullable(String),
                    array_value Nullable(String),
                    kvlist_value Nullable(String),
                    bytes_value String)))),
        log_records Array(Tuple(
            time_unix_nano UInt64,
            severity_number Int32,
            severity_text String,
            body Tuple(
                string_value String,
                bool_value Nullable(String),
                int_value Nullable(String),
                double_value Nullable(String),
                array_value Nullable(String),
                kvlist_value Nullable(String),
                bytes_value String),
            attributes Array(Tuple(
                key String,
                value Tuple(
                    string_value String,
                    bool_value Nullable(String),
                    int_value Nullable(String),
                    double_value Nullable(String),
                    array_value Nullable(String),
                    kvlist_value Nullable(String),
                    bytes_value String))),
            flags UInt32,
            trace_id String,
            span_id String,
            observed_time_unix_nano UInt64,
            event_name String)),
        schema_url String)),
    `schema_url` String
)
ENGINE = `Null`;

CREATE TABLE otlp_traces_inbox
(
    `resource` Tuple(attributes Array(Tuple(
        key String,
        value Tuple(
            string_value String,
            bool_value Nullable(String),
            int_value Nullable(String),
            double_value Nullable(String),
            array_value Nullable(String),
            kvlist_value Nullable(String),
            bytes_value String)))),
    `scope_spans` Array(Tuple(
        scope Tuple(
            name String,
            version String),
        spans Array(Tuple(
            trace_id String,
            span_id String,
            trace_state String,
            parent_span_id String,
            name String,
            kind Int32,
            start_time_unix_nano UInt64,
            end_time_unix_nano UInt64,
            attributes Array(Tuple(
                key String,
                value Tuple(
                    string_value String,
                    bool_value Nullable(String),
                    int_value Nullable(String),
                    double_value Nullable(String),
                    array_value Nullable(String),
                    kvlist_value Nullable(String),
                    bytes_value String))),
            dropped_attributes_count UInt32,
            events Array(Tuple(
                time_unix_nano UInt64,
                name String,
                attributes Array(Tuple(
                    key String,
                    value Tuple(
                        string_value String,
                        bool_value Nullable(String),
                        int_value Nullable(String),
                        double_value Nullable(String),
                        array_value Nullable(String),
                        kvlist_value Nullable(String),
                        bytes_value String))))),
            links Array(Tuple(
                trace_id String,
                span_id String,
                trace_state String,
                attributes Array(Tuple(
                    key String,
                    value Tuple(
                        string_value String,
                        bool_value Nullable(String),
                        int_value Nullable(String),
                        double_value Nullable(String),
                        array_value Nullable(String),
                        kvlist_value Nullable(String),
                        bytes_value String))))),
            status Tuple(
                message String,
                code Int32)))))
)
ENGINE = `Null`;

CREATE VIEW session_contributions
(
    `session_id` String,
    `series` String,
    `value` Float64,
    `version` UInt64
)
AS SELECT
    session_id,
    key AS series,
    net AS value,
    version
FROM sidecar_ledger
FINAL
WHERE kind = 'contribution';

CREATE VIEW sessions
(
    `session_id` String,
    `started_at` DateTime64(9, 'UTC'),
    `ended_at` DateTime64(9, 'UTC'),
    `duration_ns` UInt64,
    `outcome` LowCardinality(String),
    `root_agent` LowCardinality(String),
    `final_agent` LowCardinality(String),
    `agents` Array(LowCardinality(String)),
    `services` Array(LowCardinality(String)),
    `traces` UInt64,
    `spans` UInt64,
    `agent_runs` UInt64,
    `handoffs` UInt64,
    `llm_calls` UInt64,
    `tool_calls` UInt64,
    `errors` UInt64,
    `input_tokens` UInt64,
    `output_tokens` UInt64,
    `cached_tokens` UInt64,
    `cost_usd` Nullable(Float64),
    `unpriced_calls` UInt64,
    `known_origin_ratio` Nullable(Float64),
    `duplicate_spans` UInt64
)
AS SELECT
    session_id,
    started_at,
    ended_at,
    duration_ns,
    outcome,
    root_agent,
    final_agent,
    agents,
    services,
    traces,
    spans,
    agent_runs,
    handoffs,
    llm_calls,
    tool_calls,
    errors,
    input_tokens,
    output_tokens,
    cached_tokens,
    cost_usd,
    unpriced_calls,
    known_origin_ratio,
    duplicate_spans
FROM fact_sessions
FINAL;

CREATE TABLE sidecar_ledger
(
    `kind` Enum8('state' = 1, 'total' = 2, 'contribution' = 3) CODEC(ZSTD(1)),
    `session_id` String DEFAULT '' CODEC(ZSTD(1)),
    `key` String CODEC(ZSTD(1)),
    `text` String DEFAULT '' CODEC(ZSTD(1)),
    `net` Float64 DEFAULT 0 CODEC(ZSTD(1)),
    `shown` Float64 DEFAULT 0 CODEC(ZSTD(1)),
    `version` UInt64 CODEC(ZSTD(1)),
    `is_deleted` UInt8 DEFAULT 0 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (kind, session_id, key)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE VIEW sidecar_state
(
    `key` String,
    `value` String,
    `version` UInt64
)
AS SELECT
    key,
    text AS value,
    version
FROM sidecar_ledger
FINAL
WHERE kind = 'state';

CREATE VIEW span_contents
(
    `TraceId` String,
    `SpanId` String,
    `SystemContent` String,
    `InputContent` String,
    `OutputContent` String,
    `ToolArguments` String,
    `ToolResult` String
)
AS SELECT
    TraceId,
    SpanId,
    if(system != '', system, JSONExtractString((arrayFirst(m -> ((m.2) = 'gen_ai.system.message'), messages)).3, 'content')) AS SystemContent,
    if((input != '') OR empty(given), input, concat('[', arrayStringConcat(given, ','), ']')) AS InputContent,
    if((output != '') OR empty(chosen), output, concat('[', arrayStringConcat(chosen, ','), ']')) AS OutputContent,
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
        arraySort(m -> (m.1, (m.2) != 'gen_ai.system.message', m.2, m.3), groupUniqArrayIf((Timestamp, CAST(EventName, 'String'), Message), Message != '')) AS messages,
        arrayMap(m -> multiIf(JSONHas(m.3, 'role'), m.3, NOT (startsWith(m.3, '{') AND isValidJSON(m.3)), concat('{"role":"', extract(m.2, '(\\w+)\\.message$'), '","content":', toJSONString(m.3), '}'), match(m.3, '^\\{\\s*\\}'), concat('{"role":"', extract(m.2, '(\\w+)\\.message$'), '"}'), concat('{"role":"', extract(m.2, '(\\w+)\\.message$'), '",', substring(m.3, 2))), arrayFilter(m -> ((m.2) != 'gen_ai.choice'), messages)) AS given,
        arrayMap(c -> multiIf(JSONHas(c, 'role'), c, NOT (startsWith(c, '{') AND isValidJSON(c)), concat('{"role":"assistant","content":', toJSONString(c), '}'), match(c, '^\\{\\s*\\}'), '{"role":"assistant"}', concat('{"role":"assistant",', substring(c, 2))), arrayMap(m -> if(startsWith(JSONExtractRaw(m.3, 'message'), '{'), JSONExtractRaw(m.3, 'message'), m.3), arrayFilter(m -> ((m.2) = 'gen_ai.choice'), messages))) AS chosen
    FROM log_contents
    GROUP BY
        TraceId,
        SpanId
);

CREATE TABLE spans_with_events
(
    `Timestamp` DateTime64(9),
    `TraceId` String,
    `SpanId` String,
    `ServiceName` LowCardinality(String),
    `SpanAttributes` Map(LowCardinality(String), String),
    `Events.Timestamp` Array(DateTime64(9)),
    `Events.Name` Array(LowCardinality(String)),
    `Events.Attributes` Array(Map(LowCardinality(String), String))
)
ENGINE = `Null`;

CREATE MATERIALIZED VIEW spans_with_events_mv TO spans_with_events; -- 1a361aceb747b266

CREATE TABLE stitch_keys
(
    `key` String CODEC(ZSTD(1)),
    `trace_id` String CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (key, trace_id)
SETTINGS index_granularity = 256, non_replicated_deduplication_window = 10000;

CREATE VIEW suspects
(
    `session_id` String,
    `rank` UInt64,
    `agent` LowCardinality(String),
    `step` UInt64,
    `kind` LowCardinality(String),
    `trace_id` String,
    `span_id` String,
    `run_id` String,
    `at` DateTime64(9, 'UTC'),
    `confidence` Float64,
    `category` LowCardinality(String),
    `signs` Array(LowCardinality(String)),
    `evidence` Array(String),
    `label_convention` LowCardinality(String)
)
AS SELECT
    session_id,
    rank,
    agent,
    step,
    kind,
    trace_id,
    span_id,
    run_id,
    at,
    confidence,
    category,
    signs,
    evidence,
    label_convention
FROM fact_suspects
FINAL;

CREATE VIEW tool_calls
(
    `session_id` String,
    `trace_id` String,
    `span_id` String,
    `run_id` String,
    `agent` LowCardinality(String),
    `tool` LowCardinality(String),
    `at` DateTime64(9, 'UTC'),
    `duration_ns` UInt64,
    `status` LowCardinality(String),
    `error_type` LowCardinality(String),
    `arguments_hash` String
)
AS SELECT
    session_id,
    trace_id,
    span_id,
    run_id,
    agent,
    tool,
    at,
    duration_ns,
    status,
    error_type,
    arguments_hash
FROM fact_tool_calls
FINAL;

CREATE VIEW undecoded_values
(
    `signal` String,
    `Timestamp` DateTime64(9),
    `TraceId` String,
    `SpanId` String
)
AS SELECT
    'traces' AS signal,
    Timestamp,
    TraceId,
    SpanId
FROM otel_traces
WHERE arrayExists(value -> startsWith(value, '{"otlp.'), mapValues(SpanAttributes))
UNION ALL
SELECT
    'logs' AS signal,
    Timestamp,
    TraceId,
    SpanId
FROM otel_logs
WHERE startsWith(Body, '{"otlp.') OR arrayExists(value -> startsWith(value, '{"otlp.'), mapValues(LogAttributes));
