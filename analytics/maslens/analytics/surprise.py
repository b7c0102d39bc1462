"""How unusual each value of a metric is given the ones before it, and when that began and ended."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.stats import genpareto

Floats: TypeAlias = npt.NDArray[np.float64]
Side: TypeAlias = Literal["higher", "lower", "both"]

HISTORY = 5000  # values a new one is held against
WARM_UP = 50  # values before anything is called unusual
SUSTAINED = 10  # values whose mean must be unusual as well
THRESHOLD = 3.0  # value and mean, on average, as rare as one in a thousand
QUIET = 50  # values in a row that end an episode
_CERTAIN = 300.0


def surprise(values: Floats, *, side: Side = "both", sustained: int = SUSTAINED, warm_up: int = WARM_UP) -> Floats:
    """-log10 of how rare each value is among the `HISTORY` before it, and the mean of the last `sustained` among such
    means; the average of the two, so that a blip alone or a slow drift alone has to be extreme.

    Rarity inside the bulk is counted; beyond the largest √n of n values it follows the generalised Pareto law that
    tails of almost any distribution tend to, fitted by its moments and never lighter than an exponential. Only the past
    is used; the first `warm_up` values have no surprise.
    """
    seen = np.asarray(values, dtype=float)
    parts = [_rarity(seen, side, warm_up)]
    if sustained > 1:
        parts.append(_rarity(_moving_mean(seen, sustained), side, warm_up))
    return np.asarray(np.mean(parts, axis=0))


def episodes(surprises: Floats, *, threshold: float = THRESHOLD, quiet: int = QUIET) -> list[tuple[int, int]]:
    """(first, last) index of each stretch of unusual values; `quiet` values below the threshold end it."""
    unusual = np.flatnonzero(surprises >= threshold)
    if not len(unusual):
        return []
    ends = np.flatnonzero(np.diff(unusual) > quiet)
    firsts = unusual[np.concatenate([[0], ends + 1])]
    lasts = unusual[np.concatenate([ends, [len(unusual) - 1]])]
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))


def _rarity(values: Floats, side: Side, warm_up: int) -> Floats:
    """The reference is renewed whenever it has grown by one in a hundred."""
    rarity = np.zeros(len(values))
    begin = warm_up
    while begin < len(values):
        history = values[max(0, begin - HISTORY) : begin]
        end = begin + max(1, len(history) // 100)
        upper = _tail(history, values[begin:end]) if side != "lower" else 0.0
        lower = _tail(-history, -values[begin:end]) if side != "higher" else 0.0
        rarity[begin:end] = np.maximum(upper, lower)
        begin = end
    return rarity


def _tail(history: Floats, values: Floats) -> Floats:
    """-log10 of the chance that the process behind `history` exceeds each of `values`."""
    ordered = np.sort(history)
    calls = len(ordered)
    beyond = max(5, int(np.sqrt(calls)))
    limit = ordered[calls - beyond - 1]
    rarity = -np.log10((calls - np.searchsorted(ordered, values, side="left") + 1) / (calls + 1))
    excess = ordered[calls - beyond :] - limit
    mean, variance = excess.mean(), excess.var()
    far = values > limit
    if not far.any() or mean <= 0:
        return np.asarray(np.where(far, _CERTAIN, rarity))
    shape = np.clip(0.5 * (1 - mean**2 / variance), 0.0, 0.5) if variance > 0 else 0.0
    with np.errstate(divide="ignore"):
        log_chance = genpareto.logsf(values[far] - limit, shape, scale=mean * (1 - shape))
    rarity[far] = np.minimum(_CERTAIN, -np.log10(beyond / calls) - log_chance / np.log(10))
    return rarity


def _moving_mean(values: Floats, over: int) -> Floats:
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(1, len(values) + 1)
    before = np.maximum(at - over, 0)
    return np.asarray((sums[at] - sums[before]) / (at - before))
