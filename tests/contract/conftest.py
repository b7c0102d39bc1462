"""A real `maslens up` in a process of its own, for clients that are not Python."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from maslens.cli.sources import Owner

from tests.bench.processes import wait_until

START_S = 60.0


@dataclass(frozen=True)
class Served:
    """Where one maslens listens, and a way to ask its tables."""

    owner: Owner

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """What the read-only ClickHouse interface answers."""
        query = urllib.parse.urlencode({"query": sql, "default_format": "JSONEachRow"})
        with urllib.request.urlopen(f"{self.owner.clickhouse}/?{query}", timeout=30) as answer:
            return [json.loads(line) for line in answer.read().splitlines()]

    def eventually(
        self, sql: str, holds: Callable[[list[dict[str, Any]]], bool], timeout_s: float = 30.0
    ) -> list[dict[str, Any]]:
        """The rows of `sql` as soon as `holds(rows)`; the last ones seen when it never does."""
        end = time.monotonic() + timeout_s
        while not holds(rows := self.rows(sql)) and time.monotonic() < end:
            time.sleep(0.2)
        return rows


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("maslens") / "data"
    flags = [f"--{name}-port=0" for name in ("otlp-grpc", "otlp-http", "page", "clickhouse")]
    command = [sys.executable, "-m", "maslens.cli.main", "up", f"--data={directory}", *flags]
    log = directory.parent / "up.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        wait_until(lambda: _ready(directory, process, log), timeout_s=START_S, what="maslens up")
        owner = Owner.of(directory)
        assert owner is not None
        yield Served(owner)
    finally:
        process.terminate()
        process.wait(40)


def _ready(directory: Path, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    owner = Owner.of(directory)
    if owner is None or owner.pid != process.pid:
        return False
    try:
        with urllib.request.urlopen(f"{owner.url}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
