"""smolagents: a manager with managed agents, one of which fails in its model; a code agent beside."""

import os

from smolagents import OpenAIModel, ToolCallingAgent, tool


def model() -> OpenAIModel:
    return OpenAIModel(
        "gpt-4.1-mini", api_base=os.environ["OPENAI_BASE_URL"], api_key="scripted", client_kwargs={"max_retries": 0}
    )


@tool
def lookup_order(order: str) -> str:
    """Where an order is.

    Args:
        order: its number
    """
    return f"{order}: shipped"


def team() -> ToolCallingAgent:
    billing = ToolCallingAgent(
        tools=[lookup_order],
        model=model(),
        name="billing",
        description="Knows about bills.",
        instructions="[agent:billing]",
        max_steps=3,
        verbosity_level=0,
    )
    tech = ToolCallingAgent(
        tools=[],
        model=model(),
        name="tech",
        description="Repairs.",
        instructions="[agent:tech]",
        max_steps=3,
        verbosity_level=0,
    )
    return ToolCallingAgent(
        tools=[],
        model=model(),
        name="manager",
        managed_agents=[billing, tech],
        instructions="[agent:manager]",
        max_steps=4,
        verbosity_level=0,
    )


print("1:", team().run("Where is order 7?"))
print("2:", team().run("My router is dead"))
