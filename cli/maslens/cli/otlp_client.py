"""Sends OTLP requests to a running maslens, or any other receiver, and waits for each acknowledgement."""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

from google.protobuf.message import DecodeError
from maslens.cli.faults import BadInput, NotThere
from maslens.collector_processor.signals import Signal
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

RETRYABLE_HTTP = (429, 502, 503, 504)
SLOWEST_RETRY_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the receiver said of one request it has acknowledged."""

    rejected: int = 0
    reason: str = ""


class TryLater(Exception):
    """The receiver asks to be asked again."""

    def __init__(self, message: str, *, after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s


class Client(Protocol):
    def send(self, signal: Signal, body: bytes) -> Reply:
        """Return once `body` is acknowledged; raise TryLater, or BadInput when sending it again would not help."""

    def close(self) -> None: ...


def client_for(endpoint: str, *, token: str | None) -> Client:
    """`http(s)://host:4318` speaks OTLP over HTTP, `grpc://host:4317` over gRPC."""
    address = urlsplit(endpoint if "://" in endpoint else f"http://{endpoint}")
    if address.scheme not in ("http", "https", "grpc", "grpcs") or not address.hostname:
        raise BadInput(f"--endpoint takes http(s)://HOST:4318 or grpc(s)://HOST:4317, got {endpoint!r}")
    return GrpcClient(address, token) if address.scheme.startswith("grpc") else HttpClient(address, token)


def send_patiently(
    client: Client, signal: Signal, body: bytes, *, patience_s: float, sleep: Callable[[float], None] = time.sleep
) -> Reply:
    """`send`, again and again with growing pauses; raises NotThere after `patience_s`."""
    pause, give_up = 0.2, time.monotonic() + patience_s
    while True:
        try:
            return client.send(signal, body)
        except TryLater as later:
            wait = min(SLOWEST_RETRY_S, later.after_s if later.after_s is not None else pause)
            if time.monotonic() + wait > give_up:
                raise NotThere(str(later)) from None
            sleep(wait)
            pause = min(SLOWEST_RETRY_S, pause * 2)


class HttpClient:
    """OTLP over one kept-alive HTTP connection."""

    def __init__(self, address: SplitResult, token: str | None) -> None:
        self._address = address
        self._headers = {"Content-Type": "application/x-protobuf", "User-Agent": "maslens-replay"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        port = address.port or 4318
        if address.scheme == "https":
            context = ssl.create_default_context()
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                str(address.hostname), port, timeout=30, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(str(address.hostname), port, timeout=30)

    def send(self, signal: Signal, body: bytes) -> Reply:
        path = f"{self._address.path.rstrip('/')}/v1/{signal}"
        try:
            self._connection.request("POST", path, body, self._headers)
            answer = self._connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as reason:
            self._connection.close()
            raise TryLater(f"no OTLP receiver answers at {self._address.geturl()} ({reason})") from None
        if answer.status in RETRYABLE_HTTP:
            after = answer.headers.get("Retry-After", "")
            raise TryLater(
                f"{self._address.geturl()} is overloaded (HTTP {answer.status})",
                after_s=float(after) if after.isdigit() else None,
            )
        if answer.status != 200:
            raise BadInput(
                f"{self._address.geturl()}{path} refused a request: HTTP {answer.status} {_status_text(text)}"
            )
        return _partial(signal, text)

    def close(self) -> None:
        self._connection.close()


_METHODS = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}


class GrpcClient:
    """OTLP over gRPC, bodies passed as they are."""

    def __init__(self, address: SplitResult, token: str | None) -> None:
        import grpc

        self._grpc = grpc
        self._name = address.geturl()
        target = f"{address.hostname}:{address.port or 4317}"
        options = [("grpc.max_send_message_length", -1)]
        self._channel: Any = (
            grpc.secure_channel(target, grpc.ssl_channel_credentials(), options)
            if address.scheme == "grpcs"
            else grpc.insecure_channel(target, options)
        )
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()

    def send(self, signal: Signal, body: bytes) -> Reply:
        grpc = self._grpc
        call = self._channel.unary_unary(_METHODS[signal], request_serializer=None, response_deserializer=None)
        try:
            return _partial(signal, call(body, timeout=30, metadata=self._metadata))
        except grpc.RpcError as refused:
            later = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED)
            if refused.code() in later:
                raise TryLater(f"{self._name}: {refused.details()}") from None
            raise BadInput(f"{self._name} refused a request: {refused.code().name} {refused.details()}") from None

    def close(self) -> None:
        self._channel.close()


def _partial(signal: Signal, body: bytes) -> Reply:
    try:
        if signal == "traces":
            spans = ExportTraceServiceResponse.FromString(body).partial_success
            return Reply(rejected=spans.rejected_spans, reason=spans.error_message)
        records = ExportLogsServiceResponse.FromString(body).partial_success
        return Reply(rejected=records.rejected_log_records, reason=records.error_message)
    except DecodeError:
        raise BadInput("the answer is no OTLP: is this the address of a receiver?") from None


def _status_text(body: bytes) -> str:
    from google.rpc.status_pb2 import Status

    try:
        return str(Status.FromString(body).message)
    except DecodeError:
        return body[:200].decode("utf-8", "replace")
