"""What goes wrong in here stays in here: counted, said once per place at debug level, never raised into the app."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

_log = logging.getLogger("maslens.instrumentation")
_counts: Counter[str] = Counter()


def swallowed(where: str, error: BaseException) -> None:
    """Count `error` under `where`; the first one of each place is logged at debug level."""
    _counts[where] += 1
    if _counts[where] == 1:
        _log.debug("%s failed inside maslens (%s); the app goes on", where, type(error).__name__, exc_info=error)


def internal_errors() -> Mapping[str, int]:
    """How often each place failed in this process; empty is what one hopes for."""
    return MappingProxyType(_counts)
