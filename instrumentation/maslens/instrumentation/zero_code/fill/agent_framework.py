"""Microsoft Agent Framework writes good spans; what they lack is the conversation that the program names."""

from __future__ import annotations

from typing import Any

from maslens.instrumentation.guard import quiet
from maslens.instrumentation.zero_code.catalogue import Instrumentor
from maslens.instrumentation.zero_code.wrapping import wrap

_named = "_maslens_named"  # set on sessions that the program gave an id; others make one up for every agent


def fill(_instrumentor: Instrumentor | None) -> None:
    wrap("agent_framework._sessions", "AgentSession.__init__", _made)
    wrap("agent_framework._agents", "BaseAgent._get_otel_conversation_id", _conversation)


def _made(wrapped: Any, session: Any, args: Any, kwargs: Any) -> None:
    wrapped(*args, **kwargs)
    if kwargs.get("session_id"):
        _remember(session)


@quiet
def _remember(session: Any) -> None:
    setattr(session, _named, True)


def _conversation(wrapped: Any, _agent: Any, args: Any, kwargs: Any) -> Any:
    said = wrapped(*args, **kwargs)
    session = args[0] if args else kwargs.get("session")
    return session.session_id if said is None and getattr(session, _named, False) else said
