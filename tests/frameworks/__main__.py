"""`make validate-frameworks`: what `maslens run` sees of each framework, beside what its instrumentor alone gives.

`python -m tests.frameworks [NAME…] [PAGE=docs/instrument.md]`; those without environment are named.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.frameworks.build import FRAMEWORKS, ROOT, is_built, python_of
from tests.frameworks.running import KINDS, Ran, Way, held, run

RESULTS = ROOT / "build" / "frameworks.json"
BEGIN, END = "<!-- measured: make validate-frameworks -->", "<!-- measured: end -->"
WAYS: tuple[Way, ...] = ("maslens run", "without maslens")
_WHO = """
import json
from maslens.instrumentation.zero_code.installed import choices, version_of
print(json.dumps([
    [c.framework.id, next(filter(None, map(version_of, c.framework.distributions))),
     getattr(c.instrumentor, "distribution", ""), version_of(getattr(c.instrumentor, "distribution", "-")) or ""]
    for c in choices()
]))
"""


def main(arguments: Sequence[str]) -> int:
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    names = [argument for argument in arguments if "=" not in argument] or FRAMEWORKS
    rows = [row for name in names for row in _rows(name)]
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    kept = [row for row in known if row["framework"] not in {row["framework"] for row in rows}]
    rows = sorted(kept + rows, key=lambda row: (row["framework"], WAYS.index(row["way"])))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    print(table(rows))
    if given.get("PAGE"):
        page = Path(given["PAGE"])
        before, _, rest = page.read_text().partition(BEGIN)
        page.write_text(f"{before}{BEGIN}\n\n{table(rows)}\n\n{END}{rest.partition(END)[2]}")
    wrong = [row["framework"] for row in rows if row["way"] == WAYS[0] and not row["right"]]
    print(f"\n{len(rows) // 2 - len(wrong)} frameworks right, wrong: {', '.join(wrong) or 'none'}")
    return 1 if wrong else 0


def _rows(name: str) -> Iterator[dict[str, Any]]:
    if not is_built(name):
        print(f"{name}: no environment (make frameworks ARGS={name})", flush=True)
        return
    told = subprocess.run([python_of(name), "-c", _WHO], check=True, capture_output=True, text=True)
    (who,) = (one for one in json.loads(told.stdout) if one[0] == name.replace("_", "-"))
    for way in WAYS:
        ran = run(name, way)
        yield {**dict(zip(("framework", "version", "instrumentor", "its_version"), who, strict=True)), **_row(ran, way)}
        print(f"{name}, {way}: {', '.join(f'{kind} {one}' for kind, one in held(ran).items())}", flush=True)


def _row(ran: Ran, way: Way) -> dict[str, Any]:
    kinds = held(ran)
    return {
        "way": way,
        "right": ran.status == 0 and all(one.right for one in kinds.values()),
        "outside": ran.outside,
        **{kind: str(one) for kind, one in kinds.items()},
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown; two lines a framework."""
    lines = ["| framework | seen by | " + " | ".join(KINDS) + " | calls at |", "|---" * (len(KINDS) + 3) + "|"]
    for row in rows:
        ours = row["way"] == WAYS[0]
        framework = f"{row['framework']} {row['version']}" if ours else ""
        alone = f"{row['instrumentor']} {row['its_version']}" if row["instrumentor"] else "its own spans"
        hosts = sorted({where.rpartition(":")[0] for where in row["outside"]})
        cells = [framework, "`maslens run`" if ours else alone, *(row[kind] for kind in KINDS), ", ".join(hosts) or "–"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
