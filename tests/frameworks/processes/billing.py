"""HTTP: Starlette, instrumented by OpenTelemetry, as are the desk's requests. Ends when its standard input does."""

import socket
import sys
import threading

import uvicorn
from maslens.instrumentation import agent, llm
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def ask(_request):
    with agent("billing"), llm("gpt-4.1-mini", provider="openai") as call:
        call.usage(211, 21)
    return PlainTextResponse("paid")


listening = socket.create_server(("127.0.0.1", 0))
server = uvicorn.Server(uvicorn.Config(Starlette(routes=[Route("/ask", ask, methods=["POST"])]), log_level="error"))
print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
threading.Thread(target=lambda: (sys.stdin.read(), setattr(server, "should_exit", True)), daemon=True).start()
server.run(sockets=[listening])
