"""Arrays and maps nested deeper than the protobuf library reads (100 messages), made into the same JSON text.

Without recursion and without copies, so that depth costs neither the stack nor the square of the size.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Generator, Iterator, Mapping
from typing import Any, Final, TypeAlias

from maslens.collector_processor.anyvalue import number_text, quoted
from maslens.collector_processor.errors import Malformed

DEEPEST: Final = 10_000  # messages inside each other; what Go's protobuf reads, and so every Collector

_Walk: TypeAlias = Generator["str | _Walk", None, None]
_VALUE: Final = "value"
_Shape: TypeAlias = "Mapping[int, _Shape] | str"
_PAIR: Final[_Shape] = {2: _VALUE}

# By the names of `wire.Items`: which fields lead to values.
_SHAPES: Final[Mapping[str, _Shape]] = {
    "Resource": {1: _PAIR},
    "Scope": {3: _PAIR},
    "Span": {9: _PAIR, 11: {3: _PAIR}, 13: {4: _PAIR}},
    "Event": {3: _PAIR},
    "Link": {4: _PAIR},
    "LogRecord": {5: _VALUE, 6: _PAIR},
    "KeyValue": _PAIR,
    "AnyValue": _VALUE,
}


def flatten_deep(kind: type[Any], raw: bytes) -> bytes:
    """A serialized message of `wire.Items` with every array and map in it as text; the rest byte by byte as it was.

    Raises Malformed where the bytes are damaged, or nested deeper than DEEPEST.
    """
    try:
        return b"".join(_rewritten(memoryview(raw), _SHAPES[kind.DESCRIPTOR.name]))
    except (IndexError, struct.error):
        raise Malformed(f"a {kind.DESCRIPTOR.name} cannot be read: it is damaged") from None


def _rewritten(raw: memoryview, shape: _Shape) -> Iterator[bytes | memoryview]:
    if isinstance(shape, str):
        yield _plain(raw)
        return
    for number, wire, start, body, end in _fields(raw):
        inner = shape.get(number) if wire == 2 else None
        if inner is None:
            yield raw[start:end]
            continue
        part = b"".join(_rewritten(raw[body:end], inner))
        yield _varint(number << 3 | 2) + _varint(len(part)) + part


def _plain(raw: memoryview) -> bytes | memoryview:
    """An AnyValue without arrays and maps."""
    kind, _ = _content(raw)
    if kind not in (5, 6):
        return raw
    text = _text(raw).encode()
    return b"\x0a" + _varint(len(text)) + text


def _text(raw: memoryview) -> str:
    out: list[str] = []
    stack: list[_Walk] = [_walk(raw)]
    while stack:
        step = next(stack[-1], None)
        if step is None:
            stack.pop()
        elif isinstance(step, str):
            out.append(step)
        elif 2 * len(stack) >= DEEPEST:
            raise Malformed(f"values are nested deeper than {DEEPEST} messages")
        else:
            stack.append(step)
    return "".join(out)


def _walk(raw: memoryview) -> _Walk:
    kind, content = _content(raw)
    if kind == 5:
        yield "["
        for index, (number, wire, _, body, end) in enumerate(_fields(content)):
            if number == 1 and wire == 2:
                if index:
                    yield ","
                yield _walk(content[body:end])
        yield "]"
    elif kind == 6:
        pairs = dict(
            _pair(content[body:end]) for number, wire, _, body, end in _fields(content) if (number, wire) == (1, 2)
        )
        yield "{"
        for index, key in enumerate(sorted(pairs)):
            yield f"{',' if index else ''}{quoted(key)}:"
            yield _walk(pairs[key])
        yield "}"
    else:
        yield _scalar(kind, content)


def _pair(raw: memoryview) -> tuple[bytes, memoryview]:
    key, value = b"", raw[:0]
    for number, wire, _, body, end in _fields(raw):
        if (number, wire) == (1, 2):
            key = bytes(raw[body:end])
        elif (number, wire) == (2, 2):
            value = raw[body:end]
    return key, value


def _content(raw: memoryview) -> tuple[int, memoryview]:
    """Which of AnyValue's kinds it is (its field number, 0 for none) and the bytes of it."""
    kind, content = 0, raw[:0]
    for number, wire, _, body, end in _fields(raw):
        if _WIRE.get(number) == wire:
            kind, content = number, raw[body:end]
    return kind, content


def _scalar(kind: int, content: memoryview) -> str:
    if kind == 1:
        return quoted(bytes(content))
    if kind == 2:
        return "true" if _read_varint(content, 0)[0] else "false"
    if kind == 3:
        number, _ = _read_varint(content, 0)
        return str(number - (1 << 64) if number >> 63 else number)
    if kind == 4:
        (real,) = struct.unpack("<d", content)
        return number_text(real) if math.isfinite(real) else f'"{number_text(real)}"'
    return f'"{base64.b64encode(content).decode()}"' if kind == 7 and content else "null"


_WIRE: Final = {1: 2, 2: 0, 3: 0, 4: 1, 5: 2, 6: 2, 7: 2}


def _fields(raw: memoryview) -> Iterator[tuple[int, int, int, int, int]]:
    """Number, wire type, and where the field, its content and the next field begin. Raises IndexError at damage."""
    at = 0
    while at < len(raw):
        start = at
        tag, at = _read_varint(raw, at)
        wire, body = tag & 7, at
        if wire == 0:
            _, at = _read_varint(raw, at)
        elif wire == 2:
            length, body = _read_varint(raw, at)
            at = body + length
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise IndexError("groups are not used")
        if at > len(raw):
            raise IndexError("it ends too early")
        yield tag >> 3, wire, start, body, at


def _read_varint(raw: memoryview, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = raw[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & (1 << 64) - 1, at
        shift += 7
        if shift > 63:
            raise IndexError("a number that does not end")


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
