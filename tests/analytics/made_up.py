"""Random programs of agents, written down as different emitters would. What happened is known: it was made up.

A program is a line of agents that hand over to each other, or a graph of stages; any agent may call models and tools
and have other agents answer it. A family is one emitter's documented form of that.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from maslens.semconv.dialects.python import RawSpan

from tests.analytics.emitted import START_NS, Emitted

Edge: TypeAlias = tuple[str, str, str]
PASSED, CALLED = "pass_control", "return_to_caller"
USED, MADE = "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"
PLAIN = ("triage", "billing", "refunds", "writer", "critic", "planner", "weather", "editor", "scout", "qa_2")
ODD = (
    "Billing Agent",
    "Überweisung",
    "研究者",
    "refund-bot",
    "Dr. No",
    "TRIAGE",
    "planner (v2)",
    "a",
    "Agent 47",
    "O'Neil",
)


@dataclass(slots=True)
class Work:
    """One run of one agent: how many calls it makes, which tools it uses, whom it asks, whether a call fails first."""

    agent: str
    calls: int
    tools: list[str]
    asks: list[Work]
    retries: bool = False


@dataclass(slots=True)
class Program:
    """Stages one after the other; the runs of a stage at the same time. A line has one run a stage."""

    stages: list[list[Work]]


@dataclass(slots=True)
class Truth:
    edges: Counter[Edge] = field(default_factory=Counter)
    agents: set[str] = field(default_factory=set)
    tokens: Counter[tuple[str, str]] = field(default_factory=Counter)  # by agent and side
    tools: Counter[tuple[str, str]] = field(default_factory=Counter)


def line(rng: random.Random, names: Sequence[str], depth: int = 2) -> Program:
    """Agents in turns, also in rounds, never one after itself."""
    stages, before = [], ""
    for _ in range(rng.randint(1, 5)):
        before = rng.choice([name for name in names if name != before])
        stages.append([_work(rng, before, names, depth)])
    return Program(stages)


def graph(rng: random.Random, names: Sequence[str]) -> Program:
    """Stages of different agents; several are never followed by several."""
    left, stages, wide = rng.sample(list(names), len(names)), [], True
    for _ in range(rng.randint(2, 4)):
        wide = not wide and rng.random() < 0.6
        count = rng.randint(2, 3) if wide else 1
        if len(left) < count:
            break
        stages.append([_work(rng, left.pop(), (), 0) for _ in range(count)])
    return Program(stages)


def _work(rng: random.Random, agent: str, names: Sequence[str], depth: int) -> Work:
    others = [name for name in names if name != agent]
    asked = rng.sample(others, min(rng.choice((0, 0, 1, 2)), len(others))) if depth else []
    return Work(
        agent, rng.randint(1, 3), rng.choices(("lookup", "search"), k=rng.randint(0, 2)),
        [_work(rng, name, names, depth - 1) for name in asked], rng.random() < 0.2,
    )  # fmt: skip


class Teller:
    """Tells a program in one form. Times only grow; what runs at the same time overlaps."""

    scope, repeats = "", ""

    def __init__(self, rng: random.Random, trace: str, at: float) -> None:
        self.rng, self.at, self.used = rng, at, 100
        self.sent = Emitted(trace, scope=self.scope)
        self.truth = Truth()

    def tick(self, most: float = 9) -> float:
        self.at += self.rng.uniform(1, most)
        return self.at

    def tell(self, program: Program) -> tuple[list[RawSpan], Truth]:
        root = self.root()
        before: list[Work] = []
        for number, stage in enumerate(program.stages):
            after = program.stages[number + 1] if number + 1 < len(program.stages) else []
            begun, ended = self.tick(), 0.0
            for work in stage:
                self.at = begun + self.rng.uniform(0, 0.5)
                self.work(work, root, number, [one.agent for one in before], [one.agent for one in after])
                ended = max(ended, self.at)
                for source in before:
                    self.truth.edges[source.agent, work.agent, PASSED] += 1
            if len(stage) > 1:  # they all last until the last has ended
                self.outlast(stage, ended)
            self.at, before = ended, stage
        return self.sent.spans, self.truth

    def work(self, work: Work, under: str, stage: int, before: list[str], after: list[str]) -> str:
        """One run with all that is inside; `after` is whom it hands over to at its end."""
        self.truth.agents.add(work.agent)
        begun, place = self.tick(), len(self.sent.spans)
        run = self.agent(work.agent, begun, begun, under, stage, before)
        inside = self.inside(run, work.agent, stage)
        if work.retries:
            self.model(work.agent, inside, stage, failed=True)
        for _ in range(work.calls - 1):
            self.model(work.agent, inside, stage)
        for name in work.tools:
            start = self.tick()
            self.tool(work.agent, name, start, self.tick(), inside, stage)
            self.truth.tools[work.agent, name] += 1
        for asked in work.asks:
            self.ask(work, asked, inside, stage)
        self.model(work.agent, inside, stage, hands_to=after[0] if len(after) == 1 else "")
        if len(after) == 1:
            self.hand(work.agent, after[0], inside, stage)
        self.close(place, self.tick())
        self.total(place)
        return run

    def ask(self, work: Work, asked: Work, inside: str, stage: int) -> None:
        name = f"ask_{slug(asked.agent)}"
        start, place = self.tick(), len(self.sent.spans)
        tool = self.tool(work.agent, name, start, start, inside, stage)
        self.truth.tools[work.agent, name] += 1
        self.work(asked, tool, stage, [], [])
        self.truth.edges[work.agent, asked.agent, CALLED] += 1
        self.close(place, self.tick())

    def close(self, place: int, end: float) -> None:
        """The span at `place` and its wrappers end now."""
        self._end([place], end)

    def _end(self, places: Sequence[int], end: float) -> None:
        for place in places:
            span = self.sent.spans[place]
            self.sent.spans[place] = replace(span, duration_ns=START_NS + int(end * 1_000_000) - span.timestamp_ns)

    def total(self, place: int) -> None:
        """The span of a run repeats what the calls right below it used, where the family does that."""
        if not self.repeats:
            return
        run = self.sent.spans[place]
        below = {run.span_id} | {span.span_id for span in self.sent.spans if span.parent_span_id == run.span_id}
        calls = [
            span.attributes
            for span in self.sent.spans
            if span.parent_span_id in below and span.attributes.get(OP) == "chat" and USED in span.attributes
        ]
        if calls:
            sums = {side: str(sum(int(call[side]) for call in calls)) for side in (USED, MADE)}
            renamed = {key.replace("gen_ai.usage", self.repeats): value for key, value in sums.items()}
            self.sent.spans[place] = replace(run, attributes={**run.attributes, **renamed})

    def outlast(self, stage: list[Work], end: float) -> None:
        """Agents of a stage end together, so that they overlap whatever each of them did."""
        names = {work.agent for work in stage}
        self._end([at for at, span in enumerate(self.sent.spans) if self.is_run(span, names)], end)

    def spend(self, agent: str) -> tuple[int, int]:
        self.used += self.rng.randint(1, 50)
        used, made = self.used, self.rng.randint(1, 90)
        self.truth.tokens[agent, "in"] += used
        self.truth.tokens[agent, "out"] += made
        return used, made

    # what a family says

    def root(self) -> str:
        raise NotImplementedError

    def agent(self, name: str, begin: float, end: float, under: str, stage: int, before: list[str]) -> str:
        raise NotImplementedError

    def is_run(self, span: RawSpan, names: set[str]) -> bool:
        return span.span_name.removeprefix("invoke_agent ") in names

    def inside(self, run: str, name: str, stage: int) -> str:
        return run

    def model(self, agent: str, under: str, stage: int, *, hands_to: str = "", failed: bool = False) -> None:
        raise NotImplementedError

    def tool(self, agent: str, name: str, begin: float, end: float, under: str, stage: int) -> str:
        raise NotImplementedError

    def hand(self, agent: str, target: str, under: str, stage: int) -> None:
        """The span of the handoff, where the family has one."""


def slug(name: str) -> str:
    """As function names are made of agents' names."""
    return re.sub(r"[^a-zA-Z0-9]", "_", name).lower()


