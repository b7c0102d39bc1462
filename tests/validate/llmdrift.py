"""Two versions of a model asked the same questions: does the sequential test see the change, and nothing else?"""

from __future__ import annotations

import io
import lzma
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from maslens.analytics.degradation import ALPHA, LEAST_CURRENT
from maslens.analytics.sequential import Floats, Worse, first_alarm, rate_evidence, value_evidence

from tests.validate.rows import Direction, Number, Row, Validation, row, share

STREAMS = 1000
LONGEST = 500
DEGRADATION = Number(
    name="degradations: sequential tests",
    definition="An agent's rate or values against a reference, looked at after every call.",
    formula="""alarm when a betting martingale reaches 1/α = 20 after five calls or more: likelihood of the calls so far
    under a mixture of worse rates (or exponentially tilted ranks) over their likelihood under a Pólya urn of the
    reference; P(alarm | nothing changed) ≤ 5 % at any number of looks. Over many series Benjamini–Hochberg on the
    inverse of the highest wealth. Effect: difference of rates (Newcombe) or Cliff's delta (DeLong). Minimum: 20 calls
    of reference, 5 of stream.""",
    source="`agent_runs`, `sessions`, evaluations, handoff quality; `analytics/sequential.py`",
    distrust="""when reference and stream differ in what they were asked (time and version are confounded in most
    deployments); when calls depend on each other within the stream; a drop is a direction, not a verdict.""",
    tried="""bets kept back for a change late in the stream, as used within a version: 39 % of SENSITIVEQ streams are
    detected; between versions no such bets are needed.""",
)
PLAIN = "plain rule: mean of the last 20 below 95 % of the reference's"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Old and new calls of one model family on one file, values as floats."""

    file: str
    family: str
    old: pl.DataFrame
    new: pl.DataFrame


def pairs(folder: Path) -> Iterator[Pair]:
    for path in sorted(folder.glob("*_EVAL.csv.xz")):
        with lzma.open(path) as file:
            table = pl.read_csv(io.BytesIO(file.read()), infer_schema_length=None)
        letter = pl.col("answer").fill_null("").str.contains(r"^\s*\(?[A-Z]\)")
        quality = pl.col("Response Rate") if "Response Rate" in table.columns else letter
        table = table.select("model", quality=quality.cast(pl.Float64), latency=pl.col("latency").cast(pl.Float64))
        models = sorted(table["model"].unique())
        for family in ("gpt-4", "gpt-3.5"):
            versions = [table.filter(pl.col("model") == model) for model in models if family in model]
            if len(versions) == 2:
                yield Pair(file=path.name.split("_")[0], family=family, old=versions[0], new=versions[1])


Alarm = Callable[[Floats, Floats], "int | None"]


def rate_alarm(worse: Worse) -> Alarm:
    return lambda old, new: first_alarm(rate_evidence(old, new, worse), ALPHA, least=LEAST_CURRENT)


def value_alarm(worse: Worse) -> Alarm:
    return lambda old, new: first_alarm(value_evidence(old, new, worse), ALPHA, least=LEAST_CURRENT)


def plain_alarm(old: Floats, new: Floats, *, over: int = 20) -> int | None:
    if len(new) < over:
        return None
    means = np.convolve(new, np.ones(over) / over, "valid")
    hits = np.flatnonzero(means < 0.95 * old.mean())
    return int(hits[0]) + over if len(hits) else None


def alarms(pair: Pair, column: str, alarm: Alarm, *, changed: bool, inject: Callable[[Floats], Floats] | None = None,
           streams: int = STREAMS) -> list[int | None]:  # fmt: skip
    """When each stream alarms: reference a random half of the old calls, stream the other half or all new calls."""
    random = np.random.default_rng(1)
    old, new = pair.old[column].to_numpy(), pair.new[column].to_numpy()
    found = []
    for _ in range(streams):
        order = random.permutation(len(old))
        stream = random.permutation(new) if changed else old[order[len(old) // 2 :]]
        stream = stream[: min(LONGEST, len(old) // 2)]
        found.append(alarm(old[order[: len(old) // 2]], inject(stream) if inject else stream))
    return found


def told(data: str, metric: str, found: list[int | None], bar: tuple[Direction, float] | None = None) -> Row:
    return share(DEGRADATION, data, metric, [at is not None for at in found], bar)


def delay(data: str, metric: str, found: list[int | None], bar: tuple[Direction, float] | None = None) -> Row:
    calls = [at for at in found if at is not None]
    if not calls:
        return row(DEGRADATION, data, metric, float("nan"))
    low, high = np.quantile(calls, [0.05, 0.95])
    return row(
        DEGRADATION, data, metric + " (interval: 5 to 95 % of streams)", float(np.median(calls)), (low, high), bar
    )


def drift(folder: Path) -> Iterator[Row]:
    at_most = ("at most", 5.0)
    for pair in pairs(folder):
        name = f"{pair.file} {pair.family}"
        drop = rate_alarm("lower")
        real = alarms(pair, "quality", drop, changed=True)
        yield told(
            "llmdrift", f"{name}: A/A streams that report a drop", alarms(pair, "quality", drop, changed=False), at_most
        )
        if name == "SENSITIVEQ gpt-4":
            yield told("llmdrift", f"{name}: streams in which the drop is reported", real, ("above", 40.0))
        elif pair.family == "gpt-3.5":
            yield told("llmdrift", f"{name}: streams that report a drop where there is none", real, at_most)
        else:
            yield told("llmdrift", f"{name}: streams in which the drop is reported", real)
        if name == "OPINIONQA gpt-4":
            yield delay("llmdrift", f"{name}: median delay in calls", real, ("at most", 10.0))
        elif pair.family == "gpt-4":
            yield delay("llmdrift", f"{name}: median delay in calls", real)
        yield told("llmdrift", f"{name}: {PLAIN}, A/A streams", alarms(pair, "quality", plain_alarm, changed=False))
        yield from _latency(pair, name)
        yield from _injected(pair, name)


def _latency(pair: Pair, name: str) -> Iterator[Row]:
    slower = value_alarm("higher")
    real = alarms(pair, "latency", slower, changed=True, streams=400)
    got_slower = pair.new["latency"].median() > pair.old["latency"].median()  # type: ignore[operator]
    unchanged = alarms(pair, "latency", slower, changed=False, streams=400)
    yield told("llmdrift", f"{name}: A/A streams that report slower answers", unchanged, ("at most", 5.0))
    if got_slower:
        yield told("llmdrift", f"{name}: streams in which slower answers are reported", real)
        yield delay("llmdrift", f"{name}: slower answers, median delay in calls", real)
    else:
        yield told("llmdrift", f"{name}: streams that report quicker answers as slower", real, ("at most", 5.0))


def _injected(pair: Pair, name: str) -> Iterator[Row]:
    """Changes of known size put into unchanged streams."""
    slower = alarms(pair, "latency", value_alarm("higher"), changed=False, inject=lambda s: s * 1.5, streams=200)
    yield told("llmdrift", f"{name}: latency × 1.5 injected, reported", slower)
    yield delay("llmdrift", f"{name}: latency × 1.5 injected, median delay in calls", slower)
    if pair.old["quality"].mean() > 0.5:  # type: ignore[operator]
        random = np.random.default_rng(2)
        worse = alarms(
            pair, "quality", rate_alarm("lower"), changed=False, streams=200,
            inject=lambda stream: stream * (random.random(len(stream)) >= 0.1),
        )  # fmt: skip
        yield told("llmdrift", f"{name}: one answer in ten spoilt, reported", worse)
        yield delay("llmdrift", f"{name}: one answer in ten spoilt, median delay in calls", worse)


VALIDATIONS = (Validation(number=DEGRADATION, data="llmdrift", run=drift),)
