"""What a program gets without maslens: the SDK's own defaults and every instrumentor that its loader takes.

The steps of `opentelemetry-instrument` without its distro, so that the maslens installed beside it stays out of it.
"""

import importlib.util
from pathlib import Path


def _start():
    from opentelemetry import _logs, trace
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.auto_instrumentation import _load
    from opentelemetry.instrumentation.distro import DefaultDistro
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    tracers, loggers = TracerProvider(), LoggerProvider()
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    loggers.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    trace.set_tracer_provider(tracers)
    _logs.set_logger_provider(loggers)
    everything = _load.entry_points

    def without_ours(group):
        return [point for point in everything(group=group) if not point.value.startswith("maslens.")]

    _load.entry_points = without_ours
    try:
        _load._load_instrumentors(DefaultDistro())
    finally:
        _load.entry_points = everything


_start()
_beside = importlib.util.spec_from_file_location("_beside", Path(__file__).parents[1] / "inside" / "sitecustomize.py")
_beside.loader.exec_module(importlib.util.module_from_spec(_beside))
