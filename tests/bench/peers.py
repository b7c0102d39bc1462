"""The same bytes fed to Arize Phoenix and MLflow, from pip with their default SQLite, until the spans can be queried.

Each peer gets a virtual environment of its own under build/venvs. Everything listens on loopback; CPU is that of the
peer's processes only, from the first request to the moment its own database answers with every acknowledged span, or
stops growing.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.bench.engine import write_requests
from tests.bench.processes import MERGED_S, disk_bytes, free_port, resident_bytes, until_at_rest, wait_until

ROOT = Path(__file__).parents[2]
START_S = 300.0  # Phoenix migrates its database for most of a minute on two cores
STILL_S = 20.0  # a count that has not moved for so long will not move

# Phoenix binds gRPC on every address; this benchmark stays on loopback.
_PHOENIX_MAIN = """
import sys, grpc.aio
bind = grpc.aio.Server.add_insecure_port
grpc.aio.Server.add_insecure_port = lambda self, address: bind(self, address.replace("[::]", "127.0.0.1"))
from phoenix.server.main import main
sys.argv = ["phoenix", "serve"]
main()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one system made of the bytes."""

    name: str
    sent_spans: int
    acknowledged_spans: int
    stored_spans: int
    cpu_s: float
    wall_s: float
    peak_bytes: int
    disk_bytes: int
    inserts: int | None = None  # into the engine, where that is known

    @property
    def spans_per_cpu_s(self) -> float:
        """Spans that can be queried per second of the server's CPU."""
        return self.stored_spans / self.cpu_s if self.cpu_s else 0.0


def phoenix(requests: Sequence[bytes], spans: int) -> Row | None:
    """Feed `requests` (`spans` in all) to Phoenix over OTLP/HTTP; None, and why on stderr, where it is absent."""
    with _left_out("phoenix"):
        return _phoenix(requests, spans)
    return None


def _phoenix(requests: Sequence[bytes], spans: int) -> Row:
    python = _venv("phoenix", "arize-phoenix")
    port, grpc_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            "PHOENIX_WORKING_DIR": folder,
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(port),
            "PHOENIX_GRPC_PORT": str(grpc_port),
            "PHOENIX_TELEMETRY_ENABLED": "false",
        }
        with _running([str(python), "-c", _PHOENIX_MAIN], environment, f"http://127.0.0.1:{port}/healthz") as pid:
            return _measure(
                "phoenix", pid, f"http://127.0.0.1:{port}/v1/traces", {}, requests, spans, Path(folder) / "phoenix.db"
            )


def mlflow(requests: Sequence[bytes], spans: int) -> Row | None:
    """The same with MLflow's tracking server."""
    with _left_out("mlflow"):
        return _mlflow(requests, spans)
    return None


def _mlflow(requests: Sequence[bytes], spans: int) -> Row:
    python = _venv("mlflow", "mlflow")
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "mlflow.db"
        command = [
            str(python.parent / "mlflow"),
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--workers",
            "1",
            "--backend-store-uri",
            f"sqlite:///{database}",
            "--default-artifact-root",
            f"{folder}/artifacts",
        ]
        with _running(command, {"MLFLOW_DISABLE_TELEMETRY": "true"}, f"http://127.0.0.1:{port}/health") as pid:
            headers = {"x-mlflow-experiment-id": "0"}
            return _measure("mlflow", pid, f"http://127.0.0.1:{port}/v1/traces", headers, requests, spans, database)


def _measure(
    name: str, pid: int, url: str, headers: Mapping[str, str], requests: Sequence[bytes], spans: int, database: Path
) -> Row:
    per_request = spans // len(requests)
    before, started = until_at_rest(pid), time.monotonic()
    size_before = disk_bytes(database.parent)
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        write_requests(Path(file.name), requests)
        command = [sys.executable, "-m", "tests.bench.load", file.name, url]
        command += [f"--header={header}={value}" for header, value in headers.items()]
        told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout)
    acknowledged = per_request * told["acknowledged"]
    stored, moved = _stored(database), time.monotonic()
    while stored < acknowledged and time.monotonic() - moved < STILL_S:
        time.sleep(0.2)
        if (now := _stored(database)) != stored:
            stored, moved = now, time.monotonic()
    ended = moved if stored < acknowledged else time.monotonic()
    return Row(
        name=name,
        sent_spans=spans,
        acknowledged_spans=acknowledged,
        stored_spans=stored,
        cpu_s=until_at_rest(pid, quiet_s=MERGED_S) - before,
        wall_s=ended - started,
        peak_bytes=resident_bytes(pid, peak=True),
        disk_bytes=disk_bytes(database.parent) - size_before,
    )


def _stored(database: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        try:
            return int(connection.execute("SELECT count(*) FROM spans").fetchone()[0])
        except sqlite3.OperationalError:  # locked by a writer: ask again
            return 0


def _venv(name: str, package: str) -> Path:
    folder = ROOT / "build" / "venvs" / name
    python = folder / "bin" / "python"
    if not (folder / ".installed").is_file():
        print(f"installing {package} into {folder.relative_to(ROOT)} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", package], check=True)
        (folder / ".installed").touch()
    return python


@contextlib.contextmanager
def _running(command: Sequence[str], environment: Mapping[str, str], health: str) -> Iterator[int]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=log, stderr=log, start_new_session=True
        )
        try:
            wait_until(lambda: _answers(health), timeout_s=START_S, what=command[0], every_s=1)
            yield process.pid
        finally:
            os.killpg(process.pid, 15)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()


@contextlib.contextmanager
def _left_out(name: str) -> Iterator[None]:
    """What keeps a peer from being measured is said, and the others are."""
    try:
        yield
    except (subprocess.CalledProcessError, TimeoutError, OSError) as reason:
        print(f"{name}: left out, {reason}", file=sys.stderr)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
