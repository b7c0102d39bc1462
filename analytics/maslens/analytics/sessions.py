"""Which traces are one session, and how a session ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
import polars as pl

from .attribution import ModelCalls
from .errors import Marks, Mishap
from .forest import Forest
from .frames import hint
from .runs import Runs
from .spans import Spans

_UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
# Links that mean "the same piece of work goes on". An untyped link does if an agent framework made it, or if it is the
# only one of its span: who takes a batch from a queue links to many that have nothing to do with each other.
_JOINING_LINKS: Final = ("handoff", "agent_handoff", "join", "retry", "triggered_by")


def without_repeats(spans: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Spans sorted by trace and start, each once; and `TraceId, duplicate_spans` of the traces that have any.

    Of two spans with one id the longer one is kept: an emitter that sends a span early sends it again when it ends. Of
    two that last as long and say otherwise, the one that says more.
    """
    repeated = spans.select("TraceId", "SpanId").is_duplicated()
    of_one = spans.filter(repeated)
    if not of_one.is_empty():
        before = ["TraceId", "SpanId", "DroppedAttributes", "StatusCode", "SpanName", "Kind"]
        told = [name for name, dtype in spans.schema.items() if not dtype.is_nested() and name not in before]
        order = [*before[:2], "Duration", *before[2:], *(name for name in told if name != "Duration")]
        ordered = of_one.sort(order, descending=[name in told for name in order], nulls_last=True)
        spans = pl.concat([spans.filter(~repeated), ordered.unique(["TraceId", "SpanId"], keep="first")])
    repeats = of_one.group_by("TraceId").agg(duplicate_spans=pl.len() - pl.col("SpanId").n_unique())
    return spans.sort("TraceId", "Timestamp", "SpanId"), repeats


def stitch_keys(spans: pl.DataFrame) -> pl.DataFrame:
    """`TraceId, key`: traces that share a key may be one session; `stitched` decides. Who collects spans follows these.

    spans: `agent_spans`.
    """
    answers = spans.filter(pl.col("ResponseId") != "").select("TraceId", name="ResponseId").unique()
    return pl.concat(
        pairs.select("TraceId", key=pl.lit(f"{kind}:") + pl.col("name"))
        for kind, pairs in (
            ("session", _conversations(spans, Forest.of(spans))),
            ("team", _teams(spans)),
            ("trace", _links(spans)),
            ("trace", spans.select("TraceId", name="TraceId").unique()),
            ("answer", answers),
        )
    )


def stitched(spans: Spans, same_call: Iterable[tuple[int, int]] = ()) -> pl.DataFrame:
    """`TraceId, session_id`, one row a trace. Traces are one session when their outermost spans name the same one, when
    they belong to one AutoGen team, when one links to the other, or when two of their spans are one model call.

    A session is called what its spans call it, else by its team's id, else by its earliest trace.
    """
    conversations, teams = _conversations(spans.frame, spans.forest), _teams(spans.frame)
    groups = _Groups()
    for kind, pairs in (("session", conversations), ("team", teams)):
        for trace, name in pairs.filter(pl.col("name").is_duplicated()).iter_rows():
            groups.unite(f"trace:{trace}", f"{kind}:{name}")
    for trace, other in _links(spans.frame).iter_rows():
        groups.unite(f"trace:{trace}", f"trace:{other}")
    for one, two in same_call:
        groups.unite(f"trace:{spans.trace[one]}", f"trace:{spans.trace[two]}")
    traces = (
        spans.frame.group_by("TraceId")
        .agg(pl.col("Timestamp").min())
        .sort("Timestamp", "TraceId")
        .join(conversations.rename({"name": "session"}), on="TraceId", how="left", maintain_order="left")
        .join(teams.group_by("TraceId").agg(team=pl.col("name").min()), on="TraceId", how="left", maintain_order="left")
    )
    group = pl.Series("group", [groups.of(f"trace:{trace}") for trace in traces["TraceId"]], dtype=pl.String)
    first = [pl.col(name).drop_nulls().first().over("group") for name in ("session", "team", "TraceId")]
    return traces.with_columns(group).select("TraceId", session_id=pl.coalesce(first))


def _conversations(spans: pl.DataFrame, forest: Forest) -> pl.DataFrame:
    """`TraceId, name`: what the outermost span of a trace that names a session calls it. Inner ones may name another: a
    delegate's own conversation, the other side of a protocol."""
    return (
        spans.select("TraceId", "Timestamp", "SpanId", name="SessionId", depth=pl.Series(forest.depth))
        .filter(pl.col("name") != "")
        .sort("TraceId", "depth", "Timestamp", "SpanId")
        .group_by("TraceId", maintain_order=True)
        .agg(pl.col("name").first())
    )


def _teams(spans: pl.DataFrame) -> pl.DataFrame:
    """`TraceId, name`: ids of the AutoGen teams whose agents and topics appear in a trace."""
    mine = spans.filter(pl.col("Framework") == "autogen")
    mine = mine.select("TraceId", "AgentId", topic=hint(mine, "messaging.destination"))
    topic, agent = pl.col("topic").str.extract(rf"_({_UUID})\."), pl.col("AgentId").str.extract(rf"_({_UUID})/")
    return mine.select("TraceId", name=pl.coalesce(topic, agent)).drop_nulls().unique()


