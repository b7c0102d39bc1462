"""ClickHouse's Native format as clients of the Go driver want it over HTTP: with block information.

The embedded engine writes blocks as for a client of revision 0. A client that sends `client_protocol_version` expects
what a server writes for it: a block's information before it, and a byte behind each column's type that says whether the
column is serialized in a special way (never). Where a column ends is told by its type alone.
https://clickhouse.com/docs/native-protocol/columns
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from maslens.storage.errors import Rejected

WITH_CUSTOM_SERIALIZATION = 54454  # the first revision with a byte behind the type
_BLOCK_INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"  # 1: is_overflows = 0; 2: bucket_num = -1; end

_FIXED = {
    "Bool": 1, "Nothing": 1, "Enum8": 1, "Enum16": 2, "Date": 2, "BFloat16": 2, "Date32": 4, "DateTime": 4, "IPv4": 4,
    "Time": 4, "Time64": 8, "DateTime64": 8, "UUID": 16, "IPv6": 16,
    "Decimal32": 4, "Decimal64": 8, "Decimal128": 16, "Decimal256": 32,
}  # fmt: skip
_NUMBER = re.compile(r"(?:U?Int|Float)(8|16|32|64|128|256)")
_ELEMENT_NAME = re.compile(r"(?:`(?:[^`\\]|\\.)*`|[A-Za-z_]\w*) ")
_ADDITIONAL_KEYS, _INDEX_WIDTH = 1 << 9, 0xFF


def for_revision(data: bytes, revision: int) -> bytes:
    """`data`, blocks of revision 0, as a client of `revision` reads them.

    Older clients than those that want the byte behind the type (clickhouse-connect says 54405) look what they get and
    read blocks of revision 0 too; taking those apart would only cost time.

    Raises Rejected, naming the type, for a column whose end its type does not tell (JSON, Variant, aggregate states).
    """
    if revision < WITH_CUSTOM_SERIALIZATION:
        return data
    return b"".join(_blocks(memoryview(data)))


def _blocks(data: memoryview) -> Iterator[bytes | memoryview]:
    at = 0
    while at < len(data):
        start = at
        columns, at = _varint(data, at)
        rows, at = _varint(data, at)
        yield _BLOCK_INFO
        for _ in range(columns):
            _, at = _text(data, at)
            name, at = _text(data, at)
            yield data[start:at]
            yield b"\x00"
            start = at
            if rows:
                at = _end(name, rows, data, at + _prefix(name))
        yield data[start:at]


def _prefix(name: str) -> int:
    """How many bytes go before everything else of a column: the version of each dictionary."""
    kind, arguments = _parse(name)
    if kind == "LowCardinality":
        return 8
    if kind in {"Array", "Map", "Nullable", "Tuple"}:
        return sum(map(_prefix, arguments))
    return _prefix(arguments[-1]) if kind == "SimpleAggregateFunction" else 0


def _end(name: str, rows: int, data: memoryview, at: int) -> int:
    """Where `rows` values of type `name`, which start at `at`, end."""
    kind, arguments = _parse(name)
    if kind == "String":
        for _ in range(rows):
            size, at = _varint(data, at)
            at += size
        return at
    if kind == "Nullable":
        return _end(arguments[0], rows, data, at + rows)
    if kind in {"Array", "Map"}:
        items = int.from_bytes(data[at + 8 * rows - 8 : at + 8 * rows], "little") if rows else 0
        return _all(arguments, items, data, at + 8 * rows)
    if kind == "Tuple":
        return _all(arguments, rows, data, at)
    if kind == "LowCardinality":
        return _dictionary_end(arguments[0], rows, data, at)
    if kind == "SimpleAggregateFunction":
        return _end(arguments[-1], rows, data, at)
    return at + rows * _width(kind, arguments)


def _all(names: list[str], rows: int, data: memoryview, at: int) -> int:
    for name in names:
        at = _end(name, rows, data, at)
    return at


def _dictionary_end(name: str, rows: int, data: memoryview, at: int) -> int:
    if not rows:
        return at
    flags, keys = (int.from_bytes(data[place : place + 8], "little") for place in (at, at + 8))
    if not flags & _ADDITIONAL_KEYS:
        raise Rejected(f"LowCardinality({name}) with a dictionary of its own cannot be sent to this client")
    kind, arguments = _parse(name)
    at = _end(arguments[0] if kind == "Nullable" else name, keys, data, at + 16)
    return at + 8 + (rows << (flags & _INDEX_WIDTH))


def _width(kind: str, arguments: list[str]) -> int:
    number = _NUMBER.fullmatch(kind)
    if number:
        return int(number[1]) // 8
    if kind == "FixedString":
        return int(arguments[0])
    if kind == "Decimal":
        digits = int(arguments[0])
        return next(width for width, most in ((4, 9), (8, 18), (16, 38), (32, 76)) if digits <= most)
    if kind.startswith("Interval"):
        return 8
    if kind not in _FIXED:
        raise Rejected(f"columns of type {kind} cannot be sent to this client: cast it to String")
    return _FIXED[kind]


def _parse(name: str) -> tuple[str, list[str]]:
    """`Map(String, Array(UInt8))` → `Map`, [`String`, `Array(UInt8)`]; the names of a tuple's elements fall away."""
    kind, bracket, inside = name.partition("(")
    if not bracket or kind.startswith("Enum"):
        return kind, []
    arguments, depth, start, quoted = [], 0, 0, ""
    for place, letter in enumerate(inside[:-1]):
        if quoted:
            quoted = "" if letter == quoted and inside[place - 1] != "\\" else quoted
        elif letter in "'`":
            quoted = letter
        elif letter == "," and not depth:
            arguments.append(inside[start:place])
            start = place + 2
        else:
            depth += (letter == "(") - (letter == ")")
    arguments.append(inside[start:-1])
    if kind == "Tuple":
        arguments = [_ELEMENT_NAME.sub("", argument, count=1) for argument in arguments]
    return kind, arguments


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _text(data: memoryview, at: int) -> tuple[str, int]:
    size, at = _varint(data, at)
    return str(data[at : at + size], "utf-8"), at + size
