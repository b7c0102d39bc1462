"""Pydantic AI: an agent that asks another through a tool, streams, fails in a tool and in the model."""

import asyncio

from pydantic_ai import Agent, RunContext

billing = Agent("openai:gpt-4.1-mini", name="billing", instructions="[agent:billing] You know about bills.")
triage = Agent("openai:gpt-4.1-mini", name="triage", instructions="[agent:triage] You ask the right one.")
tech = Agent("openai:gpt-4.1-mini", name="tech", instructions="[agent:tech] You repair.")


@triage.tool
async def ask_billing(ctx: RunContext, question: str) -> str:
    return (await billing.run(question, usage=ctx.usage)).output


@billing.tool_plain
def lookup_order(order: str) -> str:
    return f"{order}: shipped"


@tech.tool_plain
def reboot(device: str) -> str:
    raise RuntimeError(f"{device} does not answer")


async def main() -> None:
    print("1:", (await triage.run("Where is order 7?")).output)
    async with triage.run_stream("And order 8?") as stream:
        print("2:", await stream.get_output())
    for number in (3, 4):
        try:
            await tech.run("My router is dead")
        except Exception as error:
            print(f"{number}:", type(error).__name__)


asyncio.run(main())
