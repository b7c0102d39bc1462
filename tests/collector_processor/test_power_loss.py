"""The power fails at every sync the journal makes: what was acknowledged is in the store or still in the journal.

A model of the disk keeps what was synced and nothing else: the bytes of a file as of its last sync, the entries of a
directory as of its last sync or, because a system may write them whenever it likes, as they are.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from maslens.collector_processor import (
    BatchConfig,
    DeadLetters,
    Journal,
    JournalConfig,
    Loader,
    LoaderConfig,
)
from maslens.collector_processor.signals import SIGNALS

from tests.collector_processor.stores import MemoryStore

RECORDS = 45
TINY = {"segment_bytes": 4096, "max_bytes": 1 << 20, "min_free_bytes": 0}
QUICK = LoaderConfig(
    batch=BatchConfig(max_items=7, idle_wait=timedelta(milliseconds=1), busy_wait=timedelta(milliseconds=2)),
    first_retry=timedelta(milliseconds=1),
    last_retry=timedelta(milliseconds=5),
)


@dataclass(frozen=True)
class Image:
    """What a disk holds after the power failed, and what had been promised by then."""

    files: dict[str, bytes]  # by path below the root
    acknowledged: frozenset[int]
    tried: frozenset[int]  # an insert began: another one must have the same token
    stored: frozenset[int]  # it returned
    let_go: frozenset[int]  # `done` returned


@dataclass
class Disk:
    root: Path
    lock: Any = field(default_factory=threading.RLock)
    data: dict[int, bytes] = field(default_factory=dict)  # inode → bytes when it was last synced
    held: dict[int, int] = field(default_factory=dict)  # inode → a descriptor of ours
    entries: dict[Path, dict[str, int]] = field(default_factory=dict)  # directory → name → inode, when last synced
    acknowledged: set[int] = field(default_factory=set)
    tried: set[int] = field(default_factory=set)
    stored: set[int] = field(default_factory=set)
    let_go: set[int] = field(default_factory=set)
    images: list[Image] = field(default_factory=list)

    def watch(self, sync: Callable[[int], None]) -> Callable[[int], None]:
        def synced(fd: int) -> None:
            path = Path(f"/proc/self/fd/{fd}").readlink()
            if self.root not in (path, *path.parents):
                sync(fd)
                return
            with self.lock:
                self.fail()  # just before ...
                sync(fd)
                if path.is_dir():
                    self.entries[path] = _listing(path)
                else:
                    inode = os.fstat(fd).st_ino
                    if inode not in self.held:
                        self.held[inode] = os.dup(fd)  # so that its number is not given to another file
                    self.data[inode] = path.read_bytes()
                self.fail()  # ... and just after

        return synced

    def fail(self) -> None:
        promised = (frozenset(self.acknowledged), frozenset(self.tried), frozenset(self.stored), frozenset(self.let_go))
        now = {path: _listing(path) for path in (self.root, *self.root.rglob("*")) if path.is_dir()}
        for entries in (self.entries, now):
            self.images.append(Image(dict(self._below(self.root, entries)), *promised))

    def _below(self, directory: Path, entries: dict[Path, dict[str, int]]) -> Any:
        for name, inode in entries.get(directory, {}).items():
            path = directory / name
            if path in entries or path.is_dir():
                yield from self._below(path, entries)
            else:
                yield str(path.relative_to(self.root)), self.data.get(inode, b"")


def _listing(directory: Path) -> dict[str, int]:
    return {entry.name: entry.inode() for entry in os.scandir(directory)}


def numbers(body: bytes) -> list[int]:
    return [int(body[at : at + 6]) for at in range(0, len(body), 300)]


def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, sync_done: bool) -> list[Image]:
    """Every moment at which the power could fail while records are appended, loaded and let go."""
    disk = Disk(tmp_path / "disk")
    disk.root.mkdir()
    monkeypatch.setattr(os, "fsync", disk.watch(os.fsync))
    monkeypatch.setattr(os, "fdatasync", disk.watch(os.fdatasync))
    journal = Journal(disk.root / "data" / "journal", JournalConfig(**TINY, sync_done=sync_done))
    store = MemoryStore()

    def tried(_token: str, body: bytes) -> None:
        with disk.lock:
            disk.tried.update(numbers(body))

    def stored(_token: str, body: bytes) -> None:
        with disk.lock:
            disk.stored.update(numbers(body))

    done = journal.done

    def let_go(cut: Any) -> None:
        records = numbers(journal.read(cut).body())
        done(cut)
        with disk.lock:
            disk.let_go.update(records)

    store.before, store.after = tried, stored
    monkeypatch.setattr(journal, "done", let_go)
    loader = Loader(journal, store, DeadLetters(disk.root / "data" / "deadletter"), QUICK)
    loader.start()
    for record in range(RECORDS):
        journal.append(SIGNALS[record % 3 == 0], b"%06d" % record + bytes(294), items=1).result(30)
        with disk.lock:
            disk.acknowledged.add(record)
    assert loader.drained(30)
    loader.stop()
    journal.close()
    monkeypatch.undo()
    for descriptor in disk.held.values():
        os.close(descriptor)
    assert disk.acknowledged == disk.stored == set(range(RECORDS))
    assert any("000000000001.seg" not in str(image.files.keys()) for image in disk.images), "no segment ever went"
    return disk.images


def left_in(image: Image, directory: Path) -> tuple[list[int], list[int]]:
    """What a journal made of `image` would still load: under tokens of its earlier life, and under new ones."""
    for name, content in image.files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    journal = Journal(directory / "data" / "journal", JournalConfig(**TINY))
    try:
        known = [record for cut in journal.outstanding() for record in numbers(journal.read(cut).body())]
        new: list[int] = []
        for signal in SIGNALS:
            while (batch := journal.cut(signal, max_bytes=1 << 20, max_items=1 << 20)) is not None:
                new += numbers(batch.body())
        stats = journal.stats()
        assert (stats.missing_records, stats.quarantined_records) == (0, 0)
        return known, new
    finally:
        journal.close()


def test_nothing_acknowledged_is_lost_and_nothing_let_go_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = images(tmp_path, monkeypatch, sync_done=True)
    assert len(moments) > 200
    for place, image in enumerate(moments):
        if not image.acknowledged:
            continue
        known, new = left_in(image, tmp_path / f"after-{place}")
        found = known + new
        assert len(found) == len(set(found))
        assert not image.tried & set(new), "under another token"
        assert image.acknowledged <= image.stored | set(found), "lost"
        assert not image.let_go & set(found), "would be stored again"


def test_without_it_the_mark_may_be_lost_but_no_span(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again = 0
    for place, image in enumerate(images(tmp_path, monkeypatch, sync_done=False)):
        if image.acknowledged:
            known, new = left_in(image, tmp_path / f"after-{place}")
            found = {*known, *new}
            assert not image.tried & set(new)
            assert image.acknowledged <= image.stored | found
            again += bool(image.let_go & found)
    assert again, "then sync_done would be of no use"
