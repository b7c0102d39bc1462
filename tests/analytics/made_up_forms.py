"""More emitters that programs can be told by, each in its documented form (`sources` in `semconv/dialects/*.yaml`)."""

from __future__ import annotations

import json
from typing import ClassVar

from maslens.semconv.dialects.python import RawSpan

from tests.analytics.made_up import AGENT, CALLED, OP, TOOL, GenAI, LangGraph, Teller, Work, slug


class ContribV2(GenAI):
    """OpenTelemetry contrib's openai-agents-v2: a root of kind SERVER, everything but an agent is `OpenAI Agent`."""

    scope = "opentelemetry.instrumentation.openai_agents"
    COMMON: ClassVar = {"gen_ai.system": "openai", "gen_ai.provider.name": "openai", "gen_ai.agent.id": "agent"}
    CONSTANT: ClassVar = {**COMMON, AGENT: "OpenAI Agent"}

    def root(self) -> str:
        given = {OP: "invoke_agent", "gen_ai.system": "openai", "gen_ai.provider.name": "openai"}
        top = self.sent.span("desk", self.at, self.at + 100_000, "", given, kind="Server")
        return self.sent.span("unknown", self.at, self.at + 100_000, top, {**self.CONSTANT, OP: "unknown"})

    def agent(self, name: str, begin: float, end: float, under: str, stage: int, before: list[str]) -> str:
        given = {**self.COMMON, OP: "invoke_agent", AGENT: name}
        return self.sent.span(f"invoke_agent {name}", begin, end, under, given, kind="Client")

    def model(self, agent: str, under: str, stage: int, *, hands_to: str = "", failed: bool = False) -> None:
        begin, end = self.tick(), self.tick()
        given = {**self.CONSTANT, OP: "chat", "gen_ai.request.model": "m"}
        if failed:
            self.sent.span("chat m", begin, end, under, given, status="Error", message="Error getting response")
            return
        used, made = self.spend(agent)
        given |= {"gen_ai.usage.input_tokens": str(used), "gen_ai.usage.output_tokens": str(made)}
        self.sent.span("chat m", begin, end, under, given, kind="Client")

    def tool(self, agent: str, name: str, begin: float, end: float, under: str, stage: int) -> str:
        return self.sent.span(
            f"execute_tool {name}", begin, end, under, {**self.CONSTANT, OP: "execute_tool", TOOL: name}
        )

    def hand(self, agent: str, target: str, under: str, stage: int) -> None:
        given = {**self.CONSTANT, OP: "agent_handoff"}
        given |= {"gen_ai.handoff.from_agent": agent, "gen_ai.handoff.to_agent": target}
        self.sent.span("agent_handoff OpenAI Agent", self.tick(), self.tick(), under, given)


class UtilGenAI(GenAI):
    """opentelemetry-instrumentation-genai-openai-agents: handoffs are dropped, only the answer asks for them."""

    scope = "opentelemetry.util.genai.handler"

    def answer(self, hands_to: str) -> dict[str, object]:
        if not hands_to:
            return {}
        call = {"type": "tool_call", "id": "c", "name": f"transfer_to_{slug(hands_to)}", "arguments": {}}
        return {"gen_ai.output.messages": [{"role": "assistant", "parts": [call], "finish_reason": "tool_call"}]}

    def hand(self, agent: str, target: str, under: str, stage: int) -> None:
        pass


class OpenLIT(GenAI):
    """OpenAI Agents by OpenLIT: turns are agents without a name; a handoff is one more span of the receiving agent,
    without length, inside the turn that handed over."""

    scope = "openlit.instrumentation.openai_agents"

    def root(self) -> str:
        top = self.sent.span("invoke_workflow w", self.at, self.at + 100_000, "", {OP: "invoke_workflow"})
        return self.sent.span("invoke_agent", self.at, self.at + 100_000, top, {OP: "invoke_agent"})

    def inside(self, run: str, name: str, stage: int) -> str:
        self.turn = len(self.sent.spans)
        return self.sent.span("invoke_agent", self.tick(1.5), self.at, run, {OP: "invoke_agent"})

    def hand(self, agent: str, target: str, under: str, stage: int) -> None:
        given = {OP: "invoke_agent", AGENT: target, "gen_ai.agent.source": agent}
        begin = self.tick()
        self.sent.span(f"invoke_agent {target}", begin, begin + 0.4, under, given)


