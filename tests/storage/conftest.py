"""A store on a directory of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from maslens.storage import Store, open_store

from tests.storage.endpoint import served


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Embedded."""
    opened = open_store(f"chdb://{tmp_path / 'data'}")
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def server_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """An endpoint in another process, for as long as tests need one."""
    with served(tmp_path_factory.mktemp("served") / "data") as (port, _):
        yield port


@pytest.fixture(params=["chdb", "server"])
def any_store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """Both ways to the tables: the engine in this process, and a server's HTTP interface in another one."""
    if request.param == "chdb":
        yield request.getfixturevalue("store")
        return
    database = f"d{next(_numbers)}"
    opened = open_store(f"http://127.0.0.1:{request.getfixturevalue('server_port')}/{database}")
    opened.migrate()
    yield opened
    opened.command(f"DROP DATABASE {database} SYNC")
    opened.close()


_numbers = itertools.count()
