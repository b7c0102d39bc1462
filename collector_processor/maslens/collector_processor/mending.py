"""The slow way of a request in which something is wrong that need not cost the rest of it.

Spans that cannot be right are left out and counted, bytes that are no UTF-8 become U+FFFD, and an id of zeros where
none is needed becomes none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from maslens.collector_processor.flattening import opened
from maslens.collector_processor.inspection import NO_SPAN, NO_TRACE, Bounds
from maslens.collector_processor.signals import Signal
from maslens.collector_processor.wire import Frame, Item, Pieces, Resource, Scope


@dataclass(frozen=True, slots=True)
class Mended:
    body: bytes
    items: int  # left in it
    rejected: Mapping[str, int]  # reason → spans or log records


def mend(signal: Signal, body: bytes, bounds: Bounds, *, readable: bool) -> Mended:
    """The request without items that cannot be right, and where it is not `readable`, every text as UTF-8.

    Raises Malformed where a part cannot be read at all. Arrays and maps stay.
    """
    frame = Frame.FromString(body)
    rejected: Counter[str] = Counter()
    items = 0
    for group in frame.groups:
        if not readable:
            group.resource = _cleaned(Resource, group.resource)
            group.schema_url = _utf8(group.schema_url)
        for scoped in group.scopes:
            if not readable:
                scoped.scope = _cleaned(Scope, scoped.scope)
                scoped.schema_url = _utf8(scoped.schema_url)
            kept = [
                raw
                for raw in [_item(signal, raw, bounds, rejected, readable) for raw in scoped.items]
                if raw is not None
            ]
            items += len(kept)
            scoped.ClearField("items")
            scoped.items.extend(kept)
    return Mended(frame.SerializeToString(), items, rejected)


def _item(signal: Signal, raw: bytes, bounds: Bounds, rejected: Counter[str], readable: bool) -> bytes | None:
    """One span or log record as it may be stored, None where it may not."""
    item = opened((Pieces if readable else Item)[signal], raw)
    reason = _REASON[signal](item, bounds)
    if reason is not None:
        rejected[reason] += 1
        return None
    if not readable:
        _clean(item)
    return item.SerializeToString()  # type: ignore[no-any-return]  # messages made at run time carry no types


def _cleaned(kind: type[Any], raw: bytes) -> bytes:
    part = opened(kind, raw)
    _clean(part)
    return part.SerializeToString()  # type: ignore[no-any-return]


def _clean(message: Any) -> None:
    """Replace what is no UTF-8 in every text of `message`, arrays and maps included; ids and bytes stay as they are."""
    for field, content in message.ListFields():
        if field.message_type is not None:
            for part in content if field.is_repeated else (content,):
                _clean(part)
        elif field.name in _TEXTS:
            setattr(message, field.name, _utf8(content))


def _utf8(text: bytes) -> bytes:
    return text.decode("utf-8", "replace").encode()


def _span_reason(span: Any, bounds: Bounds) -> str | None:
    """Why a span cannot be right; None where it is, or mending its parent id made it so."""
    if span.parent_span_id == NO_SPAN:  # how some senders say "none"
        span.ClearField("parent_span_id")
    if len(span.trace_id) != 16 or span.trace_id == NO_TRACE:
        return "a trace id that is not 16 bytes or all zeros"
    if len(span.span_id) != 8 or span.span_id == NO_SPAN:
        return "a span id that is not 8 bytes or all zeros"
    if len(span.parent_span_id) not in (0, 8):
        return "a parent span id that is not 8 bytes"
    if not bounds.oldest <= span.start <= bounds.newest:
        return "a start time too far from now"
    if span.end and not bounds.oldest <= span.end <= bounds.newest:
        return "an end time too far from now"
    return None


def _log_reason(record: Any, bounds: Bounds) -> str | None:
    if record.trace_id == NO_TRACE:
        record.ClearField("trace_id")
    if record.span_id == NO_SPAN:
        record.ClearField("span_id")
    if len(record.trace_id) not in (0, 16):
        return "a trace id that is not 16 bytes"
    if len(record.span_id) not in (0, 8):
        return "a span id that is not 8 bytes"
    if any(time and not bounds.oldest <= time <= bounds.newest for time in (record.start, record.end)):
        return "a time too far from now"
    return None


_REASON: Final[Mapping[Signal, Callable[[Any, Bounds], str | None]]] = {"traces": _span_reason, "logs": _log_reason}
_TEXTS: Final = frozenset({"name", "version", "trace_state", "message", "severity_text", "event_name", "key", "text"})
