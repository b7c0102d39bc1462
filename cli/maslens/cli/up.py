"""The server process: everything started in order, ended in the opposite one, nothing lost on either way."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from types import FrameType

import structlog
from maslens.analytics.metrics import Exposition, Part
from maslens.analytics.server import create_app, observing_routes
from maslens.analytics.sidecar import Sidecar
from maslens.analytics.watch import Watch
from maslens.cli import machine
from maslens.cli.access import Guarded
from maslens.cli.faults import EXIT_INTERRUPTED, BadInput
from maslens.cli.logs import configure_logs
from maslens.cli.patient_store import PatientStore
from maslens.cli.servers import HttpServer, bind, check_free
from maslens.cli.settings import Settings
from maslens.cli.sources import Owner, in_worker, open_own
from maslens.cli.text import safe
from maslens.cli.web import admin_routes, ask, budgets_part, receiver_parts, sidecar_parts
from maslens.collector_processor import Receiver
from maslens.storage import Store, StoreConfig, open_store
from maslens.storage.clickhouse_http import clickhouse_app
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

_log = structlog.get_logger(__name__)
DRAIN_S = 20.0  # at the end, for what is acknowledged and not in the store yet; the rest waits in the journal
LAST_FACTS_S = 10.0
MOST_FILES = 65_536
# Threads that compute give way to those that only hand work to the engine, a little at a time. With Python's own 5 ms
# a look at degradations holds a step of the sidecar up for seconds.
SWITCH_S = 0.0005


def up(settings: Settings) -> None:
    """Receiver, sidecar, page and ClickHouse interface in one process, until a signal."""
    _serve(settings, receiving=True, computing=True)


def receive(settings: Settings) -> None:
    """Only the receiver and the loader; `maslens sidecar` computes facts elsewhere."""
    _needs_server(settings, "receiver")
    _serve(settings, receiving=True, computing=False)


def compute(settings: Settings) -> None:
    """Only the sidecar with the page."""
    _needs_server(settings, "sidecar")
    _serve(settings, receiving=False, computing=True)


def _needs_server(settings: Settings, command: str) -> None:
    if settings.data_dir is not None:
        raise BadInput(
            f"`maslens {command}` alone needs a ClickHouse server (--store http://…): an embedded store belongs to one "
            "process, and `maslens up` is that process"
        )


def _serve(settings: Settings, *, receiving: bool, computing: bool) -> None:
    configure_logs(settings.log_level)
    _enough_files()
    sys.setswitchinterval(SWITCH_S)
    tokens, tls = machine.tokens(settings), machine.tls(settings)
    with _until_signalled() as wait, ExitStack() as ends:
        page_socket = bind(settings.host, settings.page_port, flag="--page-port")
        ends.callback(page_socket.close)
        own_interface = computing and settings.data_dir is not None  # a server has an interface of its own
        query_socket = (
            bind(settings.host, settings.clickhouse_port, flag="--clickhouse-port") if own_interface else None
        )
        if query_socket is not None:
            ends.callback(query_socket.close)
        if receiving:
            check_free(settings.host, settings.otlp_grpc_port, flag="--otlp-grpc-port")
            check_free(settings.host, settings.otlp_http_port, flag="--otlp-http-port")

        store = _store(settings)
        ends.callback(in_worker, store.close)
        sidecar = machine.sidecar(settings, store, serving=computing)
        if computing:
            ends.callback(sidecar.close)
            ends.callback(_last_facts, sidecar)
        looks_in = sidecar.looks_in if computing else None
        receiver = (
            machine.receiver(settings, store, on_loaded=sidecar.arrived, looks_in=looks_in) if receiving else None
        )
        if receiver is not None:
            machine.in_our_words(receiver.start)
            ends.callback(receiver.stop, drain=DRAIN_S)
        watch = Watch(store, revision=sidecar.revision)
        if computing:
            sidecar.start()
            watch.start()
            ends.callback(watch.stop)
            if (judging := machine.judging(settings, store)) is not None:
                judging.start()
                ends.callback(judging.stop)

        page = HttpServer(
            Guarded(
                _page(settings, store, receiver, sidecar, watch, computing=computing),
                tokens=tokens,
                host=settings.host,
            ),
            page_socket,
            name="page",
            tls=tls,
        )
        servers = [page]
        if query_socket is not None:
            app: ASGIApp = Guarded(clickhouse_app(store), tokens=tokens, host=settings.host)
            servers.append(HttpServer(app, query_socket, name="clickhouse", tls=tls))
        for server in servers:
            server.start()
            ends.callback(server.stop)
        _announce(settings, receiver, servers, ends, computing=computing)
        wait()
        print("stopping: what is acknowledged is loaded first; Ctrl-C again ends at once", flush=True)
    print("stopped", flush=True)


def _enough_files() -> None:
    """A thousand connections and the engine's files need more than many systems grant unasked."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _store(settings: Settings) -> Store:
    """An embedded store must open now. A server may come later: until then spans wait in the journal."""
    if settings.data_dir is not None:
        return open_own(settings)

    def opened() -> Store:
        store = open_store(settings.store, settings=StoreConfig(fsync=settings.survives_power_loss))
        try:
            store.migrate()
        except BaseException:
            store.close()
            raise
        return store

    return PatientStore(opened, name=_shown(settings.store))


