"""What real frameworks really wrote, read right: one fact a row, the traps among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from maslens.semconv.dialects.python import resolve

from tests.semconv.captured import captures, spans_of

pytestmark = pytest.mark.captures
Rows = Sequence[Mapping[str, Any]]
Read = Callable[[str], Rows]


@pytest.fixture(scope="module")
def read(shared: Path) -> Read:
    """Columns of every span of a capture."""
    known: dict[str, Rows] = {}

    def read(name: str) -> Rows:
        if name not in known:
            known[name] = [resolve(span) for span in spans_of(shared / "captures" / f"{name}.otlp.pb")]
        return known[name]

    return read


@pytest.mark.parametrize(
    ("capture", "span", "expected"),
    [
        pytest.param(
            "openai-agents-openinference-handoff",
            "handoff to billing",
            {"Kind": "handoff", "TransferSource": "triage", "TransferTarget": "billing", "Framework": "openai_agents"},
            id="OpenInference, OpenAI Agents: a handoff poses as a tool",
        ),
        pytest.param(
            "openai-agents-openinference-handoff",
            "billing",
            {"Kind": "agent", "AgentName": "billing", "NodeId": "billing", "NodeParentId": "triage"},
            id="OpenInference, OpenAI Agents: an agent knows the one before it",
        ),
        pytest.param(
            "openai-agents-contribv2-session",
            "agent_handoff OpenAI Agent",
            {"Kind": "handoff", "AgentName": "", "TransferSource": "triage", "TransferTarget": "billing"},
            id="contrib v2: the constant agent name is none",
        ),
        pytest.param(
            "openai-agents-traceloop-loop",
            "triage → unknown.handoff",
            {"Kind": "handoff", "TransferSource": "triage", "TransferTarget": ""},
            id="Traceloop, OpenAI Agents: the target is always unknown",
        ),
        pytest.param(
            "openai-agents-openlit-handoff",
            "chat gpt-4.1-mini",
            {"Kind": "llm", "ToolName": "", "Hints": {"called_tool": "transfer_to_billing"}},
            id="OpenLIT: a tool asked for is no tool executed",
        ),
        pytest.param(
            "langgraph-openinference-swarm",
            "route_to_active_agent",
            {"Kind": "step", "Framework": "langgraph", "SessionId": "conv-52"},
            id="OpenInference, LangGraph: a router poses as an agent",
        ),
        pytest.param(
            "langgraph-openinference-swarm",
            "transfer_to_billing",
            {"Kind": "handoff", "ToolName": "transfer_to_billing", "AgentName": "triage"},
            id="OpenInference, LangGraph: a transfer tool is a handoff",
        ),
        pytest.param(
            "langgraph-langsmith-otel-supervisor",
            "ChatOpenAI",
            {"Kind": "llm", "AgentName": "researcher", "Provider": "openai", "InputTokens": 211},
            id="LangSmith: agent by checkpoint namespace, framework no provider",
        ),
        pytest.param(
            "langgraph-traceloop-custom_graph",
            "goto billing_node",
            {"Kind": "handoff", "TransferSource": "triage", "TransferTarget": "billing"},
            id="Traceloop, LangGraph: Command is an explicit edge",
        ),
        pytest.param(
            "langgraph-mlflow-genai-swarm",
            "chat gpt-4.1-mini",
            {"Kind": "llm", "AgentName": "triage", "InputTokens": 101, "SessionId": "conv-52"},
            id="MLflow in GenAI mode: the metadata is all that is left",
        ),
        pytest.param(
            "langgraph-mlflow-error",
            "ChatOpenAI",
            {
                "Dialect": "mlflow",
                "Kind": "llm",
                "AgentName": "triage",
                "InputTokens": 101,
                "RequestModel": "gpt-4.1-mini",
            },
            id="MLflow: values are JSON",
        ),
        pytest.param(
            "crewai-openinference-hierarchical",
            "Crew Manager._execute_core",
            {"Kind": "agent", "AgentName": "manager", "AgentRole": "Crew Manager", "Framework": "crewai"},
            id="OpenInference, CrewAI: the role is the name",
        ),
        pytest.param(
            "crewai-traceloop-sequential",
            "research cats.task",
            {"Kind": "task", "AgentName": "", "Framework": "crewai"},
            id="Traceloop, CrewAI: a task poses as an agent",
        ),
        pytest.param(
            "autogen-native-swarm",
            "invoke_agent triage",
            {"Dialect": "autogen", "Kind": "agent", "AgentName": "triage", "Provider": "", "Framework": "autogen"},
            id="AutoGen: a framework poses as a provider",
        ),
        pytest.param(
            "agent-framework-native-handoff",
            "invoke_agent triage",
            {
                "Dialect": "ms_agent_framework",
                "Kind": "agent",
                "AgentName": "triage",
                "AgentId": "",
                "InputTokens": 101,
            },
            id="Agent Framework: an object's id is no agent id",
        ),
        pytest.param(
            "google-adk-native-content-transfer",
            "execute_tool transfer_to_agent",
            {"Dialect": "google_adk", "Kind": "handoff", "AgentName": "triage", "TransferTarget": "billing"},
            id="ADK: the target is in the arguments",
        ),
        pytest.param(
            "strands-native-swarm",
            "execute_tool handoff_to_agent",
            {"Dialect": "strands", "Kind": "handoff", "Provider": "", "Framework": "strands"},
            id="Strands: a handoff tool",
        ),
        pytest.param(
            "pydantic-ai-native-parallel",
            "execute_tool ask_flights",
            {"Dialect": "pydantic_ai", "Kind": "tool", "ToolName": "ask_flights", "AgentName": "planner"},
            id="Pydantic AI: the agent is stamped on its tools",
        ),
        pytest.param(
            "smolagents-openinference-code",
            "manager.run",
            {"Kind": "agent", "AgentName": "manager", "Framework": "smolagents"},
            id="smolagents: the name is in the span's name",
        ),
        pytest.param(
            "agno-openinference-team",
            "delegate_task_to_member",
            {"Kind": "handoff", "ToolName": "delegate_task_to_member", "Framework": "agno"},
            id="Agno: delegation by tool",
        ),
        pytest.param(
            "llamaindex-openinference-error",
            "OpenAI._prepare_chat_with_tools",
            {"Kind": "chain", "Framework": "llama_index"},
            id="LlamaIndex: a model call that calls nothing",
        ),
        pytest.param(
            "dspy-openinference-pipeline",
            "web_search.__call__",
            {"Kind": "tool", "ToolName": "web_search", "Framework": "dspy"},
            id="DSPy: a tool by its name",
        ),
        pytest.param(
            "mcp-openinference+mcp-stdio",
            "tools/call mcp_lookup",
            {"Kind": "tool", "ToolName": "mcp_lookup"},
            id="MCP: the server's side of a tool call",
        ),
        pytest.param(
            "sdk-contrib-openai-v2+traceloop-anthropic-pipeline",
            "anthropic.messages.create",
            {"Kind": "llm", "Provider": "anthropic"},
            id="Anthropic's own SDK spans",
        ),
        pytest.param(
            "distributed-openinference+http-propagated",
            "POST",
            {"Dialect": "", "Kind": "other"},
            id="HTTP is of no dialect",
        ),
    ],
)
def test_span(read: Read, capture: str, span: str, expected: Mapping[str, Any]) -> None:
    found = next(row for row in read(capture) if row["SpanName"] == span)
    assert {column: found[column] for column in expected} == expected


def test_control_flow_is_recorded_as_an_error_by_its_exception_type(read: Read) -> None:
    """Whoever counts errors can leave these out: status says Error, the type says that nothing went wrong."""
    errors = [row for row in read("langgraph-traceloop-swarm") if row["StatusCode"] == "Error"]
    assert errors
    assert {kind for row in errors for kind in row["ExceptionTypes"]} == {"langgraph.errors.ParentCommand"}


def test_dropped_attributes_are_told(read: Read) -> None:
    """128 attributes a span: the tokens of long conversations are gone, and the span says so."""
    rows = [row for row in read("openai-agents-big-openinference-big") if row["Kind"] == "llm"]
    unknown = [row for row in rows if row["InputTokens"] is None]
    assert unknown
    assert all(row["DroppedAttributes"] > 0 for row in unknown)
    whole = [row for row in read("openai-agents-big-openinference-limit10k-big") if row["Kind"] == "llm"]
    assert sum(row["InputTokens"] for row in whole) == 88_892


def test_one_call_recorded_twice_has_one_response_id(read: Read) -> None:
    rows = read("langgraph-openinference-langchain+openinference-openai-swarm")
    calls = [row["ResponseId"] for row in rows if row["Kind"] == "llm"]
    assert len(calls) == 2 * len(set(calls))
    assert "" not in calls


def test_agents_found_are_agents_that_exist(read: Read, shared: Path) -> None:
    """Every name on a span of kind `agent` is in the truth, except graphs that contain the agents."""
    graphs = {"langgraph-langsmith-otel-nested": {"research_team"}}
    for capture in captures(shared / "captures"):
        name = capture.name.removesuffix(".otlp.pb")
        truth = set(yaml.safe_load((shared / "captures" / f"{name}.truth.yaml").read_text(encoding="utf-8"))["agents"])
        found = {row["AgentName"] for row in read(name) if row["Kind"] == "agent"} - {""}
        assert found <= truth | graphs.get(name, set()), name


def test_no_tool_is_missing_where_tool_spans_exist(read: Read, shared: Path) -> None:
    unseen = {
        "crewai-traceloop",  # no tool spans
        "sdk-",  # tools are run by the program
        "smolagents-openinference",  # managed agents are called from generated code
        "llamaindex-traceloop",
    }
    for capture in captures(shared / "captures"):
        name = capture.name.removesuffix(".otlp.pb")
        if any(name.startswith(start) for start in unseen):
            continue
        truth = yaml.safe_load((shared / "captures" / f"{name}.truth.yaml").read_text(encoding="utf-8"))
        called = {tool for _, tool in truth.get("tool_calls") or []}
        found = {row["ToolName"].lower().replace(" ", "_") for row in read(name) if row["Kind"] in ("tool", "handoff")}
        assert called <= found, name
