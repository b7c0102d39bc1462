"""What waits to be sent: how much may, how long a flush and the program's end wait for it, and what a fork inherits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from maslens.instrumentation import guard, internal_errors, waiting
from maslens.instrumentation.config import export_config
from maslens.instrumentation.outlet import outlet
from maslens.instrumentation.waiting import LogBatches, SpanBatches
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult

Batches = SpanBatches | LogBatches
PATIENCE_S = 20.0  # of an exporter whose far side never answers


class Held:
    """An exporter whose far side answers when it is let, or with a failure."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.begun = threading.Event()
        self.gave_up = False
        self.answer = SpanExportResult.SUCCESS
        self.sent: list[Any] = []

    def export(self, batch: Any) -> SpanExportResult:
        self.begun.set()
        if not self.let.wait(PATIENCE_S):
            self.gave_up = True
        if self.answer is SpanExportResult.SUCCESS:
            self.sent += batch
        return self.answer

    def shutdown(self) -> None:
        self.let.set()


class Signal:
    """One signal of an app, its exporter replaced by `Held`."""

    def __init__(self, kind: str, monkeypatch: pytest.MonkeyPatch, **environ: str) -> None:
        config = export_config(endpoint="http://127.0.0.1:9", environ=environ)
        self.exporter = Held()
        monkeypatch.setattr("maslens.instrumentation.outlet._http", lambda *_: self.exporter)
        monkeypatch.setattr("maslens.instrumentation.outlet._knock", lambda *_: True)
        self.provider: Any
        self.batches: Batches
        if kind == "spans":
            self.batches = SpanBatches(outlet("traces", config), config)
            self.provider = TracerProvider(shutdown_on_exit=False)
            self.provider.add_span_processor(self.batches)
            tracer = self.provider.get_tracer("t")
            self.write = lambda text: tracer.start_span("s", attributes={"text": text}).end()
        else:
            self.batches = LogBatches(outlet("logs", config), config)
            self.provider = LoggerProvider(shutdown_on_exit=False)
            self.provider.add_log_record_processor(self.batches)
            logger = self.provider.get_logger("t")
            self.write = lambda text: logger.emit(LogRecord(body=text))


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process of its own: what other tests hold open, or have waited for, does not count."""
    monkeypatch.setattr(waiting, "_open", [])
    monkeypatch.setattr(waiting, "_spent_s", 0.0)


@pytest.fixture(params=["spans", "logs"])
def signal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Signal]:
    made = Signal(
        request.param,
        monkeypatch,
        OTEL_BSP_MAX_QUEUE_SIZE="64",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="16",
        OTEL_BSP_SCHEDULE_DELAY="50",
        MASLENS_MAX_WAITING_BYTES="500000",
    )
    yield made
    made.exporter.let.set()
    made.provider.shutdown()
    assert not internal_errors()


def test_what_a_full_queue_drops_does_not_fill_the_room(signal: Signal) -> None:
    """64 items of 1.6 kB are a fifth of the room, however many more were dropped."""
    for _ in range(3000):
        signal.write("x" * 1000)
    assert signal.batches.outlet.room.refused == 0
    assert not signal.batches.outlet.room.full


def test_after_an_overload_as_much_fits_as_before(signal: Signal) -> None:
    for _ in range(3000):
        signal.write("x" * 20_000)
    signal.exporter.let.set()
    assert signal.provider.force_flush(PATIENCE_S * 1000)
    signal.exporter.sent.clear()
    signal.exporter.let.clear()
    for _ in range(60):
        signal.write("x" * 1000)
    signal.exporter.let.set()
    assert signal.provider.force_flush(PATIENCE_S * 1000)
    assert len(signal.exporter.sent) == 60


def test_a_log_record_stands_for_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    signal = Signal("logs", monkeypatch, MASLENS_MAX_WAITING_BYTES="500000")
    for _ in range(40):
        signal.write("x" * 10_000)
    assert signal.batches.outlet.room.refused == 0
    for _ in range(40):
        signal.write("x" * 10_000)
    assert signal.batches.outlet.room.refused > 20
    signal.exporter.let.set()
    signal.provider.shutdown()


def test_a_flush_returns_in_its_time_though_the_endpoint_does_not_answer(signal: Signal) -> None:
    signal.write("x")
    assert signal.exporter.begun.wait(PATIENCE_S)
    assert signal.provider.force_flush(100) is False
    assert not signal.exporter.gave_up


def test_a_flush_that_begins_the_export_returns_in_its_time_too(signal: Signal) -> None:
    for _ in range(40):
        signal.write("x")
    assert signal.provider.force_flush(100) is False
    assert not signal.exporter.gave_up


def test_a_flush_says_whether_all_was_sent(signal: Signal) -> None:
    signal.exporter.let.set()
    for _ in range(40):
        signal.write("x")
    assert signal.provider.force_flush(PATIENCE_S * 1000) is True
    assert len(signal.exporter.sent) == 40
    signal.exporter.answer = SpanExportResult.FAILURE
    signal.write("x")
    assert signal.provider.force_flush(PATIENCE_S * 1000) is False
    assert signal.provider.force_flush(PATIENCE_S * 1000) is True, "nothing waits any more"


def test_a_flush_counts_what_was_on_its_way_already(signal: Signal) -> None:
    signal.exporter.answer = SpanExportResult.FAILURE
    signal.write("x")
    assert signal.exporter.begun.wait(PATIENCE_S)
    threading.Timer(0.1, signal.exporter.let.set).start()
    assert signal.provider.force_flush(PATIENCE_S * 1000) is False


def test_flushes_of_several_threads_all_return(signal: Signal) -> None:
    answers: list[bool] = []

    def flush() -> None:
        for _ in range(20):
            signal.write("x")
            answers.append(signal.provider.force_flush(PATIENCE_S * 1000))

    signal.exporter.let.set()
    threads = [threading.Thread(target=flush) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert answers == [True] * 160
    assert len(signal.exporter.sent) == 160


def test_the_end_of_the_program_waits_once_for_all_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [Signal(kind, monkeypatch, MASLENS_EXIT_TIMEOUT_MS="2000") for kind in ("logs", "spans")]
    for signal in both:
        signal.write("x")
    start = time.monotonic()
    for signal in both:
        signal.provider.shutdown()
    assert time.monotonic() - start < 3.5, "2 s are allowed in all; one after the other they were 4"


def test_while_one_signal_is_waited_for_the_other_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Signal("logs", monkeypatch, MASLENS_EXIT_TIMEOUT_MS="1000", OTEL_BSP_SCHEDULE_DELAY="60000")
    well = Signal("spans", monkeypatch, MASLENS_EXIT_TIMEOUT_MS="1000", OTEL_BSP_SCHEDULE_DELAY="60000")
    well.exporter.let.set()
    slow.write("x")
    well.write("x")
    slow.provider.shutdown()
    well.provider.shutdown()
    assert len(well.exporter.sent) == 1


def test_what_was_waited_for_long_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """One provider is stopped early; the other, at the end of the program, has its time."""
    early = Signal("logs", monkeypatch, MASLENS_EXIT_TIMEOUT_MS="1000")
    late = Signal("spans", monkeypatch, MASLENS_EXIT_TIMEOUT_MS="1000", OTEL_BSP_SCHEDULE_DELAY="60000")
    early.write("x")
    early.provider.shutdown()
    assert waiting._spent_s > 0.9
    time.sleep(1.1)
    late.write("x")
    threading.Timer(0.1, late.exporter.let.set).start()
    late.provider.shutdown()
    assert len(late.exporter.sent) == 1


def test_a_later_set_up_has_its_own_time_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Signal("spans", monkeypatch, MASLENS_EXIT_TIMEOUT_MS="300")
    before.write("x")
    before.provider.shutdown()
    after = Signal("spans", monkeypatch, MASLENS_EXIT_TIMEOUT_MS="20000")
    after.write("x")
    threading.Timer(0.3, after.exporter.let.set).start()
    after.provider.shutdown()
    assert len(after.exporter.sent) == 1 and not after.exporter.gave_up


def test_after_the_end_nothing_is_kept_and_nothing_raises(signal: Signal) -> None:
    signal.exporter.let.set()
    signal.provider.shutdown()
    signal.write("late")
    assert signal.batches.force_flush(1000) is False
    signal.batches.shutdown()
    assert signal.exporter.sent == []


class Bursting(Held):
    def __init__(self, signal: Signal) -> None:
        super().__init__()
        signal.batches.outlet._exporter = self

    def export(self, batch: Any) -> SpanExportResult:
        raise OSError("an exporter's own mistake")

    def shutdown(self) -> None:
        raise OSError("again")


@pytest.mark.parametrize("kind", ["spans", "logs"])
def test_an_exporter_that_raises_is_counted_and_asked_again(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    signal = Signal(kind, monkeypatch)
    well = signal.exporter
    well.let.set()
    Bursting(signal)
    signal.write("lost")
    assert signal.provider.force_flush(PATIENCE_S * 1000) is False
    signal.batches.outlet._exporter = well
    signal.write("sent")
    assert signal.provider.force_flush(PATIENCE_S * 1000) is True
    assert len(well.sent) == 1 and signal.batches.outlet.lost == 1
    Bursting(signal)
    signal.provider.shutdown()
    assert dict(internal_errors()) == {"export": 1, "exporter's shutdown": 1}
    guard._counts.clear()


def test_what_does_not_fit_is_said_once(signal: Signal, caplog: pytest.LogCaptureFixture) -> None:
    signal.exporter.let.set()
    for _ in range(3):
        signal.exporter.let.clear()
        for _ in range(300):
            signal.write("x")
        signal.exporter.let.set()
        signal.provider.force_flush(PATIENCE_S * 1000)
    said = [record.getMessage() for record in caplog.records if record.name == "maslens.instrumentation"]
    assert len(said) == 1 and "more slowly than it comes" in said[0]
