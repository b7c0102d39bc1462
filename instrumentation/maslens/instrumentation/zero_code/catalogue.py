"""Which frameworks there are, which kept instrumentor of each is best, and what it leaves for us to fill. Data only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrumentor:
    """A kept library that turns what a framework does into spans."""

    distribution: str
    target: str = ""  # "module:Class" with instrument(); empty: the framework itself writes spans
    entry_point: str = ""  # its name in the group opentelemetry_instrumentor


@dataclass(frozen=True, slots=True, kw_only=True)
class Framework:
    id: str  # the extra `maslens[<id>]` brings the first instrumentor
    distributions: Sequence[str]  # any of these installed means that the framework is
    module: str  # ours is done when the app imports this
    instrumentors: Sequence[Instrumentor] = ()  # best first; the first one installed is switched on
    harmful: Sequence[Instrumentor] = ()  # installed or not, these lose more than they show
    native: bool = False  # writes OpenTelemetry spans by itself
    fills: bool = False  # there is a module `fill/<id>.py` with what is still missing
    has_model_spans: bool = True  # model calls made through it are already spans
    is_model_client: bool = False  # switched on only where no framework's spans hold the calls made with it


def _openinference(name: str, cls: str, entry_point: str = "") -> Instrumentor:
    return Instrumentor(
        distribution=f"openinference-instrumentation-{name.replace('_', '-')}",
        target=f"openinference.instrumentation.{name}:{cls}",
        entry_point=entry_point or name,
    )


def _traceloop(name: str, cls: str, entry_point: str = "") -> Instrumentor:
    return Instrumentor(
        distribution=f"opentelemetry-instrumentation-{name.replace('_', '-')}",
        target=f"opentelemetry.instrumentation.{name}:{cls}",
        entry_point=entry_point or name,
    )


FRAMEWORKS: tuple[Framework, ...] = (
    Framework(
        id="openai-agents",
        distributions=("openai-agents",),
        module="agents",
        instrumentors=(
            _openinference("openai_agents", "OpenAIAgentsInstrumentor"),
            Instrumentor(
                distribution="opentelemetry-instrumentation-openai-agents-v2",
                target="opentelemetry.instrumentation.openai_agents:OpenAIAgentsInstrumentor",
                entry_point="openai_agents",
            ),
            _traceloop("openai_agents", "OpenAIAgentsInstrumentor"),
        ),
        fills=True,
    ),
    Framework(
        id="langgraph",
        distributions=("langgraph", "langchain-core"),
        module="langchain_core",
        instrumentors=(
            _openinference("langchain", "LangChainInstrumentor"),
            _traceloop("langchain", "LangchainInstrumentor"),
        ),
        fills=True,
    ),
    Framework(
        id="crewai",
        distributions=("crewai",),
        module="crewai",
        instrumentors=(_openinference("crewai", "CrewAIInstrumentor"), _traceloop("crewai", "CrewAIInstrumentor")),
        fills=True,
        has_model_spans=False,
    ),
    Framework(
        id="autogen",
        distributions=("autogen-agentchat",),
        module="autogen_agentchat",
        instrumentors=(_openinference("autogen_agentchat", "AutogenAgentChatInstrumentor"),),
        native=True,
        fills=True,
    ),
    Framework(
        id="agent-framework",
        distributions=("agent-framework-core", "agent-framework"),
        module="agent_framework",
        native=True,
        fills=True,
    ),
    Framework(
        id="pydantic-ai",
        distributions=("pydantic-ai-slim", "pydantic-ai"),
        module="pydantic_ai",
        native=True,
        fills=True,
    ),
    Framework(
        id="google-adk",
        distributions=("google-adk",),
        module="google.adk",
        harmful=(_openinference("google_adk", "GoogleADKInstrumentor"),),  # renames agents to model calls, drops calls
        native=True,
        fills=True,
    ),
    Framework(id="strands", distributions=("strands-agents",), module="strands", native=True, fills=True),
    Framework(
        id="smolagents",
        distributions=("smolagents",),
        module="smolagents",
        instrumentors=(_openinference("smolagents", "SmolagentsInstrumentor"),),
        fills=True,
    ),
    Framework(
        id="llamaindex",
        distributions=("llama-index-core",),
        module="llama_index.core",
        instrumentors=(
            _openinference("llama_index", "LlamaIndexInstrumentor"),
            _traceloop("llamaindex", "LlamaIndexInstrumentor", "llama-index"),
        ),
        fills=True,
    ),
    Framework(
        id="dspy",
        distributions=("dspy", "dspy-ai"),
        module="dspy",
        instrumentors=(_openinference("dspy", "DSPyInstrumentor"),),
        fills=True,
    ),
    Framework(
        id="agno",
        distributions=("agno",),
        module="agno",
        instrumentors=(_openinference("agno", "AgnoInstrumentor"),),
        fills=True,
    ),
    Framework(
        id="openai",
        distributions=("openai",),
        module="openai",
        instrumentors=(_openinference("openai", "OpenAIInstrumentor"), _traceloop("openai", "OpenAIInstrumentor")),
        fills=True,
        is_model_client=True,
    ),
    Framework(
        id="anthropic",
        distributions=("anthropic",),
        module="anthropic",
        instrumentors=(
            _openinference("anthropic", "AnthropicInstrumentor"),
            _traceloop("anthropic", "AnthropicInstrumentor"),
        ),
        is_model_client=True,
    ),
    Framework(
        id="litellm",
        distributions=("litellm",),
        module="litellm",
        instrumentors=(_openinference("litellm", "LiteLLMInstrumentor"),),
        is_model_client=True,
    ),
    Framework(
        id="mcp",
        distributions=("mcp",),
        module="mcp",
        instrumentors=(_openinference("mcp", "MCPInstrumentor"), _traceloop("mcp", "McpInstrumentor")),
    ),
    Framework(id="a2a", distributions=("a2a-sdk",), module="a2a", native=True),
)
