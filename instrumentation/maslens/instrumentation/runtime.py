"""The tracer and logger of this process, and whether message contents may be recorded."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from opentelemetry import trace

if TYPE_CHECKING:
    from opentelemetry._logs import Logger, LoggerProvider

SCOPE = "maslens.instrumentation"


@dataclass(slots=True)
class Runtime:
    """What `init` may set; without it the global providers and no contents."""

    tracer_provider: trace.TracerProvider | None = None
    logger_provider: LoggerProvider | None = None
    capture_content: bool = False


runtime = Runtime()
_tracer_of: tuple[trace.TracerProvider | None, trace.Tracer] = (None, trace.NoOpTracer())
_logger_of: tuple[LoggerProvider | None, Logger | None] = (None, None)


def tracer() -> trace.Tracer:
    global _tracer_of
    provider = runtime.tracer_provider or trace.get_tracer_provider()
    if _tracer_of[0] is not provider:
        _tracer_of = (provider, provider.get_tracer(SCOPE, own_version()))
    return _tracer_of[1]


def logger() -> Logger:
    global _logger_of
    from opentelemetry._logs import get_logger_provider

    provider = runtime.logger_provider or get_logger_provider()
    known = _logger_of[1]
    if _logger_of[0] is provider and known is not None:
        return known
    made = provider.get_logger(SCOPE, own_version())
    _logger_of = (provider, made)
    return made


def own_version() -> str:
    try:
        return version("maslens")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0"
