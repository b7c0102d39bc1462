"""Where a series changed its level or its slope."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import ruptures
from scipy.stats import rankdata

Floats = npt.NDArray[np.float64]

_PARAMETERS = 3  # a change adds a level, a slope and a place
_SHORTEST = 3
_PLACES = 250


def changepoints(series: Floats) -> list[int]:
    """Indices of the first observation of each new regime, a regime being a straight line plus noise.

    series: observations by dimensions (or one dimension); gaps (NaN) are bridged. Exact search (PELT) for the fewest
    lines by the Bayesian information criterion, the noise being what one single line leaves: no setting to tune. Beyond
    250 observations changes are looked for at every 250th part of the series.
    """
    table = _bridged(np.atleast_2d(np.asarray(series, dtype=float).T).T)
    calls = len(table)
    if calls < 2 * _SHORTEST:
        return []
    line = np.column_stack([np.ones(calls), np.linspace(-0.5, 0.5, calls)])
    left = table - line @ np.linalg.lstsq(line, table, rcond=None)[0]
    noise = left.std(axis=0)
    moving = noise > 1e-9 * (np.abs(table).max(axis=0) + 1e-300)
    if not moving.any():
        return []
    cost = _Lines(table[:, moving] / noise[moving], line[:, 1])
    search = ruptures.Pelt(custom_cost=cost, min_size=_SHORTEST, jump=max(1, calls // _PLACES)).fit(cost.signal)
    return [int(at) for at in search.predict(pen=_PARAMETERS * np.log(calls) * int(moving.sum()))[:-1]]


def onset(values: Floats) -> int:
    """The index at which `values` most probably took another level, judged by ranks; 0 for fewer than six values."""
    if len(values) < 2 * _SHORTEST:
        return 0
    search = ruptures.Binseg(model="l2", min_size=_SHORTEST, jump=max(1, len(values) // 1000))
    return int(search.fit(rankdata(values).astype(float)).predict(n_bkps=1)[0])


class _Lines(ruptures.base.BaseCost):  # type: ignore[misc]  # ruptures has no types
    """Squared distance from the best line through each piece, summed over dimensions, from cumulated moments.

    ruptures has this cost as `linear`, with a least-squares fit for every piece: a hundred times slower.
    """

    model = "lines"
    min_size = _SHORTEST

    def __init__(self, table: Floats, time: Floats) -> None:
        self.signal = table
        self._time = [_cumulated(time), _cumulated(time**2)]
        self._columns = [[_cumulated(y), _cumulated(y * y), _cumulated(y * time)] for y in table.T]

    def fit(self, _: Any) -> _Lines:
        return self

    def error(self, start: int, end: int) -> float:
        n = end - start
        t, tt = (sums[end] - sums[start] for sums in self._time)
        spread = tt - t * t / n
        total = 0.0
        for column in self._columns:
            y, yy, ty = (sums[end] - sums[start] for sums in column)
            along = ty - t * y / n
            total += yy - y * y / n - (along * along / spread if spread > 0 else 0.0)
        return total


def _cumulated(values: Floats) -> list[float]:
    return [0.0, *map(float, np.cumsum(values))]


def _bridged(table: Floats) -> Floats:
    filled: Floats = np.array(table, dtype=float)
    for column in filled.T:
        gaps = ~np.isfinite(column)
        if gaps.any() and not gaps.all():
            column[gaps] = np.interp(np.flatnonzero(gaps), np.flatnonzero(~gaps), column[~gaps])
    return filled
