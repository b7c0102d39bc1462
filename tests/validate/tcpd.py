"""Series whose changes five people marked: the scores of TCPDBench."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from maslens.analytics.changepoints import changepoints

from tests.validate.rows import Floats, Number, Row, Validation, bootstrap, row

CHANGEPOINTS = Number(
    name="degradations: onset by change points",
    definition="Where a metric took another level or slope.",
    formula="""fewest straight lines by the Bayesian information criterion: PELT on the squared residuals of piecewise
    lines, 3 ln n a change (level, slope, place), the noise being the variance that a single line leaves""",
    source="any series of a metric",
    distrust="""on fewer than 20 observations; on seasonal series (a season is many changes or none); annotators
    disagree: no change at all scores .655""",
    tried="""PELT on levels (F1 .745, Cover .660), on ranks (.791/.670), Gaussian with variance (.65/.48), radial kernel
    (.722/.647), all with 3 ln n; with 2 ln n the lines give .803/.719, with 5 ln n .802/.736.""",
)
MARGIN = 5
Marks = Mapping[str, Sequence[int]]


def f1(marks: Marks, found: Sequence[int]) -> float:
    """Precision against the union of the annotators, recall averaged over them; the start counts for everybody."""
    by_person = {person: {0, *listed} for person, listed in marks.items()}
    claimed = {0, *found}
    precision = _hits(set().union(*by_person.values()), claimed) / len(claimed)
    recall = float(np.mean([_hits(mine, claimed) / len(mine) for mine in by_person.values()]))
    return 2 * precision * recall / (precision + recall)


def _hits(truth: set[int], claimed: set[int]) -> int:
    left, hits = set(claimed), 0
    for at in sorted(truth):
        near = [(abs(at - one), one) for one in left if abs(at - one) <= MARGIN]
        if near:
            left.discard(min(near)[1])
            hits += 1
    return hits


def cover(marks: Marks, found: Sequence[int], length: int) -> float:
    """How well the segments overlap, averaged over annotators and weighted by length."""
    claimed = _segments(found, length)

    def of(listed: Sequence[int]) -> float:
        best = [(b - a) * max(_jaccard((a, b), segment) for segment in claimed) for a, b in _segments(listed, length)]
        return sum(best) / length

    return float(np.mean([of(listed) for listed in marks.values()]))


def _segments(marks: Sequence[int], length: int) -> list[tuple[int, int]]:
    edges = sorted({0, *marks, length})
    return list(pairwise(edges))


def _jaccard(one: tuple[int, int], other: tuple[int, int]) -> float:
    shared = max(0, min(one[1], other[1]) - max(one[0], other[0]))
    return shared / (max(one[1], other[1]) - min(one[0], other[0])) if shared else 0.0


def series(folder: Path) -> dict[str, Floats]:
    found = {}
    for path in sorted((folder / "series").glob("*.json")):
        told = json.loads(path.read_text())
        columns = [[np.nan if value is None else value for value in column["raw"]] for column in told["series"]]
        found[path.stem] = np.array(columns, dtype=float).T
    return found


def changes(folder: Path) -> Iterator[Row]:
    marks: Mapping[str, Marks] = json.loads((folder / "annotations.json").read_text())
    tables = {name: table for name, table in series(folder).items() if name in marks}
    found = {name: changepoints(table) for name, table in tables.items()}
    scores = {name: f1(marks[name], found[name]) for name in tables}
    covers = [cover(marks[name], found[name], len(table)) for name, table in tables.items()]
    yield _mean(f"F1, {len(scores)} series", list(scores.values()), 0.713)
    yield _mean(f"Cover, {len(covers)} series", covers, 0.670)
    published = folder / "published_default_f1.csv"
    if published.is_file():
        with published.open() as file:
            rows = [dict(line) for line in csv.DictReader(file)]
        named = [scores[name] for line in rows if (name := next(iter(line.values()))) in scores]
        yield _mean(f"F1, the {len(named)} with a published row", named, 0.756)
    silent = [f1(marks[name], []) for name in tables]
    yield row(CHANGEPOINTS, "tcpd", "F1 of saying nothing, for comparison", float(np.mean(silent)))


def _mean(metric: str, values: Sequence[float], bar: float) -> Row:
    interval = bootstrap(values, lambda drawn: float(np.mean(drawn)))
    return row(CHANGEPOINTS, "tcpd", metric, float(np.mean(values)), interval, ("above", bar))


VALIDATIONS = (Validation(number=CHANGEPOINTS, data="tcpd", run=changes),)
