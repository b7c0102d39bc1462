"""Context drift with constraints dropped on purpose: is the hop seen on which a part of the goal got lost?

A goal is told by one agent to the next, its sentences in another order and with small talk between them. Once a
sentence of the goal is left out, once a sentence of small talk about as long: only the first is drift.
"""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl
from maslens.analytics import frames
from maslens.analytics.content import leaves, parsed
from maslens.analytics.facts import compute

from tests.validate.handoffbench import Task, area, tasks
from tests.validate.rows import Number, Row, Validation, bootstrap, row, share
from tests.validate.runs_with_faults import Failed, who_and_when

DRIFT = Number(
    name="context drift",
    definition="""How far each step of a session is from its goal, which facts of the goal a step was given, which of
    those that the step before had it was not, and whether its context had been compacted.""",
    formula="""distance = 1 − cosine of hashed character 4-grams (1 + log of counts) of the goal and of what the step
    said. Facts of the goal are its figures, identifiers, dates, addresses, quoted words and names; a step has a fact
    if all its words are in its input. Compacted: input below 0.6 of the call before it in the same run, which had at
    least 500 tokens and more than the one before that, unless the next call has the whole history again.""",
    source="""contents of `agent_spans`, `llm_calls`; the goal is the first thing the session's user said;
    `analytics/context_drift.py`, `analytics/goal_facts.py`, `analytics/lexical.py`""",
    distrust="""on constraints said without a figure, name or quote (they show in the distance alone, weakly), on
    paraphrase (it counts as distance), on distances of different goals against each other. A specialist that is told
    only its part has lost facts too: read which. Labels here are made by dropping sentences, so they say that the
    number moves the right way, not how often it is right in the field. Without captured contents nothing is told but
    compactions.""",
    tried="distance of the whole input (a history that grows drifts by its length alone)",
)
_TALK = (
    "Please take good care of it.", "Thank you so much for your help with this.", "Let me know if anything is unclear.",
    "Take the time that you need, there is no hurry at all.", "I am glad to hear from you about it.",
    "We had a long talk about it yesterday and it was nice, but nothing came of it so far.",
    "As you know, this is the kind of thing that people in the office ask us to do again and again.",
    "Good luck.", "It would be lovely to hear how it goes, and of course everybody here sends kind regards to you.",
    "Some of this may sound odd, yet it is what was asked, so do what seems best to you and tell us about it later on.",
)  # fmt: skip
_START = datetime(2026, 1, 1, tzinfo=timezone.utc)
_CLAUSE = re.compile(r"(?<=[.?!;,])\s+")


@dataclass(frozen=True, slots=True)
class Told:
    """One chain of two hops; `lost`: a sentence of the goal is missing from the second agent on."""

    unit: str
    lost: bool
    goal: str
    passed: str


def dropped(unit: str, sentences: Sequence[str], chance: random.Random) -> Iterator[Told]:
    """Per sentence of a goal one chain without it and one without small talk of the nearest length."""
    talk = list(_TALK)
    goal = " ".join(sentences)
    for left_out in range(len(sentences)):
        rest = [sentence for at, sentence in enumerate(sentences) if at != left_out]
        nearest = min(talk, key=lambda said: abs(len(said) - len(sentences[left_out])))
        others = [said for said in talk if said != nearest]
        for lost, told in ((True, [*rest, *talk]), (False, [*sentences, *others])):
            chance.shuffle(told)
            yield Told(unit, lost, goal, " ".join(told))


def of_tasks(listed: Sequence[Task]) -> Iterator[Told]:
    """What was found out upstream, field by field; a field is a part of the goal if the benchmark calls it needed."""
    chance = random.Random(0)
    for number, task in enumerate(listed):
        needed = set(json.loads(task.payloads[0].text))
        fields = [(path[-1], value) for text in task.upstream for path, value in leaves(parsed(text))]
        sentences = dict.fromkeys(f"The {key.replace('_', ' ')} is {value}." for key, value in fields if key in needed)
        yield from dropped(f"{task.story[:80]} {number}", list(sentences), chance)


def of_questions(runs: Sequence[Failed]) -> Iterator[Told]:
    """Every clause of a question that is asked of a team is a part of the goal."""
    chance = random.Random(0)
    for run in runs:
        clauses = [clause for clause in _CLAUSE.split(run.steps[0]["goal"].strip()) if len(clause) > 8]
        if len(clauses) > 1:
            yield from dropped(run.name, clauses, chance)


def spans(chains: Sequence[Told]) -> pl.DataFrame:
    """Per chain: one who is asked the goal, one who is given what was passed on and says it to the last."""
    rows: list[dict[str, Any]] = []
    for number, chain in enumerate(chains):
        for at, (given, said) in enumerate(((chain.goal, chain.goal), (chain.passed, chain.passed))):
            name = f"{number}/{at}"
            message = json.dumps([{"role": "user", "content": given}])
            rows += [
                _span(number, f"{name}/run", "", "agent", at, AgentName=f"agent {at}"),
                _span(number, f"{name}/call", f"{name}/run", "llm", at, InputContent=message, OutputContent=said),
            ]
    schema = {name: frames.AGENT_SPANS[name] for name in {key for told in rows for key in told}}
    return frames.agent_spans(pl.DataFrame(rows, schema=schema, orient="row"))