class Logfire(Teller):
    """OpenAI Agents by Logfire: the kind is told by the template of the message."""

    scope = "logfire.openai_agents"

    def root(self) -> str:
        given = {"logfire.msg_template": "OpenAI Agents trace: {name}", "name": "Agent workflow", "agent_trace_id": "x"}
        return self.sent.span("OpenAI Agents trace: Agent workflow", self.at, self.at + 100_000, "", given)

    def agent(self, name: str, begin: float, end: float, under: str, stage: int, before: list[str]) -> str:
        given = {"logfire.msg_template": "Agent run: {name!r}", "name": name}
        return self.sent.span("Agent run: {name!r}", begin, end, under, given)

    def is_run(self, span: RawSpan, names: set[str]) -> bool:
        return span.attributes.get("logfire.msg_template") == "Agent run: {name!r}" and span.attributes["name"] in names

    def model(self, agent: str, under: str, stage: int, *, hands_to: str = "", failed: bool = False) -> None:
        given = {"logfire.msg_template": "Responses API with {gen_ai.request.model!r}", "gen_ai.request.model": "m"}
        begin, end = self.tick(), self.tick()
        if not failed:
            used, made = self.spend(agent)
            given |= {"gen_ai.usage.input_tokens": str(used), "gen_ai.usage.output_tokens": str(made)}
        name = "Responses API with {gen_ai.request.model!r}"
        self.sent.span(name, begin, end, under, given, status="Error" if failed else "Unset")

    def tool(self, agent: str, name: str, begin: float, end: float, under: str, stage: int) -> str:
        given = {"logfire.msg_template": "Function: {name}", "name": name, "input": "{}"}
        return self.sent.span("Function: {name}", begin, end, under, given)

    def hand(self, agent: str, target: str, under: str, stage: int) -> None:
        given = {"logfire.msg_template": "Handoff: {from_agent} → {to_agent}", "from_agent": agent, "to_agent": target}
        self.sent.span("Handoff: {from_agent} → {to_agent}", self.tick(), self.tick(), under, given)


class MLflow(Teller):
    """OpenAI Agents by MLflow: every value is JSON, a call has two spans of which the inner one knows its usage."""

    scope = "mlflow.tracing.provider"
    TYPE = "mlflow.spanType"

    def root(self) -> str:
        return self.sent.span("AgentRunner.run", self.at, self.at + 100_000, "", {self.TYPE: '"AGENT"'})

    def agent(self, name: str, begin: float, end: float, under: str, stage: int, before: list[str]) -> str:
        return self.sent.span(name, begin, end, under, {self.TYPE: '"AGENT"'})

    def is_run(self, span: RawSpan, names: set[str]) -> bool:
        return span.span_name in names

    def model(self, agent: str, under: str, stage: int, *, hands_to: str = "", failed: bool = False) -> None:
        begin = self.tick()
        inner, end = (self.tick(), self.tick()), self.tick()
        given = {self.TYPE: '"CHAT_MODEL"', "model": '"m"'}
        outer = self.sent.span("Response", begin, end, under, given, status="Error" if failed else "Ok")
        if not failed:
            used, made = self.spend(agent)
            given["mlflow.chat.tokenUsage"] = json.dumps({"input_tokens": used, "output_tokens": made})
        self.sent.span("AsyncResponses", *inner, outer, given, status="Error" if failed else "Ok")

    def tool(self, agent: str, name: str, begin: float, end: float, under: str, stage: int) -> str:
        return self.sent.span(name, begin, end, under, {self.TYPE: '"TOOL"', "mlflow.spanInputs": "{}"})

    def hand(self, agent: str, target: str, under: str, stage: int) -> None:
        given = {self.TYPE: '"CHAIN"', "mlflow.spanInputs": json.dumps({"from_agent": agent})}
        given["mlflow.spanOutputs"] = json.dumps({"to_agent": target})
        self.sent.span("Handoff", self.tick(), self.tick(), under, given)


