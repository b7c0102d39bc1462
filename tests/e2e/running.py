"""A `maslens up` in a process of its own, on free ports, and the command line beside it."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maslens.cli.main import main

COMMAND = [sys.executable, "-m", "maslens.cli.entry"]
ANY_PORTS = ["--otlp-grpc-port=0", "--otlp-http-port=0", "--page-port=0", "--clickhouse-port=0"]


def environment(**more: str) -> dict[str, str]:
    """Ours without settings of the person who runs the tests."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MASLENS_", "OTEL_"))}
    return {**plain, "PYTHONUNBUFFERED": "1", **more}


def maslens(*arguments: str, cwd: Path, timeout: float = 120, **more: str) -> subprocess.CompletedProcess[str]:
    """One command, to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], cwd=cwd, env=environment(**more), capture_output=True, text=True, timeout=timeout
    )


def here(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The same in this process: quicker, for commands that ask a running maslens and open no store themselves."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err), patched_argv(["maslens", *arguments]):
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


@contextmanager
def patched_argv(arguments: list[str]) -> Iterator[None]:
    before, sys.argv = sys.argv, arguments
    try:
        yield
    finally:
        sys.argv = before


def answer(*arguments: str, cwd: Path | None = None) -> Any:
    """The JSON a command writes; it must end well. With `cwd` in a process of its own."""
    arguments = (*arguments, "--format", "json")
    done = here(*arguments) if cwd is None else maslens(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@dataclass(slots=True)
class Up:
    """Started by `start`; `stop` ends it in order, `kill` at once."""

    data: Path
    flags: Sequence[str] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    addresses: dict[str, Any] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        return self.data.parent / f"{self.data.name}.log"

    def start(self, *, within_s: float = 180) -> Up:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [*COMMAND, "up", f"--data={self.data}", *ANY_PORTS, *self.flags],
                stdout=out, stderr=subprocess.STDOUT, cwd=self.data.parent, env=environment(**self.environ),
            )  # fmt: skip
        owner = self.data / "maslens-up.json"
        give_up = time.monotonic() + within_s
        while time.monotonic() < give_up:
            if self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode}:\n{self.log.read_text()}")
            try:
                self.addresses = json.loads(owner.read_text())
            except (OSError, ValueError):
                self.addresses = {}
            if self.addresses.get("pid") == self.process.pid:
                return self
            time.sleep(0.05)
        self.kill()
        raise AssertionError(f"not up within {within_s} s:\n{self.log.read_text()}")

    @property
    def url(self) -> str:
        return str(self.addresses["url"])

    @property
    def otlp_http(self) -> str:
        return str(self.addresses["otlp_http"])

    @property
    def otlp_grpc(self) -> str:
        return str(self.addresses["otlp_grpc"])

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """The exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(timeout=60)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=30)


def eventually(check: Any, *, within_s: float = 30) -> Any:
    """The first true answer of `check`."""
    give_up = time.monotonic() + within_s
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < give_up, f"not within {within_s} s; last: {found!r}"
        time.sleep(0.1)
