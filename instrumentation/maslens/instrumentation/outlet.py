"""The way out of the app: exporters that complain once instead of always."""

from __future__ import annotations

import logging
import socket
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeAlias

from maslens.instrumentation.config import ExportConfig, Signal, address_of
from maslens.instrumentation.guard import swallowed
from maslens.instrumentation.room import Room, pieces, size_of

_log = logging.getLogger("maslens.instrumentation")
_ours: ContextVar[bool] = ContextVar("maslens_exporting", default=False)
Doors: TypeAlias = "tuple[tuple[int, Any], ...]"  # address family and address
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

    def __init__(self, make: Callable[[], Any], url: str, *, room: Room, request_bytes: int) -> None:
        self._make = make
        self._exporter = make()
        self._inherited: list[Any] = []
        self._url = url
        self._request_bytes = request_bytes
        self._doors: Doors | None = None
        self._away = False
        self._full = False
        self._lost_before = 0
        self.room = room
        self.dropped = 0  # by a full queue
        self.undelivered = 0

    @property
    def url(self) -> str:
        return self._url

    @property
    def lost(self) -> int:
        return self.undelivered + self.dropped + self.room.refused

    def export(self, batch: Sequence[Any]) -> bool:
        """Whether all of it was delivered; what is too large for one request goes in several."""
        self._find()
        whole = True
        for piece in pieces(batch, list(map(size_of, batch)), self._request_bytes):
            whole = self._send(piece) and whole
        return whole

    def _send(self, batch: Sequence[Any]) -> bool:
        silent = _ours.set(True)
        result = None
        try:
            if self._exporter is None:
                self._exporter = self._make()
            result = self._exporter.export(batch)
        except Exception as mistake:  # older exporters let a refused connection through, with a traceback for the app
            swallowed("export", mistake)
        finally:
            _ours.reset(silent)
        delivered = getattr(result, "name", "") == "SUCCESS"
        self._say(delivered=delivered, count=len(batch))
        if not delivered:
            self._doors = None  # perhaps it has moved
        return delivered

    def shutdown(self) -> None:
        silent = _ours.set(True)
        try:
            if self._exporter is not None:
                self._exporter.shutdown()
        except Exception as mistake:
            swallowed("exporter's shutdown", mistake)
        finally:
            _ours.reset(silent)

    def renew(self) -> None:
        """In a forked child: a connection of its own.

        The parent's is kept, untouched: closing it takes locks that a thread of the parent may have held.
        """
        self._inherited.append(self._exporter)
        self._exporter = None  # made by the thread that sends, once there is something to send
        self._away = self._full = False
        self.dropped = self.undelivered = self.room.refused = self._lost_before = 0

    def is_reachable(self) -> bool:
        """Whether anybody listens; True where that cannot be told. Finding the address may take long."""
        self._find()
        if not self.is_refused(_KNOCK_SECONDS):
            return True
        self._say(delivered=False, count=0)
        self._doors = None
        return False

    def is_refused(self, seconds: float) -> bool:
        """Whether nobody listens where the far side was last found; False where that is not known yet."""
        doors = self._doors
        return doors is not None and seconds > 0 and not _knock(doors, min(seconds, _KNOCK_SECONDS))

    def leave_behind(self, count: int) -> None:
        """`count` items will never be sent."""
        if count:
            self._say(delivered=False, count=count)

    def _find(self) -> None:
        if self._doors is None:
            self._doors = _doors(self._url)

    def _say(self, *, delivered: bool, count: int) -> None:
        if not delivered:
            if not self._away:
                self._away = True
                self._lost_before = self.lost
                _log.warning("%s does not take telemetry; the app goes on, what does not fit is dropped", self._url)
            self.undelivered += count
            return
        if self._away:
            missing = self.lost - self._lost_before
            _log.warning("%s takes telemetry again; %d items were dropped meanwhile", self._url, missing)
        elif self.dropped + self.room.refused and not self._full:
            self._full = True
            _log.warning("%s takes telemetry more slowly than it comes; what does not fit is dropped", self._url)
        self._away = False


def outlet(signal: Signal, config: ExportConfig) -> Outlet:
    """The exporter of one signal, as `config` says."""
    _quieten()
    url = config.endpoints[signal]
    grpc = config.protocol(signal) == "grpc"
    make = partial(_grpc if grpc else _http, signal, url, config)
    request_bytes = _GRPC_BYTES if grpc else _HTTP_BYTES
    return Outlet(make, url, room=Room(config.max_waiting_bytes), request_bytes=request_bytes)


def listens(url: str) -> bool:
    """Whether anybody answers there; True where that cannot be told cheaply."""
    doors = _doors(url)
    return doors is None or _knock(doors, _KNOCK_SECONDS)


def _doors(url: str) -> Doors | None:
    """Where to knock, or None where that says nothing."""
    address = address_of(url)
    if address is None or (urllib.request.getproxies() and not urllib.request.proxy_bypass(address[0])):
        return None
    try:
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple((family, where) for family, _, _, _, where in found)


def _knock(doors: Doors, seconds: float) -> bool:
    until = time.monotonic() + seconds
    for family, where in doors:
        try:
            with socket.socket(family, socket.SOCK_STREAM) as knocking:
                knocking.settimeout(max(0.01, until - time.monotonic()))
                knocking.connect(where)
                return True
        except OSError:
            continue
    return False


def _http(signal: Signal, url: str, config: ExportConfig) -> Any:
    # requests imports these at its first request. A child forked meanwhile would wait for the import's lock for ever.
    import encodings.idna  # noqa: F401
    import netrc  # noqa: F401

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