class ADK(GenAI):
    """Google ADK 2: agents after a transfer are siblings; the arguments say whom it is to, if contents are captured."""

    scope = "gcp.vertex.agent"
    contents = True

    def root(self) -> str:
        given = {
            OP: "invoke_workflow",
            "gen_ai.workflow.name": "app",
            "gen_ai.conversation.id": f"conv-{self.sent.trace}",
        }
        return self.sent.span("invoke_workflow app", self.at, self.at + 100_000, "", given)

    def hand(self, agent: str, target: str, under: str, stage: int) -> None:
        given = {OP: "execute_tool", TOOL: "transfer_to_agent", AGENT: agent}
        given |= {"gen_ai.tool.call.arguments": json.dumps({"agent_name": target})} if self.contents else {}
        self.sent.span("execute_tool transfer_to_agent", self.tick(), self.tick(), under, given)
        self.truth.tools[agent, "transfer_to_agent"] += 1


class ADKWithoutContents(ADK):
    contents = False


class ADK1(Teller):
    """Google ADK 1: whoever control passes to runs inside the model call that asked for it, and so on."""

    scope = "gcp.vertex.agent"

    def root(self) -> str:
        self.deep = ""
        return self.sent.span("invocation", self.at, self.at + 100_000, "", {})

    def agent(self, name: str, begin: float, end: float, under: str, stage: int, before: list[str]) -> str:
        self.now = name
        return self.sent.span(f"agent_run [{name}]", begin, end, self.deep if before else under, {})

    def model(self, agent: str, under: str, stage: int, *, hands_to: str = "", failed: bool = False) -> None:
        begin, end = self.tick(), self.tick()
        given = {"gen_ai.system": "gcp.vertex.agent", "gen_ai.request.model": "m"}
        given |= {"gcp.vertex.agent.session_id": f"conv-{self.sent.trace}", "gcp.vertex.agent.llm_request": "{}"}
        if failed:
            self.sent.span("call_llm", begin, end, under, given, status="Error")
            return
        used, made = self.spend(agent)
        given |= {"gen_ai.usage.input_tokens": str(used), "gen_ai.usage.output_tokens": str(made)}
        end = end + 90_000 if hands_to else end
        call = self.sent.span("call_llm", begin, end, under, given)
        if hands_to:
            self.deep = call

    def tool(self, agent: str, name: str, begin: float, end: float, under: str, stage: int) -> str:
        given = {"gen_ai.system": "gcp.vertex.agent", OP: "execute_tool", TOOL: name}
        given |= {"gcp.vertex.agent.tool_call_args": "{}", "gcp.vertex.agent.event_id": "e"}
        return self.sent.span(f"execute_tool {name}", begin, end, under, given)

    def hand(self, agent: str, target: str, under: str, stage: int) -> None:
        given = {"gen_ai.system": "gcp.vertex.agent", OP: "execute_tool", TOOL: "transfer_to_agent"}
        given["gcp.vertex.agent.tool_call_args"] = json.dumps({"agent_name": target})
        self.sent.span("execute_tool transfer_to_agent", self.tick(), self.tick(), self.deep, given)
        self.truth.tools[agent, "transfer_to_agent"] += 1

    def close(self, place: int, end: float) -> None:
        span = self.sent.spans[place]  # all that control has passed through lasts to the end
        super().close(place, 120_000 if span.span_name.startswith("agent_run") and not self._asked(span) else end)

    def _asked(self, span: RawSpan) -> bool:
        above = {other.span_id: other for other in self.sent.spans}.get(span.parent_span_id)
        return above is not None and above.attributes.get(OP) == "execute_tool"


class VercelAI(GenAI):
    """Vercel AI SDK 7: steps repeat their calls' usage and agents that of all steps; agents call agents as tools."""

    scope, repeats = "gen_ai", "gen_ai.usage"

    def root(self) -> str:
        return ""

    def agent(self, name: str, begin: float, end: float, under: str, stage: int, before: list[str]) -> str:
        return self.sent.span("invoke_agent m", begin, end, under, {OP: "invoke_agent", AGENT: name})

    def inside(self, run: str, name: str, stage: int) -> str:
        return self.sent.span("step 1", self.tick(1.5), self.at, run, {OP: "agent_step"})


