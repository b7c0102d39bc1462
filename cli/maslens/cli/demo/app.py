"""The help desk as a process of its own, as any app would be: `python -m maslens.cli.demo.app --endpoint URL`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from random import Random

from maslens.cli.demo import clock
from maslens.cli.demo.desk import handle
from maslens.cli.demo.script import case_of
from maslens.instrumentation import init, shutdown
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

SPREAD_S = 6 * 3600  # the cases came in over this long, and the last one just now
LONGEST_S = 90  # no case takes longer
FLUSH_EVERY = 20  # cases; far fewer spans than the exporter's queue holds


def main(arguments: list[str] | None = None) -> None:
    options = _parsed(arguments)
    init(service_name="help-desk", endpoint=options.endpoint, capture_content=True)
    clock.rule_the_sdk()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the demo that started us; it ends us by SIGTERM
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    starts = _starts(options.sessions, options.seed, now_ns=time.time_ns())
    for number, start_ns in enumerate(starts):
        asyncio.run(_one(number, options.sessions, options.seed, start_ns))
        if number % FLUSH_EVERY == FLUSH_EVERY - 1:
            _flush()
        print(number + 1, flush=True)
    _flush()
    number = options.sessions
    while options.keep_going:
        time.sleep(1.5)
        asyncio.run(_one(number, options.sessions, options.seed, time.time_ns() - LONGEST_S * 10**9))
        _flush()
        number += 1
    shutdown()


async def _one(number: int, of: int, seed: int, start_ns: int) -> None:
    clock.begin(start_ns)
    await handle(case_of(number, of, seed))


def _starts(sessions: int, seed: int, *, now_ns: int) -> list[int]:
    luck = Random(seed)  # noqa: S311 a script, no secret
    ago = sorted((luck.uniform(LONGEST_S, SPREAD_S) for _ in range(sessions)), reverse=True)
    return [now_ns - int(seconds * 1e9) for seconds in ago]


def _flush() -> None:
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        provider.force_flush()


def _parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", default="http://127.0.0.1:4318", help="where to send OTLP over HTTP")
    parser.add_argument("--sessions", type=int, default=300)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--keep-going", action="store_true", help="afterwards, one more case every second or so")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
