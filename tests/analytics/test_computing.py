"""Facts computed in processes of their own: the same facts, and nothing is lost with a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from maslens.analytics import frames
from maslens.analytics.computing import Compute, ComputeError, Elsewhere, fact_rules, spare_processes
from maslens.analytics.facts import Facts, compute
from maslens.analytics.sidecar import Sidecar, SidecarConfig
from maslens.storage import Store, open_store

from tests.analytics.test_sidecar import FACTS, Clock, desk, empty, put


def frame(spans: list[dict[str, Any]]) -> pl.DataFrame:
    schema = {name: dtype for name, dtype in frames.AGENT_SPANS.items() if any(name in span for span in spans)}
    return frames.agent_spans(pl.DataFrame(spans, schema_overrides=schema, infer_schema_length=None))


def refusing_the_letter_f() -> Compute:
    def rules(spans: pl.DataFrame, events: pl.DataFrame | None) -> Facts:
        if "f" in spans["TraceId"].str.slice(0, 1).to_list():
            raise ValueError("no facts of traces that begin with f")
        return compute(spans, events)

    return rules


def slow() -> Compute:
    def rules(spans: pl.DataFrame, events: pl.DataFrame | None) -> Facts:
        time.sleep(60)
        return compute(spans, events)

    return rules


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    computing = Elsewhere(fact_rules, processes=2)
    yield computing
    computing.close()


def pids(of: int | None = None) -> list[int]:
    """The processes that `of` (this one) has started and that live."""
    parent = str(of or os.getpid())
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                state, ppid = (place / "stat").read_text().rpartition(")")[2].split()[:2]
                command = (place / "cmdline").read_bytes()
            except OSError:
                continue
            if ppid == parent and state != "Z" and b"analytics.computing" in command:
                found.append(int(place.name))
    return sorted(found)


def same(left: Any, right: Any) -> None:
    for field in fields(Facts):
        ours, theirs = getattr(left, field.name), getattr(right, field.name)
        assert ours.schema == theirs.schema
        assert ours.equals(theirs), field.name


def test_facts_are_the_same_elsewhere(elsewhere: Elsewhere) -> None:
    chunks = [frame([*desk(letter * 32, session=f"session {letter}")]) for letter in "abcdef"]
    begun = [elsewhere.begin(chunk, None) for chunk in chunks]
    for chunk, facts in zip(chunks, begun, strict=True):
        same(facts(), fact_rules()(chunk, None))


def test_what_goes_wrong_there_is_said_here_and_the_next_is_served() -> None:
    computing = Elsewhere(refusing_the_letter_f, processes=1)
    try:
        with pytest.raises(ComputeError, match="no facts of traces that begin with f"):
            computing.begin(frame(desk("f" * 32)), None)()
        assert len(computing.begin(frame(desk("a" * 32)), None)().agent_runs) == 2
        assert computing.restarts == 0
    finally:
        computing.close()


def test_rules_that_cannot_be_made_are_an_error_each_time() -> None:
    computing = Elsewhere(partial(fact_rules, Path("/nowhere/prices.yaml")), processes=1)
    try:
        for _ in range(2):
            with pytest.raises(ComputeError, match=r"nowhere/prices\.yaml"):
                computing.begin(frame(desk()), None)()
    finally:
        computing.close()


def test_a_process_that_dies_is_started_again() -> None:
    computing = Elsewhere(fact_rules, processes=1)
    try:
        (pid,) = pids()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ComputeError, match="ended with -9"):
            computing.begin(frame(desk()), None)()
        assert len(computing.begin(frame(desk()), None)().agent_runs) == 2
        assert computing.restarts == 1
    finally:
        computing.close()
    assert not pids()


def test_signals_are_for_the_one_that_started_it(elsewhere: Elsewhere) -> None:
    elsewhere.begin(frame(desk()), None)()
    begun = pids()
    assert len(begun) == 2
    elsewhere.begin(frame(desk()), None)()  # both have had time to start
    for pid in begun:
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
    assert len(elsewhere.begin(frame(desk()), None)().agent_runs) == 2
    assert elsewhere.restarts == 0
    assert pids() == begun


def test_they_end_with_the_one_that_started_them_however_it_ends() -> None:
    program = (
        "from maslens.analytics.computing import Elsewhere, fact_rules\n"
        "import time\n"
        "Elsewhere(fact_rules, processes=2)\n"
        "print('begun', flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "begun\n"
    children = pids(parent.pid)
    assert len(children) == 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    give_up = time.monotonic() + 30
    while any(Path(f"/proc/{pid}/cmdline").exists() for pid in children) and time.monotonic() < give_up:
        time.sleep(0.05)
    assert not [pid for pid in children if Path(f"/proc/{pid}/cmdline").exists()]


def test_close_does_not_wait_for_what_nobody_wants_any_more() -> None:
    computing = Elsewhere(slow, processes=1)
    first, second = (computing.begin(frame(desk()), None) for _ in range(2))
    began = time.monotonic()
    computing.close()
    assert time.monotonic() - began < 30  # not 60, and not 120
    for facts in (first, second):
        with pytest.raises((ComputeError, CancelledError)):
            facts()


@pytest.mark.parametrize("processes", [1, 2])
def test_the_sidecar_writes_the_same_facts(processes: int, tmp_path: Path) -> None:
    store = open_store(f"chdb://{tmp_path}/data")
    store.migrate()
    try:
        spans = [span for letter in "abcdef" for span in desk(letter * 32, session=f"session {letter}")]
        wanted = _facts(store, Sidecar(store, fact_rules(), SidecarConfig(patience=0.0), clock=Clock()), spans)
        empty(store)
        computing = Elsewhere(fact_rules, processes=processes)
        # Every session is a chunk of its own.
        beside = Sidecar(store, computing, SidecarConfig(patience=0.0, chunk_spans=7), clock=Clock())
        try:
            assert _facts(store, beside, spans) == wanted
        finally:
            beside.close()
    finally:
        store.close()


def _facts(store: Store, sidecar: Sidecar, spans: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    half = len(spans) // 2 + 3
    for part in (spans[:half], spans[half:]):
        put(store, part)
        sidecar.drain()
    found = {name: store.rows(f"SELECT * FROM {name} ORDER BY ALL") for name in FACTS}
    found["totals"] = store.rows("SELECT series, net FROM metric_totals ORDER BY series")
    assert len(found["sessions"]) == 6
    return found


def test_one_process_where_there_is_a_core_for_it() -> None:
    assert [spare_processes(cores) for cores in (1, 2, 8)] == [0, 1, 1]


def test_their_number_is_bounded() -> None:
    with pytest.raises(ValueError, match="1 to 64"):
        Elsewhere(fact_rules, processes=0)
