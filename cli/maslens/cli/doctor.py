"""`maslens doctor`: the likeliest mistakes, each looked for, named and given its cure."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
from maslens.cli.faults import EXIT_BAD_ANSWER, Fault, nearest
from maslens.cli.forms import Format
from maslens.cli.output import rows, write
from maslens.cli.settings import CONFIG_VARIABLE, ENV_PREFIX, Settings, briefs
from maslens.cli.sources import Owner, Source, open_source
from maslens.cli.symptoms import SYMPTOMS
from maslens.cli.text import human_bytes, safe
from maslens.collector_processor import DeadLetters, Journal, JournalBusy, JournalError
from maslens.collector_processor.signals import SIGNALS
from rich.console import Console
from rich.text import Text

LOW_DISK = 2 * 1024**3
OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check saw. `fail` stops maslens or makes its numbers wrong; `warn` makes them poorer."""

    check: str
    state: str
    found: str
    cure: str = ""


def examine(settings: Settings, *, url: str | None, form: Format, environ: Mapping[str, str]) -> int:
    """Run every check, write what they found; the exit code."""
    findings = [*_place(settings, url), *_ports(settings, url), *_exporter(environ, settings), *_names(environ)]
    findings += _dead_letters(settings, url)
    running = list(_running(settings, url))
    if not any(finding.check == "server" and finding.state == FAIL for finding in running):  # else nobody would answer
        try:
            source = open_source(settings, url=url)
            try:
                findings += _telemetry(source)
            finally:
                source.close()
        except Fault as reason:
            findings.append(Finding(check="store", state=FAIL, found=str(reason), cure="see the message"))
    findings += running
    _write(findings, form)
    return EXIT_BAD_ANSWER if any(finding.state == FAIL for finding in findings) else 0


def _write(findings: Sequence[Finding], form: Format) -> None:
    if form is not Format.table:
        write(pa.Table.from_pylist([asdict(finding) for finding in findings]), form)
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    for finding in findings:
        mark, style = {OK: ("✓", "green"), WARN: ("!", "yellow"), FAIL: ("✗", "red")}[finding.state]
        line = Text(f"{mark} ", style=style) + Text(f"{finding.check}: ", style="bold") + Text(safe(finding.found))
        console.print(line)
        if finding.cure and finding.state != OK:
            console.print(Text(f"    → {safe(finding.cure)}", style="cyan"))
    bad = sum(finding.state == FAIL for finding in findings)
    poor = sum(finding.state == WARN for finding in findings)
    console.print(Text(f"\n{len(findings)} checks, {bad} failed, {poor} with a warning"))


def _place(settings: Settings, url: str | None) -> Iterator[Finding]:
    """Mistake 1: a data directory that cannot be used, or a disk nearly full."""
    directory = settings.data_dir
    if directory is None or url is not None:
        return
    owner = Owner.of(directory)
    if not directory.exists():
        yield Finding(
            check="data directory",
            state=WARN,
            found=f"{directory} does not exist yet",
            cure="start `maslens up`, or name the right one with --data",
        )
        return
    if not os.access(directory, os.W_OK | os.X_OK):
        yield Finding(
            check="data directory",
            state=FAIL,
            found=f"{directory} is not writable for this user",
            cure=f"give it to the user that runs maslens: chown -R $(id -u) {directory}",
        )
    else:
        owned = f", owned by `maslens up` (process {owner.pid}, {owner.url})" if owner else ", owned by nobody just now"
        yield Finding(check="data directory", state=OK, found=f"{directory}{owned}")
    free = shutil.disk_usage(directory).free
    yield Finding(
        check="disk",
        state=OK if free >= LOW_DISK else FAIL if free < LOW_DISK // 10 else WARN,
        found=f"{human_bytes(free)} free at {directory}",
        cure="make room: the journal stops taking spans before the disk is full",
    )


