"""The sidecar: whenever spans arrive for a session, its facts are computed again and its share of the totals corrected.

A step reads the spans since the last position, collects the sessions they belong to, and writes for each chunk of them
facts (by version, tombstones for what is no more) and then one commit of position, totals and contributions. Whatever
is repeated after a crash gives the same, so nothing is counted twice and nothing is left out.

Where spans arrive faster than that, a step is begun before the one before it is finished: other processes compute the
facts of one while those of the other are written. Steps are finished in the order in which they were begun.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import uuid4

import polars as pl
from maslens.analytics.computing import Compute, Computing, Here
from maslens.analytics.fact_writer import FactWriter
from maslens.analytics.feed import News, Position, read_news, traces_since
from maslens.analytics.gather import Gatherer
from maslens.analytics.ledger import CONTRIBUTIONS, Entry, Ledger
from maslens.analytics.metrics import exemplars
from maslens.analytics.schedule import Schedule
from maslens.analytics.session_book import Made, SessionBook, with_unknown_outcome
from maslens.analytics.shares import Shares
from maslens.analytics.totals import FactFrames, Totals, contributions, series_of
from maslens.storage import Store
from maslens.storage.errors import StoreError
from prometheus_client.samples import Exemplar

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarConfig:
    interval_s: float = 0.5  # pause between two looks for new spans
    idle_s: float = 300.0  # a session without new spans for this long has come to rest
    read_spans: int = 50_000  # new spans taken in at once
    chunk_spans: int = 20_000  # spans that facts are made of at once; a larger session is still taken whole
    linger_s: float = 10.0  # a session with all its spans is kept in memory for so long, others ten times as long …
    keep_spans: int = 100_000  # … but only so many spans …
    keep_sessions: int = 10_000  # … and sessions
    long_spans: int = 1_000  # a session with so many spans that took t to compute …
    patience: float = 10.0  # … is left alone for patience × t, so that it cannot starve the others, …
    patience_max_s: float = 30.0  # … but no longer than this
    max_series: int = 2_000  # label sets per metric

    def __post_init__(self) -> None:
        for name in (
            "interval_s",
            "idle_s",
            "linger_s",
            "read_spans",
            "chunk_spans",
            "keep_spans",
            "keep_sessions",
            "max_series",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"sidecar.{name} must be above 0, got {getattr(self, name)}")


@dataclass(slots=True)
class SidecarStatus:
    """What /metrics says of the sidecar itself."""

    steps_total: int = 0
    failures_total: int = 0
    spans_total: int = 0
    sessions_computed_total: int = 0
    spans_computed_total: int = 0
    step_seconds_total: float = 0.0
    facts_written_total: Mapping[str, int] = field(default_factory=dict)
    tombstones_total: int = 0
    series_limited_total: Mapping[str, int] = field(default_factory=dict)
    watermark_block: int = 0
    lag_spans: int = 0  # stored but not in facts yet, as of the last look
    lag_seconds: float = 0.0  # how long ago the newest span ended that the last step with news made facts of
    last_success_timestamp_seconds: float = 0.0
    last_step_seconds: float = 0.0
    running_sessions: int = 0
    waiting_traces: int = 0
    cached_spans: int = 0
    processes: int = 0  # that compute facts beside this one
    process_restarts_total: int = 0


class Sidecar:
    """`step` does what there is to do once; `start` does so in a thread until `stop`."""

    def __init__(
        self,
        store: Store,
        compute: Compute | Computing,
        config: SidecarConfig | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.config = config or SidecarConfig()
        self.status = SidecarStatus()
        self._store = store
        self._computing = compute if isinstance(compute, Computing) else Here(compute)
        self._clock = clock
        self._again: list[str] = []
        self._exemplars: dict[str, Exemplar] = {}
        self._totals = Totals(limit=self.config.max_series)
        self._loaded = False
        self._forget_everything()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._asked = False  # to look now, whatever has arrived
        self._arrived = 0  # since the last look, about
        self._schedule = Schedule()
        self._finished = 0.0  # the last step, on the monotonic clock
        self._thread: threading.Thread | None = None

    # --- seen from outside -------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="maslens-sidecar", daemon=True)
        self._thread.start()

    def stop(self, *, within_s: float = 30.0) -> None:
        """Finish the step that is running."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=within_s)

    def close(self) -> None:
        """For good: nothing is computed any more."""
        self._computing.close()

    def wake(self) -> None:
        """There are new spans: look now."""
        self._asked = True
        self._wake.set()

    def arrived(self, spans: int) -> None:
        """So many are in the store: do not rest longer than the interval where they are many; each look has a cost."""
        self._arrived += spans
        if self._arrived >= _WORTH_A_STEP:
            self._wake.set()

    def looks_in(self, after: float) -> float:
        """Seconds until the first look for new spans no sooner than in `after` seconds, as far as one can tell."""
        return self._schedule.looks_in(after, news=self._arrived > 0)

    def drain(self) -> None:
        """Step until nothing is left to do now. For commands that end; not while the thread runs."""
        while self.step() or self._again:
            pass

    def reprocess(self, since: datetime) -> int:
        """Compute every session again that has a span since then, in the steps to come; returns how many traces."""
        traces = traces_since(self._store, since)
        self._again.extend(traces)
        self.wake()
        return len(traces)

    def revision(self) -> int:
        """Changes with every commit of new facts."""
        return self._version

    def shown(self) -> Mapping[str, float]:
        return dict(self._totals.shown)

    def exemplars(self) -> Mapping[str, Exemplar]:
        return dict(self._exemplars)

    # --- the loop ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                busy = self._steps(overlapping=self._computing.processes > 0)
                failures = 0
            except Exception as error:
                failures += 1
                self.status.failures_total += 1
                level = logging.WARNING if isinstance(error, StoreError) else logging.ERROR
                log.log(level, "facts could not be updated (attempt %d): %s", failures, error, exc_info=failures == 1)
                self._stop.wait(min(self.config.interval_s * 2**failures, 30.0))
                continue
            took = self.status.last_step_seconds
            # A light step leaves the others most of the time, a heavy one is followed by the next at once.
            pause = max(2 * self.config.interval_s - took, 0.1 * took) if busy else self.config.interval_s
            if not self.status.lag_spans:
                self._rest(began, pause)

    def _rest(self, began: float, pause: float) -> None:
        """For `pause`; or until somebody asks, or many have arrived and the interval since `began` is over."""
        now = time.monotonic()
        until, soonest = now + pause, min(now + pause, began + self.config.interval_s)
        self._schedule.rest(max(0.0, soonest - now))
        while not (self._asked or self._stop.is_set()):
            left = (soonest if self._arrived >= _WORTH_A_STEP else until) - time.monotonic()
            if left <= 0:
                break
            self._wake.wait(left)
            self._wake.clear()
        self._asked = False

    def step(self) -> bool:
        """Take in what is new, bring idle sessions to rest. False if there was nothing to do."""
        return self._steps(overlapping=False)

    def _steps(self, *, overlapping: bool) -> bool:
        """A step; and more, each begun before the last is finished, while enough arrives. False as in `step`."""
        try:
            step = self._begin()
            busy = step is not None
            while step is not None:
                step = self._finish(step, overlapping=overlapping and not self._stop.is_set())
            return busy
        except BaseException:
            self._loaded = False  # whether a commit was heard is not known: ask the store what it knows
            raise

    def _forget_everything(self) -> None:
        self._name = uuid4().hex
        self._ledger = Ledger(self._store)
        self._writer = FactWriter(self._store)
        self._gather = Gatherer(self._store, keep_spans=self.config.keep_spans)
        self._shares = Shares(self._ledger)
        self._book = SessionBook()
        self._waiting: dict[str, float] = {}  # traces whose sessions are left alone for now, and until when
        self._position = self._read = Position()  # as committed, and up to where spans are read
        self._version = 0

    def _load(self) -> None:
        """Begin where the last commit ended."""
        written, tombstones = self._writer.written, self._writer.tombstones
        self._forget_everything()
        self._writer.written, self._writer.tombstones = written, tombstones
        start = self._ledger.start()
        self._version, self._position, self._read = start.version, start.position, start.position
        totals = Totals(limit=self.config.max_series, limited=self._totals.limited)
        totals.restore(start.totals)
        self._totals = totals  # at once: a scrape must never see counters fall
        self._waiting = dict.fromkeys(start.waiting, 0.0)
        self._book = SessionBook(sorted(start.restless), now=self._clock())
        self._loaded = True

    # --- one step ----------------------------------------------------------------------------------------------------

    def _begin(self) -> _Step | None:
        """Read what is new and have its facts computed; None if there is nothing to do."""
        began, work = time.monotonic(), self._look()
        if work.arrived or work.asked or work.idle or work.news.upto != self._position:
            return self._begun(work, began=began)
        self._schedule.ready(busy=False)
        self._observe(work.news, took=time.monotonic() - began, busy=False)
        return None

    def _look(self) -> _Work:
        self._arrived = 0
        self._schedule.look()
        if not self._loaded:
            self._load()
        return self._work(read_news(self._store, self._read, limit=self.config.read_spans))

    def _work(self, news: News) -> _Work:
        now = self._clock()
        idle = self._book.idle(now - self.config.idle_s, limit=_AT_ONCE)
        return _Work(
            news=news,
            now=now,
            arrived=self._gather.traces_of_events(news).union(news.spans.get_column("TraceId")),
            again=self._again[:_AT_ONCE],
            due=frozenset(trace for trace, due in self._waiting.items() if due <= now),
            idle=idle,
            incomplete=frozenset(session for session in idle if not self._book.settled(session)),
        )

    def _begun(self, work: _Work, *, began: float) -> _Step:
        touched = work.arrived | work.asked
        wanted = touched.union(*self._gather.traces_of(work.incomplete).values())
        groups = self._gather.groups(work.news, wanted, waiting=self._waiting)
        resting = self._resting(groups, work.now) if not work.incomplete else {}
        waiting = {trace: at for trace, at in self._waiting.items() if trace not in touched}
        for number, until in resting.items():
            waiting.update(dict.fromkeys(groups[number] & touched, until))
        ready = [group for number, group in enumerate(groups) if number not in resting]
        self._read = work.news.upto
        return _Step(
            work=work,
            began=began,
            waiting=waiting,
            simple=not waiting and all(self._gather.cache.count(group) < self.config.long_spans for group in ready),
            chunks=_Chunks(
                self._gather.chunks(ready, spans=self._chunk_size(ready)),
                gather=self._gather,
                computing=self._computing,
            ),
        )

    def _finish(self, step: _Step, *, overlapping: bool) -> _Step | None:
        """Write its facts and commit. overlapping: begin another one before that, if enough has arrived; return it."""
        last = _Share()
        following: _Step | None = None
        not_yet: tuple[News, float] | None = None
        for chunk in step.chunks:
            turn = time.monotonic()
            facts = chunk.facts()
            if overlapping and chunk.last:
                self._schedule.ready(busy=True)
                # A step of several chunks has one of them computed while another is written, and is large enough.
                if self._arrived >= _WORTH_A_STEP and step.work.news.spans.height < self.config.chunk_spans:
                    began, work = time.monotonic(), self._look()
                    if step.simple and self._depends_on_nothing(work):
                        following = self._begun(work, began=began)
                    else:
                        not_yet = work.news, began
            last = self._computed(chunk, facts, step, began=turn)
            if not chunk.last:
                self._commit(last)
        self._book.later(
            step.work.incomplete.intersection(
                self._book.idle(step.work.now - self.config.idle_s, limit=len(step.work.idle))
            ),
            step.work.now,
        )
        self._move_on(last, step)
        self._let_go(step.work.now, but=following.chunks.traces if following is not None else frozenset())
        del self._again[: len(step.work.again)]
        if not overlapping:
            self._schedule.ready(busy=True)
        now = time.monotonic()
        self._observe(step.work.news, took=now - max(step.began, self._finished), busy=True)
        self._finished = now
        if not_yet is not None:
            news, began = not_yet
            following = self._begun(self._work(news), began=began)
        return following

    def _depends_on_nothing(self, work: _Work) -> bool:
        """Whether its sessions and their traces are the same before and after a step that is not finished yet."""
        events = work.news.event_traces or work.news.event_sessions or work.news.content_traces
        return not (events or work.asked or work.incomplete or self._waiting)

    def _chunk_size(self, groups: Sequence[set[str]]) -> int:
        """How many spans a chunk has: there is one for each process, unless they would be tiny or huge."""
        if self._computing.processes < 2:
            return self.config.chunk_spans
        spans = sum(self._gather.cache.count(group) for group in groups)
        return min(max(-(-spans // self._computing.processes), _WORTH_A_CHUNK), self.config.chunk_spans)

    def _resting(self, groups: list[set[str]], now: float) -> dict[int, float]:
        """The groups that took long to compute and are left alone for a while, and until when."""
        slow = self._book.resting(now)
        if not slow:
            return {}
        of = {trace: number for number, group in enumerate(groups) for trace in group}
        until: dict[int, float] = {}
        for session, traces in self._gather.traces_of(slow).items():
            for trace in traces & of.keys():
                until[of[trace]] = max(until.get(of[trace], 0.0), slow[session])
        return until

    def _move_on(self, last: _Share, step: _Step) -> None:
        """With the last chunk the step is complete: move the position, and bring settled sessions to rest."""
        work, waiting = step.work, step.waiting
        silent = set(self._book.idle(work.now - self.config.idle_s, limit=len(work.idle)))
        still = [session for session in work.idle if session in silent and session not in work.incomplete]
        ended = [(s, series_of("maslens_sessions", outcome=self._book.outcome(s)), 1.0) for s in still]
        rested = pl.DataFrame(ended, schema=CONTRIBUTIONS, orient="row")
        self._commit(
            replace(
                last,
                after=pl.concat([last.after, rested]),
                final={**last.final, **dict.fromkeys(still, True)},
                also={**last.also, "maslens_processed_spans{}": float(work.news.spans.height)},
            ),
            position=work.news.upto,
            waiting=waiting.keys() if waiting.keys() != self._waiting.keys() else None,
        )
        self._book.gone(still)
        self._position, self._waiting = work.news.upto, waiting

    def _commit(
        self, share: _Share, *, position: Position | None = None, waiting: Collection[str] | None = None
    ) -> None:
        """All of it or, if the store fails, nothing; then the step is done again."""
        changed = self._totals.moved(share.before, share.after, share.also)
        entry = Entry(
            position=position or self._position,
            totals=changed,
            before=share.before,
            after=share.after,
            final=share.final,
            gone=share.gone,
            waiting=waiting,
        )
        self._ledger.commit(entry, version=self._next_version())
        self._totals.apply(changed)

    # --- one chunk ---------------------------------------------------------------------------------------------------

    def _computed(self, chunk: _Chunk, facts: FactFrames, step: _Step, *, began: float) -> _Share:
        """Facts of the sessions that a chunk makes up, written; and their share of the totals, to be committed.

        began: when it was the chunk's turn, for how long its sessions took.
        """
        work, traces, spans = step.work, chunk.traces, chunk.spans
        made = Made.of(facts, spans)
        before_of = self._gather.sessions_of(traces)
        previous = {session for sessions in before_of.values() for session in sessions}
        known = previous | {session for session, found in self._gather.traces_of(made.sessions).items() if found}
        rested = self._ledger.final([session for session in known if session not in self._book])
        reached = {session for session, trace in made.pairs if trace in work.arrived}
        final = (made.sessions & (rested | work.incomplete)) - reached
        open_ = made.unsettled - final
        concerned = made.sessions | previous

        version = self._next_version()
        self._gather.belong(made.pairs, traces, token=f"{self._name}:{version}")
        facts = with_unknown_outcome(facts, open_)
        written = self._writer.begin(facts, sessions=concerned, known=known, version=version)
        after = self._totals.bounded(contributions(facts, unsettled=open_, final=final))
        before = self._shares.of(concerned, known)
        self._shares.put(concerned, after)
        self._exemplars.update(exemplars(facts, seconds_since_epoch=work.now))
        written()
        late = [trace for trace, sessions in before_of.items() if sessions and sessions <= rested]
        self._book.gone(previous - made.sessions)
        rests = self._rests(made, time.monotonic() - began)
        self._book.computed(made, reached=reached, final=final, now=work.now, rests=rests)
        self.status.sessions_computed_total += len(made.sessions)
        self.status.spans_computed_total += spans.height
        return _Share(
            before=before,
            after=after,
            also={"maslens_late_spans{}": float(work.news.spans.filter(pl.col("TraceId").is_in(late)).height)},
            final={session: session in final for session in made.sessions},
            gone=previous - made.sessions,
        )

    def _rests(self, made: Made, took: float) -> dict[str, float]:
        """Long sessions that are not computed again at once, and for how many seconds."""
        each = took / max(sum(made.spans.values()), 1) * self.config.patience
        rests = {
            s: min(n * each, self.config.patience_max_s) for s, n in made.spans.items() if n >= self.config.long_spans
        }
        return {session: rest for session, rest in rests.items() if rest > 0}

    def _next_version(self) -> int:
        self._version = max(int(self._clock() * 1e9), self._version + 1)
        return self._version

    # --- housekeeping ------------------------------------------------------------------------------------------------

    def _let_go(self, now: float, *, but: frozenset[str]) -> None:
        """but: traces that are needed again at once."""
        gone = self._book.let_go(
            settled_before=now - self.config.linger_s,
            before=now - 10 * self.config.linger_s,
            most=self.config.keep_sessions,
        )
        if gone:
            self._writer.let_go(gone)
            self._shares.let_go(gone)
            self._gather.let_go(frozenset().union(*self._gather.traces_of(gone).values()) - but)
        self._gather.shrink(but)

    def _observe(self, news: News, *, took: float, busy: bool) -> None:
        status = self.status
        status.steps_total += 1
        status.last_step_seconds = took
        status.step_seconds_total += took
        status.last_success_timestamp_seconds = self._clock()
        status.watermark_block = self._position.spans
        status.lag_spans = news.behind
        if busy and news.spans.height:
            ended = news.spans.select(
                (pl.col("Timestamp").cast(pl.Int64) + pl.col("Duration").cast(pl.Int64)).max()
            ).item()
            status.lag_seconds = max(self._clock() - ended / 1e9, 0.0)
            status.spans_total += news.spans.height
        status.facts_written_total = dict(self._writer.written)
        status.tombstones_total = self._writer.tombstones
        status.series_limited_total = dict(self._totals.limited)
        status.running_sessions = len(self._book)
        status.waiting_traces = len(self._waiting)
        status.cached_spans = len(self._gather.cache)
        status.processes = self._computing.processes
        status.process_restarts_total = self._computing.restarts


_WORTH_A_STEP = 1_000  # spans
_WORTH_A_CHUNK = 2_000  # spans: every chunk is some inserts
_AT_ONCE = 2_000  # idle sessions, or traces to compute again, that one step takes on


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What one step has to do. arrived: traces with news; again, due: traces to compute again; incomplete: idle
    sessions that were waited for in vain."""

    news: News
    now: float
    arrived: frozenset[str]
    again: Sequence[str]
    due: frozenset[str]
    idle: Sequence[str]
    incomplete: frozenset[str]

    @property
    def asked(self) -> frozenset[str]:
        return self.due.union(self.again)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One that is begun. waiting: traces left alone when it ends; simple: nothing of it is, then or later."""

    work: _Work
    began: float
    waiting: dict[str, float]
    simple: bool
    chunks: _Chunks


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chunk:
    """facts: waits for them."""

    traces: set[str]
    spans: pl.DataFrame
    facts: Callable[[], FactFrames]
    last: bool


class _Chunks:
    """Chunks of a step in their order. Where others compute, they are at the first ones at once, and always ahead."""

    def __init__(self, chunks: Iterable[set[str]], *, gather: Gatherer, computing: Computing) -> None:
        self._left = deque(chunks)
        self.traces = frozenset().union(*self._left)
        self._gather, self._computing = gather, computing
        self._begun: deque[_Chunk] = deque()
        self._begin()

    def __iter__(self) -> Iterator[_Chunk]:
        while self._begun:
            yield self._begun.popleft()
            self._begin()

    def _begin(self) -> None:
        while self._left and len(self._begun) <= self._computing.processes:
            traces = self._left.popleft()
            spans = self._gather.spans(traces)
            facts = self._computing.begin(spans, self._gather.events(traces, spans))
            self._begun.append(_Chunk(traces=traces, spans=spans, facts=facts, last=not self._left))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Share:
    """What a chunk of sessions adds to the totals now, and has added before."""

    before: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=CONTRIBUTIONS))
    after: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=CONTRIBUTIONS))
    also: Mapping[str, float] = field(default_factory=dict)
    final: Mapping[str, bool] = field(default_factory=dict)
    gone: Collection[str] = ()
