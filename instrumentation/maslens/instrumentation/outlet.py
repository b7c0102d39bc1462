"""The way out of the app: exporters that complain once instead of always, and batches that never hold up the exit."""

from __future__ import annotations

import logging
import socket
import urllib.request
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

from maslens.instrumentation.config import ExportConfig, Signal, address_of
from maslens.instrumentation.guard import swallowed
from maslens.instrumentation.room import Room, pieces, size_of
from opentelemetry.sdk._logs import ReadWriteLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor

_log = logging.getLogger("maslens.instrumentation")
_ours: ContextVar[bool] = ContextVar("maslens_exporting", default=False)
_KNOCK_SECONDS = 0.3
_HTTP_BYTES = 8 * 2**20  # of texts in one request: receivers refuse a large one whole
_GRPC_BYTES = 2 * 2**20  # gRPC servers take 4 MiB unless told otherwise
_TALKATIVE = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "opentelemetry.exporter.otlp.proto.http",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.common.http",
    "urllib3.connectionpool",
)


class Outlet:
    """An OTLP exporter that says once when its far side goes and once when it is back."""

    def __init__(self, exporter: Any, url: str, *, room: Room, request_bytes: int) -> None:
        self._exporter = exporter
        self._url = url
        self._request_bytes = request_bytes
        self._away = False
        self.room = room
        self.lost = 0

    @property
    def url(self) -> str:
        return self._url

    def export(self, batch: Sequence[Any]) -> Any:
        """The exporter's answer to the last request; what is too large for one goes in several."""
        self.room.leave(sum(self.room.weight(_number(item), item) for item in batch))
        result = None
        for piece in pieces(batch, list(map(size_of, batch)), self._request_bytes):
            result = self._send(piece)
        return result

    def _send(self, batch: Sequence[Any]) -> Any:
        silent = _ours.set(True)
        result = None
        try:
            result = self._exporter.export(batch)
        except Exception as mistake:  # older exporters let a refused connection through, with a traceback for the app
            swallowed("export", mistake)
        finally:
            _ours.reset(silent)
        self._say(delivered=getattr(result, "name", "") == "SUCCESS", count=len(batch))
        return result

    def shutdown(self) -> None:
        silent = _ours.set(True)
        try:
            self._exporter.shutdown()
        finally:
            _ours.reset(silent)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return bool(self._exporter.force_flush(timeout_millis))

    def worth_flushing(self, waiting: int) -> bool:
        """An app that flushes now and then is not held up by a far side that is not there."""
        if not waiting or listens(self._url):
            return True
        self._say(delivered=False, count=0)
        return False

    def before_last_flush(self, waiting: int) -> None:
        """Waiting for a far side that is not there would only delay the program's end."""
        if waiting and not listens(self._url):
            self._say(delivered=False, count=waiting)
            self.shutdown()

    def _say(self, *, delivered: bool, count: int) -> None:
        if delivered:
            if self._away:
                _log.warning("%s takes telemetry again; %d items were dropped meanwhile", self._url, self.lost)
            self._away = False
            return
        self.lost += count
        if not self._away:
            self._away = True
            _log.warning("%s does not take telemetry; the app goes on, what does not fit is dropped", self._url)


class SpanBatches(BatchSpanProcessor):
    """Spans wait here for the next export; a full queue drops, a lost endpoint is not waited for."""

    def __init__(self, outlet: Outlet, config: ExportConfig) -> None:
        super().__init__(
            outlet,  # type: ignore[arg-type]  # an exporter in all but ancestry
            max_queue_size=max(config.max_queue, config.max_batch),
            schedule_delay_millis=config.delay_ms,
            max_export_batch_size=config.max_batch,
        )
        self.outlet = outlet
        self._exit_ms = config.exit_ms
        self._room = outlet.room
        self._room.queue = self._batch_processor._queue

    def on_end(self, span: ReadableSpan) -> None:
        context = span.context
        if not context.trace_flags.sampled:
            return
        if self._room.full or not context.span_id & 7:
            try:
                if not self._room.take(self._room.weight(context.span_id, span)):
                    return
            except Exception as mistake:
                swallowed("span end", mistake)
        self._batch_processor.emit(span)

    def shutdown(self) -> None:
        self.outlet.before_last_flush(len(self._batch_processor._queue))
        self._batch_processor.shutdown(self._exit_ms)

    def force_flush(self, timeout_millis: int | None = None) -> bool:
        return self.outlet.worth_flushing(len(self._batch_processor._queue)) and super().force_flush(timeout_millis)


class LogBatches(BatchLogRecordProcessor):
    """The same for log records."""

    def __init__(self, outlet: Outlet, config: ExportConfig) -> None:
        super().__init__(
            outlet,  # type: ignore[arg-type]  # an exporter in all but ancestry
            max_queue_size=max(config.max_queue, config.max_batch),
            schedule_delay_millis=config.delay_ms,
            max_export_batch_size=config.max_batch,
        )
        self.outlet = outlet
        self._exit_ms = config.exit_ms
        outlet.room.queue = self._batch_processor._queue

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        try:
            if self.outlet.room.take(self.outlet.room.weight(_number(log_record), log_record)):
                super().on_emit(log_record)
        except Exception as mistake:
            swallowed("event", mistake)

    def shutdown(self) -> None:
        self.outlet.before_last_flush(len(self._batch_processor._queue))
        self._batch_processor.shutdown(self._exit_ms)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self.outlet.worth_flushing(len(self._batch_processor._queue)) and super().force_flush(timeout_millis)


def _number(item: Any) -> int:
    """A random number that an item keeps: a span's id; of records, which are few, all are counted."""
    return item.context.span_id if isinstance(item, ReadableSpan) else 0


def outlet(signal: Signal, config: ExportConfig) -> Outlet:
    """The exporter of one signal, as `config` says."""
    _quieten()
    url = config.endpoints[signal]
    exporter = _grpc(signal, url, config) if config.protocol == "grpc" else _http(signal, url, config)
    request_bytes = _GRPC_BYTES if config.protocol == "grpc" else _HTTP_BYTES
    return Outlet(exporter, url, room=Room(config.max_waiting_bytes), request_bytes=request_bytes)


def listens(url: str) -> bool:
    """Whether anybody answers there; True where that cannot be told cheaply."""
    address = address_of(url)
    if address is None or (urllib.request.getproxies() and not urllib.request.proxy_bypass(address[0])):
        return True
    try:
        socket.create_connection(address, timeout=_KNOCK_SECONDS).close()
    except OSError:
        return False
    return True


def _http(signal: Signal, url: str, config: ExportConfig) -> Any:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    exporter = OTLPSpanExporter if signal == "traces" else OTLPLogExporter
    compression = Compression.Gzip if config.compress else None  # None: as the OpenTelemetry variables say
    return exporter(endpoint=url, headers=dict(config.headers) or None, compression=compression)


def _grpc(signal: Signal, url: str, config: ExportConfig) -> Any:
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    exporter = OTLPSpanExporter if signal == "traces" else OTLPLogExporter
    return exporter(endpoint=url, insecure=url.startswith("http://"), headers=dict(config.headers) or None)


def _not_ours(_record: logging.LogRecord) -> bool:
    return not _ours.get()


def _quieten() -> None:
    """The SDK logs every failed attempt; ours are summed up by `Outlet`, anybody else's are left alone."""
    for name in _TALKATIVE:
        talkative = logging.getLogger(name)
        if _not_ours not in talkative.filters:
            talkative.addFilter(_not_ours)
