"""What is installed, without importing any of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from maslens.instrumentation.zero_code.catalogue import FRAMEWORKS, Framework, Instrumentor


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A framework that is installed and what will observe it."""

    framework: Framework
    instrumentor: Instrumentor | None  # None: its own spans, or nothing at all
    unused: str = ""  # why an installed instrumentor is left off

    @property
    def observed(self) -> bool:
        return self.instrumentor is not None or self.framework.native


@cache
def version_of(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def choices(frameworks: tuple[Framework, ...] = FRAMEWORKS) -> list[Choice]:
    """Every installed framework with its best installed instrumentor; model clients only where nobody covers them."""
    present = [framework for framework in frameworks if any(map(version_of, framework.distributions))]
    agents = [_choice(framework) for framework in present if not framework.is_model_client]
    uncovered = [choice for choice in agents if choice.observed and not choice.framework.has_model_spans]
    covering = [
        choice
        for choice in agents
        if choice.observed and choice.framework.has_model_spans and choice.framework.id not in ("mcp", "a2a")
    ]
    clients = []
    for framework in present:
        if framework.is_model_client:
            choice = _choice(framework)
            if covering and not uncovered and choice.instrumentor is not None:
                by = ", ".join(other.framework.id for other in covering)
                choice = Choice(framework=framework, instrumentor=None, unused=f"{by} already writes these calls down")
            clients.append(choice)
    return agents + clients


def _choice(framework: Framework) -> Choice:
    best = next((one for one in framework.instrumentors if version_of(one.distribution)), None)
    return Choice(framework=framework, instrumentor=best)
