"""The journal: what was acknowledged, on disk until it is loaded.

`append` is over once its record is on disk. `cut` takes the next batch out and writes down what it took before anybody
inserts it; `done` lets go of it. README.md documents the files.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import uuid
import zlib
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import structlog
from maslens.collector_processor.cuts import Cut, CutLog, make_directory
from maslens.collector_processor.errors import ConfigError, JournalError, TryAgain
from maslens.collector_processor.records import SegmentHeader
from maslens.collector_processor.segments import Damage, Record, open_segment
from maslens.collector_processor.shelf import Position, Shelf, acquire
from maslens.collector_processor.signals import SIGNALS, Signal
from maslens.collector_processor.writer import Arrival, GroupWriter, WriterLimits, entry

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalConfig:
    max_bytes: int = 4 << 30  # on disk and not loaded; past it senders are told to come back later
    segment_bytes: int = 64 << 20
    queue_bytes: int = 128 << 20  # in memory, waiting for the disk
    min_free_bytes: int = 256 << 20  # left on the file system for everybody else
    keep_loaded_bytes: int = 0  # loaded segments stay while they are within this size ...
    keep_loaded_for: timedelta = timedelta(0)  # ... or younger than this
    quarantine_bytes: int = 1 << 30  # damaged bytes that are kept; past it they are counted and dropped
    sync_done: bool = False  # that a batch is loaded is on disk at once, for a store whose inserts are too
    reload_without_cuts: bool = False  # go on although the file `cuts` is lost: everything still here is loaded again

    def __post_init__(self) -> None:
        if self.segment_bytes < 1 << 12:
            raise ConfigError(f"journal.segment_bytes must be at least 4096, got {self.segment_bytes}")
        if self.max_bytes < 2 * self.segment_bytes:
            raise ConfigError(
                f"journal.max_bytes must be at least two segments ({2 * self.segment_bytes}), got {self.max_bytes}"
            )
        for name in ("queue_bytes", "min_free_bytes", "keep_loaded_bytes", "quarantine_bytes"):
            if getattr(self, name) < 0:
                raise ConfigError(f"journal.{name} must not be negative, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Pending:
    """What waits to be cut, of one signal."""

    records: int = 0
    items: int = 0  # spans or log records
    size: int = 0  # payload bytes
    oldest_ns: int = 0  # when the oldest was received (unix time); 0 where nothing waits


@dataclass(frozen=True, slots=True)
class Batch:
    """A cut and its bytes: the records' payloads, in order."""

    cut: Cut
    payloads: Sequence[memoryview]

    def body(self) -> bytes:
        """One valid request: serialized requests joined end to end are one."""
        return b"".join(self.payloads)


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalStats:
    appended_records: int
    appended_bytes: int  # payloads
    syncs: int
    sync_seconds: float
    write_errors: int
    disk_bytes: int
    queued_bytes: int
    segments: int
    outstanding_cuts: int
    quarantined_records: int  # damaged; the bytes are kept in quarantine/
    quarantined_bytes: int
    missing_records: int  # acknowledged once and gone from the disk
    torn_bytes: int  # cut off at open: an interrupted write, never acknowledged
    mended_headers: int  # segments whose header was damaged and made anew from their records


@dataclass(slots=True)
class _Head:
    """Where the next cut of a signal begins, and what lies ahead of it."""

    position: Position
    sequence: int
    records: int = 0
    items: int = 0
    size: int = 0
    oldest_ns: int = 0
    busy: threading.Lock = field(default_factory=threading.Lock)  # one cutter at a time

    def arrive(self, position: Position, sequence: int, items: int, size: int, received_ns: int) -> None:
        if sequence < self.sequence:  # a cutter was faster than the writer's word
            return
        if not self.records:  # nothing of this signal in between: go straight there
            self.position, self.sequence, self.oldest_ns = position, sequence, received_ns
        self.records += 1
        self.items += items
        self.size += size


@dataclass(slots=True)
class _Taken:
    """Records on their way into a cut."""

    records: list[tuple[Position, Record]] = field(default_factory=list)
    items: int = 0
    size: int = 0
    digest: int = 0

    def add(self, position: Position, record: Record) -> None:
        self.records.append((position, record))
        self.items += record.header.items
        self.size += record.header.length
        self.digest = zlib.crc32(record.header.crc.to_bytes(4, "little"), self.digest)

    def payloads(self) -> list[memoryview]:
        return [record.payload for _, record in self.records if record.payload is not None]

    def cut(self, seq: int, identity: str, *, end: int) -> Cut:
        position, first = self.records[0]
        return Cut(
            seq=seq,
            identity=identity,
            signal=first.header.signal,
            first=first.header.sequence,
            end=end,
            segment=position.segment,
            offset=position.offset,
            items=self.items,
            size=self.size,
            received_ns=first.header.received_ns,
            digest=self.digest,
        )


