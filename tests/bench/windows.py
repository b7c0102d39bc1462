"""What facts over many sessions cost: CPU of this process, best of three, beside the other facts of the same sessions.

python -m tests.bench.windows [--operations N]

Bottlenecks and coordination are made with every session; the questions and the graph are taken at a million agent
operations as `tests.bench.filled` makes them, looks of the watch at a tenth. Rows join
build/bench.json under "windows".
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import polars as pl
from maslens.analytics import frames
from maslens.analytics.api import graph_of
from maslens.analytics.bottlenecks import bottlenecks
from maslens.analytics.coordination import coordination
from maslens.analytics.facts import compute
from maslens.analytics.questions import load
from maslens.analytics.questions.question import Asked
from maslens.analytics.reader import Reader
from maslens.analytics.reads import Filters
from maslens.analytics.watch import Watch
from maslens.storage import open_store

from tests.bench.filled import OPERATIONS, fill, filled
from tests.bench.reads import save

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
    store = open_store(f"chdb://{filled(operations)}")
    reader = Reader(store)
    for name in ("bottlenecks", "coordination", "degradations", "coalitions", "teams"):
        question = load(name)
        found[f"question: {name}"] = cpu(lambda q=question: q.answer(reader.frames, Asked(filters=Filters())))
    for session in ("session-7", "giant"):
        one = Asked(filters=Filters(session=session))
        found[f"question: bottlenecks of {session}"] = cpu(lambda o=one: load("bottlenecks").answer(reader.frames, o))
    found["graph of 100 agents and 100,000 edges"] = cpu(lambda: graph_of(reader, Filters()))
    store.close()
    return found


def watched(operations: int) -> dict[str, float]:
    """In a smaller store of its own: looking changes what is there."""
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"chdb://{folder}/store")
        store.migrate()
        fill(store, operations // sum(OPERATIONS.values()))
        watch = Watch(store)
        found = {f"watch: the first look at {operations:,} operations": cpu(watch.look, times=1)}
        found["watch: a look at nothing new"] = cpu(watch.look, times=1)
        store.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=1_000_000)
    arguments = parser.parse_args()
    rows = {}
    sizes = (per_session, lambda: over_many(arguments.operations), lambda: watched(arguments.operations // 10))
    for measure in sizes:
        part = measure()
        rows |= part
        for name, milliseconds in part.items():
            print(f"{name:60} {milliseconds:10.1f} ms", flush=True)
    save("windows", rows)


if __name__ == "__main__":
    main()
