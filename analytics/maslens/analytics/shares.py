"""What each session has added to the totals so far: in memory for sessions at hand, in the ledger for all."""

from __future__ import annotations

from collections.abc import Collection

import polars as pl
from maslens.analytics.ledger import CONTRIBUTIONS, Ledger


class Shares:
    """`session_id, series, value` of sessions at hand."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._rows = pl.DataFrame(schema=CONTRIBUTIONS)
        self._sessions: set[str] = set()

    def of(self, concerned: Collection[str], known: Collection[str]) -> pl.DataFrame:
        """What `concerned` have added, of which only those `known` can have."""
        here = self._rows.filter(pl.col("session_id").is_in(list(concerned)))
        strange = [session for session in known if session not in self._sessions]
        return pl.concat([here, self._ledger.contributions(strange)]) if strange else here

    def put(self, concerned: Collection[str], rows: pl.DataFrame) -> None:
        """`rows` were committed for `concerned`."""
        others = self._rows.filter(~pl.col("session_id").is_in(list(concerned)))
        self._rows = pl.concat([others, rows])
        self._sessions.update(concerned)

    def let_go(self, sessions: Collection[str]) -> None:
        gone = self._sessions.intersection(sessions)
        if gone:
            self._rows = self._rows.filter(~pl.col("session_id").is_in(list(gone))).rechunk()
            self._sessions -= gone
