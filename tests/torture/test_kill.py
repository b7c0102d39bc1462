"""Ten kills; `python -m tests.torture.kill` does a hundred."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.kill import torture


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_nothing_acknowledged_is_lost_and_nothing_is_doubled(tmp_path: Path) -> None:
    verdict = torture(10, seed=10, directory=tmp_path, senders=3)
    assert verdict.acknowledged > 1000
    assert verdict.right, str(verdict)
