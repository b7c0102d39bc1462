"""CrewAI under OpenInference: whose call it is, and the run of a coworker that work was delegated to."""

from __future__ import annotations

from typing import Any

from maslens.instrumentation.api import agent as agent_run
from maslens.instrumentation.carried import current
from maslens.instrumentation.scopes import acting
from maslens.instrumentation.zero_code.catalogue import Instrumentor
from maslens.instrumentation.zero_code.wrapping import wrap
from maslens.semconv import attributes as names
from opentelemetry.context import get_current

_MODULE = "crewai.agent.core"


def fill(instrumentor: Instrumentor | None) -> None:
    if instrumentor is None:
        return
    wrap(_MODULE, "Agent.execute_task", _execute)
    wrap(_MODULE, "Agent.aexecute_task", _aexecute)


def _execute(wrapped: Any, crew_agent: Any, args: Any, kwargs: Any) -> Any:
    with _as(crew_agent):
        return wrapped(*args, **kwargs)


async def _aexecute(wrapped: Any, crew_agent: Any, args: Any, kwargs: Any) -> Any:
    async with _as(crew_agent):
        return await wrapped(*args, **kwargs)


def _as(crew_agent: Any) -> Any:
    """The agent of a task has a span already; a coworker, working inside another agent's tool, has none."""
    role = str(getattr(crew_agent, "role", "agent")).strip()
    within = current(get_current()).stamp.get(names.GEN_AI_AGENT_NAME)
    return agent_run(role) if within not in (None, role) else acting(role)
