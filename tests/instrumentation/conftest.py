"""What the tests of instrumentation share: a real SDK, a real OTLP exporter, a real server at the other end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from maslens.instrumentation import guard
from maslens.instrumentation.config import export_config
from maslens.instrumentation.outlet import outlet
from maslens.instrumentation.runtime import SCOPE, runtime
from maslens.instrumentation.stamp import StampProcessor
from maslens.instrumentation.waiting import LogBatches, SpanBatches
from maslens.instrumentation.zero_code import installed
from maslens.semconv import attributes
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import TracerProvider

from tests.instrumentation.otlp_sink import SeenLog, SeenSpan, Sink

_KNOWN = {value for name, value in vars(attributes).items() if name.isupper() and isinstance(value, str)}
VOCABULARY = _KNOWN | {"gen_ai.agent.type", "gen_ai.agent.handoffs"}  # OpenLIT's, of `monitor_llm`

Install = Callable[..., None]


@dataclass(frozen=True)
class Told:
    """What arrived at the far end so far."""

    sink: Sink
    tracers: TracerProvider
    loggers: LoggerProvider

    @property
    def spans(self) -> list[SeenSpan]:
        self.tracers.force_flush()
        return self.sink.spans

    @property
    def logs(self) -> list[SeenLog]:
        self.loggers.force_flush()
        return self.sink.logs

    def __getitem__(self, name: str) -> SeenSpan:
        (found,) = [span for span in self.spans if span.name == name]
        return found

    def children(self, of: SeenSpan) -> list[str]:
        return [span.name for span in self.spans if span.parent_id == of.span_id]


@pytest.fixture(scope="session")
def _sink() -> Iterator[Sink]:
    sink = Sink().start()
    yield sink
    sink.stop()


@pytest.fixture(scope="session")
def _told(_sink: Sink) -> Iterator[Told]:
    patience = pytest.MonkeyPatch()  # a busy machine may take longer to answer a knock than an app would wait
    patience.setattr("maslens.instrumentation.outlet._KNOCK_SECONDS", 10.0)
    config = export_config(endpoint=_sink.url, environ={})
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(StampProcessor())
    tracers.add_span_processor(SpanBatches(outlet("traces", config), config))
    loggers = LoggerProvider(shutdown_on_exit=False)
    loggers.add_log_record_processor(LogBatches(outlet("logs", config), config))
    yield Told(_sink, tracers, loggers)
    tracers.shutdown()
    loggers.shutdown()
    patience.undo()


@pytest.fixture
def told(_told: Told) -> Iterator[Told]:
    """Spans and events of one test; fails the test where something went wrong inside maslens."""
    _told.sink.spans.clear()
    _told.sink.logs.clear()
    guard._counts.clear()
    runtime.tracer_provider, runtime.logger_provider = _told.tracers, _told.loggers
    token = attach(Context())
    yield _told
    detach(token)
    runtime.tracer_provider = runtime.logger_provider = None
    runtime.capture_content = False
    _told.tracers.force_flush()
    _told.loggers.force_flush()
    assert not guard._counts, dict(guard._counts)
    ours = [span.attributes for span in _told.sink.spans if span.scope == SCOPE]
    said = {key for about in [*ours, *(log.attributes for log in _told.sink.logs)] for key in about}
    assert said <= VOCABULARY, said - VOCABULARY


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts distributions on the path that consist of nothing but their metadata."""
    monkeypatch.syspath_prepend(str(tmp_path))
    installed.version_of.cache_clear()

    def make(name: str, version: str = "99.0", requires: str = "", files: str = "", entry_points: str = "") -> None:
        info = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nProvides-Extra: instruments\n"
            + (f"Requires-Dist: {requires}\n" if requires else "")
        )
        (info / "RECORD").write_text(files)
        (info / "entry_points.txt").write_text(entry_points)

    yield make
    installed.version_of.cache_clear()
