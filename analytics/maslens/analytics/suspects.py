"""Where a failed session probably went wrong: its steps ranked, with confidence and the evidence. Never a verdict.

Every sign of a step (`suspect_signs`) has a weight; a step's confidence is its share of exp(sum of weights) among the
steps of its session, so confidences of a session add up to 1. The label convention is that of Who&When: the earliest
step without which the session would have succeeded, judged from what the steps show.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from .frames import SUSPECTS, empty, facts
from .suspect_signs import SIGNS, Sign, signs

# Fitted by `python -m tests.validate.suspects`: conditional logit with a ridge of 1 on failed runs whose decisive step
# people marked; what real runs do not show (a lost constraint, a broken tool, judges) on scripted faults.
WEIGHTS: Mapping[str, float] = {
    "goal_lost": 3.11,
    "constraint_lost": 1.92,
    "acts_in_brief": 0.72,
    "first": 0.24,
    "codes": 1.01,
    "failed": 0.32,
    "first_failed": 0.8,
    "assumes": 1.2,
    "claims": 1.92,
    "answers": 0.7,
    "tool_broke": 2.72,
    "silent": -0.65,
    "last": -0.91,
    "judges": -0.7,
    "tool": -0.98,
}

MOST_SUSPECTS = 20  # of a session are told; confidences are shares among all its steps
LABEL_CONVENTION = "who_and_when"

_NEGATIVE = ("bad", "fail", "failed", "failure", "false", "incorrect", "negative", "rejected", "unacceptable", "wrong")


def failed_sessions(
    sessions: pl.DataFrame, agent_errors: pl.DataFrame, events: pl.DataFrame | None = None
) -> pl.Series:
    """Ids of the sessions that suspects are looked for in: the outcome is failure, an error was not recovered from, or
    an evaluation of the session or of one of its spans has a label that means no."""
    unrecovered = agent_errors.filter(~pl.col("recovered"))["session_id"]
    found = [sessions.filter(pl.col("outcome") == "failure")["session_id"], unrecovered]
    if events is not None and {"session_id", "EvaluationName", "ScoreLabel"} <= set(events.columns):
        label = pl.col("ScoreLabel").cast(pl.String).str.to_lowercase().str.strip_chars()
        found.append(
            events.filter((pl.col("EvaluationName").cast(pl.String) != "") & label.is_in(_NEGATIVE))["session_id"]
        )
    known = sessions.select("session_id")
    return known.join(pl.concat(found).unique().to_frame("session_id"), on="session_id", how="semi")["session_id"]


def suspects(steps: pl.DataFrame, *, weights: Mapping[str, float] = WEIGHTS) -> pl.DataFrame:
    """The steps of each session by confidence; `evidence` says the signs against the step, the strongest first.

    steps: rows of `steps.steps`, of failed sessions. A session's suspects do not depend on which others are there.
    """
    if steps.is_empty():
        return empty(SUSPECTS)
    ordered = steps.unique(["session_id", "step"], keep="first", maintain_order=True).sort("session_id", "step")
    found = signs(ordered.rows(named=True))
    strength = np.array([[sign[name] for name in SIGNS] for sign in found])
    weight = np.array([weights.get(name, 0.0) for name in SIGNS])
    against = [_against(row * weight) for row in strength]
    ranked = (
        ordered.with_columns(
            score=pl.Series(strength @ weight),
            signs=pl.Series([[sign.name for sign in mine] for mine in against], dtype=pl.List(pl.String)),
            evidence=pl.Series([[sign.says for sign in mine] for mine in against], dtype=pl.List(pl.String)),
            category=pl.Series([mine[0].category if mine else "unknown" for mine in against], dtype=pl.String),
            label_convention=pl.lit(LABEL_CONVENTION),
        )
        .with_columns(confidence=(pl.col("score") - pl.col("score").max()).exp().over("session_id"))
        .with_columns(pl.col("confidence") / pl.col("confidence").sum().over("session_id"))
        .sort("session_id", "confidence", "step", descending=[False, True, False])
        .with_columns(rank=pl.int_range(1, pl.len() + 1).over("session_id"))
        .filter(pl.col("rank") <= MOST_SUSPECTS)
    )
    return facts(ranked, SUSPECTS)


def _against(told: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[Sign]:
    """The signs that speak against a step, the strongest first."""
    listed = [(-value, sign) for value, sign in zip(told, SIGNS.values(), strict=True) if value > 0]
    return [sign for _, sign in sorted(listed, key=lambda pair: pair[0])]
