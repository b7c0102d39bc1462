"""One process of `tests.bench.instrumentation`: the bare SDK, our decorators and our blocks take turns at one endpoint.

A step is an agent with a tool and a model call inside it: three spans. All three ways write spans with the same names
and attributes, held to be so here. They wait in queues of the same size, of the SDK's batch processor and of ours, and
go through the same exporter. Time is that of the app's own thread (`time.thread_time`). Nobody's log messages are made:
the SDK's cost it much where it drops.
"""

from __future__ import annotations

import json
import logging
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

WAYS = ("bare", "decorators", "blocks")
STEPS = 60  # of one way in a row
PAUSE_S = 0.025  # after them, in which a healthy endpoint takes what they wrote
SINGLE = 600  # steps of each way timed one by one, for the slowest
QUEUE, BATCH, DELAY_MS = 4096, 512, 500  # as `init` has them

SESSION = {"gen_ai.conversation.id": "c-1"}
CODE = {"code.function.name": "tests.bench.instrumented_steps.work"}
AGENT = {
    "gen_ai.operation.name": "invoke_agent",
    "gen_ai.agent.name": "billing",
    "mas.agent.role": "worker",
    "mas.agent.instance.id": "0123456789abcdef",
}
TOOL = {
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.tool.name": "refund",
    "gen_ai.tool.type": "function",
    "gen_ai.agent.name": "billing",
    "mas.agent.instance.id": "0123456789abcdef",
}
CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "m",
    "gen_ai.provider.name": "openai",
    "gen_ai.agent.name": "billing",
    "mas.agent.instance.id": "0123456789abcdef",
}
USAGE = {"gen_ai.usage.input_tokens": 101, "gen_ai.usage.output_tokens": 11}
Take: TypeAlias = Callable[[int], None]


def ways(tracer: Any) -> dict[str, Take]:
    """For each way a function that takes `count` steps; `tracer` is the bare SDK's."""
    from maslens.instrumentation import agent, llm, tool

    def bare(count: int) -> None:
        span = tracer.start_as_current_span
        for _ in range(count):
            with span("invoke_agent billing", attributes={**SESSION, **AGENT, **CODE}):
                with span("execute_tool refund", attributes={**SESSION, **TOOL, **CODE}):
                    pass
                with span("chat m", attributes={**SESSION, **CHAT}) as call:
                    for key, value in USAGE.items():
                        call.set_attribute(key, value)

    @tool("refund")
    def refund() -> None: ...

    @agent("billing", role="worker")
    def billing() -> None:
        refund()
        with llm("m", provider="openai") as call:
            call.usage(101, 11)

    def decorators(count: int) -> None:
        for _ in range(count):
            billing()

    def blocks(count: int) -> None:
        for _ in range(count):
            with agent("billing", role="worker", attributes=CODE):
                with tool("refund", attributes=CODE):
                    pass
                with llm("m", provider="openai") as call:
                    call.usage(101, 11)

    return {"bare": bare, "decorators": decorators, "blocks": blocks}


def same_spans() -> dict[str, int]:
    """How many attributes each span of a step has; fails unless all ways write the same names and attributes."""
    from maslens.instrumentation.runtime import runtime
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    seen = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(seen))
    before, runtime.tracer_provider = runtime.tracer_provider, provider
    written = {}
    for way, take in ways(provider.get_tracer("bare")).items():
        seen.clear()
        take(1)
        written[way] = sorted((span.name, sorted(span.attributes or ())) for span in seen.get_finished_spans())
    runtime.tracer_provider = before
    assert len(written["bare"]) == 3
    assert written["bare"] == written["decorators"] == written["blocks"], written
    return {name: len(keys) for name, keys in written["bare"]}


class Bare:
    """The SDK, set up by hand."""

    def __init__(self) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        taken = self.taken = [0]

        class Counted(OTLPSpanExporter):
            def export(self, spans: Any) -> Any:
                taken[0] += len(spans)
                return super().export(spans)

        self.processor = BatchSpanProcessor(
            Counted(), max_queue_size=QUEUE, schedule_delay_millis=DELAY_MS, max_export_batch_size=BATCH
        )
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(self.processor)
        self.tracer = provider.get_tracer("bare")

    def dropped(self, written: int) -> int:
        return written - self.taken[0] - len(self.processor._batch_processor._queue)


class Ours:
    """`init()`, as an app calls it."""

    def __init__(self) -> None:
        from maslens.instrumentation import init
        from maslens.instrumentation.waiting import SpanBatches
        from opentelemetry import trace

        assert init()
        provider: Any = trace.get_tracer_provider()
        (self.batches,) = [
            one for one in provider._active_span_processor._span_processors if isinstance(one, SpanBatches)
        ]

    def dropped(self) -> int:
        return self.batches.outlet.dropped + self.batches.outlet.room.refused


def measured(rounds: int) -> dict[str, Any]:
    """What `rounds` blocks of each way cost here, at the endpoint that the environment names."""
    from maslens.instrumentation import internal_errors, session, shutdown, vote

    logging.disable(logging.CRITICAL)
    known = set(threading.enumerate())
    bare, bares = Bare(), _threads_since(known)
    ours, our = Ours(), _threads_since(known | set(bares))
    take = ways(bare.tracer)
    with session("c-1"):
        attributes = same_spans()
        for way in WAYS:
            take[way](100)
        resting = _resident()
        for way in WAYS:  # where nothing is taken away, the queues are full from now on
            for _ in range(QUEUE // (3 * STEPS) + 1):
                take[way](STEPS)
                time.sleep(PAUSE_S)
        written = {"bare": 3 * (100 + STEPS * (QUEUE // (3 * STEPS) + 1))}
        before = [_cpu_s(bares), _cpu_s(our)]
        spent = _turns(take, rounds)
        time.sleep(2 * DELAY_MS / 1e3)
        exporting = [_cpu_s(bares) - before[0], _cpu_s(our) - before[1]]
        written["bare"] += 3 * STEPS * rounds
        slowest = _slowest(take)
        written["bare"] += 3 * SINGLE
        grown = _resident() - resting
        for number in range(20):
            vote(str(number), consensus="c")
        take["decorators"](STEPS)
    dropped = {"bare": bare.dropped(written["bare"]), "ours": ours.dropped()}
    leaving = time.perf_counter()
    shutdown()
    return {
        "us_per_step": {way: [seconds / STEPS * 1e6 for seconds in turns] for way, turns in spent.items()},
        "exporting_us_per_step": {
            "bare": exporting[0] / (rounds * STEPS) * 1e6,
            "ours": exporting[1] / (2 * rounds * STEPS) * 1e6,
        },
        "slowest_ms": slowest,
        "dropped": dropped,
        "grown_mib": grown / 2**20,
        "exit_ms": (time.perf_counter() - leaving) * 1e3,
        "attributes": attributes,
        "internal_errors": dict(internal_errors()),
    }


def _turns(take: dict[str, Take], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way's block in each round; their order is drawn anew each time."""
    spent: dict[str, list[float]] = {way: [] for way in WAYS}
    order, chance = list(WAYS), random.Random(7)
    for _ in range(rounds):
        chance.shuffle(order)
        for way in order:
            start = time.thread_time()
            take[way](STEPS)
            spent[way].append(time.thread_time() - start)
            time.sleep(PAUSE_S)
    return spent


def _slowest(take: dict[str, Take]) -> dict[str, float]:
    """Milliseconds on the clock of the slowest single step of each way: what an app could feel."""
    found = dict.fromkeys(WAYS, 0.0)
    for number in range(SINGLE):
        for way in WAYS:
            start = time.perf_counter()
            take[way](1)
            found[way] = max(found[way], (time.perf_counter() - start) * 1e3)
        if number % 50 == 0:
            time.sleep(PAUSE_S)
    return found


def _threads_since(known: set[threading.Thread]) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread not in known]


def _cpu_s(threads: list[threading.Thread]) -> float:
    return sum(
        time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
        for thread in threads
        if thread.ident is not None and thread.is_alive()
    )


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    print(json.dumps(measured(int(sys.argv[1]))), flush=True)
    os._exit(0)  # the bare SDK would wait for its endpoint for up to half a minute
