"""HTTP servers in threads of this process: sockets bound first, so that a busy port is said before anything starts."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from typing import Any

import uvicorn
from maslens.cli.bounded_http import CONNECTIONS, BoundedHttp
from maslens.cli.faults import NotThere
from maslens.collector_processor import TlsConfig
from starlette.types import ASGIApp


def bind(host: str, port: int, *, flag: str) -> socket.socket:
    """A listening-to-be socket on `host:port`; raises NotThere naming the port and the flag that moves it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(512)
    except OSError as reason:
        bound.close()
        raise _busy(host, port, flag, reason) from None
    return bound


def check_free(host: str, port: int, *, flag: str) -> None:
    """Raise NotThere unless `host:port` can be had now (for a server that binds by itself)."""
    if port:
        bind(host, port, flag=flag).close()


def _busy(host: str, port: int, flag: str, reason: OSError) -> NotThere:
    if reason.errno == 98 or "in use" in str(reason):
        return NotThere(
            f"port {port} on {host} is in use by another program; stop it or choose another with {flag} PORT"
        )
    return NotThere(f"cannot listen on {host}:{port} ({reason.strerror or reason}); choose another with {flag} PORT")


class HttpServer:
    """`app` on a bound socket, in a thread of its own."""

    def __init__(self, app: ASGIApp, bound: socket.socket, *, name: str, tls: TlsConfig | None = None) -> None:
        self.port: int = bound.getsockname()[1]
        self._socket = bound
        options: dict[str, Any] = {}
        if tls is not None:
            options = {"ssl_certfile": str(tls.certificate), "ssl_keyfile": str(tls.key)}
            if tls.client_ca is not None:
                options |= {"ssl_ca_certs": str(tls.client_ca), "ssl_cert_reqs": ssl.CERT_REQUIRED}
        config = uvicorn.Config(
            app,
            http=BoundedHttp,
            limit_concurrency=CONNECTIONS,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=3,
            server_header=False,
            **options,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [bound]}, name=f"maslens-{name}", daemon=True
        )

    def start(self, *, within_s: float = 10.0) -> None:
        """Return once connections are answered."""
        self._thread.start()
        give_up = time.monotonic() + within_s
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > give_up:
                raise NotThere(f"the server on port {self.port} did not start")
            time.sleep(0.01)

    def stop(self) -> None:
        """Finish what is being answered (three seconds at most) and close."""
        if self._thread.ident is None:
            self._socket.close()
            return
        self._server.should_exit = True
        self._thread.join(timeout=5)
