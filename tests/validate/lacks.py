"""What captured spans lack: facts that no reader can take from them, and whether `maslens run` supplies them.

One row a gap and kind of run; the reason is what the emitter does, not what a reader of ours failed to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias

What: TypeAlias = Literal["agents", "tokens", "tools", "handoffs", "outcome", "session"]


@dataclass(frozen=True, slots=True)
class Lack:
    """`what` cannot be read from captures whose name matches `captures`."""

    captures: str
    what: tuple[What, ...]
    missing: str
    supplied: str  # what of it `maslens run` adds


_CONTEXT = "agent, session and handoff, where the program names them with our API: a plain SDK has none"
LACKS: tuple[Lack, ...] = (
    Lack(
        "sdk-*",
        ("handoffs", "session", "outcome"),
        "one trace a call, no session: nothing joins the calls of a run",
        _CONTEXT,
    ),
    Lack("sdk-*", ("tools",), "tools are run by the program, no span of theirs", _CONTEXT),
    Lack(
        "sdk-contrib-openai-v2+*", ("agents", "tokens"), "no content, so no system prompt to know an agent by", _CONTEXT
    ),
    Lack(
        "dspy-*",
        ("agents", "tokens", "handoffs", "tools"),
        "modules are named by class, usage is nowhere",
        "module names and usage",
    ),
    Lack("dspy-*", ("session", "outcome"), "one trace a thread", "the session"),
    Lack("crewai-traceloop-*", ("tools",), "no tool spans", "the OpenInference instrumentor instead"),
    Lack(
        "*-http-unpropagated",
        ("handoffs", "session", "outcome"),
        "the client is not instrumented: no traceparent",
        "HTTP client spans",
    ),
    Lack(
        "distributed-*unpropagated",
        ("handoffs", "session", "outcome"),
        "the client is not instrumented: no traceparent",
        "HTTP client spans",
    ),
    Lack("llamaindex-traceloop-*", ("tokens",), "no model spans", "the OpenInference instrumentor instead"),
    Lack(
        "llamaindex-traceloop-error",
        ("outcome",),
        "failing steps are not exported, nothing is marked",
        "the OpenInference instrumentor instead",
    ),
    Lack("llamaindex-openinference-[!n]*", ("tokens",), "streamed calls without usage", "usage when streaming"),
    Lack(
        "langgraph-*-stream", ("tokens",), "streamed calls without usage on a custom base URL", "usage when streaming"
    ),
    Lack(
        "langgraph-openlit-*",
        ("agents", "tokens", "handoffs", "tools", "outcome"),
        "agents are called `model`, calls are beside, usage of streams is a guess; branches look like a line",
        "the OpenInference instrumentor instead",
    ),
    Lack(
        "openai-agents-openlit-*stream*",
        ("tokens",),
        "streamed calls have no model spans",
        "the OpenInference instrumentor instead",
    ),
    Lack("autogen-native-selector", ("tokens",), "the moderator's own calls are in no message", "model spans"),
    Lack("autogen-native-*magentic*", ("tokens",), "the orchestrator's own calls are in no message", "model spans"),
    Lack(
        "openai-agents-big-openinference-big",
        ("tokens",),
        "usage dropped by the limit of 128 attributes",
        "the limit is lifted",
    ),
    Lack(
        "openai-agents-*-session",
        ("session", "outcome"),
        "the group id is dropped: two turns are two sessions",
        "the session id",
    ),
    Lack("openai-agents-*", ("session",), "the group id is dropped", "the session id"),
    Lack("agent-framework-*", ("session",), "the session id is on no span", "the session id"),
    Lack("smolagents-*", ("tools",), "a managed agent is called without a tool span", "a structure edge says the same"),
    Lack(
        "google-adk-openinference-*",
        ("tokens", "handoffs", "tools"),
        "agent spans take the place of model spans",
        "the native spans are kept",
    ),
    Lack(
        "pydantic-ai-mlflow-*",
        ("agents", "tokens", "handoffs"),
        "agents are called `Agent.run`",
        "the native spans instead",
    ),
    Lack(
        "pydantic-ai-*-handoff",
        ("handoffs", "session", "outcome"),
        "two runs, two traces, nothing joins them",
        _CONTEXT,
    ),
    Lack(
        "openai-agents-mlflow-genai-*",
        ("handoffs",),
        "handoff inputs and outputs are dropped",
        "the OpenInference instrumentor instead",
    ),
)


def lacks(capture: str) -> Iterator[Lack]:
    return (lack for lack in LACKS if fnmatchcase(capture, lack.captures))


def lacking(capture: str) -> set[What]:
    return {what for lack in lacks(capture) for what in lack.what}
