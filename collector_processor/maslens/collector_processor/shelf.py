"""The segments of a journal: opened and mended, written to at the end, read from anywhere, removed when loaded."""

from __future__ import annotations

import fcntl
import os
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final

import structlog
from maslens.collector_processor.cuts import sync_directory
from maslens.collector_processor.errors import JournalBusy, JournalError
from maslens.collector_processor.records import SEGMENT_HEADER, SegmentHeader, is_of_another_version
from maslens.collector_processor.segments import Damage, Record, Segment, open_segment, segment_path
from maslens.collector_processor.signals import Signal

_log = structlog.get_logger(__name__)
_IOV_MAX: Final = 512


@dataclass(frozen=True, slots=True, order=True)
class Position:
    segment: int
    offset: int


@dataclass(slots=True)
class Losses:
    """What the disk did not give back."""

    quarantined_records: int = 0
    quarantined_bytes: int = 0
    missing_records: int = 0
    torn_bytes: int = 0
    mended_headers: int = 0  # of segments; nothing of them is lost


class Shelf:
    """One writer may call `append` and `rotate`; everybody may read what is durable, meanwhile."""

    def __init__(
        self,
        directory: Path,
        *,
        journal: uuid.UUID,
        removed_before: int,
        known_before: int,
        quarantine_bytes: int = 1 << 30,
    ) -> None:
        """`removed_before`: earlier records were loaded and removed; `known_before`: earlier numbers are taken."""
        self.directory = directory
        self.journal = journal
        self.losses = Losses()
        self.loaded_before = removed_before  # records before this sequence are of no use any more
        self._quarantine = directory.parent / "quarantine"
        self._quarantine_left = quarantine_bytes - sum(each.stat().st_size for each in self._quarantine.glob("*"))
        self._lock = threading.Lock()
        self._seen: set[tuple[int, int]] = set()
        self._segments: list[Segment] = []
        found = self._existing()
        for segment, after in pairwise(found):
            segment.next_sequence = after.header.first_sequence
            if after.number == segment.number + 1:
                segment.end = after.header.previous_end
        if found:
            self._mend(found[-1])
            if found[0].header.first_sequence > removed_before:
                self._missing(0, removed_before, found[0].header.first_sequence)
        elif known_before > removed_before:
            self._missing(0, removed_before, known_before)
        self._segments = found
        if len(found) > 1 and found[-1].end == SEGMENT_HEADER:  # opened and closed without a record in between
            self.remove((found[-1],))
        self.rotate(at_least=known_before)

    @property
    def next_sequence(self) -> int:
        return self._segments[-1].next_sequence

    @property
    def end(self) -> Position:
        """Where the next record will be written."""
        return Position(self._segments[-1].number, self._segments[-1].end)

    def segments(self) -> tuple[Segment, ...]:
        with self._lock:
            return tuple(self._segments)

    def disk_bytes(self) -> int:
        return sum(segment.end for segment in self.segments())

    def held_bytes(self) -> int:
        """What must stay because it is not loaded."""
        segments = self.segments()
        return sum(s.end for s in segments if s.next_sequence > self.loaded_before or s is segments[-1])

    # --- writing ----------------------------------------------------------------------------------------------------

    def append(self, parts: Sequence[bytes | memoryview], *, records: int) -> float:
        """Headers and payloads of the next `records` records, on disk on return; the seconds the sync took.

        Raises OSError, and then none of them counts; `rotate` must follow before the next `append`.
        """
        segment = self._segments[-1]
        size = write_all(segment.fd, parts, segment.end)
        started = time.perf_counter()
        os.fdatasync(segment.fd)
        waited = time.perf_counter() - started
        with self._lock:
            segment.end += size
            segment.next_sequence += records
        return waited

    def rotate(self, *, at_least: int = 1) -> None:
        """Begin a new segment after the last durable record, its sequence numbers no smaller than `at_least`."""
        last = self._segments[-1] if self._segments else None
        header = SegmentHeader(
            journal=self.journal.bytes,
            number=last.number + 1 if last else 1,
            first_sequence=max(last.next_sequence if last else 1, at_least),
            previous_end=last.end if last else 0,
            created_ns=time.time_ns(),
        )
        path = segment_path(self.directory, header.number)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, [header.pack()], 0)
            os.fsync(fd)
            sync_directory(self.directory)
        except OSError:
            os.close(fd)
            with suppress(OSError):
                path.unlink()
            raise
        with self._lock:
            self._segments.append(Segment(header, path, fd, SEGMENT_HEADER, header.first_sequence))

    # --- reading ----------------------------------------------------------------------------------------------------

    def walk(
        self, start: Position, *, expected: int, signal: Signal | None = None, headers_only: bool = False
    ) -> Iterator[tuple[Position, Record | Damage]]:
        """Everything durable from `start` on; payloads of `signal` only. What is damaged or gone is counted.

        `expected` is the sequence number of the record at `start`.
        """
        damaged: tuple[int, Damage] | None = None
        segments = [(segment, segment.end) for segment in self.segments() if segment.number >= start.segment]
        for segment, end in segments:
            offset = start.offset if segment.number == start.segment else SEGMENT_HEADER
            for found in segment.read(offset, end, None if headers_only else signal):
                if isinstance(found, Record) and found.header.sequence < expected:  # an older one where it cannot be
                    found = Damage(found.offset, found.end)
                if isinstance(found, Damage):
                    damaged = damaged or (segment.number, found)
                    self._set_aside(segment, found)
                else:
                    sequence = found.header.sequence
                    if sequence > expected:
                        self._gap(segment.number, expected, sequence, damaged)
                    expected, damaged = sequence + 1, None
                yield Position(segment.number, found.offset), found
        if damaged and segments[-1][0].next_sequence > expected:
            self._gap(segments[-1][0].number, expected, segments[-1][0].next_sequence, damaged)

    def find(self, sequence: int) -> Position:
        """Where a walk that must not miss `sequence` can begin."""
        chosen = self.segments()[0]
        for segment in self.segments():
            if segment.header.first_sequence <= sequence:
                chosen = segment
        return Position(chosen.number, SEGMENT_HEADER)

    # --- letting go -------------------------------------------------------------------------------------------------

    def removable(self, *, keep_bytes: int, keep_for: timedelta) -> tuple[Segment, ...]:
        """Loaded segments that no retention rule keeps, oldest first."""
        loaded = [s for s in self.segments()[:-1] if s.next_sequence <= self.loaded_before]
        kept, newest_first = 0, []
        youngest = time.time() - keep_for.total_seconds()
        for segment in reversed(loaded):
            kept += segment.end
            if kept > keep_bytes and (not keep_for or segment.path.stat().st_mtime < youngest):
                newest_first.append(segment)
        return tuple(reversed(newest_first))

    def remove(self, segments: tuple[Segment, ...]) -> None:
        for segment in segments:
            with self._lock:
                self._segments.remove(segment)
            segment.close()
            segment.path.unlink(missing_ok=True)

    def close(self) -> None:
        for segment in self.segments():
            segment.close()

    # --- opening ----------------------------------------------------------------------------------------------------

    def _existing(self) -> list[Segment]:
        found: list[Segment] = []
        for path in sorted(self.directory.glob("*.seg")):
            segment = open_segment(path) or self._with_new_header(path, found[-1] if found else None)
            if segment is None:
                self._set_file_aside(path)
            elif segment.header.journal != self.journal.bytes:
                segment.close()
                raise JournalError(
                    f"{path} belongs to journal {uuid.UUID(bytes=segment.header.journal)}, this one is {self.journal}: "
                    "move the file away, or the rest"
                )
            else:
                found.append(segment)
        return found

    def _with_new_header(self, path: Path, before: Segment | None) -> Segment | None:
        """A segment whose header is damaged: its records say themselves what they are. None where there are none."""
        raw = path.read_bytes()[:SEGMENT_HEADER]
        if is_of_another_version(raw) or not path.stem.isdecimal():
            return None
        number = int(path.stem)
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        blank = SegmentHeader(
            journal=self.journal.bytes, number=number, first_sequence=0, previous_end=0, created_ns=time.time_ns()
        )
        segment = Segment(blank, path, fd, os.fstat(fd).st_size, 0)
        records = (each for each in segment.read(SEGMENT_HEADER, segment.end, None) if isinstance(each, Record))
        first = next(records, None)
        if first is None:
            segment.close()
            return None
        first_sequence = first.header.sequence
        header = replace(
            blank, first_sequence=first_sequence, previous_end=_end_before(first_sequence, before) if before else 0
        )
        os.pwrite(fd, header.pack(), 0)
        os.fsync(fd)
        segment.close()
        self.losses.mended_headers += 1
        self._keep(f"{path.stem}.header", raw)
        _log.error("a segment's header was damaged and is made anew from its records", file=str(path))
        return open_segment(path)

    def _mend(self, segment: Segment) -> None:
        """Find the last record of the newest segment and cut off what an interrupted write left behind it."""
        end = SEGMENT_HEADER
        for found in segment.read(SEGMENT_HEADER, segment.end, None):
            if isinstance(found, Record) and found.header.sequence >= segment.next_sequence:
                segment.next_sequence, end = found.header.sequence + 1, found.end
        if end < segment.end:
            self.losses.torn_bytes += segment.end - end
            self._keep(f"{segment.number:012d}-{end}.torn", segment.raw(end, segment.end))
            _log.warning("cut off an interrupted write", file=str(segment.path), bytes=segment.end - end)
            os.ftruncate(segment.fd, end)
            os.fsync(segment.fd)
            segment.end = end

    def _set_file_aside(self, path: Path) -> None:
        size = path.stat().st_size
        if size <= SEGMENT_HEADER:  # made and never written to
            path.unlink()
            return
        self._quarantine.mkdir(exist_ok=True)
        path.replace(self._quarantine / path.name)
        self._quarantine_left -= size
        self.losses.quarantined_bytes += size
        _log.error("a segment's header is damaged", file=str(self._quarantine / path.name), bytes=size)

    # --- losses -----------------------------------------------------------------------------------------------------

    def _set_aside(self, segment: Segment, damage: Damage) -> None:
        key = (segment.number, damage.offset)
        if key in self._seen:
            return
        self._seen.add(key)
        raw = segment.raw(damage.offset, damage.end)
        self.losses.quarantined_bytes += len(raw)
        self._keep(f"{segment.number:012d}-{damage.offset}.bin", raw)

    def _keep(self, name: str, raw: bytes) -> None:
        if len(raw) > self._quarantine_left:
            _log.error("the quarantine folder is at its limit", directory=str(self._quarantine), dropped=name)
            return
        with suppress(OSError):  # a full disk must not stop anybody
            self._quarantine.mkdir(exist_ok=True)
            (self._quarantine / name).write_bytes(raw)
            self._quarantine_left -= len(raw)

    def _gap(self, number: int, expected: int, sequence: int, damaged: tuple[int, Damage] | None) -> None:
        if damaged is None:
            self._missing(number, expected, sequence)
            return
        key = (-1 - damaged[0], damaged[1].offset)
        if key not in self._seen:
            self._seen.add(key)
            self.losses.quarantined_records += sequence - expected
            _log.error(
                "damaged records are in quarantine",
                directory=str(self._quarantine),
                records=sequence - expected,
                sequence=expected,
            )

    def _missing(self, number: int, expected: int, sequence: int) -> None:
        key = (number, -expected)
        if key not in self._seen:
            self._seen.add(key)
            self.losses.missing_records += sequence - expected
            _log.error(
                "records are missing from the journal: a segment file is gone",
                directory=str(self.directory),
                records=sequence - expected,
                sequence=expected,
            )


def _end_before(sequence: int, segment: Segment) -> int:
    """Where the records with smaller numbers end: what follows them was never acknowledged, and written again."""
    end = SEGMENT_HEADER
    for found in segment.read(SEGMENT_HEADER, segment.end, None):
        if isinstance(found, Record):
            if found.header.sequence >= sequence:
                break
            end = found.end
    return end


def write_all(fd: int, parts: Sequence[bytes | memoryview], offset: int) -> int:
    """All of `parts`, one after the other, from `offset` on; how many bytes that was."""
    total = 0
    for first in range(0, len(parts), _IOV_MAX):
        chunk: list[bytes | memoryview] = list(parts[first : first + _IOV_MAX])
        while chunk:
            written = os.pwritev(fd, chunk, offset + total)
            total += written
            while chunk and written >= len(chunk[0]):
                written -= len(chunk.pop(0))
            if written:
                chunk[0] = memoryview(chunk[0])[written:]
    return total


def acquire(path: Path) -> int:
    """The lock of a journal directory, as a file descriptor that holds it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.read(fd, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(fd)
        raise JournalBusy(
            f"the journal in {path.parent} is in use by process {owner}: stop it, or give this one another directory"
        ) from error
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd
