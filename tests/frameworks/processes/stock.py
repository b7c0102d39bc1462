"""gRPC: a generic service, instrumented as the desk's channel is. Ends when its standard input does."""

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
from maslens.instrumentation import agent, llm


def ask(_request, _context):
    with agent("stock"), llm("gpt-4.1-mini", provider="openai") as call:
        call.usage(311, 31)
    return b"7 left"


server = grpc.server(ThreadPoolExecutor(2))
server.add_generic_rpc_handlers(
    (grpc.method_handlers_generic_handler("desk.Stock", {"Ask": grpc.unary_unary_rpc_method_handler(ask)}),)
)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(f"127.0.0.1:{port}", flush=True)
sys.stdin.read()
server.stop(1).wait()
