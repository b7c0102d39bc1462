"""What a setting says reaches the part that does it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from maslens.cli import machine
from maslens.cli.faults import BadInput
from maslens.cli.settings import load
from maslens.collector_processor import Receiver

from tests.collector_processor.stores import MemoryStore


def made(tmp_path: Path, **environ: str) -> Receiver:
    settings = load(
        {"store": f"chdb://{tmp_path}"}, environ={f"MASLENS_{name}": text for name, text in environ.items()}
    )
    receiver = machine.receiver(settings, MemoryStore())
    receiver.stop()
    return receiver


def test_limits_and_retention_reach_the_receiver(tmp_path: Path) -> None:
    config = made(
        tmp_path,
        JOURNAL_KEEP_BYTES="5MiB",
        JOURNAL_KEEP_S="60",
        DEADLETTER_MAX_BYTES="1MiB",
        DEADLETTER_MAX_FILES="7",
        DEADLETTER_KEEP_S="3600",
        OTLP_MAX_BYTES="1MiB",
        CORS_ORIGINS="https://a.example, https://b.example",
    ).config
    assert (config.journal.keep_loaded_bytes, config.journal.keep_loaded_for) == (5 << 20, timedelta(minutes=1))
    assert (config.dead_letters.max_bytes, config.dead_letters.max_files) == (1 << 20, 7)
    assert config.dead_letters.keep_for == timedelta(hours=1)
    assert config.http.max_body_bytes == 1 << 20
    assert config.cors_origins == ("https://a.example", "https://b.example")
    assert config.stages == ()


def test_what_is_to_be_blanked_reaches_the_receiver(tmp_path: Path) -> None:
    assert len(made(tmp_path, REDACT_KEYS="*password*", REDACT_PATTERNS="email,card").config.stages) == 1
    assert len(made(tmp_path, CONTENT_OFF="billing-*").config.stages) == 1


def test_a_wrong_rule_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="'phone' is not one of email, key, card"):
        made(tmp_path, REDACT_PATTERNS="phone")
    with pytest.raises(BadInput, match="MASLENS_CORS_ORIGINS must be origins such as"):
        made(tmp_path, CORS_ORIGINS="app.example")


def test_a_list_may_be_written_as_one(tmp_path: Path) -> None:
    config = tmp_path / "m.yaml"
    config.write_text('redact_patterns: [email, "x=[a,b]+"]\nredact_keys: a, b\n', encoding="utf-8")
    settings = load(environ={}, config=config)
    assert settings.redact_patterns == ("email", "x=[a,b]+")
    assert settings.redact_keys == ("a", "b")
    config.write_text("redact_keys: [1]\n", encoding="utf-8")
    with pytest.raises(BadInput, match="must be a list of texts"):
        load(environ={}, config=config)
