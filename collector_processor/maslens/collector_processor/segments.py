"""One segment file: its records read in order, damage stepped over and reported."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from maslens.collector_processor.records import (
    RECORD_HEADER,
    RECORD_MAGIC,
    SEGMENT_HEADER,
    RecordHeader,
    SegmentHeader,
    unpack_record,
    unpack_segment,
)
from maslens.collector_processor.signals import Signal

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Record:
    header: RecordHeader
    offset: int
    payload: memoryview | None  # None: not asked for

    @property
    def end(self) -> int:
        return self.offset + self.header.size


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that are no record, up to the next one that can be trusted (or the end)."""

    offset: int
    end: int
    torn: bool = False  # nothing readable follows: what an interrupted write leaves behind


@dataclass(slots=True)
class Segment:
    """An open segment. `end` is where its durable records end; only those are read."""

    header: SegmentHeader
    path: Path
    fd: int
    end: int
    next_sequence: int  # the first sequence number that is not in it

    @property
    def number(self) -> int:
        return self.header.number

    def read(self, offset: int, end: int, signal: Signal | None) -> Iterator[Record | Damage]:
        """Everything in between; payloads only of `signal`. A payload that fails its checksum comes as Damage."""
        return _read(self.fd, offset, end, signal)

    def raw(self, offset: int, end: int) -> bytes:
        return os.pread(self.fd, end - offset, offset)

    def close(self) -> None:
        os.close(self.fd)


def segment_path(directory: Path, number: int) -> Path:
    return directory / f"{number:012d}.seg"


def open_segment(path: Path) -> Segment | None:
    """The segment of a file, `end` at the file's end; None where its header cannot be read."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    header = unpack_segment(os.pread(fd, SEGMENT_HEADER, 0))
    if header is None:
        os.close(fd)
        return None
    return Segment(header, path, fd, os.fstat(fd).st_size, header.first_sequence)


def _read(fd: int, offset: int, end: int, signal: Signal | None) -> Iterator[Record | Damage]:
    base, buffer = offset, b""
    while offset < end:
        if offset - base + RECORD_HEADER > len(buffer):
            base, buffer = offset, os.pread(fd, min(_CHUNK, end - offset), offset)
        header = unpack_record(buffer, offset - base)
        if header is None or offset + header.size > end:
            resume = _resync(fd, offset + 1, end)
            yield Damage(offset, resume, torn=resume == end)
            offset = resume
            continue
        payload: memoryview | None = None
        if header.signal == signal:
            if offset - base + header.size > len(buffer):
                base, buffer = offset, os.pread(fd, max(header.size, min(_CHUNK, end - offset)), offset)
            start = offset - base + RECORD_HEADER
            payload = memoryview(buffer)[start : start + header.length]
            if len(payload) != header.length or zlib.crc32(payload) != header.crc:
                yield Damage(offset, offset + header.size)
                offset += header.size
                continue
        yield Record(header, offset, payload)
        offset += header.size


def _resync(fd: int, offset: int, end: int) -> int:
    """Where the next header that can be trusted begins, or `end`."""
    while offset < end:
        buffer = os.pread(fd, min(_CHUNK, end - offset), offset)
        at = buffer.find(RECORD_MAGIC)
        while at >= 0:
            head = buffer if at + RECORD_HEADER <= len(buffer) else os.pread(fd, RECORD_HEADER, offset + at)
            header = unpack_record(head, at if head is buffer else 0)
            if header is not None and offset + at + header.size <= end:
                return offset + at
            at = buffer.find(RECORD_MAGIC, at + 1)
        if offset + len(buffer) >= end or not buffer:
            break
        offset += len(buffer) - len(RECORD_MAGIC) + 1
    return end
