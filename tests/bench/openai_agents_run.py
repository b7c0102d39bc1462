"""One way of observing runs of the OpenAI Agents SDK, in the environment of its framework test: prints µs of CPU a run.

A run is two agents, a handoff, a tool and three model calls by a model that answers at once; no server, no network.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any


def observe(way: str) -> None:
    if way == "maslens":
        from maslens.instrumentation.run import start

        start()
    elif way == "instrumentor":
        from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), max_queue_size=4096))
        trace.set_tracer_provider(provider)
        OpenAIAgentsInstrumentor().instrument()


def main() -> None:
    way, count = sys.argv[1], int(sys.argv[2])
    observe(way)
    from agents import Agent, Model, ModelResponse, Runner, Usage, function_tool, generation_span, set_tracing_disabled
    from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

    if way == "nothing":
        set_tracing_disabled(True)

    class Instant(Model):
        async def get_response(self, system_instructions: str, input: Any, *args: Any, **kwargs: Any) -> ModelResponse:
            items = [{"role": "user", "content": input}] if isinstance(input, str) else input
            said = [item for item in items if item.get("type") == "function_call"]
            with generation_span(input=items, model="m") as span:
                span.span_data.usage = {"input_tokens": 100, "output_tokens": 10}
                names = ["transfer_to_billing", "lookup_order"]
                if len(said) < len(names):
                    made: Any = ResponseFunctionToolCall(
                        type="function_call", name=names[len(said)], arguments='{"order": "7"}', call_id=f"c{len(said)}"
                    )
                    if len(said) == 0:
                        made.arguments = "{}"
                else:
                    text = ResponseOutputText(type="output_text", text="shipped", annotations=[])
                    made = ResponseOutputMessage(
                        id="m", type="message", role="assistant", status="completed", content=[text]
                    )
                return ModelResponse(output=[made], usage=Usage(), response_id="r")

        def stream_response(self, *args: Any, **kwargs: Any) -> Any:
            raise NotImplementedError

    @function_tool
    def lookup_order(order: str) -> str:
        return f"{order}: shipped"

    billing = Agent(name="billing", instructions="bills", tools=[lookup_order], model=Instant())
    triage = Agent(name="triage", instructions="sends on", handoffs=[billing], model=Instant())

    async def runs(number: int) -> None:
        for _ in range(number):
            done = await Runner.run(triage, "Where is order 7?")
            assert done.final_output == "shipped"

    async def measured() -> float:
        await runs(20)
        start = time.thread_time()
        await runs(count)
        return (time.thread_time() - start) / count * 1e6

    print(json.dumps({"us_per_run": asyncio.run(measured())}))
    from opentelemetry import trace

    shutdown = getattr(trace.get_tracer_provider(), "shutdown", None)
    if shutdown is not None:
        shutdown()


if __name__ == "__main__":
    main()
