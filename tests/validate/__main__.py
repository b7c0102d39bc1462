"""`python -m tests.validate DATASETS=<folder> CAPTURES=<folder> [ONLY=<data set>,…] [ROWS=<json>] [PAGE=<page>]`

Holds every number against the labelled data in the folder and prints how it did. A data set that is not there is named.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tests.validate import (
    agntcy,
    drift,
    handoff_parts,
    handoffbench,
    handoffs,
    llm_prices,
    llmdrift,
    mas_sim,
    nab,
    nezha,
    suspects,
    tcpd,
    windows,
)
from tests.validate.report import lines, merge, page
from tests.validate.rows import Row, Validation

ROOT = Path(__file__).parent.parent.parent
VALIDATIONS: tuple[Validation, ...] = (
    *nezha.VALIDATIONS,
    *llmdrift.VALIDATIONS,
    *tcpd.VALIDATIONS,
    *nab.VALIDATIONS,
    *suspects.VALIDATIONS,
    *handoffbench.VALIDATIONS,
    *handoff_parts.VALIDATIONS,
    *drift.VALIDATIONS,
    *agntcy.VALIDATIONS,
    *llm_prices.VALIDATIONS,
    *mas_sim.VALIDATIONS,
    *windows.VALIDATIONS,
)


def main(arguments: Sequence[str]) -> int:
    given = {
        key: value for key, value in (argument.split("=", 1) for argument in arguments if "=" in argument) if value
    }
    datasets = Path(given.get("DATASETS", ROOT.parent / "shared" / "datasets"))
    if not datasets.is_dir():
        print(f"no data sets at {datasets}: give DATASETS=<folder>", file=sys.stderr)
        return 2
    only = set(filter(None, given.get("ONLY", "").split(",")))
    rows: list[Row] = []
    captures = Path(given.get("CAPTURES", ROOT.parent / "shared" / "captures"))
    for validation in VALIDATIONS:
        folder = captures if validation.data == "captures" else datasets / validation.data
        if only and validation.data not in only:
            continue
        if validation.data != "made" and not folder.is_dir():  # what is made needs nothing
            print(f"{validation.number.name}: skipped, {folder} is not there")
            continue
        rows += _done(validation.number.name, validation.data, lambda run=validation.run, at=folder: run(at))
    if captures.is_dir() and (not only or "captures" in only):
        rows += _done(handoffs.NUMBER.name, "captures", lambda: handoffs.rows(handoffs.validate(captures), "captures"))
    merged = merge(Path(given.get("ROWS", ROOT / "build" / "validity.json")), rows)
    numbers = [*(validation.number for validation in VALIDATIONS), handoffs.NUMBER]
    Path(given.get("PAGE", ROOT / "docs" / "validity.md")).write_text(page(merged, numbers))
    missed = sum(row.holds is False for row in rows)
    print(f"\n{sum(row.holds is True for row in rows)} bars cleared, {missed} missed")
    return 0


def _done(number: str, data: str, run: Callable[[], Iterable[Row]]) -> list[Row]:
    begun = time.monotonic()
    rows = list(run())
    print(f"\n{number} on {data}, {time.monotonic() - begun:.1f} s\n{lines(rows)}", flush=True)
    return rows


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