def _ports(settings: Settings, url: str | None) -> Iterator[Finding]:
    """Mistake 2: somebody else on our ports."""
    if url is not None or (settings.data_dir is not None and Owner.of(settings.data_dir)):
        return
    busy = []
    for name in ("otlp_grpc_port", "otlp_http_port", "page_port", "clickhouse_port"):
        port = getattr(settings, name)
        if port and not _is_free(settings.host, port):
            busy.append((name, port))
    if not busy:
        yield Finding(check="ports", state=OK, found="all ports of `maslens up` are free")
    for name, port in busy:
        yield Finding(
            check="ports",
            state=WARN,
            found=f"port {port} ({name}) is taken by another program",
            cure=f"stop it, or move ours: maslens up --{name.replace('_', '-')} PORT",
        )


def _dead_letters(settings: Settings, url: str | None) -> Iterator[Finding]:
    """Mistake 13: requests that were put aside, and nobody looked."""
    folder = settings.journal_directory / "deadletter"
    if url is not None or not folder.is_dir():
        return
    letters = DeadLetters(folder).list()
    if not letters:
        yield Finding(check="dead letters", state=OK, found="none")
        return
    items = sum(letter.items for letter in letters)
    yield Finding(
        check="dead letters",
        state=FAIL,
        found=f"{len(letters):,} requests with {items:,} spans and log records were refused for good, the last one "
        f"because: {letters[-1].reason[:200]}",
        cure="`maslens deadletter list` says why each; after the cause is gone, `maslens deadletter retry`",
    )


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _exporter(environ: Mapping[str, str], settings: Settings) -> Iterator[Finding]:
    """Mistake 3: an exporter pointed at the wrong port for its protocol, or nowhere."""
    endpoint = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "")
    disabled = environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    exporter = environ.get("OTEL_TRACES_EXPORTER", "otlp")
    if disabled or "otlp" not in exporter:
        yield Finding(
            check="exporter",
            state=FAIL,
            found="OTEL_SDK_DISABLED=true" if disabled else f"OTEL_TRACES_EXPORTER={exporter}",
            cure="unset it, so that spans are sent",
        )
    if not endpoint:
        return
    try:
        port = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}").port
    except ValueError as reason:
        yield Finding(
            check="exporter",
            state=FAIL,
            found=f"OTEL_EXPORTER_OTLP_ENDPOINT={endpoint} is no address: {reason}",
            cure=f"http://HOST:{settings.otlp_http_port} (http/protobuf), http://HOST:{settings.otlp_grpc_port} (grpc)",
        )
        return
    wrong = {
        settings.otlp_grpc_port: protocol.startswith("http") and "grpc",
        settings.otlp_http_port: protocol == "grpc" and "http/protobuf",
    }.get(port or 0)
    if wrong:
        yield Finding(
            check="exporter",
            state=FAIL,
            found=f"OTEL_EXPORTER_OTLP_ENDPOINT={endpoint} is the {wrong} port, but the protocol is {protocol}",
            cure=f"set OTEL_EXPORTER_OTLP_PROTOCOL={wrong}, or the other port: "
            f"grpc {settings.otlp_grpc_port}, http/protobuf {settings.otlp_http_port}",
        )
    elif port in (settings.page_port, settings.clickhouse_port):
        yield Finding(
            check="exporter",
            state=FAIL,
            found=f"OTEL_EXPORTER_OTLP_ENDPOINT={endpoint} is where maslens is read, not where it receives",
            cure=f"use port {settings.otlp_http_port} (http/protobuf) or {settings.otlp_grpc_port} (grpc)",
        )
    else:
        yield Finding(check="exporter", state=OK, found=f"this environment sends to {endpoint} {protocol}".rstrip())


