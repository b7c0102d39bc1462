"""What money was spent for: outcomes, failure, rediscovery, paths through the agents, and against which budget."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl
from maslens.analytics.cost import TOTAL

PATH_LENGTH: Final = 12  # agents of a path that are told apart; what comes after them is one …

UNIT_COSTS: Final[Mapping[str, Any]] = {
    "outcome": pl.String(), "sessions": pl.UInt64(), "cost_usd": pl.Float64(), "usd_per_session": pl.Float64(),
    "p50_usd": pl.Float64(), "p95_usd": pl.Float64(), "tokens": pl.UInt64(), "share": pl.Float64(),
    "usd_per_success": pl.Float64(), "unpriced_calls": pl.UInt64(),
}  # fmt: skip
WASTE: Final[Mapping[str, Any]] = {
    "kind": pl.String(), "sessions": pl.UInt64(), "times": pl.UInt64(), "tokens": pl.UInt64(),
    "cost_usd": pl.Float64(), "share": pl.Float64(),
}  # fmt: skip
PATHS: Final[Mapping[str, Any]] = {
    "path": pl.String(), "sessions": pl.UInt64(), "failed": pl.UInt64(), "cost_usd": pl.Float64(),
    "usd_per_session": pl.Float64(), "share": pl.Float64(), "p50_ms": pl.Float64(), "p95_ms": pl.Float64(),
}  # fmt: skip
BUDGETS: Final[Mapping[str, Any]] = {
    "budget": pl.String(), "scope": pl.String(), "name": pl.String(), "limit_usd": pl.Float64(),
    "spent_usd": pl.Float64(), "used": pl.Float64(), "burn_1h": pl.Float64(), "burn_6h": pl.Float64(),
    "projected_usd": pl.Float64(), "exhausted_at": pl.Datetime("ns", "UTC"), "status": pl.String(),
}  # fmt: skip


def unit_costs(sessions: pl.DataFrame) -> pl.DataFrame:
    """What a session of each outcome cost, the dearest outcome first, then `(total)`, as `UNIT_COSTS` has it.

    sessions: `outcome, input_tokens, output_tokens, cost_usd, unpriced_calls`. share: of all money.
    usd_per_success, on `(total)` only: all money by the sessions that succeeded, so that failures are paid for by
    successes; null without any.
    """
    cost = pl.col("cost_usd").fill_null(0.0)
    summed = [
        pl.len().alias("sessions"),
        cost.sum().alias("cost_usd"),
        cost.mean().alias("usd_per_session"),
        cost.quantile(0.5, "linear").alias("p50_usd"),
        cost.quantile(0.95, "linear").alias("p95_usd"),
        (pl.col("input_tokens") + pl.col("output_tokens")).sum().alias("tokens"),
        pl.col("unpriced_calls").sum(),
    ]
    by_outcome = sessions.group_by("outcome").agg(summed).sort(["cost_usd", "outcome"], descending=[True, False])
    total = sessions.select(pl.lit(TOTAL).alias("outcome"), *summed)
    rows = pl.concat([by_outcome, total.filter(pl.col("sessions") > 0)], how="vertical_relaxed")
    money = float(total["cost_usd"].sum())
    succeeded = sessions.filter(pl.col("outcome") == "success").height
    return _shaped(
        rows.with_columns(
            share=_share(pl.col("cost_usd"), money),
            usd_per_success=pl.when(pl.col("outcome") == TOTAL).then(pl.lit(money / succeeded if succeeded else None)),
        ),
        UNIT_COSTS,
    )


def waste(sessions: pl.DataFrame, llm_calls: pl.DataFrame, handoff_quality: pl.DataFrame) -> pl.DataFrame:
    """Money that bought nothing, kind by kind, as `WASTE` has it. Kinds overlap: they do not add up.

    `failed_sessions`: everything in sessions that ended in failure or were abandoned. `failed_calls`: model calls that
    ended in an error. `rediscovery`: what targets of handoffs spent on asking or calling again for what the source had
    already known, as `handoff_quality` counts it. sessions, llm_calls: as in `frames`; handoff_quality: `session_id,
    repeated_calls, re_asked, rediscovery_tokens, rediscovery_cost_usd`.
    """
    lost = sessions.filter(pl.col("outcome").is_in(["failure", "abandoned"]))
    failed = llm_calls.filter(pl.col("status") == "error")
    again = handoff_quality.filter(pl.col("rediscovery_tokens") > 0)
    tokens = pl.sum_horizontal(pl.col("input_tokens", "output_tokens").cast(pl.Int64)).sum()
    parts = [
        lost.select(_kind("failed_sessions"), _named(), pl.len().alias("times"), tokens.alias("tokens"), _cost()),
        failed.select(_kind("failed_calls"), _named(), pl.len().alias("times"), tokens.alias("tokens"), _cost()),
        again.select(
            _kind("rediscovery"),
            _named(),
            pl.len().alias("times"),
            pl.col("rediscovery_tokens").sum().cast(pl.Int64).alias("tokens"),
            pl.col("rediscovery_cost_usd").fill_null(0.0).sum().alias("cost_usd"),
        ),
    ]
    money = float(sessions["cost_usd"].fill_null(0.0).sum())
    rows = pl.concat(parts, how="vertical_relaxed").with_columns(share=_share(pl.col("cost_usd"), money))
    return _shaped(rows.sort(["cost_usd", "kind"], descending=[True, False]), WASTE)


def paths(sessions: pl.DataFrame, agents: pl.DataFrame) -> pl.DataFrame:
    """Which ways through the agents sessions took and what each cost, the dearest first, as `PATHS` has it.

    sessions: `session_id, outcome, duration_ns, cost_usd`; agents: `session_id, agents`, those of its runs in order of
    their starting, one after the other of the same name as one. A path is the first of them.
    """
    steps = pl.col("agents").list.head(PATH_LENGTH).list.join(" → ")
    more = pl.when(pl.col("agents").list.len() > PATH_LENGTH).then(pl.lit(" → …")).otherwise(pl.lit(""))
    taken = agents.select("session_id", path=pl.concat_str(steps, more))
    cost = pl.col("cost_usd").fill_null(0.0)
    took = pl.col("duration_ns") / 1e6
    rows = (
        sessions.join(taken, on="session_id")
        .group_by("path")
        .agg(
            sessions=pl.len(),
            failed=(pl.col("outcome") == "failure").sum(),
            cost_usd=cost.sum(),
            usd_per_session=cost.mean(),
            p50_ms=took.quantile(0.5, "linear"),
            p95_ms=took.quantile(0.95, "linear"),
        )
    )
    money = float(sessions["cost_usd"].fill_null(0.0).sum())
    rows = rows.with_columns(share=_share(pl.col("cost_usd"), money))
    return _shaped(rows.sort(["cost_usd", "sessions", "path"], descending=[True, True, False]), PATHS)


# -- budgets --------------------------------------------------------------------------------------------------------

_HOURS: Final = {"hour": 1, "day": 24, "week": 168, "month": 730}  # a month for burn rates: a twelfth of a year
_BUDGET = re.compile(
    r"(?:(?P<scope>agent|model|provider)\s+(?P<name>.+?)\s+)?\$?(?P<limit>\d+(?:\.\d+)?)\s*/\s*(?P<period>hour|day|week|month)"
)
SCOPES: Final = ("", "agent", "model", "provider")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """`limit_usd` for each `period`, of everything or of one agent, model or provider."""

    limit_usd: float
    period: str
    scope: str = ""
    name: str = ""

    def __str__(self) -> str:
        what = f"{self.scope} {self.name} " if self.scope else ""
        return f"{what}{self.limit_usd:g}/{self.period}"

    @property
    def hours(self) -> int:
        return _HOURS[self.period]

    def begin(self, now: datetime) -> datetime:
        """When the period that `now` is in began, in UTC; weeks begin on Monday."""
        day = now.replace(hour=0, minute=0, second=0, microsecond=0)
        return {
            "hour": now.replace(minute=0, second=0, microsecond=0),
            "day": day,
            "week": day - timedelta(days=day.weekday()),
            "month": day.replace(day=1),
        }[self.period]

    def end(self, now: datetime) -> datetime:
        begin = self.begin(now)
        if self.period == "month":
            return (begin + timedelta(days=32)).replace(day=1)
        return begin + timedelta(hours=self.hours)


def parse_budgets(text: str) -> tuple[Budget, ...]:
    """`50/day; agent billing 5/day; model gpt-4o 100/month`. ValueError names what is no budget."""
    budgets = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        found = _BUDGET.fullmatch(part)
        if found is None or float(found["limit"]) <= 0:
            raise ValueError(
                f"{part[:80]!r} is no budget: write `50/day`, `agent NAME 5/day` or `model NAME 100/month`, US dollars "
                "by hour, day, week or month, several with `;` between them"
            )
        budgets.append(
            Budget(
                limit_usd=float(found["limit"]),
                period=found["period"],
                scope=found["scope"] or "",
                name=(found["name"] or "").strip(),
            )
        )
    return tuple(budgets)


def budgets_spent(budgets: Sequence[Budget], calls: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """How far each budget is spent, the most spent first, as `BUDGETS` has it.

    calls: `at, agent, model, provider, cost_usd`, from the begin of the longest period on. used: share of the limit
    spent in this period. burn_1h, burn_6h: how fast money went in the last hour and six, as a multiple of the rate that
    would spend exactly the limit in one period (Google SRE workbook, chapter 5). projected_usd: at the end of the
    period, if the last six hours went on (or as long as the period has lasted); exhausted_at: when the limit is
    reached so. status: `over`, `burning` (both rates above 1 and the limit not going to last), or `ok`.
    """
    rows = [_budget(budget, calls, now) for budget in budgets]
    frame = pl.DataFrame(rows, schema=dict(BUDGETS), orient="row") if rows else pl.DataFrame(schema=dict(BUDGETS))
    return frame.sort("used", descending=True, maintain_order=True)


def _budget(budget: Budget, calls: pl.DataFrame, now: datetime) -> dict[str, Any]:
    mine = calls.filter(pl.col(budget.scope) == budget.name) if budget.scope else calls
    begin, end = budget.begin(now), budget.end(now)
    spent = _between(mine, begin, now)
    hourly = budget.limit_usd / budget.hours
    hour, six = (_between(mine, now - timedelta(hours=hours), now) / hours for hours in (1, 6))
    elapsed = max((now - begin).total_seconds() / 3600, 1e-9)
    rate = _between(mine, max(begin, now - timedelta(hours=6)), now) / min(elapsed, 6.0)
    left = (end - now).total_seconds() / 3600
    projected = spent + rate * left
    exhausted = None
    if projected > budget.limit_usd > spent and rate > 0:
        exhausted = now + timedelta(hours=(budget.limit_usd - spent) / rate)
    burning = exhausted is not None and hour > hourly and six > hourly
    return {
        "budget": str(budget),
        "scope": budget.scope or "everything",
        "name": budget.name,
        "limit_usd": budget.limit_usd,
        "spent_usd": spent,
        "used": spent / budget.limit_usd,
        "burn_1h": hour / hourly,
        "burn_6h": six / hourly,
        "projected_usd": projected,
        "exhausted_at": exhausted,
        "status": "over" if spent >= budget.limit_usd else "burning" if burning else "ok",
    }


def _between(calls: pl.DataFrame, begin: datetime, end: datetime) -> float:
    inside = calls.filter((pl.col("at") >= begin) & (pl.col("at") <= end))
    return float((inside["cost_usd"].fill_null(0.0) * 1e12).round().cast(pl.Int64).sum()) / 1e12


# -- compute --------------------------------------------------------------------------------------------------------


def with_compute(costs: pl.DataFrame, runs: pl.DataFrame, *, by: str, rate: float) -> pl.DataFrame:
    """`costs` with agent_seconds, compute_usd and total_usd.

    runs: `key, self_ns`; self time counts each second of a session once for each agent at work in it, so sums are kept.
    rate: US dollars for an agent-hour.
    """
    seconds = runs.group_by(pl.col("key").alias(by)).agg(agent_seconds=pl.col("self_ns").sum() / 1e9)
    known = costs.join(seconds, on=by, how="left")
    total = float(runs["self_ns"].sum()) / 1e9
    named = float(known["agent_seconds"].fill_null(0.0).sum())
    rest = pl.when(pl.col(by) == TOTAL).then(pl.lit(total)).otherwise(pl.col("agent_seconds"))
    told = known.with_columns(agent_seconds=rest.fill_null(0.0)).with_columns(
        agent_seconds=pl.when(pl.col(by) == "(unattributed)")
        .then(pl.lit(max(total - named, 0.0)) + pl.col("agent_seconds"))
        .otherwise(pl.col("agent_seconds"))
    )
    return told.with_columns(compute_usd=pl.col("agent_seconds") / 3600 * rate).with_columns(
        total_usd=pl.col("cost_usd") + pl.col("compute_usd")
    )


def _kind(name: str) -> pl.Expr:
    return pl.lit(name).alias("kind")


def _named() -> pl.Expr:
    return pl.col("session_id").n_unique().alias("sessions")


def _cost() -> pl.Expr:
    return pl.col("cost_usd").fill_null(0.0).sum().alias("cost_usd")


def _share(part: pl.Expr, whole: float) -> pl.Expr:
    return (part / whole).round(12) if whole else pl.lit(None, dtype=pl.Float64)  # whatever the order of adding


def _shaped(rows: pl.DataFrame, schema: Mapping[str, Any]) -> pl.DataFrame:
    return rows.select(pl.col(name).cast(dtype) for name, dtype in schema.items())
