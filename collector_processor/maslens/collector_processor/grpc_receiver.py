"""OTLP over gRPC: the bytes pass through as they are; health and reflection beside them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Final

import grpc
import structlog
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2
from maslens.collector_processor.access import Grant, TlsConfig, Tokens
from maslens.collector_processor.answers import (
    DEADLINE_EXCEEDED,
    INVALID_ARGUMENT,
    UNAVAILABLE,
    UNIMPLEMENTED,
    Failure,
    failure,
    success,
)
from maslens.collector_processor.arrivals import TOO_MUCH, Arrivals, LetGo
from maslens.collector_processor.errors import ConfigError, Refused
from maslens.collector_processor.http_server import HttpLimits
from maslens.collector_processor.intake import Intake
from maslens.collector_processor.signals import Signal
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

_log = structlog.get_logger(__name__)
_TRACES: Final = trace_service_pb2.DESCRIPTOR.services_by_name["TraceService"].full_name
_LOGS: Final = logs_service_pb2.DESCRIPTOR.services_by_name["LogsService"].full_name
_METHODS: Final[Mapping[str, Signal]] = {f"/{_TRACES}/Export": "traces", f"/{_LOGS}/Export": "logs"}
_NOT_TAKEN: Final = {
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export": (
        "metrics are not stored here, only traces and logs: send them to Prometheus"
    ),
    "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export": (
        "profiles are not stored here, only traces and logs"
    ),
}
_CODES: Final[Mapping[int, grpc.StatusCode]] = {code.value[0]: code for code in grpc.StatusCode}


_MOST_WATCHERS: Final = 64
_NO_MESSAGE: Final = Failure(400, INVALID_ARGUMENT, "the call ended without a message")
_UNFORESEEN: Final = Failure(503, UNAVAILABLE, "this request could not be handled", retry_after=1)


class GrpcReceiver:
    """One server on one address. All of it runs in one event loop."""

    def __init__(
        self, *, intake: Intake, tokens: Tokens, limits: HttpLimits, max_streams: int = 128, share_port: bool = False
    ) -> None:
        self._intake = intake
        self._sink = intake.sink
        self._tokens = tokens
        self._options = [
            ("grpc.max_receive_message_length", limits.max_body_bytes),  # holds after decompression too
            ("grpc.max_metadata_size", limits.max_header_bytes),
            (
                "grpc.absolute_max_metadata_size",
                limits.max_header_bytes,
            ),  # else a random share of what is larger passes
            ("grpc.max_concurrent_streams", max_streams),  # of one connection
            ("grpc.max_allowed_incoming_connections", limits.max_connections),
            ("grpc.server_handshake_timeout_ms", _ms(limits.header_wait)),  # who connects and then says nothing
            ("grpc.max_connection_idle_ms", 600_000),
            ("grpc.keepalive_time_ms", 60_000),  # a peer that is gone without a word is found out
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.http2.bdp_probe", 0),  # what a client may send unasked stays one window
            ("grpc.http2.lookahead_bytes", 64 << 10),
            ("grpc.so_reuseport", int(share_port)),  # a second receiver must not share the port unnoticed
        ]
        self._limits = limits
        self._arrivals: Arrivals | None = None  # once the port is known
        self._beside: _Beside | None = None
        self._server: Any = None
        self._health: Any = health.aio.HealthServicer()  # type: ignore[attr-defined,unused-ignore]  # no stubs

    async def start(self, host: str, port: int, tls: TlsConfig | None) -> int:
        """Listen; the port that was bound."""
        self._server = grpc.aio.server(options=self._options)
        self._server.add_generic_rpc_handlers((_Handlers(self._find),))
        address = f"[{host}]:{port}" if ":" in host.strip("[]") and not host.startswith("[") else f"{host}:{port}"
        try:
            bound = (
                self._server.add_insecure_port(address)
                if tls is None
                else self._server.add_secure_port(address, _credentials(tls))
            )
        except RuntimeError as error:
            raise ConfigError(f"gRPC cannot listen on {address}: {error}") from None
        self._arrivals = Arrivals(
            port=int(bound),
            wait=self._limits.body_wait,
            slowest_bytes=self._limits.slowest_bytes,
            most_bytes=self._limits.max_buffered_bytes,
            largest=self._limits.max_body_bytes,
            end=self._let_go,
        )
        self._beside = _Beside(self._health, self._tokens, self._sink.refused, self._arrivals)
        await self._server.start()
        for name in ("", _TRACES, _LOGS):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        return int(bound)

    async def stop(self, grace: float) -> None:
        """Take no more, let what is under way end for `grace` seconds, close."""
        if self._server is not None:
            await self._health.enter_graceful_shutdown()
            await self._server.stop(grace)

    def _find(self, details: Any) -> Any:
        """The handler of a method. Who may not send is refused before the message is read."""
        signal = _METHODS.get(details.method)
        if signal is None:
            message = _NOT_TAKEN.get(details.method)
            if message is not None:
                return self._refuser(Failure(404, UNIMPLEMENTED, message), "path")
            return self._beside.find(details.method) if self._beside else None
        try:
            grant = self._tokens.grant(dict(details.invocation_metadata).get("authorization"), "ingest")
            refusal = self._sink.refusal()
            if refusal is not None:
                raise refusal
        except Refused as refused:
            return self._refuser(failure(refused), refused.reason)

        async def export(_messages: Any, context: Any) -> bytes:
            arrivals = self._arrivals
            assert arrivals is not None
            body = await arrivals.message(context)
            if body is None:
                self._sink.refused("malformed")
                await _abort(context, _NO_MESSAGE)
                return b""
            if arrivals.handling and arrivals.handling + len(body) > self._limits.max_buffered_bytes:
                await self._let_go(context, TOO_MUCH)
            arrivals.handling += len(body)
            try:
                return await self._export(signal, grant, body, context)
            finally:
                arrivals.handling -= len(body)

        return grpc.stream_unary_rpc_method_handler(export)

    async def _export(self, signal: Signal, grant: Grant, body: bytes, context: Any) -> bytes:
        try:
            await self._sink.spend(grant, len(body))
        except Refused as refused:
            self._sink.refused(refused.reason)
            await _abort(context, failure(refused))
        try:
            taken = await self._intake.take(signal, body)
        except Refused as refused:
            await _abort(context, failure(refused))
        except Exception:  # left to gRPC it would be UNKNOWN, and the client would throw its spans away
            _log.exception("a request failed in an unforeseen way", signal=signal)
            self._sink.refused("unforeseen")
            await _abort(context, _UNFORESEEN)
        return success(signal, taken, as_json=False)

    async def _let_go(self, context: Any, why: LetGo) -> None:
        self._sink.refused(why.reason)
        code = DEADLINE_EXCEEDED if why.retry_after is None else UNAVAILABLE
        await _abort(context, Failure(408, code, why.message, why.retry_after))

    def _refuser(self, failed: Failure, reason: str) -> Any:
        async def refuse(_messages: Any, context: Any) -> None:
            self._sink.refused(reason)
            await _abort(context, failed)

        return grpc.stream_unary_rpc_method_handler(refuse)


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs only
    def __init__(self, find: Callable[[Any], Any]) -> None:
        self._find = find

    def service(self, handler_call_details: Any) -> Any:
        return self._find(handler_call_details)


_Reflecting: Any = reflection.aio.ReflectionServicer  # type: ignore[attr-defined,unused-ignore]  # no stubs


class _Beside:
    """Health for everybody, and what is served here for whoever shows any token that is known."""

    def __init__(self, healthy: Any, tokens: Tokens, refused: Callable[[str], None], arrivals: Arrivals) -> None:
        health_name = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
        self._tokens, self._refused, self._arrivals, self._health = tokens, refused, arrivals, healthy
        self._reflecting = _Reflecting((_TRACES, _LOGS, health_name, reflection.SERVICE_NAME))
        self._watching = 0
        self._methods = {
            f"/{health_name}/Check": grpc.stream_unary_rpc_method_handler(
                self._check, response_serializer=health_pb2.HealthCheckResponse.SerializeToString
            ),
            f"/{health_name}/Watch": grpc.stream_stream_rpc_method_handler(
                self._watch, response_serializer=health_pb2.HealthCheckResponse.SerializeToString
            ),
            f"/{reflection.SERVICE_NAME}/ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(
                self._reflect, response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString
            ),
        }

    def find(self, method: str) -> Any:
        return self._methods.get(method)

    async def _check(self, _messages: Any, context: Any) -> Any:
        async for asked in self._asked(health_pb2.HealthCheckRequest, context):
            return await self._health.Check(asked, context)
        await _abort(context, _NO_MESSAGE)
        return None

    async def _watch(self, _messages: Any, context: Any) -> None:
        async for asked in self._asked(health_pb2.HealthCheckRequest, context):
            if self._watching >= _MOST_WATCHERS:
                self._refused("busy")
                await _abort(context, Failure(503, UNAVAILABLE, "too many watch this already", retry_after=10))
            self._watching += 1
            try:
                await self._health.Watch(asked, context)
            finally:
                self._watching -= 1

    async def _reflect(self, _messages: Any, context: Any) -> Any:
        try:
            self._tokens.grant(dict(context.invocation_metadata()).get("authorization"), None)
        except Refused as refused:
            self._refused(refused.reason)
            await _abort(context, failure(refused))
        asked = self._asked(reflection_pb2.ServerReflectionRequest, context)
        async for answer in self._reflecting.ServerReflectionInfo(asked, context):
            yield answer

    async def _asked(self, kind: Any, context: Any) -> AsyncIterator[Any]:
        """The messages of a call; who sends something else is told."""
        while (body := await self._arrivals.message(context)) is not None:
            try:
                asked = kind.FromString(body)
            except DecodeError:
                self._refused("malformed")
                await _abort(context, Failure(400, INVALID_ARGUMENT, "this is not what the method takes"))
            yield asked


async def _abort(context: Any, failed: Failure) -> None:
    abort: Callable[..., Awaitable[None]] = context.abort
    await abort(_CODES[failed.code], failed.message, failed.trailers())


def _ms(wait: timedelta) -> int:
    return int(wait.total_seconds() * 1000)


def _credentials(tls: TlsConfig) -> Any:
    return grpc.ssl_server_credentials(
        [(tls.key.read_bytes(), tls.certificate.read_bytes())],
        root_certificates=tls.client_ca.read_bytes() if tls.client_ca else None,
        require_client_auth=tls.client_ca is not None,
    )
