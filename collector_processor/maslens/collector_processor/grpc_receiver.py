"""OTLP over gRPC: the bytes pass through as they are; health and reflection beside them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from maslens.collector_processor.access import TlsConfig, Tokens
from maslens.collector_processor.answers import UNAVAILABLE, UNIMPLEMENTED, Failure, failure, success
from maslens.collector_processor.errors import ConfigError, Refused
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


_UNFORESEEN: Final = Failure(503, UNAVAILABLE, "this request could not be handled", retry_after=1)


class GrpcReceiver:
    """One server on one address. All of it runs in one event loop."""

    def __init__(
        self, *, intake: Intake, tokens: Tokens, max_body_bytes: int, max_streams: int = 128, share_port: bool = False
    ) -> None:
        self._intake = intake
        self._sink = intake.sink
        self._tokens = tokens
        self._options = [
            ("grpc.max_receive_message_length", max_body_bytes),  # holds after decompression too
            ("grpc.max_metadata_size", 16 << 10),
            ("grpc.max_concurrent_streams", max_streams),  # of one connection
            ("grpc.server_handshake_timeout_ms", 10_000),  # who connects and then says nothing is let go
            ("grpc.max_connection_idle_ms", 600_000),
            ("grpc.so_reuseport", int(share_port)),  # a second receiver must not share the port unnoticed
        ]
        self._server: Any = None
        self._health: Any = health.aio.HealthServicer()  # type: ignore[attr-defined,unused-ignore]  # no stubs

    async def start(self, host: str, port: int, tls: TlsConfig | None) -> int:
        """Listen; the port that was bound."""
        self._server = grpc.aio.server(options=self._options)
        self._server.add_generic_rpc_handlers((_Handlers(self._find),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (_TRACES, _LOGS, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
        described = _Reflection((*names, reflection.SERVICE_NAME), self._tokens, self._sink.refused)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(described, self._server)
        address = f"[{host}]:{port}" if ":" in host.strip("[]") and not host.startswith("[") else f"{host}:{port}"
        try:
            bound = (
                self._server.add_insecure_port(address)
                if tls is None
                else self._server.add_secure_port(address, _credentials(tls))
            )
        except RuntimeError as error:
            raise ConfigError(f"gRPC cannot listen on {address}: {error}") from None
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
            return None if message is None else self._refuser(Failure(404, UNIMPLEMENTED, message), "path")
        try:
            grant = self._tokens.grant(dict(details.invocation_metadata).get("authorization"), "ingest")
            refusal = self._sink.refusal()
            if refusal is not None:
                raise refusal
        except Refused as refused:
            return self._refuser(failure(refused), refused.reason)

        async def export(body: bytes, context: Any) -> bytes:
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
                _log.exception("a request failed in an unforeseen way", method=details.method)
                self._sink.refused("unforeseen")
                await _abort(context, _UNFORESEEN)
            return success(signal, taken, as_json=False)

        return grpc.unary_unary_rpc_method_handler(export)

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


_Servicer: Any = reflection.aio.ReflectionServicer  # type: ignore[attr-defined,unused-ignore]


class _Reflection(_Servicer):  # type: ignore[misc]  # no stubs
    """What is served here, told to whoever shows any token that is known."""

    def __init__(self, names: tuple[str, ...], tokens: Tokens, refused: Callable[[str], None]) -> None:
        super().__init__(names)
        self._tokens = tokens
        self._refused = refused

    async def ServerReflectionInfo(self, request_iterator: Any, context: Any) -> Any:
        try:
            self._tokens.grant(dict(context.invocation_metadata()).get("authorization"), None)
        except Refused as refused:
            self._refused(refused.reason)
            await _abort(context, failure(refused))
        async for answer in super().ServerReflectionInfo(request_iterator, context):
            yield answer


async def _abort(context: Any, failed: Failure) -> None:
    abort: Callable[..., Awaitable[None]] = context.abort
    await abort(_CODES[failed.code], failed.message, failed.trailers())


def _credentials(tls: TlsConfig) -> Any:
    return grpc.ssl_server_credentials(
        [(tls.key.read_bytes(), tls.certificate.read_bytes())],
        root_certificates=tls.client_ca.read_bytes() if tls.client_ca else None,
        require_client_auth=tls.client_ca is not None,
    )
