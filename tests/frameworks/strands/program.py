"""Strands: a swarm that hands over, an agent used as a tool, a model that fails."""

import os

from strands import Agent, tool
from strands.models.openai import OpenAIModel
from strands.multiagent import Swarm


def model() -> OpenAIModel:
    return OpenAIModel(
        client_args={"api_key": "scripted", "base_url": os.environ["OPENAI_BASE_URL"], "max_retries": 0},
        model_id="gpt-4.1-mini",
    )


@tool
def lookup_order(order: str) -> str:
    """Where an order is."""
    return f"{order}: shipped"


def agent(name: str, tools: list | None = None) -> Agent:
    return Agent(
        name=name,
        model=model(),
        tools=tools or [],
        system_prompt=f"[agent:{name}] You are {name}.",
        callback_handler=None,
    )


swarm = Swarm([agent("triage"), agent("billing", [lookup_order])])
print("1:", swarm("Where is order 7?").status.value)


@tool
def ask_expert(question: str) -> str:
    """Asks the expert."""
    return str(agent("expert")(question)).strip()


print("2:", str(agent("manager", [ask_expert])("Why?")).strip())
try:
    agent("tech")("dead")
except Exception as error:
    print("3:", type(error).__name__)
