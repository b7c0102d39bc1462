-- Which traces share this key? Keys are what stitches traces into sessions (a session's name, a team, a linked trace), and
-- which session a trace was last seen in. Looked up by the thousand, a few rows each: hence the small granules.
CREATE TABLE IF NOT EXISTS stitch_keys
(
    key String CODEC(ZSTD(1)),
    trace_id String CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (key, trace_id)
SETTINGS index_granularity = 256, non_replicated_deduplication_window = 10000;