class Langfuse(Teller):
    """Langfuse's SDK: observations with a type, called by their span's name."""

    scope = "langfuse-sdk"
    TYPE = "langfuse.observation.type"

    def root(self) -> str:
        return self.sent.span(
            "desk", self.at, self.at + 100_000, "", {self.TYPE: "span", "session.id": f"s-{self.sent.trace}"}
        )

    def agent(self, name: str, begin: float, end: float, under: str, stage: int, before: list[str]) -> str:
        return self.sent.span(name, begin, end, under, {self.TYPE: "agent"})

    def is_run(self, span: RawSpan, names: set[str]) -> bool:
        return span.span_name in names

    def model(self, agent: str, under: str, stage: int, *, hands_to: str = "", failed: bool = False) -> None:
        begin, end = self.tick(), self.tick()
        given = {self.TYPE: "generation", "langfuse.observation.model.name": "m"}
        if not failed:
            used, made = self.spend(agent)
            given["langfuse.observation.usage_details"] = json.dumps(
                {"input": used, "output": made, "total": used + made}
            )
        self.sent.span("OpenAI-generation", begin, end, under, given, status="Error" if failed else "Unset")

    def tool(self, agent: str, name: str, begin: float, end: float, under: str, stage: int) -> str:
        return self.sent.span(name, begin, end, under, {self.TYPE: "tool"})


class SmolAgents(Teller):
    """smolagents by OpenInference: `X.run` names the agent and sums up its calls; steps hold calls, tools, agents."""

    scope = "openinference.instrumentation.smolagents"
    KIND = "openinference.span.kind"

    def root(self) -> str:
        return ""

    def agent(self, name: str, begin: float, end: float, under: str, stage: int, before: list[str]) -> str:
        return self.sent.span(f"{name}.run", begin, end, under, {self.KIND: "AGENT", "smolagents.max_steps": "20"})

    def inside(self, run: str, name: str, stage: int) -> str:
        return self.sent.span("Step 1", self.tick(1.5), self.at, run, {self.KIND: "CHAIN"})

    def model(self, agent: str, under: str, stage: int, *, hands_to: str = "", failed: bool = False) -> None:
        begin, end = self.tick(), self.tick()
        given = {self.KIND: "LLM", "llm.model_name": "m"}
        if not failed:
            used, made = self.spend(agent)
            given |= {"llm.token_count.prompt": str(used), "llm.token_count.completion": str(made)}
        self.sent.span("OpenAIModel.generate", begin, end, under, given, status="Error" if failed else "Ok")

    def tool(self, agent: str, name: str, begin: float, end: float, under: str, stage: int) -> str:
        return self.sent.span("SimpleTool", begin, end, under, {self.KIND: "TOOL", "tool.name": name})

    def ask(self, work: Work, asked: Work, inside: str, stage: int) -> None:
        """A code agent calls the other in its code: no tool around it."""
        self.work(asked, inside, stage, [], [])
        self.truth.edges[work.agent, asked.agent, CALLED] += 1


class Agno(Teller):
    """A team by Agno: the member is beside the tool that delegates to it, not inside."""

    scope = "openinference.instrumentation.agno"
    KIND = "openinference.span.kind"

    def root(self) -> str:
        return ""

    def agent(self, name: str, begin: float, end: float, under: str, stage: int, before: list[str]) -> str:
        node = f"{len(self.sent.spans):016x}"
        given = {self.KIND: "AGENT", "agent.name": name, "graph.node.id": node, "graph.node.name": name}
        return self.sent.span(f"{name}.arun", begin, end, under, given)

    def model(self, agent: str, under: str, stage: int, *, hands_to: str = "", failed: bool = False) -> None:
        begin, end = self.tick(), self.tick()
        given = {self.KIND: "LLM", "llm.model_name": "m"}
        if not failed:
            used, made = self.spend(agent)
            given |= {"llm.token_count.prompt": str(used), "llm.token_count.completion": str(made)}
        self.sent.span("OpenAIChat.ainvoke", begin, end, under, given, status="Error" if failed else "Ok")

    def tool(self, agent: str, name: str, begin: float, end: float, under: str, stage: int) -> str:
        return self.sent.span(name, begin, end, under, {self.KIND: "TOOL", "tool.name": name, "tool.parameters": "{}"})

    def ask(self, work: Work, asked: Work, inside: str, stage: int) -> None:
        name = "delegate_task_to_member"
        start, place = self.tick(), len(self.sent.spans)
        told = json.dumps({"member_id": slug(asked.agent).replace("_", "-"), "task": "t"})
        self.sent.span(name, start, start, inside, {self.KIND: "TOOL", "tool.name": name, "input.value": told})
        self.truth.tools[work.agent, name] += 1
        self.work(asked, inside, stage, [], [])
        self.truth.edges[work.agent, asked.agent, CALLED] += 1
        self.close(place, self.tick())