def _links(spans: pl.DataFrame) -> pl.DataFrame:
    """`TraceId, name`: a trace and one that it links to, for links that mean one piece of work."""
    count = pl.col("LinkTraceIds").list.len()
    typed = pl.when(pl.col("LinkTypes").list.len() == count).then("LinkTypes")
    links = (
        spans.select("TraceId", "Dialect", "Framework", "LinkTraceIds", "LinkTypes", single=count == 1)
        .filter(count > 0)
        .with_columns(LinkTypes=typed.otherwise(pl.col("LinkTraceIds").list.eval(pl.lit(""))))
        .explode("LinkTraceIds", "LinkTypes")
    )
    agentic = (pl.col("Dialect") != "") | (pl.col("Framework") != "")
    joining = pl.col("LinkTypes").is_in(_JOINING_LINKS) | ((pl.col("LinkTypes") == "") & (agentic | pl.col("single")))
    outside = (pl.col("LinkTraceIds") != pl.col("TraceId")) & (pl.col("LinkTraceIds") != "")
    return links.filter(joining & outside).select("TraceId", name="LinkTraceIds").unique()


class _Groups:
    """Union-find over names. A group is called by its smallest name, whatever the order of the unions."""

    def __init__(self) -> None:
        self._up: dict[str, str] = {}

    def of(self, name: str) -> str:
        top = name
        while (up := self._up.get(top, top)) != top:
            top = up
        while name != top:
            self._up[name], name = top, self._up.get(name, name)
        return top

    def unite(self, one: str, two: str) -> None:
        one, two = self.of(one), self.of(two)
        if one != two:
            self._up[max(one, two)] = min(one, two)


# -- how it ended ---------------------------------------------------------------------------------------------------


def outcomes(
    spans: Spans, calls: ModelCalls, runs: Runs, found: list[Mishap], failures: Mapping[int, tuple[str, str]],
    marked: Marks, session_of_trace: Mapping[str, str], events: pl.DataFrame | None,
) -> dict[str, str]:  # fmt: skip
    """Per session success, failure, partial, abandoned, cancelled or unknown. What was said outright counts first: on
    our own root span, or later in an event. Else an error after which nothing went on makes a failure, whatever the
    root says; a graph that stopped to ask somebody and was not resumed is partial."""
    outcome = dict.fromkeys(session_of_trace.values(), "unknown")
    acting = {*spans.trace[calls.rows], *spans.trace[[run.row for run in runs]]}
    outcome |= {session_of_trace[trace]: "success" for trace in acting}
    outcome |= dict.fromkeys(_waiting(spans, calls, marked, session_of_trace), "partial")
    cancelled = {number for number, (status, _) in failures.items() if status == "cancelled"}
    if cancelled:
        ended = {session_of_trace[spans.trace[run.row]] for run in runs if run.number not in cancelled}
        stopped = {session_of_trace[spans.trace[run.row]] for run in runs if run.number in cancelled}
        outcome |= dict.fromkeys(stopped - ended, "cancelled")
    outcome |= {session_of_trace[spans.trace[mishap.row]]: "failure" for mishap in found if not mishap.recovered}
    return outcome | _told_outcomes(spans, session_of_trace, events)


def _waiting(spans: Spans, calls: ModelCalls, marked: Marks, session_of_trace: Mapping[str, str]) -> list[str]:
    """Sessions in which nothing was begun after a graph had stopped to ask."""
    stopped: dict[str, int] = {}
    for row in np.flatnonzero(marked.interrupted).tolist():
        session = session_of_trace[spans.trace[row]]
        stopped[session] = max(stopped.get(session, 0), int(spans.end[row]))
    if not stopped:
        return []
    begun: dict[str, int] = defaultdict(int)
    for row in np.flatnonzero(spans.mask(calls.rows) | spans.of_kind("tool", "handoff")).tolist():
        session = session_of_trace[spans.trace[row]]
        begun[session] = max(begun[session], int(spans.start[row]))
    return [session for session, at in stopped.items() if begun[session] <= at]


def _told_outcomes(spans: Spans, session_of_trace: Mapping[str, str], events: pl.DataFrame | None) -> dict[str, str]:
    own_roots = (pl.col("ParentSpanId") == "") & (pl.col("Dialect") == "mas") & (pl.col("TaskOutcome") != "")
    roots = spans.frame.filter(own_roots).sort("Timestamp", "SpanId").select("TraceId", "TaskOutcome")
    told = {session_of_trace[trace]: outcome for trace, outcome in roots.iter_rows()}
    if events is None or not {"TaskOutcome", "TraceId", "SessionId", "Timestamp"} <= set(events.columns):
        return told
    columns = [pl.col(name).cast(pl.String) for name in ("TaskOutcome", "TraceId", "SessionId")]
    late = events.select("Timestamp", *columns).filter(pl.col("TaskOutcome") != "").sort("Timestamp", "TaskOutcome")
    sessions = set(session_of_trace.values())
    of = [session_of_trace.get(trace, session) for trace, session in late.select("TraceId", "SessionId").iter_rows()]
    return told | {
        session: outcome for session, outcome in zip(of, late["TaskOutcome"], strict=True) if session in sessions
    }
