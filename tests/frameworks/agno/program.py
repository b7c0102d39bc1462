"""Agno: a team whose leader delegates to members, one of which fails."""

from agno.agent import Agent
from agno.models.openai import OpenAIChat
from agno.team import Team


def lookup_order(order: str) -> str:
    """Where an order is."""
    return f"{order}: shipped"


def model() -> OpenAIChat:
    return OpenAIChat(id="gpt-4.1-mini", max_retries=0)


def team() -> Team:
    billing = Agent(name="billing", model=model(), tools=[lookup_order], instructions="[agent:billing] You know bills.")
    tech = Agent(name="tech", model=model(), instructions="[agent:tech] You repair.")
    return Team(
        name="leader",
        model=model(),
        members=[billing, tech],
        instructions="[agent:leader] You direct.",
        telemetry=False,
    )


print("1:", team().run("Where is order 7?", session_id="conv-1").content)
print("2:", team().run("My router is dead", session_id="conv-2").content)
