"""MCP over standard input and output: the SDK carries the context in `_meta` by itself."""

from maslens.instrumentation import agent, llm
from mcp.server import MCPServer

server = MCPServer("library")


@server.tool()
def ask_librarian(question: str) -> str:
    """Knows where everything stands."""
    with agent("librarian"), llm("gpt-4.1-mini", provider="openai") as call:
        call.usage(411, 41)
    return "shelf 3"


server.run("stdio")