class CrewAI(Teller):
    """CrewAI by OpenInference: delegates have no span of their own, their calls hang under the delegation tool."""

    scope = "openinference.instrumentation.crewai"
    KIND = "openinference.span.kind"

    def root(self) -> str:
        return self.sent.span("crew.kickoff", self.at, self.at + 100_000, "", {self.KIND: "CHAIN"})

    def agent(self, name: str, begin: float, end: float, under: str, stage: int, before: list[str]) -> str:
        given = {self.KIND: "AGENT", "graph.node.id": name, "agent.name": name}
        return self.sent.span(f"{name}._execute_core", begin, end, under, given)

    def is_run(self, span: RawSpan, names: set[str]) -> bool:
        return span.span_name.removesuffix("._execute_core") in names

    def model(self, agent: str, under: str, stage: int, *, hands_to: str = "", failed: bool = False) -> None:
        begin, end = self.tick(), self.tick()
        given = {self.KIND: "LLM", "llm.model_name": "m"}
        if not failed:
            used, made = self.spend(agent)
            given |= {"llm.token_count.prompt": str(used), "llm.token_count.completion": str(made)}
        self.sent.span("ChatCompletion", begin, end, under, given, status="Error" if failed else "Ok",
                       scope="openinference.instrumentation.openai")  # fmt: skip

    def tool(self, agent: str, name: str, begin: float, end: float, under: str, stage: int) -> str:
        given = {self.KIND: "TOOL", "tool.name": name, "input.value": "{}"}
        return self.sent.span(f"{name}.run", begin, end, under, given)

    def ask(self, work: Work, asked: Work, inside: str, stage: int) -> None:
        told = json.dumps({"task": "t", "context": "c", "coworker": asked.agent}, ensure_ascii=False)
        given = {self.KIND: "TOOL", "tool.name": "Delegate work to coworker", "input.value": told}
        place, start = len(self.sent.spans), self.tick()
        tool = self.sent.span("Delegate work to coworker.run", start, start, inside, given)
        self.truth.tools[work.agent, "delegate_work_to_coworker"] += 1
        self.truth.edges[work.agent, asked.agent, CALLED] += 1
        self.truth.agents.add(asked.agent)
        for _ in range(asked.calls):
            self.model(asked.agent, tool, stage)
        for name in asked.tools:
            begin = self.tick()
            self.tool(asked.agent, name, begin, self.tick(), tool, stage)
            self.truth.tools[asked.agent, name] += 1
        self.close(place, self.tick())


