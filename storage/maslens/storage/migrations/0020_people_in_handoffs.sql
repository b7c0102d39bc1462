-- Which handoffs went to a person, or came from one? `virtual_node`, as in a service graph: that end has no runs.
ALTER TABLE fact_handoffs ADD COLUMN IF NOT EXISTS connection_type LowCardinality(String) CODEC(ZSTD(1)) AFTER context_size;

CREATE OR REPLACE VIEW handoffs AS
SELECT session_id, trace_id, span_id, handoff_id, source, target, mode, evidence, confidence, at, outcome, source_run_id, target_run_id, context_hash_sent, context_hash_received, context_size, connection_type
FROM fact_handoffs FINAL;
