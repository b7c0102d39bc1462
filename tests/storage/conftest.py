"""A store on a directory of its own, and OTLP to put into it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from maslens.storage import Store, open_store

from tests.storage.endpoint import served


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"chdb://{tmp_path / 'data'}")
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture(params=["chdb", "server"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Both ways to the tables: the engine in this process, and a server's HTTP interface in another one."""
    if request.param == "chdb":
        yield request.getfixturevalue("store")
        return
    with served(tmp_path / "data") as port:
        opened = open_store(f"http://127.0.0.1:{port}/maslens")
        opened.migrate()
        yield opened
        opened.close()
