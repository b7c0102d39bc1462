-- Which run does this belong to? Runs are joined by one number instead of by two texts: run_key is that of the run itself or of the
-- one that made the call, parent_key of the run above it, target_key of the run that a handoff led to.
ALTER TABLE fact_agent_runs
    ADD COLUMN IF NOT EXISTS run_key UInt64 MATERIALIZED cityHash64(session_id, run_id) CODEC(NONE),
    ADD COLUMN IF NOT EXISTS parent_key UInt64 MATERIALIZED cityHash64(session_id, parent_run_id) CODEC(NONE);

ALTER TABLE fact_handoffs ADD COLUMN IF NOT EXISTS target_key UInt64 MATERIALIZED cityHash64(session_id, target_run_id) CODEC(NONE);

ALTER TABLE fact_llm_calls ADD COLUMN IF NOT EXISTS run_key UInt64 MATERIALIZED cityHash64(session_id, run_id) CODEC(NONE);

ALTER TABLE fact_tool_calls ADD COLUMN IF NOT EXISTS run_key UInt64 MATERIALIZED cityHash64(session_id, run_id) CODEC(NONE);
