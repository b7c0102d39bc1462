"""Spans of running sessions in memory, so that a session's next span does not cost reading all its earlier ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import polars as pl
from maslens.analytics import frames


class SpanCache:
    """Whole traces: of a trace that is here, every span up to the last one read is here."""

    def __init__(self, *, keep_spans: int) -> None:
        self._keep = keep_spans
        self._spans = frames.empty(frames.AGENT_SPANS)
        self._spans_of: dict[str, int] = {}  # in the order of last use

    def __contains__(self, trace: str) -> bool:
        return trace in self._spans_of

    def __len__(self) -> int:
        return self._spans.height

    @property
    def bytes(self) -> int:
        return int(self._spans.estimated_size())

    def get(self, traces: Collection[str]) -> pl.DataFrame:
        return self._spans.filter(pl.col("TraceId").is_in(list(traces)))

    def add(self, spans: pl.DataFrame, traces: Iterable[str]) -> None:
        """`spans` are more of, or all of, `traces`."""
        self._spans = pl.concat([self._spans, spans])
        for trace in traces:
            self._spans_of[trace] = self._spans_of.pop(trace, 0)
        for trace, count in spans.group_by("TraceId").len().iter_rows():
            self._spans_of[trace] = self._spans_of.get(trace, 0) + count

    def drop(self, traces: Collection[str]) -> None:
        if any(trace in self._spans_of for trace in traces):
            self._spans = self._spans.filter(~pl.col("TraceId").is_in(list(traces))).rechunk()
            for trace in traces:
                self._spans_of.pop(trace, None)

    def count(self, traces: Collection[str]) -> int:
        return sum(self._spans_of.get(trace, 0) for trace in traces)

    def shrink(self, but: Collection[str] = ()) -> Collection[str]:
        """Forget what was touched longest ago, `but` these traces, once spans are too many; return who is left."""
        total = self._spans.height
        if total > self._keep:
            forgotten = []
            for trace, count in self._spans_of.items():
                if total <= self._keep * 0.9:
                    break
                if trace in but:
                    continue
                forgotten.append(trace)
                total -= count
            self.drop(forgotten)
        return self._spans_of.keys()
