"""`make frameworks`: one virtual environment per framework under build/venvs, packages by name, once.

What was last seen to work is in `<name>/constraints.txt`; `LATEST=1` takes what is newest instead, `FREEZE=1` writes
what is installed back into it. uv builds them where it is installed, pip where it is not.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
ENVIRONMENTS = sorted(path.parent.name for path in HERE.glob("*/requirements.txt"))
FRAMEWORKS = [name for name in ENVIRONMENTS if (HERE / name / "script.py").is_file()]  # with a program and its truth


def python_of(name: str) -> Path:
    return ROOT / "build" / "venvs" / name / "bin" / "python"


def is_built(name: str) -> bool:
    """Whether its environment is complete; a build that was cut off leaves a Python without packages."""
    return (python_of(name).parents[1] / ".built").exists()


def build(name: str, *, latest: bool = False) -> None:
    """Make the environment of one framework, or bring it up to date where what it needs has changed."""
    constraints = HERE / name / "constraints.txt"
    pinned = not latest and constraints.exists()
    wanted = (HERE / name / "requirements.txt").read_text() + (constraints.read_text() if pinned else "latest\n")
    wanted += (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[0]
    stamp = python_of(name).parents[1] / ".built"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    stamp.unlink(missing_ok=True)
    print(f"{name}: installing {', '.join((HERE / name / 'requirements.txt').read_text().split())} ...", flush=True)
    start = time.monotonic()
    if not python_of(name).exists():
        subprocess.run([sys.executable, "-m", "venv", python_of(name).parents[1]], check=True)
    packages: list[str | Path] = ["-e", ROOT, "-r", HERE / name / "requirements.txt", *(["--upgrade"] * latest)]
    if not (pinned and _install(name, [*packages, "-c", constraints])) and not _install(name, packages):
        raise NotBuilt(name)
    stamp.write_text(wanted)
    print(f"{name}: built in {time.monotonic() - start:.0f} s", flush=True)


class NotBuilt(Exception):
    """The registry did not give what the environment needs."""


def freeze(name: str) -> None:
    """Remember what is installed now as what works."""
    listed = [sys.executable, "-m", "pip", "--python", python_of(name), "list", "--format=freeze", "--exclude-editable"]
    said = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.splitlines()
    kept = [line for line in said if not line.startswith(("pip=", "setuptools=", "maslens="))]
    (HERE / name / "constraints.txt").write_text("\n".join(kept) + "\n")


def _install(name: str, packages: Sequence[str | Path]) -> bool:
    """Whether it could be done, by uv or else by pip."""
    uv = shutil.which("uv")
    commands: list[list[str | Path]] = [[python_of(name), "-m", "pip", "install", "-q", "--disable-pip-version-check"]]
    if uv:
        commands.insert(0, [uv, "pip", "install", "-q", "--python", python_of(name)])
    environ = dict(os.environ)
    if "PIP_CERT" in environ:  # uv does not read pip's settings
        environ.setdefault("SSL_CERT_FILE", environ["PIP_CERT"])
    if "PIP_INDEX_URL" in environ:
        environ.setdefault("UV_DEFAULT_INDEX", environ["PIP_INDEX_URL"])
    return any(subprocess.run([*command, *packages], env=environ).returncode == 0 for command in commands)


def main() -> None:
    names, failed = sys.argv[1:] or ENVIRONMENTS, []
    for name in names:
        try:
            build(name, latest=bool(os.environ.get("LATEST")))
            if os.environ.get("FREEZE"):
                freeze(name)
        except (NotBuilt, subprocess.CalledProcessError):
            failed.append(name)
    if failed:
        sys.exit(f"not built: {', '.join(failed)}")


if __name__ == "__main__":
    main()