class Journal:
    """Opens (or makes) the journal of a directory. Thread-safe. One Journal a directory, over all processes.

    Raises JournalBusy when somebody else has it, JournalError when the directory cannot be used as it is.
    """

    def __init__(self, directory: Path, config: JournalConfig | None = None) -> None:
        self.directory = directory
        self.config = config or JournalConfig()
        self.identity = str(uuid.uuid4())  # renewed at every open: a journal put back from a copy repeats no token
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._closed = False
        try:
            make_directory(directory / "segments")
            self._owned = acquire(directory / "lock")
            try:
                self._open()
            except BaseException:
                os.close(self._owned)
                raise
        except OSError as error:
            raise JournalError(f"the journal directory {directory} cannot be used: {error}") from error
        limits = WriterLimits(
            segment_bytes=self.config.segment_bytes,
            held_bytes=self.config.max_bytes,
            queue_bytes=self.config.queue_bytes,
            min_free_bytes=self.config.min_free_bytes,
        )
        self._writer = GroupWriter(self._shelf, limits, self._arrive)

    # --- in ---------------------------------------------------------------------------------------------------------

    def append(self, signal: Signal, payload: bytes | memoryview, *, items: int = 0) -> Future[int]:
        """A future of the record's sequence number, set once it is on disk.

        Raises TryAgain (at once, or through the future) where nothing was kept and the same bytes may be sent later.
        """
        future: Future[int] = Future()
        future.set_running_or_notify_cancel()  # what is being written cannot be called back
        self._writer.put(entry(signal, payload, items, future))
        return future

    def append_soon(self, signal: Signal, payload: bytes | memoryview, *, items: int = 0) -> asyncio.Future[int]:
        """As `append`, in an event loop and with a future of its."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()
        self._writer.put(entry(signal, payload, items, (loop, future)))
        return future

    async def append_async(self, signal: Signal, payload: bytes | memoryview, *, items: int = 0) -> int:
        """As `append`, from a coroutine."""
        return await self.append_soon(signal, payload, items=items)

    def refusal(self) -> TryAgain | None:
        """Why nothing is taken just now: worth asking before work is done for a request."""
        return self._writer.refusal

    # --- out --------------------------------------------------------------------------------------------------------

    def pending(self, signal: Signal) -> Pending:
        with self._lock:
            head = self._heads[signal]
            return Pending(head.records, head.items, head.size, head.oldest_ns if head.records else 0)

    def outstanding(self) -> tuple[Cut, ...]:
        """Cuts not known to be loaded, oldest first; right after opening: what an earlier life left undone."""
        with self._lock:
            return tuple(sorted(self._cuts.state.outstanding.values(), key=lambda cut: cut.seq))

    def wait(self, timeout: float) -> None:
        """Until something changes (new records, a cut done, closing) or `timeout` is over."""
        with self._changed:
            if not self._closed:
                self._changed.wait(timeout)

    def wake(self) -> None:
        """End every `wait`."""
        with self._changed:
            self._changed.notify_all()

    def cut(self, signal: Signal, *, max_bytes: int, max_items: int) -> Batch | None:
        """The next records of `signal` (at least one, then up to either limit), None where nothing waits.

        The cut is on disk when this returns and outstanding until `done`. Raises OSError where it could not be written
        down, and then nothing was taken.
        """
        head = self._heads[signal]
        with head.busy:
            with self._lock:
                ahead, items, size = head.records, head.items, head.size
                start, expected = head.position, head.sequence
            if not ahead:
                return None
            taken, rest = _Taken(), None
            after, following = start, expected
            for position, found in self._shelf.walk(start, expected=expected, signal=signal):
                if isinstance(found, Damage):
                    after = Position(position.segment, found.end)
                    continue
                header = found.header
                if found.payload is None:
                    after, following = Position(position.segment, found.end), header.sequence + 1
                    continue
                if taken.records and (taken.size + header.length > max_bytes or taken.items + header.items > max_items):
                    after, following, rest = position, header.sequence, found
                    break
                taken.add(position, found)
                after, following = Position(position.segment, found.end), header.sequence + 1
                if len(taken.records) == ahead:
                    break
            with self._lock:
                cut = None
                if taken.records:
                    cut = taken.cut(self._cuts.state.next_seq, self.identity, end=following)
                    self._cuts.add(cut)
                whole = rest is None  # all that was ahead is taken, or damaged
                head.records -= ahead if whole else len(taken.records)
                head.items -= items if whole else taken.items
                head.size -= size if whole else taken.size
                head.position, head.sequence = after, following
                head.oldest_ns = rest.header.received_ns if rest else time.time_ns()
            return Batch(cut, taken.payloads()) if cut else None

    def read(self, cut: Cut) -> Batch:
        """The bytes of an outstanding cut, from disk. Damage since it was made is stepped over and counted."""
        taken = self._records(cut)
        if taken.digest != cut.digest:
            _log.error("records of a batch were lost", token=cut.token, items=cut.items, left=taken.items)
        return Batch(cut, taken.payloads())

    def split(self, cut: Cut) -> tuple[Batch, Batch] | None:
        """Two cuts for one that was refused whole, durable on return; None for a single record."""
        records = self._records(cut).records
        if len(records) < 2:
            return None
        middle = len(records) // 2
        left, right = _Taken(), _Taken()
        for index, (position, record) in enumerate(records):
            (left if index < middle else right).add(position, record)
        with self._lock:
            seq = self._cuts.state.next_seq
            first = left.cut(seq, self.identity, end=right.records[0][1].header.sequence)
            second = right.cut(seq + 1, self.identity, end=cut.end)
            self._cuts.split(cut, (first, second))
        return Batch(first, left.payloads()), Batch(second, right.payloads())

    def done(self, cut: Cut) -> None:
        """The cut is loaded, or put aside for good: its records may go."""
        with self._lock:
            self._cuts.done(cut)
            self._let_go()
            self._changed.notify_all()

    def stats(self) -> JournalStats:
        writer, losses = self._writer, self._shelf.losses
        return JournalStats(
            appended_records=writer.appended_records,
            appended_bytes=writer.appended_bytes,
            syncs=writer.syncs,
            sync_seconds=writer.sync_seconds,
            write_errors=writer.write_errors,
            disk_bytes=self._shelf.disk_bytes(),
            queued_bytes=writer.queued_bytes,
            segments=len(self._shelf.segments()),
            outstanding_cuts=len(self._cuts.state.outstanding),
            quarantined_records=losses.quarantined_records,
            quarantined_bytes=losses.quarantined_bytes,
            missing_records=losses.missing_records,
            torn_bytes=losses.torn_bytes,
            mended_headers=losses.mended_headers,
        )

    def close(self) -> None:
        """Write what is queued, then let go of the directory. What is not loaded stays for the next open."""
        if self._closed:
            return
        self._writer.close()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._cuts.close()
            self._shelf.close()
            os.close(self._owned)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        path = self.directory / "cuts"
        leftovers = sorted((self.directory / "segments").glob("*.seg"))
        if leftovers and not path.exists() and not self.config.reload_without_cuts:
            raise JournalError(
                f"{path} is missing, so it is not known which of the records in {self.directory / 'segments'} were "
                "loaded. Put the file back, or open with reload_without_cuts to load all of them again (spans may then "
                "be stored twice)"
            )
        oldest = _first_header(leftovers)
        lost = not path.exists()
        self._cuts = CutLog(
            path,
            new_journal=str(uuid.UUID(bytes=oldest.journal) if oldest else uuid.uuid4()),
            sync_done=self.config.sync_done,
        )
        state = self._cuts.state
        if oldest and lost:
            state.removed = oldest.first_sequence
        self._shelf = Shelf(
            self.directory / "segments",
            journal=uuid.UUID(self._cuts.journal),
            removed_before=state.removed,
            known_before=max((state.removed, *state.cursor.values())),
            quarantine_bytes=self.config.quarantine_bytes,
        )
        self._arrived = self._shelf.next_sequence  # of the next record to come
        cursor = {signal: max(state.removed, state.cursor[signal]) for signal in SIGNALS}
        self._heads = {signal: _Head(self._shelf.end, cursor[signal]) for signal in SIGNALS}
        start = min(cursor.values())
        position = self._shelf.find(start)
        expected = next(s.header.first_sequence for s in self._shelf.segments() if s.number == position.segment)
        for where, found in self._shelf.walk(position, expected=expected, headers_only=True):
            if isinstance(found, Record) and found.header.sequence >= cursor[found.header.signal]:
                header = found.header
                self._heads[header.signal].arrive(
                    where, header.sequence, header.items, header.length, header.received_ns
                )
        self._let_go()

    def _arrive(self, arrivals: Sequence[Arrival]) -> None:
        with self._changed:
            idle = False
            for arrival in arrivals:
                came = arrival.entry
                idle = idle or not self._heads[came.signal].records
                self._heads[came.signal].arrive(
                    arrival.position, arrival.sequence, came.items, len(came.payload), came.received_ns
                )
                self._arrived = arrival.sequence + 1
            if idle:  # only who has nothing to do waits to be told
                self._changed.notify_all()

    def _records(self, cut: Cut) -> _Taken:
        taken = _Taken()
        start = Position(cut.segment, cut.offset)
        for position, found in self._shelf.walk(start, expected=cut.first, signal=cut.signal):
            if isinstance(found, Record):
                if found.header.sequence >= cut.end:
                    break
                if found.payload is not None:
                    taken.add(position, found)
        return taken

    def _let_go(self) -> None:
        """Remove segments in which everything is loaded. Called under the lock."""
        needed = [head.sequence for head in self._heads.values() if head.records]
        needed += [cut.first for cut in self._cuts.state.outstanding.values()]
        self._shelf.loaded_before = min(needed, default=self._arrived)
        gone = self._shelf.removable(keep_bytes=self.config.keep_loaded_bytes, keep_for=self.config.keep_loaded_for)
        if gone:
            self._cuts.removed(gone[-1].next_sequence)
            self._shelf.remove(gone)


def _first_header(paths: Sequence[Path]) -> SegmentHeader | None:
    for path in paths:
        segment = open_segment(path)
        if segment is not None:
            segment.close()
            return segment.header
    return None
