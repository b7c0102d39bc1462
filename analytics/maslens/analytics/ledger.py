"""What the sidecar knows between two runs, in one table so that one insert changes all of it or nothing.

`state` rows: the position, and per session whether it came to rest; `contribution` rows: what a session has added to
each series; `total` rows: the running totals. A crash before a commit leaves the old position with the old totals: the
same spans are read again and give the same.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast
from uuid import uuid4

import polars as pl
import pyarrow as pa
from maslens.analytics.feed import Position
from maslens.storage import Store

CONTRIBUTIONS: dict[str, Any] = {"session_id": pl.String, "series": pl.String, "value": pl.Float64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One commit. `before` and `after`: contributions of the sessions it is about; `final` of those: whether they rest.

    waiting: traces that still have to be looked at although the position has passed them (None: as before).
    """

    position: Position
    totals: Mapping[str, tuple[float, float]]
    before: pl.DataFrame
    after: pl.DataFrame
    final: Mapping[str, bool]
    gone: Collection[str] = ()
    waiting: Collection[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where the last run stopped."""

    version: int = 0
    position: Position = field(default_factory=Position)
    totals: tuple[tuple[str, float, float], ...] = ()
    restless: frozenset[str] = frozenset()  # sessions that had not come to rest
    waiting: frozenset[str] = frozenset()


class Ledger:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._name = uuid4().hex  # a token is for the very same bytes: whoever starts anew makes new ones

    def start(self) -> Start:
        version = self._store.rows("SELECT max(version) AS version FROM sidecar_ledger")[0]["version"]
        state = {row["key"]: json.loads(row["text"]) for row in self._rows("kind = 'state' AND session_id = ''")}
        restless = self._rows("kind = 'state' AND key = 'session' AND session_id != '' AND net = 0")
        return Start(
            version=int(version),
            position=Position(**state.get("position", {})),
            totals=tuple((row["key"], row["net"], row["shown"]) for row in self._rows("kind = 'total'")),
            restless=frozenset(row["session_id"] for row in restless),
            waiting=frozenset(state.get("waiting", ())),
        )

    def contributions(self, sessions: Collection[str]) -> pl.DataFrame:
        """`session_id, series, value` as committed."""
        if not sessions:
            return pl.DataFrame(schema=CONTRIBUTIONS)
        found = self._store.arrow(
            "SELECT session_id, key AS series, net AS value FROM sidecar_ledger FINAL"
            " WHERE kind = 'contribution' AND session_id IN {sessions:Array(String)}",
            {"sessions": list(sessions)},
        )
        return cast(pl.DataFrame, pl.from_arrow(found)).cast(cast(Any, CONTRIBUTIONS))

    def final(self, sessions: Collection[str]) -> set[str]:
        """Those of `sessions` that had come to rest."""
        if not sessions:
            return set()
        found = self._store.arrow(
            "SELECT session_id FROM sidecar_ledger FINAL"
            " WHERE kind = 'state' AND key = 'session' AND net = 1 AND session_id IN {sessions:Array(String)}",
            {"sessions": list(sessions)},
        )
        return set(found["session_id"].to_pylist())

    def commit(self, entry: Entry, *, version: int) -> None:
        rows = [
            _rows(
                "state",
                text=[json.dumps(asdict(entry.position))],
                key=["position"],
            ),
            _rows(
                "total",
                key=list(entry.totals),
                net=[net for net, _ in entry.totals.values()],
                shown=[shown for _, shown in entry.totals.values()],
            ),
            _rows(
                "state",
                key=["session"] * len(entry.final),
                session_id=list(entry.final),
                net=[float(final) for final in entry.final.values()],
            ),
            _rows("state", key=["session"] * len(entry.gone), session_id=list(entry.gone), is_deleted=1),
            *_changes(entry.before, entry.after),
        ]
        if entry.waiting is not None:
            rows.append(_rows("state", key=["waiting"], text=[json.dumps(sorted(entry.waiting))]))
        table = pl.concat([part for part in rows if part.height]).with_columns(
            pl.lit(version, dtype=pl.UInt64).alias("version")
        )
        self._store.insert_arrow("sidecar_ledger", _arrow(table), token=f"{self._name}:{version}")

    def _rows(self, where: str) -> list[dict[str, Any]]:
        return self._store.rows(f"SELECT session_id, key, text, net, shown FROM sidecar_ledger FINAL WHERE {where}")


def _changes(before: pl.DataFrame, after: pl.DataFrame) -> list[pl.DataFrame]:
    key = ["session_id", "series"]
    changed = after.join(before, on=[*key, "value"], how="anti")
    gone = before.join(after, on=key, how="anti")
    return [
        _rows("contribution", key=changed["series"], session_id=changed["session_id"], net=changed["value"]),
        _rows("contribution", key=gone["series"], session_id=gone["session_id"], is_deleted=1),
    ]


def _rows(
    kind: str,
    *,
    key: list[str] | pl.Series,
    session_id: list[str] | pl.Series | None = None,
    text: list[str] | None = None,
    net: list[float] | pl.Series | None = None,
    shown: list[float] | None = None,
    is_deleted: int = 0,
) -> pl.DataFrame:
    n = len(key)
    return pl.DataFrame(
        {
            "kind": [kind] * n,
            "session_id": [""] * n if session_id is None else session_id,
            "key": key,
            "text": [""] * n if text is None else text,
            "net": [0.0] * n if net is None else net,
            "shown": [0.0] * n if shown is None else shown,
            "is_deleted": [is_deleted] * n,
        },
        schema={
            **dict.fromkeys(("kind", "session_id", "key", "text"), pl.String),
            **dict.fromkeys(("net", "shown"), pl.Float64),
            "is_deleted": pl.UInt8,
        },
    )


def _arrow(rows: pl.DataFrame) -> pa.Table:
    """In one piece: several would not be inserted as one."""
    return rows.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