def _page(
    settings: Settings, store: Store, receiver: Receiver | None, sidecar: Sidecar, watch: Watch, *, computing: bool
) -> ASGIApp:
    """A receiver alone shows how it is; who computes facts shows them too."""
    parts = [*(receiver_parts(receiver) if receiver else ()), *(sidecar_parts(sidecar) if computing else ())]
    if computing:
        parts.append(Part(prefix="maslens_watch", snapshot=lambda: watch.status))
    if computing and settings.budgets:
        parts.append(budgets_part(store, settings.budgets))
    exposition = Exposition(sidecar, parts, gauges=[watch.gauges] if computing else [])

    def problems() -> Sequence[str]:
        return _problems(store, receiver)

    if not computing:
        return Starlette(routes=observing_routes(exposition, problems))
    return create_app(
        store,
        exposition=exposition,
        revision=sidecar.revision,
        problems=problems,
        ask=ask(store),
        routes=[*admin_routes(sidecar, receiver), Mount("/clickhouse", clickhouse_app(store))],
        usual=settings.usual_options(),
    )


def _problems(store: Store, receiver: Receiver | None) -> Sequence[str]:
    problems = []
    if isinstance(store, PatientStore) and not store.ready:
        problems.append("the store is not there yet")
    stats = receiver.metrics() if receiver is not None else None
    if stats is not None and stats.refusing:
        problems.append(f"nothing is taken just now: {stats.refusing}")
    if receiver is not None and receiver.front_ends is not None and not receiver.front_ends.serving:
        problems.append("no front end is running just now")
    return problems


def _announce(
    settings: Settings,
    receiver: Receiver | None,
    servers: Sequence[HttpServer],
    ends: ExitStack,
    *,
    computing: bool,
) -> None:
    """Say where everything is: to the terminal, and to others in the data directory."""
    scheme = "https" if settings.tls_cert else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    seen = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 what a client can connect to
    page = f"{scheme}://{seen}:{servers[0].port}"
    lines = []
    if receiver is not None:
        lines += [
            ("OTLP gRPC", f"{seen}:{receiver.grpc_port}"),
            ("OTLP HTTP", f"{scheme}://{seen}:{receiver.http_port}"),
        ]
    lines += [("page and API", page)] if computing else []
    lines.append(("metrics", f"{page}/metrics"))
    if len(servers) > 1:
        lines.append(("ClickHouse", f"{scheme}://{seen}:{servers[1].port}  (read-only)"))
    print(f"maslens {version('maslens')} on {_shown(settings.store)}")
    for name, address in lines:
        print(f"  {name:<13} {address}")
    if receiver is not None:
        print(f"send here: OTEL_EXPORTER_OTLP_ENDPOINT={scheme}://{seen}:{receiver.http_port}")
    print("Ctrl-C stops", flush=True)
    directory = settings.data_dir
    if directory is not None and receiver is not None:
        ends.callback(Owner.clear, directory)
        Owner(
            pid=os.getpid(),
            url=page,
            clickhouse=f"{scheme}://{seen}:{servers[1].port}",
            otlp_grpc=f"{'grpcs' if settings.tls_cert else 'grpc'}://{seen}:{receiver.grpc_port}",
            otlp_http=f"{scheme}://{seen}:{receiver.http_port}",
        ).write(directory)


def _shown(store: str) -> str:
    """The store without its password."""
    scheme, _, rest = store.partition("://")
    return safe(f"{scheme}://{rest.rpartition('@')[2]}")


def _last_facts(sidecar: Sidecar) -> None:
    """The spans that were loaded last are in the facts too, if that is soon done; else the next start does it."""
    sidecar.stop()
    give_up = time.monotonic() + LAST_FACTS_S

    def catch_up() -> None:
        while time.monotonic() < give_up and sidecar.step():
            pass

    try:
        in_worker(catch_up)
    except Exception as reason:
        _log.warning("the last facts are left to the next start", why=str(reason))


@contextmanager
def _until_signalled() -> Iterator[Callable[[], None]]:
    """Yields a function that waits for SIGINT or SIGTERM. A second SIGINT ends the process at once."""
    asked = threading.Event()

    def ask(number: int, _frame: FrameType | None) -> None:
        if asked.is_set() and number == signal.SIGINT:
            os._exit(EXIT_INTERRUPTED)
        asked.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}

    def wait() -> None:
        while not asked.wait(0.5):
            pass

    try:
        yield wait
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
