"""Every dialect in the form its emitter documents, and what must come of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from maslens.semconv.dialects.dialect_table import TABLE
from maslens.semconv.dialects.python import RawSpan, resolve

from tests.semconv.engine import Engine

Case = tuple[RawSpan, Mapping[str, Any]]
ROLE = "llm.input_messages.0.message.role"
CONTENT = "llm.input_messages.0.message.content"

CASES: dict[str, Case] = {
    "mas: a transfer is one execute_tool span": (
        RawSpan(
            span_name="execute_tool transfer_to_billing billing",
            attributes={
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": "transfer_to_billing",
                "gen_ai.agent.name": "triage",
                "gen_ai.transfer.mode": "pass_control",
                "gen_ai.transfer.target.name": "billing",
                "mas.handoff.id": "h1",
                "mas.handoff.trigger": "llm_decision",
                "mas.handoff.outcome": "accepted",
                "mas.handoff.target.type": "agent",
                "mas.context.strategy": "summary",
                "mas.context.hash": "sha256:9f86d081884c7d65",
                "mas.context.size": "2048",
                "mas.context.tokens": "512",
                "mas.iteration.index": "2",
                "mas.task.id": "t1",
            },
            resource={"mas.experiment.variant": "control", "mas.experiment.id": "e1"},
        ),
        {
            "Dialect": "mas",
            "Kind": "handoff",
            "AgentName": "triage",
            "TransferSource": "triage",
            "TransferTarget": "billing",
            "TransferMode": "pass_control",
            "HandoffId": "h1",
            "HandoffTrigger": "llm_decision",
            "HandoffOutcome": "accepted",
            "ContextStrategy": "summary",
            "ContextHash": "sha256:9f86d081884c7d65",
            "ContextSize": 2048,
            "ContextTokens": 512,
            "IterationIndex": 2,
            "TaskId": "t1",
            "Variant": "control",
            "ExperimentId": "e1",
            "Hints": {"mas.handoff.target.type": "agent"},
        },
    ),
    "mas: the receiving agent is an agent and no handoff": (
        RawSpan(
            span_name="invoke_agent billing",
            attributes={
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.agent.name": "billing",
                "mas.handoff.id": "h1",
                "mas.agent.role": "worker",
                "mas.agent.instance.id": "billing-7f3a",
                "gen_ai.agent.version": "3",
                "gen_ai.conversation.id": "conv-1",
                "mas.task.outcome": "success",
            },
            links=[("aa", "bb", {"mas.link.type": "handoff"}), ("aa", "cc", {})],
        ),
        {
            "Kind": "agent",
            "AgentName": "billing",
            "HandoffId": "h1",
            "AgentRole": "worker",
            "AgentVersion": "3",
            "AgentInstanceId": "billing-7f3a",
            "SessionId": "conv-1",
            "TaskOutcome": "success",
            "LinkTypes": ["handoff", ""],
            "LinkSpanIds": ["bb", "cc"],
            "TransferTarget": "",
        },
    ),
    "otel_genai: model call, current names": (
        RawSpan(
            span_name="chat gpt-4o",
            span_kind="Client",
            scope_name="opentelemetry.util.genai.handler",
            attributes={
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4o",
                "gen_ai.response.model": "gpt-4o-2024-08-06",
                "gen_ai.response.id": "chatcmpl-1",
                "gen_ai.response.finish_reasons": '["stop"]',
                "gen_ai.usage.input_tokens": "100",
                "gen_ai.usage.output_tokens": "12.0",
                "gen_ai.usage.cache_read.input_tokens": "40",
                "gen_ai.usage.cache_write.input_tokens": "5",
                "gen_ai.usage.reasoning.output_tokens": "3",
                "gen_ai.input.messages": '[{"role":"system","parts":[{"type":"text","content":"be kind"}]}]',
                "gen_ai.output.messages": '[{"role":"assistant","parts":[]}]',
                "gen_ai.conversation.id": "c1",
            },
        ),
        {
            "Dialect": "otel_genai",
            "Kind": "llm",
            "Provider": "openai",
            "RequestModel": "gpt-4o",
            "ResponseModel": "gpt-4o-2024-08-06",
            "ResponseId": "chatcmpl-1",
            "FinishReasons": ["stop"],
            "InputTokens": 100,
            "OutputTokens": 12,
            "CacheReadTokens": 40,
            "CacheWriteTokens": 5,
            "ReasoningTokens": 3,
            "TotalTokens": None,
            "SystemContent": "be kind",
            "SessionId": "c1",
            "InputContent": '[{"role":"system","parts":[{"type":"text","content":"be kind"}]}]',
        },
    ),
    "otel_genai: names from before the renames": (
        RawSpan(
            attributes={
                "gen_ai.operation.name": "chat",
                "gen_ai.system": "az.ai.openai",
                "gen_ai.usage.prompt_tokens": "10",
                "gen_ai.usage.completion_tokens": "4",
                "gen_ai.usage.cache_creation.input_tokens": "2",
                "gen_ai.response.finish_reason": "length",
            }
        ),
        {
            "Provider": "azure.ai.openai",
            "InputTokens": 10,
            "OutputTokens": 4,
            "CacheWriteTokens": 2,
            "FinishReasons": ["length"],
        },
    ),
    "otel_genai: contents in the details event": (
        RawSpan(
            attributes={"gen_ai.operation.name": "chat"},
            events=[
                (
                    "gen_ai.client.inference.operation.details",
                    {"gen_ai.input.messages": "[1]", "gen_ai.output.messages": "[2]"},
                )
            ],
        ),
        {"InputContent": "[1]", "OutputContent": "[2]"},
    ),
    "otel_genai: a remote agent names its caller": (
        RawSpan(
            span_kind="Client",
            attributes={
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.agent.name": "billing",
                "gen_ai.caller.name": "triage",
            },
        ),
        {"Kind": "agent", "TransferSource": "triage", "TransferTarget": "billing"},
    ),
    "otel_genai: the earlier proposal for handoffs": (
        RawSpan(
            attributes={
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.agent.handoff.source.name": "triage",
                "gen_ai.agent.handoff.target.name": "billing",
            }
        ),
        {"Kind": "handoff", "TransferSource": "triage", "TransferTarget": "billing"},
    ),
    "otel_genai_legacy: prompts as numbered attributes": (
        RawSpan(
            span_name="openai.chat",
            attributes={
                "llm.request.type": "chat",
                "gen_ai.prompt.0.role": "system",
                "gen_ai.prompt.0.content": "be kind",
                "gen_ai.completion.0.content": "hello",
                "gen_ai.completion.0.finish_reason": "stop",
                "llm.usage.total_tokens": "9",
            },
        ),
        {
            "Dialect": "otel_genai_legacy",
            "Kind": "llm",
            "SystemContent": "be kind",
            "TotalTokens": 9,
            "FinishReasons": ["stop"],
            "InputContent": '{"0.content":"be kind","0.role":"system"}',
            "OutputContent": '{"0.content":"hello","0.finish_reason":"stop"}',
        },
    ),
    "otel_genai_legacy: one event a message": (
        RawSpan(
            attributes={"gen_ai.operation.name": "chat", "gen_ai.system": "openai"},
            events=[
                ("gen_ai.system.message", {"content": "be kind"}),
                ("gen_ai.user.message", {"content": "hi"}),
                ("gen_ai.choice", {"message": "hello", "finish_reason": "stop"}),
            ],
        ),
        {
            "SystemContent": "be kind",
            "FinishReasons": ["stop"],
            "InputContent": json.dumps(
                [
                    {"name": "gen_ai.system.message", "attributes": {"content": "be kind"}},
                    {"name": "gen_ai.user.message", "attributes": {"content": "hi"}},
                ],
                separators=(",", ":"),
            ),
        },
    ),
    "openinference: a handoff of OpenAI Agents poses as a tool": (
        RawSpan(
            span_name="handoff to billing",
            scope_name="openinference.instrumentation.openai_agents",
            attributes={"openinference.span.kind": "TOOL", "input.value": "triage", "output.value": "billing"},
        ),
        {
            "Dialect": "openinference",
            "Framework": "openai_agents",
            "Kind": "handoff",
            "TransferSource": "triage",
            "TransferTarget": "billing",
            "ToolName": "",
            "InputContent": "",
        },
    ),
    "openinference: a root AGENT without a name is the workflow": (
        RawSpan(
            span_name="support",
            scope_name="openinference.instrumentation.openai_agents",
            attributes={"openinference.span.kind": "AGENT"},
        ),
        {"Kind": "workflow", "AgentName": "", "WorkflowName": "support"},
    ),
    "openinference: flattened messages, cost and cached tokens": (
        RawSpan(
            span_name="ChatCompletion",
            scope_name="openinference.instrumentation.openai",
            attributes={
                "openinference.span.kind": "LLM",
                "llm.model_name": "gpt-4o-2024-08-06",
                "llm.provider": "openai",
                "llm.token_count.prompt": "10",
                "llm.token_count.completion": "2",
                "llm.token_count.prompt_details.cache_read": "4",
                "llm.token_count.completion_details.reasoning": "1",
                "llm.cost.total": "0.25",
                ROLE: "system",
                CONTENT: "be kind",
                "llm.output_messages.0.message.tool_calls.0.tool_call.function.name": "transfer_to_billing",
                "input.value": "{}",
                "output.value": '{"id": "chatcmpl-7", "choices": []}',
            },
        ),
        {
            "Kind": "llm",
            "InputTokens": 10,
            "OutputTokens": 2,
            "CacheReadTokens": 4,
            "ReasoningTokens": 1,
            "CostUsd": 0.25,
            "SystemContent": "be kind",
            "ResponseId": "chatcmpl-7",
            "ResponseModel": "gpt-4o-2024-08-06",
            "ToolName": "",
            "InputContent": '{"0.message.content":"be kind","0.message.role":"system"}',
            "OutputContent": '{"0.message.tool_calls.0.tool_call.function.name":"transfer_to_billing"}',
        },
    ),
    "openinference: AG2 names both sides": (
        RawSpan(
            scope_name="openinference.instrumentation.ag2",
            attributes={"openinference.span.kind": "AGENT", "agent.name": "triage", "ag2.recipient.name": "billing"},
        ),
        {"Framework": "ag2", "AgentName": "triage", "Hints": {"ag2.recipient.name": "billing"}},
    ),
    "agno: the node id is no name": (
        RawSpan(
            span_name="researcher.arun",
            scope_name="openinference.instrumentation.agno",
            attributes={
                "openinference.span.kind": "AGENT",
                "agent.name": "researcher",
                "graph.node.id": "1b575a06622876f1",
                "graph.node.parent_id": "3c8595b4fdbce858",
                "agno.agent.id": "researcher",
                "agno.run.id": "r1",
                "session.id": "s",
            },
        ),
        {
            "Framework": "agno",
            "Kind": "agent",
            "AgentName": "researcher",
            "AgentId": "researcher",
            "RunId": "r1",
            "NodeParentId": "3c8595b4fdbce858",
            "SessionId": "s",
        },
    ),
    "smolagents: the name is in the span's name": (
        RawSpan(
            span_name="manager.run",
            scope_name="openinference.instrumentation.smolagents",
            attributes={
                "openinference.span.kind": "AGENT",
                "smolagents.task": "find",
                "smolagents.max_steps": "5",
                "smolagents.managed_agents.0.name": "researcher",
            },
        ),
        {
            "Framework": "smolagents",
            "Kind": "agent",
            "AgentName": "manager",
            "TaskName": "find",
            "Hints": {"smolagents.managed_agents": '{"0.name":"researcher"}'},
        },
    ),
    "dspy: a tool is called by its name": (
        RawSpan(
            span_name="web_search.__call__",
            scope_name="openinference.instrumentation.dspy",
            attributes={"openinference.span.kind": "TOOL"},
        ),
        {"Framework": "dspy", "Kind": "tool", "ToolName": "web_search"},
    ),
    "crewai: the role is the name": (
        RawSpan(
            span_name="Crew Manager._execute_core",
            scope_name="openinference.instrumentation.crewai",
            attributes={
                "openinference.span.kind": "AGENT",
                "graph.node.id": "Crew Manager",
                "crew_key": "k",
                "task_id": "t",
            },
        ),
        {
            "Framework": "crewai",
            "AgentName": "manager",
            "AgentRole": "Crew Manager",
            "TaskId": "t",
            "Hints": {"crew_key": "k"},
        },
    ),
    "crewai: delegation is a handoff that comes back": (
        RawSpan(
            span_name="Delegate work to coworker.run",
            scope_name="openinference.instrumentation.crewai",
            attributes={
                "openinference.span.kind": "TOOL",
                "tool.name": "Delegate work to coworker",
                "input.value": '{"coworker": "researcher"}',
            },
        ),
        {"Kind": "handoff", "ToolName": "Delegate work to coworker", "ToolArguments": '{"coworker": "researcher"}'},
    ),
    "crewai: product telemetry is nobody's run": (
        RawSpan(span_name="Task Execution", scope_name="crewai.telemetry", attributes={"crew_id": "1"}),
        {"Dialect": "crewai", "Kind": "lifecycle"},
    ),
    "traceloop: a CrewAI task poses as an agent": (
        RawSpan(
            span_name="research cats.task",
            scope_name="opentelemetry.instrumentation.crewai.instrumentation",
            attributes={
                "traceloop.span.kind": "task",
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.provider.name": "crewai",
                "crewai.task.description": "research cats",
            },
        ),
        {"Dialect": "traceloop", "Framework": "crewai", "Kind": "task", "TaskName": "research cats", "Provider": ""},
    ),
    "traceloop: a handoff of OpenAI Agents knows its source alone": (
        RawSpan(
            span_name="triage → unknown.handoff",
            scope_name="opentelemetry.instrumentation.openai_agents",
            attributes={
                "traceloop.span.kind": "handoff",
                "gen_ai.operation.name": "handoff",
                "gen_ai.agent.name": "triage",
                "gen_ai.handoff.from_agent": "triage",
                "gen_ai.handoff.to_agent": "unknown",
            },
        ),
        {"Kind": "handoff", "TransferSource": "triage", "TransferTarget": ""},
    ),
    "traceloop: LangGraph's Command": (
        RawSpan(
            span_name="goto billing_node",
            attributes={
                "gen_ai.operation.name": "goto",
                "langgraph.command.source_node": "triage_node",
                "langgraph.command.goto_node": "billing_node",
            },
        ),
        {"Dialect": "traceloop", "Kind": "handoff", "TransferSource": "triage", "TransferTarget": "billing"},
    ),
    "traceloop: a run id poses as an agent id": (
        RawSpan(
            span_name="invoke_agent triage",
            scope_name="opentelemetry.instrumentation.langchain",
            attributes={
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.agent.name": "triage",
                "gen_ai.agent.id": "01a1fa32-67ff-732d-a548-aacb9654cbe7",
                "gen_ai.workflow.nodes": '["model","tools"]',
            },
        ),
        {"Kind": "agent", "AgentId": "", "RunId": "01a1fa32-67ff-732d-a548-aacb9654cbe7"},
    ),
    "openlit: a handoff poses as an agent": (
        RawSpan(
            span_name="invoke_agent billing",
            scope_name="openlit.instrumentation.openai_agents",
            attributes={
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.agent.name": "billing",
                "gen_ai.agent.source": "triage",
                "gen_ai.conversation.id": "conv-44",
            },
        ),
        {
            "Dialect": "openlit",
            "Framework": "openai_agents",
            "Kind": "handoff",
            "TransferSource": "triage",
            "TransferTarget": "billing",
            "AgentName": "triage",
            "SessionId": "conv-44",
        },
    ),
    "openlit: a model call lists the tools it asks for": (
        RawSpan(
            scope_name="openlit.instrumentation.openai",
            attributes={
                "gen_ai.operation.name": "chat",
                "gen_ai.tool.name": "transfer_to_billing",
                "gen_ai.usage.cost": "0.001",
            },
        ),
        {"Kind": "llm", "ToolName": "", "CostUsd": 0.001, "Hints": {"called_tool": "transfer_to_billing"}},
    ),
    "openai_agents_v2: explicit handoff, constant agent name": (
        RawSpan(
            span_name="agent_handoff OpenAI Agent",
            scope_name="opentelemetry.instrumentation.openai_agents",
            attributes={
                "gen_ai.operation.name": "agent_handoff",
                "gen_ai.provider.name": "openai",
                "gen_ai.system": "openai",
                "gen_ai.agent.name": "OpenAI Agent",
                "gen_ai.agent.id": "agent",
                "gen_ai.handoff.from_agent": "triage",
                "gen_ai.handoff.to_agent": "billing",
            },
        ),
        {
            "Dialect": "openai_agents_v2",
            "Framework": "openai_agents",
            "Kind": "handoff",
            "AgentName": "",
            "AgentId": "",
            "TransferSource": "triage",
            "TransferTarget": "billing",
        },
    ),
    "openai_agents_v2: the root is the workflow": (
        RawSpan(
            span_name="support-session",
            span_kind="Server",
            scope_name="opentelemetry.instrumentation.openai_agents",
            attributes={"gen_ai.operation.name": "invoke_agent", "gen_ai.provider.name": "openai"},
        ),
        {"Kind": "workflow", "AgentName": "", "WorkflowName": "support-session"},
    ),
    "langfuse: usage in disjoint buckets": (
        RawSpan(
            span_name="answer",
            scope_name="langfuse-sdk",
            attributes={
                "langfuse.observation.type": "generation",
                "langfuse.observation.model.name": "gpt-4o",
                "langfuse.observation.usage_details": '{"input":60,"output":12,"total":112,"input_cached_tokens":40}',
                "langfuse.observation.cost_details": '{"total": 0.5}',
                "langfuse.observation.input": "hi",
                "langfuse.observation.output": "hello",
                "langfuse.session.id": "s1",
                "langfuse.user.id": "u1",
            },
        ),
        {
            "Dialect": "langfuse",
            "Kind": "llm",
            "RequestModel": "gpt-4o",
            "InputTokens": 100,
            "OutputTokens": 12,
            "CacheReadTokens": 40,
            "TotalTokens": 112,
            "CostUsd": 0.5,
            "InputContent": "hi",
            "OutputContent": "hello",
            "SessionId": "s1",
            "UserId": "u1",
        },
    ),
    "langfuse: its LangChain callback, metadata as JSON": (
        RawSpan(
            span_name="ChatOpenAI",
            scope_name="langfuse-sdk",
            attributes={
                "langfuse.observation.type": "generation",
                "langfuse.observation.model.name": "gpt-4.1-mini-2025-04-14",
                "langfuse.observation.usage_details": '{"input": 481, "output": 44, "total": 552,'
                ' "input_cache_read": 20, "output_reasoning": 7}',
                "langfuse.observation.metadata.thread_id": '"conv-2"',
                "langfuse.observation.metadata.langgraph_checkpoint_ns": '"researcher:1fc2|model:9a0d"',
                "langfuse.observation.metadata.langgraph_node": '"model"',
                "langfuse.observation.metadata.lc_agent_name": '"researcher"',
            },
        ),
        {
            "Dialect": "langfuse",
            "Framework": "langgraph",
            "Kind": "llm",
            "AgentName": "researcher",
            "SessionId": "conv-2",
            "InputTokens": 501,
            "OutputTokens": 51,
            "CacheReadTokens": 20,
            "ReasoningTokens": 7,
        },
    ),
    "langfuse: its LangChain callback calls every node a chain": (
        RawSpan(
            span_name="triage",
            scope_name="langfuse-sdk",
            attributes={
                "langfuse.observation.type": "chain",
                "langfuse.observation.metadata.lc_agent_name": '"triage"',
                "langfuse.observation.metadata.langgraph_checkpoint_ns": '"triage:ab8d"',
                "langfuse.observation.metadata.langgraph_node": '"triage"',
                "langfuse.observation.metadata.langgraph_step": "1",
            },
        ),
        {"Kind": "agent", "AgentName": "triage"},
    ),
    "langfuse: the span's name is the agent's": (
        RawSpan(span_name="billing", scope_name="langfuse-sdk", attributes={"langfuse.observation.type": "agent"}),
        {"Kind": "agent", "AgentName": "billing"},
    ),
    "langsmith: a graph node and its agent": (
        RawSpan(
            span_name="triage",
            scope_name="langsmith",
            attributes={
                "langsmith.span.kind": "chain",
                "gen_ai.operation.name": "chain",
                "gen_ai.system": "langchain",
                "langsmith.metadata.lc_agent_name": "triage",
                "langsmith.metadata.langgraph_node": "triage",
                "langsmith.metadata.thread_id": "conv-1",
                "langsmith.metadata.ls_provider": "openai",
            },
        ),
        {
            "Dialect": "langsmith",
            "Framework": "langgraph",
            "Kind": "agent",
            "AgentName": "triage",
            "SessionId": "conv-1",
            "Provider": "openai",
        },
    ),
    "langsmith: a retriever poses as embeddings": (
        RawSpan(
            scope_name="langsmith",
            attributes={"langsmith.span.kind": "retriever", "gen_ai.operation.name": "embeddings"},
        ),
        {"Kind": "retriever"},
    ),
    "mlflow: every value is JSON": (
        RawSpan(
            span_name="AsyncResponses",
            scope_name="mlflow.tracing.provider",
            attributes={
                "mlflow.spanType": '"CHAT_MODEL"',
                "mlflow.llm.model": '"gpt-4o"',
                "mlflow.llm.provider": '"openai"',
                "mlflow.chat.tokenUsage": '{"input_tokens": 101, "output_tokens": 11, "total_tokens": 112}',
                "mlflow.llm.cost": '{"total_cost": 0.5}',
                "mlflow.trace.session": '"s1"',
                "mlflow.spanOutputs": '{"id": "resp_1"}',
            },
        ),
        {
            "Dialect": "mlflow",
            "Kind": "llm",
            "RequestModel": "gpt-4o",
            "Provider": "openai",
            "InputTokens": 101,
            "OutputTokens": 11,
            "TotalTokens": 112,
            "CostUsd": 0.5,
            "SessionId": "s1",
            "ResponseId": "resp_1",
        },
    ),
    "google_adk: the target is in the arguments, when they are captured": (
        RawSpan(
            span_name="execute_tool transfer_to_agent",
            scope_name="gcp.vertex.agent",
            attributes={
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.agent.name": "triage",
                "gen_ai.tool.name": "transfer_to_agent",
                "gen_ai.tool.call.id": "<not specified>",
                "gcp.vertex.agent.tool_call_args": '{"agent_name": "billing"}',
                "gcp.vertex.agent.llm_request": "{}",
                "gen_ai.system": "gcp.vertex.agent",
                "gen_ai.conversation.id": "c1",
            },
        ),
        {
            "Dialect": "google_adk",
            "Framework": "google_adk",
            "Kind": "handoff",
            "AgentName": "triage",
            "TransferTarget": "billing",
            "ToolCallId": "",
            "InputContent": "",
            "SessionId": "c1",
            "ToolArguments": '{"agent_name": "billing"}',
        },
    ),
    "strands: contents in events, the swarm is the workflow": (
        RawSpan(
            span_name="execute_tool handoff_to_agent",
            scope_name="strands.telemetry.tracer",
            attributes={
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.system": "strands-agents",
                "gen_ai.tool.name": "handoff_to_agent",
            },
            events=[
                ("gen_ai.tool.message", {"content": '{"agent_name": "billing"}'}),
                ("gen_ai.choice", {"message": "done"}),
            ],
        ),
        {
            "Dialect": "strands",
            "Framework": "strands",
            "Kind": "handoff",
            "ToolArguments": '{"agent_name": "billing"}',
            "ToolResult": "done",
            "Provider": "",
        },
    ),
    "strands: `swarm` is no agent": (
        RawSpan(
            span_name="invoke_swarm",
            scope_name="strands.telemetry.tracer",
            attributes={"gen_ai.operation.name": "invoke_swarm", "gen_ai.agent.name": "swarm"},
        ),
        {"Kind": "workflow", "AgentName": "", "WorkflowName": "swarm"},
    ),
    "ms_agent_framework: a message with a destination is a handoff's": (
        RawSpan(
            span_name="message.send",
            span_kind="Producer",
            scope_name="agent_framework",
            attributes={"message.type": "AgentExecutorRequest", "message.destination_executor_id": "billing"},
        ),
        {
            "Dialect": "ms_agent_framework",
            "Framework": "ms_agent_framework",
            "Kind": "message",
            "TransferTarget": "billing",
            "Hints": {"message.type": "AgentExecutorRequest", "message.destination_executor_id": "billing"},
        },
    ),
    "autogen: a message between agents": (
        RawSpan(
            span_name="autogen process triage_4f2c0a1b-9d3e-4c5f-8a7b-001122334455.(x)-A",
            span_kind="Consumer",
            scope_name="autogen SingleThreadedAgentRuntime",
            attributes={
                "messaging.operation": "process",
                "messaging.destination": "triage.(x)-A",
                "recipient_agent_class": "ChatAgentContainer",
                "message": '{"message": {"type": "HandoffMessage", "target": "billing"}}',
            },
        ),
        {
            "Dialect": "autogen",
            "Framework": "autogen",
            "Kind": "message",
            "NodeId": "triage.(x)-A",
            "Hints": {
                "messaging.operation": "process",
                "messaging.destination": "triage.(x)-A",
                "recipient_agent_class": "ChatAgentContainer",
                "message": '{"message": {"type": "HandoffMessage", "target": "billing"}}',
            },
        },
    ),
    "autogen: a name with the team's uuid": (
        RawSpan(
            scope_name="autogen-core",
            attributes={
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.system": "autogen",
                "gen_ai.agent.name": "triage_4f2c0a1b-9d3e-4c5f-8a7b-001122334455/4f2c0a1b-9d3e-4c5f-8a7b-001122334455",
            },
        ),
        {"Kind": "agent", "AgentName": "triage", "Framework": "autogen", "Provider": ""},
    ),
    "semantic_kernel: singular finish reason, operation in the plural": (
        RawSpan(
            span_name="text_completions gpt-4o",
            scope_name="semantic_kernel.utils.telemetry.model_diagnostics",
            attributes={
                "gen_ai.operation.name": "text_completions",
                "gen_ai.system": "openai",
                "gen_ai.response.finish_reason": "stop",
                "gen_ai.usage.input_tokens": "3",
            },
        ),
        {
            "Dialect": "semantic_kernel",
            "Framework": "semantic_kernel",
            "Kind": "llm",
            "FinishReasons": ["stop"],
            "InputTokens": 3,
        },
    ),
    "pydantic_ai: sums under their own name, cost, instance": (
        RawSpan(
            span_name="invoke_agent triage",
            scope_name="pydantic-ai",
            attributes={
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.agent.name": "triage",
                "gen_ai.agent.call.id": "run-1",
                "gen_ai.aggregated_usage.input_tokens": "222",
                "gen_ai.aggregated_usage.output_tokens": "23",
                "operation.cost": "5.8e-05",
                "final_result": "done",
                "pydantic_ai.all_messages": '[{"role":"user"}]',
            },
        ),
        {
            "Dialect": "pydantic_ai",
            "Framework": "pydantic_ai",
            "Kind": "agent",
            "AgentName": "triage",
            "AgentInstanceId": "run-1",
            "InputTokens": 222,
            "OutputTokens": 23,
            "CostUsd": 5.8e-05,
            "OutputContent": "done",
        },
    ),
    "pydantic_ai: the older format": (
        RawSpan(
            span_name="running tool",
            scope_name="pydantic-ai",
            attributes={"gen_ai.tool.name": "ask_billing", "tool_arguments": '{"q": 1}', "tool_response": "42"},
        ),
        {"Kind": "tool", "ToolName": "ask_billing", "ToolArguments": '{"q": 1}', "ToolResult": "42"},
    ),
    "logfire_openai_agents: the message template tells the kind": (
        RawSpan(
            span_name="Handoff: triage → billing",
            scope_name="logfire.openai_agents",
            attributes={
                "logfire.msg_template": "Handoff: {from_agent} → {to_agent}",
                "from_agent": "triage",
                "to_agent": "billing",
                "agent_trace_id": "t1",
                "group_id": "conv-1",
            },
        ),
        {
            "Dialect": "logfire_openai_agents",
            "Framework": "openai_agents",
            "Kind": "handoff",
            "TransferSource": "triage",
            "TransferTarget": "billing",
            "SessionId": "conv-1",
            "RunId": "t1",
        },
    ),
    "vercel_ai: steps repeat their children": (
        RawSpan(
            span_name="step 1",
            scope_name="gen_ai",
            attributes={"gen_ai.operation.name": "agent_step", "gen_ai.usage.input_tokens": "10"},
        ),
        {"Dialect": "vercel_ai", "Framework": "vercel_ai", "Kind": "step", "InputTokens": 10},
    ),
    "vercel_ai_legacy: its own names": (
        RawSpan(
            span_name="ai.generateText.doGenerate",
            scope_name="ai",
            attributes={
                "ai.operationId": "ai.generateText.doGenerate",
                "ai.model.id": "gpt-4o",
                "ai.model.provider": "openai.chat",
                "ai.usage.promptTokens": "7",
                "ai.usage.completionTokens": "3",
                "ai.usage.cachedInputTokens": "2",
                "ai.telemetry.metadata.sessionId": "s1",
                "ai.telemetry.metadata.userId": "u1",
                "ai.telemetry.functionId": "triage",
                "ai.response.text": "hello",
                "ai.response.finishReason": "stop",
                "ai.prompt.messages": "[1]",
            },
        ),
        {
            "Dialect": "vercel_ai_legacy",
            "Framework": "vercel_ai",
            "Kind": "llm",
            "RequestModel": "gpt-4o",
            "Provider": "openai",
            "InputTokens": 7,
            "OutputTokens": 3,
            "CacheReadTokens": 2,
            "SessionId": "s1",
            "UserId": "u1",
            "AgentName": "triage",
            "OutputContent": "hello",
            "InputContent": "[1]",
            "FinishReasons": ["stop"],
        },
    ),
    "agntcy: previous agent, fork and join": (
        RawSpan(
            span_name="billing.agent",
            scope_name="ioa.observe.tracer",
            attributes={
                "ioa_observe.span.kind": "agent",
                "ioa_observe.entity.name": "billing",
                "ioa_observe.agent.previous": "triage",
                "ioa_observe.fork.id": "f1",
                "ioa_observe.workflow.name": "support",
                "session.id": "app_1",
                "ioa_observe.entity.version": "2",
                "ioa_observe.entity.input": "in",
            },
            links=[("aa", "bb", {"link.type": "agent_handoff"})],
        ),
        {
            "Dialect": "agntcy",
            "Kind": "agent",
            "AgentName": "billing",
            "WorkflowName": "support",
            "SessionId": "app_1",
            "AgentVersion": "2",
            "InputContent": "in",
            "LinkTypes": ["agent_handoff"],
            "Hints": {"ioa_observe.agent.previous": "triage", "ioa_observe.fork.id": "f1"},
        },
    ),
    "agntcy: an agent of a LangGraph node is called as the node is": (
        RawSpan(
            span_name="research.agent",
            scope_name="ioa.observe.tracer",
            attributes={
                "ioa_observe.span.kind": "agent",
                "agent_id": "research",
                "ioa_observe.association.properties.langgraph_checkpoint_ns": "researcher:1f2e",
                "ioa_observe.association.properties.langgraph_step": "2",
            },
        ),
        {
            "Dialect": "agntcy",
            "Framework": "langgraph",
            "Kind": "agent",
            "AgentName": "researcher",
            "Hints": {"langgraph_checkpoint_ns": "researcher:1f2e", "langgraph_step": "2"},
        },
    ),
    "handwritten: a model call is one whatever its operation is called, and an event delegates": (
        RawSpan(
            span_name="agent.coordinator",
            attributes={
                "gen_ai.operation.name": "task_decomposition",
                "gen_ai.agent.name": "Coordinator",
                "gen_ai.request.model": "gemma",
                "gen_ai.usage.input_tokens": "80",
            },
            events=[("task_delegated", {"target_agent": "Researcher"})],
        ),
        {
            "Dialect": "otel_genai",
            "Kind": "llm",
            "AgentName": "Coordinator",
            "InputTokens": 80,
            "Hints": {"delegated_to": "Researcher"},
        },
    ),
    "handwritten: a tool may stand where the agent belongs": (
        RawSpan(
            span_name="tool.catalog_search",
            attributes={
                "gen_ai.operation.name": "catalog.search",
                "gen_ai.agent.name": "Catalog",
                "tool.name": "Catalog",
            },
        ),
        {"Kind": "tool", "ToolName": "Catalog"},
    ),
    "handwritten: an operation of one's own by a named agent": (
        RawSpan(attributes={"gen_ai.operation.name": "handle_ticket", "gen_ai.agent.name": "desk"}),
        {"Kind": "agent", "AgentName": "desk"},
    ),
    "handwritten: a name stamped by baggage makes no agent": (
        RawSpan(span_name="GET", attributes={"gen_ai.agent.name": "desk", "http.request.method": "GET"}),
        {"Dialect": "handwritten", "Kind": "other", "AgentName": "desk"},
    ),
    "llamaindex: the event's class tells the kind": (
        RawSpan(
            span_name="OpenAI.chat", scope_name="llamaindex.opentelemetry.tracer", events=[("LLMChatStartEvent", {})]
        ),
        {"Dialect": "llamaindex", "Framework": "llama_index", "Kind": "llm"},
    ),
    "loongsuite: rounds of ReAct": (
        RawSpan(
            attributes={
                "gen_ai.span.kind": "STEP",
                "gen_ai.react.round": "3",
                "gen_ai.session.id": "s1",
                "gen_ai.agent.peer.name": "billing",
            }
        ),
        {"Dialect": "loongsuite", "Kind": "step", "IterationIndex": 3, "SessionId": "s1", "TransferTarget": "billing"},
    ),
    "mcp: a tool call on its way": (
        RawSpan(
            span_name="tools/call lookup",
            span_kind="Server",
            scope_name="mcp-python-sdk",
            attributes={"mcp.method.name": "tools/call", "gen_ai.tool.name": "lookup"},
        ),
        {"Dialect": "mcp", "Kind": "tool", "ToolName": "lookup"},
    ),
    "a2a: a task of another agent": (
        RawSpan(
            attributes={"a2a.method.name": "SendMessage", "a2a.task.id": "t1", "a2a.task.state": "TASK_STATE_COMPLETED"}
        ),
        {"Dialect": "a2a", "Kind": "message", "TaskId": "t1", "TaskOutcome": "TASK_STATE_COMPLETED"},
    ),
    "none: nothing is known and nothing is lost": (
        RawSpan(
            trace_id="aa",
            span_id="bb",
            parent_span_id="cc",
            span_name="GET /",
            span_kind="Client",
            scope_name="http",
            status_code="Error",
            status_message="boom",
            attributes={"http.method": "GET", "otel.dropped_attributes_count": "3"},
            events=[("exception", {"exception.type": "ValueError", "exception.message": "bad"})],
            links=[("dd", "ee", {})],
        ),
        {
            "Dialect": "",
            "Framework": "",
            "Kind": "other",
            "TraceId": "aa",
            "SpanId": "bb",
            "ParentSpanId": "cc",
            "StatusMessage": "boom",
            "ErrorType": "ValueError",
            "ErrorMessage": "bad",
            "ExceptionTypes": ["ValueError"],
            "EventNames": ["exception"],
            "LinkTraceIds": ["dd"],
            "DroppedAttributes": 3,
            "InputTokens": None,
            "Hints": {},
        },
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_documented_form(name: str) -> None:
    span, expected = CASES[name]
    found = resolve(span)
    assert {column: found[column] for column in expected} == expected


def test_the_select_says_the_same(engine: Engine) -> None:
    found = engine.resolve([span for span, _ in CASES.values()])
    for (name, (_, expected)), one in zip(CASES.items(), found, strict=True):
        assert {column: one[column] for column in expected} == expected, name


def test_every_dialect_has_a_documented_form() -> None:
    assert {name.partition(":")[0] for name in CASES} >= {dialect.id for dialect in TABLE.dialects}


@pytest.mark.parametrize(
    ("given", "read", "written", "expected"),
    [
        pytest.param("100", "40", "5", 100, id="cached tokens are a part of the input"),
        pytest.param("10", "40", "5", 55, id="they cannot be: they are counted apart"),
        pytest.param(None, "40", None, None, id="nobody said how many"),
        pytest.param("0", None, None, 0, id="none is not unknown"),
    ],
)
def test_cached_tokens(given: str | None, read: str | None, written: str | None, expected: int | None) -> None:
    told = {
        "gen_ai.usage.input_tokens": given,
        "gen_ai.usage.cache_read.input_tokens": read,
        "gen_ai.usage.cache_write.input_tokens": written,
    }
    span = RawSpan(attributes={key: value for key, value in told.items() if value is not None})
    assert resolve(span)["InputTokens"] == expected


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("billing", "billing"),
        ("billing.agent", "billing"),
        ("invoke_agent billing", "billing"),
        ("billing_4f2c0a1b-9d3e-4c5f-8a7b-001122334455", "billing"),
        ("billing_4f2c0a1b9d3e4c5f8a7b001122334455", "billing"),
        ("triage_4f2c0a1b-9d3e-4c5f-8a7b-001122334455/4f2c0a1b-9d3e-4c5f-8a7b-001122334455", "triage"),
        ("billing_node", "billing"),
        ("Research Lead", "Research Lead"),
        ("OpenAI Agent", ""),
        ("unknown", ""),
        ("Crew Manager", "manager"),
    ],
)
def test_agent_names_are_those_a_person_would_write(written: str, name: str) -> None:
    span = RawSpan(attributes={"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": written})
    assert resolve(span)["AgentName"] == name
