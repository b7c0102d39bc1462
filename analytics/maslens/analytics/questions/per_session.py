"""What is read out of the spans of one session with their contents: handoff quality, suspects, context drift."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import polars as pl
from maslens.analytics import frames, reads
from maslens.analytics.goal_facts import MOST_GOAL, goal_facts
from maslens.analytics.handoff_quality import PARTS, SEVERITY
from maslens.analytics.questions import evidence
from maslens.analytics.questions.question import Ask, Asked, Evidence, Question, Row
from maslens.analytics.reads import Read
from maslens.analytics.steps import goal_of
from maslens.analytics.suspect_signs import SIGNS
from maslens.analytics.suspects import WEIGHTS

_MOST = 100_000  # rows that are read
_SHOWN = 1_000  # characters of a text


def _of_quality(row: Row, ask: Ask, _: Asked) -> list[Evidence]:
    """How the score came about, what was lost and repeated, what both sides had in front of them."""
    parts = [
        {
            "name": part,
            "value": row[part],
            "severity": SEVERITY[part],
            "factor": 1 - SEVERITY[part] * (row[part] or 0.0),
        }
        for part in PARTS
    ]
    told = [Evidence(title="parts of the score", rows=pl.DataFrame(parts, schema_overrides={"value": pl.Float64}))]
    if row["lost_facts"]:
        told.append(Evidence(title="lost facts", rows=pl.DataFrame({"fact": list(row["lost_facts"])})))
    again = Read(
        sql="""
SELECT mine.tool AS tool, before.at AS made_by_source_at, mine.at AS made_again_at,
    mine.arguments_hash AS arguments_hash, mine.span_id AS span_id
FROM tool_calls AS mine
INNER JOIN tool_calls AS before
    ON before.session_id = mine.session_id AND before.tool = mine.tool AND before.arguments_hash = mine.arguments_hash
WHERE mine.session_id = {session:String} AND mine.run_id = {target:String} AND before.agent = {source:String}
    AND mine.arguments_hash != '' AND before.status != 'error' AND before.at <= {at:DateTime64(9, 'UTC')}
ORDER BY mine.at, before.at LIMIT 20""",
        params={
            "session": row["session_id"], "target": row["target_run_id"], "source": row["source"], "at": row["at"],
        },
    )  # fmt: skip
    told += _found(ask, {"calls made again": again})
    given = {
        "the transfer": row["span_id"],
        "the target's run": row["target_run_id"],
        "the source's run": row["source_run_id"],
    }
    told += _texts(ask, row["trace_id"], given)
    return [*told, *evidence.of_runs(row, ask, "source_run_id", "target_run_id")]


def _of_suspect(row: Row, ask: Ask, _: Asked) -> list[Evidence]:
    """Each sign with its weight, the step's own words, and what the other suspects of the session are."""
    signs = [
        {"sign": name, "says": SIGNS[name].says, "weight": WEIGHTS[name]} for name in row["signs"] if name in SIGNS
    ]
    told = [Evidence(title="signs against it", rows=pl.DataFrame(signs))] if signs else []
    others = Read(
        sql="""
SELECT rank, agent, step, kind, confidence, evidence, span_id FROM suspects
WHERE session_id = {session:String} ORDER BY rank LIMIT 5""",
        params={"session": row["session_id"]},
    )
    told += _texts(ask, row["trace_id"], {"the step": row["span_id"]})
    return [*told, *evidence.of_span(row, ask), *_found(ask, {"suspects of the session": others})]


def _of_verdict(row: Row, ask: Ask, _: Asked) -> list[Evidence]:
    """The words of the step that was blamed, and the suspects that no model had a hand in."""
    others = Read(
        sql="""
SELECT rank, agent, step, confidence, evidence, span_id FROM suspects
WHERE session_id = {session:String} ORDER BY rank LIMIT 5""",
        params={"session": row["session_id"]},
    )
    told = _texts(ask, row["trace_id"], {"the step": row["span_id"]})
    return [*told, *_found(ask, {"suspects of the session": others})]


def _of_drift(row: Row, ask: Ask, _: Asked) -> list[Evidence]:
    """The goal and its facts, this step's context, and the steps before it."""
    steps = (
        "TraceId IN (SELECT trace_id FROM context_drift WHERE session_id = {session:String}) AND SpanId IN ("
        "SELECT arrayJoin([span_id, run_id]) FROM context_drift WHERE session_id = {session:String})"
    )
    first = Read(
        sql=f"""
SELECT InputContent AS text FROM ({reads.spans_with_contents(steps)})
WHERE text != '' ORDER BY Timestamp, SpanId LIMIT 1""",
        params={"session": row["session_id"]},
    )
    earlier = Read(
        sql="""
SELECT step, agent, distance, facts_carried, facts_lost, lost_facts, context_tokens, compacted, span_id
FROM context_drift WHERE session_id = {session:String} AND step <= {step:UInt64} ORDER BY step DESC LIMIT 6""",
        params={"session": row["session_id"], "step": row["step"]},
    )
    began = ask(first)[0]
    told = []
    if not began.is_empty():
        goal = goal_of(began["text"][0])[:MOST_GOAL]
        lost = set(row["lost_facts"])
        told.append(Evidence(title="goal", rows=pl.DataFrame({"text": [goal[:_SHOWN]]})))
        facts = [{"fact": fact, "lost_here": fact in lost} for fact in goal_facts(goal)]
        told += [Evidence(title="facts of the goal", rows=pl.DataFrame(facts))] if facts else []
    told += _texts(ask, row["trace_id"], {"the step": row["span_id"]})
    return [*told, *_found(ask, {"this step and those before it": earlier})]


