"""Bodies as they were before the sender compressed them, never larger than allowed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Final

import zstandard
from maslens.collector_processor.errors import Malformed, TooLarge, Unsupported

ACCEPTED: Final = "gzip, deflate, zstd"
_ZSTD_WINDOW: Final = 32 << 20  # memory a frame may ask for before it has said anything
_ZSTD_PIECE: Final = 1024


def decompress(encoding: str, raw: bytes, *, limit: int) -> bytes:
    """Raises Unsupported, Malformed, or TooLarge as soon as more than `limit` bytes come out."""
    unpack = _KNOWN.get(encoding.strip().lower())
    if unpack is None:
        raise Unsupported(f"unsupported Content-Encoding {encoding!r}, supported: {ACCEPTED}", reason="encoding")
    body = unpack(raw, limit)
    if len(body) > limit:
        raise TooLarge(f"the body is larger than {limit} bytes after decompression")
    return body


def supported(encoding: str) -> bool:
    return encoding.strip().lower() in _KNOWN


def _gunzip(raw: bytes, limit: int) -> bytes:
    parts, size = [], 0
    while raw:  # a gzip file may have several members
        part, raw = _inflate(raw, limit - size, 31)
        parts.append(part)
        size += len(part)
        if size > limit:
            break
    if not parts:
        raise Malformed("the body is empty, not gzip")
    return b"".join(parts)


def _undeflate(raw: bytes, limit: int) -> bytes:
    """`deflate` means zlib, but some senders leave its header out."""
    zlib_header = len(raw) >= 2 and raw[0] & 0x0F == 8 and (raw[0] << 8 | raw[1]) % 31 == 0
    body, rest = _inflate(raw, limit, 15 if zlib_header else -15)
    if rest and len(body) <= limit:
        raise Malformed("the body goes on after its deflate data")
    return body


def _inflate(raw: bytes, limit: int, window: int) -> tuple[bytes, bytes]:
    machine = zlib.decompressobj(window)
    try:
        body = machine.decompress(raw, limit + 1)
    except zlib.error as error:
        raise Malformed(f"the body cannot be decompressed: {error}") from None
    if len(body) <= limit and not machine.eof:
        raise Malformed("the body ends in the middle of its compressed data")
    return body, machine.unused_data


def _unzstd(raw: bytes, limit: int) -> bytes:
    unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    machine = unpacker.decompressobj()
    parts, size = [], 0
    try:
        # A little at a time: a bomb's four bytes are 128 KiB, and no more than one piece's worth may come out unseen.
        for start in range(0, len(raw), _ZSTD_PIECE):
            piece = raw[start : start + _ZSTD_PIECE]
            while piece and size <= limit:
                if machine.eof:
                    machine = unpacker.decompressobj()  # another frame follows
                part = machine.decompress(piece)
                piece = machine.unused_data
                parts.append(part)
                size += len(part)
            if size > limit:
                break
    except zstandard.ZstdError as error:
        raise Malformed(f"the body cannot be decompressed: {error}") from None
    if size <= limit and not machine.eof:
        raise Malformed("the body ends in the middle of its compressed data")
    return b"".join(parts)


def _as_is(raw: bytes, _limit: int) -> bytes:
    return raw


_KNOWN: Final[Mapping[str, Callable[[bytes, int], bytes]]] = {
    "": _as_is,
    "identity": _as_is,
    "gzip": _gunzip,
    "x-gzip": _gunzip,
    "deflate": _undeflate,
    "zstd": _unzstd,
}
