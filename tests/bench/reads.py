"""How long the API takes to answer at a million agent operations, over HTTP: every question new, and asked again.

    make bench ARGS="reads [--operations N] [--rounds N]"

The tables are filled as the sidecar leaves them: several parts each, every tenth session written twice. Among the
sessions is one of 33,000 spans; the graph of everything has 100 agents and, at a million operations, 100,000 handoffs.
CPU is that of the whole process, which only asks and answers; it depends less on what else the machine does. The target
is for the time of a new question. Rows join build/bench.json under "reads".
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import uvicorn
from maslens.analytics.server import create_app
from maslens.storage import Store, open_store

RESULTS = Path(__file__).parents[2] / "build" / "bench.json"
START = datetime(2026, 1, 1, tzinfo=timezone.utc)
PER_SESSION = {"agent_runs": 10, "handoffs": 5, "llm_calls": 20, "tool_calls": 15}  # 50 operations
BESIDE = {"bottlenecks": 3}  # rows a session that are no operations
BATCHES = 20

AT = "toDateTime64('2026-01-01 00:00:00', 9, 'UTC') + toIntervalSecond(session * 4) + toIntervalMillisecond(i * 300)"
RUN = "lower(hex(cityHash64(session, {}, 'run')))"
COLUMNS = {
    "sessions": """id AS session_id, at AS started_at, at + toIntervalSecond(20) AS ended_at,
        20000000000 AS duration_ns, if(h % 10 = 0, 'failure', 'success') AS outcome, agent AS root_agent,
        agent AS final_agent, ['agent-0', 'agent-1'] AS agents, ['svc'] AS services, 1 AS traces, 60 AS spans,
        10 AS agent_runs, 5 AS handoffs, 20 AS llm_calls, 15 AS tool_calls, h % 3 AS errors,
        10000 AS input_tokens, 2000 AS output_tokens, 500 AS cached_tokens, 0.01 * (h % 100) AS cost_usd""",
    "agent_runs": f"""id AS session_id, trace AS trace_id, {RUN.format("i")} AS run_id,
        if(i = 0, '', {RUN.format("0")}) AS parent_run_id, agent, 'v1' AS agent_version, 'svc' AS service,
        'langgraph' AS framework, at AS started_at, at + toIntervalSecond(2) AS ended_at,
        h % 20000000000 AS duration_ns, h % 1000000000 AS self_ns, if(h % 17 = 0, 'error', 'ok') AS status,
        2 AS llm_calls, 1 AS tool_calls, 1000 AS input_tokens, 200 AS output_tokens, 50 AS cached_tokens,
        0.001 AS cost_usd""",
    "handoffs": f"""id AS session_id, trace AS trace_id, span AS span_id, agent AS source,
        concat('agent-', toString(intDiv(h, 100) % 100)) AS target, 'pass_control' AS mode,
        if(h % 3 = 0, 'structure', 'explicit') AS evidence, 1.0 AS confidence, at,
        {RUN.format("i + 1")} AS target_run_id""",
    "llm_calls": f"""id AS session_id, trace AS trace_id, span AS span_id, {RUN.format("intDiv(i, 2)")} AS run_id,
        agent, if(h % 2 = 0, 'gpt-4o', 'claude-sonnet-4-5') AS model, 'openai' AS provider, at,
        h % 3000000000 AS duration_ns, 'ok' AS status, h % 5000 AS input_tokens, h % 500 AS output_tokens,
        h % 300 AS cached_tokens, (h % 5000) * 2.5e-6 AS cost_usd, true AS tokens_known""",
    "tool_calls": f"""id AS session_id, trace AS trace_id, span AS span_id, {RUN.format("intDiv(i, 2)")} AS run_id,
        agent, concat('tool-', toString(h % 9)) AS tool, at, h % 3000000000 AS duration_ns,
        if(h % 11 = 0, 'error', 'ok') AS status""",
    "bottlenecks": """id AS session_id, agent, at AS started_at, i + 1 AS rank, 3 AS runs, h % 2 AS errors,
        h % 9000000000 AS critical_ns, h % 2000000000 AS waiting_ns, h % 4000000000 AS model_ns,
        h % 1000000000 AS tool_ns, h % 500000000 AS queue_ns, h % 3 AS retries, h % 100000000 AS retry_ns,
        h % 3000000000 AS saves_ns, 20000000000 AS session_ns, 0.2 AS share""",
}


def fill(store: Store, sessions: int) -> None:
    batch = sessions // BATCHES
    for number in range(BATCHES):
        for table, columns in COLUMNS.items():
            each = {**PER_SESSION, **BESIDE}.get(table, 1)
            for version, share in ((1, 1), (2, 10)):
                rows = store.arrow(
                    f"""
                    SELECT {columns}, {version} AS version FROM
                    (
                        SELECT intDiv(number, {each}) * {share} + {number * batch} AS session, number % {each} AS i,
                            concat('session-', toString(session)) AS id, lower(hex(MD5(id))) AS trace, {AT} AS at,
                            cityHash64(session, i) AS h, concat('agent-', toString(h % 100)) AS agent,
                            lower(hex(cityHash64(session, i, '{table}'))) AS span
                        FROM numbers({batch // share * each})
                    )"""
                )
                store.insert_arrow(f"fact_{table}", rows, token=f"bench:{number}:{table}:{version}")


GIANT = {
    "sessions": 1,
    "agent_runs": 3_000,
    "handoffs": 1_500,
    "llm_calls": 12_000,
    "tool_calls": 16_500,
    "bottlenecks": 100,
}


def fill_giant(store: Store) -> None:
    """One session of 33,000 spans."""
    for table, rows in GIANT.items():
        data = store.arrow(
            f"""
            SELECT {COLUMNS[table]}, 1 AS version FROM
            (
                SELECT 0 AS session, number AS i, 'giant' AS id, lower(hex(MD5(id))) AS trace, {AT} AS at,
                    cityHash64('giant', i) AS h, concat('agent-', toString(h % 100)) AS agent,
                    lower(hex(cityHash64('giant', i, '{table}'))) AS span
                FROM numbers({rows})
            )"""
        )
        store.insert_arrow(f"fact_{table}", data, token=f"bench:giant:{table}")


def _graphql(query: str) -> str:
    return f"/graphql?query={quote(query)}"


TARGET_MS = 100
QUESTIONS: dict[str, Callable[[str, int], str]] = {
    "agents": lambda since, _: f"agents?since={since}",
    "graph": lambda since, _: f"graph?since={since}",
    "graph of a session": lambda _, n: f"graph?session=session-{n}",
    "cost by agent": lambda since, _: f"cost?by=agent&since={since}",
    "cost by model": lambda since, _: f"cost?by=model&since={since}",
    "sessions": lambda since, _: f"sessions?limit=100&since={since}",
    "one session": lambda _, n: f"sessions/session-{n}",
    "handoffs": lambda since, _: f"handoffs?limit=100&since={since}",
    "runs": lambda since, _: f"runs?limit=100&since={since}",
    "errors": lambda since, _: f"errors?since={since}",
    "tools": lambda since, _: f"tools?since={since}",
    "summary": lambda since, _: f"summary?since={since}",
    "bottlenecks": lambda since, _: f"bottlenecks?since={since}",
    "those of a session": lambda _, n: f"bottlenecks?session=session-{n}",
    "timeline": lambda since, _: f"timeline?step=900&since={since}",
    "one agent": lambda since, n: f"runs?limit=100&agent=agent-{n % 100}&since={since}",
    "page 20 of sessions": lambda since, _: f"sessions?limit=100&offset=2000&since={since}",
    "10,000 runs as CSV": lambda since, _: f"runs?limit=10000&format=csv&since={since}",
    "session of 33,000 spans": lambda _, n: f"sessions/giant?limit={2000 + n % 100}",
    "graphql agents": lambda since, _: _graphql(f'{{agents(since: "{since}") {{agent runs errors p95_ms cost_usd}}}}'),
    "graphql sessions": lambda since, _: _graphql(
        f'{{sessions(since: "{since}", limit: 100) {{session_id outcome cost_usd}}}}'
    ),
    "graphql one session": lambda _, n: _graphql(
        f'{{session(session_id: "session-{n}") {{outcome agent_runs {{agent status}} handoffs {{source target}}}}}}'
    ),
}


@contextmanager
def served(store: Store) -> Iterator[str]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(store), log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def took(address: str) -> tuple[float, float]:
    """Milliseconds, and how many of them of CPU."""
    began, worked = time.perf_counter(), time.process_time()
    with urllib.request.urlopen(address, timeout=60) as answer:
        body = answer.read()
    if b'"errors":[{"message"' in body[-2000:] or b'"errors": [{"message"' in body[-2000:]:
        raise RuntimeError(f"{address}: {body[-500:]!r}")
    return (time.perf_counter() - began) * 1e3, (time.process_time() - worked) * 1e3


def measured(base: str, rounds: int, sessions: int) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    print(f"{'question':24} {'new p50':>9} {'p95 ms':>9} {'CPU ms':>9} {'again p95':>10}  below {TARGET_MS} ms")
    for name, question in QUESTIONS.items():
        new, cpu, again = [], [], []
        for number in range(rounds):
            # From just before everything began, each time a little different, so that nothing was asked before.
            since = (START - timedelta(seconds=number + 1)).isoformat()
            path = question(since if name.startswith("graphql") else quote(since), (number * 7919) % sessions)
            address = base + (path if path.startswith("/") else f"/api/v1/{path}")
            each = took(address)
            new.append(each[0])
            cpu.append(each[1])
            again.append(took(address)[0])
        row = {
            "p50_ms": statistics.median(new),
            "p95_ms": _p95(new),
            "cpu_ms": statistics.median(cpu),
            "again_p95_ms": _p95(again),
        }
        rows[name] = {key: round(value, 1) for key, value in row.items()}
        verdict = "yes" if row["p95_ms"] < TARGET_MS else "no"
        print(
            f"{name:24} {row['p50_ms']:9.1f} {row['p95_ms']:9.1f} {row['cpu_ms']:9.1f} {row['again_p95_ms']:10.1f}"
            f"  {verdict}",
            flush=True,
        )
    return rows


def _p95(values: list[float]) -> float:
    return sorted(values)[min(int(len(values) * 0.95), len(values) - 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", default="", help="questions whose name has this in it")
    arguments = parser.parse_args()
    for name in [name for name in QUESTIONS if arguments.only not in name]:
        del QUESTIONS[name]
    sessions = arguments.operations // sum(PER_SESSION.values())
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"chdb://{folder}/store")
        store.migrate()
        fill(store, sessions)
        fill_giant(store)
        parts = store.rows(
            "SELECT table, count() AS parts FROM system.parts WHERE active AND table LIKE 'fact%' GROUP BY 1"
        )
        print({row["table"]: row["parts"] for row in parts})
        print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; times mean little above one a core")
        with served(store) as base:
            rows = {"operations": arguments.operations, **measured(base, arguments.rounds, sessions)}
        store.close()
    RESULTS.parent.mkdir(exist_ok=True)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**known, "reads": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
