"""After a crash: tokens that the engine believes it has seen, though their rows never arrived, are forgotten.

The engine notes an insert's token in the table's log and then moves the part into place. Whoever dies in between leaves
a token without rows, and the retry that would bring them is taken for a duplicate. So before the engine starts, every
line whose part is neither there nor merged into one that is there is taken out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

# partition, first and last block, level, and the mutation where there was one
_PART = re.compile(r"([^_]+)_(\d+)_(\d+)_(\d+)(?:_\d+)?")


class _Blocks(NamedTuple):
    partition: str
    first: int
    last: int

    def within(self, others: Iterable[_Blocks]) -> bool:
        return any(
            other.partition == self.partition and other.first <= self.first and self.last <= other.last
            for other in others
        )


def forget_absent(data_directory: Path) -> int:
    """Mend every log below `data_directory`, which no engine may have open; how many lines were taken out."""
    return sum(_mend(folder) for folder in data_directory.glob("store/*/*/deduplication_logs"))


def _mend(folder: Path) -> int:
    there = {blocks for entry in folder.parent.iterdir() if (blocks := _blocks(entry.name)) is not None}
    forgotten = 0
    for log in sorted(folder.glob("deduplication_log_*.txt")):
        lines = log.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if _is_there(line, there)]
        if len(kept) < len(lines):
            forgotten += len(lines) - len(kept)
            _replace(log, b"".join(kept))
    return forgotten


def _is_there(line: bytes, there: set[_Blocks]) -> bool:
    """`1 TAB part TAB token's hash` notes an insert; anything else is left alone, except half a line."""
    fields = line.rstrip(b"\n").split(b"\t")
    if not line.endswith(b"\n") or len(fields) != 3:
        return False
    if fields[0] != b"1":
        return True
    blocks = _blocks(fields[1].decode("utf-8", "replace"))
    return blocks is None or blocks in there or blocks.within(there)


def _blocks(name: str) -> _Blocks | None:
    found = _PART.fullmatch(name)
    return None if found is None else _Blocks(found[1], int(found[2]), int(found[3]))


def _replace(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
