"""A store with a million agent operations in it, as the sidecar leaves one; kept under build/ for the next run.

`filled(operations)` is the directory. It is made anew when the schema, this file or the number changes. As in a store
that has run for a while, what is older is merged into one part of each table, and the newest is in parts of its own.
Every tenth session was written twice, and a fact in a hundred of those was taken back again, so that what is read must
look for the newest version. Among the sessions is one of 33,000 spans.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from maslens.storage import Store, fact_keys, open_store
from maslens.storage.migrate import agent_spans_table, migrations
from maslens.storage.views import views

BUILD = Path(__file__).parents[2] / "build"
START = "2026-01-01 00:00:00"
OPERATIONS = {"agent_runs": 10, "handoffs": 5, "llm_calls": 20, "tool_calls": 15}  # of a session: 50
PER_SESSION = {
    **OPERATIONS,
    "sessions": 1,
    "coordination": 1,
    "bottlenecks": 3,
    "agent_errors": 1,
    "handoff_quality": 5,
    "suspects": 2,
    "context_drift": 20,
    "evaluations": 1,
    "judge_verdicts": 1,
}
GIANT = {"agent_runs": 3_000, "handoffs": 1_500, "llm_calls": 12_000, "tool_calls": 16_500, "bottlenecks": 100}
BATCHES = 20
MERGING = 3  # the newest batches, in parts of their own

_AT = f"toDateTime64('{START}', 9, 'UTC') + toIntervalSecond(session * 4) + toIntervalMillisecond(i * 300)"
_RUN = "lower(hex(cityHash64(session, {}, 'run')))"
COLUMNS: Mapping[str, str] = {
    "sessions": """id AS session_id, at AS started_at, at + toIntervalSecond(20) AS ended_at,
        20000000000 AS duration_ns, if(h % 10 = 0, 'failure', 'success') AS outcome, agent AS root_agent,
        agent AS final_agent, ['agent-0', 'agent-1', concat('agent-', toString(h % 7)),
        concat('agent-', toString(h % 11))] AS agents, ['svc'] AS services, 1 AS traces, 60 AS spans,
        10 AS agent_runs, 5 AS handoffs, 20 AS llm_calls, 15 AS tool_calls, h % 3 AS errors,
        10000 AS input_tokens, 2000 AS output_tokens, 500 AS cached_tokens, 0.01 * (h % 100) AS cost_usd""",
    "agent_runs": f"""id AS session_id, trace AS trace_id, {_RUN.format("i")} AS run_id,
        if(i = 0, '', {_RUN.format("0")}) AS parent_run_id, agent, if(h % 2 = 0, 'v1', 'v2') AS agent_version,
        'svc' AS service, 'langgraph' AS framework, at AS started_at, at + toIntervalSecond(2) AS ended_at,
        h % 20000000000 AS duration_ns, h % 1000000000 AS self_ns, if(h % 17 = 0, 'error', 'ok') AS status,
        2 AS llm_calls, 1 AS tool_calls, 1000 AS input_tokens, 200 AS output_tokens, 50 AS cached_tokens,
        0.001 AS cost_usd, if(session % 2 = 0, 'refund', '') AS task""",
    "handoffs": f"""id AS session_id, trace AS trace_id, span AS span_id, agent AS source,
        concat('agent-', toString(intDiv(h, 100) % 100)) AS target, 'pass_control' AS mode,
        if(h % 3 = 0, 'structure', 'explicit') AS evidence, 1.0 AS confidence, at,
        {_RUN.format("i + 1")} AS target_run_id, {_RUN.format("i")} AS source_run_id""",
    "llm_calls": f"""id AS session_id, trace AS trace_id, span AS span_id, {_RUN.format("intDiv(i, 2)")} AS run_id,
        agent, if(h % 2 = 0, 'gpt-4o', 'claude-sonnet-4-5') AS model, 'openai' AS provider, at,
        h % 3000000000 AS duration_ns, if(h % 50 = 0, 'error', 'ok') AS status, h % 5000 AS input_tokens,
        h % 500 AS output_tokens, h % 300 AS cached_tokens, (h % 5000) * 2.5e-6 AS cost_usd, true AS tokens_known""",
    "tool_calls": f"""id AS session_id, trace AS trace_id, span AS span_id, {_RUN.format("intDiv(i, 2)")} AS run_id,
        agent, concat('tool-', toString(h % 9)) AS tool, at, h % 3000000000 AS duration_ns,
        if(h % 11 = 0, 'error', 'ok') AS status, lower(hex(h % 100)) AS arguments_hash""",
    "agent_errors": f"""id AS session_id, trace AS trace_id, span AS span_id, {_RUN.format("0")} AS run_id, agent,
        concat('Error', toString(h % 5)) AS error_type, concat('the tool said no: ', toString(h)) AS message, at,
        h % 2 AS recovered""",
    "handoff_quality": f"""id AS session_id, trace AS trace_id, span AS span_id, agent AS source,
        concat('agent-', toString(intDiv(h, 100) % 100)) AS target, at, {_RUN.format("i")} AS source_run_id,
        {_RUN.format("i + 1")} AS target_run_id, h % 11 = 0 AS failed, h % 13 = 0 AS bounced, h % 3 / 3 AS repeated,
        if(h % 9 = 0, h % 1000, 0) AS rediscovery_tokens, if(h % 9 = 0, 0.001, 0) AS rediscovery_cost_usd,
        h % 1000 / 1000 AS score, 0.7 AS coverage""",
    "suspects": f"""id AS session_id, i + 1 AS rank, agent, i AS step, 'model' AS kind, trace AS trace_id,
        span AS span_id, {_RUN.format("i")} AS run_id, at, h % 100 / 100 AS confidence, 'tool' AS category,
        ['error'] AS signs, ['the tool said no'] AS evidence, 'decisive' AS label_convention""",
    "context_drift": f"""id AS session_id, i AS step, agent, trace AS trace_id, span AS span_id,
        {_RUN.format("i")} AS run_id, at, h % 100 / 100 AS distance, 5 AS goal_facts, h % 5 AS facts_carried,
        h % 2 AS facts_lost, ['42'] AS lost_facts, 1000 AS context_tokens, false AS compacted""",
    "bottlenecks": """id AS session_id, agent, at AS started_at, i + 1 AS rank, 3 AS runs, h % 2 AS errors,
        h % 9000000000 AS critical_ns, h % 2000000000 AS waiting_ns, h % 4000000000 AS model_ns,
        h % 1000000000 AS tool_ns, h % 500000000 AS queue_ns, h % 3 AS retries, h % 100000000 AS retry_ns,
        h % 3000000000 AS saves_ns, 20000000000 AS session_ns, 0.2 AS share""",
    "coordination": """id AS session_id, at AS started_at, ['swarm', 'hierarchical'][1 + h % 2] AS pattern,
        0.7 AS pattern_confidence, 5 AS agents, 5 AS edges, 5 AS handoffs, 8 AS messages, 1000 AS coordination_tokens,
        9000 AS work_tokens, 0.9 AS delegation_accuracy""",
    "evaluations": f"""id AS session_id, trace AS trace_id, span AS span_id, {_RUN.format("0")} AS run_id, agent, at,
        'helpfulness' AS name, h % 100 / 100 AS score, 'model' AS evaluator_type, 'run' AS target_type""",
    "judge_verdicts": """id AS session_id, lower(hex(h)) AS digest, at AS judged_at, 'model' AS evidence,
        'gpt-4o' AS model, 'ok' AS status, agent, i AS step, trace AS trace_id, span AS span_id, 0.5 AS confidence,
        'tool' AS category, 'it called the wrong tool' AS reason, 1 AS calls, 1000 AS input_tokens""",
}
DEGRADATIONS = f"""
INSERT INTO fact_degradations (agent, agent_version, metric, against, epoch, verdict, alarm, n_ref, n_now, effect,
    q_value, alarm_at, reference_from, stream_from, last_at, version)
