"""What was taken out of the journal as one insert, written down before the insert is tried.

A line is `crc32 json`. The file is small: it is written anew, with what still counts, when it has grown.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from maslens.collector_processor.errors import JournalError
from maslens.collector_processor.signals import SIGNALS, Signal

VERSION: Final = 1
_REWRITE_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """All records of `signal` with `first <= sequence < end`: the same bytes for ever, so one token for ever."""

    seq: int
    identity: str  # the journal's uuid when the cut was made
    signal: Signal
    first: int
    end: int
    segment: int  # where record `first` begins
    offset: int
    items: int
    size: int  # payload bytes
    received_ns: int  # of the oldest record
    digest: int  # crc32 over the records' checksums

    @property
    def token(self) -> str:
        return f"{self.identity}:{self.seq}"


@dataclass(slots=True)
class CutState:
    """Everything the file says, in force after its last line."""

    next_seq: int = 1
    cursor: dict[Signal, int] = field(default_factory=lambda: dict.fromkeys(SIGNALS, 1))  # first record not cut yet
    outstanding: dict[int, Cut] = field(default_factory=dict)  # cut, not known to be loaded
    removed: int = 1  # records before this sequence are gone because they were loaded

    def apply(self, line: dict[str, Any]) -> None:
        if "cut" in line:
            self._add(Cut(**line["cut"]))
        elif "split" in line:
            del self.outstanding[line["split"]]
            for part in line["into"]:
                self._add(Cut(**part))
        elif "done" in line:
            del self.outstanding[line["done"]]
        elif "removed" in line:
            self.removed = max(self.removed, line["removed"])

    def _add(self, cut: Cut) -> None:
        self.outstanding[cut.seq] = cut
        self.next_seq = max(self.next_seq, cut.seq + 1)
        self.cursor[cut.signal] = max(self.cursor[cut.signal], cut.end)


class CutLog:
    """The file `cuts` of a journal, made if absent. Not thread-safe: the journal calls it under its lock."""

    def __init__(self, path: Path, *, new_journal: str, sync_done: bool = False) -> None:
        self.path = path
        self.sync_done = sync_done
        self.journal = new_journal  # the journal's uuid, unless the file knows it
        self.state = CutState()
        self._fd, self._size = -1, 0
        if path.exists():
            self._load()
        self._rewrite()

    def add(self, cut: Cut) -> None:
        """Durable on return: only then may the insert be tried."""
        self._write({"cut": asdict(cut)}, sync=True)

    def split(self, cut: Cut, parts: Iterable[Cut]) -> None:
        """Replace a cut that was refused whole by smaller ones; durable on return."""
        self._write({"split": cut.seq, "into": [asdict(part) for part in parts]}, sync=True)

    def done(self, cut: Cut) -> None:
        """Loaded. Losing this line costs one insert under a known token, so the next sync may carry it.

        Without power the store may have lost the token and kept the rows, which is what `sync_done` is for.
        """
        self._write({"done": cut.seq}, sync=self.sync_done)

    def removed(self, sequence: int) -> None:
        """Durable before the files go, or a later open would miss them."""
        self._write({"removed": sequence}, sync=True)

    def close(self) -> None:
        os.fsync(self._fd)
        os.close(self._fd)

    def _write(self, line: dict[str, Any], *, sync: bool) -> None:
        raw = _line(line)
        try:
            _write_all(self._fd, raw)
            if sync:
                os.fdatasync(self._fd)
        except OSError:
            os.ftruncate(self._fd, self._size)  # half a line must not swallow the next one
            raise
        self._size += len(raw)
        self.state.apply(line)
        if self._size > _REWRITE_BYTES:
            with suppress(OSError):  # what was to be written is: shortening the file can wait for a better moment
                self._rewrite()

    def _rewrite(self) -> None:
        state = self.state
        head = {
            "maslens_cuts": VERSION,
            "journal": self.journal,
            "next": state.next_seq,
            "cursor": state.cursor,
            "removed": state.removed,
        }
        raw = _line(head) + b"".join(_line({"cut": asdict(cut)}) for cut in state.outstanding.values())
        new = self.path.with_suffix(".new")
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write_all(fd, raw)
            os.fsync(fd)
            new.replace(self.path)
            sync_directory(self.path.parent)
        except OSError:
            os.close(fd)
            raise
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._size = fd, len(raw)

    def _load(self) -> None:
        *lines, tail = self.path.read_bytes().split(b"\n")
        if _parse(tail[:-1]) is not None:  # whole, but for the line break itself
            lines.append(tail[:-1])
        # Anything else without a line break was torn while being written: its insert was never tried.
        for number, raw in enumerate(lines):
            line = _parse(raw)
            if line is None:
                raise JournalError(
                    f"{self.path}, line {number + 1} is damaged, so it is not known which records were loaded. Put "
                    "back a copy of the file, or remove it and open with reload_without_cuts to load again everything "
                    "that is still in the journal (spans may then be stored twice)"
                )
            if number == 0:
                self._head(line)
            else:
                self.state.apply(line)
        if not lines:
            raise JournalError(f"{self.path} is empty: put back a copy of the file, or open with reload_without_cuts")

    def _head(self, line: dict[str, Any]) -> None:
        if line.get("maslens_cuts") != VERSION:
            raise JournalError(f"{self.path} is of version {line.get('maslens_cuts')}, this release reads {VERSION}")
        self.journal = line["journal"]
        self.state.next_seq = line["next"]
        self.state.cursor.update(line["cursor"])
        self.state.removed = line["removed"]


def make_directory(directory: Path) -> None:
    """With its parents; on return their entries are on disk too."""
    made = [each for each in (directory, *directory.parents) if not each.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    for each in reversed(made):
        sync_directory(each.parent)


def sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _line(content: dict[str, Any]) -> bytes:
    raw = json.dumps(content, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(raw), raw)


def _parse(raw: bytes) -> dict[str, Any] | None:
    try:
        crc, content = raw.split(b" ", 1)
        if int(crc, 16) != zlib.crc32(content):
            return None
        parsed: dict[str, Any] = json.loads(content)
    except ValueError:
        return None
    return parsed


def _write_all(fd: int, raw: bytes) -> None:
    while raw:
        raw = raw[os.write(fd, raw) :]
