"""Memory that a library no longer needs goes back to the system, instead of waiting for more work of the same kind.

Four allocators live in this process, each with a store of free pages of its own. They read their settings once, so this
runs before any of the libraries is loaded. What the user has set stays.
"""

from __future__ import annotations

import ctypes
from collections.abc import MutableMapping

DEFAULTS = {
    "JE_MALLOC_CONF": "background_thread:true,dirty_decay_ms:500,muzzy_decay_ms:0",  # chDB
    "_RJEM_MALLOC_CONF": "background_thread:true,dirty_decay_ms:500,muzzy_decay_ms:0",  # Polars
    "ARROW_DEFAULT_MEMORY_POOL": "system",  # else pages of its own again, a few megabytes at a time
}
_M_ARENA_MAX = -8  # malloc.h; MALLOC_ARENA_MAX is read before Python starts
_ARENAS = 2  # else eight for each core, and threads come and go


def give_back(environ: MutableMapping[str, str]) -> None:
    """Set what is not set; on another C library than glibc the last of the four stays as it is."""
    for name, value in DEFAULTS.items():
        environ.setdefault(name, value)
    if "MALLOC_ARENA_MAX" not in environ:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, _ARENAS)
