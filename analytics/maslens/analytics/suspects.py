"""Where a failed session probably went wrong: its steps ranked, with confidence and the evidence. Never a verdict.

Every sign of a step (`suspect_signs`) has a weight; a step's confidence is its share of exp(sum of weights) among the
steps of its session, so confidences of a session add up to 1. The label convention is that of Who&When: the earliest
step without which the session would have succeeded, judged from what the steps show.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from .suspect_signs import SIGNS, signs

# Fitted by `python -m tests.validate.suspects`: conditional logit with a ridge of 1 on failed runs whose decisive step
# people marked; what real runs do not show (a lost constraint, a broken tool, judges) on scripted faults.
WEIGHTS: Mapping[str, float] = {
    "goal_lost": 2.02,
    "constraint_lost": 2.15,
    "acts_in_brief": 1.01,
    "first": 0.28,
    "codes": 0.96,
    "failed": 0.39,
    "first_failed": 0.66,
    "assumes": 1.14,
    "claims": 1.88,
    "answers": 0.85,
    "tool_broke": 2.21,
    "silent": -0.62,
    "last": -1.03,
    "judges": -0.59,
    "tool": -0.09,
}

SUSPECT: Mapping[str, pl.DataType] = {
    "session_id": pl.String(), "rank": pl.Int64(), "agent": pl.String(), "step": pl.Int64(), "kind": pl.String(),
    "confidence": pl.Float64(), "evidence": pl.List(pl.String()), "run_id": pl.String(), "span_id": pl.String(),
    "at": pl.Datetime("ns", "UTC"),
}  # fmt: skip


def suspects(steps: pl.DataFrame, *, weights: Mapping[str, float] = WEIGHTS) -> pl.DataFrame:
    """The steps of each session by confidence; `evidence` lists the signs against the step, the strongest first.

    steps: rows of `steps.steps`, of failed sessions; sessions that succeeded among them tell what is usually passed on.
    """
    if steps.is_empty():
        return pl.DataFrame(schema=dict(SUSPECT))
    ordered = steps.unique(["session_id", "step"], keep="first", maintain_order=True).sort("session_id", "step")
    found = signs(ordered.rows(named=True))
    strength = np.array([[sign[name] for name in SIGNS] for sign in found])
    weight = np.array([weights.get(name, 0.0) for name in SIGNS])
    return (
        ordered.with_columns(
            score=pl.Series(strength @ weight),
            evidence=pl.Series([_evidence(row, weight) for row in strength], dtype=pl.List(pl.String)),
        )
        .with_columns(confidence=(pl.col("score") - pl.col("score").max()).exp().over("session_id"))
        .with_columns(pl.col("confidence") / pl.col("confidence").sum().over("session_id"))
        .sort("session_id", "confidence", "step", descending=[False, True, False])
        .with_columns(rank=pl.int_range(1, pl.len() + 1).over("session_id"))
        .select(*(pl.col(name).cast(dtype) for name, dtype in SUSPECT.items()))
    )


def _evidence(
    strength: np.ndarray[tuple[int], np.dtype[np.float64]], weight: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> list[str]:
    against = sorted(
        (
            (-value * w, sign.says)
            for value, w, sign in zip(strength, weight, SIGNS.values(), strict=True)
            if value * w > 0
        )
    )
    return [says for _, says in against]
