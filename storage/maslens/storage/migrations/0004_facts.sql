-- Facts: what sessions come to, computed again whenever spans arrive for them. A fact is written with a version; the
-- highest one counts, and `is_deleted` takes back a fact that newer spans undid. Read them through the views of the plain
-- names, which show what counts. No partitions: a fact's time may move, and a row must not leave its partition.

-- How did this session go?
CREATE TABLE IF NOT EXISTS fact_sessions
(
    session_id String CODEC(ZSTD(1)),
    started_at DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    ended_at DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    duration_ns UInt64 CODEC(ZSTD(1)),
    outcome LowCardinality(String) CODEC(ZSTD(1)),
    root_agent LowCardinality(String) CODEC(ZSTD(1)),
    final_agent LowCardinality(String) CODEC(ZSTD(1)),
    agents Array(LowCardinality(String)) CODEC(ZSTD(1)),
    services Array(LowCardinality(String)) CODEC(ZSTD(1)),
    traces UInt64 CODEC(ZSTD(1)),
    spans UInt64 CODEC(ZSTD(1)),
    agent_runs UInt64 CODEC(ZSTD(1)),
    handoffs UInt64 CODEC(ZSTD(1)),
    llm_calls UInt64 CODEC(ZSTD(1)),
    tool_calls UInt64 CODEC(ZSTD(1)),
    errors UInt64 CODEC(ZSTD(1)),
    input_tokens UInt64 CODEC(ZSTD(1)),
    output_tokens UInt64 CODEC(ZSTD(1)),
    cached_tokens UInt64 CODEC(ZSTD(1)),
    cost_usd Nullable(Float64) CODEC(ZSTD(1)),
    unpriced_calls UInt64 CODEC(ZSTD(1)),
    known_origin_ratio Nullable(Float64) CODEC(ZSTD(1)),
    duplicate_spans UInt64 CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)),
    is_deleted UInt8 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (session_id)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE VIEW IF NOT EXISTS sessions AS
SELECT session_id, started_at, ended_at, duration_ns, outcome, root_agent, final_agent, agents, services, traces, spans, agent_runs, handoffs, llm_calls, tool_calls, errors, input_tokens, output_tokens, cached_tokens, cost_usd, unpriced_calls, known_origin_ratio, duplicate_spans
FROM fact_sessions FINAL;

-- Which agents ran in this session, and how?
CREATE TABLE IF NOT EXISTS fact_agent_runs
(
    session_id String CODEC(ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),
    run_id String CODEC(ZSTD(1)),
    parent_run_id String CODEC(ZSTD(1)),
    agent LowCardinality(String) CODEC(ZSTD(1)),
    role LowCardinality(String) CODEC(ZSTD(1)),
    agent_version LowCardinality(String) CODEC(ZSTD(1)),
    variant LowCardinality(String) CODEC(ZSTD(1)),
    service LowCardinality(String) CODEC(ZSTD(1)),
    framework LowCardinality(String) CODEC(ZSTD(1)),
    started_at DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    ended_at DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    duration_ns UInt64 CODEC(ZSTD(1)),
    self_ns UInt64 CODEC(ZSTD(1)),
    status LowCardinality(String) CODEC(ZSTD(1)),
    error_type LowCardinality(String) CODEC(ZSTD(1)),
    llm_calls UInt64 CODEC(ZSTD(1)),
    tool_calls UInt64 CODEC(ZSTD(1)),
    input_tokens UInt64 CODEC(ZSTD(1)),
    output_tokens UInt64 CODEC(ZSTD(1)),
    cached_tokens UInt64 CODEC(ZSTD(1)),
    reasoning_tokens Nullable(UInt64) CODEC(ZSTD(1)),
    cost_usd Nullable(Float64) CODEC(ZSTD(1)),
    name_evidence LowCardinality(String) CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)),
    is_deleted UInt8 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (session_id, trace_id, run_id)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE VIEW IF NOT EXISTS agent_runs AS
SELECT session_id, trace_id, run_id, parent_run_id, agent, role, agent_version, variant, service, framework, started_at, ended_at, duration_ns, self_ns, status, error_type, llm_calls, tool_calls, input_tokens, output_tokens, cached_tokens, reasoning_tokens, cost_usd, name_evidence
FROM fact_agent_runs FINAL;

-- Who handed over to whom in this session?
CREATE TABLE IF NOT EXISTS fact_handoffs
(
    session_id String CODEC(ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),
    span_id String CODEC(ZSTD(1)),
    handoff_id String CODEC(ZSTD(1)),
    source LowCardinality(String) CODEC(ZSTD(1)),
    target LowCardinality(String) CODEC(ZSTD(1)),
    mode LowCardinality(String) CODEC(ZSTD(1)),
    evidence LowCardinality(String) CODEC(ZSTD(1)),
    confidence Float64 CODEC(ZSTD(1)),
    at DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    outcome LowCardinality(String) CODEC(ZSTD(1)),
    source_run_id String CODEC(ZSTD(1)),
    target_run_id String CODEC(ZSTD(1)),
    context_hash_sent String CODEC(ZSTD(1)),
    context_hash_received String CODEC(ZSTD(1)),
    context_size Nullable(UInt64) CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)),
    is_deleted UInt8 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (session_id, trace_id, span_id, source, target, at)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE VIEW IF NOT EXISTS handoffs AS