def _suspects(ask: Ask, asked: Asked) -> pl.DataFrame:
    """Those on record; of one session that was asked about by name also if nothing says that it failed."""
    found = ask(reads.suspects(replace(asked.filters, limit=_MOST)))[0]
    if not found.is_empty() or asked.filters.session is None:
        return found
    read = Read(sql=reads.spans_with_contents(reads.TRACES_OF_SESSION), params={"session": asked.filters.session})
    from maslens.analytics.facts import suspects_of  # heavy, and seldom needed

    computed = suspects_of(ask(read)[0]).filter(pl.col("session_id") == asked.filters.session)
    filters = asked.filters
    tests = [pl.lit(True)]
    tests += [pl.col("at") >= filters.since] if filters.since else []
    tests += [pl.col("at") < filters.until] if filters.until else []
    tests += [pl.col("agent") == filters.agent] if filters.agent else []
    return computed.filter(*tests)


def _texts(ask: Ask, trace: str, spans: Mapping[str, str]) -> list[Evidence]:
    """Contents of spans, each cut."""
    names = {span: name for name, span in spans.items() if span}
    read = Read(
        sql=f"""
SELECT SpanId AS span_id, SpanName AS name, leftUTF8(InputContent, {_SHOWN:d}) AS input,
    leftUTF8(OutputContent, {_SHOWN:d}) AS output, leftUTF8(ToolArguments, {_SHOWN:d}) AS arguments,
    leftUTF8(ToolResult, {_SHOWN:d}) AS result
FROM ({reads.spans_with_contents("TraceId = {trace:String} AND SpanId IN {spans:Array(String)}")})
ORDER BY Timestamp LIMIT 1 BY SpanId""",
        params={"trace": trace, "spans": list(names)},
    )
    found = ask(read)[0] if names else pl.DataFrame()
    if found.is_empty():
        return []
    whose = pl.Series("of", [names[span] for span in found["span_id"]])
    return [Evidence(title="texts", rows=found.insert_column(0, whose))]


def _found(ask: Ask, asked: Mapping[str, Read]) -> list[Evidence]:
    answers = zip(asked, ask(*asked.values()), strict=True)
    return [Evidence(title=title, rows=rows) for title, rows in answers if not rows.is_empty()]


QUESTIONS: Mapping[str, Question] = {
    each.name: each
    for each in (
        Question(
            name="quality",
            title="Handoff quality",
            read=lambda asked: reads.handoff_quality(asked.filters),
            schema=frames.HANDOFF_QUALITY,
            shown=[
                "session_id",
                "source",
                "target",
                "failed",
                "bounced",
                "repeated",
                "re_asked",
                "lost",
                "score",
                "coverage",
            ],
            explain=_of_quality,
            definition="score is the product of 1 - severity x part over the parts that the telemetry told: the chance "
            "that none of them broke the work; coverage is their share of all. Parts go from 0 (as it should be) to 1 "
            "and are empty where nothing is known. The severities were fitted on handoffs of runs that failed.",
        ),
        Question(
            name="suspects",
            title="Failure suspects",
            compute=_suspects,
            schema=frames.SUSPECTS,
            shown=["session_id", "rank", "agent", "step", "kind", "confidence", "category", "evidence"],
            explain=_of_suspect,
            definition="Steps of a failed session (outcome failure, an error not recovered from, or an evaluation that "
            "says no; a session asked for by name is taken to have failed) ranked by how probably each was the "
            "decisive mistake: a softmax over the summed weights of its signs. Decisive is meant as in "
            "Who&When: the earliest step whose correction would have saved the run. Read the evidence: no verdict.",
        ),
        Question(
            name="verdicts",
            title="The judge's verdicts",
            read=lambda asked: reads.verdicts(asked.filters),
            schema=frames.JUDGE_VERDICTS,
            shown=["session_id", "status", "agent", "step", "confidence", "category", "reason", "model", "cost_usd"],
            explain=_of_verdict,
            definition="What a model answered when it was shown the steps of the failed session. It is off unless "
            "judge_url is set, reads text that others wrote, and has no part in the suspects; unusable answers are "
            "kept, since they were paid for.",
        ),
        Question(
            name="drift",
            title="Context drift",
            read=lambda asked: reads.context_drift(asked.filters),
            schema=frames.CONTEXT_DRIFT,
            shown=[
                "session_id",
                "step",
                "agent",
                "distance",
                "goal_facts",
                "facts_carried",
                "facts_lost",
                "lost_facts",
                "compacted",
            ],
            explain=_of_drift,
            definition="distance is 1 - cosine between the session's goal and what the step said, over character "
            "4-grams. Facts are the goal's figures, names, quotes and identifiers: carried are those in the step's "
            "input, lost those that the step before it still had. compacted: the input shrank to less than six tenths "
            "although it had been growing.",
            order="session_id, step",
        ),
    )
}
