"""Text of unknown origin, made safe to show on a terminal."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from maslens.cli.faults import BadInput

# C0 and C1 controls, DEL, bidirectional overrides and the like: they move the cursor, hide text or reorder it.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_SHORT = {"\n": "⏎", "\r": "⏎", "\t": " "}


def safe(text: str, *, limit: int | None = None) -> str:
    """`text` on one line, every character that a terminal would obey shown as an escape instead."""
    shown = _UNSAFE.sub(lambda found: _SHORT.get(found[0]) or _escape(found[0]), text)
    return shown if limit is None or len(shown) <= limit else shown[: limit - 1] + "…"


def safe_json(text: str) -> str:
    """JSON `text` in which no character is left that a terminal would obey; it still parses to the same value."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escape(character: str) -> str:
    return f"\\x{ord(character):02x}" if ord(character) < 0x100 else f"\\u{ord(character):04x}"


_AGO = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


def moment(text: str, *, now: datetime, flag: str) -> datetime:
    """`2h`, `7d` or `1h30m` before `now`; or an ISO 8601 time, UTC unless it says otherwise."""
    compact = text.strip()
    if compact and _AGO.sub("", compact) == "":
        return now - sum((float(number) * _UNITS[unit] for number, unit in _AGO.findall(compact)), timedelta())
    try:
        parsed = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", compact))
    except ValueError:
        raise BadInput(
            f"{flag} takes a time ago (15m, 2h, 7d) or an ISO 8601 time (2026-11-20T08:00:00Z), got {text!r}"
        ) from None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)


_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", re.IGNORECASE)


def size_bytes(text: str) -> int:
    """`4096`, `64MiB` or `2 GB` in bytes; raises ValueError for anything else."""
    found = _SIZE.fullmatch(text)
    if not found:
        raise ValueError(text)
    number, unit, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** " kmgt".index(unit.lower() or " "))


def human_bytes(count: float) -> str:
    """1536 → `1.5 KiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
