-- Agents send the whole history with every model call, so the same messages come again and again, a few megabytes of other
-- conversations apart. These columns are compressed in blocks of up to 16 MiB with a window as long: a message that was
-- there before costs a few bytes. Only wide parts hold such blocks; inserts stay compact (cheap), and what is merged becomes
-- wide from 10 MiB on, with buffers that grow as needed instead of two megabytes a column. Parts that are there already
-- follow when they are merged. See docs/adr/007-repeated-history-is-compressed-away.md.

ALTER TABLE otel_traces
    MODIFY COLUMN SpanAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1, 24))
    SETTINGS (min_compress_block_size = 16777216, max_compress_block_size = 16777216);

ALTER TABLE otel_traces
    MODIFY COLUMN `Events.Attributes` Array(Map(LowCardinality(String), String)) CODEC(ZSTD(1, 24))
    SETTINGS (min_compress_block_size = 16777216, max_compress_block_size = 16777216);

ALTER TABLE otel_traces MODIFY SETTING
    min_bytes_for_wide_part = 10485760, min_level_for_wide_part = 1, min_columns_to_activate_adaptive_write_buffer = 1;

ALTER TABLE otel_logs
    MODIFY COLUMN Body String CODEC(ZSTD(1, 24))
    SETTINGS (min_compress_block_size = 16777216, max_compress_block_size = 16777216);

ALTER TABLE otel_logs
    MODIFY COLUMN LogAttributes Map(LowCardinality(String), String) CODEC(ZSTD(1, 24))
    SETTINGS (min_compress_block_size = 16777216, max_compress_block_size = 16777216);

ALTER TABLE otel_logs MODIFY SETTING
    min_bytes_for_wide_part = 10485760, min_level_for_wide_part = 1, min_columns_to_activate_adaptive_write_buffer = 1;
