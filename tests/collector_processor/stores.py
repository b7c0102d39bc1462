"""A store that keeps what it is given in memory, and fails where a test says so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from maslens.storage import Rejected, Unavailable
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class MemoryStore:
    """Honours tokens as the real one does: the same token stores once, whatever bytes come with it."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}  # token → what was stored under it
        self.seen: list[tuple[str, bytes]] = []  # every attempt
        self.signals: dict[str, str] = {}
        self.before: Callable[[str, bytes], None] = lambda _token, _body: None  # may raise
        self.after: Callable[[str, bytes], None] = lambda _token, _body: None  # may raise, once stored
        self._lock = threading.Lock()

    def insert_otlp(self, signal: str, body: bytes | Sequence[bytes], *, token: str) -> None:
        whole = body if isinstance(body, bytes) else b"".join(body)
        with self._lock:
            self.seen.append((token, whole))
            self.before(token, whole)
            self.bodies.setdefault(token, whole)
            self.signals[token] = signal
            self.after(token, whole)

    def span_names(self) -> list[str]:
        """Of everything stored, in order of the tokens' first use."""
        found = []
        for token, body in self.bodies.items():
            if self.signals[token] == "traces":
                request = ExportTraceServiceRequest.FromString(body)
                found += [s.name for rs in request.resource_spans for ss in rs.scope_spans for s in ss.spans]
        return found

    def log_bodies(self) -> list[str]:
        found = []
        for token, body in self.bodies.items():
            if self.signals[token] == "logs":
                request = ExportLogsServiceRequest.FromString(body)
                found += [
                    r.body.string_value for rl in request.resource_logs for sl in rl.scope_logs for r in sl.log_records
                ]
        return found

    def migrate(self, **_: Any) -> list[str]:
        return []

    def rows(self, *_: Any) -> list[dict[str, Any]]:
        return [{"one": 1}]

    def arrow(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    command = insert_arrow = query_raw = arrow

    def close(self) -> None:
        pass


def unavailable_for(times: int) -> Callable[[str, bytes], None]:
    """Refuse that often, then take everything."""
    left = [times]

    def fail(_token: str, _body: bytes) -> None:
        if left[0] > 0:
            left[0] -= 1
            raise Unavailable("not now")

    return fail


def fails_on(poison: bytes, message: str) -> Callable[[str, bytes], None]:
    """Fail on whatever holds `poison`, without saying that it is in vain."""

    def fail(_token: str, body: bytes) -> None:
        if poison in body:
            raise Unavailable(message)

    return fail


def rejects(poison: bytes) -> Callable[[str, bytes], None]:
    """Refuse for good whatever holds `poison`."""

    def fail(_token: str, body: bytes) -> None:
        if poison in body:
            raise Rejected("Code: 33. DB::Exception: Cannot read all data: While executing ProtobufListInputFormat.")

    return fail
