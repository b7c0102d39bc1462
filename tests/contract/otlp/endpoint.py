"""The receiver under test: one given by address, or ours started for the tests."""

from __future__ import annotations

import http.client
import json
import os
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import grpc
from google.rpc import status_pb2
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

PROTOBUF, JSON = "application/x-protobuf", "application/json"
METHODS = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
}

RESPONSES: dict[str, Any] = {"traces": ExportTraceServiceResponse, "logs": ExportLogsServiceResponse}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0]

    def rpc_status(self) -> status_pb2.Status:
        """The google.rpc.Status that every 4xx and 5xx body must be, in the encoding it claims."""
        if self.media_type == JSON:
            content = json.loads(self.body)
            return status_pb2.Status(code=content.get("code", 0), message=content.get("message", ""))
        assert self.media_type == PROTOBUF
        return status_pb2.Status.FromString(self.body)


@dataclass
class Endpoint:
    http: str  # http://host:port
    grpc: str  # host:port
    ours: bool
    headers: dict[str, str] = field(default_factory=dict)

    def request(self, method: str, path: str, body: Any = b"", headers: dict[str, str] | None = None) -> Answer:
        """`body` may be an iterable: then it is sent in chunks."""
        where = urlsplit(self.http)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
        try:
            sent = {**self.headers, **(headers or {})}
            connection.request(method, path, body=body, headers=sent, encode_chunked=not isinstance(body, bytes))
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def post(self, body: Any, signal: str = "traces", content_type: str | None = PROTOBUF, **headers: str) -> Answer:
        """Header names with `_` for `-`."""
        sent = {name.replace("_", "-"): content for name, content in headers.items()}
        if content_type is not None:
            sent["Content-Type"] = content_type
        return self.request("POST", f"/v1/{signal}", body, sent)

    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(self.grpc, options=[("grpc.max_send_message_length", -1)])

    def export(self, body: bytes, signal: str = "traces", **options: Any) -> bytes:
        """The raw response; raises grpc.RpcError."""
        with self.channel() as channel:
            call = channel.unary_unary(METHODS[signal])
            return bytes(call(body, timeout=120, metadata=tuple(self.headers.items()), **options))


def assert_full_success(endpoint: Endpoint, signal: str, body: bytes, content_type: str = PROTOBUF) -> None:
    """Nothing rejected, nothing said. The specification wants `partial_success` unset; the Collector sends it empty."""
    if content_type == JSON:
        said = json.loads(body).get("partialSuccess")
        assert said is None or (said == {} and not endpoint.ours)
        return
    response = RESPONSES[signal].FromString(body)
    assert not response.HasField("partial_success") or not endpoint.ours
    assert not response.partial_success.ByteSize()


def endpoint_from_environment() -> Endpoint | None:
    url, address = os.environ.get("OTLP_HTTP_URL"), os.environ.get("OTLP_GRPC_ADDR")
    if url is None and address is None:
        return None
    token = os.environ.get("OTLP_TOKEN")
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return Endpoint(url or "", address or "", ours=False, headers=headers)


def trace_request(*names: str, **fields: Any) -> bytes:
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.add(key="service.name", value=AnyValue(string_value="conformance"))
    scope = group.scope_spans.add()
    now = time.time_ns()
    for name in names or ("a span",):
        right = {
            "trace_id": os.urandom(16),
            "span_id": os.urandom(8),
            "start_time_unix_nano": now,
            "end_time_unix_nano": now + 1000,
        }
        scope.spans.add(name=name, **{**right, **fields})
    return request.SerializeToString()


def log_request(*bodies: str) -> bytes:
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for body in bodies or ("a record",):
        scope.log_records.add(time_unix_nano=time.time_ns(), body=AnyValue(string_value=body))
    return request.SerializeToString()


def trace_json(**fields: Any) -> dict[str, Any]:
    """As the specification's example has it, of today."""
    now = time.time_ns()
    span = {
        "traceId": "5B8EFFF798038103D269B633813FC60C",
        "spanId": "EEE19B7EC3C1B174",
        "parentSpanId": "EEE19B7EC3C1B173",
        "name": "I'm a server span",
        "startTimeUnixNano": str(now),
        "endTimeUnixNano": str(now + 1_000_000_000),
        "kind": 2,
        "attributes": [{"key": "my.span.attr", "value": {"stringValue": "some value"}}],
    }
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "my.service"}}]}
    scope = {"name": "my.library", "version": "1.0.0"}
    spans = [{**span, **fields}]
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": spans}]}]}


def log_json(**fields: Any) -> dict[str, Any]:
    record = {
        "timeUnixNano": str(time.time_ns()),
        "severityNumber": 10,
        "severityText": "Information",
        "body": {"stringValue": "Example log record"},
    }
    return {"resourceLogs": [{"scopeLogs": [{"logRecords": [{**record, **fields}]}]}]}
