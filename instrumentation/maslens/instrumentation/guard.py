"""What goes wrong in here stays in here: counted, said once per place at debug level, never raised into the app."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from functools import wraps
from types import MappingProxyType
from typing import ParamSpec

_log = logging.getLogger("maslens.instrumentation")
_counts: Counter[str] = Counter()
P = ParamSpec("P")


def swallowed(where: str, error: BaseException) -> None:
    """Count `error` under `where`; the first one of each place is logged at debug level."""
    _counts[where] += 1
    if _counts[where] == 1:
        _log.debug("%s failed inside maslens (%s); the app goes on", where, type(error).__name__, exc_info=error)


def internal_errors() -> Mapping[str, int]:
    """How often each place failed in this process; empty is what one hopes for."""
    return MappingProxyType(_counts)


def quiet(method: Callable[P, None]) -> Callable[P, None]:
    """A method the app may call with anything at all: what fails in it is counted, not raised."""

    @wraps(method)
    def called(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(*args, **kwargs)
        except Exception as mistake:
            swallowed(method.__qualname__, mistake)

    return called


def off(mistake: Exception) -> None:
    """Say that nothing is observed, and why."""
    _log.warning("maslens is off in this process: %s", mistake)
