"""Where the stock JavaScript exporters are, once `make languages` has installed them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent / "javascript"


def javascript_folder(program: str) -> Path:
    """A folder with the exporters and `program` in it; the test is skipped where there is none."""
    folder = ROOT / "build" / "javascript"
    if shutil.which("node") is None:
        pytest.skip("no node to run the JavaScript exporters with")
    if not (folder / "node_modules" / "@opentelemetry" / "exporter-trace-otlp-http").is_dir():
        pytest.skip(f"the JavaScript exporters are not installed in {folder.relative_to(ROOT)}: make languages")
    shutil.copy(HERE / program, folder / program)
    return folder
