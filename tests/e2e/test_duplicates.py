"""The same spans in other batches: counted once in every answer and metric, and how many came again is said."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.running import Up, answer, eventually

PROTOBUF = {"Content-Type": "application/x-protobuf"}
SPANS = 9


def session(name: str) -> ExportTraceServiceRequest:
    """Two agents, a handoff, two model calls, a failing tool, all of one session; agents are called after it."""
    made = ExportTraceServiceRequest()
    group = made.resource_spans.add()
    group.resource.attributes.add(key="service.name").value.string_value = "desk"
    spans, started = group.scope_spans.add().spans, time.time_ns() - 10**9
    trace = name.encode().ljust(16, b"-")

    def add(index: int, parent: int, operation: str, agent: str, *, failed: bool = False, **more: Any) -> None:
        span: Span = spans.add(
            trace_id=trace,
            span_id=index.to_bytes(8, "big"),
            parent_span_id=parent.to_bytes(8, "big") if parent else b"",
            name=operation,
            start_time_unix_nano=started + index * 1_000_000,
            end_time_unix_nano=started + 500_000_000 - index * 1_000_000,
        )
        texts = {"gen_ai.operation.name": operation, "gen_ai.conversation.id": name, "gen_ai.agent.name": agent, **more}
        for key, value in texts.items():
            pair = span.attributes.add(key=key)
            if isinstance(value, int):
                pair.value.int_value = value
            else:
                pair.value.string_value = value
        if failed:
            span.status.code, span.status.message = Span().status.STATUS_CODE_ERROR, "no such invoice"

    model = {
        "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4.1-mini",
        "gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 100,
    }  # fmt: skip
    transfer = {
        "gen_ai.tool.name": "transfer", "gen_ai.transfer.mode": "pass_control",
        "gen_ai.transfer.target.name": f"second-{name}",
    }  # fmt: skip
    add(1, 0, "invoke_workflow", "")
    add(2, 1, "invoke_agent", f"first-{name}")
    add(3, 2, "chat", f"first-{name}", **model)
    add(4, 2, "execute_tool", f"first-{name}", **transfer)
    add(5, 1, "invoke_agent", f"second-{name}", failed=True)
    add(6, 5, "chat", f"second-{name}", **model)
    add(
        7,
        5,
        "execute_tool",
        f"second-{name}",
        **{"gen_ai.tool.name": "lookup", "gen_ai.tool.call.id": "c"},
        failed=True,
    )
    add(8, 5, "chat", f"second-{name}", **model)
    add(9, 5, "execute_tool", f"second-{name}", **{"gen_ai.tool.name": "lookup"})
    return made


def send(up: Up, request: ExportTraceServiceRequest) -> None:
    body = request.SerializeToString()
    httpx.post(f"{up.otlp_http}/v1/traces", content=body, headers=PROTOBUF, timeout=60).raise_for_status()


def one_by_one(request: ExportTraceServiceRequest) -> Iterator[ExportTraceServiceRequest]:
    for span in request.resource_spans[0].scope_spans[0].spans:
        single = ExportTraceServiceRequest()
        single.resource_spans.add().resource.CopyFrom(request.resource_spans[0].resource)
        single.resource_spans[0].scope_spans.add().spans.add().CopyFrom(span)
        yield single


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """`once` came once. `again` came re-batched, twice in one request, and once more when it was in the facts."""
    running = Up(tmp_path_factory.mktemp("duplicates") / "data").start()
    send(running, session("once"))
    again = session("again")
    for single in one_by_one(again):
        send(running, single)
    both = ExportTraceServiceRequest()
    both.MergeFrom(again)
    both.MergeFrom(again)
    send(running, both)
    settled(running, "again", 2 * SPANS)
    settled(running, "once", 0)
    send(running, again)
    settled(running, "again", 3 * SPANS)
    yield running
    running.kill()


def row(up: Up, name: str) -> dict[str, Any] | None:
    sql = f"SELECT spans, duplicate_spans FROM sessions WHERE session_id = '{name}'"
    found = answer("query", sql, f"--url={up.url}")
    return dict(found[0]) if found else None


def settled(up: Up, name: str, duplicates: int) -> None:
    def counted() -> bool:
        seen = row(up, name)
        return seen is not None and (seen["spans"], seen["duplicate_spans"]) == (SPANS, duplicates)

    eventually(counted, within_s=90)


def without(content: Any) -> Any:
    """An answer in which only what the two sessions have in common is left."""
    if isinstance(content, dict):
        return {
            key: without(value)
            for key, value in content.items()
            if not key.endswith("_id")
            and key not in ("at", "last_seen", "first_seen", "duplicate_spans", "version")
            and not key.endswith(("_at", "_ms", "_ns"))
        }
    if isinstance(content, list):
        return sorted((without(each) for each in content), key=repr)
    return content.replace("again", "once") if isinstance(content, str) else content


@pytest.mark.parametrize(
    "command", ["agents", "handoffs", "graph", "sessions", "cost", "bottlenecks", "suspects", "quality"]
)
def test_every_question_is_answered_as_if_it_had_come_once(up: Up, command: str) -> None:
    once = answer(command, f"--url={up.url}", "--session=once")
    again = answer(command, f"--url={up.url}", "--session=again")
    assert once
    assert without(again) == without(once)


@pytest.mark.parametrize("table", ["agent_runs", "handoffs", "llm_calls", "tool_calls", "agent_errors"])
def test_every_fact_is_there_once(up: Up, table: str) -> None:
    counts = {
        name: answer("query", f"SELECT count() AS n FROM {table} WHERE session_id = '{name}'", f"--url={up.url}")[0][
            "n"
        ]
        for name in ("once", "again")
    }
    assert counts["again"] == counts["once"] > 0


def test_rest_and_graphql_say_how_many_came_again(up: Up) -> None:
    rest = httpx.get(f"{up.url}/api/v1/sessions/again", timeout=60).raise_for_status().text
    assert f'"duplicate_spans":{3 * SPANS}' in rest.replace(" ", "")
    query = '{ session(session_id: "again") { spans duplicate_spans } }'
    reply = httpx.post(f"{up.url}/graphql", json={"query": query}, timeout=60).raise_for_status().json()
    assert reply["data"]["session"] == {"spans": SPANS, "duplicate_spans": 3 * SPANS}


def test_metrics_count_each_once_and_the_duplicates_apart(up: Up) -> None:
    def samples() -> dict[tuple[str, str], float]:
        text = httpx.get(f"{up.url}/metrics", timeout=60).raise_for_status().text
        return {
            (sample.name, repr(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    seen = eventually(lambda: s if (s := samples())["maslens_duplicate_spans_total", "[]"] == 3 * SPANS else None)
    about_once = {key: value for key, value in seen.items() if "-once" in key[1]}
    assert len(about_once) > 10
    for (name, labels), value in about_once.items():
        if not name.endswith(("_sum", "_created")):
            assert seen[name, labels.replace("-once", "-again")] == value, (name, labels)
    assert seen["maslens_loader_loaded_items_total", "[('kind', 'traces')]"] == 5 * SPANS
