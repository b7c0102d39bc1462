-- Facts of whole sessions, and what became of agents over many of them. Written and read as those of 0004.

-- Which agent held this session up, and what would fixing it save?
CREATE TABLE IF NOT EXISTS fact_bottlenecks
(
    session_id String CODEC(ZSTD(1)),
    agent LowCardinality(String) CODEC(ZSTD(1)),
    started_at DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    rank UInt64 CODEC(ZSTD(1)),
    runs UInt64 CODEC(ZSTD(1)),
    errors UInt64 CODEC(ZSTD(1)),
    critical_ns UInt64 CODEC(ZSTD(1)),
    waiting_ns UInt64 CODEC(ZSTD(1)),
    model_ns UInt64 CODEC(ZSTD(1)),
    tool_ns UInt64 CODEC(ZSTD(1)),
    queue_ns UInt64 CODEC(ZSTD(1)),
    retries UInt64 CODEC(ZSTD(1)),
    retry_ns UInt64 CODEC(ZSTD(1)),
    saves_ns UInt64 CODEC(ZSTD(1)),
    session_ns UInt64 CODEC(ZSTD(1)),
    share Float64 CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)),
    is_deleted UInt8 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (session_id, agent)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE VIEW IF NOT EXISTS bottlenecks AS
SELECT session_id, agent, started_at, rank, runs, errors, critical_ns, waiting_ns, model_ns, tool_ns, queue_ns, retries, retry_ns, saves_ns, session_ns, share
FROM fact_bottlenecks FINAL;

-- How did the agents of this session work together?
CREATE TABLE IF NOT EXISTS fact_coordination
(
    session_id String CODEC(ZSTD(1)),
    started_at DateTime64(9, 'UTC') CODEC(ZSTD(1)),
    pattern LowCardinality(String) CODEC(ZSTD(1)),
    pattern_confidence Float64 CODEC(ZSTD(1)),
    agents UInt64 CODEC(ZSTD(1)),
    edges UInt64 CODEC(ZSTD(1)),
    handoffs UInt64 CODEC(ZSTD(1)),
    messages UInt64 CODEC(ZSTD(1)),
    density Float64 CODEC(ZSTD(1)),
    depth UInt64 CODEC(ZSTD(1)),
    fan_out_max UInt64 CODEC(ZSTD(1)),
    centralisation Float64 CODEC(ZSTD(1)),
    cycles UInt64 CODEC(ZSTD(1)),
    reciprocity Float64 CODEC(ZSTD(1)),
    betweenness_max Float64 CODEC(ZSTD(1)),
    coordination_tokens UInt64 CODEC(ZSTD(1)),
    work_tokens UInt64 CODEC(ZSTD(1)),
    failed UInt64 CODEC(ZSTD(1)),
    bounced UInt64 CODEC(ZSTD(1)),
    redelegated UInt64 CODEC(ZSTD(1)),
    delegation_accuracy Nullable(Float64) CODEC(ZSTD(1)),
    decisions UInt64 CODEC(ZSTD(1)),
    agreement Nullable(Float64) CODEC(ZSTD(1)),
    loops UInt64 CODEC(ZSTD(1)),
    rounds_max UInt64 CODEC(ZSTD(1)),
    rounds_to_stable Nullable(UInt64) CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)),
    is_deleted UInt8 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (session_id)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE VIEW IF NOT EXISTS coordination AS
SELECT session_id, started_at, pattern, pattern_confidence, agents, edges, handoffs, messages, density, depth, fan_out_max, centralisation, cycles, reciprocity, betweenness_max, coordination_tokens, work_tokens, failed, bounced, redelegated, delegation_accuracy, decisions, agreement, loops, rounds_max, rounds_to_stable
FROM fact_coordination FINAL;
