"""Which traces are one session, and how a session ended."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import polars as pl

from .forest import Forest
from .frames import hint

_UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
# Links that mean "the same piece of work goes on"; an untyped link does only from a span that has just this one.
_JOINING_LINKS: Final = ("handoff", "agent_handoff", "join", "retry", "triggered_by")


def without_repeats(spans: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Spans sorted by trace and start, each once; and per trace how many repeats were dropped.

    Of two spans with one id the longer one is kept: an emitter that sends a span early sends it again when it ends.
    """
    ordered = spans.sort("TraceId", "SpanId", "Duration", "DroppedAttributes", "StatusCode", "SpanName",
                         descending=[False, False, True, False, False, False], maintain_order=True)  # fmt: skip
    once = ordered.unique(["TraceId", "SpanId"], keep="first", maintain_order=True)
    repeats = (
        ordered.group_by("TraceId").len("all").join(once.group_by("TraceId").len("kept"), on="TraceId")
        .select("TraceId", duplicate_spans=pl.col("all") - pl.col("kept"))
    )  # fmt: skip
    return once.sort("TraceId", "Timestamp", "SpanId", maintain_order=True), repeats


def stitch_keys(spans: pl.DataFrame) -> pl.DataFrame:
    """`TraceId, key`: traces that share a key may be one session. Whoever collects the spans of a session follows these.

    spans: `agent_spans`.
    """
    return pl.concat([
        _conversations(spans, Forest.of(spans)).select("TraceId", key=pl.lit("session:") + pl.col("name")),
        _teams(spans).select("TraceId", key=pl.lit("team:") + pl.col("name")),
        _links(spans).select("TraceId", key=pl.lit("trace:") + pl.col("name")),
        spans.filter(pl.col("ResponseId") != "").select("TraceId", key=pl.lit("answer:") + pl.col("ResponseId")).unique(),
        spans.select("TraceId", key=pl.lit("trace:") + pl.col("TraceId")).unique(),
    ])  # fmt: skip


def stitched(spans: pl.DataFrame, forest: Forest, same_call: Iterable[tuple[int, int]] = ()) -> pl.DataFrame:
    """`TraceId, session_id, team`, one row a trace. Traces are one session when the outermost spans name the same
    session, when they belong to one AutoGen team, when one links to the other, or when two of their spans are one model
    call (`same_call`, rows of spans).

    A session is called as its spans call it, else by its team's id, else by its earliest trace.
    """
    conversations, teams = _conversations(spans, forest), _teams(spans)
    joined = _Groups()
    for source in (
        conversations.select("TraceId", "name"),
        teams.select("TraceId", pl.lit("\0team:") + pl.col("name")),
    ):
        for trace, name in source.iter_rows():
            joined.unite(trace, f"\0{name}")
    for trace, other in _links(spans).iter_rows():
        joined.unite(trace, other)
    trace_of = spans["TraceId"]
    for one, two in same_call:
        joined.unite(trace_of[one], trace_of[two])
    traces = (
        spans.group_by("TraceId").agg(pl.col("Timestamp").min())
        .join(conversations.rename({"name": "conversation"}), on="TraceId", how="left")
        .join(teams.group_by("TraceId").agg(team=pl.col("name").min()), on="TraceId", how="left")
        .with_columns(group=pl.col("TraceId").map_elements(joined.of, return_dtype=pl.String))
        .sort("Timestamp", "TraceId")
    )  # fmt: skip
    first = {name: pl.col(name).drop_nulls().first().over("group") for name in ("conversation", "team")}
    return traces.select(
        "TraceId",
        session_id=pl.coalesce(first["conversation"], first["team"], pl.col("TraceId").first().over("group")),
        team=pl.col("team").fill_null(""),
    )


def _conversations(spans: pl.DataFrame, forest: Forest) -> pl.DataFrame:
    """`TraceId, name`: what the outermost span of a trace that names a session calls it. Inner ones may name another:
    a delegate's own conversation, the other side of a protocol."""
    return (
        spans.select("TraceId", "Timestamp", "SpanId", name="SessionId", depth=pl.Series(forest.depth))
        .filter(pl.col("name") != "")
        .sort("TraceId", "depth", "Timestamp", "SpanId")
        .group_by("TraceId", maintain_order=True).agg(pl.col("name").first())
    )  # fmt: skip


def _teams(spans: pl.DataFrame) -> pl.DataFrame:
    """`TraceId, name`: the ids of the AutoGen teams whose agents and topics appear in a trace."""
    hints = hint(spans, "messaging.destination")
    return (
        spans.select("TraceId", "Framework", "AgentId", destination=hints)
        .filter(pl.col("Framework") == "autogen")
        .select("TraceId", name=pl.coalesce(
            pl.col("destination").str.extract(rf"_({_UUID})\."), pl.col("AgentId").str.extract(rf"_({_UUID})/")))
        .drop_nulls().unique()
    )  # fmt: skip


def _links(spans: pl.DataFrame) -> pl.DataFrame:
    """`TraceId, name`: trace and linked trace, for links that mean one piece of work."""
    links = (
        spans.select("TraceId", "Dialect", "Framework", "LinkTraceIds", "LinkTypes", single=pl.col("LinkTraceIds").list.len() == 1)
        .filter(pl.col("LinkTraceIds").list.len() > 0)
        .with_columns(LinkTypes=pl.when(pl.col("LinkTypes").list.len() == pl.col("LinkTraceIds").list.len())
                      .then("LinkTypes").otherwise(pl.col("LinkTraceIds").list.eval(pl.lit(""))))
        .explode("LinkTraceIds", "LinkTypes")
    )  # fmt: skip
    untyped = (pl.col("LinkTypes") == "") & ((pl.col("Dialect") != "") | (pl.col("Framework") != "") | pl.col("single"))
    return (
        links.filter(pl.col("LinkTypes").is_in(_JOINING_LINKS) | untyped)
        .filter((pl.col("LinkTraceIds") != pl.col("TraceId")) & (pl.col("LinkTraceIds") != ""))
        .select("TraceId", name="LinkTraceIds").unique()
    )  # fmt: skip


class _Groups:
    """Union-find over names."""

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
