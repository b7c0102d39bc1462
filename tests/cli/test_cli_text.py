"""Text that came from strangers, and times as people write them."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from maslens.cli.faults import BadInput
from maslens.cli.text import moment, safe, safe_json, size_bytes

NOW = datetime(2026, 11, 20, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("billing", "billing", id="plain"),
        pytest.param("größe 数 🙂", "größe 数 🙂", id="any language"),
        pytest.param("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m", id="colour"),
        pytest.param("\x1b]0;title\x07", "\\x1b]0;title\\x07", id="window title"),
        pytest.param("\x9b2J", "\\x9b2J", id="the one-byte escape"),
        pytest.param("a\r\nb", "a⏎⏎b", id="line breaks"),
        pytest.param("safe\u202egnp.exe", "safe\\u202egnp.exe", id="reordering"),
        pytest.param("\ud800", "\\ud800", id="half a surrogate pair"),
    ],
)
def test_safe(text: str, shown: str) -> None:
    assert safe(text) == shown


@given(st.text(st.characters(codec=None)))
def test_nothing_a_terminal_obeys_is_left(text: str) -> None:
    shown = safe(text)
    assert not [character for character in shown if ord(character) < 32 or 127 <= ord(character) < 160]
    shown.encode("utf-8")


@given(st.text(st.characters(codec=None)))
def test_json_made_safe_still_says_the_same(text: str) -> None:
    written = safe_json(json.dumps([text], ensure_ascii=False))
    assert json.loads(written) == [text]
    assert not [character for character in written if ord(character) < 32 or 127 <= ord(character) < 160]


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("15m", NOW - timedelta(minutes=15)),
        ("1h30m", NOW - timedelta(minutes=90)),
        ("7d", NOW - timedelta(days=7)),
        ("0.5h", NOW - timedelta(minutes=30)),
        ("2026-11-20T08:00:00Z", datetime(2026, 11, 20, 8, tzinfo=timezone.utc)),
        ("2026-11-20 08:00", datetime(2026, 11, 20, 8, tzinfo=timezone.utc)),
        ("2026-11-20T08:00:00+02:00", datetime(2026, 11, 20, 6, tzinfo=timezone.utc)),
    ],
)
def test_moment(text: str, when: datetime) -> None:
    assert moment(text, now=NOW, flag="--since") == when


@pytest.mark.parametrize("text", ["", "soon", "5", "m", "yesterday", "2026-13-01"])
def test_a_time_nobody_understands_names_the_flag(text: str) -> None:
    with pytest.raises(BadInput, match="--since takes a time ago"):
        moment(text, now=NOW, flag="--since")


@pytest.mark.parametrize(
    ("text", "count"), [("4096", 4096), ("64MiB", 64 * 1024**2), ("2 GB", 2 * 10**9), ("1.5k", 1500), ("1TiB", 1024**4)]
)
def test_size(text: str, count: int) -> None:
    assert size_bytes(text) == count


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1 XB"])
def test_no_size(text: str) -> None:
    with pytest.raises(ValueError):
        size_bytes(text)
