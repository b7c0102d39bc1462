"""The kinds of telemetry that are taken, and their numbers on disk."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

Signal: TypeAlias = Literal["traces", "logs"]
SIGNALS: Final[tuple[Signal, ...]] = ("traces", "logs")

# On disk for ever: never renumber.
CODES: Final[dict[Signal, int]] = {"traces": 1, "logs": 2}
NAMES: Final[dict[int, Signal]] = {code: name for name, code in CODES.items()}
