"""How far each step of a session is from its goal, which of the goal's facts got lost on the way, and where a context
shrank although the history had grown.

A step is a model call, or a run that made none. A hop leads to a step from the one before it in its run, to a run's
first step from the last step of whoever handed over or called, to any other from the goal itself. Nothing is judged
where contents were not captured, except that a compaction shows in token counts alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from .content import plain
from .frames import CONTEXT_DRIFT, empty, facts
from .goal_facts import MOST_GOAL, Kept, goal_facts
from .lexical import Embed, distances, lexical
from .steps import cut, goal_of

SHRUNK = 0.6  # a context of less than this share of the one before it, which had grown, has been compacted …
LEAST_TOKENS = 500  # … if that one had so many tokens
_AT_ONCE = 256  # texts
_SHOWN = 20  # names of lost facts that are told
_LETTERS_A_TOKEN = 4  # where tokens are not told

Told = dict[str, Any]


def context_drift(
    spans: pl.DataFrame,
    runs: pl.DataFrame,
    llm_calls: pl.DataFrame,
    handoffs: pl.DataFrame,
    *,
    embed: Embed = lexical,
) -> pl.DataFrame:
    """One row a step of sessions with contents, and one a compaction of the others; columns `frames.CONTEXT_DRIFT`.

    distance: 1 - cosine of the goal and what the step said (else what it was given), by `embed`. goal_facts: how many
    facts the goal has; facts_carried: how many of them this step was given; facts_lost: how many it was not given
    although the step before had them, lost_facts naming the first. context_tokens: length of its input. spans:
    `agent_spans` of the same sessions.
    """
    steps = _steps(spans, runs, llm_calls)
    if steps.is_empty():
        return empty(CONTEXT_DRIFT)
    bare = steps.filter(~pl.col("told") & pl.col("compacted"))
    sessions = [
        session.rows(named=True) for session in steps.filter("told").partition_by("session_id", maintain_order=True)
    ]
    before = _before(runs, handoffs) if sessions else {}
    rows = [row for session in sessions for row in _facts(session, before)]
    for row, distance in zip(rows, _distances(rows, embed), strict=True):
        row["distance"] = distance
    nothing = [{**row, **_UNKNOWN} for row in bare.rows(named=True)]
    told = dict(CONTEXT_DRIFT)
    listed = [{name: row[name] for name in told} for row in [*rows, *nothing]]
    return facts(pl.DataFrame(listed, schema=told, orient="row"), CONTEXT_DRIFT)


_UNKNOWN: Told = {"distance": None, "goal_facts": None, "facts_carried": None, "facts_lost": None, "lost_facts": []}


def _steps(spans: pl.DataFrame, runs: pl.DataFrame, llm_calls: pl.DataFrame) -> pl.DataFrame:
    """Steps in order of time, numbered by session. told: contents of the session were captured."""
    told = spans.select(trace_id="TraceId", span_id="SpanId", given="InputContent", said="OutputContent").filter(
        (pl.col("given") != "") | (pl.col("said") != "")
    )
    if told.is_empty() and not (llm_calls["input_tokens"] >= LEAST_TOKENS).any():
        return pl.DataFrame()
    silent = runs.join(llm_calls.select("session_id", "run_id").unique(), on=["session_id", "run_id"], how="anti")
    silent = silent.with_columns(span_id="run_id", at="started_at", input_tokens=pl.lit(None, dtype=pl.UInt64))
    shape = ("session_id", "trace_id", "span_id", "run_id", "agent", "at", "input_tokens")
    steps = (
        pl.concat([llm_calls.select(shape), silent.select(shape)])
        .unique(["session_id", "trace_id", "span_id"], keep="first", maintain_order=True)
        .sort("session_id", "at", "trace_id", "span_id")
        .with_columns(step=pl.int_range(pl.len(), dtype=pl.UInt64).over("session_id"))
    )
    blank = pl.lit("", dtype=pl.String)
    if told.is_empty():
        steps = steps.with_columns(given=blank, said=blank, asked=blank, told=pl.lit(False))
    else:
        told = told.unique(["trace_id", "span_id"], keep="first", maintain_order=True)
        asked = told.select("trace_id", run_id="span_id", asked="given")
        steps = (
            steps.join(told, on=["trace_id", "span_id"], how="left", maintain_order="left")
            .join(asked, on=["trace_id", "run_id"], how="left", maintain_order="left")
            .with_columns(pl.col("given", "said", "asked").fill_null(""))
            .with_columns(told=((pl.col("given") != "") | (pl.col("asked") != "")).any().over("session_id"))
        )
    letters = pl.col("given").str.len_bytes() // _LETTERS_A_TOKEN
    size = pl.coalesce("input_tokens", pl.when(letters > 0).then(letters)).cast(pl.Int64)
    last, earlier, then = (pl.col("size").shift(n).over("session_id", "run_id") for n in (1, 2, -1))
    aside = (then >= last).fill_null(False)  # the history is back: that was a call about something else
    shrank = (pl.col("size") < SHRUNK * last) & (last >= LEAST_TOKENS) & (last > earlier) & ~aside
    shrank &= pl.col("run_id") != ""
    return steps.with_columns(size=size).with_columns(compacted=shrank.fill_null(False), context_tokens="size")


def _before(runs: pl.DataFrame, handoffs: pl.DataFrame) -> dict[tuple[str, str], str]:
    """(session, run) → the run that handed over to it or called it."""
    callers = runs.filter(pl.col("parent_run_id") != "").select("session_id", "run_id", "parent_run_id")
    edges = handoffs.filter((pl.col("source_run_id") != "") & (pl.col("target_run_id") != "")).sort(
        "at", descending=True
    )
    return {(session, run): caller for session, run, caller in callers.iter_rows()} | {
        (session, run): source
        for session, run, source in edges.select("session_id", "target_run_id", "source_run_id").iter_rows()
    }


def _facts(steps: list[Told], before: Mapping[tuple[str, str], str]) -> list[Told]:
    """The steps of one session with what was carried and lost."""
    first = next(step["asked"] or step["given"] for step in steps if step["asked"] or step["given"])
    goal = goal_of(first)[:MOST_GOAL]
    wanted = goal_facts(goal)
    in_given, in_said = Kept(wanted), Kept(wanted)
    everything, known = frozenset(wanted), dict[str, frozenset[str]]()  # per run what its latest step knew
    for step in steps:
        run = step["run_id"]
        has, says = in_given.of(step["given"] or step["asked"]), in_said.of(step["said"])
        had = known.get(run) or known.get(before.get((step["session_id"], run), ""), everything)
        blank = not (step["given"] or step["asked"])
        lost = [] if blank else [fact for fact in wanted if fact in had and fact not in has]
        known[run] = had | says if blank else has | says
        step |= {
            "goal": goal, "goal_facts": len(wanted), "facts_carried": None if blank else len(has),
            "facts_lost": None if blank else len(lost), "lost_facts": lost[:_SHOWN],
        }  # fmt: skip
    return steps


def _distances(steps: list[Told], embed: Embed) -> list[float | None]:
    if not steps:
        return []
    goals = sorted({step["goal"] for step in steps})
    place = {goal: at for at, goal in enumerate(goals)}
    towards = embed(goals)
    found: list[float | None] = []
    for begin in range(0, len(steps), _AT_ONCE):
        batch = steps[begin : begin + _AT_ONCE]
        texts = embed([cut(plain(step["said"] or step["given"] or step["asked"])) for step in batch])
        for step, text in zip(batch, texts, strict=True):
            distance = distances(towards[place[step["goal"]]], text[None])[0]
            found.append(None if np.isnan(distance) else round(float(distance), 6))
    return found
