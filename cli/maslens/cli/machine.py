"""The parts that move spans, put together from one `Settings`: journal → loader → store → sidecar → facts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TypeVar

from maslens.analytics.facts import compute
from maslens.analytics.prices import PriceBook
from maslens.analytics.sidecar import Sidecar, SidecarConfig
from maslens.cli.faults import BadInput, NotThere
from maslens.cli.settings import Settings
from maslens.cli.sources import one_line
from maslens.collector_processor.batching import BatchConfig
from maslens.collector_processor.deadletter import DeadLetters
from maslens.collector_processor.errors import ConfigError, JournalError
from maslens.collector_processor.journal import Journal, JournalConfig
from maslens.collector_processor.loader import Loader, LoaderConfig
from maslens.storage import Store

T = TypeVar("T")
SEGMENT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What stands between an acknowledged request and the tables."""

    journal: Journal
    loader: Loader
    dead_letters: DeadLetters


@contextmanager
def intake(settings: Settings, store: Store) -> Iterator[Intake]:
    """Journal and loader, loading what an earlier life left behind; stopped, with nothing lost, at the end."""
    made = _in_our_words(lambda: _made(settings, store))
    made.loader.start()
    try:
        yield made
    finally:
        made.loader.stop()
        made.journal.close()


def sidecar(settings: Settings, store: Store) -> Sidecar:
    prices = _in_our_words(lambda: PriceBook.load(settings.price_sheet))
    config = SidecarConfig(interval_s=settings.sidecar_interval_s, idle_s=settings.session_idle_s)
    return Sidecar(store, partial(compute, prices=prices), config)


def journal_config(settings: Settings) -> JournalConfig:
    """A journal of a few megabytes is cut into smaller segments, so that it can let go of some."""
    most = settings.journal_max_bytes
    return JournalConfig(max_bytes=most, segment_bytes=min(SEGMENT_BYTES, max(1 << 12, most // 8)))


def loader_config(settings: Settings) -> LoaderConfig:
    wait = timedelta(seconds=settings.batch_max_wait_s)
    idle = min(BatchConfig().idle_wait, wait)
    return LoaderConfig(batch=BatchConfig(max_bytes=settings.batch_max_bytes, idle_wait=idle, busy_wait=wait))


def _made(settings: Settings, store: Store) -> Intake:
    directory = settings.journal_directory
    journal = Journal(directory, journal_config(settings))
    dead_letters = DeadLetters(directory / "dead-letters")
    return Intake(
        journal=journal,
        loader=Loader(journal, store, dead_letters, loader_config(settings)),
        dead_letters=dead_letters,
    )


def _in_our_words(make: Callable[[], T]) -> T:
    try:
        return make()
    except ConfigError as wrong:
        raise BadInput(str(wrong)) from None
    except JournalError as reason:
        raise NotThere(one_line(str(reason))) from None
    except (OSError, ValueError) as wrong:
        raise BadInput(one_line(str(wrong))) from None
