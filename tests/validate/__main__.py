"""`python -m tests.validate DATASETS=<folder> [ONLY=<data set>,…] [ROWS=build/validity.json] [PAGE=docs/validity.md]`

Holds every number against the labelled data in the folder and prints how it did. A data set that is not there is named.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.validate import llmdrift, nab, nezha, tcpd
from tests.validate.report import lines, merge, page
from tests.validate.rows import Row, Validation

ROOT = Path(__file__).parent.parent.parent
VALIDATIONS: tuple[Validation, ...] = (
    *nezha.VALIDATIONS,
    *llmdrift.VALIDATIONS,
    *tcpd.VALIDATIONS,
    *nab.VALIDATIONS,
)


def main(arguments: Sequence[str]) -> int:
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    datasets = Path(given.get("DATASETS") or ROOT.parent / "shared" / "datasets")
    if not datasets.is_dir():
        print(f"no data sets at {datasets}: give DATASETS=<folder>", file=sys.stderr)
        return 2
    rows: list[Row] = []
    for validation in VALIDATIONS:
        if given.get("ONLY") and validation.data not in given["ONLY"].split(","):
            continue
        if not (datasets / validation.data).is_dir():
            print(f"{validation.number.name}: skipped, {datasets / validation.data} is not there")
            continue
        begun = time.monotonic()
        done = list(validation.run(datasets / validation.data))
        print(
            f"\n{validation.number.name} on {validation.data}, {time.monotonic() - begun:.1f} s\n{lines(done)}",
            flush=True,
        )
        rows += done
    merged = merge(Path(given.get("ROWS") or ROOT / "build" / "validity.json"), rows)
    Path(given.get("PAGE") or ROOT / "docs" / "validity.md").write_text(page(merged, [v.number for v in VALIDATIONS]))
    failing = [row for row in rows if row.holds is False]
    print(f"\n{sum(row.holds is True for row in rows)} bars cleared, {len(failing)} missed")
    return 0


sys.exit(main(sys.argv[1:]))
