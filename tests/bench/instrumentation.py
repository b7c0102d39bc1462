"""What instrumentation costs the app: `make bench-instrumentation`. Every figure beside the bare SDK's, in one run.

A step is an agent with a tool and a model call inside it: three spans. The bare SDK writes spans with the same names
and as many attributes, through the same processor and exporter to the same server. Time is that of the app's own
thread (`time.thread_time`), the median of interleaved rounds, each in its own process.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

RESULTS = Path("build/bench.json")
STEP_NAMES = ("bare", "decorators", "blocks")
SESSION = {"gen_ai.conversation.id": "c-1"}
AGENT = {
    "gen_ai.operation.name": "invoke_agent",
    "gen_ai.agent.name": "billing",
    "mas.agent.role": "worker",
    "mas.agent.instance.id": "0123456789abcdef",
}
TOOL = {
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.tool.name": "refund",
    "gen_ai.tool.type": "function",
    "gen_ai.agent.name": "billing",
    "mas.agent.instance.id": "0123456789abcdef",
}
CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "m",
    "gen_ai.provider.name": "openai",
    "gen_ai.agent.name": "billing",
    "mas.agent.instance.id": "0123456789abcdef",
}
USAGE = {"gen_ai.usage.input_tokens": 101, "gen_ai.usage.output_tokens": 11}


def steps(which: str) -> Callable[[int], None]:
    """A function that takes `count` steps, written with the bare SDK or with ours."""
    from maslens.instrumentation import agent, llm, tool
    from opentelemetry import trace

    tracer = trace.get_tracer("bare")
    code = {"code.function.name": "tests.bench.instrumentation.work"}

    def bare(count: int) -> None:
        span = tracer.start_as_current_span
        for _ in range(count):
            with span("invoke_agent billing", attributes={**SESSION, **AGENT, **code}):
                with span("execute_tool refund", attributes={**SESSION, **TOOL, **code}):
                    pass
                with span("chat m", attributes={**SESSION, **CHAT}) as call:
                    for key, value in USAGE.items():
                        call.set_attribute(key, value)

    @tool("refund")
    def refund() -> None: ...

    @agent("billing", role="worker")
    def billing() -> None:
        refund()
        with llm("m", provider="openai") as call:
            call.usage(101, 11)

    def decorators(count: int) -> None:
        for _ in range(count):
            billing()

    def blocks(count: int) -> None:
        for _ in range(count):
            with agent("billing", role="worker", attributes=code):
                with tool("refund", attributes=code):
                    pass
                with llm("m", provider="openai") as call:
                    call.usage(101, 11)

    return {"bare": bare, "decorators": decorators, "blocks": blocks}[which]


def one_round(which: str, count: int) -> dict[str, float]:
    """In a process of its own: set up as an app would, take the steps, tell what they cost."""
    if which == "bare":
        _bare_setup()
    else:
        from maslens.instrumentation import init

        init()
    from maslens.instrumentation import session
    from opentelemetry import trace

    take = steps(which)
    with session("c-1"):
        take(200)
        resting = _resident()
        wall, cpu = time.perf_counter(), time.thread_time()
        take(count)
        cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
        slowest = 0.0
        for _ in range(2000):
            start = time.perf_counter()
            take(1)
            slowest = max(slowest, time.perf_counter() - start)
    grown = _resident() - resting
    leaving = time.perf_counter()
    provider: Any = trace.get_tracer_provider()
    provider.shutdown()
    return {
        "us_per_step": cpu / count * 1e6,
        "wall_us_per_step": wall / count * 1e6,
        "slowest_ms": slowest * 1e3,
        "grown_mib": grown / 2**20,
        "exit_ms": (time.perf_counter() - leaving) * 1e3,
    }


def _bare_setup() -> None:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), max_queue_size=4096, schedule_delay_millis=500))
    trace.set_tracer_provider(provider)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _rounds(endpoint: str, count: int, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Interleaved, so that a slow minute of the machine hits all of them."""
    found: dict[str, list[dict[str, float]]] = {which: [] for which in STEP_NAMES}
    for _ in range(rounds):
        for which in STEP_NAMES:
            answer = subprocess.run(
                [sys.executable, "-m", "tests.bench.instrumentation", "--round", which, "--count", str(count)],
                env={**_environ(), "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
                capture_output=True,
                text=True,
                check=True,
            )
            found[which].append(json.loads(answer.stdout.splitlines()[-1]))
    return found


def _environ() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}


def median(found: list[dict[str, float]], key: str) -> float:
    return statistics.median(one[key] for one in found)