OP, AGENT, TOOL = "gen_ai.operation.name", "gen_ai.agent.name", "gen_ai.tool.name"


class GenAI(Teller):
    """The conventions, and a transfer told by `gen_ai.transfer.*`."""

    def root(self) -> str:
        return self.sent.span("invoke_workflow w", self.at, self.at + 100_000, "", {OP: "invoke_workflow"})

    def agent(self, name: str, begin: float, end: float, under: str, stage: int, before: list[str]) -> str:
        return self.sent.span(f"invoke_agent {name}", begin, end, under, {OP: "invoke_agent", AGENT: name})

    def model(self, agent: str, under: str, stage: int, *, hands_to: str = "", failed: bool = False) -> None:
        begin, end = self.tick(), self.tick()
        given = {OP: "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "m"}
        if failed:
            self.sent.span("chat m", begin, end, under, {**given, "error.type": "RateLimitError"}, status="Error")
            return
        used, made = self.spend(agent)
        given |= {"gen_ai.usage.input_tokens": str(used), "gen_ai.usage.output_tokens": str(made)}
        self.sent.span("chat m", begin, end, under, {**given, **self.answer(hands_to)}, kind="Client")

    def answer(self, hands_to: str) -> dict[str, object]:
        return {}

    def tool(self, agent: str, name: str, begin: float, end: float, under: str, stage: int) -> str:
        return self.sent.span(f"execute_tool {name}", begin, end, under, {OP: "execute_tool", TOOL: name, AGENT: agent})

    def hand(self, agent: str, target: str, under: str, stage: int) -> None:
        begin = self.tick()
        given = {OP: "execute_tool", TOOL: f"transfer_to_{slug(target)}", AGENT: agent}
        given |= {"gen_ai.transfer.mode": PASSED, "gen_ai.transfer.target.name": target}
        self.sent.span("execute_tool", begin, self.tick(), under, given)


class ToolsOnly(GenAI):
    """Nothing but the transfer tool, called as a function would be."""

    def hand(self, agent: str, target: str, under: str, stage: int) -> None:
        self.tool(agent, f"transfer_to_{slug(target)}", self.tick(), self.tick(), under, stage)


class Silent(GenAI):
    """No transfers at all: only that one came after the other."""

    def hand(self, agent: str, target: str, under: str, stage: int) -> None:
        pass


class OpenAIAgents(Teller):
    """OpenInference: a handoff is a tool, runs after a handoff are siblings, agents as tools are nested."""

    scope = "openinference.instrumentation.openai_agents"
    KIND = "openinference.span.kind"

    def root(self) -> str:
        return self.sent.span("Agent workflow", self.at, self.at + 100_000, "", {self.KIND: "AGENT"})

    def agent(self, name: str, begin: float, end: float, under: str, stage: int, before: list[str]) -> str:
        given = {self.KIND: "AGENT", "agent.name": name, "graph.node.id": name}
        given |= {"graph.node.parent_id": before[0]} if before else {}
        return self.sent.span(name, begin, end, under, given)

    def model(self, agent: str, under: str, stage: int, *, hands_to: str = "", failed: bool = False) -> None:
        begin, end = self.tick(), self.tick()
        if failed:
            self.sent.span("response", begin, end, under, {self.KIND: "LLM"}, status="Error", message="Error code: 429")
            return
        used, made = self.spend(agent)
        given = {"llm.token_count.prompt": used, "llm.token_count.completion": made, "llm.model_name": "m"}
        if hands_to:
            call = "llm.output_messages.0.message.tool_calls.0.tool_call.function"
            given |= {f"{call}.name": f"transfer_to_{slug(hands_to)}", f"{call}.arguments": "{}"}
        self.sent.span("response", begin, end, under, {self.KIND: "LLM", **given})

    def tool(self, agent: str, name: str, begin: float, end: float, under: str, stage: int) -> str:
        return self.sent.span(name, begin, end, under, {self.KIND: "TOOL", "tool.name": name, "input.value": "{}"})

    def hand(self, agent: str, target: str, under: str, stage: int) -> None:
        given = {self.KIND: "TOOL", "input.value": agent, "output.value": target}
        self.sent.span(f"handoff to {target}", self.tick(), self.tick(), under, given)


class Traceloop(GenAI):
    """OpenAI Agents by Traceloop: the handoff knows only its source, the answer names the target as a function."""

    scope = "opentelemetry.instrumentation.openai_agents"

    def root(self) -> str:
        given = {"traceloop.span.kind": "workflow"}
        return self.sent.span("Agent Workflow", self.at, self.at + 100_000, "", given)

    def agent(self, name: str, begin: float, end: float, under: str, stage: int, before: list[str]) -> str:
        given = {OP: "invoke_agent", AGENT: name, "traceloop.span.kind": "agent"}
        return self.sent.span(f"{name}.agent", begin, end, under, given)

    def answer(self, hands_to: str) -> dict[str, object]:
        if not hands_to:
            return {}
        call = {"type": "tool_call", "name": f"transfer_to_{slug(hands_to)}", "arguments": {}}
        return {"gen_ai.output.messages": [{"role": "assistant", "parts": [call]}]}

    def tool(self, agent: str, name: str, begin: float, end: float, under: str, stage: int) -> str:
        given = {OP: "execute_tool", TOOL: name, "traceloop.span.kind": "tool"}
        return self.sent.span(f"{name}.tool", begin, end, under, given)

    def hand(self, agent: str, target: str, under: str, stage: int) -> None:
        given = {OP: "handoff", "gen_ai.handoff.from_agent": agent, "traceloop.span.kind": "handoff"}
        self.sent.span(f"{agent} → unknown.handoff", self.tick(), self.tick(), under, given)


class Strands(GenAI):
    """A swarm; the target of a handoff is only in the event of the tool, and agents repeat their children's usage."""

    scope, repeats = "strands.telemetry.tracer", "gen_ai.usage"

    def root(self) -> str:
        return self.sent.span("invoke_swarm", self.at, self.at + 100_000, "", {OP: "invoke_swarm", AGENT: "swarm"})

    def agent(self, name: str, begin: float, end: float, under: str, stage: int, before: list[str]) -> str:
        given = {OP: "invoke_agent", AGENT: name, "gen_ai.system": "strands-agents"}
        return self.sent.span(f"invoke_agent {name}", begin, end, under, given)

    def inside(self, run: str, name: str, stage: int) -> str:
        return self.sent.span(
            "execute_event_loop_cycle", self.tick(1.5), self.at, run, {OP: "execute_event_loop_cycle"}
        )

    def hand(self, agent: str, target: str, under: str, stage: int) -> None:
        told = {"content": json.dumps({"agent_name": target, "message": "m"}), "role": "tool"}
        given = {OP: "execute_tool", TOOL: "handoff_to_agent"}
        self.sent.span("execute_tool handoff_to_agent", self.tick(), self.tick(), under, given,
                       events=[("gen_ai.tool.message", told)])  # fmt: skip
        self.truth.tools[agent, "handoff_to_agent"] += 1
        self.model(agent, under, stage)


class LangGraph(Teller):
    """OpenInference for LangGraph: nodes with namespace, step and trigger, models below them."""

    scope = "openinference.instrumentation.langchain"
    KIND = "openinference.span.kind"

    def root(self) -> str:
        return self.sent.span("LangGraph", self.at, self.at + 100_000, "", {self.KIND: "CHAIN"})

    def _told(self, name: str, stage: int, before: list[str]) -> str:
        trigger = f"join:{'+'.join(before)}:{name}" if len(before) > 1 else f"branch:to:{name}"
        space = f"{name}:{self.sent.trace}-{stage}"
        return json.dumps({
            "thread_id": f"conv-{self.sent.trace}", "langgraph_node": name, "langgraph_step": stage + 1,
            "langgraph_triggers": [trigger], "langgraph_checkpoint_ns": space, "checkpoint_ns": space,
        })  # fmt: skip

    def agent(self, name: str, begin: float, end: float, under: str, stage: int, before: list[str]) -> str:
        self.metadata = self._told(name, stage, before)
        return self.sent.span(name, begin, end, under, {self.KIND: "CHAIN", "metadata": self.metadata})

    def is_run(self, span: RawSpan, names: set[str]) -> bool:
        return span.span_name in names

    def model(self, agent: str, under: str, stage: int, *, hands_to: str = "", failed: bool = False) -> None:
        begin, end = self.tick(), self.tick()
        given = {self.KIND: "LLM", "metadata": self.metadata, "llm.model_name": "m"}
        if failed:
            self.sent.span("ChatOpenAI", begin, end, under, given, status="Error", message="RateLimitError: {}")
            return
        used, made = self.spend(agent)
        given |= {"llm.token_count.prompt": str(used), "llm.token_count.completion": str(made)}
        self.sent.span("ChatOpenAI", begin, end, under, given)

    def tool(self, agent: str, name: str, begin: float, end: float, under: str, stage: int) -> str:
        given = {self.KIND: "TOOL", "tool.name": name, "metadata": self.metadata}
        return self.sent.span(name, begin, end, under, given)


class PydanticAI(GenAI):
    """Agents only inside each other's tools; totals under another name."""

    scope, repeats = "pydantic-ai", "gen_ai.aggregated_usage"

    def root(self) -> str:
        return ""

    def agent(self, name: str, begin: float, end: float, under: str, stage: int, before: list[str]) -> str:
        given = {OP: "invoke_agent", AGENT: name}
        given |= {
            "gen_ai.conversation.id": f"conv-{self.sent.trace}-{len(self.sent.spans)}",
            "gen_ai.agent.call.id": f"run-{begin}",
        }
        return self.sent.span(f"invoke_agent {name}", begin, end, under, given)
