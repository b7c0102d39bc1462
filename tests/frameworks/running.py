"""One run of a framework's program: what it said, what its model served, what arrived, what maslens makes of it."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeAlias

import httpx
import polars as pl
from maslens.analytics.facts import Facts

from tests.e2e.running import Up, eventually
from tests.frameworks.build import python_of
from tests.frameworks.facts import edges, facts_of, tokens_per_agent
from tests.frameworks.scripted_model import ScriptedModel
from tests.instrumentation.otlp_sink import Sink

HERE = Path(__file__).parent
Way: TypeAlias = Literal["maslens run", "opentelemetry-instrument", "without maslens"]


@dataclass(frozen=True)
class Ran:
    """One run of the program of one framework, its truth beside its facts."""

    script: ModuleType
    way: Way
    status: int
    said: str
    complained: str
    outside: list[str]  # where the program, or anything in it, wanted to connect to, loopback left out
    model: ScriptedModel
    spans: list[dict[str, Any]]  # rows of otel_traces
    facts: Facts


def run(name: str, way: Way) -> Ran:
    """The program of the framework `name`, not a line of it changed."""
    script = importlib.import_module(f"tests.frameworks.{name}.script")
    with tempfile.TemporaryDirectory(prefix="maslens-frameworks-") as folder:
        told = Path(folder) / "outside"
        with ScriptedModel(script.SCRIPT) as model, _receiver(way, Path(folder)) as receiver:
            done = subprocess.run(
                _command(name, way),
                env=_environment(name, way, model.url, receiver.url, told, getattr(script, "ENVIRON", {})),
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=280,
            )
            spans, facts = receiver.taken()
        outside = sorted(set(told.read_text().split())) if told.exists() else []
    return Ran(script, way, done.returncode, done.stdout, done.stderr, outside, model, spans, facts)


def _command(name: str, way: Way) -> list[str | Path]:
    program: list[str | Path] = ["python", HERE / name / "program.py"]
    beside = python_of(name).parent
    if way == "maslens run":
        return [beside / "maslens", "run", *program]
    return [beside / way, *program] if way == "opentelemetry-instrument" else program


def _environment(name: str, way: Way, model: str, receiver: str, told: Path, more: Mapping[str, str]) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "MASLENS_", "OPENAI_"))}
    return {
        **kept,
        "PATH": f"{python_of(name).parent}{os.pathsep}{kept['PATH']}",
        "PYTHONPATH": str(HERE / ("plain" if way == "without maslens" else "inside")),
        "OPENAI_BASE_URL": model,
        "OPENAI_API_BASE": model,
        "OPENAI_API_KEY": "scripted",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver,
        "TOLD_OUTSIDE": str(told),
        **more,
    }


@contextmanager
def _receiver(way: Way, folder: Path) -> Iterator[_Maslens | _Recorder]:
    if way == "without maslens":
        sink = Sink().start()
        try:
            yield _Recorder(sink, folder)
        finally:
            sink.stop()
        return
    up = Up(folder / "data").start()
    try:
        yield _Maslens(up)
    finally:
        up.stop()


@dataclass(frozen=True)
class _Recorder:
    """Bodies kept as they came, and the facts computed from them here: quicker, for what is only compared with."""

    sink: Sink
    folder: Path

    @property
    def url(self) -> str:
        return self.sink.url

    def taken(self) -> tuple[list[dict[str, Any]], Facts]:
        return [], facts_of(self.sink.bodies, self.folder / "data")


@dataclass(frozen=True)
class _Maslens:
    """A real `maslens up`: receiver, journal, engine and sidecar; facts are what its SQL endpoint answers."""

    up: Up

    @property
    def url(self) -> str:
        return self.up.otlp_http

    def taken(self) -> tuple[list[dict[str, Any]], Facts]:
        eventually(lambda: self._metric("maslens_journal_lag_items") == 0, within_s=60)
        steps = self._metric("maslens_sidecar_steps_total")  # the one under way may have begun too early
        eventually(lambda: self._metric("maslens_sidecar_steps_total") >= steps + 2, within_s=60)
        eventually(lambda: self._metric("maslens_sidecar_lag_spans") == 0, within_s=60)
        facts = Facts(**{one.name: self._frame(one.name) for one in fields(Facts)})
        return self._rows("SELECT SpanName, ScopeName, SpanAttributes FROM otel_traces"), facts

    def _metric(self, name: str) -> float:
        lines = httpx.get(f"{self.up.url}/metrics", timeout=30).text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    def _rows(self, sql: str) -> list[dict[str, Any]]:
        answer = httpx.get(f"{self.up.addresses['clickhouse']}/", params={"query": f"{sql} FORMAT JSON"}, timeout=30)
        rows: list[dict[str, Any]] = json.loads(answer.raise_for_status().text)["data"]
        return rows

    def _frame(self, table: str) -> pl.DataFrame:
        answer = httpx.get(
            f"{self.up.addresses['clickhouse']}/",
            params={"query": f"SELECT * FROM {table} FORMAT ArrowStream"},
            timeout=30,
        )
        return pl.read_ipc_stream(answer.raise_for_status().content)


# --- truth beside facts


@dataclass(frozen=True, slots=True)
class Held:
    """What is true and what was found, of one kind."""

    true: Counter[Any]
    found: Counter[Any]

    @property
    def right(self) -> bool:
        return self.true == self.found

    def __str__(self) -> str:
        """`3 of 4, 1 false`; what is all right is `4`."""
        if self.right:
            return str(self.true.total())
        false = (self.found - self.true).total()
        return f"{(self.found & self.true).total()} of {self.true.total()}" + (f", {false} false" if false else "")


KINDS = ("agents", "handoffs", "tokens", "tools", "errors")


def held(ran: Ran) -> dict[str, Held]:
    """Each of `KINDS` beside the model server's own log; which errors were survived, beside the script.

    A tool that hands over or delegates is held as an edge, whether or not a framework shows it as a tool too.
    """
    facts, model = ran.facts, ran.model
    moving = {tool for call in model.served if call.reply and call.reply.moves for tool, _ in call.reply.tools}
    tools = facts.tool_calls.filter(~pl.col("tool").is_in(moving)).select("agent", "tool", "status")
    errors = facts.agent_errors.select("agent", "recovered")
    acted = {call.agent for call in model.served} | set(getattr(ran.script, "WITHOUT_MODEL", ()))
    return {
        "agents": Held(Counter(acted), Counter(set(facts.agent_runs["agent"]))),
        "handoffs": Held(Counter(model.handoffs()), Counter(edges(facts))),
        "tokens": Held(Counter(model.tokens().items()), Counter(tokens_per_agent(facts).items())),
        "tools": Held(Counter(model.tools()), Counter(tools.iter_rows())),
        "errors": Held(Counter(ran.script.ERRORS), Counter(errors.iter_rows())),
    }
