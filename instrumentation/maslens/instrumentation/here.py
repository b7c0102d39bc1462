"""The context we are in: OpenTelemetry's own, asked where it is kept.

Its public functions are two calls deep and log a traceback where a token belongs to another task or thread; a block is
entered and left often, and we have something better to do then (`Managed._exit`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any

from opentelemetry import context as _api
from opentelemetry.context import Context

_kept: Any = getattr(_api, "_RUNTIME_CONTEXT", None)
_variable: Any = getattr(_kept, "_current_context", None)

here: Callable[[], Context]
enter: Callable[[Context], Token[Context]]
leave: Callable[[Token[Context]], object]  # ValueError: the token was made in another task or thread

if isinstance(_variable, ContextVar):
    here, enter, leave = _variable.get, _variable.set, _variable.reset
elif _kept is not None:  # what OTEL_PYTHON_CONTEXT names
    here, enter, leave = _kept.get_current, _kept.attach, _kept.detach
else:
    here, enter, leave = _api.get_current, _api.attach, _api.detach
