"""What facts over many sessions cost: CPU of this process, best of three, beside the other facts of the same sessions.

python -m tests.bench.windows [--operations N]

Bottlenecks and coordination are made with every session; a look of the watch and the questions are taken at a million
agent operations as `tests.bench.reads` makes them. Rows join build/bench.json under "windows".
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import polars as pl
from maslens.analytics import frames
from maslens.analytics.bottlenecks import bottlenecks
from maslens.analytics.coordination import coordination
from maslens.analytics.facts import compute
from maslens.analytics.questions import load
from maslens.analytics.questions.question import Asked
from maslens.analytics.reader import Reader
from maslens.analytics.reads import Filters
from maslens.analytics.watch import Watch
from maslens.storage import open_store

from tests.bench.reads import PER_SESSION, RESULTS, fill

BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)


def session(name: str, runs: int, agents: int, *, begin: int = 0) -> list[dict[str, Any]]:
    """A boss who calls agents two at a time, each with a model call and a tool."""
    common = {"TraceId": name, "SessionId": name, "Dialect": "otel_genai", "StatusCode": "Unset", "ServiceName": "desk"}

    def span(number: int, parent: str, kind: str, at: float, seconds: float, **more: Any) -> dict[str, Any]:
        return {
            **common, "SpanId": f"{name}-{number}", "ParentSpanId": parent, "Kind": kind, "SpanName": kind,
            "Timestamp": BEGIN + timedelta(seconds=begin + at), "Duration": int(seconds * 1e9), **more,
        }  # fmt: skip

    rows = [span(0, "", "agent", 0, runs, AgentName="boss")]
    for run in range(runs - 1):
        at, number = run // 2 + 0.1 * (run % 2), 1 + 3 * run
        rows += [
            span(number, f"{name}-0", "agent", at, 0.8, AgentName=f"agent-{run % agents}"),
            span(
                number + 1, f"{name}-{number}", "llm", at, 0.5, RequestModel="gpt-4o", InputTokens=100, OutputTokens=9
            ),
            span(number + 2, f"{name}-{number}", "tool", at + 0.5, 0.2, ToolName="lookup"),
        ]
    return rows


def spans(rows: list[dict[str, Any]]) -> pl.DataFrame:
    schema = {name: frames.AGENT_SPANS[name] for name in {key for row in rows for key in row}}
    return frames.agent_spans(pl.DataFrame(rows, schema=schema, orient="row"))


def cpu(work: Callable[[], Any], *, times: int = 3) -> float:
    """Milliseconds of CPU, this process's threads included; the best of `times`."""
    took = []
    for _ in range(times):
        began = time.process_time()
        work()
        took.append(time.process_time() - began)
    return min(took) * 1e3


def per_session() -> dict[str, float]:
    found: dict[str, float] = {}
    sizes = {
        "1,000 sessions of 10 runs": spans([row for n in range(1000) for row in session(f"s{n}", 10, 5, begin=60 * n)]),
        "one session of 300 runs": spans(session("s", 300, 20)),
        "one session of 10,000 runs of 1,000 agents": spans(session("s", 10_000, 1_000)),
    }
    for name, made in sizes.items():
        facts = compute(made)
        calls = facts.agent_runs, facts.handoffs, facts.llm_calls
        found[f"{name}: all facts"] = cpu(lambda made=made: compute(made), times=1)
        found[f"{name}: bottlenecks"] = cpu(lambda calls=calls, facts=facts: bottlenecks(*calls, facts.tool_calls))
        found[f"{name}: coordination"] = cpu(lambda calls=calls: coordination(*calls))
    return found


def over_many(operations: int) -> dict[str, float]:
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"chdb://{folder}/store")
        store.migrate()
        fill(store, operations // sum(PER_SESSION.values()))
        store.command(_BOTTLENECKS)
        store.command(_COORDINATION)
        watch = Watch(store)
        found["watch: the first look"] = cpu(watch.look, times=1)
        found["watch: a look at nothing new"] = cpu(watch.look)
        reader = Reader(store)
        for name in ("bottlenecks", "coordination", "degradations", "coalitions", "teams"):
            question = load(name)
            found[f"question: {name}"] = cpu(lambda q=question: q.answer(reader.frames, Asked(filters=Filters())))
        one = Asked(filters=Filters(session="session-7"))
        found["question: bottlenecks of a session"] = cpu(lambda: load("bottlenecks").answer(reader.frames, one))
        store.close()
    return found


_BOTTLENECKS = """
INSERT INTO fact_bottlenecks (session_id, agent, started_at, rank, runs, critical_ns, waiting_ns, saves_ns, session_ns,
    share, version)
SELECT session_id, agent, min(started_at), row_number() OVER (PARTITION BY session_id ORDER BY agent), count(),
    sum(duration_ns), 0, sum(duration_ns), 20000000000, 0.5, 1
FROM agent_runs GROUP BY session_id, agent"""
_COORDINATION = """
INSERT INTO fact_coordination (session_id, started_at, pattern, pattern_confidence, agents, edges, handoffs, messages,
    coordination_tokens, work_tokens, delegation_accuracy, version)
SELECT session_id, started_at, ['swarm', 'hierarchical'][1 + cityHash64(session_id) % 2], 0.7, 5, 5, 5, 8, 1000, 9000,
    0.9, 1 FROM sessions"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=1_000_000)
    arguments = parser.parse_args()
    rows = {}
    for measure in (per_session, lambda: over_many(arguments.operations)):
        part = measure()
        rows |= part
        for name, milliseconds in part.items():
            print(f"{name:60} {milliseconds:10.1f} ms", flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**known, "windows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
