"""A model that says what a script says: OpenAI's chat completions and responses, streamed or not, on loopback.

The script maps each agent to its replies, in order. Which agent asks is read from the marker `[agent:NAME]` in its
instructions. Every call gets token counts of its own, and the server's log is the truth that spans are held against.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_MARKER = re.compile(r"\[agent:([A-Za-z0-9_ -]+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the model answers: text, or tool calls, or an HTTP error; and what that means for the truth."""

    text: str = ""
    tools: Sequence[tuple[str, Mapping[str, Any]]] = ()
    status: int = 200
    hands_to: Sequence[str] = ()  # this reply passes control to those agents
    delegates: Sequence[str] = ()  # this reply calls those agents and waits
    fails: Sequence[str] = ()  # of the tools of this reply, those whose function raises
    delay: float = 0.0
    reasons: bool = True  # some of the output tokens are reasoning

    @property
    def moves(self) -> bool:
        """Its tools, if any, bring another agent in."""
        return bool(self.hands_to or self.delegates)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One call as the server saw it."""

    agent: str
    status: int
    model: str
    streamed: bool
    usage_sent: bool
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    response_id: str
    reply: Reply | None
    at: float


@dataclass(slots=True)
class ScriptedModel:
    """Start it, point OPENAI_BASE_URL at `url`, run the program, read `served`."""

    script: Mapping[str, Sequence[Reply]]
    served: list[Served] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    _taken: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> ScriptedModel:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def tokens(self) -> dict[str, tuple[int, int, int]]:
        """Input, output and cached tokens served to each agent."""
        totals: dict[str, tuple[int, int, int]] = {}
        for call in self.served:
            if call.status == 200:
                known = totals.get(call.agent, (0, 0, 0))
                one = (call.input_tokens, call.output_tokens, call.cached_tokens)
                totals[call.agent] = (known[0] + one[0], known[1] + one[1], known[2] + one[2])
        return totals

    def handoffs(self) -> list[tuple[str, str, str]]:
        """(source, target, mode) in the order the model asked for them."""
        edges = []
        for call in self.served:
            if call.reply is not None:
                edges.extend((call.agent, target, "pass_control") for target in call.reply.hands_to)
                edges.extend((call.agent, target, "return_to_caller") for target in call.reply.delegates)
        return edges

    def tools(self) -> list[tuple[str, str, str]]:
        """(agent, tool, `ok` or `error`) of every tool the model asked for; handing over and delegating are none."""
        return [
            (call.agent, tool, "error" if tool in call.reply.fails else "ok")
            for call in self.served
            if call.reply is not None and not call.reply.moves
            for tool, _ in call.reply.tools
        ]

    def left_over(self) -> dict[str, int]:
        """Replies that nobody asked for: the program did not run as the script says."""
        return {
            agent: len(replies) - self._taken[agent]
            for agent, replies in self.script.items()
            if len(replies) > self._taken[agent]
        }

    def answer(self, request: dict[str, Any]) -> tuple[Served, Reply]:
        agent = _agent_of(request)
        streamed = bool(request.get("stream"))
        include = (request.get("stream_options") or {}).get("include_usage")
        with self._lock:
            replies = self.script.get(agent, ())
            number, position = len(self.served) + 1, self._taken[agent]
            if position < len(replies):
                reply = replies[position]
                self._taken[agent] += 1
            else:
                self.unexpected.append(f"{agent or '(no marker)'}: call {position + 1} of {len(replies)}")
                reply = Reply(status=418, text=f"nothing scripted for {agent!r}, call {position + 1}")
            served = Served(
                agent=agent,
                status=reply.status,
                model=str(request.get("model")),
                streamed=streamed,
                usage_sent=reply.status == 200 and bool(not streamed or include or "input" in request),
                input_tokens=100 * number + 1,
                output_tokens=10 * number + 1,
                cached_tokens=10 * (number % 3),
                reasoning_tokens=7 if number % 2 and reply.reasons else 0,
                response_id=f"resp-{number:04d}",
                reply=reply,
                at=time.time(),
            )
            self.served.append(served)
        time.sleep(reply.delay)
        return served, reply


def _agent_of(request: Mapping[str, Any]) -> str:
    """The marker in the instructions; where several agents' instructions are quoted, the last of the first message."""
    instructions = request.get("instructions")
    if isinstance(instructions, str) and (found := _MARKER.findall(instructions)):
        return str(found[-1])
    messages = request.get("messages") or request.get("input") or []
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    for wanted in (("system", "developer"), ("user",)):
        for message in messages:
            if message.get("role") in wanted and (found := _MARKER.findall(_text_of(message.get("content")))):
                return str(found[-1])
    return ""


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(str(part.get("text", "")) for part in content or () if isinstance(part, Mapping))


