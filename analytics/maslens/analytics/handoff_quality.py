"""How well a handoff went: what can be counted about it, each part its own column, and one score of them.

`score` is the chance that none of the known parts broke the work: the product of 1 - severity * part over the parts
that the telemetry allowed, `coverage` being their share of all. With contents captured every part can be known; with
hashes only, `lost` is what a damaged context loses on average; with neither it is unknown, and so is what was asked
again.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from .frames import HANDOFF_QUALITY, empty, facts
from .said import Said, with_content

PARTS = ("failed", "bounced", "repeated", "re_asked", "lost")
# Fitted by `python -m tests.validate.handoff_parts`: noisy-or with a leak on handoffs of failed runs whose decisive
# step people marked; `lost` on payloads that lack a needed fact.
SEVERITY: Mapping[str, float] = {"failed": 0.29, "bounced": 0.19, "repeated": 0.19, "re_asked": 0.08, "lost": 1.0}
LOST_IF_CHANGED = 0.4  # mean loss of a damaged payload of the same data: what an unequal hash is taken for

QUALITY = HANDOFF_QUALITY
_KEY = ["session_id", "trace_id", "span_id", "source", "target", "at"]
_RUNS = ("source_run_id", "target_run_id")
_BROKEN = ("failed", "rejected", "timed_out")


def handoff_quality(
    handoffs: pl.DataFrame,
    runs: pl.DataFrame,
    llm_calls: pl.DataFrame,
    tool_calls: pl.DataFrame,
    spans: pl.DataFrame | None = None,
    *,
    severity: Mapping[str, float] = SEVERITY,
) -> pl.DataFrame:
    """One row per handoff, parts from 0 (as it should be) to 1, null where the telemetry does not tell.

    failed: the target ended in an error or refused. bounced: control came straight back. repeated: share of the
    target's tool calls that the source had already made. re_asked: it asked something that had been asked before.
    lost: share of what the source knew, by weight, that did not reach the target; lost_facts names them.
    rediscovery_*: tokens and money of the target's model calls that led to repeated tool calls. spans: `agent_spans`
    of the same sessions, for their contents.
    """
    handoffs = handoffs.unique(_KEY, keep="first", maintain_order=True).with_row_index("row")
    if handoffs.is_empty():
        return empty(HANDOFF_QUALITY)
    runs = runs.unique(["session_id", "run_id"], keep="first", maintain_order=True)
    counted = (
        handoffs.join(_target(handoffs, runs), on="row", how="left")
        .join(_bounced(handoffs, runs), on="row", how="left")
        .join(_repeated(handoffs, llm_calls, tool_calls), on="row", how="left")
        .join(_contents(handoffs, runs, llm_calls, tool_calls, spans), on="row", how="left")
        .with_columns(hash_changed=_hashes_differ())
    )
    by_hash = pl.when("hash_changed").then(LOST_IF_CHANGED).otherwise(0.0)
    known = counted.with_columns(
        lost=pl.coalesce("lost", pl.when(pl.col("hash_changed").is_not_null()).then(by_hash)),
        lost_evidence=pl.when(pl.col("lost").is_not_null())
        .then(pl.lit("content"))
        .when(pl.col("hash_changed").is_not_null())
        .then(pl.lit("hash"))
        .otherwise(pl.lit("")),
        lost_facts=pl.col("lost_facts").fill_null([]),
    )
    survives = [(1 - severity[part] * pl.col(part)).fill_null(1.0) for part in PARTS]
    told = pl.sum_horizontal(pl.col(part).is_not_null() for part in PARTS)
    score = pl.when(told > 0).then(pl.fold(pl.lit(1.0), lambda a, b: a * b, survives))
    return facts(known.with_columns(score=score, coverage=told / len(PARTS)), HANDOFF_QUALITY)


def _target(handoffs: pl.DataFrame, runs: pl.DataFrame) -> pl.DataFrame:
    """How the target ended, and how long it took to begin."""
    target = runs.select("session_id", target_run_id="run_id", began="started_at", ended=pl.col("status") == "error")
    said = pl.when(pl.col("outcome").fill_null("") != "").then(pl.col("outcome").is_in(_BROKEN))
    return handoffs.join(target, on=["session_id", "target_run_id"], how="left").select(
        "row",
        failed=pl.when(said.fill_null(False)).then(1.0).otherwise(pl.coalesce("ended", said).cast(pl.Float64)),
        waited_ns=(pl.col("began") - pl.col("at")).dt.total_nanoseconds().clip(lower_bound=0),
    )


def _bounced(handoffs: pl.DataFrame, runs: pl.DataFrame) -> pl.DataFrame:
    """The target handed straight back, having called neither a tool nor more than one model."""
    idle = (pl.col("tool_calls").fill_null(0) == 0) & (pl.col("llm_calls").fill_null(0) <= 1)
    work = runs.select("session_id", target_run_id="run_id", idle=idle)
    back = handoffs.filter(pl.col("mode") == "pass_control").select(
        "session_id", target_run_id="source_run_id", source="target", back=pl.lit(True)
    )
    on = ["session_id", "target_run_id"]
    returned = (
        handoffs.join(work, on=on, how="left")
        .join(back.unique(), on=[*on, "source"], how="left")
        .with_columns(straight=pl.col("back").fill_null(False) & pl.col("idle"))
    )
    # of a call that came back, `returned` is the outcome one hopes for
    said = (pl.col("outcome").fill_null("") == "returned") & (pl.col("mode") == "pass_control")
    counted = pl.when(pl.col("mode") == "return_to_caller").then(False).otherwise("straight")
    return returned.select("row", bounced=pl.when(said).then(1.0).otherwise(counted.cast(pl.Float64)))


def _repeated(handoffs: pl.DataFrame, llm_calls: pl.DataFrame, tool_calls: pl.DataFrame) -> pl.DataFrame:
    """Which of the target's calls the source had made before with the same arguments, and what that cost again."""
    call = ["tool", "arguments_hash"]
    known = tool_calls.filter(pl.col("arguments_hash").fill_null("") != "")
    made = known.filter(pl.col("status") != "error").select("session_id", *call, source="agent", made_at="at")
    pairs = handoffs.select("row", "session_id", "source", "target_run_id", handed_at="at")
    calls = pairs.join(known.rename({"run_id": "target_run_id"}), on=["session_id", "target_run_id"])
    again = (
        calls.join(made, on=["session_id", "source", *call])
        .filter(pl.col("made_at") <= pl.col("handed_at"))
        .unique(["row", "span_id"])
    )
    counts = calls.group_by("row").agg(calls=pl.len()).join(
        again.group_by("row").agg(repeated_calls=pl.len()), on="row", how="left"
    )  # fmt: skip
    return (
        counts.with_columns(pl.col("repeated_calls").fill_null(0))
        .with_columns(repeated=pl.col("repeated_calls") / pl.col("calls"))
        .join(_rediscovery(again, llm_calls), on="row", how="left")
        .with_columns(pl.col("rediscovery_tokens").fill_null(0))
        .drop("calls")
    )


