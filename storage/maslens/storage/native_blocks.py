"""ClickHouse's own block compression, which its HTTP clients ask for with `compress=1` and `decompress=1`.

A block is a checksum (CityHash128 of ClickHouse's vintage, v1.0.2), a method, two lengths and the compressed bytes:
https://clickhouse.com/docs/native-protocol/compression
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import lz4.block
import zstandard
from maslens.storage.errors import Rejected

_LZ4, _ZSTD, _NONE = 0x82, 0x90, 0x02
_BLOCK = 1 << 20
_HEADER = struct.Struct("<BII")
_MASK = (1 << 64) - 1


def compressed(data: bytes) -> Iterator[bytes]:
    """`data` as LZ4 blocks. The checksum is computed in Python, at some megabytes a second."""
    for start in range(0, len(data), _BLOCK):
        raw = data[start : start + _BLOCK]
        packed = lz4.block.compress(raw, store_size=False)
        body = _HEADER.pack(_LZ4, _HEADER.size + len(packed), len(raw)) + packed
        yield city_hash_128(body) + body


def decompressed(data: bytes, limit: int) -> bytes:
    """The bytes of joined blocks, at most `limit`. Raises Rejected. Checksums are not looked at: TCP has its own."""
    out: list[bytes] = []
    size = at = 0
    while at < len(data):
        if len(data) - at < 16 + _HEADER.size:
            raise Rejected("a compressed block is cut short")
        method, packed_size, raw_size = _HEADER.unpack_from(data, at + 16)
        body = data[at + 16 + _HEADER.size : at + 16 + packed_size]
        size += raw_size
        if size > limit:
            raise Rejected(f"more than {limit} bytes after decompression")
        try:
            if method == _LZ4:
                out.append(lz4.block.decompress(body, uncompressed_size=raw_size))
            elif method == _ZSTD:
                out.append(_unzstd(body, raw_size))
            elif method == _NONE:
                out.append(body)
            else:
                raise Rejected(f"unknown compression method {method:#x}")
        except (lz4.block.LZ4BlockError, zstandard.ZstdError) as error:
            raise Rejected(f"a compressed block does not decompress: {error}") from error
        at += 16 + packed_size
    return b"".join(out)


def _unzstd(body: bytes, size: int) -> bytes:
    """A frame may say another size than its block, and the library's one-call way would believe the frame."""
    with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(body) as reader:
        raw: bytes = reader.read(size + 1)
    if len(raw) != size:
        raise Rejected("a compressed block has another size than it says")
    return raw


# CityHash 1.0.2, 128 bits (https://github.com/google/cityhash, the version ClickHouse has stayed with).
_K0, _K1, _K2, _K3 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F, 0xC949D7C7509E6557
_U64: Callable[..., tuple[int]] = struct.Struct("<Q").unpack_from


def city_hash_128(data: bytes) -> bytes:
    length = len(data)
    if length >= 16:
        low, high = _seeded(data[16:], _U64(data)[0] ^ _K3, _U64(data, 8)[0])
    elif length >= 8:
        low, high = _seeded(b"", _U64(data)[0] ^ (length * _K0 & _MASK), _U64(data, length - 8)[0] ^ _K1)
    else:
        low, high = _seeded(data, _K0, _K1)
    return struct.pack("<QQ", low, high)


