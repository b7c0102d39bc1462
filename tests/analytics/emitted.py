"""Spans as emitters write them, attributes and all, brought through the dialects to the frames facts are made of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl
from maslens.analytics import frames
from maslens.semconv.dialects.python import RawSpan, resolve

START_NS = 1_795_161_600_000_000_000  # 2026-11-20T08:00:00Z


class Emitted:
    """What one emitter sends in one trace. Times are milliseconds; ids count up."""

    def __init__(self, trace: str = "t", *, scope: str = "", service: str = "app", **common: Any) -> None:
        self.trace, self.scope, self.service, self.common = trace, scope, service, common
        self.spans: list[RawSpan] = []

    def span(
        self,
        name: str,
        begin: float,
        end: float,
        under: str = "",
        given: Mapping[str, Any] | None = None,
        *,
        kind: str = "Internal",
        scope: str | None = None,
        status: str = "Unset",
        message: str = "",
        events: Sequence[tuple[str, Mapping[str, Any]]] = (),
        links: Iterable[tuple[str, str, Mapping[str, Any]]] = (),
        dropped: int = 0,
    ) -> str:
        """Send a span with the attributes `given` and answer its id."""
        attributes = {**self.common, **(given or {})} | ({"otel.dropped_attributes_count": dropped} if dropped else {})
        span_id = f"{self.trace}-{len(self.spans)}"
        self.spans.append(
            RawSpan(
                timestamp_ns=START_NS + int(begin * 1_000_000),
                duration_ns=int((end - begin) * 1_000_000),
                trace_id=self.trace,
                span_id=span_id,
                parent_span_id=under,
                service_name=self.service,
                span_name=name,
                span_kind=kind,
                scope_name=self.scope if scope is None else scope,
                status_code=status,
                status_message=message,
                attributes=_texts(attributes),
                resource={"service.name": self.service},
                events=[(event, _texts(told)) for event, told in events],
                links=[(trace, span, _texts(told)) for trace, span, told in links],
            )
        )
        return span_id


def raised(kind: str, message: str = "") -> tuple[str, Mapping[str, Any]]:
    """The event that an SDK records for an exception."""
    return "exception", {"exception.type": kind, "exception.message": message}


def agent_spans(spans: Iterable[RawSpan | Emitted]) -> pl.DataFrame:
    """The rows of `agent_spans` for spans of any order and number."""
    raw = [span for given in spans for span in (given.spans if isinstance(given, Emitted) else [given])]
    rows = [resolve(span) for span in raw]
    columns = {name: _column(name, dtype, [row[name] for row in rows]) for name, dtype in frames.AGENT_SPANS.items()}
    return pl.DataFrame(columns)


def _column(name: str, dtype: pl.DataType, values: list[Any]) -> pl.Series:
    if name == "Timestamp":
        return pl.Series(name, values, dtype=pl.Int64).cast(pl.Datetime("ns")).dt.replace_time_zone("UTC")
    if name == "Hints":
        values = [[{"key": key, "value": value} for key, value in hints.items()] for hints in values]
    return pl.Series(name, values, dtype=dtype)


def _texts(given: Mapping[str, Any]) -> dict[str, str]:
    return {key: _text(value) for key, value in sorted(given.items())}


def _text(value: Any) -> str:
    """As the receiver stores it: text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list | dict) else str(value)