def _rediscovery(again: pl.DataFrame, llm_calls: pl.DataFrame) -> pl.DataFrame:
    """Tokens and money of the model calls right before the repeated tool calls, each once."""
    thought = llm_calls.select(
        "session_id", "at", "cost_usd", target_run_id="run_id", call="span_id",
        tokens=pl.sum_horizontal(pl.col("input_tokens", "output_tokens").cast(pl.Int64)),
    ).sort("at")  # fmt: skip
    return (
        again.sort("at")
        .join_asof(thought, on="at", by=["session_id", "target_run_id"], check_sortedness=False)
        .filter(pl.col("call").is_not_null())
        .unique(["row", "call"])
        .group_by("row")
        .agg(rediscovery_tokens=pl.col("tokens").sum(), rediscovery_cost_usd=pl.col("cost_usd").sum())
    )


def _hashes_differ() -> pl.Expr:
    sent, received = pl.col("context_hash_sent").fill_null(""), pl.col("context_hash_received").fill_null("")
    return pl.when((sent != "") & (received != "")).then(sent != received)


def _contents(
    handoffs: pl.DataFrame,
    runs: pl.DataFrame,
    llm_calls: pl.DataFrame,
    tool_calls: pl.DataFrame,
    spans: pl.DataFrame | None,
) -> pl.DataFrame:
    schema = {"row": pl.UInt32(), "re_asked": pl.Float64(), "lost": pl.Float64(), "lost_facts": pl.List(pl.String())}
    told = None if spans is None else with_content(spans)
    if told is None or told.is_empty():
        return pl.DataFrame(schema=schema)
    said = Said(handoffs, runs, llm_calls, tool_calls, told)
    looked_at = handoffs.sort("at").select("row", "session_id", "trace_id", "span_id", "at", *_RUNS).rows(named=True)
    rows = [(row["row"], said.asked_again(row), *said.lost(row)) for row in looked_at]
    return pl.DataFrame(rows, schema=schema, orient="row")