SELECT session_id, trace_id, span_id, handoff_id, source, target, mode, evidence, confidence, at, outcome, source_run_id, target_run_id, context_hash_sent, context_hash_received, context_size
FROM fact_handoffs FINAL;

-- Which model calls did this session make, and what did they cost?
CREATE TABLE IF NOT EXISTS fact_llm_calls
(
    session_id String CODEC(ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),
    span_id String CODEC(ZSTD(1)),
    run_id String CODEC(ZSTD(1)),
    agent LowCardinality(String) CODEC(ZSTD(1)),
    model LowCardinality(String) CODEC(ZSTD(1)),
    provider LowCardinality(String) CODEC(ZSTD(1)),
    at DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    duration_ns UInt64 CODEC(ZSTD(1)),
    status LowCardinality(String) CODEC(ZSTD(1)),
    input_tokens Nullable(UInt64) CODEC(ZSTD(1)),
    output_tokens Nullable(UInt64) CODEC(ZSTD(1)),
    cached_tokens Nullable(UInt64) CODEC(ZSTD(1)),
    cache_write_tokens Nullable(UInt64) CODEC(ZSTD(1)),
    reasoning_tokens Nullable(UInt64) CODEC(ZSTD(1)),
    cost_usd Nullable(Float64) CODEC(ZSTD(1)),
    unpriced_reason LowCardinality(String) CODEC(ZSTD(1)),
    tokens_known Bool CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)),
    is_deleted UInt8 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (session_id, trace_id, span_id)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE VIEW IF NOT EXISTS llm_calls AS
SELECT session_id, trace_id, span_id, run_id, agent, model, provider, at, duration_ns, status, input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens, cost_usd, unpriced_reason, tokens_known
FROM fact_llm_calls FINAL;

-- Which tools did this session call?
CREATE TABLE IF NOT EXISTS fact_tool_calls
(
    session_id String CODEC(ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),
    span_id String CODEC(ZSTD(1)),
    run_id String CODEC(ZSTD(1)),
    agent LowCardinality(String) CODEC(ZSTD(1)),
    tool LowCardinality(String) CODEC(ZSTD(1)),
    at DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    duration_ns UInt64 CODEC(ZSTD(1)),
    status LowCardinality(String) CODEC(ZSTD(1)),
    error_type LowCardinality(String) CODEC(ZSTD(1)),
    arguments_hash String CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)),
    is_deleted UInt8 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (session_id, trace_id, span_id)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE VIEW IF NOT EXISTS tool_calls AS
SELECT session_id, trace_id, span_id, run_id, agent, tool, at, duration_ns, status, error_type, arguments_hash
FROM fact_tool_calls FINAL;

-- What failed in this session?
CREATE TABLE IF NOT EXISTS fact_agent_errors
(
    session_id String CODEC(ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),
    span_id String CODEC(ZSTD(1)),
    run_id String CODEC(ZSTD(1)),
    agent LowCardinality(String) CODEC(ZSTD(1)),
    error_type LowCardinality(String) CODEC(ZSTD(1)),
    message String CODEC(ZSTD(1)),
    at DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    recovered Bool CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)),
    is_deleted UInt8 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (session_id, trace_id, span_id, error_type)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE VIEW IF NOT EXISTS agent_errors AS
SELECT session_id, trace_id, span_id, run_id, agent, error_type, message, at, recovered
FROM fact_agent_errors FINAL;

-- What the sidecar knows between two runs: where it has read to, what each session has added to each series, and the running
-- totals. One table, so that one insert changes all three or nothing.
CREATE TABLE IF NOT EXISTS sidecar_ledger
(
    kind Enum8('state' = 1, 'total' = 2, 'contribution' = 3) CODEC(ZSTD(1)),
    session_id String DEFAULT '' CODEC(ZSTD(1)),
    key String CODEC(ZSTD(1)),
    text String DEFAULT '' CODEC(ZSTD(1)),
    net Float64 DEFAULT 0 CODEC(ZSTD(1)),
    shown Float64 DEFAULT 0 CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)),
    is_deleted UInt8 DEFAULT 0 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (kind, session_id, key)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE VIEW IF NOT EXISTS sidecar_state AS
SELECT key, text AS value, version
FROM sidecar_ledger FINAL
WHERE kind = 'state';

CREATE VIEW IF NOT EXISTS metric_totals AS
SELECT key AS series, net, shown, version
FROM sidecar_ledger FINAL
WHERE kind = 'total';

CREATE VIEW IF NOT EXISTS session_contributions AS
SELECT session_id, key AS series, net AS value, version
FROM sidecar_ledger FINAL
WHERE kind = 'contribution';
