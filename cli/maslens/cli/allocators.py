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
# malloc.h's numbers; the variables of the same names are read before Python starts.
_GLIBC = {
    "MALLOC_ARENA_MAX": (-8, 2),  # else eight for each core, and threads come and go
    "MALLOC_MMAP_THRESHOLD_": (-3, 1 << 20),  # else it grows, and large columns lie between small things that stay
}


def give_back(environ: MutableMapping[str, str]) -> None:
    """Set what is not set; on another C library than glibc the last of the four stays as it is."""
    for name, told in DEFAULTS.items():
        environ.setdefault(name, told)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    for name, (parameter, value) in _GLIBC.items():
        if mallopt is not None and name not in environ:
            mallopt(parameter, value)
