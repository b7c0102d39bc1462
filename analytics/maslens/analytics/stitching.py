"""Which stored traces belong together: an index of the keys that traces share, in memory for what is recent.

Keys come from `sessions.stitch_keys` (`session:…`, `team:…`, `trace:…`, `answer:…`). Two more remember what came of
them: `member:<session>` lists the traces a session was last made of, `of:<trace>` the sessions a trace was in (and, by
being there, that the trace is known). `answer:` keys, one per model call, find a call that two libraries traced at the
same time: they are kept in memory only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping

import polars as pl
import pyarrow as pa
from maslens.storage import Store


class StitchIndex:
    """key → values. What memory has forgotten is read from `stitch_keys`."""

    def __init__(self, store: Store, *, keep: int = 300_000) -> None:
        self._store = store
        self._keep = keep
        self._known: OrderedDict[str, frozenset[str]] = OrderedDict()
        self._unsaved: dict[str, set[str]] = {}

    def find(self, keys: Collection[str]) -> dict[str, frozenset[str]]:
        """The values of every key; a key nobody has is empty."""
        unknown = [key for key in keys if key not in self._known]
        stored = self._stored([key for key in unknown if not key.startswith("answer:")])
        for key in unknown:
            self._known[key] = stored.get(key, frozenset())
        found = {}
        for key in keys:
            self._known.move_to_end(key)
            found[key] = self._known[key]
        return found

    def add(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Remember `(key, value)`; written with the next `save`. Keys must have been looked up before."""
        for key, value in pairs:
            known = self._known.get(key, frozenset())
            if value not in known:
                self._known[key] = known | {value}
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
        while len(self._known) > self._keep:
            self._known.popitem(last=False)

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


def unfinished(spans: pl.DataFrame) -> set[str]:
    """Traces in which a span waits for its parent: it ends later, or was lost."""
    ids = spans.select("TraceId", pl.col("SpanId").alias("ParentSpanId"))
    waiting = spans.filter(pl.col("ParentSpanId") != "").join(ids, on=["TraceId", "ParentSpanId"], how="anti")
    return set(waiting.get_column("TraceId"))
