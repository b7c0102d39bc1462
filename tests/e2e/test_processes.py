"""Six processes, five transports, one session: HTTP, gRPC, MCP, A2A and a queue, each with its real library.

Nothing but the words of the API is in the programs; `maslens run` switches on the instrumentation of their transports.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.e2e.running import Up, answer, environment, eventually
from tests.frameworks.build import HERE, python_of

pytestmark = [pytest.mark.network, pytest.mark.slow]
PROGRAMS = HERE / "processes"
AGENTS = ("billing", "broker", "librarian", "mailer", "stock", "triage")

SPENT = {"triage": (101, 11), "billing": (211, 21), "stock": (311, 31), "librarian": (411, 41), "broker": (511, 51),
         "mailer": (611, 61)}  # fmt: skip


def start(up: Up, name: str, *arguments: str) -> subprocess.Popen[str]:
    python = python_of("processes")
    return subprocess.Popen(
        [python, "-m", "maslens.instrumentation.run", python, PROGRAMS / f"{name}.py", *arguments],
        env=environment(OTEL_SERVICE_NAME=name, OTEL_EXPORTER_OTLP_ENDPOINT=up.otlp_http),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """What `maslens` answers once all of it has arrived."""
    if not python_of("processes").exists():
        pytest.skip("no environment for processes: make frameworks ARGS=processes")
    letter = tmp_path_factory.mktemp("queue") / "letter.json"
    up = Up(tmp_path_factory.mktemp("processes") / "data").start()
    try:
        with ExitStack() as running:
            servers = [running.enter_context(start(up, name)) for name in ("billing", "stock", "broker")]
            running.callback(lambda: [server.kill() for server in servers])
            addresses = [server.stdout.readline().strip() for server in servers if server.stdout]
            assert _ended(start(up, "desk", *addresses, str(PROGRAMS / "librarian.py"), str(letter))) == 0
            assert _ended(start(up, "mailer", str(letter))) == 0
            for server in servers:
                assert server.stdin is not None
                server.stdin.close()
                assert server.wait(timeout=60) == 0

        def all_here() -> bool:
            return {row["agent"] for row in answer("agents", "--url", up.url)} == set(AGENTS)

        eventually(all_here, within_s=60)
        yield {
            "sessions": eventually(lambda: answer("sessions", "--url", up.url)),
            "handoffs": answer("handoffs", "--url", up.url),
            "cost": answer("cost", "--by", "agent", "--url", up.url),
            "runs": answer("query", "SELECT agent, service FROM agent_runs ORDER BY agent", "--url", up.url),
        }
    finally:
        up.stop()


def _ended(process: subprocess.Popen[str]) -> int:
    try:
        process.communicate(timeout=240)
    finally:
        process.kill()
    return process.returncode


def test_a_session_across_six_processes_is_one_and_the_queue_joins_by_a_link(told: dict[str, Any]) -> None:
    (session,) = told["sessions"]
    assert (session["session_id"], session["traces"], session["root_agent"]) == ("conv-9", 2, "triage")
    services = {row["agent"]: row["service"] for row in told["runs"]}
    assert services == dict(zip(AGENTS, ("billing", "broker", "library", "mailer", "stock", "desk"), strict=True))


@pytest.mark.parametrize(
    ("target", "mode"),
    [
        pytest.param("billing", "return_to_caller", id="HTTP"),
        pytest.param("stock", "return_to_caller", id="gRPC"),
        pytest.param("librarian", "return_to_caller", id="MCP over stdio"),
        pytest.param("broker", "return_to_caller", id="A2A"),
        pytest.param("mailer", "pass_control", id="a queue"),
    ],
)
def test_the_handoff_over_each_transport_is_one_explicit_edge(told: dict[str, Any], target: str, mode: str) -> None:
    edges = [row for row in told["handoffs"] if row["target"] == target]
    assert [(row["source"], row["mode"], row["evidence"]) for row in edges] == [("triage", mode, "explicit")]
    assert all(row["target_run_id"] for row in edges)


def test_each_process_spent_its_own_tokens(told: dict[str, Any]) -> None:
    spent = {row["agent"]: (row["input_tokens"], row["output_tokens"]) for row in told["cost"]}
    total = tuple(map(sum, zip(*SPENT.values(), strict=True)))
    assert spent == {**SPENT, "(unattributed)": (0, 0), "(total)": total}
