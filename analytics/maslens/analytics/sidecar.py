"""The sidecar: whenever spans arrive for a session, its facts are computed again and its share of the totals corrected.

A step reads the spans since the last position, collects the sessions they belong to, and writes for each chunk of them
facts (by version, tombstones for what is no more) and then one commit of position, totals and contributions. Whatever
is repeated after a crash gives the same, so nothing is counted twice and nothing is left out.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import uuid4

import polars as pl
from maslens.analytics.fact_writer import FactWriter
from maslens.analytics.feed import News, Position, read_news, traces_since
from maslens.analytics.gather import Gatherer
from maslens.analytics.ledger import CONTRIBUTIONS, Entry, Ledger
from maslens.analytics.metrics import exemplars
from maslens.analytics.stitching import unfinished
from maslens.analytics.totals import FactFrames, Totals, contributions, series_of
from maslens.storage import Store
from maslens.storage.errors import StoreError
from prometheus_client.samples import Exemplar

log = logging.getLogger(__name__)

Compute = Callable[[pl.DataFrame, "pl.DataFrame | None"], FactFrames]


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarConfig:
    interval_s: float = 0.5  # pause between two looks for new spans
    idle_s: float = 300.0  # a session without new spans for this long has come to rest
    read_spans: int = 50_000  # new spans taken in at once
    chunk_spans: int = 50_000  # spans that facts are made of at once; a larger session is still taken whole
    keep_spans: int = 150_000  # spans of running sessions kept in memory
    keep_sessions: int = 20_000  # sessions whose last facts are kept in mind
    patience: float = 10.0  # a session that took t to compute is left alone for patience × t, so that long ones …
    patience_max_s: float = 30.0  # … cannot starve the others, but no longer than this
    max_series: int = 2_000  # label sets per metric

    def __post_init__(self) -> None:
        for name in ("interval_s", "idle_s", "read_spans", "chunk_spans", "keep_spans", "keep_sessions", "max_series"):
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


@dataclass(slots=True)
class _Session:
    seen: float  # when spans last arrived
    final: bool = False
    settled: bool = False
    outcome: str = "unknown"
    rests_until: float = 0.0  # not computed again before


class Sidecar:
    """`step` does what there is to do once; `start` does so in a thread until `stop`."""

    def __init__(
        self,
        store: Store,
        compute: Compute,
        config: SidecarConfig | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.config = config or SidecarConfig()
        self.status = SidecarStatus()
        self._store = store
        self._compute = compute
        self._clock = clock
        self._again: list[str] = []
        self._exemplars: dict[str, Exemplar] = {}
        self._totals = Totals(limit=self.config.max_series)
        self._loaded = False
        self._forget_everything()
        self._stop = threading.Event()
        self._wake = threading.Event()
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

    def wake(self) -> None:
        """There are new spans: look now."""
        self._wake.set()

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
            try:
                busy = self.step()
                failures = 0
            except Exception as error:
                failures += 1
                self.status.failures_total += 1
                level = logging.WARNING if isinstance(error, StoreError) else logging.ERROR
                log.log(level, "facts could not be updated (attempt %d): %s", failures, error, exc_info=failures == 1)
                self._stop.wait(min(self.config.interval_s * 2**failures, 30.0))
                continue
            # Half of the time for others at least, unless there is more to do than one step takes in.
            pause = 0.0 if self.status.lag_spans else max(self.config.interval_s, self.status.last_step_seconds)
            self._wake.wait(pause if busy else self.config.interval_s)
            self._wake.clear()

    def step(self) -> bool:
        """Take in what is new, bring idle sessions to rest. False if there was nothing to do."""
        began = time.perf_counter()
        if not self._loaded:
            self._load()
        now = self._clock()
        news = read_news(self._store, self._position, limit=self.config.read_spans)
        again = self._again[:_TRACES_AT_ONCE]
        arrived = frozenset(news.spans.get_column("TraceId")) | news.event_traces
        due = frozenset(trace for trace, at in self._waiting.items() if at <= now)
        idle = self._idle(now)
        touched = arrived | due | frozenset(again)
        busy = bool(touched or idle or news.upto != self._position)
        if busy:
            try:
                self._update(news, touched, arrived, idle, now)
            except BaseException:
                self._loaded = False  # whether a commit was heard is not known: ask the store what it knows
                raise
            del self._again[: len(again)]
        self._observe(news, took=time.perf_counter() - began, busy=busy)
        return busy

    def _forget_everything(self) -> None:
        config, store = self.config, self._store
        self._name = uuid4().hex
        self._ledger = Ledger(store)
        self._writer = FactWriter(store)
        self._gather = Gatherer(store, keep_spans=config.keep_spans)
        self._contributed = pl.DataFrame(schema=CONTRIBUTIONS)
        self._remembered: set[str] = set()  # sessions whose contributions and facts are kept in mind
        self._sessions: dict[str, _Session] = {}  # in the order of arrival
        self._slow: set[str] = set()
        self._waiting: dict[str, float] = {}  # traces whose sessions are left alone for now, and until when
        self._position = Position()
        self._version = 0

    def _load(self) -> None:
        """Begin where the last commit ended."""
        written, tombstones = self._writer.written, self._writer.tombstones
        self._forget_everything()
        self._writer.written, self._writer.tombstones = written, tombstones
        start = self._ledger.start()
        self._version, self._position = start.version, start.position
        totals = Totals(limit=self.config.max_series, limited=self._totals.limited)
        totals.restore(start.totals)
        self._totals = totals  # at once: a scrape must never see counters fall
        self._waiting = dict.fromkeys(start.waiting, 0.0)
        now = self._clock()
        self._sessions = {session: _Session(seen=now) for session in sorted(start.restless)}
        self._loaded = True

    def _idle(self, now: float) -> list[str]:
        """Sessions that nothing arrived for in a while and that are not at rest yet, the longest idle first."""
        idle: list[str] = []
        for session, known in self._sessions.items():  # in the order of arrival
            if known.seen + self.config.idle_s > now or len(idle) >= _TRACES_AT_ONCE:
                break
            if not known.final:
                idle.append(session)
        return idle

    # --- one step ----------------------------------------------------------------------------------------------------

    def _update(
        self, news: News, touched: frozenset[str], arrived: frozenset[str], idle: list[str], now: float
    ) -> None:
        incomplete = {session for session in idle if not self._sessions[session].settled}
        wanted = touched.union(*self._gather.traces_of(incomplete).values())
        groups = self._gather.groups(news, wanted, waiting=self._waiting)
        resting = self._resting(groups, now) if not incomplete else {}
        waiting = {trace: at for trace, at in self._waiting.items() if trace not in touched}
        ready = []
        for number, group in enumerate(groups):
            if number in resting:
                waiting.update(dict.fromkeys(group & touched, resting[number]))
            else:
                ready.append(group)
        for chunk in self._gather.chunks(ready, spans=self.config.chunk_spans):
            self._process(chunk, news, arrived, incomplete, now)
        for session in incomplete:
            if (known := self._sessions.get(session)) and not known.final:
                known.seen = now  # nothing came of it: look again after as long
        self._move_on(news, waiting, [session for session in idle if session not in incomplete], now)
        self._forget()

    def _resting(self, groups: list[set[str]], now: float) -> dict[int, float]:
        """Groups that took long to compute and are left alone for a while, and until when."""
        if not self._slow:
            return {}
        self._slow = {session for session in self._slow if self._rests_until(session) > now}
        of = {trace: number for number, group in enumerate(groups) for trace in group}
        until: dict[int, float] = {}
        for session, traces in self._gather.traces_of(self._slow).items():
            for trace in traces & of.keys():
                until[of[trace]] = max(until.get(of[trace], 0.0), self._rests_until(session))
        return until

    def _rests_until(self, session: str) -> float:
        known = self._sessions.get(session)
        return 0.0 if known is None else known.rests_until

    def _move_on(self, news: News, waiting: dict[str, float], idle: list[str], now: float) -> None:
        """Every chunk is committed: so are the position and that sessions came to rest whose facts need no change."""
        still = [s for s in idle if (known := self._sessions.get(s)) and known.seen + self.config.idle_s <= now]
        rested = pl.DataFrame(
            [(s, series_of("maslens_sessions", outcome=self._sessions[s].outcome), 1.0) for s in still],
            schema=CONTRIBUTIONS,
            orient="row",
        )
        nothing = pl.DataFrame(schema=CONTRIBUTIONS)
        changed = self._totals.moved(nothing, rested, {"maslens_processed_spans{}": float(news.spans.height)})
        self._commit(
            Entry(
                position=news.upto,
                totals=changed,
                before=nothing,
                after=rested,
                final=dict.fromkeys(still, True),
                waiting=waiting.keys() if waiting.keys() != self._waiting.keys() else None,
            )
        )
        for session in still:
            self._sessions[session].final = True
        self._drop_facts(still)
        self._position, self._waiting = news.upto, waiting

    # --- one chunk ---------------------------------------------------------------------------------------------------

    def _process(
        self, traces: set[str], news: News, arrived: frozenset[str], incomplete: Collection[str], now: float
    ) -> None:
        """Facts and totals of the sessions that `traces` make up. incomplete: those waited for in vain."""
        began = time.perf_counter()
        spans = self._gather.spans(traces)
        facts = self._compute(spans, self._gather.events(traces))
        made = _Made.of(facts, spans)
        before_of = self._gather.sessions_of(traces)
        previous = {session for sessions in before_of.values() for session in sessions}
        known = previous | {session for session, found in self._gather.traces_of(made.sessions).items() if found}
        rested = self._rested(known)
        reached = {session for session, trace in made.pairs if trace in arrived}
        final = (made.sessions & (rested | set(incomplete))) - reached
        open_ = made.unsettled - final
        facts = _unknown_outcome(facts, open_)
        concerned = made.sessions | previous

        version = self._next_version()
        self._gather.belong(made.pairs, traces, token=f"{self._name}:{version}")
        self._writer.write(facts, sessions=concerned, known=known, version=version)
        before = self._contributed_by(concerned, known)
        after = self._totals.bounded(contributions(facts, unsettled=open_, final=final))
        late = [trace for trace in traces if before_of[trace] and before_of[trace] <= rested]
        late_spans = news.spans.filter(pl.col("TraceId").is_in(late)).height
        changed = self._totals.moved(before, after, {"maslens_late_spans{}": float(late_spans)})
        self._commit(
            Entry(
                position=self._position,
                totals=changed,
                before=before,
                after=after,
                final={session: session in final for session in made.sessions},
                gone=previous - made.sessions,
            )
        )
        others = self._contributed.filter(~pl.col("session_id").is_in(list(concerned)))
        self._contributed = pl.concat([others, after])
        self._remembered |= concerned
        self._note(made, previous, reached, final, now, took=time.perf_counter() - began)
        self._exemplars.update(exemplars(facts, seconds_since_epoch=now))

    def _rested(self, sessions: Collection[str]) -> set[str]:
        """Those of `sessions` that had come to rest."""
        here = {session: self._sessions[session] for session in sessions if session in self._sessions}
        stored = self._ledger.final([session for session in sessions if session not in here])
        return stored | {session for session, known in here.items() if known.final}

    def _contributed_by(self, concerned: Collection[str], known: Collection[str]) -> pl.DataFrame:
        """What `concerned` have added to totals so far; only those `known` can have."""
        here = self._contributed.filter(pl.col("session_id").is_in(list(concerned)))
        strange = [session for session in known if session not in self._remembered]
        return pl.concat([here, self._ledger.contributions(strange)]) if strange else here

    def _note(
        self, made: _Made, previous: set[str], reached: set[str], final: set[str], now: float, *, took: float
    ) -> None:
        total = max(sum(made.spans.values()), 1)
        for session in made.sessions:
            known = self._sessions.get(session) or _Session(seen=now)
            if session in reached:
                known.seen = now
                self._sessions.pop(session, None)  # to the end: sessions are kept in the order of arrival
            self._sessions[session] = known
            known.final, known.settled = session in final, session not in made.unsettled
            known.outcome = made.outcomes[session]
            known.rests_until = now + min(
                took * made.spans[session] / total * self.config.patience, self.config.patience_max_s
            )
            if known.rests_until > now + self.config.interval_s:
                self._slow.add(session)
        for session in previous - made.sessions:
            self._sessions.pop(session, None)
        self.status.sessions_computed_total += len(made.sessions)
        self.status.spans_computed_total += total

    def _commit(self, entry: Entry) -> None:
        """All of `entry` or, if the store fails, nothing of it; then the step is done again."""
        self._ledger.commit(entry, version=self._next_version())
        self._totals.apply(entry.totals)

    def _next_version(self) -> int:
        self._version = max(int(self._clock() * 1e9), self._version + 1)
        return self._version

    # --- housekeeping ------------------------------------------------------------------------------------------------

    def _forget(self) -> None:
        """Keep memory bounded: sessions at rest need no record, and the longest idle of too many no facts in mind."""
        self._gather.shrink()
        for session in [session for session, known in self._sessions.items() if known.final]:
            del self._sessions[session]
        excess = len(self._remembered) - self.config.keep_sessions
        if excess > 0:
            here = [session for session in self._sessions if session in self._remembered]
            self._drop_facts([*(self._remembered - set(here)), *here][: excess + self.config.keep_sessions // 10])

    def _drop_facts(self, sessions: Collection[str]) -> None:
        gone = self._remembered.intersection(sessions)
        if gone:
            self._contributed = self._contributed.filter(~pl.col("session_id").is_in(list(gone))).rechunk()
            self._writer.forget(gone)
            self._remembered -= gone

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
        status.running_sessions = len(self._sessions)
        status.waiting_traces = len(self._waiting)
        status.cached_spans = len(self._gather.cache)


_TRACES_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """What was computed: which sessions, of which traces and how many spans. unsettled: more spans are to come."""

    sessions: set[str]
    pairs: set[tuple[str, str]]  # (session, trace)
    spans: dict[str, int]
    outcomes: dict[str, str]
    unsettled: set[str]

    @staticmethod
    def of(facts: FactFrames, spans: pl.DataFrame) -> _Made:
        frames = (facts.agent_runs, facts.handoffs, facts.llm_calls, facts.tool_calls, facts.agent_errors)
        pairs = set(pl.concat([frame.select("session_id", "trace_id") for frame in frames]).unique().iter_rows())
        open_traces = unfinished(spans)
        rows = facts.sessions.select("session_id", "spans", "outcome").rows()
        return _Made(
            sessions={session for session, _, _ in rows},
            pairs=pairs,
            spans={session: count for session, count, _ in rows},
            outcomes={session: outcome for session, _, outcome in rows},
            unsettled={session for session, trace in pairs if trace in open_traces},
        )


def _unknown_outcome(facts: FactFrames, sessions: Collection[str]) -> FactFrames:
    """How a session ended is not known while spans of it are still to come."""
    if not sessions:
        return facts
    outcome = pl.when(pl.col("session_id").is_in(list(sessions))).then(pl.lit("unknown")).otherwise(pl.col("outcome"))
    return replace(facts, sessions=facts.sessions.with_columns(outcome.alias("outcome")))  # type: ignore[type-var]