def _span(trace: int, name: str, under: str, kind: str, at: float, **told: Any) -> dict[str, Any]:
    return {
        "TraceId": str(trace), "SpanId": name, "ParentSpanId": under, "SpanName": kind, "Kind": kind,
        "StatusCode": "Unset", "SessionId": f"chain {trace}", "Dialect": "mas",
        "Timestamp": _START + timedelta(seconds=2 * at + (kind == "llm") / 4), "Duration": 500_000_000, **told,
    }  # fmt: skip


def seen(chains: Sequence[Told]) -> list[tuple[Told, float, float, float]]:
    """(chain, share of the goal's facts lost on the hop, distance after it, how much shorter the text got)."""
    found = compute(spans(chains)).context_drift.filter(pl.col("step") == 1)
    by_chain = {told["session_id"]: told for told in found.iter_rows(named=True)}
    result = []
    for number, chain in enumerate(chains):
        told = by_chain[f"chain {number}"]
        result.append((chain, told["facts_lost"] / max(told["goal_facts"], 1), told["distance"], -len(chain.passed)))
    return result


def rows(data: str, chains: Sequence[Told]) -> Iterator[Row]:
    listed = seen(chains)
    units: dict[str, list[tuple[Told, float, float, float]]] = defaultdict(list)
    for each in listed:
        units[each[0].unit].append(each)

    def aucs(which: int) -> tuple[float, tuple[float, float]]:
        def of(drawn: Sequence[list[Any]]) -> float:
            flat = [each for unit in drawn for each in unit]
            return area([each[which] for each in flat], [each[0].lost for each in flat])

        return of(list(units.values())), bootstrap(list(units.values()), of, draws=500)

    length, between = aucs(3)
    count = f"n = {len(listed)} of {len(units)}"
    yield row(DRIFT, data, f"AUC of a shorter text (trivial), {count}", length, between)
    for which, name in ((1, "facts lost"), (2, "distance")):
        value, interval = aucs(which)
        yield row(DRIFT, data, f"AUC of {name}, {count}", value, interval, ("above", max(length, 0.5)))
    yield share(
        DRIFT, data, "dropped parts of the goal with facts lost", [each[1] > 0 for each in listed if each[0].lost]
    )
    kept = [each[1] == 0 for each in listed if not each[0].lost]
    yield share(DRIFT, data, "dropped small talk without facts lost", kept, ("above", 95.0))


def from_tasks(folder: Path) -> Iterator[Row]:
    yield from rows("handoffbench", list(of_tasks(tasks(folder))))


def from_questions(folder: Path) -> Iterator[Row]:
    runs = who_and_when(folder)
    yield from rows("who_and_when", list(of_questions(runs)))
    chance = random.Random(0)
    whole = [(run, 0) for run in runs if len(run.steps) > 3]
    cut = [(run, chance.randrange(3, len(run.steps))) for run, _ in whole]
    for texts, how in ((True, "lengths"), (False, "tokens alone")):
        found = [bool(told) for told in compactions(cut, texts=texts)]
        yield share(DRIFT, "who_and_when", f"histories cut to their last message, seen from {how}", found)
        for aside, what in ((False, "untouched histories"), (True, "histories with a short call aside")):
            quiet = [not told for told in compactions(whole, texts=texts, aside=aside)]
            yield share(DRIFT, "who_and_when", f"{what} without an alarm, from {how}", quiet, ("above", 95.0))


def compactions(histories: Sequence[tuple[Failed, int]], *, texts: bool, aside: bool = False) -> list[int]:
    """Per history how many compactions are found where its chat is one agent's; at the given message all but the one
    before it is thrown away (0: nowhere). aside: halfway the agent asks its model for something else as well."""
    told: list[dict[str, Any]] = []
    for number, (run, at) in enumerate(histories):
        history: list[dict[str, str]] = []
        told.append(_span(number, f"{number}/run", "", "agent", 0, AgentName="one", Duration=10**12))
        for place, step in enumerate(run.steps):
            history = history[-1:] if place == at and at else history
            size = max(1, len(json.dumps(history)) // 4)
            given = {"InputContent": json.dumps(history)} if texts else {"InputTokens": size, "OutputTokens": 1}
            told.append(_span(number, f"{number}/{place}", f"{number}/run", "llm", 2 * place + 1, **given))
            if aside and place == len(run.steps) // 2:
                title = {"InputContent": '["Name this chat."]'} if texts else {"InputTokens": 4, "OutputTokens": 1}
                told.append(_span(number, f"{number}/aside", f"{number}/run", "llm", 2 * place + 2, **title))
            history = [*history, {"role": "assistant", "content": step["text"] + step["result"]}]
    schema = {name: frames.AGENT_SPANS[name] for name in {key for each in told for key in each}}
    drift = compute(frames.agent_spans(pl.DataFrame(told, schema=schema, orient="row"))).context_drift
    counts = dict(drift.filter("compacted").group_by("session_id").len().iter_rows())
    return [counts.get(f"chain {number}", 0) for number in range(len(histories))]


VALIDATIONS = (
    Validation(number=DRIFT, data="handoffbench", run=from_tasks),
    Validation(number=DRIFT, data="who_and_when", run=from_questions),
)
