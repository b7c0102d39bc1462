"""Pages of lists that begin with the newest: the next page begins after the last row of this one, whatever came since.

A cursor is where a page ended: the values that the list is sorted by, of its last row. Rows are told apart by them, so
none is shown twice or left out because others arrived in between, as counting rows (`offset`) would have it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Newest first by `time`, then by what tells rows of one moment apart: names and types of columns."""

    time: str
    then: Mapping[str, str]

    @property
    def sql(self) -> str:
        return ", ".join((f"{self.time} DESC", *self.then))

    def after(self, cursor: str) -> tuple[str, dict[str, object]]:
        """A test for the rows that come after the one that `cursor` is of; ValueError if it is none of this list."""
        at, *rest = self._read(cursor)
        params: dict[str, object] = {"after_at": at}
        for name, value in zip(self.then, rest, strict=True):
            params[f"after_{name}"] = value
        known = ", ".join(f"{{after_{name}:{kind}}}" for name, kind in self.then.items())
        same = f"({', '.join(self.then)}) > ({known})" if len(self.then) > 1 else f"{next(iter(self.then))} > {known}"
        moment = "fromUnixTimestamp64Nano({after_at:Int64}, 'UTC')"
        return f"({self.time} < {moment} OR ({self.time} = {moment} AND {same}))", params

    def cursor(self, row: Mapping[str, Any]) -> str:
        """Where a page ends whose last row is `row`, as the API writes it."""
        told = [_nanoseconds(str(row[self.time])), *(row[name] for name in self.then)]
        text = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        return base64.urlsafe_b64encode(text).decode().rstrip("=")

    def _read(self, cursor: str) -> list[Any]:
        try:
            padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
            told = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True).decode("utf-8", "surrogatepass"))
        except (ValueError, binascii.Error, RecursionError):
            told = None
        kinds = [int, *(str if kind == "String" else int for kind in self.then.values())]
        fits = isinstance(told, list) and [type(value) for value in told] == kinds
        if not fits or not -(2**63) <= told[0] < 2**63 or any(type(v) is int and v.bit_length() > 63 for v in told):
            raise ValueError("cursor is not one of this list: take it from the Link header of the page before")
        return list(told)


def _nanoseconds(text: str) -> int:
    """`2026-01-01T12:00:00.000000001Z` since 1970."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole).replace(tzinfo=timezone.utc).timestamp())
    return seconds * 10**9 + int(fraction.ljust(9, "0")[:9] or 0)


def _order(time: str, *names: str) -> Order:
    return Order(time=time, then={name: "UInt64" if name == "step" else "String" for name in names})


# By the name of the question. The last columns only tell apart; ids of traces are left out, since to read them takes
# long, and spans of one session have ids of their own.
ORDERS: Mapping[str, Order] = {
    "sessions": _order("started_at", "session_id"),
    "runs": _order("started_at", "run_id", "session_id"),
    "handoffs": _order("at", "session_id", "source", "target", "span_id"),
    "verdicts": _order("judged_at", "session_id", "digest"),
    "drift": _order("at", "session_id", "step", "span_id"),
    "evaluations": _order(
        "at", "session_id", "name", "trace_id", "span_id", "evaluator_type", "evaluator_id", "target_id"
    ),
}
