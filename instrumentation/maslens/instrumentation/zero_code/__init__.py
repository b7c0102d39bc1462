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
from maslens.instrumentation.zero_code.environment import keep_from_vendors, prepare
from maslens.instrumentation.zero_code.installed import Choice, choices, version_of
from wrapt import register_post_import_hook

__all__ = ["activate", "in_charge", "join", "load", "prepare"]

_log = logging.getLogger("maslens.instrumentation")
_OURS_TO_CHOOSE = {one.target for framework in FRAMEWORKS for one in (*framework.instrumentors, *framework.harmful)}
_activated: set[str] = set()
_distro: list[str] = []  # ours, where the loader took it


def load(entry_point: Any, arguments: dict[str, Any]) -> None:
    """What the loader of `opentelemetry-instrument` found: ours to choose wait for `activate`, all others start now."""
    if entry_point.value in _OURS_TO_CHOOSE or _is_done_by(entry_point.name):
        return
    entry_point.load()().instrument(**arguments)


def in_charge() -> None:
    """The loader has taken our distro: what `join` does for a foreign one is done already."""
    _distro.append("maslens")


def join() -> None:
    """Before the instrumentors, also under a distro of somebody else: the loader takes the first it finds of several.

    Its exporter stays; our choice of instrumentors and our stamp on every span are added, vendors are kept out.
    """
    if _distro:
        return
    try:
        from maslens.instrumentation.setup import init
        from wrapt import wrap_function_wrapper

        keep_from_vendors()
        init()
        wrap_function_wrapper("opentelemetry.instrumentation.distro", "BaseDistro.load_instrumentor", _ours_decides)
    except Exception as mistake:
        swallowed("join", mistake)


def _ours_decides(_wrapped: Any, _other: Any, args: Any, kwargs: Any) -> None:
    load(args[0], kwargs)


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
