"""A bounded run: every seed as it is, then a second of changed ones each. `make fuzz` goes on for longer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.mutations import explore
from tests.fuzz.targets import TARGETS, check, close


@pytest.fixture(scope="module", autouse=True)
def _engine() -> Iterator[None]:
    yield
    close()


FOUND = Path(__file__).parent / "found"  # inputs that broke something once


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_the_foreseen_errors_comes_out(name: str) -> None:
    for seed in TARGETS[name].seeds:
        check(name, seed)
    assert explore(name, seconds=1.0) > 0


@pytest.mark.parametrize("path", sorted(FOUND.glob("*")), ids=lambda path: path.name)
def test_what_broke_something_once_does_so_no_more(path: Path) -> None:
    check(path.name.partition("-")[0], path.read_bytes())
