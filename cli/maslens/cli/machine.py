"""The parts that move spans, made from one `Settings`: receiver → journal → loader → store → sidecar → facts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TypeVar

from maslens.analytics.computing import Computing, Elsewhere, Here, fact_rules, spare_processes
from maslens.analytics.judge import JudgeConfig
from maslens.analytics.judging import Judging
from maslens.analytics.prices import PriceBook
from maslens.analytics.sidecar import Sidecar, SidecarConfig
from maslens.cli.faults import BadInput, NotThere
from maslens.cli.settings import Settings
from maslens.cli.sources import one_line
from maslens.collector_processor import (
    BatchConfig,
    ConfigError,
    DeadLetterConfig,
    HttpLimits,
    JournalConfig,
    JournalError,
    LoaderConfig,
    Receiver,
    ReceiverConfig,
    RedactionRules,
    TlsConfig,
    Tokens,
    redact,
    spare_front_ends,
)
from maslens.collector_processor.intake import Stage
from maslens.storage import Store

T = TypeVar("T")
SEGMENT_BYTES = 64 << 20


def receiver(
    settings: Settings,
    store: Store,
    *,
    serving: bool = True,
    on_loaded: Callable[[int], None] | None = None,
    looks_in: Callable[[float], float] | None = None,
) -> Receiver:
    """Not started yet. Without `serving` it listens nowhere and is only fed by this process."""

    def made() -> Receiver:
        config = ReceiverConfig(
            directory=settings.journal_directory,
            host=settings.host,
            grpc_port=settings.otlp_grpc_port if serving else None,
            http_port=settings.otlp_http_port if serving else None,
            tokens=tokens(settings),
            tls=tls(settings),
            insecure=settings.insecure,
            front_ends=_front_ends(settings) if serving else 0,
            cors_origins=settings.cors_origins,
            stages=_stages(settings),
            http=HttpLimits(max_body_bytes=settings.otlp_max_bytes),
            dead_letters=dead_letter_limits(settings),
            journal=_journal(settings),
            loader=_loader(settings),
        )
        return Receiver(config, store, on_loaded=on_loaded, looks_in=looks_in)

    return in_our_words(made)


def sidecar(settings: Settings, store: Store, *, serving: bool = False) -> Sidecar:
    """Not started yet. `serving`: with processes beside this one, where the settings have some."""
    config = SidecarConfig(interval_s=settings.sidecar_interval_s, idle_s=settings.session_idle_s)
    rules = partial(fact_rules, settings.price_sheet, settings.embedder)
    here = in_our_words(rules)  # also where others compute: what is wrong with the settings is said now
    number = spare_processes() if settings.sidecar_processes == "auto" else int(settings.sidecar_processes)
    computing: Computing = Elsewhere(rules, processes=number) if serving and number else Here(here)
    return Sidecar(store, computing, config)


def judging(settings: Settings, store: Store) -> Judging | None:
    """Not started yet; None unless an endpoint is set."""
    if settings.judge_url is None:
        return None
    config = JudgeConfig(
        url=settings.judge_url,
        model=settings.judge_model or "",
        key=settings.judge_key or "",
        tokens_per_day=settings.judge_tokens_per_day,
        retries=settings.judge_retries,
    )
    prices = in_our_words(lambda: PriceBook.load(settings.price_sheet))
    return Judging(store, config, prices=prices, idle_s=settings.session_idle_s)


def tokens(settings: Settings) -> Tokens:
    source = "MASLENS_TOKEN" if settings.token is not None else f"token_file {settings.token_file}"
    found = in_our_words(lambda: Tokens.parse(settings.tokens_text(), source=source))
    if not found and (settings.token is not None or settings.token_file is not None):
        raise BadInput(f"{source} has no token in it: without any, everybody could do everything")
    return found


def tls(settings: Settings) -> TlsConfig | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return TlsConfig(certificate=settings.tls_cert, key=settings.tls_key, client_ca=settings.tls_client_ca)


def in_our_words(make: Callable[[], T]) -> T:
    """Run `make`; what other rooms raise becomes a fault of the command line."""
    try:
        return make()
    except ConfigError as wrong:
        raise BadInput(one_line(str(wrong))) from None
    except JournalError as reason:
        raise NotThere(one_line(str(reason))) from None
    except (OSError, ValueError) as wrong:
        raise BadInput(one_line(str(wrong))) from None


def _front_ends(settings: Settings) -> int:
    return spare_front_ends() if settings.front_ends == "auto" else int(settings.front_ends)


def _journal(settings: Settings) -> JournalConfig:
    """A journal of a few megabytes is cut into smaller segments, so that it can let go of some."""
    most = settings.journal_max_bytes
    return JournalConfig(
        max_bytes=most,
        segment_bytes=min(SEGMENT_BYTES, max(1 << 12, most // 8)),
        keep_loaded_bytes=settings.journal_keep_bytes,
        keep_loaded_for=timedelta(seconds=settings.journal_keep_s),
        sync_done=settings.survives_power_loss,
    )


def dead_letter_limits(settings: Settings) -> DeadLetterConfig:
    return DeadLetterConfig(
        max_bytes=settings.deadletter_max_bytes,
        max_files=settings.deadletter_max_files,
        keep_for=timedelta(seconds=settings.deadletter_keep_s),
    )


def _stages(settings: Settings) -> tuple[Stage, ...]:
    """None at all where nothing is to be blanked: then no value is looked at."""
    rules = RedactionRules(
        keys=settings.redact_keys, patterns=settings.redact_patterns, content_off=settings.content_off
    )
    return (redact(rules),) if rules != RedactionRules() else ()


def _loader(settings: Settings) -> LoaderConfig:
    wait, few = timedelta(seconds=settings.batch_max_wait_s), timedelta(seconds=settings.batch_few_wait_s)
    idle = min(BatchConfig().idle_wait, wait)
    batch = BatchConfig(max_bytes=settings.batch_max_bytes, idle_wait=idle, busy_wait=wait, few_wait=few)
    return LoaderConfig(batch=batch)