def _framework(endpoint: str, rounds: int) -> dict[str, Any]:
    """A run of the OpenAI Agents SDK unobserved, under the kept instrumentor alone, and under `maslens run`."""
    python = Path("build/venvs/openai_agents/bin/python")
    if not python.exists():
        print("framework: not measured, no environment (make frameworks ARGS=openai_agents)")
        return {}
    found: dict[str, list[float]] = {"nothing": [], "instrumentor": [], "maslens": []}
    for _ in range(rounds):
        for way, spent in found.items():
            answer = subprocess.run(
                [python, "-m", "tests.bench.openai_agents_run", way, "300"],
                env={**_environ(), "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
                capture_output=True,
                text=True,
                check=True,
            )
            spent.append(json.loads(answer.stdout.splitlines()[0])["us_per_run"])
    row = {way: round(statistics.median(spent), 1) for way, spent in found.items()}
    row["ratio"] = round(row["maslens"] / row["instrumentor"], 3)
    print(
        f"a run of the OpenAI Agents SDK: {row['nothing']:.0f} us unobserved, {row['instrumentor']:.0f} us with"
        f" OpenInference, {row['maslens']:.0f} us with maslens run ({row['ratio']:.2f} of the instrumentor alone)"
    )
    return row


@contextmanager
def server(*, delay: float = 0.0, status: int = 200) -> Iterator[str]:
    """An OTLP/HTTP endpoint in a process of its own, so that its work is not the app's."""
    code = (
        "import sys; from tests.instrumentation.otlp_sink import Sink\n"
        "Sink.take = lambda *_: None\n"
        f"sink = Sink(status={status}, delay={delay}).start(); print(sink.url, flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_environ()
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def nowhere() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def import_ms(*codes: str, times: int = 9) -> list[float]:
    """CPU milliseconds of a fresh interpreter running each of `codes` over one that runs nothing.

    The median of `times` rounds in which all take turns: what else the machine does hits all of them.
    """

    def spent(code: str) -> float:
        before = os.times()
        subprocess.run([sys.executable, "-c", code], check=True, env=_environ())
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    rounds = [[spent(code) for code in ("pass", *codes)] for _ in range(times)]
    return [statistics.median((one[place] - one[0]) * 1e3 for one in rounds) for place in range(1, len(codes) + 1)]


SDK = """
from opentelemetry import trace, _logs
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
logs = LoggerProvider()
logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
_logs.set_logger_provider(logs)
"""


_STARTED = "from maslens.instrumentation.run import start; start()"
EXIT_MS = {"refuses": 500, "slow": 3500, "busy": 3500}  # MASLENS_EXIT_TIMEOUT_MS, and a busy machine


def _bars(rows: dict[str, Any]) -> list[dict[str, Any]]:
    """What has to hold: the step, the import, and that a bad endpoint costs the app nothing but a bounded exit."""
    worst = max(rows["well"][which]["ratio"] for which in ("decorators", "blocks"))
    found = [
        ("step, ours over the bare SDK, the endpoint well", worst, 1.25),
        ("import and init(), CPU ms over the SDK's own", rows["import_ms"]["over_sdk"], 150),
    ]
    for endpoint in ("refuses", "slow", "busy"):
        ours = rows[endpoint]["decorators"]
        step = round(ours["us_per_step"] / rows["well"]["decorators"]["us_per_step"], 3)
        found += [
            (f"step where the endpoint {endpoint} over where it is well", step, 1.25),
            (f"memory grown, MiB, where the endpoint {endpoint}", ours["grown_mib"], 64),
            (f"exit, ms, where the endpoint {endpoint}", ours["exit_ms"], EXIT_MS[endpoint]),
        ]
    return [{"metric": name, "value": value, "bar": bar, "holds": value <= bar} for name, value, bar in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=8000)
    parser.add_argument("--round", choices=STEP_NAMES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.round:
        print(json.dumps(one_round(arguments.round, arguments.count)))
        return
    rows: dict[str, Any] = {}
    print("endpoint   way         us/step   ratio   slowest ms   grown MiB   exit ms")
    with server() as well, server(delay=5.0) as slow, server(status=503) as busy:
        for endpoint, url in (("well", well), ("refuses", nowhere()), ("slow", slow), ("busy", busy)):
            found = _rounds(url, arguments.count, arguments.rounds if endpoint == "well" else min(3, arguments.rounds))
            bare = median(found["bare"], "us_per_step")
            for which, results in found.items():
                row = {key: round(median(results, key), 2) for key in results[0]}
                row["ratio"] = round(row["us_per_step"] / bare, 3)
                rows.setdefault(endpoint, {})[which] = row
                cost = f"{row['us_per_step']:8.1f}  {row['ratio']:6.2f}  {row['slowest_ms']:11.1f}"
                print(f"{endpoint:9}  {which:10} {cost}  {row['grown_mib']:10.1f}  {row['exit_ms']:8.0f}", flush=True)
        rows["framework"] = _framework(well, arguments.rounds)
    sdk, words, ready, started = import_ms(
        SDK, "import maslens.instrumentation", "from maslens.instrumentation import init; init()", _STARTED
    )
    rows["import_ms"] = {
        "sdk": round(sdk, 1),
        "words": round(words, 1),
        "init": round(ready, 1),
        "maslens_run": round(started, 1),
        "over_sdk": round(ready - sdk, 1),
    }
    print(
        f"import, CPU: the SDK set up by hand {sdk:.0f} ms, the words alone {words:.0f} ms, with init() {ready:.0f} ms"
    )
    print(f"what `maslens run` does before the program: {started:.0f} ms")
    rows["bars"] = _bars(rows)
    for bar in rows["bars"]:
        print(f"{'holds' if bar['holds'] else 'MISSED':7}{bar['metric']}: {bar['value']} (at most {bar['bar']})")
    RESULTS.parent.mkdir(exist_ok=True)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**known, "instrumentation": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