def _handler(model: ScriptedModel) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            served, reply = model.answer(request)
            responses = self.path.endswith("/responses")
            if reply.status != 200:
                error = {"message": reply.text or "scripted error", "type": "scripted", "code": "scripted"}
                self._send(reply.status, {"error": error})
            elif served.streamed:
                make = _response_events if responses else _chat_chunks
                self._stream(make(served, reply))
            else:
                self._send(200, _response(served, reply) if responses else _chat(served, reply))

        def do_GET(self) -> None:
            self._send(200, {"object": "list", "data": [{"id": "gpt-4.1-mini", "object": "model"}]})

        def _send(self, status: int, body: Mapping[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _stream(self, events: Iterator[str]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            for event in events:
                self.wfile.write(event.encode())
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _calls(served: Served, reply: Reply) -> list[dict[str, Any]]:
    return [
        {"id": f"call_{served.response_id}_{index}", "name": name, "arguments": json.dumps(arguments)}
        for index, (name, arguments) in enumerate(reply.tools)
    ]


def _chat_usage(served: Served) -> dict[str, Any]:
    return {
        "prompt_tokens": served.input_tokens,
        "completion_tokens": served.output_tokens,
        "total_tokens": served.input_tokens + served.output_tokens,
        "prompt_tokens_details": {"cached_tokens": served.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": served.reasoning_tokens},
    }


def _chat(served: Served, reply: Reply) -> dict[str, Any]:
    calls = [
        {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
        for call in _calls(served, reply)
    ]
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None, "refusal": None}
    if calls:
        message["tool_calls"] = calls
    return {
        "id": served.response_id,
        "object": "chat.completion",
        "created": int(served.at),
        "model": "gpt-4.1-mini-2025-04-14",
        "choices": [
            {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop", "logprobs": None}
        ],
        "usage": _chat_usage(served),
    }


def _chat_chunks(served: Served, reply: Reply) -> Iterator[str]:
    whole = _chat(served, reply)
    base = {"id": whole["id"], "object": "chat.completion.chunk", "created": whole["created"], "model": whole["model"]}

    def chunk(delta: Mapping[str, Any], finish: str | None = None) -> str:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]
        return f"data: {json.dumps({**base, 'choices': choices})}\n\n"

    yield chunk({"role": "assistant", "content": ""})
    for word in re.findall(r"\S+\s*", reply.text):
        yield chunk({"content": word})
    for index, call in enumerate(_calls(served, reply)):
        function = {"name": call["name"], "arguments": ""}
        yield chunk({"tool_calls": [{"index": index, "id": call["id"], "type": "function", "function": function}]})
        yield chunk({"tool_calls": [{"index": index, "function": {"arguments": call["arguments"]}}]})
    yield chunk({}, whole["choices"][0]["finish_reason"])
    if served.usage_sent:
        yield f"data: {json.dumps({**base, 'choices': [], 'usage': whole['usage']})}\n\n"
    yield "data: [DONE]\n\n"


def _response(served: Served, reply: Reply) -> dict[str, Any]:
    output: list[dict[str, Any]] = []
    if reply.text:
        content = [{"type": "output_text", "text": reply.text, "annotations": []}]
        output.append(
            {
                "type": "message",
                "id": f"msg_{served.response_id}",
                "status": "completed",
                "role": "assistant",
                "content": content,
            }
        )
    output.extend(
        {
            "type": "function_call",
            "id": f"fc_{call['id']}",
            "call_id": call["id"],
            "name": call["name"],
            "arguments": call["arguments"],
            "status": "completed",
        }
        for call in _calls(served, reply)
    )
    return {
        "id": served.response_id,
        "object": "response",
        "created_at": int(served.at),
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "gpt-4.1-mini-2025-04-14",
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": {
            "input_tokens": served.input_tokens,
            "input_tokens_details": {"cached_tokens": served.cached_tokens},
            "output_tokens": served.output_tokens,
            "output_tokens_details": {"reasoning_tokens": served.reasoning_tokens},
            "total_tokens": served.input_tokens + served.output_tokens,
        },
    }


def _response_events(served: Served, reply: Reply) -> Iterator[str]:
    whole = _response(served, reply)
    number = iter(range(10_000))

    def event(kind: str, **fields: Any) -> str:
        data = {"type": kind, "sequence_number": next(number), **fields}
        return f"event: {kind}\ndata: {json.dumps(data)}\n\n"

    yield event("response.created", response={**whole, "status": "in_progress", "output": [], "usage": None})
    for index, item in enumerate(whole["output"]):
        yield event("response.output_item.added", output_index=index, item={**item, "status": "in_progress"})
        if item["type"] == "message":
            yield event(
                "response.output_text.delta",
                output_index=index,
                content_index=0,
                item_id=item["id"],
                delta=reply.text,
                logprobs=[],
            )
        yield event("response.output_item.done", output_index=index, item=item)
    yield event("response.completed", response=whole)
