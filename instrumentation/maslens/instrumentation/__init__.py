"""What runs inside an app of agents: says who did what, handed what to whom, and at what cost, over OpenTelemetry."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from maslens.instrumentation.agents import Agent, Handoff, Tool
from maslens.instrumentation.api import (
    agent,
    consensus,
    experiment,
    feedback,
    handoff,
    iteration,
    llm,
    monitor_llm,
    received,
    session,
    task,
    tool,
    vote,
    workflow,
)
from maslens.instrumentation.events import handoff_outcome, task_outcome
from maslens.instrumentation.guard import internal_errors, off
from maslens.instrumentation.operation import Operation, Workflow

if TYPE_CHECKING:
    from maslens.instrumentation.setup import init, shutdown
    from maslens.instrumentation.zero_code.findings import Finding, doctor_app

__all__ = [
    "Agent",
    "Finding",
    "Handoff",
    "Operation",
    "Tool",
    "Workflow",
    "agent",
    "consensus",
    "doctor_app",
    "experiment",
    "feedback",
    "handoff",
    "handoff_outcome",
    "init",
    "internal_errors",
    "iteration",
    "llm",
    "monitor_llm",
    "received",
    "session",
    "shutdown",
    "task",
    "task_outcome",
    "tool",
    "vote",
    "workflow",
]


def __getattr__(name: str) -> Any:
    if name in ("init", "shutdown"):  # they need the SDK; the words above only its API
        try:
            from maslens.instrumentation import setup
        except Exception as mistake:  # the SDK's, which reads its limits when it is imported
            return partial(_unable, mistake)
        return getattr(setup, name)
    if name in ("doctor_app", "Finding"):
        from maslens.instrumentation.zero_code import findings

        return getattr(findings, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _unable(mistake: Exception, *_: Any, **__: Any) -> bool:
    off(mistake)
    return False
