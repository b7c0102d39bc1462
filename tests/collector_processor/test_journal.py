"""What the journal promises, on real files."""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maslens.collector_processor.errors import ConfigError, JournalBusy, JournalError, TryAgain
from maslens.collector_processor.journal import Journal, JournalConfig
from maslens.collector_processor.records import RECORD_HEADER, SEGMENT_HEADER

ALL = {"max_bytes": 1 << 30, "max_items": 1 << 30}
SMALL = JournalConfig(segment_bytes=4096, min_free_bytes=0)


@contextmanager
def opened(directory: Path, config: JournalConfig = SMALL) -> Iterator[Journal]:
    journal = Journal(directory, config)
    try:
        yield journal
    finally:
        journal.close()


def fill(journal: Journal, *payloads: bytes, signal: str = "traces") -> None:
    for payload in payloads:
        journal.append(signal, payload, items=1).result(5)  # type: ignore[arg-type]


def segment_files(directory: Path) -> list[Path]:
    return sorted((directory / "segments").glob("*.seg"))


def everything(journal: Journal, signal: str = "traces") -> list[bytes]:
    """Cut to the end, loading it all."""
    found: list[bytes] = []
    while (batch := journal.cut(signal, **ALL)) is not None:  # type: ignore[arg-type]
        found += [bytes(payload) for payload in batch.payloads]
        journal.done(batch.cut)
    return found


