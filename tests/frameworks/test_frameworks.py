"""Real programs on real frameworks under `maslens run`, not a line of them changed, against the model server's log."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
from maslens.analytics.facts import Facts

from tests.frameworks.build import python_of
from tests.frameworks.facts import edges, facts_of, tokens_per_agent
from tests.frameworks.scripted_model import ScriptedModel
from tests.instrumentation.otlp_sink import SeenSpan, Sink

HERE = Path(__file__).parent
FRAMEWORKS = sorted(path.parent.name for path in HERE.glob("*/script.py"))
_MODEL_SPANS = {"gen_ai.operation.name": ("chat", "generate_content"), "openinference.span.kind": ("LLM",)}

pytestmark = [pytest.mark.network, pytest.mark.slow]


@dataclass(frozen=True)
class Ran:
    """One run: what the program said, what the server served, what arrived, what maslens makes of it."""

    script: ModuleType
    status: int
    said: str
    complained: str
    model: ScriptedModel
    spans: list[SeenSpan]
    facts: Facts


@cache
def ran(name: str) -> Ran:
    python = python_of(name)
    if not python.exists():
        pytest.skip(f"no environment for {name}: make frameworks ARGS={name}")
    script = importlib.import_module(f"tests.frameworks.{name}.script")
    sink = Sink().start()
    with ScriptedModel(script.SCRIPT) as model:
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "MASLENS_"))}
        environ |= {
            "OPENAI_BASE_URL": model.url,
            "OPENAI_API_BASE": model.url,
            "OPENAI_API_KEY": "scripted",
            "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url,
            "PYTHONPATH": str(HERE / "inside"),
            **getattr(script, "ENVIRON", {}),
        }
        done = subprocess.run(
            [python, "-m", "maslens.instrumentation.run", python, HERE / name / "program.py"],
            env=environ,
            capture_output=True,
            text=True,
            timeout=240,
        )
    sink.stop()
    with tempfile.TemporaryDirectory() as folder:
        facts = facts_of(sink.bodies, Path(folder) / "store")
    return Ran(script, done.returncode, done.stdout, done.stderr, model, sink.spans, facts)


@pytest.fixture(params=FRAMEWORKS)
def run(request: pytest.FixtureRequest) -> Ran:
    return ran(request.param)


def test_the_program_runs_as_it_would_without_us(run: Ran) -> None:
    assert run.status == 0, run.complained
    assert [line for line in run.said.splitlines() if re.match(r"\d+: ", line)] == run.script.SAYS
    assert (run.model.unexpected, run.model.left_over()) == ([], {})
    assert not re.search("maslens is off|is not observed|does not take|failed inside", run.complained)
    assert "sitecustomize ran" in run.complained


def test_tokens_per_agent_are_those_the_server_served(run: Ran) -> None:
    assert tokens_per_agent(run.facts) == run.model.tokens()


def test_handoffs_are_those_the_model_asked_for(run: Ran) -> None:
    assert Counter(edges(run.facts)) == Counter(run.model.handoffs())


def test_every_model_call_is_there_once_and_failed_where_the_server_failed_it(run: Ran) -> None:
    calls = Counter(run.facts.llm_calls.select("agent", "status").iter_rows())
    served = Counter((call.agent, "ok" if call.status == 200 else "error") for call in run.model.served)
    assert calls == served


def test_errors_are_where_they_happened(run: Ran) -> None:
    found = Counter(run.facts.agent_errors.select("agent", "recovered").iter_rows())
    assert found == Counter(run.script.ERRORS)


def test_sessions_ended_as_they_did(run: Ran) -> None:
    if run.script.SESSIONS is None:
        assert run.facts.sessions.height > 0
        return
    found = dict(run.facts.sessions.select("session_id", "outcome").iter_rows())
    assert found == run.script.SESSIONS


def test_the_agent_stands_on_its_model_calls_and_tools(run: Ran) -> None:
    calls = [span for span in run.spans if any(span.attributes.get(k) in v for k, v in _MODEL_SPANS.items())]
    assert calls
    agents = Counter(span.attributes.get("gen_ai.agent.name") for span in calls)
    assert None not in agents
    assert set(agents) <= {call.agent for call in run.model.served}


def test_tools_name_the_function_behind_them_where_the_framework_knows_it(run: Ran) -> None:
    told = {str(span.attributes["code.function.name"]) for span in run.spans if "code.function.name" in span.attributes}
    assert {name.rpartition(".")[2] for name in told} >= set(getattr(run.script, "FUNCTIONS", ()))


def test_what_was_handed_over_is_told_on_both_sides(run: Ran) -> None:
    passed = run.facts.handoffs.filter(
        (pl.col("context_hash_sent") != "") & (pl.col("context_hash_received") != "")
    ).select("source", "target")
    assert Counter(passed.iter_rows()) == Counter(run.script.CONTEXTS)
