"""What reading contents costs: `python -m tests.bench.contents` prints spans per CPU-second of `facts.compute`.

Sessions of four agents that hand over once each, bare and with contents (growing histories, figures, tool results);
with the facts that read contents and without them, in turns in one process.
"""

from __future__ import annotations

import json
import random
import time
from contextlib import ExitStack
from unittest.mock import patch

import polars as pl
from maslens.analytics import facts, frames

from tests.analytics.made_spans import Trace, frame

_WORDS = [f"word{number}" for number in range(3_000)]
_AGENTS = ("triage", "billing", "refunds", "writer")


def session(number: int, *, contents: bool) -> Trace:
    chance = random.Random(number)
    trace = Trace(f"t{number}", SessionId=f"s{number}")
    history = [{"role": "user", "content": _text(chance, 40)}]
    root = trace.span("workflow", "workflow", 0, 10_000)
    for place, agent in enumerate(_AGENTS):
        at = 210 * place
        run = trace.agent(agent, at, at + 200, root, **_given(history, contents))
        for step in range(3):
            begin, said, found = at + step * 20, _text(chance, 120), _text(chance, 60)
            answer = {"OutputContent": json.dumps([{"role": "assistant", "content": said}])} if contents else {}
            trace.call(begin, begin + 9, run, (100, 10), **_given(history, contents), **answer)
            result = {"ToolResult": json.dumps({"text": found, "amount": step})} if contents else {}
            trace.tool("lookup", begin + 10, begin + 19, run, **result)
            history += [{"role": "assistant", "content": said}, {"role": "tool", "content": found}]
        target = _AGENTS[(place + 1) % len(_AGENTS)]
        trace.span("handoff", "handoff", at + 190, at + 191, run, TransferSource=agent, TransferTarget=target)
    return trace


def _given(history: list[dict[str, str]], contents: bool) -> dict[str, str]:
    return {"InputContent": json.dumps(history)} if contents else {}


def _text(chance: random.Random, words: int) -> str:
    return " ".join(
        chance.choice(_WORDS) if chance.random() > 0.03 else str(chance.randrange(10_000)) for _ in range(words)
    )


def _without() -> ExitStack:
    """No quality, no drift; suspects are looked for in failed sessions only, and none has failed here."""
    off = ExitStack()
    off.enter_context(patch.object(facts, "handoff_quality", lambda *_: frames.empty(frames.HANDOFF_QUALITY)))
    off.enter_context(patch.object(facts, "context_drift", lambda *_: frames.empty(frames.CONTEXT_DRIFT)))
    return off


def _cpu(spans: pl.DataFrame) -> float:
    began = time.process_time()
    facts.compute(spans)
    return time.process_time() - began


def main() -> None:
    for contents in (False, True):
        spans = frame(*(session(number, contents=contents) for number in range(100)))
        size = int(spans.estimated_size()) // len(spans)
        _cpu(spans)
        whole, less = [], []
        for _ in range(5):
            whole.append(_cpu(spans))
            with _without():
                less.append(_cpu(spans))
        best, without = len(spans) / min(whole), len(spans) / min(less)
        print(f"{size} B a span: {best:.0f} spans per CPU-s, {without:.0f} without, ratio {best / without:.2f}")


if __name__ == "__main__":
    main()
