"""What every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The captures and datasets kept beside the checkout; tests that need them are skipped where they are absent."""
    folder = Path(os.environ.get("MASLENS_SHARED", ROOT.parent / "shared"))
    if not (folder / "captures").is_dir():
        pytest.skip(f"no captures or datasets at {folder} (set MASLENS_SHARED)")
    return folder