def _seeded(data: bytes, low: int, high: int) -> tuple[int, int]:
    if len(data) < 128:
        return _murmur(data, low, high)
    length = len(data)
    x, y, z = low, high, length * _K1 & _MASK
    v0 = (_rotate(y ^ _K1, 49) * _K1 + _U64(data)[0]) & _MASK
    v1 = (_rotate(v0, 42) * _K1 + _U64(data, 8)[0]) & _MASK
    w0 = (_rotate(y + z & _MASK, 35) * _K1 + x) & _MASK
    w1 = _rotate(x + _U64(data, 88)[0] & _MASK, 53) * _K1 & _MASK
    at = 0
    while True:
        for _ in (0, 1):
            x = _rotate(x + y + v0 + _U64(data, at + 16)[0] & _MASK, 37) * _K1 & _MASK
            y = _rotate(y + v1 + _U64(data, at + 48)[0] & _MASK, 42) * _K1 & _MASK
            x ^= w1
            y ^= v0
            z = _rotate(z ^ w0, 33)
            v0, v1 = _weak(data, at, v1 * _K1 & _MASK, x + w0 & _MASK)
            w0, w1 = _weak(data, at + 32, z + w1 & _MASK, y)
            z, x = x, z
            at += 64
        length -= 128
        if length < 128:
            break
    y = (y + _rotate(w0, 37) * _K0 + z) & _MASK
    x = (x + _rotate(v0 + z & _MASK, 49) * _K0) & _MASK
    done = 0
    while done < length:
        done += 32
        tail = at + length - done
        y = (_rotate(y - x & _MASK, 42) * _K0 + v1) & _MASK
        w0 = w0 + _U64(data, tail + 16)[0] & _MASK
        x = (_rotate(x, 49) * _K0 + w0) & _MASK
        w0 = w0 + v0 & _MASK
        v0, v1 = _weak(data, tail, v0, v1)
    x = _pair(x, v0)
    y = _pair(y, w0)
    return (_pair(x + v1 & _MASK, w1) + y) & _MASK, _pair(x + w1 & _MASK, y + v1 & _MASK)


def _murmur(data: bytes, low: int, high: int) -> tuple[int, int]:
    length = len(data)
    a, b = low, high
    if length <= 16:
        a = _shift(a * _K1 & _MASK) * _K1 & _MASK
        c = (b * _K1 + _up_to_16(data)) & _MASK
        d = _shift(a + (_U64(data)[0] if length >= 8 else c) & _MASK)
    else:
        c = _pair(_U64(data, length - 8)[0] + _K1 & _MASK, a)
        d = _pair(b + length & _MASK, c + _U64(data, length - 16)[0] & _MASK)
        a = a + d & _MASK
        for at in range(0, length - 16, 16):
            a = (a ^ _shift(_U64(data, at)[0] * _K1 & _MASK) * _K1 & _MASK) * _K1 & _MASK
            b ^= a
            c = (c ^ _shift(_U64(data, at + 8)[0] * _K1 & _MASK) * _K1 & _MASK) * _K1 & _MASK
            d ^= c
    a = _pair(a, c)
    b = _pair(d, b)
    return a ^ b, _pair(b, a)


def _up_to_16(data: bytes) -> int:
    length = len(data)
    if length > 8:
        a, b = _U64(data)[0], _U64(data, length - 8)[0]
        return _pair(a, _rotate(b + length & _MASK, length)) ^ b
    if length >= 4:
        a, b = struct.unpack_from("<I", data)[0], struct.unpack_from("<I", data, length - 4)[0]
        return _pair(length + (a << 3), b)
    if length > 0:
        y = data[0] + (data[length >> 1] << 8)
        z = length + (data[length - 1] << 2)
        return _shift(y * _K2 & _MASK ^ z * _K3 & _MASK) * _K2 & _MASK
    return _K2


def _weak(data: bytes, at: int, a: int, b: int) -> tuple[int, int]:
    w, x, y, z = struct.unpack_from("<4Q", data, at)
    a = a + w & _MASK
    b = _rotate(b + a + z & _MASK, 21)
    c = a
    a = a + x + y & _MASK
    b = b + _rotate(a, 44) & _MASK
    return a + z & _MASK, b + c & _MASK


def _pair(low: int, high: int) -> int:
    mul = 0x9DDFEA08EB382D69
    a = (low ^ high) * mul & _MASK
    a ^= a >> 47
    b = (high ^ a) * mul & _MASK
    b ^= b >> 47
    return b * mul & _MASK


def _rotate(value: int, by: int) -> int:
    return (value >> by | value << 64 - by) & _MASK if by else value


def _shift(value: int) -> int:
    return value ^ value >> 47
