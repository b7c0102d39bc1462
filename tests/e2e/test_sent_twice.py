"""Everything sent twice and more, in other batches, orders and transports, and across restarts: no answer differs.

Two maslens get the same spans, one of them once. Whatever either says about them is compared whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import grpc
import httpx
import pytest
from maslens.analytics.questions import CATALOGUE, Entry
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from tests.contract.otlp.endpoint import METHODS
from tests.e2e.running import Up, answer, eventually
from tests.e2e.test_duplicates import PROTOBUF, SPANS, one_by_one, session

SESSIONS = tuple(f"s{number}" for number in range(6))
TIMES = 6  # that each span of the second came


@dataclass(frozen=True)
class Both:
    once: Up
    again: Up


def over_http(up: Up, *requests: ExportTraceServiceRequest) -> None:
    for request in requests:
        body = request.SerializeToString()
        httpx.post(f"{up.otlp_http}/v1/traces", content=body, headers=PROTOBUF, timeout=60).raise_for_status()


def over_grpc(up: Up, *requests: ExportTraceServiceRequest) -> None:
    with grpc.insecure_channel(up.otlp_grpc.removeprefix("grpc://")) as channel:
        for request in requests:
            channel.unary_unary(METHODS["traces"])(request.SerializeToString(), timeout=60)


def joined(requests: list[ExportTraceServiceRequest]) -> ExportTraceServiceRequest:
    whole = ExportTraceServiceRequest()
    for request in requests:
        whole.MergeFrom(request)
    return whole


def settled(up: Up, duplicates: int) -> None:
    """Every session has every span, and so many came again."""

    def counted() -> bool:
        rows = answer("query", "SELECT session_id, spans, duplicate_spans FROM sessions", f"--url={up.url}")
        return sorted((row["session_id"], row["spans"], row["duplicate_spans"]) for row in rows) == [
            (name, SPANS, duplicates) for name in SESSIONS
        ]

    eventually(counted, within_s=120)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("twice")
    sessions = [session(name) for name in SESSIONS]
    singles = [single for each in sessions for single in one_by_one(each)]
    once, again = Up(folder / "once").start(), Up(folder / "again").start()
    try:
        over_http(once, *sessions)
        over_grpc(again, *sessions)
        settled(again, 0)
        over_grpc(again, *reversed(singles))  # span by span, the last first
        over_http(again, joined(sessions))  # all in one, when they are in the facts already
        again.stop()
        again.start()
        shuffled = singles.copy()
        Random(7).shuffle(shuffled)
        over_http(again, *(joined(shuffled[start : start + 13]) for start in range(0, len(shuffled), 13)))
        settled(again, 3 * SPANS)
        again.kill()
        again.start()
        over_grpc(again, joined([*sessions, *sessions]))  # twice in one request
        settled(once, 0)
        settled(again, (TIMES - 1) * SPANS)
        once.stop()
        once.start()  # counters that begin anew with the process do so in both
        settled(once, 0)
        yield Both(once, again)
    finally:
        once.kill()
        again.kill()


def plain(content: Any) -> Any:
    """Without what counts the duplicates, or says when something was computed."""
    if isinstance(content, dict):
        return {
            key: plain(value)
            for key, value in content.items()
            if key not in ("duplicate_spans", "version", "computed_at", "projected_usd")
        }
    if isinstance(content, list):
        return sorted((plain(each) for each in content), key=lambda each: json.dumps(each, sort_keys=True))
    if isinstance(content, float):
        return round(content, 12)  # the engine adds in the order that rows come in
    return content


def every_way(entry: Entry) -> Iterator[dict[str, str]]:
    yield {}
    for option in entry.options:
        for choice in option.choices:
            yield {option.name: choice}
    if entry.name == "budgets":
        yield {"budgets": "50/day; agent first-s0 5/day"}


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.name)
def test_every_question_has_the_same_answer(both: Both, entry: Entry) -> None:
    for options in every_way(entry):

        def told(up: Up, options: dict[str, str] = options) -> Any:
            reply = httpx.get(f"{up.url}/api/v1/{entry.name}", params=options, timeout=60)
            return plain(reply.raise_for_status().json())

        if entry.name == "degradations":  # each server's watch looks when it is time
            eventually(lambda told=told: told(both.again) == told(both.once), within_s=90)
        assert told(both.again) == told(both.once), options


@pytest.mark.parametrize("entry", [entry for entry in CATALOGUE if entry.command], ids=lambda entry: entry.name)
def test_every_command_has_the_same_answer(both: Both, entry: Entry) -> None:

    def told(up: Up) -> Any:
        return plain(answer(entry.name, f"--url={up.url}"))

    if entry.name == "degradations":
        eventually(lambda: told(both.again) == told(both.once), within_s=90)
    assert told(both.again) == told(both.once)


def test_every_session_is_told_the_same(both: Both) -> None:
    for name in SESSIONS:
        told = [
            httpx.get(f"{up.url}/api/v1/sessions/{name}", timeout=60).raise_for_status().json()
            for up in (both.once, both.again)
        ]
        assert plain(told[1]) == plain(told[0])
    told = [
        httpx.get(f"{up.url}/api/v1/{path}", timeout=60).raise_for_status().json()
        for path in ("timeline", "summary")
        for up in (both.once, both.again)
    ]
    assert plain(told[1]) == plain(told[0])
    assert plain(told[3]) == plain(told[2])


def test_every_fact_is_the_same(both: Both) -> None:
    """Every view of facts there is, all of its rows."""
    facts = "SELECT name FROM system.tables WHERE database = currentDatabase() AND startsWith(name, 'fact_')"
    names = [row["name"].removeprefix("fact_") for row in answer("query", facts, f"--url={both.once.url}")]
    assert len(names) >= 14
    filled = 0
    for name in names:
        told = [plain(answer("query", f"SELECT * FROM {name}", f"--url={up.url}")) for up in (both.once, both.again)]
        assert told[1] == told[0], name
        filled += bool(told[0])
    assert filled >= 8


OWN = (
    "maslens_receiver",
    "maslens_journal",
    "maslens_loader",
    "maslens_sidecar",
    "maslens_watch",
    "maslens_processed_spans",  # what the sidecar has read
    "process_",
    "python_",
)


def samples(up: Up) -> dict[tuple[str, str], float]:
    text = httpx.get(f"{up.url}/metrics", timeout=60).raise_for_status().text
    return {
        (sample.name, json.dumps(sample.labels, sort_keys=True)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not family.name.startswith(OWN) and not sample.name.endswith("_created")
    }


def test_every_metric_is_the_same_and_the_duplicates_are_counted(both: Both) -> None:
    again, once = samples(both.again), samples(both.once)
    counted = ("maslens_duplicate_spans_total", "{}")
    assert once.pop(counted) == 0
    assert again.pop(counted) > 0
    assert {key: value for key, value in again.items() if once.get(key) != value} == {}
    assert set(once) == set(again)
    assert len(once) > 50
