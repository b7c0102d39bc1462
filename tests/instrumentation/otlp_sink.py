"""A small OTLP/HTTP server on loopback that keeps what it is sent, and can be slow, busy or broken on request."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenSpan:
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    scope: str
    status: int  # 0 unset, 1 ok, 2 error
    status_message: str
    started_ns: int
    ended_ns: int
    attributes: dict[str, Any]
    resource: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]
    links: list[tuple[str, str, dict[str, Any]]]
    dropped_attributes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenLog:
    event: str
    trace_id: str
    span_id: str
    attributes: dict[str, Any]
    body: Any


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # Python's own 5 turns connections away where many processes come at once

    def handle_error(self, *_: object) -> None:
        pass  # an exporter that gives up on a slow answer resets the connection: nothing to print


@dataclass(slots=True)
class Sink:
    spans: list[SeenSpan] = field(default_factory=list)
    logs: list[SeenLog] = field(default_factory=list)
    bodies: list[tuple[str, bytes]] = field(default_factory=list)
    status: int = 200
    delay: float = 0.0
    retry_after: str = ""
    requests: int = 0
    callers: list[tuple[int, str, bytes]] = field(default_factory=list)  # the port each request came from
    server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        assert self.server is not None
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def named(self, name: str) -> SeenSpan:
        (found,) = [span for span in self.spans if span.name == name]
        return found

    def wait(self, spans: int = 0, logs: int = 0, seconds: float = 10.0) -> None:
        end = time.monotonic() + seconds
        while (len(self.spans) < spans or len(self.logs) < logs) and time.monotonic() < end:
            time.sleep(0.01)
        assert len(self.spans) >= spans, f"{len(self.spans)} spans of {spans}"
        assert len(self.logs) >= logs, f"{len(self.logs)} logs of {logs}"

    def start(self, port: int = 0) -> Sink:
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = self.headers["Content-Length"]
                body = self.rfile.read(int(length)) if length else b"".join(self.chunks())
                sink.requests += 1
                time.sleep(sink.delay)
                if sink.status == 200:
                    body = gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body
                    sink.callers.append((self.client_address[1], self.path, body))
                    sink.take(self.path, body)
                try:
                    self.send_response(sink.status)
                    self.send_header("Content-Length", "0")
                    if sink.retry_after:
                        self.send_header("Retry-After", sink.retry_after)
                    self.end_headers()
                except OSError:
                    pass  # the exporter has given up waiting

            def chunks(self) -> Iterable[bytes]:
                while size := int(self.rfile.readline(), 16):
                    yield self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()

            def log_message(self, *_: object) -> None:
                pass

        self.server = _Server(("127.0.0.1", port), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def stop(self) -> None:
        assert self.server is not None
        self.server.shutdown()
        self.server.server_close()

    def take(self, path: str, body: bytes) -> None:
        self.bodies.append((path, body))
        if path == "/v1/traces":
            self.spans.extend(spans_of(body))
        elif path == "/v1/logs":
            self.logs.extend(logs_of(body))


def spans_of(body: bytes) -> Iterable[SeenSpan]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        about = attributes_of(resource.resource.attributes)
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield SeenSpan(
                    name=span.name,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    kind=span.kind,
                    scope=scope.scope.name,
                    status=span.status.code,
                    status_message=span.status.message,
                    started_ns=span.start_time_unix_nano,
                    ended_ns=span.end_time_unix_nano,
                    attributes=attributes_of(span.attributes),
                    resource=about,
                    events=[(event.name, attributes_of(event.attributes)) for event in span.events],
                    links=[
                        (link.trace_id.hex(), link.span_id.hex(), attributes_of(link.attributes)) for link in span.links
                    ],
                    dropped_attributes=span.dropped_attributes_count,
                )


def logs_of(body: bytes) -> Iterable[SeenLog]:
    for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
        for scope in resource.scope_logs:
            for record in scope.log_records:
                yield SeenLog(
                    event=record.event_name,
                    trace_id=record.trace_id.hex(),
                    span_id=record.span_id.hex(),
                    attributes=attributes_of(record.attributes),
                    body=value_of(record.body),
                )


def attributes_of(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: value_of(pair.value) for pair in pairs}


def value_of(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [value_of(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return attributes_of(value.kvlist_value.values)
    return getattr(value, kind)
