"""What instrumentation costs the app: `make bench-instrumentation`. Every figure beside the bare SDK's, in one process.

For each state of the endpoint one process (`tests.bench.instrumented_steps`) in which the bare SDK, our decorators and
our blocks take turns, some steps each. A ratio is that of our turn to the bare one of the same round: its median over
all rounds with a bootstrap interval of 95 %, and the fastest turn over the fastest.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from tests.bench.instrumented_steps import STEPS

RESULTS = Path("build/bench.json")
STATES: dict[str, dict[str, Any] | None] = {
    "healthy": {},
    "down": None,  # nobody listens
    "refuses": {"status": 401},
    "slow": {"delay": 5.0},
    "busy": {"status": 503},
    "retry-after": {"status": 503, "retry_after": "3"},
}
OURS = ("decorators", "blocks")
STEP, IMPORT_MS, GROWN_MIB = 1.25, 150, 64
EXIT_MS = 3500  # MASLENS_EXIT_TIMEOUT_MS, and a busy machine
EXIT_DOWN_MS = 500  # nobody is waited for


def _state(url: str, rounds: int) -> dict[str, Any]:
    answer = subprocess.run(
        [sys.executable, "-m", "tests.bench.instrumented_steps", str(rounds)],
        env={**_environ(), "OTEL_EXPORTER_OTLP_ENDPOINT": url},
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        raise SystemExit(f"a measured process failed:\n{answer.stderr}")
    found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    took = {way: np.array(turns) for way, turns in found["us_per_step"].items()}
    found["us_per_step"] = {way: round(float(np.median(turns)), 2) for way, turns in took.items()}
    found["ratio"] = {way: ratio(took[way], took["bare"]) for way in OURS}
    return found


def ratio(ours: Any, bare: Any) -> dict[str, float]:
    """Of arrays with the time of each round: the median of the rounds' ratios, its interval, and best over best."""
    paired = ours / bare
    drawn = bootstrap((paired,), np.median, n_resamples=2000, method="percentile", rng=np.random.default_rng(7))
    return {
        "median": round(float(np.median(paired)), 3),
        "low": round(float(drawn.confidence_interval.low), 3),
        "high": round(float(drawn.confidence_interval.high), 3),
        "fastest": round(float(ours.min() / bare.min()), 3),
    }


def _print(state: str, row: dict[str, Any]) -> None:
    for way, cost in row["us_per_step"].items():
        side = "bare" if way == "bare" else "ours"
        found = row["ratio"].get(way)
        ratios = (
            f"{found['median']:6.3f} [{found['low']:.3f}, {found['high']:.3f}] {found['fastest']:8.3f}"
            if found
            else " " * 32
        )
        print(
            f"{state:12} {way:10} {cost:8.1f} {ratios} {row['exporting_us_per_step'][side]:10.1f}"
            f" {row['slowest_ms'][way]:11.1f} {row['dropped'][side]:8}",
            flush=True,
        )
    print(f"{state:12} the process grew by {row['grown_mib']:.1f} MiB and left in {row['exit_ms']:.0f} ms", flush=True)
    if row["internal_errors"]:
        print(f"{state:12} went wrong inside: {row['internal_errors']}")


def _environ() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}


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
    paired = [ours / theirs for ours, theirs in zip(found["maslens"], found["instrumentor"], strict=True)]
    row["ratio"] = round(statistics.median(paired), 3)
    print(
        f"a run of the OpenAI Agents SDK: {row['nothing']:.0f} us unobserved, {row['instrumentor']:.0f} us with"
        f" OpenInference, {row['maslens']:.0f} us with maslens run ({row['ratio']:.2f} of the instrumentor alone)"
    )
    return row


@contextmanager
def endpoint(trouble: dict[str, Any] | None) -> Iterator[str]:
    """An OTLP/HTTP endpoint in a process of its own, so that its work is not the app's; None: the address of nobody."""
    if trouble is None:
        yield nowhere()
        return
    code = (
        "import sys; from tests.instrumentation.otlp_sink import Sink\n"
        "Sink.take = lambda *_: None\n"
        f"sink = Sink(**{trouble!r}).start(); print(sink.url, flush=True); sys.stdin.read()"
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
        before = getrusage(RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, env=_environ())
        after = getrusage(RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

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


def _bars(states: dict[str, Any], over_sdk: float) -> list[dict[str, Any]]:
    """What has to hold: the step, the import, and that a bad endpoint costs the app nothing but a bounded exit."""
    found: list[tuple[str, float, float]] = []
    for state, row in states.items():
        worst = max(row["ratio"][way]["median"] for way in OURS)
        found.append((f"step, ours over the bare SDK, the endpoint {state}", worst, STEP))
    for state, row in states.items():
        found.append((f"memory grown, MiB, of both, the endpoint {state}", round(row["grown_mib"], 1), GROWN_MIB))
        exit_ms = EXIT_DOWN_MS if state == "down" else EXIT_MS
        found.append((f"exit, ms, the endpoint {state}", round(row["exit_ms"]), exit_ms))
    found.append(("import and init(), CPU ms over the SDK's own", over_sdk, IMPORT_MS))
    return [{"metric": name, "value": value, "bar": bar, "holds": value <= bar} for name, value, bar in found]


def _imports() -> dict[str, float]:
    words = "import maslens.instrumentation"
    ready = "from maslens.instrumentation import init; init()"
    sdk_ms, words_ms, ready_ms, started_ms = (round(ms, 1) for ms in import_ms(SDK, words, ready, _STARTED))
    print(
        f"import, CPU: the SDK set up by hand {sdk_ms:.0f} ms, the words alone {words_ms:.0f} ms,"
        f" with init() {ready_ms:.0f} ms; what `maslens run` does before the program: {started_ms:.0f} ms"
    )
    over_sdk = round(ready_ms - sdk_ms, 1)
    return {"sdk": sdk_ms, "words": words_ms, "init": ready_ms, "maslens_run": started_ms, "over_sdk": over_sdk}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=120, help=f"turns of {STEPS} steps of each way and state")
    parser.add_argument(
        "--only", nargs="*", choices=list(STATES), default=list(STATES), help="no bars, no results kept"
    )
    arguments = parser.parse_args(argv)
    states: dict[str, Any] = {}
    print("                        app, us                                  exporting,   slowest  dropped")
    print("endpoint     way        per step  ratio  95 %            fastest  us/step      step, ms  spans")
    for state in arguments.only:
        with endpoint(STATES[state]) as url:
            states[state] = row = _state(url, arguments.rounds)
        _print(state, row)
    counts = next(iter(states.values()))["attributes"]
    print("attributes of each span, the same in all three ways:", ", ".join(f"{n} {c}" for n, c in counts.items()))
    if len(states) < len(STATES):
        return
    with endpoint({}) as url:
        framework = _framework(url, 5)
    rows: dict[str, Any] = {"states": states, "framework": framework, "import_ms": _imports()}
    rows["bars"] = _bars(states, rows["import_ms"]["over_sdk"])
    for bar in rows["bars"]:
        print(f"{'holds' if bar['holds'] else 'MISSED':7}{bar['metric']}: {bar['value']} (at most {bar['bar']})")
    RESULTS.parent.mkdir(exist_ok=True)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**known, "instrumentation": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
