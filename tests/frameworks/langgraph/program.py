"""LangGraph: a swarm that streams, a supervised team, a graph that fans out and in, a tool and a model that fail."""

import asyncio
import operator
from typing import Annotated, TypedDict

from langchain.agents import create_agent
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command
from langgraph_supervisor import create_supervisor
from langgraph_swarm import create_handoff_tool, create_swarm

model = ChatOpenAI(model="gpt-4.1-mini", max_retries=0)


@tool
def lookup_order(order: str) -> str:
    """Where an order is."""
    return f"{order}: shipped"


@tool
def reboot(device: str) -> str:
    """Restarts a device."""
    raise RuntimeError(f"{device} does not answer")


async def swarm() -> None:
    triage = create_agent(
        model,
        tools=[create_handoff_tool(agent_name="billing")],
        system_prompt="[agent:triage] You send people on.",
        name="triage",
    )
    billing = create_agent(
        model, tools=[lookup_order], system_prompt="[agent:billing] You know about bills.", name="billing"
    )
    app = create_swarm([triage, billing], default_active_agent="triage").compile(checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "conv-1"}}
    async for _ in app.astream({"messages": [("user", "Where is order 7?")]}, config, stream_mode="messages"):
        pass
    print("1:", app.get_state(config).values["messages"][-1].content)


def supervised() -> None:
    researcher = create_agent(model, tools=[], system_prompt="[agent:researcher] You find.", name="researcher")
    writer = create_agent(model, tools=[], system_prompt="[agent:writer] You write.", name="writer")
    app = create_supervisor(
        [researcher, writer], model=model, prompt="[agent:supervisor] You direct.", supervisor_name="supervisor"
    ).compile(name="team")
    done = app.invoke({"messages": [("user", "A note on foxes")]}, {"configurable": {"thread_id": "conv-2"}})
    print("2:", done["messages"][-1].content)


class Trip(TypedDict):
    notes: Annotated[list, operator.add]


def ask(name: str, text: str) -> list:
    return [model.invoke([SystemMessage(f"[agent:{name}] You are {name}."), HumanMessage(text)]).content]


def planner(state: Trip) -> Command:
    return Command(goto=["weather", "hotels"], update={"notes": ask("planner", "Rome")})


def weather(state: Trip) -> Trip:
    return {"notes": ask("weather", "Rome")}


def hotels(state: Trip) -> Trip:
    return {"notes": ask("hotels", "Rome")}


def aggregator(state: Trip) -> Trip:
    return {"notes": ask("aggregator", " ".join(state["notes"]))}


def fan_out() -> None:
    graph = StateGraph(Trip)
    for node in (planner, weather, hotels, aggregator):
        graph.add_node(node.__name__, node)
    graph.add_edge(START, "planner")
    graph.add_edge(["weather", "hotels"], "aggregator")
    graph.add_edge("aggregator", END)
    done = graph.compile(name="trip").invoke({"notes": []}, {"configurable": {"thread_id": "conv-3"}})
    print("3:", len(done["notes"]))


def failing() -> None:
    tech = create_agent(model, tools=[reboot], system_prompt="[agent:tech] You repair.", name="tech")
    for number in (4, 5):
        try:
            tech.invoke({"messages": [("user", "dead")]}, {"configurable": {"thread_id": f"conv-{number}"}})
        except Exception as error:
            print(f"{number}:", type(error).__name__)


asyncio.run(swarm())
supervised()
fan_out()
failing()
