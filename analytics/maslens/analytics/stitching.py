"""Which stored traces belong together: an index of the keys that traces share, in memory for what is recent.

Keys come from `sessions.stitch_keys` (`session:…`, `team:…`, `trace:…`, `answer:…`). Two more remember what came of
them: `member:<session>` lists the traces a session was last made of, `of:<trace>` the sessions a trace was in (and, by
being there, that the trace is known). `answer:` keys, one per model call, find a call that two libraries traced at the
same time: they are kept in memory only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from typing import TypeAlias

import polars as pl
import pyarrow as pa
from maslens.storage import Store


class StitchIndex:
    """key → values. What memory has forgotten is read from `stitch_keys`."""

    def __init__(self, store: Store, *, keep: int = 150_000) -> None:
        self._store = store
        self._keep = keep
        self._known: dict[str, _Values] = {}  # in the order of last use
        self._unsaved: dict[str, set[str]] = {}

    def find(self, keys: Collection[str]) -> dict[str, frozenset[str]]:
        """The values of every key; a key nobody has is empty."""
        unknown = [key for key in keys if key not in self._known]
        stored = self._stored([key for key in unknown if not key.startswith("answer:")])
        for key in unknown:
            self._known[key] = _packed(stored.get(key, _NONE))
        found = {}
        for key in keys:
            known = self._known[key] = self._known.pop(key)
            found[key] = _unpacked(known)
        return found

    def add(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Remember `(key, value)`; written with the next `save`. Keys must have been looked up before."""
        for key, value in pairs:
            known = _unpacked(self._known.get(key, _NONE))
            if value not in known:
                self._known[key] = _packed(known | {value})
                if not key.startswith("answer:"):
                    self._unsaved.setdefault(key, set()).add(value)

    def save(self, *, token: str) -> None:
        """Write what was added. Before the facts are: a trace that has facts must be known to be in a session."""
        pairs = [(key, value) for key, values in self._unsaved.items() for value in sorted(values)]
        if pairs:
            keys, values = zip(*pairs, strict=True)
            self._store.insert_arrow(
                "stitch_keys", pa.table({"key": pa.array(keys), "trace_id": pa.array(values)}), token=token
            )
            self._unsaved.clear()
        for key in list(islice(self._known, max(0, len(self._known) - self._keep))):
            del self._known[key]

    def _stored(self, keys: list[str]) -> Mapping[str, frozenset[str]]:
        found: dict[str, set[str]] = {}
        for start in range(0, len(keys), _AT_ONCE):
            table = self._store.arrow(
                "SELECT DISTINCT key, trace_id FROM stitch_keys WHERE key IN {keys:Array(String)}",
                {"keys": keys[start : start + _AT_ONCE]},
            )
            for key, value in zip(table["key"].to_pylist(), table["trace_id"].to_pylist(), strict=True):
                found.setdefault(key, set()).add(value)
        return {key: frozenset(values) for key, values in found.items()}


_AT_ONCE = 2_000
_NONE: frozenset[str] = frozenset()
_Values: TypeAlias = "str | frozenset[str]"  # nearly every key has one value, and a set of one is five times its size


def _packed(values: frozenset[str]) -> _Values:
    return next(iter(values)) if len(values) == 1 else values


def _unpacked(values: _Values) -> frozenset[str]:
    return frozenset((values,)) if isinstance(values, str) else values


def unfinished(spans: pl.DataFrame) -> set[str]:
    """Traces in which a span waits for its parent: it ends later, or was lost."""
    ids = spans.select("TraceId", pl.col("SpanId").alias("ParentSpanId"))
    waiting = spans.filter(pl.col("ParentSpanId") != "").join(ids, on=["TraceId", "ParentSpanId"], how="anti")
    return set(waiting.get_column("TraceId"))
