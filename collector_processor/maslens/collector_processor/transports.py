"""Both transports on their addresses, in whichever process they are served."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field

from maslens.collector_processor.access import TlsConfig, Tokens
from maslens.collector_processor.grpc_receiver import GrpcReceiver
from maslens.collector_processor.http_receiver import HttpReceiver
from maslens.collector_processor.http_server import HttpLimits, HttpServer
from maslens.collector_processor.intake import Intake


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportConfig:
    """Everything a transport must know; can be pickled."""

    host: str
    grpc_port: int | None  # 0: any free one; None: not served
    http_port: int | None
    tokens: Tokens = field(default_factory=Tokens)
    tls: TlsConfig | None = None
    cors_origins: tuple[str, ...] = ()
    http: HttpLimits = field(default_factory=HttpLimits)


class Transports:
    """Started and stopped in one event loop."""

    def __init__(self, config: TransportConfig, intake: Intake) -> None:
        self.config = config
        self.grpc_port = self.http_port = 0  # what was bound
        self._intake = intake
        self._grpc: GrpcReceiver | None = None
        self._http: HttpServer | None = None

    async def start(self, *, listening: Sequence[socket.socket] | None = None) -> None:
        """Return once both listen.

        Where several processes serve one address, `listening` are the sockets that they all accept from over HTTP, and
        the gRPC port is shared between those of one user.
        """
        config = self.config
        if config.grpc_port is not None:
            self._grpc = GrpcReceiver(
                intake=self._intake,
                tokens=config.tokens,
                limits=config.http,
                share_port=listening is not None,
            )
            self.grpc_port = await self._grpc.start(config.host, config.grpc_port, config.tls)
        if config.http_port is not None:
            self._http = HttpReceiver(
                intake=self._intake, tokens=config.tokens, limits=config.http, cors_origins=config.cors_origins
            ).server()
            tls = _context(config.tls) if config.tls else None
            self.http_port = await self._http.start(config.host, config.http_port, tls, listening=listening)

    async def stop(self, grace: float) -> None:
        """Take no more, let what is under way end for `grace` seconds, close."""
        stopping = [server.stop(grace) for server in (self._grpc, self._http) if server is not None]
        await asyncio.gather(*stopping, return_exceptions=True)


def _context(tls: TlsConfig) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls.certificate, tls.key)
    if tls.client_ca is not None:
        context.load_verify_locations(tls.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
