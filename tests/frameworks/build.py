"""`make frameworks`: one virtual environment per framework under build/venvs, packages by name, once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent


def python_of(name: str) -> Path:
    return ROOT / "build" / "venvs" / name / "bin" / "python"


def build(name: str) -> None:
    """Make the environment of one framework, or bring it up to date where what it needs has changed."""
    wanted = (HERE / name / "requirements.txt").read_text()
    stamp = python_of(name).parents[1] / ".built"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    if not python_of(name).exists():
        subprocess.run([sys.executable, "-m", "venv", python_of(name).parents[1]], check=True)
    print(f"{name}: installing {', '.join(wanted.split())} ...", flush=True)
    subprocess.run(
        [
            *(python_of(name), "-m", "pip", "install", "-q", "--disable-pip-version-check"),
            *("-e", str(ROOT), "-r", HERE / name / "requirements.txt"),
        ],
        check=True,
    )
    stamp.write_text(wanted)


def main() -> None:
    names = sys.argv[1:] or sorted(path.parent.name for path in HERE.glob("*/requirements.txt"))
    failed = []
    for name in names:
        try:
            build(name)
        except subprocess.CalledProcessError:
            failed.append(name)
    if failed:
        sys.exit(f"not built: {', '.join(failed)}")


if __name__ == "__main__":
    main()
