"""The columns of `agent_spans`: what every dialect is translated into, in the order the SELECT yields them.

Generated from `semconv/dialects/_canonical.yaml` by `make generate`; do not edit.
"""
# ruff: noqa: E501
# fmt: off

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Reading: TypeAlias = Literal["raw", "derived", "text", "name", "id", "enum", "uint", "uint32", "float", "list"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of `agent_spans`."""

    name: str
    type: str  # ClickHouse type
    reading: Reading  # how a source becomes the value
    field: str  # canonical field that dialects name in their `fields`; empty when no dialect fills the column
    brief: str


AGENT_SPAN_COLUMNS: tuple[Column, ...] = (
    Column(name="Timestamp", type="DateTime64(9)", reading="raw", field="", brief="When the span started"),
    Column(name="Duration", type="UInt64", reading="raw", field="", brief="Nanoseconds from start to end"),
    Column(name="TraceId", type="String", reading="raw", field="", brief="Lower hex"),
    Column(name="SpanId", type="String", reading="raw", field="", brief="Lower hex"),
    Column(name="ParentSpanId", type="String", reading="raw", field="", brief="Lower hex, empty for a root"),
    Column(name="ServiceName", type="LowCardinality(String)", reading="raw", field="", brief="Resource `service.name`"),
    Column(name="SpanName", type="LowCardinality(String)", reading="raw", field="", brief="As emitted"),
    Column(name="SpanKind", type="LowCardinality(String)", reading="raw", field="", brief="Internal, Server, Client, Producer or Consumer"),
    Column(name="ScopeName", type="LowCardinality(String)", reading="raw", field="", brief="The instrumentation library"),
    Column(name="StatusCode", type="LowCardinality(String)", reading="raw", field="", brief="Unset, Ok or Error; Ok is often set eagerly"),
    Column(name="StatusMessage", type="String", reading="raw", field="", brief="As emitted"),
    Column(name="Dialect", type="LowCardinality(String)", reading="derived", field="", brief="The matching dialect of highest priority; empty when none matches"),
    Column(name="Framework", type="LowCardinality(String)", reading="derived", field="", brief="The agent framework that made the span; empty when unknown"),
    Column(name="Kind", type="LowCardinality(String)", reading="derived", field="", brief="Canonical kind; `other` when nothing says"),
    Column(name="AgentName", type="String", reading="name", field="agent.name", brief="The agent a person would name; cleaned, and empty for names on the deny-list"),
    Column(name="AgentId", type="String", reading="id", field="agent.id", brief="Stable id of the agent; empty for ids that look like those of a run or an object"),
    Column(name="AgentRole", type="String", reading="text", field="agent.role", brief="What the agent is for"),
    Column(name="AgentVersion", type="String", reading="text", field="agent.version", brief="Version of the agent"),
    Column(name="AgentInstanceId", type="String", reading="text", field="agent.instance_id", brief="One live object or one invocation of the agent"),
    Column(name="WorkflowName", type="String", reading="text", field="workflow.name", brief="The workflow, crew, graph or trace the span belongs to"),
    Column(name="TaskId", type="String", reading="text", field="task.id", brief="The unit of work"),
    Column(name="TaskName", type="String", reading="text", field="task.name", brief="What the work is called"),
    Column(name="TaskParentId", type="String", reading="text", field="task.parent_id", brief="The work this one is a part of"),
    Column(name="RunId", type="String", reading="text", field="run.id", brief="One run of the agent or the framework"),
    Column(name="SessionId", type="String", reading="text", field="session.id", brief="Session, thread or conversation, whatever the emitter calls it"),
    Column(name="UserId", type="String", reading="text", field="user.id", brief="The user served"),
    Column(name="RequestModel", type="String", reading="text", field="model.request", brief="The model asked for"),
    Column(name="ResponseModel", type="String", reading="text", field="model.response", brief="The model that answered"),
    Column(name="Provider", type="LowCardinality(String)", reading="enum", field="provider", brief="Canonical provider name; never a framework"),
    Column(name="ResponseId", type="String", reading="text", field="response.id", brief="The provider's id of the answer; equal on spans of one call"),
    Column(name="FinishReasons", type="Array(String)", reading="list", field="response.finish_reasons", brief="Why the model stopped"),
    Column(name="InputTokens", type="Nullable(UInt64)", reading="uint", field="tokens.input", brief="Total, cached ones included"),
    Column(name="OutputTokens", type="Nullable(UInt64)", reading="uint", field="tokens.output", brief="Total, reasoning included"),
    Column(name="TotalTokens", type="Nullable(UInt64)", reading="uint", field="tokens.total", brief="As emitted"),
    Column(name="CacheReadTokens", type="Nullable(UInt64)", reading="uint", field="tokens.cache_read", brief="Input tokens read from the provider's cache"),
    Column(name="CacheWriteTokens", type="Nullable(UInt64)", reading="uint", field="tokens.cache_write", brief="Input tokens written to the provider's cache"),
    Column(name="ReasoningTokens", type="Nullable(UInt64)", reading="uint", field="tokens.reasoning", brief="Output tokens spent on reasoning"),
    Column(name="CostUsd", type="Nullable(Float64)", reading="float", field="cost.total", brief="Cost the emitter claims"),
    Column(name="ToolName", type="String", reading="text", field="tool.name", brief="The tool executed"),
    Column(name="ToolCallId", type="String", reading="text", field="tool.call_id", brief="The model's id of the tool call"),
    Column(name="ToolArguments", type="String", reading="text", field="tool.arguments", brief="What the tool was given"),
    Column(name="ToolResult", type="String", reading="text", field="tool.result", brief="What the tool answered"),
    Column(name="TransferSource", type="String", reading="name", field="transfer.source", brief="Who hands over"),
    Column(name="TransferTarget", type="String", reading="name", field="transfer.target", brief="Who takes over"),
    Column(name="TransferMode", type="LowCardinality(String)", reading="enum", field="transfer.mode", brief="`pass_control` or `return_to_caller`"),
    Column(name="HandoffId", type="String", reading="text", field="handoff.id", brief="Equal on both sides of one handoff"),
    Column(name="HandoffTrigger", type="LowCardinality(String)", reading="enum", field="handoff.trigger", brief="Why control moved"),
    Column(name="HandoffOutcome", type="LowCardinality(String)", reading="enum", field="handoff.outcome", brief="What came of it"),
    Column(name="NodeId", type="String", reading="text", field="graph.node_id", brief="The span's node in the emitter's own graph"),
    Column(name="NodeParentId", type="String", reading="text", field="graph.node_parent_id", brief="The node before it"),
    Column(name="ContextStrategy", type="LowCardinality(String)", reading="enum", field="context.strategy", brief="What was passed on"),
    Column(name="ContextHash", type="String", reading="text", field="context.hash", brief="Equal on both sides when nothing was lost"),
    Column(name="ContextSize", type="Nullable(UInt64)", reading="uint", field="context.size", brief="Bytes passed on"),
    Column(name="ContextTokens", type="Nullable(UInt64)", reading="uint", field="context.tokens", brief="Tokens passed on"),
    Column(name="IterationIndex", type="Nullable(UInt32)", reading="uint32", field="iteration.index", brief="Which round of a loop"),
    Column(name="Variant", type="LowCardinality(String)", reading="enum", field="experiment.variant", brief="The arm of an experiment"),
    Column(name="ExperimentId", type="String", reading="text", field="experiment.id", brief="The experiment"),
    Column(name="TaskOutcome", type="LowCardinality(String)", reading="enum", field="task.outcome", brief="How the work ended"),
    Column(name="ErrorType", type="LowCardinality(String)", reading="enum", field="error.type", brief="`error.type`, else the type of the last exception event"),
    Column(name="ErrorMessage", type="String", reading="text", field="error.message", brief="Message of the last exception event, else the status message"),
    Column(name="ExceptionTypes", type="Array(String)", reading="derived", field="", brief="Types of all exception events in order"),
    Column(name="SystemContent", type="String", reading="text", field="content.system", brief="System instructions"),
    Column(name="InputContent", type="String", reading="text", field="content.input", brief="What went in, as JSON or text"),
    Column(name="OutputContent", type="String", reading="text", field="content.output", brief="What came out, as JSON or text"),
    Column(name="LinkTraceIds", type="Array(String)", reading="raw", field="", brief="Trace ids of the links"),
    Column(name="LinkSpanIds", type="Array(String)", reading="raw", field="", brief="Span ids of the links"),
    Column(name="LinkTypes", type="Array(String)", reading="derived", field="", brief="`mas.link.type` of each link (or what a dialect calls it), empty when untyped"),
    Column(name="EventNames", type="Array(String)", reading="raw", field="", brief="Names of the span events in order"),
    Column(name="DroppedAttributes", type="UInt32", reading="derived", field="", brief="Attributes the SDK threw away; more than 0 makes a missing value unknown, not absent"),
    Column(name="Hints", type="Map(LowCardinality(String), String)", reading="derived", field="", brief="What only inference rules read; the keys are listed in the dialects under `hints`"),
)
