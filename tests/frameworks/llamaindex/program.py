"""LlamaIndex: an agent workflow that hands over, streaming as it does by default; a model that fails."""

import asyncio
import os

from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.llms.openai import OpenAI


def model() -> OpenAI:
    return OpenAI(model="gpt-4.1-mini", api_base=os.environ["OPENAI_BASE_URL"], api_key="scripted", max_retries=0)


def lookup_order(order: str) -> str:
    """Where an order is."""
    return f"{order}: shipped"


def agents() -> list[FunctionAgent]:
    return [
        FunctionAgent(
            name="triage",
            description="sends on",
            llm=model(),
            system_prompt="[agent:triage] You send people on.",
            can_handoff_to=["billing"],
        ),
        FunctionAgent(
            name="billing",
            description="bills",
            llm=model(),
            tools=[lookup_order],
            system_prompt="[agent:billing] You know about bills.",
        ),
    ]


async def main() -> None:
    print("1:", await AgentWorkflow(agents=agents(), root_agent="triage").run(user_msg="Where is order 7?"))
    tech = FunctionAgent(name="tech", description="repairs", llm=model(), system_prompt="[agent:tech] You repair.")
    try:
        await AgentWorkflow(agents=[tech], root_agent="tech").run(user_msg="dead")
    except Exception as error:
        print("2:", type(error).__name__)


asyncio.run(main())