class LangSmith(LangGraph):
    """LangGraph by LangSmith's OpenTelemetry export: the same metadata, flat; chains repeat their call's usage."""

    scope = "langsmith"
    KIND = "langsmith.span.kind"

    def _flat(self) -> dict[str, object]:
        return {f"langsmith.metadata.{key}": value for key, value in json.loads(self.metadata).items()}

    def agent(self, name: str, begin: float, end: float, under: str, stage: int, before: list[str]) -> str:
        self.metadata = self._told(name, stage, before)
        given = {self.KIND: "chain", OP: "chain", "gen_ai.system": "langchain", **self._flat()}
        return self.sent.span(name, begin, end, under, given)

    def model(self, agent: str, under: str, stage: int, *, hands_to: str = "", failed: bool = False) -> None:
        outer, begin, end, after = self.tick(), self.tick(), self.tick(), self.tick()
        used = {}
        if not failed:
            sums = self.spend(agent)
            used = dict(zip(("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"), map(str, sums), strict=True))
        events = [("exception", {"exception.type": "RateLimitError"})] if failed else []
        chain = {self.KIND: "chain", OP: "chain", "gen_ai.system": "langchain", **self._flat(), **used}
        top = self.sent.span("RunnableSequence", outer, after, under, chain, status="Ok", events=events)
        given = {self.KIND: "llm", OP: "chat", "gen_ai.system": "openai", "gen_ai.request.model": "m", **self._flat()}
        self.sent.span("ChatOpenAI", begin, end, top, {**given, **used}, status="Ok", events=events)

    def tool(self, agent: str, name: str, begin: float, end: float, under: str, stage: int) -> str:
        given = {self.KIND: "tool", OP: "execute_tool", TOOL: name, "gen_ai.system": "langchain", **self._flat()}
        return self.sent.span(name, begin, end, under, given)


class LangfuseGraph(LangGraph):
    """LangGraph by Langfuse's callback: flat metadata, each value JSON; what is cached or reasoned is told apart."""

    scope = "langfuse-sdk"
    TYPE = "langfuse.observation.type"

    def _flat(self) -> dict[str, object]:
        told = json.loads(self.metadata).items()
        return {f"langfuse.observation.metadata.{key}": json.dumps(value) for key, value in told}

    def root(self) -> str:
        return self.sent.span("LangGraph", self.at, self.at + 100_000, "", {self.TYPE: "chain"})

    def agent(self, name: str, begin: float, end: float, under: str, stage: int, before: list[str]) -> str:
        self.metadata = self._told(name, stage, before)
        return self.sent.span(name, begin, end, under, {self.TYPE: "chain", **self._flat()})

    def model(self, agent: str, under: str, stage: int, *, hands_to: str = "", failed: bool = False) -> None:
        begin, end = self.tick(), self.tick()
        given = {self.TYPE: "generation", "langfuse.observation.model.name": "m", **self._flat()}
        if not failed:
            used, made = self.spend(agent)
            cached, thought = used // 3, made // 2
            buckets = {"input": used - cached, "input_cache_read": cached}
            buckets |= {"output": made - thought, "output_reasoning": thought}
            given["langfuse.observation.usage_details"] = json.dumps(buckets)
        self.sent.span("ChatOpenAI", begin, end, under, given, status="Error" if failed else "Unset")

    def tool(self, agent: str, name: str, begin: float, end: float, under: str, stage: int) -> str:
        return self.sent.span(name, begin, end, under, {self.TYPE: "tool", **self._flat()})