def test_a_cut_takes_what_was_appended_in_order_and_keeps_signals_apart(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        fill(journal, b"a", b"b")
        fill(journal, b"log", signal="logs")
        fill(journal, b"c")
        batch = journal.cut("traces", **ALL)
        assert batch is not None
        assert batch.body() == b"abc"
        assert (batch.cut.items, batch.cut.size) == (3, 3)
        assert everything(journal, "logs") == [b"log"]
        assert journal.cut("traces", **ALL) is None


@pytest.mark.parametrize(
    ("max_bytes", "max_items", "expected"),
    [
        pytest.param(10, 100, [[b"aaaa", b"bbbb"], [b"cccc"]], id="by bytes"),
        pytest.param(1000, 1, [[b"aaaa"], [b"bbbb"], [b"cccc"]], id="by items"),
        pytest.param(1, 1000, [[b"aaaa"], [b"bbbb"], [b"cccc"]], id="one record at least"),
    ],
)
def test_a_cut_keeps_its_limits(tmp_path: Path, max_bytes: int, max_items: int, expected: list[list[bytes]]) -> None:
    with opened(tmp_path) as journal:
        fill(journal, b"aaaa", b"bbbb", b"cccc")
        batches = [journal.cut("traces", max_bytes=max_bytes, max_items=max_items) for _ in expected]
        assert [[bytes(p) for p in batch.payloads] for batch in batches if batch] == expected
        assert len({batch.cut.token for batch in batches if batch}) == len(expected)


def test_pending_says_what_waits(tmp_path: Path) -> None:
    before = time.time_ns()
    with opened(tmp_path) as journal:
        assert journal.pending("traces").oldest_ns == 0
        fill(journal, b"aaaa", b"bbbb")
        pending = journal.pending("traces")
        assert (pending.records, pending.items, pending.size) == (2, 2, 8)
        assert before <= pending.oldest_ns <= time.time_ns()
        journal.cut("traces", **ALL)
        assert journal.pending("traces").records == 0


def test_a_cut_that_was_not_done_is_outstanding_after_reopening_with_the_same_token_and_bytes(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        fill(journal, b"a", b"b")
        first = journal.cut("traces", **ALL)
        fill(journal, b"c")
    assert first is not None
    with opened(tmp_path) as journal:
        (again,) = journal.outstanding()
        assert again == first.cut
        assert journal.read(again).body() == b"ab"
        fill(journal, b"d")
        rest = journal.cut("traces", **ALL)
        assert rest is not None
        assert rest.body() == b"cd"
        assert rest.cut.token != again.token


def test_a_done_cut_is_forgotten(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        fill(journal, b"a")
        assert everything(journal) == [b"a"]
    with opened(tmp_path) as journal:
        assert journal.outstanding() == ()
        assert everything(journal) == []


def test_a_journal_put_back_from_a_copy_never_uses_a_token_again(tmp_path: Path) -> None:
    tokens = set()
    for _ in range(2):
        with opened(tmp_path / "journal") as journal:
            fill(journal, b"a")
            batch = journal.cut("traces", **ALL)
            assert batch is not None
            tokens.add(batch.cut.token)
        for path in sorted((tmp_path / "journal").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    assert len(tokens) == 2


def test_splitting_replaces_a_cut_by_its_halves_for_good(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        fill(journal, b"a", b"b", b"c")
        batch = journal.cut("traces", **ALL)
        assert batch is not None
        parts = journal.split(batch.cut)
        assert parts is not None
        assert [part.body() for part in parts] == [b"a", b"bc"]
    with opened(tmp_path) as journal:
        outstanding = journal.outstanding()
        assert [cut.token for cut in outstanding] == [part.cut.token for part in parts]
        assert [journal.read(cut).body() for cut in outstanding] == [b"a", b"bc"]
        assert journal.split(outstanding[0]) is None


def test_loaded_segments_are_removed_and_the_rest_stays(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        fill(journal, *(bytes([65 + index]) * 2000 for index in range(9)))
        before = len(segment_files(tmp_path))
        batch = journal.cut("traces", max_bytes=8000, max_items=100)
        assert batch is not None
        assert len(segment_files(tmp_path)) == before  # not loaded yet
        journal.done(batch.cut)
        assert len(segment_files(tmp_path)) < before
        assert [payload[:1] for payload in everything(journal)] == [b"E", b"F", b"G", b"H", b"I"]
        assert len(segment_files(tmp_path)) == 1
    with opened(tmp_path) as journal:
        assert journal.stats().missing_records == 0


@pytest.mark.parametrize(
    ("config", "kept"),
    [
        pytest.param({}, 1, id="nothing is kept by default"),
        pytest.param({"keep_loaded_bytes": 1 << 20}, 5, id="by size"),
        pytest.param({"keep_loaded_for": timedelta(hours=1)}, 5, id="by age"),
    ],
)
def test_loaded_segments_are_kept_by_size_and_age(tmp_path: Path, config: dict[str, object], kept: int) -> None:
    with opened(tmp_path, JournalConfig(segment_bytes=4096, min_free_bytes=0, **config)) as journal:  # type: ignore[arg-type]
        fill(journal, *(b"x" * 4000 for _ in range(5)))
        everything(journal)
        assert len(segment_files(tmp_path)) == kept


def test_records_of_a_quiet_signal_do_not_hold_segments(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        fill(journal, b"log", signal="logs")
        everything(journal, "logs")
        for _ in range(5):
            fill(journal, b"x" * 4000)
            everything(journal)
        assert len(segment_files(tmp_path)) == 1


def test_many_appenders_share_a_sync(tmp_path: Path) -> None:
    with opened(tmp_path, JournalConfig()) as journal:
        done: list[int] = []

        def send() -> None:
            done.extend([journal.append("traces", b"x" * 100, items=1).result(10) for _ in range(50)])

        threads = [threading.Thread(target=send) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(done) == list(range(1, 801))
        stats = journal.stats()
        assert stats.appended_records == 800
        assert stats.syncs < 800
        assert len(everything(journal)) == 800


def test_append_from_coroutines(tmp_path: Path) -> None:
    async def send(journal: Journal) -> list[int]:
        return list(await asyncio.gather(*(journal.append_async("logs", b"%d" % n, items=1) for n in range(100))))

    with opened(tmp_path) as journal:
        assert sorted(asyncio.run(send(journal))) == list(range(1, 101))
        assert len(everything(journal, "logs")) == 100


def test_a_full_journal_asks_to_come_back_and_recovers(tmp_path: Path) -> None:
    with opened(tmp_path, JournalConfig(segment_bytes=4096, max_bytes=16384, min_free_bytes=0)) as journal:
        taken = 0
        with pytest.raises(TryAgain) as refused:
            for _ in range(100):
                fill(journal, b"x" * 2000)
                taken += 1
                time.sleep(0.01)  # the refusal is known after the sync, not before
        assert refused.value.reason == "journal_full"
        assert journal.refusal() is not None
        assert 6 <= taken <= 9
        assert len(everything(journal)) == taken
        deadline = time.monotonic() + 5
        while journal.refusal() is not None and time.monotonic() < deadline:
            time.sleep(0.02)
        fill(journal, b"again")
        assert everything(journal) == [b"again"]


def test_memory_for_what_waits_is_bounded(tmp_path: Path) -> None:
    with opened(tmp_path, JournalConfig(queue_bytes=1000, min_free_bytes=0)) as journal:
        outcomes = []
        with pytest.raises(TryAgain) as refused:
            outcomes.extend(journal.append("traces", b"x" * 600) for _ in range(2000))
        assert refused.value.reason == "queue_full"
        for outcome in outcomes:
            outcome.result(5)


def test_a_nearly_full_disk_is_left_to_others(tmp_path: Path) -> None:
    with opened(tmp_path, JournalConfig(min_free_bytes=1 << 60)) as journal:
        fill(journal, b"the first is taken: nobody has looked yet")
        time.sleep(0.05)
        with pytest.raises(TryAgain) as refused:
            fill(journal, b"x")
        assert refused.value.reason == "disk_full"


def test_a_disk_that_refuses_a_write_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with opened(tmp_path, JournalConfig(min_free_bytes=0)) as journal:
        fill(journal, b"kept")
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))  # a write past this fails in the middle
        try:
            with pytest.raises(TryAgain) as refused:
                journal.append("traces", b"x" * 10_000, items=1).result(5)
            assert refused.value.reason == "disk_error"
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        deadline = time.monotonic() + 5
        while journal.refusal() is not None and time.monotonic() < deadline:
            time.sleep(0.02)
        fill(journal, b"after")
        assert journal.stats().write_errors == 1
    with opened(tmp_path) as journal:
        assert everything(journal) == [b"kept", b"after"]
        stats = journal.stats()
        assert (stats.missing_records, stats.quarantined_records) == (0, 0)


@contextmanager
def small_disk(directory: Path, size: str) -> Iterator[Path]:
    """A file system of its own; skips where this user may not mount one."""
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "maslens-test", str(directory)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


@pytest.mark.skipif(shutil.which("mount") is None, reason="no mount command")
def test_a_disk_that_is_really_full_loses_nothing_and_is_used_again_when_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        kept: list[bytes] = []
        with opened(disk / "journal", SMALL) as journal:
            ballast = disk / "somebody-elses"
            ballast.write_bytes(bytes(400_000))
            with pytest.raises(TryAgain) as refused:
                for number in range(1000):
                    payload = b"%05d" % number + bytes(3000)
                    fill(journal, payload)
                    kept.append(payload)
            assert refused.value.reason == "disk_error"
            assert "No space left" in str(refused.value)
            for _ in range(3):  # it goes on saying so
                with pytest.raises(TryAgain):
                    fill(journal, bytes(3000))
            taken = journal.cut("traces", max_bytes=1, max_items=1)  # what is there can be loaded meanwhile, or waits
            assert taken is None or taken.body() == kept[0]
            ballast.unlink()
            deadline = time.monotonic() + 10
            while journal.refusal() is not None and time.monotonic() < deadline:
                time.sleep(0.02)
            fill(journal, b"after")
        with opened(disk / "journal") as journal:
            found = [] if taken is None else [bytes(taken.payloads[0])]
            assert [*found, *everything(journal)] == [*kept, b"after"]
            assert journal.stats().missing_records == 0


def test_a_flipped_bit_anywhere_costs_what_it_is_in_and_is_noticed(tmp_path: Path) -> None:
    """Every byte of a segment in turn: header, record headers, payloads."""
    whole = tmp_path / "whole"
    payloads = [b"first", b"second", b"third"]
    with opened(whole) as journal:
        fill(journal, *payloads)
    name = segment_files(whole)[0].name
    raw = segment_files(whole)[0].read_bytes()
    ends = [SEGMENT_HEADER]
    for payload in payloads:
        ends.append(ends[-1] + RECORD_HEADER + len(payload))
    for at in range(len(raw)):
        copy = tmp_path / f"flip-{at}"
        shutil.copytree(whole, copy)
        (copy / "segments" / name).write_bytes(raw[:at] + bytes([raw[at] ^ 0x04]) + raw[at + 1 :])
        with opened(copy) as journal:
            hit = next(n for n in range(4) if at < ends[n]) - 1  # -1: the header, which the records make up for
            expected = [payload for n, payload in enumerate(payloads) if n != hit]
            assert everything(journal) == expected, at
            fill(journal, b"next")
            assert everything(journal) == [b"next"], at
            stats = journal.stats()
            noticed = stats.quarantined_records + stats.mended_headers + (stats.torn_bytes > 0)
            assert noticed >= 1, at
        shutil.rmtree(copy)


def test_a_flipped_bit_anywhere_in_the_cuts_never_changes_what_was_loaded(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    with opened(whole) as journal:
        fill(journal, b"first", b"second")
        loaded = journal.cut("traces", max_bytes=1, max_items=1)
        assert loaded is not None
        journal.done(loaded.cut)
        waits = journal.cut("traces", max_bytes=1, max_items=1)
        assert waits is not None
    raw = (whole / "cuts").read_bytes()
    for at in range(len(raw)):
        copy = tmp_path / f"flip-{at}"
        shutil.copytree(whole, copy)
        (copy / "cuts").write_bytes(raw[:at] + bytes([raw[at] ^ 0x04]) + raw[at + 1 :])
        if at < len(raw) - 1:
            with pytest.raises(JournalError, match="damaged"):
                Journal(copy, SMALL)
        else:  # the very last line break
            with opened(copy) as journal:
                assert [cut.token for cut in journal.outstanding()] == [waits.cut.token]
                assert everything(journal) == []
        shutil.rmtree(copy)


# Written by version 1 of the format, as README.md has it: field by field, by nobody's code but this.
_UUID = bytes(range(16))


def _version_1(directory: Path) -> None:
    def crc(raw: bytes) -> bytes:
        return raw + struct.pack("<I", zlib.crc32(raw))

    header = (
        b"MASLJRN\n" + struct.pack("<HHI", 1, 68, 0) + _UUID + struct.pack("<QQQQ", 42, 7, 0, 1_700_000_000 * 10**9)
    )
    records = b""
    for sequence, (signal, payload) in enumerate([(1, b"a trace"), (2, b"a log"), (1, b"another")], 7):
        head = b"\xa5MR1" + struct.pack("<IBBHI", len(payload), signal, 0, 0, 3)
        head += struct.pack("<QQI", sequence, 1_700_000_001 * 10**9, zlib.crc32(payload))
        records += crc(head) + payload
    (directory / "segments").mkdir(parents=True)
    (directory / "segments" / "000000000042.seg").write_bytes(crc(header) + records)
    state = {
        "maslens_cuts": 1, "journal": str(uuid.UUID(bytes=_UUID)), "next": 5, "cursor": {"traces": 7, "logs": 7},
        "removed": 7,
    }  # fmt: skip
    cut = {
        "seq": 4, "identity": "an-earlier-start", "signal": "traces", "first": 7, "end": 8, "segment": 42,
        "offset": 68, "items": 3, "size": 7, "received_ns": 1,
        "digest": zlib.crc32(struct.pack("<I", zlib.crc32(b"a trace"))),
    }  # fmt: skip
    lines = b""
    for line in (state, {"cut": cut}):
        text = json.dumps(line).encode()
        lines += b"%08x %s\n" % (zlib.crc32(text), text)
    (directory / "cuts").write_bytes(lines)


def test_an_old_record_at_the_end_hides_nothing_that_comes_later(tmp_path: Path) -> None:
    """A file system may give back blocks of another time: numbers never go back."""
    with opened(tmp_path) as journal:
        fill(journal, b"first", b"second", b"third")
    path = segment_files(tmp_path)[0]
    raw = path.read_bytes()
    path.write_bytes(raw + raw[SEGMENT_HEADER : SEGMENT_HEADER + RECORD_HEADER + len(b"first")])
    with opened(tmp_path) as journal:
        assert everything(journal) == [b"first", b"second", b"third"]
        fill(journal, b"next")
        assert everything(journal) == [b"next"]
        assert journal.stats().torn_bytes == RECORD_HEADER + len(b"first")


def test_version_1_is_read_whoever_wrote_it(tmp_path: Path) -> None:
    directory = tmp_path / "journal"
    _version_1(directory)
    with opened(directory) as journal:
        (cut,) = journal.outstanding()
        assert cut.token == "an-earlier-start:4"
        assert journal.read(cut).body() == b"a trace"
        assert journal.pending("traces").items == 3
        assert everything(journal) == [b"another"]
        assert everything(journal, "logs") == [b"a log"]
        stats = journal.stats()
        assert (stats.quarantined_bytes, stats.missing_records, stats.torn_bytes) == (0, 0, 0)


def test_a_later_version_is_refused_or_set_aside_never_misread(tmp_path: Path) -> None:
    directory = tmp_path / "journal"
    _version_1(directory)
    path = directory / "segments" / "000000000042.seg"
    raw = path.read_bytes()
    header = raw[:8] + struct.pack("<H", 2) + raw[10:64]
    path.write_bytes(header + struct.pack("<I", zlib.crc32(header)) + raw[68:])
    with opened(directory) as journal:
        assert everything(journal) == []
        assert (directory / "quarantine" / path.name).read_bytes() == path_bytes(header, raw)
    state = json.dumps({"maslens_cuts": 2}).encode()
    (directory / "cuts").write_bytes(b"%08x %s\n" % (zlib.crc32(state), state))
    with pytest.raises(JournalError, match="is of version 2, this release reads 1"):
        Journal(directory)


def path_bytes(header: bytes, raw: bytes) -> bytes:
    return header + struct.pack("<I", zlib.crc32(header)) + raw[68:]


def test_the_quarantine_has_a_limit(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        fill(journal, b"before", b"flipped" + bytes(500), b"after")
    damage(segment_files(tmp_path)[0], b"flipped", 0)
    config = JournalConfig(segment_bytes=4096, min_free_bytes=0, quarantine_bytes=100)
    with opened(tmp_path, config) as journal:
        assert everything(journal) == [b"before", b"after"]
        assert journal.stats().quarantined_records == 1
        assert not (tmp_path / "quarantine").exists()


@pytest.mark.parametrize("left", [1, RECORD_HEADER - 1, RECORD_HEADER + 2])
def test_a_torn_tail_is_cut_off_and_kept_aside(tmp_path: Path, left: int) -> None:
    with opened(tmp_path) as journal:
        fill(journal, b"whole")
    (last,) = segment_files(tmp_path)
    whole = last.read_bytes()
    last.write_bytes(whole + whole[SEGMENT_HEADER:][:left])
    with opened(tmp_path) as journal:
        assert journal.stats().torn_bytes == left
        assert last.read_bytes() == whole
        assert everything(journal) == [b"whole"]
        fill(journal, b"next")
        assert everything(journal) == [b"next"]
    assert [path.stat().st_size for path in (tmp_path / "quarantine").glob("*.torn")] == [left]


def damage(path: Path, needle: bytes, shift: int = 0) -> None:
    raw = bytearray(path.read_bytes())
    raw[raw.index(needle) + shift] ^= 0x10
    path.write_bytes(bytes(raw))


@pytest.mark.parametrize(
    "shift", [pytest.param(0, id="in the payload"), pytest.param(-RECORD_HEADER + 6, id="in its length")]
)
def test_a_flipped_bit_costs_its_record_only(tmp_path: Path, shift: int) -> None:
    with opened(tmp_path) as journal:
        fill(journal, b"before", b"flipped", b"after")
    damage(segment_files(tmp_path)[0], b"flipped", shift)
    with opened(tmp_path) as journal:
        assert everything(journal) == [b"before", b"after"]
        assert journal.pending("traces").records == 0
        stats = journal.stats()
        assert (stats.quarantined_records, stats.missing_records) == (1, 0)
        assert any(b"flip" in path.read_bytes() or shift == 0 for path in (tmp_path / "quarantine").iterdir())
        fill(journal, b"next")
        assert everything(journal) == [b"next"]


def test_a_flipped_bit_in_the_last_record_does_not_hide_it(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        fill(journal, b"before", b"flipped")
    damage(segment_files(tmp_path)[0], b"flipped")
    with opened(tmp_path) as journal:
        assert everything(journal) == [b"before"]
        assert journal.stats().quarantined_records == 1


def test_a_flipped_bit_in_an_outstanding_cut_leaves_the_rest_of_it(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        fill(journal, b"before", b"flipped", b"after")
        batch = journal.cut("traces", **ALL)
    assert batch is not None
    damage(segment_files(tmp_path)[0], b"flipped")
    with opened(tmp_path) as journal:
        again = journal.read(journal.outstanding()[0])
        assert again.cut.token == batch.cut.token
        assert again.body() == b"beforeafter"
        assert journal.stats().quarantined_records == 1


def test_a_missing_segment_is_counted_and_the_others_are_loaded(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        fill(journal, *(bytes([65 + index]) * 4000 for index in range(5)))
    segment_files(tmp_path)[2].unlink()
    with opened(tmp_path) as journal:
        assert [payload[:1] for payload in everything(journal)] == [b"A", b"B", b"D", b"E"]
        assert journal.stats().missing_records == 1
        fill(journal, b"next")
        assert everything(journal) == [b"next"]


def test_the_oldest_segment_missing_is_noticed(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        fill(journal, *(bytes([65 + index]) * 4000 for index in range(3)))
    segment_files(tmp_path)[0].unlink()
    with opened(tmp_path) as journal:
        assert journal.stats().missing_records == 1
        assert [payload[:1] for payload in everything(journal)] == [b"B", b"C"]


def test_numbers_are_never_used_again_although_the_segments_are_gone(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        fill(journal, b"a", b"b")
        everything(journal)
        fill(journal, b"c")
        journal.cut("traces", **ALL)
    for path in segment_files(tmp_path):
        path.unlink()
    with opened(tmp_path) as journal:
        fill(journal, b"new")
        assert everything(journal) == [b"new"]


def test_a_damaged_segment_header_is_made_anew_from_the_records(tmp_path: Path) -> None:
    for payload in (b"one", b"two", b"three"):
        with opened(tmp_path) as journal:
            fill(journal, payload)
    path = segment_files(tmp_path)[1]
    header = path.read_bytes()[:SEGMENT_HEADER]
    path.write_bytes(bytes(SEGMENT_HEADER) + path.read_bytes()[SEGMENT_HEADER:])
    with opened(tmp_path) as journal:
        assert everything(journal) == [b"one", b"two", b"three"]
        stats = journal.stats()
        assert (stats.mended_headers, stats.missing_records, stats.quarantined_records) == (1, 0, 0)
    assert (tmp_path / "quarantine" / f"{path.stem}.header").read_bytes() == bytes(len(header))


def test_a_segment_without_header_and_records_is_set_aside(tmp_path: Path) -> None:
    for payload in (b"one", b"two", b"three"):
        with opened(tmp_path) as journal:
            fill(journal, payload)
    path = segment_files(tmp_path)[1]
    path.write_bytes(bytes(path.stat().st_size))
    with opened(tmp_path) as journal:
        assert everything(journal) == [b"one", b"three"]
        assert journal.stats().missing_records == 1
    assert (tmp_path / "quarantine" / path.name).exists()


def test_lost_cuts_are_refused_unless_asked_for(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        fill(journal, b"a")
        everything(journal)
    (tmp_path / "cuts").unlink()
    with pytest.raises(JournalError, match="reload_without_cuts"):
        Journal(tmp_path, SMALL)
    with opened(tmp_path, JournalConfig(segment_bytes=4096, min_free_bytes=0, reload_without_cuts=True)) as journal:
        assert everything(journal) == [b"a"]
        assert journal.stats().missing_records == 0


def test_a_damaged_line_among_the_cuts_is_refused_and_named(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        for payload in (b"a", b"b", b"c"):
            fill(journal, payload)
            journal.cut("traces", **ALL)
    damage(tmp_path / "cuts", b'"seq":2')
    with pytest.raises(JournalError, match="line 3 is damaged"):
        Journal(tmp_path, SMALL)


def test_half_a_line_at_the_end_of_the_cuts_is_what_an_interrupted_write_leaves(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        fill(journal, b"a")
        journal.cut("traces", **ALL)
        fill(journal, b"b")
    with (tmp_path / "cuts").open("ab") as file:
        file.write(b'1234 {"cut":{"se')
    with opened(tmp_path) as journal:
        assert len(journal.outstanding()) == 1
        assert everything(journal) == [b"b"]


def test_the_cuts_stay_small(tmp_path: Path) -> None:
    with opened(tmp_path, JournalConfig()) as journal:
        for number in range(1500):
            journal.append("traces", b"%d" % number, items=1).result(5)
            everything(journal)
    assert (tmp_path / "cuts").stat().st_size < 300_000
    with opened(tmp_path) as journal:
        assert everything(journal) == []
        assert journal.outstanding() == ()


def test_a_segment_of_another_journal_is_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with opened(tmp_path / name) as journal:
            fill(journal, name.encode())
    segment_files(tmp_path / "one")[0].rename(tmp_path / "two" / "segments" / "000000000000.seg")
    with pytest.raises(JournalError, match="belongs to journal"):
        Journal(tmp_path / "two", SMALL)


def test_two_never_share_a_directory(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(JournalBusy, match="in use by process"):
        Journal(tmp_path, SMALL)
    with opened(tmp_path):
        pass


def test_a_directory_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot be used"):
        Journal(tmp_path / "file", SMALL)


def test_a_read_only_directory_is_a_clear_error() -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o555)
        code = (
            "import os, sys, pathlib, uuid\n"
            "from maslens.collector_processor.journal import Journal\n"
            "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "Journal(pathlib.Path(sys.argv[1]))\n"
        )
        ran = subprocess.run(
            [sys.executable, "-c", code, name], capture_output=True, text=True, timeout=60, check=False
        )
        directory.chmod(0o755)
    if "Permission denied" in ran.stderr and "JournalError" not in ran.stderr:
        pytest.skip("an unprivileged user cannot read this checkout")
    assert f"JournalError: the journal directory {name} cannot be used" in ran.stderr


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"journal\.max_bytes"):
        JournalConfig(max_bytes=1)


def test_appending_to_a_closed_journal_asks_to_come_back(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        pass
    with pytest.raises(TryAgain):
        journal.append("traces", b"x")


@settings(max_examples=40, deadline=None)
@given(
    payloads=st.lists(st.tuples(st.sampled_from(["traces", "logs"]), st.binary(max_size=3000)), max_size=20),
    limit=st.integers(1, 6000),
    reopen=st.lists(st.booleans(), min_size=20, max_size=20),
    lose=st.booleans(),
)
def test_every_record_comes_out_once_in_order_whatever_the_cuts_and_restarts(
    payloads: list[tuple[str, bytes]], limit: int, reopen: list[bool], lose: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        journal = Journal(Path(name), SMALL)
        loaded: dict[str, dict[int, bytes]] = {"traces": {}, "logs": {}}
        for index, (signal, payload) in enumerate(payloads):
            fill(journal, payload, signal=signal)
            batch = journal.cut(signal, max_bytes=limit, max_items=3)  # type: ignore[arg-type]
            if batch is not None and not (lose and index % 2):
                loaded[signal][batch.cut.first] = batch.body()
                journal.done(batch.cut)
            if reopen[index]:
                journal.close()
                journal = Journal(Path(name), SMALL)
        for cut in journal.outstanding():
            loaded[cut.signal][cut.first] = journal.read(cut).body()
            journal.done(cut)
        for signal in ("traces", "logs"):
            while (batch := journal.cut(signal, max_bytes=limit, max_items=3)) is not None:  # type: ignore[arg-type]
                loaded[signal][batch.cut.first] = batch.body()
                journal.done(batch.cut)
            got = b"".join(body for _, body in sorted(loaded[signal].items()))
            assert got == b"".join(payload for kind, payload in payloads if kind == signal)
        assert journal.stats().missing_records == 0
        with suppress(TryAgain):
            journal.close()


@settings(max_examples=60, deadline=None)
@given(junk=st.binary(max_size=400), at=st.integers(0, 600), replace=st.booleans())
def test_arbitrary_bytes_in_a_segment_never_break_the_journal(junk: bytes, at: int, replace: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with opened(directory) as journal:
            fill(journal, b"a" * 50, b"b" * 50, b"c" * 50)
        path = segment_files(directory)[0]
        raw = path.read_bytes()
        path.write_bytes(raw[:at] + junk + raw[at + (len(junk) if replace else 0) :])
        with opened(directory) as journal:
            found = everything(journal)
            assert set(found) <= {b"a" * 50, b"b" * 50, b"c" * 50}
            fill(journal, b"next")
            assert everything(journal) == [b"next"]