SELECT concat('agent-', toString(intDiv(number, 10))), 'v2', ['duration_ms', 'error_rate', 'tokens', 'cost_usd',
    'success'][1 + number % 5], ['version', 'time'][1 + intDiv(number, 5) % 2], 1, 'worse', number % 17 = 0, 500,
    500, 0.1, number / 1000, if(number % 17 = 0, began + 3600, NULL), began, began, began + 80000, 1
FROM (SELECT number, toDateTime64('{START}', 9, 'UTC') AS began FROM numbers(1000))"""  # what the watch keeps
_FEW = {"suspects": 10, "judge_verdicts": 10, "agent_errors": 5, "evaluations": 5}  # one session in so many has them


def filled(operations: int) -> Path:
    """The directory of a store that holds so many operations, made if there is none."""
    text = [Path(__file__).read_text(), agent_spans_table(), fact_keys.text(), str(operations)]
    text += [each.text for each in migrations()] + [each.select for each in views()]
    digest = hashlib.sha256("\n".join(text).encode()).hexdigest()[:16]
    place = BUILD / "filled" / digest
    if not (place / "done").exists():
        shutil.rmtree(place.parent, ignore_errors=True)  # of other schemas and sizes
        place.mkdir(parents=True)
        store = open_store(f"chdb://{place / 'store'}")
        store.migrate()
        fill(store, operations // sum(OPERATIONS.values()))
        fill_giant(store)
        store.command(DEGRADATIONS)
        store.close()
        (place / "done").touch()
    return place / "store"


def fill(store: Store, sessions: int) -> None:
    batch = max(sessions // BATCHES, 1)
    for number in range(BATCHES):
        if number == BATCHES - MERGING:
            for table in PER_SESSION:
                store.command(f"OPTIMIZE TABLE fact_{table} FINAL")
        for table, each in PER_SESSION.items():
            one_in = _FEW.get(table, 1)
            for version, share in ((1, one_in), (2, one_in * 10)):
                numbers = f"intDiv(number, {each}) * {share} + {number * batch} AS session, number % {each} AS i"
                _insert(store, table, numbers, "concat('session-', toString(session))", batch // share * each, version)


def fill_giant(store: Store) -> None:
    for table, rows in {"sessions": 1, **GIANT}.items():
        _insert(store, table, "0 AS session, number AS i", "'giant'", rows, 1)


def _insert(store: Store, table: str, numbers: str, name: str, rows: int, version: int) -> None:
    data = store.arrow(selected(table, numbers, name, rows, version))
    store.insert_arrow(f"fact_{table}", data, token=f"bench:{table}:{name}:{numbers}:{version}")


def selected(table: str, numbers: str, name: str, rows: int, version: int) -> str:
    """A SELECT of made-up rows. numbers: what makes `session` and `i` of `number`; name: the session's."""
    deleted = f"{version} = 2 AND cityHash64(session, i, 'gone') % 100 = 0" if table in OPERATIONS else "0"
    return f"""
        SELECT {COLUMNS[table]}, {version} AS version, toUInt8({deleted}) AS is_deleted FROM
        (
            SELECT {numbers}, {name} AS id, lower(hex(MD5(id))) AS trace, {_AT} AS at, cityHash64(id, i) AS h,
                concat('agent-', toString(h % 100)) AS agent, lower(hex(cityHash64(id, i, '{table}'))) AS span
            FROM numbers({rows})
        )"""
