"""`init`: spans and events leave the app, every span is stamped. Safe to call twice and beside others' set-up."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from maslens.instrumentation.config import ExportConfig, export_config, unset_limits
from maslens.instrumentation.guard import off, swallowed
from maslens.instrumentation.outlet import outlet
from maslens.instrumentation.runtime import own_version, runtime
from maslens.instrumentation.stamp import StampProcessor
from maslens.instrumentation.waiting import LogBatches, SpanBatches, leave_all
from opentelemetry import trace
from opentelemetry._logs import get_logger_provider, set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider

_lock = threading.Lock()
_watching = False  # forks


def init(
    endpoint: str | None = None,
    *,
    service_name: str | None = None,
    protocol: str | None = None,
    headers: Mapping[str, str] | None = None,
    capture_content: bool | None = None,
    resource_attributes: Mapping[str, Any] | None = None,
) -> bool:
    """Send what this process does to maslens (default http://127.0.0.1:4318, or what OTEL_EXPORTER_OTLP_ENDPOINT says).

    Where a tracer provider is already set up it is kept, and only what it lacks is added: the stamp on every span, and
    our exporter if it has none or `endpoint` names a place it does not send to yet. Never raises; False and a line in
    the log say that it could not be done.

    capture_content: record tool arguments and results; by default off, or as
        OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT says.
    """
    try:
        config = export_config(
            endpoint=endpoint,
            protocol=protocol,
            headers=headers,
            service_name=service_name,
            capture_content=capture_content,
        )
        with _lock:
            runtime.capture_content = config.capture_content
            _traces(config, resource_attributes or {}, wanted=endpoint is not None)
            _logs(config, resource_attributes or {}, wanted=endpoint is not None)
            _also_in_workers()
    except Exception as mistake:
        swallowed("init", mistake)
        off(mistake)
        return False
    return True


def shutdown() -> None:
    """Send what still waits and stop; by itself at the program's end."""
    for provider in (trace.get_tracer_provider(), get_logger_provider()):
        try:
            if hasattr(provider, "shutdown"):
                provider.shutdown()
        except Exception as mistake:  # of anybody's processor
            swallowed("shutdown", mistake)
    leave_all()


def _traces(config: ExportConfig, attributes: Mapping[str, Any], *, wanted: bool) -> None:
    provider: Any = trace.get_tracer_provider()
    if not hasattr(provider, "add_span_processor"):
        provider = TracerProvider(resource=_resource(config, attributes), span_limits=_span_limits())
        trace.set_tracer_provider(provider)
    processors = list(_processors(provider, "_active_span_processor", "_span_processors"))
    if not any(isinstance(processor, StampProcessor) for processor in processors):
        provider.add_span_processor(StampProcessor())
    url = config.endpoints.get("traces")
    if url and _lacks(processors, url, wanted=wanted, local="traces" in config.elsewhere):
        provider.add_span_processor(SpanBatches(outlet("traces", config), config))


def _logs(config: ExportConfig, attributes: Mapping[str, Any], *, wanted: bool) -> None:
    provider: Any = get_logger_provider()
    if not hasattr(provider, "add_log_record_processor"):
        provider = LoggerProvider(resource=_resource(config, attributes))
        set_logger_provider(provider)
    processors = list(_processors(provider, "_multi_log_record_processor", "_log_record_processors"))
    url = config.endpoints.get("logs")
    if url and _lacks(processors, url, wanted=wanted, local="logs" in config.elsewhere):
        provider.add_log_record_processor(LogBatches(outlet("logs", config), config))


def _lacks(processors: list[Any], url: str, *, wanted: bool, local: bool) -> bool:
    """Whether an exporter to `url` is missing; one to anywhere else is enough unless `url` was asked for.

    local: so is one that goes nowhere, as the SDK's own do: to the console, into memory.
    """
    exporters = [found for found in map(_exporter, processors) if found is not None]
    if not local:
        exporters = [found for found in exporters if not type(found).__module__.startswith("opentelemetry.sdk.")]
    sent_to = {str(getattr(exporter, "url", None) or getattr(exporter, "_endpoint", "")) for exporter in exporters}
    return url not in sent_to if wanted else not exporters


def _exporter(processor: Any) -> Any:
    if getattr(processor, "closed", False) is True:  # ours, and `shutdown` came before this `init`
        return None
    batch = getattr(processor, "_batch_processor", None)
    return (
        getattr(processor, "outlet", None)
        or getattr(batch, "_exporter", None)
        or getattr(processor, "span_exporter", None)
        or getattr(processor, "_exporter", None)
    )


def _processors(provider: Any, *path: str) -> Iterator[Any]:
    found: Any = provider
    for step in path:
        found = getattr(found, step, ())
    yield from found


def _also_in_workers() -> None:
    """A forked worker of `multiprocessing` skips what a program does at its end: what waits in it is sent before."""
    global _watching
    if not _watching and hasattr(os, "register_at_fork"):
        _watching = True
        os.register_at_fork(after_in_child=_in_child)
        _in_worker()  # which this may be already: a fork server forks first and imports the program then


def _in_child() -> None:
    global _lock
    _lock = threading.Lock()  # the parent may have been in `init` in another thread
    _in_worker()


def _in_worker() -> None:
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None:  # it forgets what is to be done at the end, then asks what is to be done after the fork
        util.register_after_fork(shutdown, _before_the_end)


def _before_the_end(_: Any) -> None:
    from multiprocessing.util import Finalize

    Finalize(None, shutdown, exitpriority=-100)


def _resource(config: ExportConfig, attributes: Mapping[str, Any]) -> Resource:
    named = {"service.name": config.service_name} if config.service_name else {}
    distro = {"telemetry.distro.name": "maslens", "telemetry.distro.version": own_version()}
    return Resource.create({**distro, **named, **attributes})


def _span_limits() -> SpanLimits:
    raised = unset_limits()
    return SpanLimits(
        max_span_attributes=raised.get("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"),
        max_event_attributes=raised.get("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT"),
        max_events=raised.get("OTEL_SPAN_EVENT_COUNT_LIMIT"),
        max_links=raised.get("OTEL_SPAN_LINK_COUNT_LIMIT"),
    )
