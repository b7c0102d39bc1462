"""Has it got worse? Evidence that may be looked at after every call without raising the false-alarm rate.

The evidence is a betting martingale: what is expected after each call is learned from the reference and from the calls
so far (a Pólya urn, which is exactly how exchangeable calls behave), and a bettor who believes in a change bets against
it. While nothing changes the bettor's wealth has no drift, so it ever reaches 1/α with a probability of at most α
(Ville): however often somebody looks, however long the stream, whatever the distribution of the values.

Rates: the urn starts with the reference's successes and failures and half a ball of each (Jeffreys); the bettor spreads
over all worse rates. Values: an urn over tenths of the reference's ranks, so any monotone scale gives the same answer;
the bettor spreads over exponential tilts of the ranks. Ties fall by a fixed low-discrepancy sequence.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import betaln, gammaln, logsumexp

Floats: TypeAlias = npt.NDArray[np.float64]
Worse: TypeAlias = Literal["higher", "lower"]

_GRID = (np.arange(200) + 0.5) / 200  # rates
_LOG_ODDS = np.stack([np.log(_GRID), np.log1p(-_GRID)])  # what a success and a failure say of each
_COUNTS = np.array([1.0, 1.0, 0.0])  # of what is told: successes and failures, and one for the belief
_TILTS = np.array([0.5, 1.0, 2.0, 4.0, 8.0])  # from barely slower to nearly always slower
_CELLS = 10
_GOLDEN = 0.6180339887498949


def rate_evidence(reference: Floats, current: Floats, worse: Worse, *, late: bool = False) -> Floats:
    """Log wealth after each of `current`'s zeros and ones, betting that their rate is worse than `reference`'s.

    late: the change may come anywhere in the stream, not just at its start; half of the stake is kept for that.
    """
    successes, calls = float(np.sum(reference)), len(reference)
    a, b = successes + 0.5, calls - successes + 0.5
    hits = np.concatenate([[0.0], np.cumsum(current)])
    misses = np.arange(len(hits)) - hits
    told = np.stack([hits, misses, np.ones(len(hits))], axis=1)
    expected = betaln(a + hits, b + misses) - betaln(a, b)
    belief = np.log(_worse_rates(a, b, worse) + 1e-300)
    weights = np.vstack([_LOG_ODDS, belief])
    room = np.empty((len(hits), len(_GRID)))  # taken once: fresh pages would cost as much as the sums
    paths = []
    for start in _starts(len(current), late):
        odds = np.matmul(told[start:] - told[start] * _COUNTS, weights, out=room[start:])
        paths.append(_log_sum_exp(odds) - (expected[start:] - expected[start]))
    return _shared(paths)


def value_evidence(reference: Floats, current: Floats, worse: Worse, *, late: bool = False) -> Floats:
    """Log wealth after each of `current`'s values, betting that they rank worse than `reference`'s."""
    balls, drawn = _urn(reference, current)
    expected = _drawing(balls, drawn)
    position = (np.cumsum(balls) - balls / 2) / balls.sum()
    tilted = np.log(balls) + np.outer(_TILTS if worse == "higher" else -_TILTS, position)
    bets = drawn @ (tilted - logsumexp(tilted, axis=1, keepdims=True)).T
    stake = -np.log(len(_TILTS))
    return _shared(
        [
            _log_sum_exp(bets[start:] - bets[start] + stake) - (expected[start:] - expected[start])
            for start in _starts(len(current), late)
        ]
    )


def drift_evidence(reference: Floats, current: Floats) -> Floats:
    """Log wealth after each of `current`'s values, betting that they are spread differently, in whatever way."""
    balls, drawn = _urn(reference, current)
    learnt = balls * (len(balls) / balls.sum())  # one ball a cell in all: soon forgotten for what is drawn
    return (_drawing(learnt, drawn) - _drawing(balls, drawn))[1:]


def first_alarm(evidence: Floats, alpha: float, *, least: int = 1) -> int | None:
    """After how many calls, `least` of them at least, the evidence reaches 1/alpha; None if it never does."""
    over = np.flatnonzero(evidence[least - 1 :] >= -np.log(alpha))
    return int(over[0]) + least if len(over) else None


def p_value(evidence: Floats, *, least: int = 1) -> float:
    """Valid whenever one stops looking: the inverse of the highest wealth reached."""
    seen = evidence[least - 1 :]
    return float(np.exp(-max(0.0, seen.max()))) if len(seen) else 1.0


def _log_sum_exp(rows: Floats) -> Floats:
    """Of each row, in its place: SciPy's takes six times as long, and most of a look at degradations."""
    top = rows.max(axis=1)
    rows -= top[:, None]
    np.maximum(rows, -700.0, out=rows)  # what is smaller than a double is dear, and nothing to the sum
    np.exp(rows, out=rows)
    return np.asarray(np.log(rows.sum(axis=1)) + top)


def _worse_rates(a: float, b: float, worse: Worse) -> Floats:
    """The bettor's belief: a rate anywhere between the reference's and the worst possible, all alike."""
    log_known = (a - 1) * np.log(_GRID) + (b - 1) * np.log1p(-_GRID)
    known = np.exp(log_known - log_known.max())
    room = known / (_GRID if worse == "lower" else 1 - _GRID)
    spread = np.cumsum(room[::-1])[::-1] if worse == "lower" else np.cumsum(room)
    return np.asarray(spread / spread.sum())


def _urn(reference: Floats, current: Floats) -> tuple[Floats, Floats]:
    """(balls per cell of the reference's ranks, how many were drawn from each after 0, 1, 2, … calls)"""
    slots = len(reference) + 1
    cells = min(_CELLS, slots)
    cell = np.arange(slots) * cells // slots
    drawn = np.zeros((len(current) + 1, cells))
    drawn[np.arange(1, len(current) + 1), cell[_slots(reference, current)]] = 1
    return np.bincount(cell, minlength=cells).astype(float), np.cumsum(drawn, axis=0)


def _drawing(balls: Floats, drawn: Floats) -> Floats:
    """Log probability of each sequence of draws when every ball goes back with another of its kind."""
    total = balls.sum()
    return np.asarray((gammaln(balls + drawn) - gammaln(balls)).sum(1) - gammaln(total + drawn.sum(1)) + gammaln(total))


def _slots(reference: Floats, current: Floats) -> npt.NDArray[np.int64]:
    """How many of the reference each value exceeds; among equals the place is drawn by a fixed sequence."""
    ordered = np.sort(reference)
    low = np.searchsorted(ordered, current, side="left")
    high = np.searchsorted(ordered, current, side="right")
    drawn = np.modf(np.arange(1, len(current) + 1) * _GOLDEN)[0]
    return np.asarray(low + np.floor(drawn * (high - low + 1)), dtype=np.int64)


def _starts(calls: int, late: bool) -> list[int]:
    """Where bets begin: at the start and, if the change may come late, at every doubling since the 16th call."""
    starts = [0]
    while late and (following := max(16, 2 * starts[-1])) < calls:
        starts.append(following)
    return starts


def _shared(paths: list[Floats]) -> Floats:
    """One wealth from bets that begin at different times: the first has half of the stake, the k-th 1/(k(k+1))."""
    calls = len(paths[0])
    if len(paths) == 1:
        return paths[0][1:]
    share = [1 / (k * (k + 1)) for k in range(1, len(paths))]
    share.append(1 - sum(share))
    full = [
        np.concatenate([np.zeros(calls - len(path)), path]) + np.log(w) for path, w in zip(paths, share, strict=True)
    ]
    return _log_sum_exp(np.stack(full, axis=1))[1:]
