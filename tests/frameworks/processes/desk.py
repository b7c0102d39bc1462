"""The desk asks four other processes, each over another transport, and leaves a letter for a fifth."""

import asyncio
import json
import os
import sys
from pathlib import Path

import grpc
import httpx
from a2a.client import create_client
from a2a.helpers import new_text_message
from a2a.types import Role, SendMessageRequest
from maslens.instrumentation import agent, handoff, llm, session, tool, workflow
from mcp import Client, StdioServerParameters, stdio_client

MODEL = "gpt-4.1-mini"


async def main(billing: str, stock: str, broker: str, librarian: str, letter: Path) -> None:
    with session("conv-9"), workflow("desk"), agent("triage"):
        with llm(MODEL, provider="openai") as call:
            call.usage(101, 11)
        with tool("ask_billing"), handoff("billing", mode="return_to_caller"):
            async with httpx.AsyncClient() as client:
                (await client.post(f"{billing}/ask")).raise_for_status()
        with tool("ask_stock"), handoff("stock", mode="return_to_caller"), grpc.insecure_channel(stock) as channel:
            channel.unary_unary("/desk.Stock/Ask")(b"?")
        server = StdioServerParameters(
            command=sys.executable, args=[librarian], env={**os.environ, "OTEL_SERVICE_NAME": "library"}
        )
        with handoff("librarian", mode="return_to_caller"):
            async with Client(stdio_client(server)) as client:
                await client.call_tool("ask_librarian", {"question": "?"})
        with tool("ask_broker"), handoff("broker", mode="return_to_caller"):
            client = await create_client(broker)
            asked = SendMessageRequest(message=new_text_message("?", role=Role.ROLE_USER))
            async for _ in client.send_message(asked):
                pass
            await client.close()
        with handoff("mailer") as passed:
            letter.write_text(json.dumps(passed.carrier()))


asyncio.run(main(*sys.argv[1:5], Path(sys.argv[5])))
