"""Cut OTLP requests too large for one insert, without decoding what they hold.

The engine needs about eight times the bytes of an insert in memory, and one request may be 64 MiB. The cut depends on
nothing but the bytes, so that the pieces of a batch sent again are the same pieces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from maslens.storage.errors import Rejected

# At each level of an Export…ServiceRequest, the field that repeats: resources, scopes, spans (or log records).
_REPEATED = (1, 2, 2)


def pieces(chunks: Sequence[bytes], limit: int) -> Iterator[list[bytes]]:
    """Groups of requests of at most `limit` bytes each; a larger request is cut. Raises Rejected if it cannot be."""
    group: list[bytes] = []
    size = 0
    for chunk in chunks:
        for part in (chunk,) if len(chunk) <= limit else _cut(chunk, limit, 0):
            if group and size + len(part) > limit:
                yield group
                group, size = [], 0
            group.append(part)
            size += len(part)
    if group:
        yield group


def rows_only(request: bytes) -> bytes:
    """`request` without what is neither a ResourceSpans nor a ResourceLogs."""
    return b"".join(request[field.start : field.end] for field in _fields(request) if field.number == _REPEATED[0])


def _cut(message: bytes, limit: int, level: int) -> Iterator[bytes]:
    """`message` as several that together say the same, each with all fields but only its share of the repeated one."""
    repeated = _REPEATED[level]
    fields = list(_fields(message))
    common = b"".join(message[field.start : field.end] for field in fields if field.number != repeated)
    share: list[bytes] = []
    size = len(common)
    for field in fields:
        if field.number != repeated:
            continue
        item = message[field.body : field.end]
        whole = len(item) <= limit or level + 1 == len(_REPEATED)
        for part in (item,) if whole else _cut(item, limit, level + 1):
            if share and size + len(part) > limit:
                yield common + b"".join(share)
                share, size = [], len(common)
            share.append(framed_field(repeated, part))
            size += len(share[-1])
    if share or not any(field.number == repeated for field in fields):
        yield common + b"".join(share)


class _Field(NamedTuple):
    number: int
    start: int  # of the tag
    body: int  # of the value
    end: int


def _fields(message: bytes) -> Iterator[_Field]:
    at = 0
    while at < len(message):
        start = at
        tag, at = _read_varint(message, at)
        kind = tag & 7
        body = at
        if kind == 0:
            _, at = _read_varint(message, at)
        elif kind == 1:
            at += 8
        elif kind == 2:
            length, body = _read_varint(message, at)
            at = body + length
        elif kind == 5:
            at += 4
        else:
            raise Rejected(f"not a protobuf message: wire type {kind} at byte {start}")
        if at > len(message):
            raise Rejected(f"not a protobuf message: a field at byte {start} ends behind the message")
        yield _Field(tag >> 3, start, body, at)


def framed_field(number: int, body: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(body)) + body


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise Rejected(f"not a protobuf message: a number at byte {at} does not end")
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
