"""From the journal into the store: each batch under one token, tried until it is in.

What the store refuses for good is cut smaller until the one request that is wrong is alone; that goes to the
dead-letter folder. Nothing else is ever given up.
"""

from __future__ import annotations

import itertools
import math
import random
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from maslens.collector_processor.batching import BatchConfig, Pace, seconds_until_due
from maslens.collector_processor.cuts import Cut
from maslens.collector_processor.deadletter import DeadLetters
from maslens.collector_processor.errors import ConfigError
from maslens.collector_processor.journal import Batch, Journal
from maslens.collector_processor.signals import SIGNALS, Signal
from maslens.storage import Rejected, Store, Unavailable

_log = structlog.get_logger(__name__)

# Engine errors that every batch would meet: waiting is all there is to do.
_EVERYBODYS = frozenset(
    {
        60,  # UNKNOWN_TABLE
        159,  # TIMEOUT_EXCEEDED
        164,  # READONLY
        202,  # TOO_MANY_SIMULTANEOUS_QUERIES
        209,  # SOCKET_TIMEOUT
        210,  # NETWORK_ERROR
        242,  # TABLE_IS_READ_ONLY
        243,  # NOT_ENOUGH_SPACE
        252,  # TOO_MANY_PARTS
        285,  # TOO_FEW_LIVE_REPLICAS
        319,  # UNKNOWN_STATUS_OF_INSERT
        394,  # QUERY_WAS_CANCELLED
        999,  # KEEPER_EXCEPTION
    }
)
_PARKED_SECONDS = 60.0

# More cuts than this in flight, and the store may have forgotten the token of the oldest before it is in.
_MAX_OUTSTANDING = 200
_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderConfig:
    batch: BatchConfig = field(default_factory=BatchConfig)
    workers: int = 1  # inserts of one signal at a time; more pay on a server with cores to spare
    first_retry: timedelta = timedelta(milliseconds=100)  # doubled each time ...
    last_retry: timedelta = timedelta(seconds=10)  # ... up to here
    patience: int = 12  # failures of one batch, while the store answers, before others are let past it

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ConfigError(f"loader.workers must be at least 1, got {self.workers}")
        if self.patience < 1:
            raise ConfigError(f"loader.patience must be at least 1, got {self.patience}")
        if not timedelta(0) < self.first_retry <= self.last_retry:
            raise ConfigError("loader.first_retry must be above 0 and at most loader.last_retry")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderStats:
    """Counters since start."""

    loaded_records: dict[Signal, int]  # requests
    loaded_items: dict[Signal, int]  # spans or log records
    loaded_bytes: int
    inserts: int
    insert_seconds: float
    insert_seconds_buckets: dict[float, int]  # cumulative: inserts that took no longer
    retries: int
    parked: int  # requests that fail again and again without being refused: tried once a minute, others go first
    rejected_batches: int  # refused whole and cut smaller
    dead_letters: int  # requests put aside
    dead_letter_items: int
    dead_letters_dropped: int  # refused for good while the folder was at its limit
    lost_batches: int  # every record damaged or gone before it could be loaded
    failing_since_ns: int  # of the batch that is being retried now; 0 while all is well
    last_error: str


