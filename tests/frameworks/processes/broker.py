"""A2A over JSON-RPC: the context travels in the headers of the request. Ends when its standard input does."""

import socket
import sys
import threading

import uvicorn
from a2a.helpers import new_text_message
from a2a.server.agent_execution import AgentExecutor
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill, Role
from maslens.instrumentation import agent, llm
from starlette.applications import Starlette


class Broker(AgentExecutor):
    async def execute(self, context, event_queue):
        with agent("broker"), llm("gpt-4.1-mini", provider="openai") as call:
            call.usage(511, 51)
        await event_queue.enqueue_event(new_text_message("sold", role=Role.ROLE_AGENT))

    async def cancel(self, context, event_queue):
        pass


listening = socket.create_server(("127.0.0.1", 0))
url = f"http://127.0.0.1:{listening.getsockname()[1]}"
card = AgentCard(
    name="broker",
    description="sells",
    version="1",
    supported_interfaces=[AgentInterface(url=f"{url}/", protocol_binding="JSONRPC", protocol_version="1.0")],
    capabilities=AgentCapabilities(streaming=False),
    default_input_modes=["text/plain"],
    default_output_modes=["text/plain"],
    skills=[AgentSkill(id="sell", name="sell", description="sells", tags=["sell"])],
)
handler = DefaultRequestHandler(agent_executor=Broker(), task_store=InMemoryTaskStore(), agent_card=card)
routes = [*create_agent_card_routes(card), *create_jsonrpc_routes(handler, "/")]
server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="error"))
print(url, flush=True)
threading.Thread(target=lambda: (sys.stdin.read(), setattr(server, "should_exit", True)), daemon=True).start()
server.run(sockets=[listening])
