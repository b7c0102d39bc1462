"""All of it together: receivers in front, the journal, the loader behind. Started and stopped as one."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from maslens.collector_processor.access import TlsConfig, Tokens, check_exposure
from maslens.collector_processor.deadletter import DeadLetterConfig, DeadLetters
from maslens.collector_processor.errors import ConfigError
from maslens.collector_processor.front_ends import FrontEnds
from maslens.collector_processor.http_server import HttpLimits
from maslens.collector_processor.inspection import Window
from maslens.collector_processor.intake import Intake, Stage
from maslens.collector_processor.journal import Journal, JournalConfig, JournalStats
from maslens.collector_processor.loader import Loader, LoaderConfig, LoaderStats
from maslens.collector_processor.signals import SIGNALS, Signal
from maslens.collector_processor.sink import IntakeStats, JournalSink
from maslens.collector_processor.transports import TransportConfig, Transports
from maslens.storage import Store

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverConfig:
    directory: Path  # of the journal and the dead letters
    host: str = "127.0.0.1"
    grpc_port: int | None = 4317  # 0: any free one; None: not served
    http_port: int | None = 4318
    tokens: Tokens = field(default_factory=Tokens)
    tls: TlsConfig | None = None
    insecure: bool = False  # other machines may send although nobody knows who they are
    cors_origins: tuple[str, ...] = ()
    window: Window = field(default_factory=Window)
    stages: Sequence[Stage] = ()  # redaction, applied before anything is written
    front_ends: int = 0  # processes that serve the transports; 0: this one does
    http: HttpLimits = field(default_factory=HttpLimits)
    journal: JournalConfig = field(default_factory=JournalConfig)
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    dead_letters: DeadLetterConfig = field(default_factory=DeadLetterConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.front_ends <= 64:
            raise ConfigError(f"front_ends must be between 0 and 64, got {self.front_ends}")
        check_exposure([self.host], tokens=self.tokens, tls=self.tls, insecure=self.insecure)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverStats:
    """A snapshot for whoever exports metrics; counters since start."""

    intake: IntakeStats
    journal: JournalStats
    loader: LoaderStats
    lag_items: dict[Signal, int]  # waiting to be loaded
    lag_bytes: dict[Signal, int]
    lag_seconds: float  # age of the oldest request that is not loaded
    dead_letters: int  # in the folder now
    dead_letter_bytes: int
    dead_letters_expired: int  # gone because of their age
    refusing: str  # why nothing is taken just now; empty while all is well
    front_ends: int  # processes that serve just now; 0 where this one serves
    front_end_restarts: int


class Receiver:
    """Takes OTLP in and loads it into `store`, which it neither opens nor closes.

    on_loaded: called after each insert with the number of its spans or log records. looks_in: seconds until the first
    look at the store that is no sooner than in the seconds given; what is seen no sooner for it waits for company.
    """

    def __init__(
        self,
        config: ReceiverConfig,
        store: Store,
        *,
        on_loaded: Callable[[int], None] | None = None,
        looks_in: Callable[[float], float] | None = None,
    ) -> None:
        self.config = config
        self.grpc_port = self.http_port = 0  # what was bound
        self.journal = Journal(config.directory / "journal", config.journal)
        self.dead_letters = DeadLetters(config.directory / "deadletter", config.dead_letters)
        self.loader = Loader(
            self.journal, store, self.dead_letters, config.loader, on_loaded=on_loaded, looks_in=looks_in
        )
        self.sink = JournalSink(self.journal)
        self.intake = Intake(self.sink, window=config.window, stages=config.stages)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="maslens-receiver", daemon=True)
        self._ready: threading.Event = threading.Event()
        self._failure: BaseException | None = None
        self.front_ends: FrontEnds | None = None
        self._transports: Transports | FrontEnds = Transports(_transports(config), self.intake)
        if config.front_ends:
            self._transports = self.front_ends = FrontEnds(
                _transports(config), self.sink, number=config.front_ends, window=config.window, stages=config.stages
            )

    def start(self) -> None:
        """Return once both transports listen. Raises ConfigError where one cannot."""
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self.stop()
            raise ConfigError(f"the receiver cannot start: {self._failure}") from self._failure
        self.loader.start()
        _log.info("receiving", host=self.config.host, grpc=self.grpc_port, http=self.http_port)

    def stop(self, *, grace: float = 5.0, drain: float = 0.0) -> None:
        """Stop accepting, answer what is under way, load for up to `drain` seconds, close.

        What is not loaded by then stays in the journal for the next start.
        """
        if self._loop is not None and self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._stop_serving(grace), self._loop).result(grace + 10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        if drain and not self._failure:
            self.loader.drained(drain)
        self.loader.stop()
        self.journal.close()

    def drained(self, timeout: float = 30.0) -> bool:
        """Wait until everything that was acknowledged is in the store; False where that takes longer."""
        return self.loader.drained(timeout)

    def metrics(self) -> ReceiverStats:
        pending = {signal: self.journal.pending(signal) for signal in SIGNALS}
        outstanding = self.journal.outstanding()
        ages = [each.oldest_ns for each in pending.values() if each.records] + [cut.received_ns for cut in outstanding]
        refusal = self.journal.refusal()
        return ReceiverStats(
            intake=self.sink.counters.stats(),
            journal=self.journal.stats(),
            loader=self.loader.stats(),
            lag_items={
                signal: pending[signal].items + sum(cut.items for cut in outstanding if cut.signal == signal)
                for signal in SIGNALS
            },
            lag_bytes={
                signal: pending[signal].size + sum(cut.size for cut in outstanding if cut.signal == signal)
                for signal in SIGNALS
            },
            lag_seconds=max(0.0, (time.time_ns() - min(ages)) / 1e9) if ages else 0.0,
            dead_letters=self.dead_letters.count,
            dead_letter_bytes=self.dead_letters.size,
            dead_letters_expired=self.dead_letters.expired,
            refusing=refusal.reason if refusal else "",
            front_ends=self.front_ends.serving if self.front_ends else 0,
            front_end_restarts=self.front_ends.restarts if self.front_ends else 0,
        )

    # --- the event loop's thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        loop = self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(self._serve())
        except Exception as error:  # told to whoever called start
            self._failure = error
        finally:
            self._ready.set()
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    async def _serve(self) -> None:
        await self._transports.start()
        self.grpc_port, self.http_port = self._transports.grpc_port, self._transports.http_port

    async def _stop_serving(self, grace: float) -> None:
        await self._transports.stop(grace)


def _transports(config: ReceiverConfig) -> TransportConfig:
    return TransportConfig(
        host=config.host,
        grpc_port=config.grpc_port,
        http_port=config.http_port,
        tokens=config.tokens,
        tls=config.tls,
        cors_origins=config.cors_origins,
        http=config.http,
    )