class Loader:
    """Moves what arrives in `journal` into `store` while started."""

    def __init__(
        self,
        journal: Journal,
        store: Store,
        dead_letters: DeadLetters,
        config: LoaderConfig | None = None,
        *,
        on_loaded: Callable[[int], None] | None = None,
        looks_in: Callable[[float], float] | None = None,
    ) -> None:
        self._on_loaded = on_loaded  # called after every insert with its spans or log records
        # Who reads the store: the seconds until the first look that is no sooner than in the seconds given.
        self._looks_in = looks_in
        self.journal = journal
        self.store = store
        self.dead_letters = dead_letters
        self.config = config or LoaderConfig()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._pace = {signal: Pace(now=time.monotonic()) for signal in SIGNALS}
        self._leftovers = list(journal.outstanding())
        self._parked: list[tuple[float, Cut]] = []  # when to try again
        self._loaded_records: dict[Signal, int] = dict.fromkeys(SIGNALS, 0)
        self._loaded_items: dict[Signal, int] = dict.fromkeys(SIGNALS, 0)
        self._buckets = dict.fromkeys(_BUCKETS, 0)
        self._count: dict[str, int] = {}
        self._insert_seconds = 0.0
        self._failing: dict[str, int] = {}  # token → since (unix ns)
        self._last_error = ""

    def start(self) -> None:
        for signal in SIGNALS:
            for number in range(self.config.workers):
                name = f"maslens-loader-{signal}-{number}"
                thread = threading.Thread(target=self._run, args=(signal,), name=name, daemon=True)
                self._threads.append(thread)
                thread.start()

    def stop(self) -> None:
        """Finish the inserts that are under way; what is not loaded stays in the journal."""
        self._stop.set()
        self.journal.wake()
        for thread in self._threads:
            thread.join()

    def drained(self, timeout: float) -> bool:
        """Wait until everything that was appended is loaded (or put aside); False where that takes longer."""
        deadline = time.monotonic() + timeout
        while any(self.journal.pending(signal).records for signal in SIGNALS) or self.journal.outstanding():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.journal.wait(min(left, 0.2))
        return True

    def stats(self) -> LoaderStats:
        with self._lock:
            return LoaderStats(
                loaded_records=dict(self._loaded_records),
                loaded_items=dict(self._loaded_items),
                loaded_bytes=self._count.get("loaded_bytes", 0),
                inserts=self._count.get("inserts", 0),
                insert_seconds=self._insert_seconds,
                insert_seconds_buckets=dict(self._buckets),
                retries=self._count.get("retries", 0),
                parked=len(self._parked),
                rejected_batches=self._count.get("rejected_batches", 0),
                dead_letters=self._count.get("dead_letters", 0),
                dead_letter_items=self._count.get("dead_letter_items", 0),
                dead_letters_dropped=self._count.get("dead_letters_dropped", 0),
                lost_batches=self._count.get("lost_batches", 0),
                failing_since_ns=min(self._failing.values(), default=0),
                last_error=self._last_error,
            )

    # --- the worker -------------------------------------------------------------------------------------------------

    def _run(self, signal: Signal) -> None:
        if signal == SIGNALS[0] and threading.current_thread() is self._threads[0]:
            self._complete_half_loaded()
        while not self._stop.is_set():
            self._guarded_step(signal)

    def _guarded_step(self, signal: Signal) -> None:
        try:
            self._step(signal)
        except Exception as error:  # the loop must outlive whatever goes wrong in it
            self._last_error = str(error)
            _log.exception("the loader goes on after an error", signal=signal)
            self._stop.wait(1.0)

    def _step(self, signal: Signal) -> None:
        leftover = self._next_leftover(signal)
        if leftover is not None:
            self._load(self.journal.read(leftover))
            return
        pace, now = self._pace[signal], time.monotonic()
        due = seconds_until_due(
            self.journal.pending(signal),
            now_ns=time.time_ns(),
            busy=pace.busy(now),
            rested=pace.rested(now),
            unseen=-math.inf if self._looks_in is None else self._looks_in(pace.takes) - pace.takes,
            config=self.config.batch,
        )
        if due == math.inf:
            self.journal.wait(1.0)  # the first record of an empty journal ends it
        elif due > 0 or len(self.journal.outstanding()) >= _MAX_OUTSTANDING:
            self._stop.wait(min(max(due, 0.005), 0.02))  # in between it may have become many
        else:
            batch = self.journal.cut(
                signal, max_bytes=self.config.batch.max_bytes, max_items=self.config.batch.max_items
            )
            if batch is not None:
                self._load(batch)

    def _next_leftover(self, signal: Signal) -> Cut | None:
        with self._lock:
            for index, cut in enumerate(self._leftovers):
                if cut.signal == signal:
                    return self._leftovers.pop(index)
            for index, (when, cut) in enumerate(self._parked):
                if cut.signal == signal and when <= time.monotonic():
                    del self._parked[index]
                    return cut
        return None

    def _load(self, batch: Batch, *, patience: int | None = None) -> None:
        """Return once it is in, put aside, split and dealt with, or parked; or the loader stops."""
        patience = patience or self.config.patience
        cut, records, body = batch.cut, len(batch.payloads), batch.body()
        del batch
        if not records:
            self._add("lost_batches")
            self._persistently(lambda: self.journal.done(cut))
            return
        wait = self.config.first_retry.total_seconds()
        for tries in itertools.count(1):
            try:
                self._insert(cut, body)
                break
            except Rejected as error:
                self._refused(cut, body, str(error))
                return
            except Exception as error:  # Unavailable, and whatever else: only Rejected says that trying is in vain
                self._failed(cut, error)
                if tries >= patience and self._is_about_this_batch(str(error)):
                    self._let_others_past(cut)
                    return
            if self._stop.wait(wait * random.uniform(0.75, 1.25)):  # noqa: S311  # jitter, not a secret
                return
            wait = min(2 * wait, self.config.last_retry.total_seconds())
        self._failing.pop(cut.token, None)
        if self._persistently(lambda: self.journal.done(cut)):
            with self._lock:
                self._loaded_records[cut.signal] += records
                self._loaded_items[cut.signal] += cut.items
                self._count["loaded_bytes"] = self._count.get("loaded_bytes", 0) + cut.size
        if self._on_loaded is not None:
            self._on_loaded(cut.items)

    def _insert(self, cut: Cut, body: bytes) -> None:
        started = time.monotonic()
        try:
            self.store.insert_otlp(cut.signal, body, token=cut.token)
        finally:
            ended = time.monotonic()
            self._pace[cut.signal].inserted(started=started, ended=ended)
        with self._lock:
            self._count["inserts"] = self._count.get("inserts", 0) + 1
            self._insert_seconds += ended - started
            for bucket in _BUCKETS:
                if ended - started <= bucket:
                    self._buckets[bucket] += 1

    def _refused(self, cut: Cut, body: bytes, reason: str) -> None:
        """The store will never take this batch as it is."""
        self._failing.pop(cut.token, None)
        self._add("rejected_batches")
        if is_half_loaded(reason):
            # The base table has the rows. Smaller batches would be other tokens, and the base would take them again.
            self._put_aside(cut, body, reason, half_loaded=True)
            return
        halves: list[Batch] = []

        def split() -> None:
            halves.extend(self.journal.split(cut) or ())

        if not self._persistently(split):
            return
        if not halves:
            # A store may insert a request larger than any batch in pieces, and have taken some of them.
            self._put_aside(cut, body, reason, half_loaded=cut.size > self.config.batch.max_bytes)
        for half in halves:
            if self._stop.is_set():
                return
            self._load(half)

    def _is_about_this_batch(self, reason: str) -> bool:
        """Whether the engine answers, has not taken a part of it, and names nothing that all batches would meet."""
        code = re.search(r"\bCode: (\d+)\.", reason)
        if code is None or int(code[1]) in _EVERYBODYS or is_half_loaded(reason):
            return False
        try:
            self.store.rows("SELECT 1 AS one")
        except Exception:  # it is the store, then
            return False
        return True

    def _let_others_past(self, cut: Cut) -> None:
        """Halve a batch that fails again and again; a single request waits aside. Nothing is given up."""
        halves: list[Batch] = []

        def split() -> None:
            halves.extend(self.journal.split(cut) or ())

        if not self._persistently(split):
            return
        self._failing.pop(cut.token, None)
        for half in halves:
            if self._stop.is_set():
                return
            self._load(half, patience=2)
        if not halves:
            with self._lock:
                self._parked.append((time.monotonic() + _PARKED_SECONDS, cut))

    def _put_aside(self, cut: Cut, body: bytes, reason: str, *, half_loaded: bool) -> None:
        kept: list[bool] = []

        def add() -> None:
            kept.append(
                self.dead_letters.add(
                    body,
                    signal=cut.signal,
                    reason=reason,
                    token=cut.token,
                    items=cut.items,
                    received_ns=cut.received_ns,
                    half_loaded=half_loaded,
                )
            )

        if not self._persistently(add) or not self._persistently(lambda: self.journal.done(cut)):
            return
        self._add("dead_letters" if kept[-1] else "dead_letters_dropped")
        if kept[-1]:
            self._add("dead_letter_items", cut.items)
        _log.error(
            "the store refuses a request for good",
            token=cut.token,
            items=cut.items,
            reason=reason,
            kept=str(self.dead_letters.directory) if kept[-1] else "no: the dead-letter folder is at its limit",
        )

    def retry_dead_letters(self, names: Sequence[str] = ()) -> tuple[int, int]:
        """Insert them again, each under its token; how many were taken and how many are left."""

        def insert(signal: Signal, body: bytes, token: str) -> None:
            self.store.insert_otlp(signal, body, token=token)

        return self.dead_letters.retry(insert, names=names)

    def _complete_half_loaded(self) -> None:
        """A release may have mended the view that refused."""
        names = [letter.name for letter in self.dead_letters.list() if letter.half_loaded]
        if names:
            self.retry_dead_letters(names)

    def _persistently(self, write: Callable[[], None]) -> bool:
        """Do what must reach the disk, as often as it takes; False where the loader stops first."""
        while not self._written(write):
            if self._stop.wait(1.0):
                return False
        return True

    def _written(self, write: Callable[[], None]) -> bool:
        try:
            write()
        except OSError as error:
            self._last_error = str(error)
            _log.error("the loader cannot write", error=str(error))
            return False
        return True

    def _failed(self, cut: Cut, error: Exception) -> None:
        self._add("retries")
        self._last_error = str(error)
        if self._failing.setdefault(cut.token, time.time_ns()) and not isinstance(error, Unavailable):
            _log.exception("an insert failed in an unforeseen way and is tried again", token=cut.token)
        else:
            _log.warning("the store did not take a batch, trying again", token=cut.token, error=str(error)[:500])

    def _add(self, name: str, number: int = 1) -> None:
        with self._lock:
            self._count[name] = self._count.get(name, 0) + number


def is_half_loaded(reason: str) -> bool:
    """Whether the engine refused in a view behind the base table, which has taken the rows by then."""
    views = re.findall(r"while pushing to view (?:\w+\.)?(\w+)", reason)
    return any(not view.endswith("_decode") for view in views)
