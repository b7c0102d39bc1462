"""The bytes of a journal segment: one header, then records. README.md documents them; nothing here opens a file."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final

from maslens.collector_processor.signals import NAMES, Signal

VERSION: Final = 1
SEGMENT_MAGIC: Final = b"MASLJRN\n"
RECORD_MAGIC: Final = b"\xa5MR1"

# magic, version, header size, flags, journal uuid, segment number, first sequence, end of the segment before, created
_SEGMENT = struct.Struct("<8sHHI16sQQQQ")
# magic, payload length, signal, flags, reserved, items, sequence, received (unix ns), crc32 of the payload
_RECORD = struct.Struct("<4sIBBHIQQI")
_CRC = struct.Struct("<I")
SEGMENT_HEADER: Final = _SEGMENT.size + _CRC.size
RECORD_HEADER: Final = _RECORD.size + _CRC.size


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentHeader:
    journal: bytes  # uuid
    number: int
    first_sequence: int  # of the first record that will be written here
    previous_end: int  # where the last durable record of segment `number - 1` ends: bytes past it do not count
    created_ns: int

    def pack(self) -> bytes:
        raw = _SEGMENT.pack(
            SEGMENT_MAGIC,
            VERSION,
            SEGMENT_HEADER,
            0,
            self.journal,
            self.number,
            self.first_sequence,
            self.previous_end,
            self.created_ns,
        )
        return raw + _CRC.pack(zlib.crc32(raw))


@dataclass(frozen=True, slots=True)
class RecordHeader:
    signal: Signal
    length: int  # of the payload
    items: int  # spans or log records in it
    sequence: int
    received_ns: int
    crc: int  # of the payload

    @property
    def size(self) -> int:
        """Bytes on disk, header included."""
        return RECORD_HEADER + self.length


def unpack_segment(raw: bytes) -> SegmentHeader | None:
    """The header, or None where these bytes are not one this version can read."""
    if len(raw) < SEGMENT_HEADER or zlib.crc32(raw[: _SEGMENT.size]) != _CRC.unpack_from(raw, _SEGMENT.size)[0]:
        return None
    magic, version, size, _flags, journal, number, first, previous_end, created = _SEGMENT.unpack_from(raw)
    if magic != SEGMENT_MAGIC or version != VERSION or size != SEGMENT_HEADER:
        return None
    return SegmentHeader(
        journal=journal, number=number, first_sequence=first, previous_end=previous_end, created_ns=created
    )


def is_of_another_version(raw: bytes) -> bool:
    """Whether these bytes begin with a header that is whole, of a version that cannot be read here."""
    if len(raw) < SEGMENT_HEADER or zlib.crc32(raw[: _SEGMENT.size]) != _CRC.unpack_from(raw, _SEGMENT.size)[0]:
        return False
    return unpack_segment(raw) is None


def pack_record(code: int, payload: bytes | memoryview, *, items: int, sequence: int, received_ns: int) -> bytes:
    """The record's header; the payload follows it as it is."""
    raw = _RECORD.pack(RECORD_MAGIC, len(payload), code, 0, 0, items, sequence, received_ns, zlib.crc32(payload))
    return raw + _CRC.pack(zlib.crc32(raw))


def unpack_record(buffer: bytes, offset: int = 0) -> RecordHeader | None:
    """The header at `offset`, or None where there is none that can be trusted."""
    if len(buffer) - offset < RECORD_HEADER or buffer[offset : offset + 4] != RECORD_MAGIC:
        return None
    if zlib.crc32(buffer[offset : offset + _RECORD.size]) != _CRC.unpack_from(buffer, offset + _RECORD.size)[0]:
        return None
    _, length, code, _, _, items, sequence, received, crc = _RECORD.unpack_from(buffer, offset)
    signal = NAMES.get(code)
    return None if signal is None else RecordHeader(signal, length, items, sequence, received, crc)
