"""Google ADK: an agent that transfers to a sub-agent, agents in parallel, a model that fails."""

import asyncio

from google.adk.agents import LlmAgent, ParallelAgent
from google.adk.models.lite_llm import LiteLlm
from google.adk.runners import InMemoryRunner
from google.genai import types


def lookup_order(order: str) -> str:
    """Where an order is."""
    return f"{order}: shipped"


def agent(name: str, **more: object) -> LlmAgent:
    return LlmAgent(
        name=name,
        model=LiteLlm(model="openai/gpt-4.1-mini", num_retries=0, max_retries=0),
        instruction=f"[agent:{name}] You are {name}.",
        description=f"does {name}",
        **more,
    )


async def ask(root: object, text: str, session_id: str) -> str:
    runner = InMemoryRunner(agent=root, app_name="desk")
    await runner.session_service.create_session(app_name="desk", user_id="u", session_id=session_id)
    said = ""
    message = types.Content(role="user", parts=[types.Part(text=text)])
    async for event in runner.run_async(user_id="u", session_id=session_id, new_message=message):
        if event.content and event.content.parts and event.content.parts[0].text:
            said = event.content.parts[0].text
    return said


async def main() -> None:
    triage = agent("triage", sub_agents=[agent("billing", tools=[lookup_order])])
    print("1:", await ask(triage, "Where is order 7?", "conv-1"))
    pair = ParallelAgent(name="pair", sub_agents=[agent("weather"), agent("hotels")])
    print("2:", bool(await ask(pair, "Rome", "conv-2")))
    try:
        await ask(agent("tech"), "dead", "conv-3")
    except Exception as error:
        print("3:", type(error).__name__)


asyncio.run(main())
