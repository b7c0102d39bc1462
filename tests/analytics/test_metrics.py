"""Totals that survive recomputation, and the text that a scraper reads."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maslens.analytics import frames
from maslens.analytics.frames import UNATTRIBUTED
from maslens.analytics.metrics import Exposition, Part, exemplars
from maslens.analytics.totals import OVERFLOW, Totals, contributions, parse, series_of
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
HOSTILE = 'a"b\\c\nd{e}<script>,ü\u2028'


@dataclass(frozen=True)
class Facts:
    sessions: pl.DataFrame
    agent_runs: pl.DataFrame
    handoffs: pl.DataFrame
    llm_calls: pl.DataFrame
    tool_calls: pl.DataFrame
    agent_errors: pl.DataFrame
    bottlenecks: pl.DataFrame
    coordination: pl.DataFrame
    evaluations: pl.DataFrame


def rows(schema: frames.Schema, *given: dict[str, Any]) -> pl.DataFrame:
    """Rows of a fact: text is empty and numbers are 0 where a test does not care."""
    blank = {
        name: "" if kind == pl.String else [] if isinstance(kind, pl.List) else NOON if kind == frames.TIME else 0
        for name, kind in schema.items()
    }
    return pl.DataFrame([{**blank, "session_id": "s", **row} for row in given], schema=dict(schema), strict=False)


def facts(
    runs: tuple[dict[str, Any], ...] = (),
    handoffs: tuple[dict[str, Any], ...] = (),
    calls: tuple[dict[str, Any], ...] = (),
    tools: tuple[dict[str, Any], ...] = (),
    errors: tuple[dict[str, Any], ...] = (),
    sessions: tuple[dict[str, Any], ...] = (),
    bottlenecks: tuple[dict[str, Any], ...] = (),
    evaluations: tuple[dict[str, Any], ...] = (),
) -> Facts:
    return Facts(
        sessions=rows(frames.SESSIONS, *sessions),
        agent_runs=rows(frames.AGENT_RUNS, *runs),
        handoffs=rows(frames.HANDOFFS, *handoffs),
        llm_calls=rows(frames.LLM_CALLS, *calls),
        tool_calls=rows(frames.TOOL_CALLS, *tools),
        agent_errors=rows(frames.AGENT_ERRORS, *errors),
        bottlenecks=rows(frames.BOTTLENECKS, *bottlenecks),
        coordination=rows(frames.COORDINATION),
        evaluations=rows(frames.EVALUATIONS, *evaluations),
    )


@pytest.fixture
def desk() -> Facts:
    return facts(
        runs=(
            {"run_id": "1", "agent": "triage", "status": "ok", "duration_ns": 2 * 10**9, "trace_id": "t1"},
            {"run_id": "2", "agent": "billing", "status": "error", "duration_ns": 40 * 10**9, "trace_id": "t1"},
            {"run_id": "3", "agent": "billing", "status": "ok", "duration_ns": 10**13, "trace_id": "t2"},
        ),
        handoffs=(
            {
                "source": "triage",
                "target": "billing",
                "target_run_id": "2",
                "evidence": "explicit",
                "mode": "pass_control",
            },
            {"source": "billing", "target": "ghost", "evidence": "sequence", "mode": "pass_control"},
            {
                "source": "billing",
                "target": "lee",
                "evidence": "explicit",
                "mode": "pass_control",
                "connection_type": "virtual_node",
            },
        ),
        calls=(
            {
                "agent": "billing",
                "model": "gpt-4o",
                "status": "ok",
                "input_tokens": 100,
                "output_tokens": 10,
                "cached_tokens": 60,
                "reasoning_tokens": 4,
                "cost_usd": 0.25,
            },
            {
                "agent": "",
                "model": "house",
                "status": "ok",
                "input_tokens": 7,
                "cost_usd": None,
                "unpriced_reason": "unknown model",
            },
        ),
        tools=({"agent": "billing", "tool": "refund", "status": "error"},),
        errors=({"agent": "billing", "error_type": "Timeout"},),
        sessions=({"outcome": "partial", "duplicate_spans": 3},),
        bottlenecks=({"agent": "billing", "critical_ns": 3 * 10**9, "waiting_ns": 5 * 10**8},),
    )


def added(contributed: pl.DataFrame) -> dict[str, float]:
    return dict(contributed.group_by("series").agg(pl.col("value").sum()).iter_rows())


@dataclass
class Numbers:
    counters: Mapping[str, float] = field(default_factory=dict)
    traces: Mapping[str, Any] = field(default_factory=dict)

    def shown(self) -> Mapping[str, float]:
        return self.counters

    def exemplars(self) -> Mapping[str, Any]:
        return self.traces


def scraped(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_text(text.decode())
        for sample in family.samples
    }


# --- what a session contributes --------------------------------------------------------------------------------------


def test_contributions(desk: Facts) -> None:
    got = added(contributions(desk, final={"s"}))
    expected = {
        ("maslens_agent_runs", ("triage", "", "ok")): 1,
        ("maslens_agent_runs", ("billing", "", "error")): 1,
        ("maslens_agent_runs", ("billing", "", "ok")): 1,
        ("maslens_agent_run_duration_seconds", ("triage", "2.5")): 1,
        ("maslens_agent_run_duration_seconds", ("triage", "sum")): 2,
        ("maslens_agent_run_duration_seconds", ("billing", "60")): 1,
        ("maslens_agent_run_duration_seconds", ("billing", "+Inf")): 1,
        ("maslens_agent_run_duration_seconds", ("billing", "sum")): 10040,
        ("maslens_agent_errors", ("billing", "Timeout")): 1,
        ("maslens_agent_llm_calls", ("billing", "gpt-4o", "ok")): 1,
        ("maslens_agent_llm_calls", (UNATTRIBUTED, "house", "ok")): 1,
        ("maslens_agent_tool_calls", ("billing", "refund", "error")): 1,
        ("maslens_agent_tokens", ("billing", "gpt-4o", "input")): 100,
        ("maslens_agent_tokens", ("billing", "gpt-4o", "output")): 10,
        ("maslens_agent_tokens", (UNATTRIBUTED, "house", "input")): 7,
        ("maslens_agent_cached_tokens", ("billing", "gpt-4o")): 60,
        ("maslens_agent_reasoning_tokens", ("billing", "gpt-4o")): 4,
        ("maslens_agent_cost_usd", ("billing", "gpt-4o")): 0.25,
        ("maslens_agent_unpriced_calls", (UNATTRIBUTED, "house", "unknown model")): 1,
        ("maslens_agent_critical_path_seconds", ("billing",)): 3,
        ("maslens_agent_waiting_seconds", ("billing",)): 0.5,
        ("maslens_handoffs", ("triage", "billing", "pass_control", "explicit", "")): 1,
        ("maslens_handoffs", ("billing", "ghost", "pass_control", "sequence", "")): 1,
        ("maslens_handoffs", ("billing", "lee", "pass_control", "explicit", "")): 1,
        ("maslens_service_graph_request", ("triage", "billing", "")): 1,
        ("maslens_service_graph_request", ("billing", "lee", "virtual_node")): 1,
        ("maslens_service_graph_request_failed", ("triage", "billing", "")): 1,
        ("maslens_service_graph_request_server_seconds", ("triage", "billing", "", "60")): 1,
        ("maslens_service_graph_request_server_seconds", ("triage", "billing", "", "sum")): 40,
        ("maslens_service_graph_unpaired_spans", ("billing", "ghost")): 1,
        ("maslens_sessions", ("partial",)): 1,
        ("maslens_duplicate_spans", ()): 3,
    }
    assert _by_labels(got) == pytest.approx(expected)


ORDER = ("agent", "agent_version", "error_type", "model", "tool", "source", "target", "mode", "evidence", "client",
         "server", "connection_type", "status", "type", "reason", "outcome", "metric", "le")  # fmt: skip


def _by_labels(series: Mapping[str, float]) -> dict[tuple[str, tuple[str, ...]], float]:
    parsed = ((parse(name), value) for name, value in series.items())
    return {(name, tuple(labels[key] for key in ORDER if key in labels)): value for (name, labels), value in parsed}


def test_what_may_still_change_waits_until_the_session_is_settled(desk: Facts) -> None:
    names = set(added(contributions(desk, unsettled={"s"})))
    assert not any(UNATTRIBUTED in series or "ghost" in series or "maslens_sessions" in series for series in names)
    assert any("triage" in series for series in names)


def test_scores_are_counted_and_added_up_where_they_are_not_negative() -> None:
    judged = {"agent": "billing", "name": "helpful", "evaluator_type": "human"}
    got = added(
        contributions(
            facts(
                evaluations=(
                    {**judged, "score": 0.25, "label": "poor"},
                    {**judged, "score": 0.5, "label": "poor"},
                    {**judged, "score": -1.0, "label": ""},
                    {**judged, "score": None, "label": "good"},
                )
            )
        )
    )
    who = {"evaluator_type": "human", "agent": "billing", "evaluation": "helpful"}
    assert got == {
        series_of("maslens_agent_evaluations", **who, label="poor"): 2,
        series_of("maslens_agent_evaluations", **who, label="(none)"): 1,
        series_of("maslens_agent_evaluations", **who, label="good"): 1,
        series_of("maslens_agent_evaluation_scored", **who): 2,
        series_of("maslens_agent_evaluation_score_sum", **who): 0.75,
    }


def test_names_of_any_length_and_content_stay_apart_and_bounded() -> None:
    got = added(contributions(facts(runs=({"agent": HOSTILE, "status": "ok"}, {"agent": "x" * 10**6, "status": "ok"}))))
    assert {parse(series)[1]["agent"] for series in got} == {HOSTILE, "x" * 120}


# --- totals ----------------------------------------------------------------------------------------------------------


def contributed(*given: tuple[str, str, float]) -> pl.DataFrame:
    schema = {"session_id": pl.String, "series": pl.String, "value": pl.Float64}
    rows = [{"session_id": s, "series": a, "value": v} for s, a, v in given]
    return pl.DataFrame(rows, schema=schema)


def runs_of(agent: str) -> str:
    return series_of("maslens_agent_runs", agent=agent, agent_version="", status="ok")


def test_a_correction_never_lowers_a_counter_and_is_itself_counted() -> None:
    totals = Totals()
    first = contributed(("s", runs_of("unknown"), 2.0))
    totals.apply(totals.moved(contributed(), first))
    second = contributed(("s", runs_of("billing"), 2.0))
    totals.apply(totals.moved(first, second))
    assert totals.net[runs_of("unknown")] == 0
    assert totals.shown[runs_of("unknown")] == 2
    assert totals.shown[runs_of("billing")] == 2
    assert totals.shown[series_of("maslens_corrections", metric="maslens_agent_runs")] == 2
    totals.apply(totals.moved(contributed(), contributed(("z", runs_of("unknown"), 2.0))))
    assert totals.shown[runs_of("unknown")] == 2  # it has caught up: nothing is counted twice for good


def test_limit_folds_further_series_into_one_and_keeps_the_sum() -> None:
    totals = Totals(limit=10)
    many = contributed(*(("s", runs_of(f"agent{i}"), 1.0) for i in range(100)))
    bounded = totals.bounded(many)
    totals.apply(totals.moved(contributed(), bounded))
    assert len(totals.shown) == 11
    assert sum(totals.shown.values()) == 100
    overflow = series_of("maslens_agent_runs", agent=OVERFLOW, agent_version=OVERFLOW, status="ok")
    assert totals.shown[overflow] == 90
    assert totals.limited == {"maslens_agent_runs": 90}
    again = Totals(limit=10)
    again.restore((series, totals.net[series], totals.shown[series]) for series in totals.net)
    assert again.bounded(many).sort("series").equals(bounded.sort("series"))


SERIES = st.sampled_from([runs_of(agent) for agent in ("a", "b", "c", HOSTILE)])
STATE = st.dictionaries(SERIES, st.floats(0, 100).map(lambda v: round(v, 3)), max_size=4)


@settings(max_examples=100, deadline=None)
@given(
    history=st.lists(st.tuples(st.sampled_from(["s1", "s2", "s3"]), STATE), max_size=20), restart_at=st.integers(0, 20)
)
def test_totals_are_what_sessions_contribute_last_whatever_happened_on_the_way(
    history: list[tuple[str, dict[str, float]]], restart_at: int
) -> None:
    totals = Totals()
    current: dict[str, pl.DataFrame] = {}
    highest: dict[str, float] = {}
    for step, (session, state) in enumerate(history):
        after = contributed(*((session, series, value) for series, value in state.items()))
        totals.apply(totals.moved(current.get(session, contributed()), after))
        current[session] = after
        for series, value in totals.shown.items():
            assert value >= highest.get(series, 0.0)
            highest[series] = value
        if step == restart_at:
            rows = [(series, totals.net[series], totals.shown[series]) for series in totals.net]
            totals = Totals()
            totals.restore(rows)
    exact = added(pl.concat([contributed(), *current.values()]))
    runs = {series: net for series, net in totals.net.items() if series.startswith("maslens_agent_runs")}
    assert {s: v for s, v in runs.items() if v} == pytest.approx({s: v for s, v in exact.items() if v}, abs=1e-9)


# --- the text --------------------------------------------------------------------------------------------------------


@pytest.fixture
def numbers(desk: Facts) -> Numbers:
    hostile = facts(runs=({"agent": HOSTILE, "status": "ok", "duration_ns": 10**9, "trace_id": "t9"},))
    everything = {**added(contributions(desk, final={"s"})), **added(contributions(hostile))}
    return Numbers(everything, exemplars(desk, seconds_since_epoch=1e9))


def test_text_is_read_back(numbers: Numbers) -> None:
    text, content_type = Exposition(numbers, process=False).render()
    assert content_type.startswith("text/plain")
    got = scraped(text)
    status = ("agent_version", ""), ("status", "ok")
    assert got["maslens_agent_runs_total", (("agent", "triage"), *status)] == 1
    assert got["maslens_agent_runs_total", (("agent", HOSTILE), *status)] == 1
    labels = ("agent", "billing"), ("model", "gpt-4o")
    assert got["maslens_agent_cost_usd_total", labels] == 0.25
    assert got["maslens_agent_tokens_total", (*labels, ("type", "input"))] == 100
    assert got["maslens_agent_run_duration_seconds_bucket", (("agent", "billing"), ("le", "30.0"))] == 0
    assert got["maslens_agent_run_duration_seconds_bucket", (("agent", "billing"), ("le", "60.0"))] == 1
    assert got["maslens_agent_run_duration_seconds_bucket", (("agent", "billing"), ("le", "+Inf"))] == 2
    assert got["maslens_agent_run_duration_seconds_count", (("agent", "billing"),)] == 2
    assert got["maslens_agent_run_duration_seconds_sum", (("agent", "billing"),)] == 10040


def test_openmetrics_has_exemplars(numbers: Numbers) -> None:
    text, content_type = Exposition(numbers, process=False).render(OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text")
    assert text.decode().endswith("# EOF\n")
    samples = [sample for family in parse_openmetrics(text.decode()) for sample in family.samples]
    slow = {s.labels["le"]: s.exemplar for s in samples if s.labels.get("agent") == "billing" and "le" in s.labels}
    assert slow["60.0"] is not None
    assert slow["60.0"].labels == {"trace_id": "t1"}
    assert slow["+Inf"].labels == {"trace_id": "t2"}
    assert slow["30.0"] is None


@dataclass(frozen=True)
class Snapshot:
    spans_total: int = 5
    journal_bytes: float = 1.5
    rejected_total: Mapping[str, int] = field(default_factory=lambda: {"bad id": 2, "absurd time": 1})
    received_total: Mapping[str, Mapping[str, int]] = field(default_factory=lambda: {"traces": {"grpc": 3}})
    name: str = "not a number"
    empty_total: Mapping[str, int] = field(default_factory=dict)


def test_other_parts_are_read_at_each_scrape() -> None:
    now = {"lag_seconds": 1.0}
    exposition = Exposition(
        Numbers(),
        [Part(prefix="maslens_receiver", snapshot=Snapshot), Part(prefix="maslens_sidecar", snapshot=lambda: now)],
        process=False,
    )
    got = scraped(exposition.render()[0])
    assert got["maslens_receiver_spans_total", ()] == 5
    assert got["maslens_receiver_journal_bytes", ()] == 1.5
    assert got["maslens_receiver_rejected_total", (("kind", "bad id"),)] == 2
    assert got["maslens_receiver_received_total", (("kind", "grpc"), ("signal", "traces"))] == 3
    assert not any("name" in name or "empty" in name for name, _ in got)
    now["lag_seconds"] = math.inf
    assert scraped(exposition.render()[0])["maslens_sidecar_lag_seconds", ()] == math.inf


def test_prometheus_finds_nothing_to_say(numbers: Numbers) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool (Debian package prometheus) is not installed")
    exposition = Exposition(numbers, [Part(prefix="maslens_receiver", snapshot=Snapshot)], process=False)
    said = subprocess.run(
        [promtool, "check", "metrics"], input=exposition.render()[0], capture_output=True, timeout=30, check=False
    )
    assert (said.returncode, said.stdout + said.stderr) == (0, b"")


def test_ten_thousand_series_are_scraped_in_no_time() -> None:
    many = {runs_of(f"agent{i}"): float(i) for i in range(10_000)}
    exposition = Exposition(Numbers(many), process=False)
    began = datetime.now(tz=timezone.utc)
    text, _ = exposition.render()
    took = datetime.now(tz=timezone.utc) - began
    print(f"\nscrape of 10,000 series: {took / timedelta(milliseconds=1):.0f} ms, {len(text) / 1e6:.1f} MB")
    assert text.count(b"\nmaslens_agent_runs_total{") == 10_000
