"""`maslens replay`: OTLP files into a data directory or to a running receiver, the way live spans go."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Protocol

from maslens.analytics.watch import Watch
from maslens.cli import machine
from maslens.cli.faults import BadInput, Interrupted, NotThere
from maslens.cli.forms import Format
from maslens.cli.otlp_client import Client, Reply, client_for, send_patiently
from maslens.cli.otlp_files import OtlpFile, Request, check, read
from maslens.cli.progress import bar, spinner
from maslens.cli.settings import Settings
from maslens.cli.sources import Owner, in_worker, open_own
from maslens.cli.text import safe
from maslens.collector_processor import Malformed, Receiver, TryAgain
from maslens.storage import Store

TOGETHER_BYTES = 1 << 20  # small requests travel together: joined end to end they are one request
LONGEST_LOAD_S = 3600.0


@dataclass(slots=True, kw_only=True)
class Report:
    """What was acknowledged. `requests` counts those of the files, in order, and is what `--skip` takes."""

    files: int
    requests: int = 0
    spans: int = 0
    log_records: int = 0
    rejected: int = 0
    reasons: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Destination(Protocol):
    def send(self, requests: Sequence[Request]) -> Reply:
        """Return once `requests`, all of one signal, are safe."""

    def finish(self) -> None:
        """Make what was sent visible in the facts, as far as that is ours to do."""


def replay(
    paths: Sequence[Path], settings: Settings, *, endpoint: str | None, skip: int, patience_s: float, form: Format
) -> None:
    """Check every file whole, then send all of them; nothing is written if one is not understood."""
    files = _checked(paths)
    began = time.monotonic()
    report = Report(files=len(files))
    with _destination(settings, endpoint, patience_s) as destination:
        try:
            _send_all(files, destination, report, skip)
            destination.finish()
        except NotThere as reason:
            raise NotThere(f"{reason}; {_how_to_go_on(report, skip)}") from None
        except KeyboardInterrupt:
            raise Interrupted(_how_to_go_on(report, skip)) from None
    report.seconds = round(time.monotonic() - began, 3)
    _say(report, form)


def _checked(paths: Sequence[Path]) -> list[OtlpFile]:
    files, wrong = [], []
    with bar("checking", sum(path.stat().st_size for path in paths if path.is_file())) as advance:
        for path in paths:
            try:
                files.append(check(path, on_bytes=advance))
            except BadInput as reason:
                wrong.append(str(reason))
    if len(wrong) > 1:
        print(*(f"maslens: {safe(line)}" for line in wrong[:-1]), sep="\n", file=sys.stderr)
    if wrong:
        raise BadInput(wrong[-1])
    return files


def _send_all(files: Sequence[OtlpFile], destination: Destination, report: Report, skip: int) -> None:
    with bar("sending", sum(file.path.stat().st_size for file in files)) as advance:
        requests = (request for file in files for request in read(file, on_bytes=advance))
        for group in _together(islice(requests, skip, None)):
            reply = destination.send(group)
            report.requests += len(group)
            items = sum(request.items for request in group)
            if group[0].signal == "traces":
                report.spans += items - reply.rejected
            else:
                report.log_records += items - reply.rejected
            report.rejected += reply.rejected
            if reply.reason and reply.reason not in report.reasons:
                report.reasons.append(reply.reason)


def _together(requests: Iterable[Request]) -> Iterator[list[Request]]:
    """Neighbours of one signal, up to a size."""
    group: list[Request] = []
    size = 0
    for request in requests:
        if group and (request.signal != group[0].signal or size + len(request.body) > TOGETHER_BYTES):
            yield group
            group, size = [], 0
        group.append(request)
        size += len(request.body)
    if group:
        yield group


def _how_to_go_on(report: Report, skip: int) -> str:
    done = skip + report.requests
    return f"{done:,} requests were acknowledged; go on with the same files and --skip {done}"


def _say(report: Report, form: Format) -> None:
    if form is not Format.table:
        print(json.dumps(asdict(report)))
        return
    what = f"{report.spans:,} spans" + (f" and {report.log_records:,} log records" if report.log_records else "")
    plural = "" if report.files == 1 else "s"
    print(f"replayed {what} from {report.files:,} file{plural} in {report.seconds:.1f} s")
    if report.rejected:
        print(f"{report.rejected:,} were refused: {safe('; '.join(report.reasons))}", file=sys.stderr)


def _destination(settings: Settings, endpoint: str | None, patience_s: float) -> AbstractContextManager[Destination]:
    """Where the flags say; or, if a running maslens owns the data directory, to that."""
    if endpoint is None and settings.data_dir is not None:
        owner = Owner.of(settings.data_dir)
        if owner is not None:
            print(f"{settings.data_dir} belongs to process {owner.pid}: sending to {owner.otlp_http}", file=sys.stderr)
            endpoint = owner.otlp_http
    if endpoint is not None:
        return _remote(client_for(endpoint, token=settings.bearer_token()), patience_s)
    return _local(settings)


@contextmanager
def _remote(client: Client, patience_s: float) -> Iterator[Destination]:
    try:
        yield _Remote(client, patience_s)
    finally:
        client.close()


class _Remote:
    def __init__(self, client: Client, patience_s: float) -> None:
        self._client = client
        self._patience_s = patience_s

    def send(self, requests: Sequence[Request]) -> Reply:
        body = b"".join(request.body for request in requests)
        return send_patiently(self._client, requests[0].signal, body, patience_s=self._patience_s)

    def finish(self) -> None:
        """The running maslens computes its facts by itself."""


@contextmanager
def _local(settings: Settings) -> Iterator[Destination]:
    store = open_own(settings)
    try:
        receiver = machine.receiver(settings, store, serving=False)
        machine.in_our_words(receiver.start)
        try:
            yield _Local(settings, store, receiver)
        finally:
            receiver.stop()
    finally:
        in_worker(store.close)


class _Local:
    """A receiver that listens nowhere: checked, journaled and loaded like what comes over the network."""

    def __init__(self, settings: Settings, store: Store, receiver: Receiver) -> None:
        self._settings = settings
        self._store = store
        self._receiver = receiver

    def send(self, requests: Sequence[Request]) -> Reply:
        body = b"".join(request.body for request in requests)
        while True:
            try:
                taken = asyncio.run(self._receiver.intake.take(requests[0].signal, body))
            except TryAgain as later:
                time.sleep(later.delay.total_seconds())
            except Malformed as reason:
                raise BadInput(str(reason)) from None
            else:
                return Reply(rejected=taken.rejected, reason=taken.message)

    def finish(self) -> None:
        with spinner("loading"):
            in_worker(self._load)
        with spinner("computing facts"):
            in_worker(machine.sidecar(self._settings, self._store).drain)
            in_worker(Watch(self._store).look)

    def _load(self) -> None:
        if not self._receiver.drained(LONGEST_LOAD_S):
            raise NotThere("the store did not take everything in an hour; what is left waits in the journal")
