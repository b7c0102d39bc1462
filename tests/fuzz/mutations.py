"""Seeds changed at random, where there is no fuzzer that is guided by coverage."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, check

_EDIT = st.tuples(
    st.sampled_from(["flip", "insert", "cut", "copy"]), st.floats(0, 1), st.binary(min_size=1, max_size=8)
)


def changed(seed: bytes, edits: list[tuple[str, float, bytes]]) -> bytes:
    """`seed` with each edit at its relative place."""
    raw = bytearray(seed)
    for kind, place, given_bytes in edits:
        at = int(place * len(raw))
        if kind == "flip" and at < len(raw):
            raw[at] ^= given_bytes[0] or 1
        elif kind == "insert":
            raw[at:at] = given_bytes
        elif kind == "cut":
            del raw[at : at + given_bytes[0]]
        else:
            raw[at:at] = raw[: given_bytes[0]]
    return bytes(raw[:8192])


def inputs(name: str) -> st.SearchStrategy[bytes]:
    near = st.builds(changed, st.sampled_from(TARGETS[name].seeds), st.lists(_EDIT, max_size=6))
    return near | st.binary(max_size=300)


def explore(name: str, *, seconds: float, keep: Path | None = None) -> int:
    """Try inputs for so long; how many that were. Raises what the target raised, and leaves the input in `keep`."""
    tried, ends = [0], time.monotonic() + seconds

    for turn in range(1_000_000):
        if turn and time.monotonic() >= ends:
            break

        @seeded(turn)
        @settings(
            max_examples=200, deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(inputs(name))
        def attempt(data: bytes) -> None:
            if tried[0] and time.monotonic() >= ends:
                return
            tried[0] += 1
            try:
                check(name, data)
            except BaseException:
                if keep is not None:
                    (keep / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}").write_bytes(data)
                raise

        attempt()
    return tried[0]
