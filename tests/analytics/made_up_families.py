"""Which emitters tell which kinds of programs, and programs told by them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from maslens.semconv.dialects.python import RawSpan

from tests.analytics import made_up_forms as forms
from tests.analytics.made_up import (
    ODD,
    PLAIN,
    GenAI,
    LangGraph,
    OpenAIAgents,
    Program,
    PydanticAI,
    Silent,
    Strands,
    Teller,
    ToolsOnly,
    Traceloop,
    Truth,
    graph,
    line,
    slug,
)


@dataclass(frozen=True, slots=True)
class Family:
    teller: Callable[[random.Random, str, float], Teller]
    make: Callable[[random.Random, Sequence[str]], Program]
    names: Sequence[str]


def _one_run(rng: random.Random, names: Sequence[str]) -> Program:
    return Program(line(rng, names, depth=3).stages[:1])


def _crew(rng: random.Random, names: Sequence[str]) -> Program:
    """Delegates delegate no further."""
    return line(rng, names, depth=1)


FAMILIES = {
    "GenAI conventions, transfers": Family(GenAI, line, PLAIN + ODD),
    "GenAI conventions, transfer tools": Family(ToolsOnly, line, PLAIN + ODD),
    "GenAI conventions, order only": Family(Silent, line, PLAIN + ODD),
    "GenAI conventions, a graph": Family(Silent, graph, PLAIN + ODD),
    "OpenAI Agents by OpenInference": Family(OpenAIAgents, line, PLAIN + ODD),
    "OpenAI Agents by Traceloop": Family(Traceloop, line, PLAIN + ODD),
    "Strands": Family(Strands, line, PLAIN + ODD),
    "LangGraph by OpenInference": Family(LangGraph, graph, PLAIN),
    "Pydantic AI": Family(PydanticAI, _one_run, PLAIN + ODD),
    "OpenAI Agents by OpenTelemetry contrib": Family(forms.ContribV2, line, PLAIN + ODD),
    "OpenAI Agents by util-genai": Family(forms.UtilGenAI, line, PLAIN + ODD),
    "OpenAI Agents by OpenLIT": Family(forms.OpenLIT, line, PLAIN + ODD),
    "OpenAI Agents by Logfire": Family(forms.Logfire, line, PLAIN + ODD),
    "OpenAI Agents by MLflow": Family(forms.MLflow, line, PLAIN + ODD),
    "Google ADK": Family(forms.ADK, line, PLAIN + ODD),
    "Google ADK without contents": Family(forms.ADKWithoutContents, line, PLAIN + ODD),
    "Google ADK 1": Family(forms.ADK1, line, PLAIN),
    "Vercel AI SDK 7": Family(forms.VercelAI, _one_run, PLAIN + ODD),
    "Langfuse": Family(forms.Langfuse, _one_run, PLAIN + ODD),
    "Langfuse, a line": Family(forms.Langfuse, line, PLAIN + ODD),
    "smolagents": Family(forms.SmolAgents, _one_run, PLAIN + ODD),
    "Agno": Family(forms.Agno, _one_run, PLAIN + ODD),
    "CrewAI by OpenInference": Family(forms.CrewAI, _crew, PLAIN + ODD),
    "LangGraph by LangSmith": Family(forms.LangSmith, graph, PLAIN),
    "LangGraph by Langfuse": Family(forms.LangfuseGraph, graph, PLAIN),
    "LangGraph by Traceloop": Family(forms.TraceloopGraph, graph, PLAIN),
    "Microsoft Agent Framework": Family(forms.AgentFramework, line, PLAIN + ODD),
    "AGNTCY": Family(forms.Agntcy, line, PLAIN + ODD),
}


def told(family: str, seed: int, *, sessions: int = 1) -> tuple[list[RawSpan], Truth]:
    """`sessions` programs of a family, interleaved in time, and all that is true of them."""
    rng, spans, truth = random.Random(seed), list[RawSpan](), Truth()
    one = FAMILIES[family]
    for number in range(sessions):
        names = rng.sample(list(one.names), rng.randint(2, min(8, len(one.names))))
        names = list({slug(name): name for name in names}.values())  # nobody could tell those apart
        if len(names) < 2:
            continue
        teller = one.teller(rng, f"t{seed}-{number}", rng.uniform(0, 20))
        more, known = teller.tell(one.make(rng, names))
        spans += more
        truth.edges += known.edges
        truth.agents |= known.agents
        truth.tokens += known.tokens
        truth.tools += known.tools
    return spans, truth
