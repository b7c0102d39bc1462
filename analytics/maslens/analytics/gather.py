"""From new spans to whole sessions: the traces they are of, every trace those are stitched to, and all their spans."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import networkx as nx
import polars as pl
from maslens.analytics.feed import (
    News,
    events_of,
    some_events_name_only_sessions,
    spans_of,
    traces_in,
    with_log_contents,
)
from maslens.analytics.sessions import stitch_keys
from maslens.analytics.span_cache import SpanCache
from maslens.analytics.stitching import StitchIndex
from maslens.storage import Store


class Gatherer:
    """Keeps the spans of running sessions at hand and reads the others back."""

    def __init__(self, store: Store, *, keep_spans: int) -> None:
        self.index = StitchIndex(store)
        self.cache = SpanCache(keep_spans=keep_spans)
        self._store = store
        self._eventful: set[str] = set()  # traces at hand that have events
        self._told: set[str] = set()  # traces at hand of whose spans log records tell contents
        self._some_told = False  # whether contents have come as log records at all
        self._session_events: bool | None = None  # whether there are events that name no trace

    def groups(self, news: News, touched: Collection[str], *, waiting: Collection[str]) -> list[set[str]]:
        """`touched` and every trace that may be of the same session, in groups that share none.

        waiting: traces that were read before although no session is known for them.
        """
        self._take_in(news, touched, waiting)
        joined: Any = nx.utils.UnionFind()
        united: set[str] = set()
        first: dict[str, str] = {}  # key → the first trace that has it
        seen: set[str] = set()
        frontier = set(touched)
        while frontier:
            self._read_back(sorted(trace for trace in frontier if trace not in self.cache), upto=news.upto.spans)
            seen |= frontier
            related: set[str] = set()
            for trace, key, others in self._related(frontier):
                together = others | {trace, first.setdefault(key, trace)}
                if len(together) > 1:
                    joined.union(*together)
                    united |= together
                related |= others
            frontier = related - seen
        groups = [group for each in joined.to_sets() if (group := each & seen)]
        return groups + [{trace} for trace in seen - united]

    def sessions_of(self, traces: Iterable[str]) -> dict[str, frozenset[str]]:
        """The sessions each trace was last seen in."""
        of = {trace: f"of:{trace}" for trace in traces}
        found = self.index.find(of.values())
        return {trace: found[key] - {""} for trace, key in of.items()}

    def traces_of(self, sessions: Iterable[str]) -> dict[str, frozenset[str]]:
        """The traces each session was last made of."""
        members = {session: f"member:{session}" for session in sessions}
        found = self.index.find(members.values())
        return {session: found[key] for session, key in members.items()}

    def spans(self, traces: Collection[str]) -> pl.DataFrame:
        """The spans of `traces`, with the contents that came as log records."""
        return with_log_contents(self._store, self.cache.get(traces), sorted(self._told.intersection(traces)))

    def events(self, traces: Collection[str], spans: pl.DataFrame) -> pl.DataFrame | None:
        """The events of the sessions that `traces` make up, if there are any."""
        eventful = sorted(self._eventful.intersection(traces))
        if self._session_events is None:
            self._session_events = some_events_name_only_sessions(self._store)
        sessions: set[str] = set()
        if self._session_events:
            sessions = {*spans.get_column("SessionId").unique(), *traces} - {""}
        return events_of(self._store, eventful, sorted(sessions)) if eventful or sessions else None

    def traces_of_events(self, news: News) -> frozenset[str]:
        """The traces that new events and contents are about."""
        named = news.event_traces | news.content_traces
        if not news.event_sessions:
            return named
        self._session_events = True
        keys = [f"{kind}:{session}" for session in news.event_sessions for kind in ("session", "member")]
        return named.union(*self.index.find(keys).values())

    def belong(self, pairs: Iterable[tuple[str, str]], traces: Collection[str], *, token: str) -> None:
        """Remember which traces make up which session. Written before facts are: who has facts must be known."""
        owned = set()
        for session, trace in pairs:
            owned.add(trace)
            self.index.add([(f"member:{session}", trace), (f"of:{trace}", session)])
        self.index.add((f"of:{trace}", "") for trace in traces if trace not in owned)
        self.index.save(token=token)

    def chunks(self, groups: Iterable[set[str]], *, spans: int) -> Iterator[set[str]]:
        """Groups put together until they have about so many spans."""
        chunk: set[str] = set()
        size = 0
        for group in groups:
            more = self.cache.count(group)
            if chunk and size + more > spans:
                yield chunk
                chunk, size = set(), 0
            chunk |= group
            size += more
        if chunk:
            yield chunk

    def let_go(self, traces: Iterable[str]) -> None:
        self.cache.drop(set(traces))

    def shrink(self, but: Collection[str] = ()) -> None:
        """but: traces that stay at hand."""
        at_hand = set(self.cache.shrink(but))
        self._eventful &= at_hand
        self._told &= at_hand

    def _take_in(self, news: News, touched: Collection[str], waiting: Collection[str]) -> None:
        """New traces come whole with the news, those at hand get longer, others are read back."""
        known = self.index.find([f"of:{trace}" for trace in touched])
        strange = [trace for trace in touched if trace not in self.cache]
        cold = sorted(trace for trace in strange if known[f"of:{trace}"] or trace in waiting)
        self.cache.add(news.spans.filter(~pl.col("TraceId").is_in(cold)), set(touched).difference(cold))
        self._some_told = news.upto.contents > 0
        self._read_back(cold, upto=news.upto.spans)
        self._eventful |= news.event_traces
        self._told |= news.content_traces

    def _read_back(self, traces: list[str], *, upto: int) -> None:
        for start in range(0, len(traces), _AT_ONCE):
            batch = traces[start : start + _AT_ONCE]
            self.cache.add(spans_of(self._store, batch, upto=upto), batch)
            self._eventful |= traces_in(self._store, "agent_events", batch)
            if self._some_told:
                self._told |= traces_in(self._store, "log_contents", batch)

    def _related(self, traces: Collection[str]) -> Iterator[tuple[str, str, frozenset[str]]]:
        """`(trace, key, traces that have it too)`."""
        pairs = list(stitch_keys(self.cache.get(traces).unique(["TraceId", "SpanId"])).iter_rows())
        for trace, sessions in self.sessions_of(traces).items():
            pairs.append((trace, f"trace:{trace}"))
            pairs.extend((trace, f"member:{session}") for session in sessions)
        found = self.index.find({key for _, key in pairs})
        self.index.add((key, trace) for trace, key in pairs if not key.startswith("member:"))
        for trace, key in pairs:
            linked = {key.removeprefix("trace:")} if key.startswith("trace:") else frozenset[str]()
            yield trace, key, found[key] | linked


_AT_ONCE = 500
