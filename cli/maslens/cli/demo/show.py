"""`maslens demo`: starts maslens and the help desk, each in a process of its own, and shows what came out of it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from maslens.analytics.reads import Filters
from maslens.cli.faults import BadAnswer, NotThere
from maslens.cli.output import rows
from maslens.cli.progress import bar, spinner
from maslens.cli.reads import Wanted, show_from
from maslens.cli.settings import Settings
from maslens.cli.sources import Owner, UrlSource

START_S = 90.0  # the first start of the embedded engine on a slow disk
VISIBLE_S = 120.0
PORTS = {
    "otlp_grpc_port": "OTLP gRPC",
    "otlp_http_port": "OTLP HTTP",
    "page_port": "page",
    "clickhouse_port": "ClickHouse",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    sessions: int = 300
    seed: int = 7
    once: bool = False
    data: Path | None = None  # kept afterwards; without it a temporary directory, which is not


def show(settings: Settings, options: DemoOptions) -> None:
    """Run until Ctrl-C or SIGTERM, or until the tables are printed; what was started ends with it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _directory(options) as directory, _maslens(settings, directory) as owner:
        print(f"maslens is up: {owner.url}\n")
        with _help_desk(owner, options) as desk:
            _follow(desk, options.sessions)
            source = UrlSource(owner.url)
            _until_visible(source, options.sessions)
            _print_answers(source)
            _where_to_look(owner, directory, options)
            if not options.once:
                _serve(desk)


@contextmanager
def _directory(options: DemoOptions) -> Iterator[Path]:
    if options.data is not None:
        yield options.data.absolute()
        return
    directory = Path(tempfile.mkdtemp(prefix="maslens-demo-"))
    try:
        yield directory / "data"
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _maslens(settings: Settings, directory: Path) -> Iterator[Owner]:
    """`maslens up` in a process of its own; its end is graceful."""
    flags = [f"--{name.replace('_', '-')}={port}" for name, port in _free_ports(settings).items()]
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "up.log"
    with log.open("wb") as out:
        process = _start([sys.executable, "-m", "maslens.cli.main", "up", f"--data={directory}", *flags], out=out)
        try:
            with spinner("starting maslens up"):
                owner = _ready(process, directory, log)
            yield owner
        finally:
            _end(process, signal.SIGTERM, within_s=30)


def _free_ports(settings: Settings) -> dict[str, int]:
    """The usual ports; a free one in the place of each that is busy, and a line that says so."""
    ports = {}
    for name, what in PORTS.items():
        wanted = getattr(settings, name)
        ports[name] = wanted if _is_free(settings.host, wanted) else 0
        if wanted and not ports[name]:
            print(f"port {wanted} ({what}) is busy: taking a free one")
    return ports


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _ready(process: subprocess.Popen[bytes], directory: Path, log: Path) -> Owner:
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up:
        if process.poll() is not None:
            raise NotThere(f"maslens up ended with code {process.returncode}: {_last_lines(log)}")
        owner = Owner.of(directory)
        if owner is not None and owner.pid == process.pid and _answers(owner.url):
            return owner
        time.sleep(0.1)
    raise NotThere(f"maslens up was not ready within {START_S:.0f} s: {_last_lines(log)}")


def _answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:  # noqa: S310 our own server
        return bool(answer.status == 200)
    return False


@contextmanager
def _help_desk(owner: Owner, options: DemoOptions) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        sys.executable, "-m", "maslens.cli.demo.app", f"--endpoint={owner.otlp_http}",
        f"--sessions={options.sessions}", f"--seed={options.seed}", *([] if options.once else ["--keep-going"]),
    ]  # fmt: skip
    process = _start(command, out=subprocess.PIPE)
    try:
        yield process
    finally:
        _end(process, signal.SIGTERM, within_s=10)
        if process.stdout is not None:
            process.stdout.close()


def _follow(desk: subprocess.Popen[bytes], sessions: int) -> None:
    """The desk says after each session how many it has had."""
    assert desk.stdout is not None
    print(f"a help desk of agents handles {sessions} cases and sends its spans over OTLP")
    with bar("cases", sessions) as advance:
        for line in desk.stdout:
            advance(1)
            if int(line) >= sessions:
                return
    raise BadAnswer(f"the help desk ended early, with code {desk.wait()}")


def _until_visible(source: UrlSource, sessions: int) -> None:
    """Facts follow the last span within seconds; a session's own row may come before those it counts."""
    asked = """
        SELECT
            count() AS ended,
            sum(s.agent_runs) = (SELECT count() FROM agent_runs)
                AND sum(s.handoffs) = (SELECT count() FROM handoffs)
                AND sum(s.llm_calls) = (SELECT count() FROM llm_calls) AS whole
        FROM sessions AS s WHERE outcome != 'unknown'"""
    give_up = time.monotonic() + VISIBLE_S
    with spinner("computing facts"):
        while not ((seen := next(rows(source.arrow(asked, {}))))["ended"] >= sessions and seen["whole"]):
            if time.monotonic() > give_up:
                raise BadAnswer(f"not all {sessions} cases are in the facts after {VISIBLE_S:.0f} s")
            time.sleep(0.3)


def _print_answers(source: UrlSource) -> None:
    for name, most in (("agents", 15), ("graph", 15), ("handoffs", 8), ("cost", 15)):
        print()
        if not show_from(source, Wanted(name=name, filters=Filters(limit=most))):
            raise BadAnswer(f"{name}: nothing there, which a demo should not show")


def _where_to_look(owner: Owner, directory: Path, options: DemoOptions) -> None:
    print(
        f"""
where to look
  page        {owner.url}
  metrics     {owner.url}/metrics
  sql         maslens query --url {owner.url} "SELECT agent, count() FROM agent_runs GROUP BY agent"
              curl '{owner.clickhouse}/?query=SELECT+count()+FROM+otel_traces'
  one case    maslens handoffs --url {owner.url} --session case-{options.seed}-0001
  your app    OTEL_EXPORTER_OTLP_ENDPOINT={owner.otlp_http} OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"""
    )
    if options.data is not None:
        print(f"  data        {directory}")


def _serve(desk: subprocess.Popen[bytes]) -> None:
    with suppress(KeyboardInterrupt):  # from the line on that speaks of it
        print("\nthe desk goes on with a case every second or so; Ctrl-C ends the demo", flush=True)
        while desk.poll() is None:
            time.sleep(0.5)
    print()


def _start(command: Sequence[str], *, out: int | IO[bytes]) -> subprocess.Popen[bytes]:
    """In a process group of its own, so that Ctrl-C reaches only us and we end the others in order."""
    errors = None if out == subprocess.PIPE else subprocess.STDOUT
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, stdout=out, stderr=errors, start_new_session=True, env=environment)  # noqa: S603 ours


def _end(process: subprocess.Popen[bytes], how: signal.Signals, *, within_s: float) -> None:
    if process.poll() is not None:
        return
    process.send_signal(how)
    try:
        process.wait(timeout=within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_lines(log: Path) -> str:
    with suppress(OSError):
        return " / ".join(log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:])
    return ""
