"""DSPy under OpenInference: modules by the names their program gives them, and what each call cost."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Any

from maslens.instrumentation.guard import quiet, swallowed
from maslens.instrumentation.scopes import acting
from maslens.instrumentation.zero_code.catalogue import Instrumentor
from maslens.instrumentation.zero_code.telling import tell_usage
from maslens.instrumentation.zero_code.wrapping import wrap
from opentelemetry.trace import get_current_span

_names: ContextVar[Mapping[int, str] | None] = ContextVar("maslens_dspy_names", default=None)


def before(instrumentor: Instrumentor | None) -> None:
    """DSPy compares `LM.forward` with its own and refuses a wrapped one; what it writes into its history is enough."""
    if instrumentor is not None:
        wrap("dspy.clients.base_lm", "BaseLM.update_history", _answered)


def fill(instrumentor: Instrumentor | None) -> None:
    if instrumentor is None:
        return
    wrap("dspy", "Module.__call__", _call)
    wrap("dspy", "Predict.__call__", _call)
    wrap("dspy", "Module.acall", _acall)
    wrap("dspy", "Predict.acall", _acall)


def _call(wrapped: Any, module: Any, args: Any, kwargs: Any) -> Any:
    with _named(module):
        return wrapped(*args, **kwargs)


async def _acall(wrapped: Any, module: Any, args: Any, kwargs: Any) -> Any:
    with _named(module):
        return await wrapped(*args, **kwargs)


def _named(module: Any) -> AbstractContextManager[Any]:
    """The outermost module names those inside it; each of these acts under the first step of its name."""
    try:
        known = _names.get()
        if known is None:
            return _Naming({id(part): name.removeprefix("self.") for name, part in module.named_sub_modules()})
        name = known.get(id(module), "self").split(".")[0].split("[")[0]
        return acting(name) if name != "self" else nullcontext()
    except Exception as mistake:
        swallowed("dspy names", mistake)
        return nullcontext()


class _Naming:
    def __init__(self, names: Mapping[int, str]) -> None:
        self._inside = names

    def __enter__(self) -> None:
        self._token = _names.set(self._inside)

    def __exit__(self, *_: object) -> None:
        _names.reset(self._token)


def _answered(wrapped: Any, _lm: Any, args: Any, kwargs: Any) -> Any:
    _tell(args[0] if args else kwargs.get("entry"))
    return wrapped(*args, **kwargs)


@quiet
def _tell(entry: dict[str, Any]) -> None:
    """An answer from DSPy's own cache costs nothing again."""
    if not getattr(entry.get("response"), "cache_hit", False):
        tell_usage(get_current_span(), entry.get("usage"), whole=True)
