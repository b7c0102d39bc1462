"""The spans as trees of row numbers, so that ancestors are found for all spans at once and not span by span."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Forest:
    """`parent[i]` is the row of span i's parent, -1 when it has none here. Rings are cut: their spans become roots."""

    parent: Ints
    depth: Ints

    @staticmethod
    def of(spans: pl.DataFrame) -> Forest:
        """spans: `TraceId, SpanId, ParentSpanId`, one row a span."""
        rows = spans.select("TraceId", "SpanId").with_row_index("parent")
        parent = (
            spans.select("TraceId", pl.col("ParentSpanId").alias("SpanId"))
            .join(rows, on=["TraceId", "SpanId"], how="left", maintain_order="left")["parent"]
            .cast(pl.Int64).fill_null(-1).to_numpy()
        )  # fmt: skip
        return Forest.from_parents(np.asarray(parent, dtype=np.int64))

    @staticmethod
    def from_parents(parent: Ints) -> Forest:
        parent = parent.copy()
        reaches = _jump(_with_sentinel(parent, parent))
        ring = reaches != len(parent)
        parent[ring] = -1
        return Forest(parent, _depth(parent))

    def __len__(self) -> int:
        return len(self.parent)

    def nearest(self, mask: Flags, *, own: bool = True) -> Ints:
        """For every span the row of its closest ancestor in `mask`, itself first if `own`; -1 when there is none."""
        here = np.arange(len(self), dtype=np.int64)
        found = _jump(_with_sentinel(np.where(mask, here, self.parent), self.parent))
        if not own:
            found = np.append(found, len(self))[np.where(self.parent < 0, len(self), self.parent)]
        return np.where(found == len(self), -1, found)

    def below(self, mask: Flags) -> Flags:
        """Which spans have a span of `mask` strictly below them."""
        return self.count_below(mask) > 0

    def count_below(self, mask: Flags) -> Ints:
        """How many spans of `mask` are strictly below each span."""
        total = mask.astype(np.int64)
        if len(self):
            order = np.argsort(self.depth, kind="stable")
            levels = np.split(order, np.flatnonzero(np.diff(self.depth[order])) + 1)
            for level in reversed(levels[1:]):
                np.add.at(total, self.parent[level], total[level])
        return total - mask

    def path(self, row: int) -> list[int]:
        """The rows from the root down to `row`."""
        path = [row]
        while (row := int(self.parent[row])) >= 0:
            path.append(row)
        return path[::-1]


def _with_sentinel(target: Ints, parent: Ints) -> Ints:
    return np.append(np.where(target < 0, len(parent), target), len(parent))


def _jump(target: Ints) -> Ints:
    """Follow `target` until it stands still, doubling the stride; rings keep moving and are left where they are."""
    for _ in range(max(1, len(target)).bit_length() + 1):
        further = target[target]
        if np.array_equal(further, target):
            break
        target = further
    return target[:-1]


def _depth(parent: Ints) -> Ints:
    size = len(parent)
    jump = np.append(np.where(parent < 0, size, parent), size)
    depth = np.append((parent >= 0).astype(np.int64), 0)
    while (jump[:-1] != size).any():
        depth = depth + depth[jump]
        jump = jump[jump]
    return depth[:-1]
