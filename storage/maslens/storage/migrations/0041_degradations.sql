-- Which agent got worse, in what, since when? One row per series and epoch; what an alarm was stays, so this is their history too.
-- A look at the calls writes the rows that changed with a higher version.
CREATE TABLE IF NOT EXISTS fact_degradations
(
    agent LowCardinality(String) CODEC(ZSTD(1)),
    agent_version LowCardinality(String) CODEC(ZSTD(1)),
    metric LowCardinality(String) CODEC(ZSTD(1)),
    against LowCardinality(String) CODEC(ZSTD(1)),
    epoch UInt64 CODEC(ZSTD(1)),
    reference String CODEC(ZSTD(1)),
    verdict LowCardinality(String) CODEC(ZSTD(1)),
    alarm Bool CODEC(ZSTD(1)),
    direction LowCardinality(String) CODEC(ZSTD(1)),
    n_ref UInt64 CODEC(ZSTD(1)),
    n_now UInt64 CODEC(ZSTD(1)),
    reference_value Nullable(Float64) CODEC(ZSTD(1)),
    value Nullable(Float64) CODEC(ZSTD(1)),
    effect Nullable(Float64) CODEC(ZSTD(1)),
    effect_low Nullable(Float64) CODEC(ZSTD(1)),
    effect_high Nullable(Float64) CODEC(ZSTD(1)),
    e_value Nullable(Float64) CODEC(ZSTD(1)),
    p_value Nullable(Float64) CODEC(ZSTD(1)),
    q_value Nullable(Float64) CODEC(ZSTD(1)),
    drift_p Nullable(Float64) CODEC(ZSTD(1)),
    onset_at Nullable(DateTime64(9, 'UTC')) CODEC(ZSTD(1)),
    alarm_at Nullable(DateTime64(9, 'UTC')) CODEC(ZSTD(1)),
    alarm_after Nullable(UInt64) CODEC(ZSTD(1)),
    recovered_at Nullable(DateTime64(9, 'UTC')) CODEC(ZSTD(1)),
    reference_from Nullable(DateTime64(9, 'UTC')) CODEC(ZSTD(1)),
    stream_from Nullable(DateTime64(9, 'UTC')) CODEC(ZSTD(1)),
    last_at Nullable(DateTime64(9, 'UTC')) CODEC(ZSTD(1)),
    closed Bool CODEC(ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)),
    is_deleted UInt8 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version, is_deleted)
ORDER BY (agent, agent_version, metric, against, epoch)
SETTINGS index_granularity = 8192, non_replicated_deduplication_window = 10000;

CREATE VIEW IF NOT EXISTS degradations AS
SELECT agent, agent_version, metric, against, epoch, reference, verdict, alarm, direction, n_ref, n_now, reference_value, value, effect, effect_low, effect_high, e_value, p_value, q_value, drift_p, onset_at, alarm_at, alarm_after, recovered_at, reference_from, stream_from, last_at, closed
FROM fact_degradations FINAL;
