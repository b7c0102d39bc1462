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
from maslens.instrumentation.zero_code.installed import Choice, choices, version_of
from wrapt import register_post_import_hook

__all__ = ["activate", "load", "prepare"]

_log = logging.getLogger("maslens.instrumentation")
_OURS_TO_CHOOSE = {one.target for framework in FRAMEWORKS for one in (*framework.instrumentors, *framework.harmful)}
_activated: set[str] = set()


def load(entry_point: Any, arguments: dict[str, Any]) -> None:
    """What the loader of `opentelemetry-instrument` found: ours to choose wait for `activate`, all others start now."""
    if entry_point.value in _OURS_TO_CHOOSE or _is_done_by(entry_point.name):
        return
    entry_point.load()().instrument(**arguments)


def _is_done_by(name: str) -> bool:
    """Strands switches on the threading instrumentor itself, and a second time is a warning."""
    return name == "threading" and version_of("strands-agents") is not None


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
        name = choice.framework.id
        filler = _filler(name) if choice.framework.fills else None
        _attempt(f"fill of {name}", getattr(filler, "before", None), choice.instrumentor)
        try:
            if choice.instrumentor is not None:
                _switch_on(choice.instrumentor.target)
        except Exception as mistake:
            swallowed(f"instrumentor of {name}", mistake)
            _log.warning("%s is not observed: %s: %s", name, type(mistake).__name__, mistake)
        _attempt(f"fill of {name}", getattr(filler, "fill", None), choice.instrumentor)

    return observe


def _filler(name: str) -> Any:
    try:
        return import_module(f"{__name__}.fill.{name.replace('-', '_')}")
    except Exception as mistake:  # the framework has changed
        swallowed(f"fill of {name}", mistake)
        return None


def _attempt(what: str, step: Any, instrumentor: Any) -> None:
    """`before` wraps what the instrumentor will wrap again, so that its span is current in ours; `fill` comes after."""
    try:
        if step is not None:
            step(instrumentor)
    except Exception as mistake:
        swallowed(what, mistake)


def _switch_on(target: str) -> None:
    module, name = target.split(":")
    instrumentor = getattr(import_module(module), name)()
    if not getattr(instrumentor, "is_instrumented_by_opentelemetry", False):
        instrumentor.instrument(skip_dep_check=True)
