"""Microsoft Agent Framework: a handoff workflow, agents in sequence, a model that fails."""

import asyncio
import os

from agent_framework import Agent
from agent_framework.openai import OpenAIChatCompletionClient
from agent_framework.orchestrations import HandoffBuilder, SequentialBuilder


def client() -> OpenAIChatCompletionClient:
    return OpenAIChatCompletionClient(model="gpt-4.1-mini", base_url=os.environ["OPENAI_BASE_URL"], api_key="scripted")


def agent(name: str, **more: object) -> Agent:
    return Agent(client=client(), name=name, id=name, instructions=f"[agent:{name}] You are {name}.", **more)


def lookup_order(order: str) -> str:
    """Where an order is."""
    return f"{order}: shipped"


async def main() -> None:
    triage = agent("triage", require_per_service_call_history_persistence=True)
    billing = agent("billing", tools=[lookup_order], require_per_service_call_history_persistence=True)
    workflow = HandoffBuilder(name="desk", participants=[triage, billing]).with_start_agent(triage).build()
    events = await workflow.run("Where is order 7?")
    print("1:", len(events.get_outputs()) > 0)
    workflow = SequentialBuilder(participants=[agent("writer"), agent("critic")]).build()
    print("2:", len((await workflow.run("A line on foxes")).get_outputs()) > 0)
    try:
        tech = agent("tech")
        await tech.run("dead", session=tech.create_session(session_id="conv-3"))
    except Exception as error:
        print("3:", type(error).__name__)


asyncio.run(main())
