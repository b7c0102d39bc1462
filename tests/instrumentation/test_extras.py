"""Every extra that the project offers can be installed, all of them together, from a registry."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNREACHABLE = re.compile(r"connection|timed out|temporary failure|max retries|unreachable|proxy", re.IGNORECASE)

pytestmark = [pytest.mark.network, pytest.mark.slow]


def test_all_extras_for_apps_resolve_together(tmp_path: Path) -> None:
    extras = sorted(set(metadata("maslens").get_all("Provides-Extra") or ()) - {"server"})
    report = tmp_path / "report.json"
    wanted = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", report]
    try:
        done = subprocess.run([*wanted, f"{ROOT}[{','.join(extras)}]"], capture_output=True, text=True, timeout=280)
    except subprocess.TimeoutExpired:
        pytest.skip("the registry did not answer in time")
    if done.returncode and UNREACHABLE.search(done.stderr):
        pytest.skip(f"no registry: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    chosen = {one["metadata"]["name"] for one in json.loads(report.read_text())["install"]}
    assert {name for name in chosen if name.startswith("openinference-instrumentation-")} >= {
        f"openinference-instrumentation-{name}"
        for name in ("openai-agents", "langchain", "crewai", "smolagents", "llama-index", "dspy", "agno", "openai")
    }
