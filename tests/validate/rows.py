"""What a validation says: a number, the data it was held against, the result with its interval, the bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number maslens shows, as the validity page explains it."""

    name: str
    definition: str
    formula: str
    source: str
    distrust: str
    tried: str = ""

    def __post_init__(self) -> None:
        for name in ("definition", "formula", "source", "distrust", "tried"):
            object.__setattr__(self, name, " ".join(getattr(self, name).split()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    number: str
    data: str
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    bar: float | None = None
    holds: bool | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """One data set against one number: `run` answers rows from the data set's folder."""

    number: Number
    data: str
    run: Callable[[Path], Iterator[Row]]


Direction = Literal["above", "at least", "below", "at most"]
_HOLDS: dict[Direction, Callable[[float, float], bool]] = {
    "above": lambda value, bar: value > bar,
    "at least": lambda value, bar: value >= bar,
    "below": lambda value, bar: value < bar,
    "at most": lambda value, bar: value <= bar,
}


def row(
    number: Number,
    data: str,
    metric: str,
    value: float,
    interval: tuple[float, float] | None = None,
    bar: tuple[Direction, float] | None = None,
) -> Row:
    low, high = interval or (None, None)
    return Row(
        number=number.name,
        data=data,
        metric=metric,
        value=round(float(value), 4),
        low=None if low is None else round(float(low), 4),
        high=None if high is None else round(float(high), 4),
        bar=bar[1] if bar else None,
        holds=_HOLDS[bar[0]](float(value), bar[1]) if bar else None,
    )


def share(
    number: Number, data: str, metric: str, hits: Sequence[bool], bar: tuple[Direction, float] | None = None
) -> Row:
    """A share in percent with its 95 % Wilson interval."""
    n, k = len(hits), int(np.sum(hits))
    if n == 0:
        return row(number, data, f"{metric}, n = 0", float("nan"))
    interval = stats.binomtest(k, n).proportion_ci(method="wilson")
    return row(number, data, f"{metric}, %, n = {n}", 100 * k / n, (100 * interval.low, 100 * interval.high), bar)


def bootstrap(
    values: Sequence[Any], statistic: Callable[[Sequence[Any]], float], *, draws: int = 1000
) -> tuple[float, float]:
    """95 % percentile interval of `statistic` over resampled `values` (whole units: stories, series); seed 0."""
    random = np.random.default_rng(0)
    drawn = [
        statistic([values[at] for at in random.integers(0, len(values), len(values))])
        for _ in range(draws if values else 0)
    ]
    low, high = np.nanquantile(drawn, [0.025, 0.975]) if drawn else (float("nan"), float("nan"))
    return float(low), float(high)
