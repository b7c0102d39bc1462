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
    own = pl.col("kind") == "self"
    parts = (
        runs.select(*_KEY, "started_at", runs=pl.lit(1), errors=pl.col("status") == "error"),
        path.select(*_KEY, critical_ns=pl.col("duration_ns") * own, waiting_ns=pl.col("duration_ns") * ~own),
        saved,
        _inside(runs, path, llm_calls, tool_calls),
        _queueing(runs, handoffs),
        _retries(runs, llm_calls, tool_calls),
    )
    table = pl.concat([*parts, _NOTHING], how="diagonal_relaxed").group_by(_KEY)
    return (
        table.agg(pl.col("started_at").min(), pl.col(_NUMBERS).sum())
        .filter(pl.col("runs") > 0)
        .join(path.group_by("session_id").agg(session_ns=pl.col("duration_ns").sum()), on="session_id", how="left")
        .with_columns(pl.col("started_at").min().over("session_id"), pl.col("session_ns").fill_null(0))
        .with_columns(share=(pl.col("critical_ns") / pl.col("session_ns")).fill_nan(0.0))
        .sort(
            "session_id", "saves_ns", "critical_ns", "waiting_ns", "agent", descending=[False, True, True, True, False]
        )
        .with_columns(rank=pl.int_range(1, pl.len() + 1).over("session_id"))
    )


_NUMBERS = ("runs", "errors", "critical_ns", "waiting_ns", "saves_ns", "model_ns", "tool_ns", "queue_ns", "retries",
            "retry_ns")  # fmt: skip
_NOTHING = pl.DataFrame(
    schema={"session_id": pl.String, "agent": pl.String, **dict.fromkeys(_NUMBERS, pl.Int64)}
)  # every part left out


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


def _inside(
    runs: pl.DataFrame, path: pl.DataFrame, llm_calls: pl.DataFrame | None, tool_calls: pl.DataFrame | None
) -> pl.DataFrame:
    """How much of each agent's critical time its calls cover; calls that run at the same time count once."""
    at = pl.col("at").dt.epoch("ns")
    made = [
        calls.select(*_RUN, begin=at, finish=at + pl.col("duration_ns").cast(pl.Int64), model=pl.lit(model))
        for calls, model in ((llm_calls, True), (tool_calls, False))
        if calls is not None and not calls.is_empty()
    ]
    if not made:
        return _NOTHING
    numbered = runs.select(*_RUN).with_row_index("run")  # a number is sorted, grouped and found quicker than two texts
    spans = (
        pl.concat(made)
        .join(numbered, on=_RUN)
        .select("run", "model", "begin", "finish")
        .sort("run", "model", "begin", "finish")
        .with_columns(covered=pl.col("finish").cum_max().shift(1).over("run", "model"))
        .with_columns(begin=pl.max_horizontal("begin", "covered"))
        .filter(pl.col("begin") < pl.col("finish"))
    )
    low = pl.max_horizontal("begin", pl.col("started_at").dt.epoch("ns"))
    high = pl.min_horizontal("finish", pl.col("ended_at").dt.epoch("ns"))
    covers = (high - low).clip(lower_bound=0)
    return (
        path.filter(pl.col("kind") == "self")
        .join(numbered, on=_RUN)
        .join(spans, on="run")
        .select(*_KEY, model_ns=covers * pl.col("model"), tool_ns=covers * ~pl.col("model"))
    )


def _queueing(runs: pl.DataFrame, handoffs: pl.DataFrame | None) -> pl.DataFrame:
    if handoffs is None or handoffs.is_empty():
        return _NOTHING
    asked = handoffs.group_by("session_id", run_id="target_run_id").agg(asked=pl.col("at").min())
    wait = (pl.col("started_at") - pl.col("asked")).dt.total_nanoseconds().clip(lower_bound=0)
    return runs.join(asked, on=_RUN).select(*_KEY, queue_ns=wait)


def _retries(runs: pl.DataFrame, llm_calls: pl.DataFrame | None, tool_calls: pl.DataFrame | None) -> pl.DataFrame:
    """Attempts that failed and were followed by another of the same kind: an agent under the same launcher, a model or
    a tool (with the same arguments, where they are known) in the same run."""
    all_made = (
        (runs.with_columns(at="started_at"), ("run", "agent", "parent_run_id")),
        (llm_calls, ("model", "run_id", "model")),
        (tool_calls, ("tool", "run_id", "tool", "arguments_hash")),
    )
    attempts = [(made, what) for made, what in all_made if made is not None and not made.is_empty()]
    if not attempts:
        return _NOTHING
    failing = pl.concat([made.filter(pl.col("status") == "error").select("session_id") for made, _ in attempts])
    if failing.is_empty():
        return _NOTHING
    again = pl.col("at").shift(-1).over("session_id", "what").is_not_null()
    return (
        pl.concat(_attempts(made.join(failing, on="session_id", how="semi"), *what) for made, what in attempts)
        .sort("session_id", "what", "at", "duration_ns", "status")
        .filter((pl.col("status") == "error") & again)
        .select(*_KEY, retries=pl.lit(1), retry_ns="duration_ns")
    )


def _attempts(made: pl.DataFrame, kind: str, of: str, *same: str) -> pl.DataFrame:
    what = pl.concat_str(pl.lit(kind), of, *(pl.col(name).fill_null("") for name in same), separator="\x1f")
    return made.select(*_KEY, "status", "at", duration_ns=pl.col("duration_ns").cast(pl.Int64), what=what)
