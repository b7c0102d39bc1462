"""How far each step of a session is from its goal, which of the goal's facts got lost on the way, and where a context
shrank although the history had grown.

A step is a model call, or a run that made none. A hop leads to a step from the one before it in its run, to a run's
first step from the last step of whoever handed over or called, to any other from the goal itself. Nothing is judged
where contents were not captured, except that a compaction shows in token counts alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count, groupby
from math import isnan
from operator import itemgetter
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
    told = steps.filter("told")
    found = _facts(told, _before(runs, handoffs) if len(told) else {})
    unknown = [pl.lit(None, dtype=CONTEXT_DRIFT[name]).alias(name) for name in ("distance", *_COUNTS)]
    bare = steps.filter(~pl.col("told") & pl.col("compacted")).with_columns(
        *unknown, lost_facts=pl.lit([], dtype=CONTEXT_DRIFT["lost_facts"])
    )
    rows = told.with_columns(
        _distances(found["goal"], told, embed),
        _lists("lost_facts", found["lost_facts"]),
        *(pl.Series(name, found[name], dtype=CONTEXT_DRIFT[name]) for name in _COUNTS),
    )
    return facts(pl.concat([rows.select(*CONTEXT_DRIFT), bare.select(*CONTEXT_DRIFT)]), CONTEXT_DRIFT)


def _lists(name: str, lists: Sequence[Sequence[str]]) -> pl.Series:
    """A column of lists, most of them empty: made one by one, those take longer than all else that becomes a column."""
    filled = [listed for listed in lists if listed]
    place = count()
    which = [next(place) if listed else len(filled) for listed in lists]
    return pl.Series(name, [*filled, []], dtype=pl.List(pl.String)).gather(which)


_COUNTS = ("goal_facts", "facts_carried", "facts_lost")


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


def _facts(steps: pl.DataFrame, before: Mapping[tuple[str, str], str]) -> dict[str, list[Any]]:
    """Per step its goal, and what of it was carried and lost; columns of `frames.CONTEXT_DRIFT`. Steps are sorted by
    session."""
    found: dict[str, list[Any]] = {"goal": [], **{name: [] for name in (*_COUNTS, "lost_facts")}}
    rows = steps.select("session_id", "run_id", "given", "asked", "said").rows()
    for session, mine in groupby(rows, key=itemgetter(0)):
        for name, values in _session(list(mine), session, before).items():
            found[name] += values
    return found


def _session(steps: list[tuple[str, ...]], session: str, before: Mapping[tuple[str, str], str]) -> dict[str, list[Any]]:
    goal = goal_of(next(asked or given for _, _, given, asked, _ in steps if asked or given))[:MOST_GOAL]
    wanted = goal_facts(goal)
    carried, lost_count, lost_facts = list[int | None](), list[int | None](), list[list[str]]()
    in_given = Kept(wanted)
    in_said = in_given.another()
    everything, known = frozenset(wanted), dict[str, frozenset[str]]()  # per run what its latest step knew
    for _, run, given, asked, said in steps:
        blank = not (given or asked)
        has = lost = nothing = frozenset[str]()
        if wanted:
            has, says = in_given.of(given or asked), in_said.of(said)
            had = known.get(run) or known.get(before.get((session, run), ""), everything)
            lost = nothing if blank else had - has
            known[run] = had | says if blank else has | says
        carried.append(None if blank else len(has))
        lost_count.append(None if blank else len(lost))
        lost_facts.append([fact for fact in wanted if fact in lost][:_SHOWN] if lost else [])
    return {
        "goal": [goal] * len(steps), "goal_facts": [len(wanted)] * len(steps), "facts_carried": carried,
        "facts_lost": lost_count, "lost_facts": lost_facts,
    }  # fmt: skip


def _distances(goals: Sequence[str], steps: pl.DataFrame, embed: Embed) -> pl.Series:
    found: list[float | None] = []
    if goals:
        distinct = sorted(set(goals))
        place = {goal: at for at, goal in enumerate(distinct)}
        towards = embed(distinct)
    for begin in range(0, len(goals), _AT_ONCE):
        batch = steps[begin : begin + _AT_ONCE].select("said", "given", "asked").rows()
        texts = embed([cut(plain(said or given or asked)) for said, given, asked in batch])
        which = np.array([place[goal] for goal in goals[begin : begin + _AT_ONCE]])
        measured = distances(towards, texts, which).tolist()
        found += [None if isnan(distance) else round(distance, 6) for distance in measured]
    return pl.Series("distance", found, dtype=pl.Float64)
