"""Answers to reads, as bytes in the format asked for or as frames.

The same question asked again is answered from memory: an answer is good for a second (longer if it took long to find),
and for a minute while no new facts were committed.
"""

from __future__ import annotations

import builtins
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, cast

import polars as pl
from maslens.analytics.reads import Read
from maslens.storage import Store

T = TypeVar("T")
Format = Literal["json", "csv"]
_ENGINE_FORMAT: Mapping[Format, str] = {"json": "JSONEachRow", "csv": "CSVWithNames"}
# How ClickHouse writes what the API promises: one array of flat objects, whole numbers as numbers, times in ISO 8601.
_SETTINGS: Mapping[str, object] = {
    "output_format_json_array_of_rows": 1,
    "output_format_json_quote_64bit_integers": 0,
    "output_format_json_escape_forward_slashes": 0,
    "date_time_output_format": "iso",
}
_CATEGORIES: Mapping[str, object] = {"output_format_arrow_low_cardinality_as_dictionary": 1}


@dataclass(slots=True)
class _Answer:
    value: Any = None
    revision: int = -1
    at: float = float("-inf")
    took: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Reader:
    """Thread-safe. `revision` changes whenever facts were committed; where nobody says, nothing is remembered."""

    def __init__(
        self,
        store: Store,
        *,
        revision: Callable[[], int] | None = None,
        fresh_s: float = 1.0,
        keep_s: float = 60.0,
        answers: int = 256,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self._revision = revision
        self._fresh_s, self._keep_s, self._most = fresh_s, keep_s, answers
        self._clock = clock
        self._answers: OrderedDict[Hashable, _Answer] = OrderedDict()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(max_workers=3, thread_name_prefix="maslens-reads")

    def each(self, questions: Mapping[T, Read]) -> dict[T, builtins.bytes]:
        """Several answers at once, as JSON."""
        return dict(zip(questions, self._pool.map(self.bytes, questions.values()), strict=True))

    def bytes(self, read: Read, form: Format = "json") -> builtins.bytes:
        def ask() -> builtins.bytes:
            return self.store.query_raw(read.sql, fmt=_ENGINE_FORMAT[form], params=read.params, settings=_SETTINGS)

        return self.remembered((form, read.sql, _key(read.params)), ask)

    def frame(self, read: Read) -> pl.DataFrame:
        return cast(pl.DataFrame, pl.from_arrow(self.store.arrow(read.sql, read.params)))

    def frames(self, *questions: Read) -> list[pl.DataFrame]:
        """Several at once."""
        return list(self._pool.map(self.frame, questions))

    def categories(self, *questions: Read) -> list[pl.DataFrame]:
        """The same, with names that repeat as categories: cheaper for many rows."""
        return list(self._pool.map(self._with_categories, questions))

    def _with_categories(self, read: Read) -> pl.DataFrame:
        return cast(pl.DataFrame, pl.from_arrow(self.store.arrow(read.sql, read.params, _CATEGORIES)))

    def rows(self, read: Read) -> list[dict[str, Any]]:
        return self.remembered(("rows", read.sql, _key(read.params)), lambda: self.store.rows(read.sql, read.params))

    def remembered(self, key: Hashable, ask: Callable[[], T]) -> T:
        """What `ask` answers; asked by one thread at a time, the others take its answer."""
        if self._revision is None:
            return ask()
        with self._lock:
            self._forget(self._clock() - self._keep_s)
            answer = self._answers.setdefault(key, _Answer())
            self._answers.move_to_end(key)
            while len(self._answers) > self._most:
                self._answers.popitem(last=False)
        with answer.lock:
            now, revision = self._clock(), self._revision()
            age = now - answer.at
            fresh = max(self._fresh_s, _REST * answer.took)
            if age > self._keep_s or (age > fresh and revision != answer.revision):
                answer.value, answer.at, answer.revision = ask(), now, revision
                answer.took = self._clock() - now
            return cast(T, answer.value)

    def _forget(self, before: float) -> None:
        """Answers that nobody asked for since they grew too old to be given."""
        while self._answers and float("-inf") < next(iter(self._answers.values())).at < before:
            self._answers.popitem(last=False)


_REST = 10  # whoever polls an expensive answer gets a tenth of the machine at most


def _key(params: Mapping[str, object]) -> Hashable:
    return tuple(sorted((name, str(value)) for name, value in params.items()))
