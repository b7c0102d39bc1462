"""Unchanged programs on real frameworks: the facts of a real maslens against the log of their model server."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache

import polars as pl
import pytest

from tests.frameworks.build import FRAMEWORKS, is_built
from tests.frameworks.running import KINDS, Ran, Way, held, run

WAYS: list[tuple[str, Way]] = [
    *((name, "maslens run") for name in FRAMEWORKS),
    ("pydantic_ai", "opentelemetry-instrument"),  # writes nothing by itself, so all of it is our distro's doing
]
_MODEL_CALLS = {"chat", "generate_content", "LLM"}  # gen_ai.operation.name or openinference.span.kind
_MADE_UP = re.compile(r"[0-9a-f-]{32,36}")  # the session of a run whose program names none

pytestmark = [pytest.mark.network, pytest.mark.slow]


@cache
def _ran(name: str, way: Way) -> Ran:
    return run(name, way)


@pytest.fixture(params=WAYS, ids=lambda param: f"{param[0]} under {param[1]}")
def ran(request: pytest.FixtureRequest) -> Ran:
    name, way = request.param
    if not is_built(name):
        pytest.skip(f"no environment for {name}: make frameworks ARGS={name}")
    return _ran(name, way)


def test_the_program_runs_as_it_would_without_us(ran: Ran) -> None:
    assert ran.status == 0, ran.complained
    assert [line for line in ran.said.splitlines() if re.match(r"\d+: ", line)] == ran.script.SAYS
    assert (ran.model.unexpected, ran.model.left_over()) == ([], {})
    assert not re.search("maslens is off|is not observed|does not take|failed inside", ran.complained)
    assert ran.way != "maslens run" or "sitecustomize ran" in ran.complained


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_facts_say_is_what_the_server_served(ran: Ran, kind: str) -> None:
    one = held(ran)[kind]
    assert one.found == one.true


def test_nothing_leaves_the_machine(ran: Ran) -> None:
    if ran.way != "maslens run":
        pytest.skip(f"{ran.way} hides the sitecustomize that watches")
    assert ran.outside == []


def test_every_model_call_is_there_once_and_failed_where_the_server_failed_it(ran: Ran) -> None:
    calls = Counter(ran.facts.llm_calls.select("agent", "status").iter_rows())
    served = Counter((call.agent, "ok" if call.status == 200 else "error") for call in ran.model.served)
    assert calls == served


def test_sessions_ended_as_they_did(ran: Ran) -> None:
    found = dict(ran.facts.sessions.select("session_id", "outcome").iter_rows())
    assert {session: how for session, how in found.items() if not _MADE_UP.fullmatch(session)} == ran.script.SESSIONS
    assert sorted(how for session, how in found.items() if _MADE_UP.fullmatch(session)) == ran.script.UNNAMED


def test_the_agent_stands_on_its_model_calls(ran: Ran) -> None:
    said = [span["SpanAttributes"] for span in ran.spans]
    calls = [
        has for has in said if {has.get("gen_ai.operation.name"), has.get("openinference.span.kind")} & _MODEL_CALLS
    ]
    assert calls
    agents = {has.get("gen_ai.agent.name") for has in calls}
    assert agents <= {call.agent for call in ran.model.served}


def test_tools_name_the_function_behind_them_where_the_framework_knows_it(ran: Ran) -> None:
    told = {span["SpanAttributes"].get("code.function.name", "").rpartition(".")[2] for span in ran.spans}
    assert told >= set(getattr(ran.script, "FUNCTIONS", ()))


def test_what_was_handed_over_is_told_on_both_sides(ran: Ran) -> None:
    passed = ran.facts.handoffs.filter(
        (pl.col("context_hash_sent") != "") & (pl.col("context_hash_received") != "")
    ).select("source", "target")
    assert Counter(passed.iter_rows()) == Counter(ran.script.CONTEXTS)