class TraceloopGraph(LangGraph):
    """LangGraph by Traceloop: every runnable is a task; the agent's own span is beside the work, without children."""

    scope = "opentelemetry.instrumentation.langchain"

    def _flat(self) -> dict[str, object]:
        return {f"traceloop.association.properties.{key}": value for key, value in json.loads(self.metadata).items()}

    def root(self) -> str:
        return self.sent.span("LangGraph.workflow", self.at, self.at + 100_000, "", {"traceloop.span.kind": "workflow"})

    def agent(self, name: str, begin: float, end: float, under: str, stage: int, before: list[str]) -> str:
        self.metadata = self._told(name, stage, before)
        given = {OP: "execute_task", "gen_ai.task.name": name, "gen_ai.provider.name": "langgraph", **self._flat()}
        return self.sent.span(f"execute_task {name}", begin, end, under, given)

    def inside(self, run: str, name: str, stage: int) -> str:
        given = {OP: "invoke_agent", AGENT: name, "gen_ai.workflow.nodes": '["model","tools"]'}
        begin = self.tick(1.5)
        self.sent.span(f"invoke_agent {name}", begin, begin, run, given)
        return run

    def is_run(self, span: RawSpan, names: set[str]) -> bool:
        return span.span_name.removeprefix("execute_task ") in names

    def model(self, agent: str, under: str, stage: int, *, hands_to: str = "", failed: bool = False) -> None:
        begin, end = self.tick(), self.tick()
        given = {OP: "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "m", **self._flat()}
        if not failed:
            used, made = self.spend(agent)
            given |= {"gen_ai.usage.input_tokens": str(used), "gen_ai.usage.output_tokens": str(made)}
        self.sent.span(
            "ChatOpenAI.chat", begin, end, under, given, kind="Client", status="Error" if failed else "Unset"
        )

    def tool(self, agent: str, name: str, begin: float, end: float, under: str, stage: int) -> str:
        given = {OP: "execute_tool", TOOL: name, **self._flat()}
        return self.sent.span(f"execute_tool {name}", begin, end, under, given)


class AgentFramework(GenAI):
    """Microsoft Agent Framework: executors process messages; a handoff is a message to one, the others get it too."""

    scope, repeats = "agent_framework", "gen_ai.usage"

    def root(self) -> str:
        self.known: list[str] = []
        return self.sent.span("workflow.run", self.at, self.at + 100_000, "", {"workflow.name": "support"})

    def agent(self, name: str, begin: float, end: float, under: str, stage: int, before: list[str]) -> str:
        self.top = under
        given = {OP: "invoke_agent", AGENT: name, "gen_ai.provider.name": "microsoft.agent_framework"}
        if under.endswith("-0"):  # an executor of the workflow; who is called as a tool is none
            self.known.append(name)
            self.box = len(self.sent.spans) - 1
        return self.sent.span(f"invoke_agent {name}", begin, end, under, given)

    def work(self, work: Work, under: str, stage: int, before: list[str], after: list[str]) -> str:
        if not under.endswith("-0"):
            return super().work(work, under, stage, before, after)
        begun, place = self.tick(), len(self.sent.spans)
        self.executor = self.sent.span(
            f"executor.process {work.agent}", begun, begun, under, {"executor.id": work.agent}
        )
        run = super().work(work, self.executor, stage, before, after)
        self.close(place, self.tick())
        for name in {*self.known, *after} - {work.agent}:
            start = self.tick(2)
            self.sent.span(f"executor.process {name}", start, start + 0.2, under, {"executor.id": name})
        self.known.append(work.agent)
        return run

    def hand(self, agent: str, target: str, under: str, stage: int) -> None:
        given = {"message.type": "AgentExecutorRequest", "message.destination_executor_id": target}
        start = self.tick()
        self.sent.span("message.send", start, start, self.executor, given, kind="Producer")


class Agntcy(Teller):
    """AGNTCY Observe: an agent names the one before it."""

    scope = "ioa_observe.tracer"
    KIND, NAME = "ioa_observe.span.kind", "ioa_observe.entity.name"

    def root(self) -> str:
        return self.sent.span(
            "desk.workflow", self.at, self.at + 100_000, "", {self.KIND: "workflow", self.NAME: "desk"}
        )

    def agent(self, name: str, begin: float, end: float, under: str, stage: int, before: list[str]) -> str:
        given = {self.KIND: "agent", self.NAME: name, "session.id": f"s-{self.sent.trace}"}
        given |= {"ioa_observe.agent.previous": before[0]} if before else {}
        return self.sent.span(f"{name}.agent", begin, end, under, given)

    def is_run(self, span: RawSpan, names: set[str]) -> bool:
        return span.span_name.removesuffix(".agent") in names

    def model(self, agent: str, under: str, stage: int, *, hands_to: str = "", failed: bool = False) -> None:
        begin, end = self.tick(), self.tick()
        given = {"gen_ai.request.model": "m", "llm.request.type": "chat", "gen_ai.system": "OpenAI"}
        if not failed:
            used, made = self.spend(agent)
            given |= {"gen_ai.usage.prompt_tokens": str(used), "gen_ai.usage.completion_tokens": str(made)}
        self.sent.span("openai.chat", begin, end, under, given, kind="Client", status="Error" if failed else "Unset",
                       scope="opentelemetry.instrumentation.openai.v1")  # fmt: skip

    def tool(self, agent: str, name: str, begin: float, end: float, under: str, stage: int) -> str:
        return self.sent.span(f"{name}.tool", begin, end, under, {self.KIND: "tool", self.NAME: name})
