"""A question: what is read for it, what is computed from that, and what shows that one row of the answer is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import polars as pl
from maslens.analytics.questions import Value
from maslens.analytics.reads import Filters, Read

Row = Mapping[str, Any]


class Ask(Protocol):
    """Answers reads, one frame each; several at once where the store can."""

    def __call__(self, *reads: Read) -> list[pl.DataFrame]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    filters: Filters = field(default_factory=Filters)
    options: Mapping[str, Value] = field(default_factory=dict)  # checked, defaults filled in

    def whole(self) -> Asked:
        """Without limit and offset."""
        return replace(self, filters=replace(self.filters, limit=None, offset=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Something that a row rests on."""

    title: str
    rows: pl.DataFrame


Explain = Callable[[Row, Ask, Asked], Sequence[Evidence]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """`read` if the engine answers it in one statement (limit and offset included), else `compute`, from whatever it
    asks for; limit and offset are then applied to what it returns.

    schema: the columns of the answer, for GraphQL; shown: those that a table has room for; order: how people read a
    page of it, where the list begins with the newest; definition: how a row comes about, in a sentence or two for
    whoever asks to have one explained.
    """

    name: str
    title: str
    definition: str
    schema: Mapping[str, Any]
    explain: Explain
    shown: Sequence[str] = ()
    order: str = ""
    read: Callable[[Asked], Read] | None = None
    compute: Callable[[Ask, Asked], pl.DataFrame] | None = None

    def answer(self, ask: Ask, asked: Asked) -> pl.DataFrame:
        if self.read is not None:
            return ask(self.read(asked))[0]
        assert self.compute is not None
        return self.compute(ask, asked.whole()).slice(asked.filters.offset, asked.filters.limit)

    def explained(self, row: Row, ask: Ask, asked: Asked) -> list[dict[str, Any]]:
        """The row, its definition and its evidence as flat objects, each saying in `part` what it is."""
        found: list[dict[str, Any]] = [{"part": "row", **row}, {"part": "definition", "text": self.definition}]
        for evidence in self.explain(row, ask, asked.whole()):
            found += [{"part": evidence.title, **each} for each in plain(evidence.rows).to_dicts()]
        return found


def plain(frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` as JSON can have it: times as RFC 3339 text in UTC with nine digits, no dictionaries, no NaN."""
    columns = []
    for name, dtype in frame.schema.items():
        if isinstance(dtype, pl.Datetime):
            at = pl.col(name).cast(pl.Datetime("ns", dtype.time_zone))
            columns.append(at.dt.strftime("%Y-%m-%dT%H:%M:%S%.9fZ"))
        elif isinstance(dtype, (pl.Float64, pl.Float32)):
            columns.append(pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name))
        elif isinstance(dtype, (pl.Categorical, pl.Enum)):
            columns.append(pl.col(name).cast(pl.String))
        elif dtype == pl.List(pl.Categorical):
            columns.append(pl.col(name).cast(pl.List(pl.String)))
        else:
            columns.append(pl.col(name))
    return frame.select(columns)
