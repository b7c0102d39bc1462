"""The spans as trees of row numbers, so that ancestors are found for all spans at once and not span by span."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

Ints: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Forest:
    """`parent[i]` is the row of span i's parent, -1 when it has none here. Rings are cut: their spans become roots."""

    parent: Ints
    depth: Ints
    _parents: list[int] = field(repr=False, compare=False)  # `parent`, quicker one by one

    @staticmethod
    def of(spans: pl.DataFrame) -> Forest:
        """spans: `TraceId, SpanId, ParentSpanId`, one row a span."""
        rows = spans.select("TraceId", "SpanId").with_row_index("parent")
        wanted = spans.select("TraceId", pl.col("ParentSpanId").alias("SpanId"))
        found = wanted.join(rows, on=["TraceId", "SpanId"], how="left", maintain_order="left")["parent"]
        return Forest.from_parents(found.cast(pl.Int64).fill_null(-1).to_numpy())

    @staticmethod
    def from_parents(parent: Ints) -> Forest:
        parent = parent.copy()
        reached = _follow(_with_end(parent))
        parent[reached != len(parent)] = -1
        return Forest(parent, _depth(parent), parent.tolist())

    def __len__(self) -> int:
        return len(self.parent)

    def nearest(self, mask: Flags, *, own: bool = True) -> Ints:
        """For every span the row of its closest ancestor in `mask`, itself first if `own`; -1 when there is none."""
        end = len(self)
        found = _follow(_with_end(np.where(mask, np.arange(end), self.parent)))
        if not own:
            found = np.append(found, end)[np.where(self.parent < 0, end, self.parent)]
        return np.where(found == end, -1, found)

    def below(self, mask: Flags) -> Flags:
        """Which spans have a span of `mask` strictly below them."""
        below: Flags = self.latest_below(mask.astype(np.int64)) > 0
        return below

    def latest_below(self, when: Ints) -> Ints:
        """The largest `when` strictly below each span, 0 for none."""
        latest = np.zeros(len(self), dtype=np.int64)
        if len(self):
            order = np.argsort(self.depth, kind="stable")
            levels = np.split(order, np.flatnonzero(np.diff(self.depth[order])) + 1)
            for level in reversed(levels[1:]):
                np.maximum.at(latest, self.parent[level], np.maximum(latest[level], when[level]))
        return latest

    def path(self, row: int) -> list[int]:
        """The rows from the root down to `row`."""
        path = [row]
        while (row := self._parents[row]) >= 0:
            path.append(row)
        return path[::-1]


def _with_end(target: Ints) -> Ints:
    """`target` with one more element that everything without a target leads to, and that leads to itself."""
    end = len(target)
    return np.append(np.where(target < 0, end, target), end)


def _follow(target: Ints) -> Ints:
    """Follow `target` until it stands still, doubling the stride; who goes round in a ring never arrives."""
    for _ in range(len(target).bit_length() + 1):
        further = target[target]
        if np.array_equal(further, target):
            break
        target = further
    return target[:-1]


def _depth(parent: Ints) -> Ints:
    jump = _with_end(parent)
    depth = np.append((parent >= 0).astype(np.int64), 0)
    while (jump != len(parent)).any():
        depth = depth + depth[jump]
        jump = jump[jump]
    return depth[:-1]
