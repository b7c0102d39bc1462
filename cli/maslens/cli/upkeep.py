"""Commands for when something has to be done again: dead letters sent again, facts computed again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pyarrow as pa
from maslens.analytics.sidecar import Sidecar
from maslens.analytics.watch import Watch
from maslens.cli import machine
from maslens.cli.faults import BadAnswer, BadInput, NotThere
from maslens.cli.forms import Format
from maslens.cli.output import write
from maslens.cli.progress import spinner
from maslens.cli.settings import Settings
from maslens.cli.sources import Owner, check_data_dir, in_worker, open_own
from maslens.cli.text import moment
from maslens.collector_processor import DeadLetters
from maslens.collector_processor.signals import Signal

_LETTER = pa.schema(
    [
        ("name", pa.string()),
        ("signal", pa.string()),
        ("received_at", pa.timestamp("ns", tz="UTC")),
        ("items", pa.int64()),
        ("bytes", pa.int64()),
        ("half_loaded", pa.bool_()),
        ("reason", pa.string()),
    ]
)


def list_dead_letters(settings: Settings, form: Format) -> None:
    """What the store refused for good, oldest first."""
    letters = [
        {
            "name": letter.name,
            "signal": letter.signal,
            "received_at": letter.received_ns,
            "items": letter.items,
            "bytes": letter.size,
            "half_loaded": letter.half_loaded,
            "reason": letter.reason,
        }
        for letter in _dead_letters(settings).list()
    ]
    write(pa.Table.from_pylist(letters, schema=_LETTER), form, title="Dead letters")


def retry_dead_letters(settings: Settings, names: list[str]) -> None:
    """Insert them again, all or those named, each under its token; what is taken now is forgotten there."""
    letters = _dead_letters(settings)
    known = {letter.name for letter in letters.list()}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise BadAnswer(f"no dead letter {unknown[0]!r}; `maslens deadletter list` names them")
    owner = Owner.of(settings.data_dir) if settings.data_dir is not None else None
    if owner is not None:
        answer = _ask_owner(owner, "deadletter/retry", {"name": names}, settings.bearer_token())
        taken, left = answer["taken"], answer["left"]
    else:
        taken, left = _retry_here(settings, letters, names)
    print(f"{taken} taken, {left} left")
    if left:
        raise BadAnswer(f"{left} could not be loaded; `maslens deadletter list` says why each was put there")


def _retry_here(settings: Settings, letters: DeadLetters, names: list[str]) -> tuple[int, int]:
    if settings.data_dir is not None:
        check_data_dir(settings.data_dir)
    store = open_own(settings)

    def insert(signal: Signal, body: bytes, token: str) -> None:
        store.insert_otlp(signal, body, token=token)

    try:
        with spinner("loading dead letters"):
            return in_worker(lambda: letters.retry(insert, names=names))
    finally:
        in_worker(store.close)


def reprocess(settings: Settings, since: str) -> None:
    """Compute the facts of every session with a span since then again, after a rule or a price has changed."""
    start = moment(since, now=datetime.now(timezone.utc), flag="--since")
    directory = settings.data_dir
    if directory is not None:
        owner = Owner.of(directory)
        if owner is not None:
            asked = _ask_owner(owner, "reprocess", {"since": start.isoformat()}, settings.bearer_token())
            print(f"{asked['traces']:,} traces are computed again by {owner.url}")
            return
        check_data_dir(directory)
    store = open_own(settings)
    try:
        sidecar = machine.sidecar(settings, store)
        with spinner("computing facts"):
            traces = in_worker(lambda: _again(sidecar, start))
            in_worker(Watch(store).look)
        print(f"{traces:,} traces were computed again")
    finally:
        in_worker(store.close)


def _again(sidecar: Sidecar, start: datetime) -> int:
    traces = sidecar.reprocess(start)
    sidecar.drain()
    return traces


def _ask_owner(owner: Owner, what: str, arguments: Mapping[str, object], token: str | None) -> dict[str, int]:
    address = f"{owner.url}/admin/{what}?{urlencode(arguments, doseq=True)}"
    headers = {"X-Maslens": "cli"} | ({"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urlopen(Request(address, method="POST", headers=headers), timeout=120) as answer:  # noqa: S310 our own
            return dict(json.loads(answer.read()))
    except HTTPError as refused:
        raise BadInput(f"{owner.url} refused: {refused.read().decode('utf-8', 'replace').strip()}") from None
    except OSError as reason:
        raise NotThere(f"no maslens answers at {owner.url} ({reason})") from None


def _dead_letters(settings: Settings) -> DeadLetters:
    directory = settings.journal_directory
    if not directory.is_dir():
        raise NotThere(f"no data at {directory}: name the right place with --data or --journal-dir")
    return DeadLetters(directory / "deadletter")
