"""`make load`: loads that break other receivers, one line each; exits with 1 where a span was lost or doubled.

python -m tests.load [steady trace connections tiny absent] [--minutes 10] [--spans 50000] [--number N] [--seconds 180]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from tests.load.scenarios import SCENARIOS, Outcome, absent, connections, many, steady, trace


def main() -> None:
    parser = argparse.ArgumentParser(prog="make load")
    parser.add_argument("scenarios", nargs="*", default=[], help=f"of {', '.join(SCENARIOS)}; all without")
    parser.add_argument("--minutes", type=float, default=10.0, help="of `steady`")
    parser.add_argument("--spans", type=int, default=50_000, help="of `trace`")
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=100_000, help="of `tiny`")
    parser.add_argument("--seconds", type=float, default=180.0, help="that the store is away in `absent`")
    asked = parser.parse_args()
    if unknown := [name for name in asked.scenarios if name not in SCENARIOS]:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(SCENARIOS)}")
    runs: dict[str, Callable[[], Outcome]] = {
        "steady": lambda: steady(minutes=asked.minutes),
        "trace": lambda: trace(spans=asked.spans),
        "connections": lambda: connections(number=asked.connections),
        "tiny": lambda: many(number=asked.requests),
        "absent": lambda: absent(seconds=asked.seconds),
    }
    right = True
    for name in asked.scenarios or SCENARIOS:
        outcome = runs[name]()
        print(outcome, flush=True)
        right = right and outcome.right
    sys.exit(not right)


if __name__ == "__main__":
    main()
