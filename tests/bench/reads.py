"""How long the API takes to answer at a million agent operations, over HTTP, from a server process of its own.

    make bench ARGS="reads [--operations N] [--rounds N] [--only TEXT]"

Every list of the REST API is asked four ways: of the usual window, of all time, of one session, of one agent; then
every field of GraphQL, and what each view of the page asks for, all at once. Each question is new each time (a window
that begins a second earlier), then asked again. CPU is that of the server's process: it depends less on what else the
machine does. The target is for the time of a new question. The tables are those of `tests.bench.filled`, the graph of
everything has 100 agents and 100,000 handoffs. Rows join build/bench.json under "reads".
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote, urlencode

from maslens.analytics.questions import CATALOGUE, COST_BY

from tests.bench.filled import BUILD, OPERATIONS, filled

RESULTS = BUILD / "bench.json"
START = datetime(2026, 1, 1, tzinfo=timezone.utc)
TARGET_MS = 100
Params = Mapping[str, object]


def _since(number: int) -> str:
    """Just before everything began."""
    return (START - timedelta(seconds=number + 1)).isoformat()


SCOPES: Mapping[str, Callable[[int], Params]] = {
    "window": lambda n: {"since": _since(n)},
    "all time": lambda n: {"until": f"2100-01-01T00:{n // 60:02d}:{n % 60:02d}Z"},
    "session": lambda n: {"session": f"session-{n * 37 % 997}"},
    "agent": lambda n: {"agent": f"agent-{n % 100}", "since": _since(n)},
}
LISTS: Mapping[str, tuple[str, Params]] = {
    **{entry.name: (entry.name, {}) for entry in CATALOGUE if entry.api},
    "coordination by session": ("coordination", {"by": "session"}),
    "coordination by version": ("coordination", {"by": "version"}),
    "budgets": ("budgets", {"budgets": "50/day; agent agent-1 5/day"}),
    **{f"cost by {by}": ("cost", {"by": by}) for by in COST_BY},
    "graph": ("graph", {}),
    "timeline": ("timeline", {"step": 900}),
    "10,000 runs as CSV": ("runs", {"limit": 10_000, "format": "csv"}),
    "page 20 of sessions": ("sessions", {"limit": 100, "offset": 2_000}),
    "page 20 of runs": ("runs", {"limit": 100, "offset": 2_000}),
}
VIEWS: Mapping[str, Sequence[tuple[str, Params]]] = {
    "overview": [
        ("summary", {}), ("agents", {"limit": 500}), ("graph", {}), ("cost", {"by": "agent"}),
        ("sessions", {"limit": 12}), ("errors", {"limit": 8}), ("timeline", {"step": 1200}),
    ],
    "sessions": [("sessions", {"limit": 500})],
    "handoffs": [("handoffs", {"limit": 300}), ("graph", {})],
    "an agent": [
        (name, {"agent": "agent-7", **more})
        for name, more in (("agents", {}), ("runs", {"limit": 100}), ("handoffs", {"limit": 100}), ("errors", {}))
    ],
    "problems": [
        (name, {"limit": 50}) for name in ("degradations", "bottlenecks", "suspects", "quality", "evaluations")
    ],
    "money": [
        ("cost", {"by": "agent"}), ("unit-costs", {}), ("waste", {}), ("paths", {"limit": 12}), ("budgets", {}),
    ],
}  # fmt: skip
FIELDS: Mapping[str, str] = {
    "agents": "agent runs errors p95_ms cost_usd",
    "runs": "session_id agent status",
    "handoffs": "session_id source target",
    "sessions": "session_id outcome cost_usd",
    "cost": "name llm_calls cost_usd",
    "graph": "nodes {agent runs} edges {client server handoffs} metrics {name value}",
    **{
        entry.name.replace("-", "_"): "__typename"
        for entry in CATALOGUE
        if entry.api and entry.name not in ("agents", "runs", "handoffs", "sessions")
    },
}
GRAPHQL: Mapping[str, Callable[[int], str]] = {
    **{
        name: lambda n, name=name, what=what: f'{{{name}(since: "{_since(n)}") {{{what}}}}}'  # type: ignore[misc]
        for name, what in FIELDS.items()
    },
    "a session": lambda n: (
        f'{{session(session_id: "session-{n * 37 % 997}") {{outcome agent_runs {{agent}} handoffs {{source}}}}}}'
    ),
}


def asked() -> Iterator[tuple[str, Callable[[int], Sequence[str]]]]:
    """Every question by name, and what its Nth form asks the server for at once."""

    def rest(name: str, params: Params, scope: Callable[[int], Params]) -> Callable[[int], str]:
        return lambda n: f"/api/v1/{name}?{urlencode({**params, **scope(n)})}"

    for scope_name, scope in SCOPES.items():
        for title, (name, params) in LISTS.items():
            one = rest(name, params, scope)
            yield f"{title}, {scope_name}", lambda n, one=one: [one(n)]  # type: ignore[misc]
    yield "everything of a session", lambda n: [f"/api/v1/sessions/session-{n * 37 % 997}"]
    yield "session of 33,000 spans", lambda n: [f"/api/v1/sessions/giant?limit={2000 + n}"]
    for field, query in GRAPHQL.items():
        yield f"graphql {field}", lambda n, query=query: [f"/graphql?query={quote(query(n))}"]  # type: ignore[misc]
    for view, parts in VIEWS.items():
        several = [rest(name, params, SCOPES["window"]) for name, params in parts]
        yield f"view {view}", lambda n, several=several: [one(n) for one in several]  # type: ignore[misc]
    mine = [rest(name, {}, SCOPES["session"]) for name in ("graph", "suspects", "quality", "evaluations")]
    yield "view a session", lambda n: [f"/api/v1/sessions/session-{n * 37 % 997}", *(one(n) for one in mine)]


# --- the server ------------------------------------------------------------------------------------------------------


@contextmanager
def served(directory: Path) -> Iterator[tuple[str, int]]:
    """The address and the process id of a server over the store in `directory`."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        command = [sys.executable, "-m", "tests.bench.reads", f"--serve={directory}", f"--socket={listening.fileno()}"]
        process = subprocess.Popen(command, pass_fds=[listening.fileno()])
    try:
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait(timeout=60)