def _names(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Mistake 4: a setting in the environment that nobody reads."""
    known = {ENV_PREFIX + name.upper() for name in briefs()} | {CONFIG_VARIABLE}
    for name in sorted(environ):
        if name.startswith(ENV_PREFIX) and name not in known and nearest(name, known):
            yield Finding(
                check="settings",
                state=WARN,
                found=f"{name} is set, and no setting is called so{nearest(name, known)}",
                cure="rename it or unset it",
            )


def _telemetry(source: Source) -> Iterator[Finding]:
    """Mistakes 5 to 11: what the spans themselves tell."""
    received = next(rows(source.arrow("SELECT count() AS spans FROM agent_spans", {})))["spans"]
    if not received:
        yield Finding(
            check="spans",
            state=WARN,
            found="no span has arrived",
            cure="point an app here: OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 (http/protobuf), "
            "or try `maslens demo`",
        )
        return
    yield Finding(check="spans", state=OK, found=f"{received:,} spans have arrived")
    for symptom in SYMPTOMS:
        row = next(rows(source.arrow(symptom.sql, {})))
        bad, of = int(row["bad"] or 0), int(row["of"] or 0)
        if not bad:
            yield Finding(check=symptom.check, state=OK, found=f"0 of {of:,} {symptom.said}")
            continue
        example = f" ({row['example']})" if row.get("example") else ""
        yield Finding(
            check=symptom.check, state=WARN, found=f"{bad:,} of {of:,} {symptom.said}{example}", cure=symptom.cure
        )


def _running(settings: Settings, url: str | None) -> Iterator[Finding]:
    """Mistake 12: a server that answers but does not keep up."""
    owner = Owner.of(settings.data_dir) if settings.data_dir is not None else None
    address = url or (owner.url if owner else None)
    if address is None:
        yield from _waiting(settings.journal_directory / "journal")
        return
    values = _metrics(address, settings.bearer_token())
    if values is None:
        yield Finding(check="server", state=FAIL, found=f"{address} does not answer /metrics", cure="see its log")
        return
    yield Finding(check="server", state=OK, found=f"{address} answers")
    if values.get("maslens_receiver_refusing"):
        yield Finding(
            check="receiver",
            state=FAIL,
            found=f"{address} takes nothing just now: its journal or its disk is full",
            cure="see /readyz for which; make room, raise journal_max_bytes, or get the store to keep up",
        )
    lag = values.get("maslens_journal_lag_seconds", values.get("maslens_loader_lag_seconds", 0.0))
    yield Finding(
        check="journal",
        state=OK if lag < 10 else WARN,
        found=f"the oldest acknowledged span that is not in the store waits {lag:.1f} s",
        cure="the store is slower than what arrives: look at its log, disk and memory",
    )


def _waiting(directory: Path) -> Iterator[Finding]:
    """What was acknowledged and is in no table, while nobody runs."""
    if not (directory / "segments").is_dir():
        return
    try:
        journal = Journal(directory)
    except JournalBusy:
        return
    except JournalError as reason:
        yield Finding(check="journal", state=FAIL, found=str(reason), cure="see the message")
        return
    try:
        items = sum(journal.pending(signal).items for signal in SIGNALS)
        items += sum(cut.items for cut in journal.outstanding())
    finally:
        journal.close()
    yield Finding(
        check="journal",
        state=WARN if items else OK,
        found=f"{items:,} acknowledged spans and log records wait in {directory}",
        cure="start `maslens up`: what was acknowledged is loaded first",
    )


def _metrics(address: str, token: str | None) -> dict[str, float] | None:
    """The samples of /metrics without labels."""
    request = urllib.request.Request(f"{address}/metrics")  # noqa: S310 http(s) by open_source
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 as above
            text = answer.read().decode("utf-8", "replace")
    except (OSError, urllib.error.URLError, ValueError):
        return None
    values: dict[str, float] = {}
    for line in text.split("\n"):  # names may hold what else ends a line
        name, _, value = line.partition(" ")
        if not line.startswith("#") and "{" not in name:
            with suppress(ValueError, IndexError):
                values[name] = float(value.split()[0])
    return values
