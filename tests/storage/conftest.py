"""A store on a directory of its own, and OTLP to put into it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from maslens.storage import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"chdb://{tmp_path / 'data'}")
    opened.migrate()
    yield opened
    opened.close()