def serve(directory: Path, descriptor: int) -> None:
    """As `maslens up` serves its page, with nothing else in the process."""
    import uvicorn
    from maslens.analytics.server import create_app
    from maslens.storage import open_store

    store = open_store(f"chdb://{directory}")
    config = uvicorn.Config(create_app(store, revision=lambda: 1), log_level="warning", lifespan="off")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])
    store.close()


def cpu_ms(pid: int) -> float:
    """CPU time of a process, all threads."""
    return time.clock_gettime((~pid << 3) | 2) * 1e3  # what clock_getcpuclockid(3) makes of it on Linux


# --- measuring -------------------------------------------------------------------------------------------------------


def _get(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=60) as answer:
        body: bytes = answer.read()
    if body.startswith(b'{"data":null') or b'"errors": [{"message"' in body[-2000:]:
        raise RuntimeError(f"{address}: {body[-500:]!r}")
    return body


def measured(base: str, pid: int, rounds: int, only: str) -> dict[str, dict[str, float]]:
    rows: dict[str, dict[str, float]] = {}
    print(
        f"{'question':36} {'KiB':>6} {'p50 ms':>8} {'p95 ms':>8} {'CPU ms':>8} {'again p95':>9}  below {TARGET_MS} ms"
    )
    with ThreadPoolExecutor(max_workers=6) as pool:  # as many as a browser asks at once

        def took(paths: Sequence[str]) -> tuple[float, float, int]:
            began, worked = time.perf_counter(), cpu_ms(pid)
            size = sum(map(len, pool.map(_get, [base + path for path in paths])))
            return (time.perf_counter() - began) * 1e3, cpu_ms(pid) - worked, size

        for name, question in asked():
            if only not in name:
                continue
            took(question(1_000))  # the first of its kind reads from the disk
            new, again = [], []
            for number in range(rounds):
                new.append(took(question(number)))
                again.append(took(question(number))[0])
            row = {
                "kib": new[0][2] / 1024,
                "p50_ms": median(wall for wall, _, _ in new),
                "p95_ms": _p95([wall for wall, _, _ in new]),
                "cpu_ms": median(worked for _, worked, _ in new),
                "again_p95_ms": _p95(again),
            }
            rows[name] = {key: round(value, 1) for key, value in row.items()}
            verdict = "yes" if row["p95_ms"] < TARGET_MS else "no"
            print(
                f"{name:36} {row['kib']:6.0f} {row['p50_ms']:8.1f} {row['p95_ms']:8.1f} {row['cpu_ms']:8.1f}"
                f" {row['again_p95_ms']:9.1f}  {verdict}",
                flush=True,
            )
    return rows


def _p95(values: list[float]) -> float:
    return sorted(values)[min(int(len(values) * 0.95), len(values) - 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--only", default="", help="questions whose name has this in it")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--socket", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.socket)
        return
    began = time.monotonic()
    directory = filled(arguments.operations)
    print(f"{arguments.operations:,} operations in {arguments.operations // sum(OPERATIONS.values()):,} sessions: "
          f"{time.monotonic() - began:.0f} s to fill")  # fmt: skip
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; times mean little above one a core")
    with served(directory) as (base, pid):
        rows = measured(base, pid, arguments.rounds, arguments.only)
    for key, what in (("p95_ms", "p95"), ("cpu_ms", "median of the CPU time")):
        print(f"{what} below {TARGET_MS} ms: {sum(row[key] < TARGET_MS for row in rows.values())} of {len(rows)}")
    save("reads", {"operations": arguments.operations, **rows})
    print(f"{time.monotonic() - began:.0f} s in all")


def save(name: str, rows: Mapping[str, Any]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**known, name: rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
