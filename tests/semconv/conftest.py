"""One engine for the folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.semconv.engine import Engine


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    opened = Engine(tmp_path_factory.mktemp("dialects"))
    yield opened
    opened.close()
