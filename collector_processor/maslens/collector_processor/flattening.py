"""Arrays and maps among the values become JSON text, which is how the Collector stores them.

Model calls carry them (`gen_ai.response.finish_reasons`, message lists), so this is fast: only items that hold one are
opened, and small values that repeat are remembered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from google.protobuf.message import DecodeError
from maslens.collector_processor.anyvalue import array_text, kvlist_text
from maslens.collector_processor.deep_values import flatten_deep
from maslens.collector_processor.errors import Malformed
from maslens.collector_processor.signals import Signal
from maslens.collector_processor.wire import AnyValue, Event, Frame, Hits, KeyValue, Link, Pieces, Resource, Scope

_DEEP: Final = 150  # bytes that values need at least to be nested too deep for the protobuf library
_MEMO_BYTES: Final = 160  # of one remembered pair
_MEMO_PAIRS: Final = 8192
_PATH: Final = re.compile(r"groups\[(\d+)\]\.(?:resource|scopes\[(\d+)\]\.(?:scope|items\[(\d+)\]\.(\w+)))")


def flatten_request(signal: Signal, body: bytes) -> bytes:
    """`body` without arrays and maps. Raises Malformed where one cannot be read."""
    hits = Hits[signal]()
    try:
        hits.MergeFromString(body)
    except DecodeError:
        raise Malformed("an array or a map in it cannot be read") from None
    frame = Frame.FromString(body)
    items: dict[tuple[int, int], dict[int, list[str]]] = {}
    for path in hits.FindInitializationErrors():
        found = _PATH.match(path)
        assert found is not None, path
        group_at, scoped_at, item_at, field = found.groups()
        group = int(group_at)
        if scoped_at is None:
            frame.groups[group].resource = _flat_part(Resource, frame.groups[group].resource)
        elif item_at is None:
            where = frame.groups[group].scopes[int(scoped_at)]
            where.scope = _flat_part(Scope, where.scope)
        else:
            items.setdefault((group, int(scoped_at)), {}).setdefault(int(item_at), []).append(field)
    for (group, scoped), found_items in items.items():
        siblings = frame.groups[group].scopes[scoped].items
        for item, fields in found_items.items():
            siblings[item] = _flat_item(signal, siblings[item], fields)
    return frame.SerializeToString()  # type: ignore[no-any-return]  # messages made at run time carry no types


def flatten_attributes(part: Any) -> None:
    """The same for a part that is open already."""
    for pair in part.attributes:
        flatten_value(pair.value)


def flatten_value(value: Any) -> None:
    kind = value.WhichOneof("value")
    if kind in _TEXT:
        value.text = _TEXT[kind](getattr(value, kind)).encode()


def opened(kind: type[Any], raw: bytes) -> Any:
    """A part of a request that is known to be framed well, read whole; values nested too deep for that come as text."""
    try:
        return kind.FromString(raw)
    except DecodeError:
        pass
    try:
        return kind.FromString(flatten_deep(kind, raw))
    except DecodeError:
        raise Malformed(f"a {kind.DESCRIPTOR.name} cannot be read: it is damaged") from None


def _flat_item(signal: Signal, raw: bytes, fields: list[str]) -> bytes:
    pieces = Pieces[signal].FromString(raw)
    if "attributes" in fields:
        attributes = pieces.attributes
        for index, pair in enumerate(attributes[:]):
            if _may_be_nested(pair):
                attributes[index] = _flat_pair(pair)
    for field, kind in (("events", Event), ("links", Link)):
        if field in fields:
            parts = getattr(pieces, field)
            for index, part in enumerate(parts[:]):
                parts[index] = _flat_part(kind, part)
    if "body" in fields:
        value = opened(AnyValue, pieces.body)
        flatten_value(value)
        pieces.body = value.SerializeToString()
    return pieces.SerializeToString()  # type: ignore[no-any-return]


def _may_be_nested(pair: bytes) -> bool:
    """False only for a KeyValue laid out as every encoder does (key, then value) whose value is plain."""
    try:
        at = pair[1] + 2  # behind the key
        if pair[0] != 0x0A or at > 0x81 or pair[at] != 0x12:
            return True
        at += 1
        while pair[at] > 0x7F:  # the value's length
            at += 1
        return pair[at + 1] in (0x2A, 0x32)
    except IndexError:
        return True


def _flat_part(kind: type[Any], raw: bytes) -> bytes:
    part = opened(kind, raw)
    flatten_attributes(part)
    return part.SerializeToString()  # type: ignore[no-any-return]


def _flat_pair(raw: bytes) -> bytes:
    known = _memo.get(raw)
    if known is not None:
        return known
    pair = opened(KeyValue, raw)
    if pair.value.WhichOneof("value") in _TEXT:
        flatten_value(pair.value)
    elif len(raw) < _DEEP:
        return raw
    flat: bytes = pair.SerializeToString()
    if len(raw) <= _MEMO_BYTES:
        if len(_memo) >= _MEMO_PAIRS:
            _memo.clear()
        _memo[raw] = flat
    return flat


_TEXT: Final[Mapping[str, Callable[[Any], str]]] = {"array": array_text, "kvlist": kvlist_text}
_memo: dict[bytes, bytes] = {}
