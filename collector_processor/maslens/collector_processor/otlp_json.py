"""OTLP in JSON, turned into the protobuf request it stands for, once.

The rules are OTLP's own (docs/specification.md, "JSON Protobuf Encoding"): ids are hexadecimal in either case, 64-bit
integers are strings or numbers, bytes values are base64, enums are integers (their names are understood too), unknown
fields are skipped, names are lowerCamelCase. `json_format` of the protobuf library reads ids as base64 and is slow.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

from maslens.collector_processor.errors import Malformed
from maslens.collector_processor.signals import Signal


def request_from_json(signal: Signal, raw: bytes) -> bytes:
    """The serialized request. Raises Malformed where `raw` is no JSON, or not shaped as a request."""
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"the body is not JSON: {error}") from None
    try:
        return _message(content, _REQUEST[signal])
    except (
        ValueError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
        binascii.Error,
        struct.error,
    ) as error:
        raise Malformed(f"the body is not an OTLP request in JSON: {error}") from None


def _message(content: Any, fields: Mapping[str, tuple[bytes, Callable[[Any], bytes]]]) -> bytes:
    """The fields of one message, tags and all."""
    if not isinstance(content, dict):
        raise TypeError(f"an object is expected, not {_shown(content)}")
    parts = []
    for name, value in content.items():
        known = fields.get(name)
        if known is not None and value is not None:
            tag, encode = known
            parts.append(encode(value) if not tag else tag + encode(value))
    return b"".join(parts)


def _varint(number: int) -> bytes:
    if number < 0x80:
        return _ONE_BYTE[number]
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _sized(raw: bytes) -> bytes:
    return _varint(len(raw)) + raw


def _text(value: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"a string is expected, not {_shown(value)}")
    # A lone half of a surrogate pair is no text in UTF-8.
    return _sized(value.encode("utf-8", "replace"))


def _hex(value: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"a hexadecimal id is expected, not {_shown(value)}")
    try:
        return _sized(bytes.fromhex(value))
    except ValueError:
        return _sized(b"?")  # of no valid length: its span is refused and counted, the others are kept


def _bytes(value: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"base64 is expected, not {_shown(value)}")
    plain = value.replace("-", "+").replace("_", "/").rstrip("=")
    return _sized(base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True))


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str, float)):
        raise TypeError(f"an integer is expected, not {_shown(value)}")
    number = int(value)
    if isinstance(value, float) and number != value:
        raise ValueError(f"an integer is expected, not {value}")
    return number


def _signed(value: Any) -> bytes:
    number = _integer(value)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{number} does not fit into 64 bits")
    return _varint(number & 0xFFFFFFFFFFFFFFFF)


def _count(value: Any) -> bytes:
    return _varint(_integer(value) & 0xFFFFFFFF)


def _fixed64(value: Any) -> bytes:
    return struct.pack("<Q", _integer(value))


def _fixed32(value: Any) -> bytes:
    return struct.pack("<I", _integer(value))


def _double(value: Any) -> bytes:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError(f"a number is expected, not {_shown(value)}")
    return struct.pack("<d", float(value))


def _flag(value: Any) -> bytes:
    if not isinstance(value, bool):
        raise TypeError(f"true or false is expected, not {_shown(value)}")
    return b"\x01" if value else b"\x00"


def _enum(names: Mapping[str, int]) -> Callable[[Any], bytes]:
    def encode(value: Any) -> bytes:
        if isinstance(value, str) and value in names:
            return _varint(names[value])
        return _varint(_integer(value) & 0xFFFFFFFFFFFFFFFF)

    return encode


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


_Fields = dict[str, tuple[bytes, Callable[[Any], bytes]]]


def _fields(**declared: tuple[int, int, Callable[[Any], bytes]]) -> _Fields:
    """name=(field number, wire type, encoder of the value)"""
    return {name: (_varint(number << 3 | wire), encode) for name, (number, wire, encode) in declared.items()}


def _one(fields: Mapping[str, tuple[bytes, Callable[[Any], bytes]]]) -> Callable[[Any], bytes]:
    return lambda value: _sized(_message(value, fields))


def _many(number: int, encode: Callable[[Any], bytes]) -> tuple[bytes, Callable[[Any], bytes]]:
    tag = _varint(number << 3 | 2)

    def encode_all(values: Any) -> bytes:
        if not isinstance(values, list):
            raise TypeError(f"a list is expected, not {_shown(values)}")
        return b"".join([tag + encode(value) for value in values])

    return b"", encode_all


_ONE_BYTE: Final = [bytes([number]) for number in range(0x80)]
_KINDS: Final = {
    "SPAN_KIND_UNSPECIFIED": 0,
    "SPAN_KIND_INTERNAL": 1,
    "SPAN_KIND_SERVER": 2,
    "SPAN_KIND_CLIENT": 3,
    "SPAN_KIND_PRODUCER": 4,
    "SPAN_KIND_CONSUMER": 5,
}
_CODES: Final = {"STATUS_CODE_UNSET": 0, "STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2}
_SEVERITIES: Final = {
    f"SEVERITY_NUMBER_{name}{step or ''}": 4 * base + step + (1 if step == 0 else 0)
    for base, name in enumerate(("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"))
    for step in (0, 2, 3, 4)
} | {"SEVERITY_NUMBER_UNSPECIFIED": 0}

_ANY: _Fields = {}
_PAIR = _fields(key=(1, 2, _text), value=(2, 2, _one(_ANY)))
_pair_in_full = _one(_PAIR)


def _attribute(pair: Any) -> bytes:
    """Nearly all of a request is attributes, and nearly all of those are short texts and integers."""
    try:
        value, key = pair["value"], pair["key"].encode()
        (kind,) = value
        if kind == "stringValue":
            text = value[kind].encode()
            encoded = b"\x0a" + _ONE_BYTE[len(text)] + text
        elif kind == "intValue":
            encoded = b"\x18" + _signed(value[kind])
        else:
            return _pair_in_full(pair)
        length = len(encoded)
        whole = _ONE_BYTE[4 + len(key) + length]
    except (TypeError, LookupError, ValueError, AttributeError):  # unusual, long or wrong: the full way knows which
        return _pair_in_full(pair)
    return b"".join((whole, b"\x0a", _ONE_BYTE[len(key)], key, b"\x12", _ONE_BYTE[length], encoded))


_ANY.update(
    _fields(
        stringValue=(1, 2, _text),
        boolValue=(2, 0, _flag),
        intValue=(3, 0, _signed),
        doubleValue=(4, 1, _double),
        arrayValue=(5, 2, _one({"values": _many(1, _one(_ANY))})),
        kvlistValue=(6, 2, _one({"values": _many(1, _attribute)})),
        bytesValue=(7, 2, _bytes),
    )
)
_RESOURCE = {"attributes": _many(1, _attribute), **_fields(droppedAttributesCount=(2, 0, _count))}
_SCOPE = {
    **_fields(name=(1, 2, _text), version=(2, 2, _text), droppedAttributesCount=(4, 0, _count)),
    "attributes": _many(3, _attribute),
}
_EVENT = {
    **_fields(timeUnixNano=(1, 1, _fixed64), name=(2, 2, _text), droppedAttributesCount=(4, 0, _count)),
    "attributes": _many(3, _attribute),
}
_LINK = {
    **_fields(
        traceId=(1, 2, _hex),
        spanId=(2, 2, _hex),
        traceState=(3, 2, _text),
        droppedAttributesCount=(5, 0, _count),
        flags=(6, 5, _fixed32),
    ),
    "attributes": _many(4, _attribute),
}
_SPAN = {
    **_fields(
        traceId=(1, 2, _hex),
        spanId=(2, 2, _hex),
        traceState=(3, 2, _text),
        parentSpanId=(4, 2, _hex),
        name=(5, 2, _text),
        kind=(6, 0, _enum(_KINDS)),
        startTimeUnixNano=(7, 1, _fixed64),
        endTimeUnixNano=(8, 1, _fixed64),
        droppedAttributesCount=(10, 0, _count),
        droppedEventsCount=(12, 0, _count),
        droppedLinksCount=(14, 0, _count),
        status=(15, 2, _one(_fields(message=(2, 2, _text), code=(3, 0, _enum(_CODES))))),
        flags=(16, 5, _fixed32),
    ),
    "attributes": _many(9, _attribute),
    "events": _many(11, _one(_EVENT)),
    "links": _many(13, _one(_LINK)),
}
_LOG_RECORD = {
    **_fields(
        timeUnixNano=(1, 1, _fixed64),
        severityNumber=(2, 0, _enum(_SEVERITIES)),
        severityText=(3, 2, _text),
        body=(5, 2, _one(_ANY)),
        droppedAttributesCount=(7, 0, _count),
        flags=(8, 5, _fixed32),
        traceId=(9, 2, _hex),
        spanId=(10, 2, _hex),
        observedTimeUnixNano=(11, 1, _fixed64),
        eventName=(12, 2, _text),
    ),
    "attributes": _many(6, _attribute),
}


def _request(groups: str, scopes: str, items: str, item: _Fields) -> _Fields:
    url = _fields(schemaUrl=(3, 2, _text))
    scope = {**_fields(scope=(1, 2, _one(_SCOPE))), items: _many(2, _one(item)), **url}
    group = {**_fields(resource=(1, 2, _one(_RESOURCE))), scopes: _many(2, _one(scope)), **url}
    return {groups: _many(1, _one(group))}


_REQUEST: Final[Mapping[Signal, _Fields]] = {
    "traces": _request("resourceSpans", "scopeSpans", "spans", _SPAN),
    "logs": _request("resourceLogs", "scopeLogs", "logRecords", _LOG_RECORD),
}
