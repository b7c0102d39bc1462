"""A help desk on the OpenAI Agents SDK: handoffs, an agent used as a tool, a tool that fails, a model that fails."""

import asyncio

from agents import Agent, RunConfig, Runner, function_tool


@function_tool
def lookup_order(order: str) -> str:
    return f"{order}: shipped"


@function_tool(failure_error_function=None)
def reboot(device: str) -> str:
    raise RuntimeError(f"{device} does not answer")


def agents() -> Agent:
    translator = Agent(name="translator", instructions="[agent:translator] You translate.")
    billing = Agent(
        name="billing",
        instructions="[agent:billing] You answer questions about bills.",
        tools=[lookup_order, translator.as_tool("translate", "Translates to French.")],
    )
    tech = Agent(name="tech", instructions="[agent:tech] You repair things.", tools=[reboot])
    return Agent(name="triage", instructions="[agent:triage] You send people on.", handoffs=[billing, tech])


async def main() -> None:
    triage = agents()
    done = await Runner.run(triage, "Where is order 7?", run_config=RunConfig(group_id="conv-1"))
    print("1:", done.final_output)
    stream = Runner.run_streamed(triage, "Say it again", run_config=RunConfig(group_id="conv-2"))
    async for _ in stream.stream_events():
        pass
    print("2:", stream.final_output)
    try:
        await Runner.run(triage, "My router is dead", run_config=RunConfig(group_id="conv-3"))
    except Exception as error:
        print("3:", type(error).__name__)
    try:
        await Runner.run(triage, "Help", run_config=RunConfig(group_id="conv-4"))
    except Exception as error:
        print("4:", type(error).__name__)


asyncio.run(main())
