"""Observe an app without changing it: the best kept instrumentor for each framework it uses, and what that one misses.

`prepare` sets the environment, `load` decides over each instrumentor the loader offers, `activate` does the rest: it
switches on what the loader refused and fills the gaps, each at the moment the app first imports the framework.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

from maslens.instrumentation.guard import swallowed
from maslens.instrumentation.zero_code.catalogue import FRAMEWORKS
from maslens.instrumentation.zero_code.environment import prepare
from maslens.instrumentation.zero_code.installed import Choice, choices
from wrapt import register_post_import_hook

__all__ = ["activate", "load", "prepare"]

_log = logging.getLogger("maslens.instrumentation")
_OURS_TO_CHOOSE = {one.target for framework in FRAMEWORKS for one in framework.instrumentors}
_activated: set[str] = set()


def load(entry_point: Any, arguments: dict[str, Any]) -> None:
    """What the loader of `opentelemetry-instrument` found: ours to choose wait for `activate`, all others start now."""
    if entry_point.value in _OURS_TO_CHOOSE:
        return
    entry_point.load()().instrument(**arguments)


def activate() -> None:
    """Observe every installed framework from its first import on. Safe to call twice."""
    for choice in choices():
        name = choice.framework.id
        if name in _activated:
            continue
        _activated.add(name)
        if choice.unused:
            _log.debug("%s: no instrumentor, %s", name, choice.unused)
        register_post_import_hook(_when_imported(choice), choice.framework.module)


def _when_imported(choice: Choice) -> Any:
    def observe(_module: Any) -> None:
        try:
            if choice.instrumentor is not None:
                _switch_on(choice.instrumentor.target)
        except Exception as mistake:
            swallowed(f"instrumentor of {choice.framework.id}", mistake)
            _log.warning("%s is not observed: %s: %s", choice.framework.id, type(mistake).__name__, mistake)
        try:
            if choice.framework.fills:
                module = f"{__name__}.fill.{choice.framework.id.replace('-', '_')}"
                import_module(module).fill(choice.instrumentor)
        except Exception as mistake:
            swallowed(f"fill of {choice.framework.id}", mistake)

    return observe


def _switch_on(target: str) -> None:
    module, name = target.split(":")
    instrumentor = getattr(import_module(module), name)()
    if not getattr(instrumentor, "is_instrumented_by_opentelemetry", False):
        instrumentor.instrument(skip_dep_check=True)
