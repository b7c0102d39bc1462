"""Which agent held everybody up: own and waiting time on the critical path, and what fixing it would save."""

from __future__ import annotations

import polars as pl

from .critical_path import path_and_savings

_KEY = ["session_id", "agent"]
_RUN = ["session_id", "run_id"]


def bottlenecks(
    runs: pl.DataFrame,
    handoffs: pl.DataFrame | None = None,
    llm_calls: pl.DataFrame | None = None,
    tool_calls: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """One row per session and agent, `rank` 1 for the agent without which the session would have ended earliest.

    critical_ns: the agent's own time on the critical path (they and the waiting add up to session_ns); waiting_ns: the
    path's waiting before its runs; model_ns, tool_ns: how much of critical_ns lies inside its model and tool calls;
    queue_ns: from being asked to starting, over all its runs; retries, retry_ns: attempts that failed and were made
    again, and the time they took; saves_ns: an upper bound of what fixing the agent would save.
    """
    runs = runs.unique(_RUN, keep="first", maintain_order=True)
    path, saved = path_and_savings(runs, handoffs)
    parts = (
        _time(path, "self", "critical_ns"),
        _time(path, "waiting", "waiting_ns"),
        saved,
        _inside(path, llm_calls, "model_ns"),
        _inside(path, tool_calls, "tool_ns"),
        _queueing(runs, handoffs),
        _retries(runs, llm_calls, tool_calls),
    )
    began = pl.col("started_at").min().over("session_id")
    table = (
        runs.with_columns(started_at=began)
        .group_by(_KEY)
        .agg(
            pl.col("started_at").first(),
            runs=pl.len().cast(pl.Int64),
            errors=(pl.col("status") == "error").sum().cast(pl.Int64),
        )
    )
    for part in parts:
        table = table.join(part, on=_KEY, how="left")
    whole = path.group_by("session_id").agg(session_ns=pl.col("duration_ns").sum())
    return (
        table.join(whole, on="session_id", how="left")
        .with_columns(pl.exclude(*_KEY, "started_at").fill_null(0))
        .with_columns(share=(pl.col("critical_ns") / pl.col("session_ns")).fill_nan(0.0))
        .sort(
            "session_id", "saves_ns", "critical_ns", "waiting_ns", "agent", descending=[False, True, True, True, False]
        )
        .with_columns(rank=pl.int_range(1, pl.len() + 1).over("session_id"))
    )


def rank_bottlenecks(sessions: pl.DataFrame) -> pl.DataFrame:
    """Agents of a window of sessions (rows of `bottlenecks`), by what fixing each would save over the whole window.

    first_in: sessions in which the agent ranks first; saves_share: of all the time that all these sessions took.
    """
    whole = sessions.unique("session_id", maintain_order=True)["session_ns"].sum()
    sums = (
        "runs",
        "errors",
        "critical_ns",
        "waiting_ns",
        "model_ns",
        "tool_ns",
        "queue_ns",
        "retries",
        "retry_ns",
        "saves_ns",
    )
    return (
        sessions.group_by("agent")
        .agg(
            pl.col(*sums).sum(),
            sessions=pl.col("session_id").n_unique().cast(pl.Int64),
            first_in=(pl.col("rank") == 1).sum().cast(pl.Int64),
            saves_p50_ns=pl.col("saves_ns").median(),
            saves_p95_ns=pl.col("saves_ns").quantile(0.95, "linear"),
        )
        .with_columns(saves_share=pl.col("saves_ns") / max(whole, 1))
        .sort("saves_ns", "critical_ns", "agent", descending=[True, True, False])
        .with_columns(rank=pl.int_range(1, pl.len() + 1))
    )


def _time(path: pl.DataFrame, kind: str, name: str) -> pl.DataFrame:
    return path.filter(pl.col("kind") == kind).group_by(_KEY).agg(pl.col("duration_ns").sum().alias(name))


def _inside(path: pl.DataFrame, calls: pl.DataFrame | None, name: str) -> pl.DataFrame:
    """How much of each agent's critical time its calls cover; calls that run at the same time count once."""
    if calls is None or calls.is_empty():
        return _nothing(name)
    at = pl.col("at").dt.epoch("ns")
    spans = (
        calls.select(*_RUN, begin=at, finish=at + pl.col("duration_ns").cast(pl.Int64))
        .sort(*_RUN, "begin", "finish")
        .with_columns(covered=pl.col("finish").cum_max().shift(1).over(_RUN))
        .with_columns(begin=pl.max_horizontal("begin", "covered"))
        .filter(pl.col("begin") < pl.col("finish"))
    )
    low = pl.max_horizontal("begin", pl.col("started_at").dt.epoch("ns"))
    high = pl.min_horizontal("finish", pl.col("ended_at").dt.epoch("ns"))
    return (
        path.filter(pl.col("kind") == "self")
        .join(spans, on=_RUN)
        .group_by(_KEY)
        .agg((high - low).clip(lower_bound=0).sum().alias(name))
    )


def _queueing(runs: pl.DataFrame, handoffs: pl.DataFrame | None) -> pl.DataFrame:
    if handoffs is None or handoffs.is_empty():
        return _nothing("queue_ns")
    asked = handoffs.group_by("session_id", run_id="target_run_id").agg(asked=pl.col("at").min())
    wait = (pl.col("started_at") - pl.col("asked")).dt.total_nanoseconds().clip(lower_bound=0)
    return runs.join(asked, on=_RUN).group_by(_KEY).agg(queue_ns=wait.sum())


def _retries(runs: pl.DataFrame, llm_calls: pl.DataFrame | None, tool_calls: pl.DataFrame | None) -> pl.DataFrame:
    """Attempts that failed and were followed by another of the same kind: an agent under the same launcher, a model or
    a tool (with the same arguments, where they are known) in the same run."""
    attempts = [
        runs.select(*_KEY, "status", at="started_at", duration_ns=pl.col("duration_ns").cast(pl.Int64),
                    what=pl.concat_str(pl.lit("run"), "agent", pl.col("parent_run_id").fill_null(""), separator="\x1f"))
    ]  # fmt: skip
    for calls, what in ((llm_calls, ("model",)), (tool_calls, ("tool", "arguments_hash"))):
        if calls is not None and not calls.is_empty():
            same = pl.concat_str(
                pl.lit(what[0]), "run_id", *(pl.col(name).fill_null("") for name in what), separator="\x1f"
            )
            attempts.append(
                calls.select(*_KEY, "status", "at", duration_ns=pl.col("duration_ns").cast(pl.Int64), what=same)
            )
    again = pl.col("at").shift(-1).over("session_id", "what").is_not_null()
    return (
        pl.concat(attempts)
        .sort("session_id", "what", "at", "duration_ns")
        .filter((pl.col("status") == "error") & again)
        .group_by(_KEY)
        .agg(retries=pl.len().cast(pl.Int64), retry_ns=pl.col("duration_ns").sum())
    )


def _nothing(name: str) -> pl.DataFrame:
    return pl.DataFrame(schema={"session_id": pl.String, "agent": pl.String, name: pl.Int64})
