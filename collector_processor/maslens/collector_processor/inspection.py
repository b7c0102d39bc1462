"""Is this request what it claims to be, and does anything in it need mending? Answered without walking its spans."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from maslens.collector_processor.errors import ConfigError, Malformed
from maslens.collector_processor.signals import Signal
from maslens.collector_processor.wire import Columns, Frame

NO_TRACE: Final = bytes(16)
NO_SPAN: Final = bytes(8)
_GROUPS: Final = (3, 4)  # wire types nobody has used for twenty years
_BOOL, _INT32, _UINT32 = (0, 1), (-(2**31), 2**31 - 1), (0, 2**32 - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Times that are believed. Outside it a span is refused: a clock of 1970 or 2262 makes a partition a day."""

    past: timedelta = timedelta(days=3650)
    future: timedelta = timedelta(days=1)

    def __post_init__(self) -> None:
        if self.past < timedelta(0) or self.future < timedelta(0):
            raise ConfigError("window.past and window.future must not be negative")

    def at(self, now_ns: int) -> Bounds:
        return Bounds(max(1, now_ns - _ns(self.past)), min(2**63 - 1, now_ns + _ns(self.future)))


@dataclass(frozen=True, slots=True)
class Bounds:
    """Unix nanoseconds, both ends believed."""

    oldest: int
    newest: int


@dataclass(frozen=True, slots=True)
class Found:
    items: int  # spans or log records
    readable: bool  # every text is UTF-8
    right: bool  # every id and time can be
    nested: bool  # somewhere an array or a map is a value

    @property
    def clean(self) -> bool:
        """It may be journaled as it is."""
        return self.readable and self.right and not self.nested


def inspect(signal: Signal, body: bytes, bounds: Bounds) -> Found:
    """Raises Malformed where the bytes are no request at all, or one that the engine would misread.

    ClickHouse believes a field's declared type whatever the wire says, and reads on at the wrong place.
    """
    try:
        request = Columns[signal].FromString(body)
        items = count(body)
    except DecodeError:
        return Found(_count_or_refuse(signal, body), readable=False, right=False, nested=True)
    _check_types(signal, request)
    groups, scopes = request.groups, request.groups.scopes
    nested = _item_nested(signal, scopes.items) or _any_nested(groups.resource.attributes, scopes.scope.attributes)
    right = _spans_are_right if signal == "traces" else _logs_are_right
    return Found(items, readable=True, right=not items or right(scopes.items, items, bounds), nested=nested)


def _check_types(signal: Signal, request: Any) -> None:
    groups, scopes, items = request.groups, request.groups.scopes, request.groups.scopes.items
    parts = [request, groups, groups.resource, scopes, scopes.scope, items]
    attributes = [groups.resource.attributes, scopes.scope.attributes, items.attributes]
    if signal == "traces":
        parts += [items.events, items.links, items.status]
        attributes += [items.events.attributes, items.links.attributes]
        numbers = [(items.kind, _INT32), (items.status.code, _INT32), (items.dropped_attributes, _UINT32)]
        values = [pair.value for pair in attributes]
    else:
        numbers = [(items.severity_number, _INT32), (items.dropped, _UINT32)]
        values = [*[pair.value for pair in attributes], items.body]
    for part in (*parts, *attributes, *values):
        unknown = UnknownFieldSet(part)
        for index in range(len(unknown)):
            field = unknown[index]
            if field.wire_type in _GROUPS or field.field_number in part.DESCRIPTOR.fields_by_number:
                name = part.DESCRIPTOR.name
                raise Malformed(f"field {field.field_number} of a {name} is not of the type it must be")
    for found, (least, most) in (*numbers, *((value.flag, _BOOL) for value in values)):
        if len(found) and not (least <= (extent := _extent(found))[0] and extent[1] <= most):
            raise Malformed("a number does not fit into its field")


def count(body: bytes) -> int:
    """Spans or log records of a request."""
    return sum([len(scoped.items) for group in Frame.FromString(body).groups for scoped in group.scopes])


def _item_nested(signal: Signal, columns: Any) -> bool:
    if signal == "traces":
        return _any_nested(columns.attributes, columns.events.attributes, columns.links.attributes)
    return _any_nested(columns.attributes) or bool(columns.body.array or columns.body.kvlist)


def _spans_are_right(columns: Any, number: int, bounds: Bounds) -> bool:
    """Whether all `number` spans have ids of the right length and times within bounds."""
    traces, spans, parents = columns.trace_id[:], columns.span_id[:], columns.parent_span_id[:]
    return (
        len(traces) == len(spans) == len(columns.start) == number
        and set(map(len, traces)) == {16}
        and set(map(len, spans)) == {8}
        and set(map(len, parents)) <= {0, 8}
        and NO_TRACE not in traces
        and NO_SPAN not in spans
        and NO_SPAN not in parents
        and _within(columns.start, bounds, zero=False)
        and _within(columns.end, bounds, zero=True)
    )


def _logs_are_right(columns: Any, _number: int, bounds: Bounds) -> bool:
    """Log records need neither ids nor times, but those that are there must be right."""
    return (
        set(map(len, columns.trace_id)) <= {0, 16}
        and set(map(len, columns.span_id)) <= {0, 8}
        and NO_TRACE not in columns.trace_id
        and NO_SPAN not in columns.span_id
        and _within(columns.start, bounds, zero=True)
        and _within(columns.end, bounds, zero=True)
    )


def _within(times: Any, bounds: Bounds, *, zero: bool) -> bool:
    """Whether all of them are believed; 0, which is "not said", where `zero` allows it."""
    if not len(times):
        return True
    least, most = _extent(times)
    if zero and not least:
        least = min(filter(None, times), default=bounds.oldest)
    return bounds.oldest <= least and most <= bounds.newest


def _extent(numbers: Any) -> tuple[int, int]:
    if len(numbers) > 64:  # a memory copy, and the minimum without a Python number for each
        array = np.array(numbers)
        return int(array.min()), int(array.max())
    return min(numbers), max(numbers)


def _any_nested(*attributes: Any) -> bool:
    return any(bool(each.value.array or each.value.kvlist) for each in attributes)


def _count_or_refuse(signal: Signal, body: bytes) -> int:
    try:
        return count(body)
    except DecodeError:
        raise Malformed(f"the body is not an Export{_NAME[signal]}ServiceRequest in protobuf") from None


_NAME: Final[dict[Signal, str]] = {"traces": "Trace", "logs": "Logs"}


def _ns(delta: timedelta) -> int:
    return int(delta.total_seconds() * 1_000_000_000)
