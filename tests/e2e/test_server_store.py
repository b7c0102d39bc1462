"""A store that is a server: absent at first, then there; and maslens in two halves in front of it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.bench.processes import free_port
from tests.e2e.running import ANY_PORTS, COMMAND, answer, environment, eventually
from tests.e2e.spans import request

ROOT = Path(__file__).parents[2]
PROTOBUF = {"Content-Type": "application/x-protobuf"}


@contextmanager
def clickhouse(directory: Path, port: int) -> Iterator[str]:
    """The DSN of a server that has just come up."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.late_server", str(directory), str(port)],
        cwd=ROOT, env=environment(), stdin=subprocess.PIPE,
    )  # fmt: skip
    try:
        eventually(lambda: _answers(f"http://127.0.0.1:{port}/ping"), within_s=60)
        yield f"http://127.0.0.1:{port}/maslens"
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=30)


@contextmanager
def running(command: str, *flags: str, cwd: Path) -> Iterator[list[str]]:
    """The lines it has said so far; ended in order."""
    process = subprocess.Popen(
        [*COMMAND, command, *flags], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd,
        env=environment(),
    )  # fmt: skip
    assert process.stdout is not None
    lines: list[str] = []
    reader = threading.Thread(target=lambda out: lines.extend(iter(out.readline, "")), args=[process.stdout])
    reader.start()
    try:
        eventually(lambda: process.poll() is not None or "Ctrl-C stops\n" in lines, within_s=60)
        assert process.poll() is None, "".join(lines)
        yield lines
    finally:
        process.terminate()
        code = process.wait(timeout=60)
        reader.join(10)
        process.stdout.close()
    assert code == 0, "".join(lines)


def address(lines: list[str], name: str) -> str:
    return next(line.split()[-1] for line in lines if line.strip().startswith(name))


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def test_what_came_before_the_server_is_loaded_when_it_is_there(tmp_path: Path) -> None:
    port = free_port()
    flags = [f"--store=http://127.0.0.1:{port}/maslens", f"--journal-dir={tmp_path / 'journal'}", *ANY_PORTS]
    with running("up", *flags, cwd=tmp_path) as lines:
        otlp, page = address(lines, "OTLP HTTP"), address(lines, "page and API")
        body = request(30, seed=1, agent="early").SerializeToString()
        assert httpx.post(f"{otlp}/v1/traces", content=body, headers=PROTOBUF).status_code == 200
        not_ready = httpx.get(f"{page}/readyz")
        assert not_ready.status_code == 503
        assert not_ready.json()["problems"] == ["the store is not there yet"]
        with clickhouse(tmp_path / "server", port) as dsn:
            eventually(lambda: httpx.get(f"{page}/readyz").status_code == 200, within_s=60)
            eventually(lambda: answer("agents", f"--url={page}"), within_s=60)
            (row,) = answer("agents", f"--url={page}")
            assert (row["agent"], row["llm_calls"]) == ("early", 30)
            assert answer("agents", f"--store={dsn}") == [row]


def test_the_halves_together_are_the_whole(tmp_path: Path) -> None:
    port = free_port()
    with clickhouse(tmp_path / "server", port) as dsn:
        receiving = [f"--store={dsn}", f"--journal-dir={tmp_path / 'journal'}", *ANY_PORTS]
        computing = [f"--store={dsn}", "--page-port=0"]
        with (
            running("receiver", *receiving, cwd=tmp_path) as front,
            running("sidecar", *computing, cwd=tmp_path) as back,
        ):
            body = request(20, seed=2, agent="halved").SerializeToString()
            url = f"{address(front, 'OTLP HTTP')}/v1/traces"
            assert httpx.post(url, content=body, headers=PROTOBUF).status_code == 200
            page = address(back, "page and API")
            eventually(lambda: httpx.get(f"{page}/readyz").status_code == 200, within_s=60)
            (row,) = eventually(lambda: answer("agents", f"--url={page}"), within_s=60)
            assert (row["agent"], row["llm_calls"]) == ("halved", 20)
            received = httpx.get(address(front, "metrics")).text
            assert 'maslens_receiver_items_total{kind="traces"} 20.0' in received
            assert 'maslens_agent_runs_total{agent="halved"' in httpx.get(f"{page}/metrics").text


@pytest.mark.parametrize("command", ["receiver", "sidecar"])
def test_half_a_maslens_needs_a_server(tmp_path: Path, command: str) -> None:
    done = subprocess.run(
        [*COMMAND, command, f"--data={tmp_path / 'data'}"], capture_output=True, text=True, cwd=tmp_path,
        env=environment(), timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "alone needs a ClickHouse server" in done.stderr
