"""`make bench ARGS="[ingest|history|latency|reads|windows] …"`: ingest when nothing is named."""

from __future__ import annotations

import sys
from importlib import import_module

NAMES = ("ingest", "history", "latency", "reads", "windows")


def main() -> None:
    named = sys.argv[1] if sys.argv[1:] and sys.argv[1] in NAMES else ""
    sys.argv[1:] = sys.argv[2 if named else 1 :]
    import_module(f"tests.bench.{named or 'ingest'}").main()


if __name__ == "__main__":
    main()
