"""The script starts with what the user's environment has."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BASE_ONLY = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"typer", "chdb", "pyarrow", "polars", "rich", "yaml", "structlog", "starlette"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import importlib.util
find = importlib.util.find_spec
absent = ("typer", "chdb", "pyarrow")
importlib.util.find_spec = lambda name, package=None: None if name in absent else find(name, package)
from maslens.cli.entry import main
main()
"""


def base_install(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The script where only what an app needs is installed."""
    return subprocess.run(
        [sys.executable, "-c", BASE_ONLY, *arguments], capture_output=True, text=True, cwd=cwd, timeout=60
    )


def test_run_needs_the_base_install_only(tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text("import sys; print('ran', sys.argv[1:])")
    done = base_install("run", "--endpoint", "http://127.0.0.1:9", sys.executable, str(app), "--flag", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "ran ['--flag']\n"), done.stderr


def test_the_doctor_of_apps_needs_the_base_install_only(tmp_path: Path) -> None:
    done = base_install("doctor", "--app", "--format", "json", cwd=tmp_path)
    findings = json.loads(done.stdout)
    assert done.returncode == int(any(found["severity"] == "error" and not found["handled"] for found in findings))
    assert all({"subject", "problem", "cure"} <= set(found) for found in findings)


@pytest.mark.parametrize("command", ["up", "agents", "--help"])
def test_everything_else_says_what_to_install(tmp_path: Path, command: str) -> None:
    done = base_install(command, cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "pip install 'maslens[server]'" in done.stderr


def test_the_server_takes_the_files_it_is_allowed() -> None:
    """Many systems grant 1,024, which a thousand connections use up."""
    code = """
import resource
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
from maslens.cli.up import MOST_FILES, _enough_files
_enough_files()
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(hard, MOST_FILES), hard)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
