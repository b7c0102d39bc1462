"""AutoGen AgentChat: a swarm that hands over, a team that takes turns, a model that fails."""

import asyncio
import os

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.base import Handoff
from autogen_agentchat.conditions import MaxMessageTermination, TextMentionTermination
from autogen_agentchat.teams import RoundRobinGroupChat, Swarm
from autogen_ext.models.openai import OpenAIChatCompletionClient


def model() -> OpenAIChatCompletionClient:
    return OpenAIChatCompletionClient(
        model="gpt-4.1-mini", base_url=os.environ["OPENAI_BASE_URL"], api_key="scripted", max_retries=0
    )


async def lookup_order(order: str) -> str:
    """Where an order is."""
    return f"{order}: shipped"


async def swarm() -> None:
    triage = AssistantAgent(
        "triage", model(), handoffs=[Handoff(target="billing")], system_message="[agent:triage] You send people on."
    )
    billing = AssistantAgent(
        "billing",
        model(),
        tools=[lookup_order],
        reflect_on_tool_use=True,
        system_message="[agent:billing] You know about bills.",
    )
    team = Swarm([triage, billing], termination_condition=TextMentionTermination("DONE"))
    print("1:", (await team.run(task="Where is order 7?")).messages[-1].content)


async def turns() -> None:
    writer = AssistantAgent("writer", model(), system_message="[agent:writer] You write.")
    critic = AssistantAgent("critic", model(), system_message="[agent:critic] You judge.")
    team = RoundRobinGroupChat([writer, critic], termination_condition=MaxMessageTermination(4))
    print("2:", (await team.run(task="A line on foxes")).messages[-1].content)


async def failing() -> None:
    tech = AssistantAgent("tech", model(), system_message="[agent:tech] You repair.")
    try:
        await RoundRobinGroupChat([tech], termination_condition=MaxMessageTermination(3)).run(task="dead")
    except Exception as error:
        print("3:", type(error).__name__)


async def main() -> None:
    await swarm()
    await turns()
    await failing()


asyncio.run(main())
