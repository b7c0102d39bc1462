"""The demo as a newcomer runs it."""

from __future__ import annotations

import re
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.e2e.running import ANY_PORTS, COMMAND, environment, maslens


def test_once_prints_tables_that_are_not_empty_and_leaves_nothing_behind(tmp_path: Path) -> None:
    before = set(Path(tempfile.gettempdir()).glob("maslens-demo-*"))
    done = maslens("demo", "--once", "--sessions=40", *ANY_PORTS, cwd=tmp_path, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    tables = done.stdout
    for title in ("Agents", "Who hands to whom", "Handoffs", "Cost by agent"):
        assert f"\n{title}" in tables
    for agent in (
        "supervisor", "router", "billing", "technical", "shipping", "engineer", "web_researcher", "docs_researcher",
        "synthesizer", "writer", "critic",
    ):  # fmt: skip
        assert re.search(rf"^ {agent} +\d+ ", tables, re.MULTILINE), agent
    assert "no rows" not in tables
    assert "where to look" in tables
    lost = re.search(r"technical +engineer +pass_control +(\d+) +\d+ +(\d+)", tables)
    assert lost is not None
    assert lost[1] == lost[2] != "0"  # whatever goes to the engineer arrives changed
    total = re.search(r"\(total\) +[\d,]+ +([\d.]+) +[\d,]+ +[\d,]+ +[\d,]+ +0 +0", tables)
    assert total is not None  # everything is priced and every call says its tokens
    assert float(total[1]) > 0
    assert set(Path(tempfile.gettempdir()).glob("maslens-demo-*")) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_it_serves_until_it_is_told_to_end(tmp_path: Path, how: signal.Signals) -> None:
    data = tmp_path / "data"
    process = subprocess.Popen(
        [*COMMAND, "demo", "--sessions=10", f"--data={data}", *ANY_PORTS],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path, env=environment(),
    )  # fmt: skip
    assert process.stdout is not None
    seen: list[str] = []
    try:
        for line in process.stdout:
            seen.append(line)
            if "Ctrl-C ends the demo" in line:
                process.send_signal(how)
                break
        seen.extend(process.stdout)
        assert process.wait(timeout=60) == 0, "".join(seen)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    # Nothing that it started is left: the directory has no owner who would answer in its place.
    assert not (data / "maslens-up.json").exists()
    done = maslens("sessions", f"--data={data}", "--format=json", cwd=tmp_path)
    assert done.stdout.count('"session_id"') >= 10
