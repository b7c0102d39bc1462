"""POST /api/v1/feedback, from the request to the fact."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
from maslens.analytics import frames
from maslens.analytics.facts import compute
from maslens.analytics.server import create_app
from maslens.analytics.sidecar import Sidecar
from maslens.storage import Store, open_store
from starlette.testclient import TestClient

from tests.analytics.made_spans import Trace

TRACE = "a" * 32


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = open_store(f"chdb://{tmp_path_factory.mktemp('feedback')}")
    store.migrate()
    trace = Trace(TRACE, SessionId="s1")
    root = trace.span("desk", "workflow", 0, 1000)
    trace.agent("triage", 0, 400, root)
    trace.span("handoff", "handoff", 300, 310, root, TransferSource="triage", TransferTarget="billing", HandoffId="h1")
    trace.agent("billing", 420, 900, root, HandoffId="h1")
    for number, row in enumerate(trace.rows):
        row["SpanId"] = f"{number:016x}"
        row["ParentSpanId"] = f"{0:016x}" if number else ""
    spans = frames.agent_spans(pl.DataFrame(trace.rows, infer_schema_length=None))
    arrow = spans.drop("Hints").rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    store.insert_arrow("agent_spans", arrow, token="feedback")
    Sidecar(store, compute).drain()
    yield store
    store.close()


@pytest.fixture(scope="module")
def client(store: Store) -> Iterator[TestClient]:
    with TestClient(create_app(store)) as client:
        yield client


def found(store: Store, name: str) -> list[dict[str, Any]]:
    Sidecar(store, compute).drain()
    return store.rows("SELECT * FROM evaluations WHERE name = {name:String} ORDER BY agent", {"name": name})


@pytest.mark.parametrize(
    ("about", "agent"),
    [
        pytest.param({"session_id": "s1"}, "", id="a session"),
        pytest.param({"trace_id": TRACE, "span_id": f"{3:016x}"}, "billing", id="a span"),
        pytest.param({"run_id": f"{3:016x}"}, "billing", id="a run"),
        pytest.param({"handoff_id": "h1"}, "triage", id="a handoff"),
        pytest.param({"session_id": "s1", "agent": "triage"}, "triage", id="an agent in a session"),
    ],
)
def test_it_becomes_a_row_of_whom_it_is_about(
    client: TestClient, store: Store, about: dict[str, str], agent: str
) -> None:
    name = "_".join(about)
    given = {
        **about,
        "name": name,
        "score": 0.25,
        "label": "poor",
        "explanation": "<b>'; DROP TABLE x",
        "evaluator_id": "ann",
    }
    answer = client.post("/api/v1/feedback", json=given)
    assert answer.status_code == 201, answer.text
    (row,) = found(store, name)
    assert (row["session_id"], row["agent"], row["score"], row["label"]) == ("s1", agent, 0.25, "poor")
    assert (row["evaluator_type"], row["evaluator_id"]) == ("human", "ann")
    assert row["explanation"] == "<b>'; DROP TABLE x"


def test_the_same_id_is_stored_once(client: TestClient, store: Store) -> None:
    given = {"id": "click-1", "session_id": "s1", "name": "thumb", "label": "up"}
    answers = [client.post("/api/v1/feedback", json=given).json() for _ in range(3)]
    assert answers == [{"ids": ["click-1"]}] * 3
    assert len(found(store, "thumb")) == 1


def test_an_outcome_replaces_what_was_inferred(client: TestClient, store: Store) -> None:
    assert client.post("/api/v1/feedback", json={"session_id": "s1", "outcome": "failure"}).status_code == 201
    Sidecar(store, compute).drain()
    assert store.rows("SELECT outcome FROM sessions") == [{"outcome": "failure"}]


def test_several_at_once(client: TestClient, store: Store) -> None:
    many = [{"session_id": "s1", "name": "many", "score": n, "evaluator_id": str(n)} for n in range(3)]
    assert len(client.post("/api/v1/feedback", json=many).json()["ids"]) == 3
    assert sorted(row["score"] for row in found(store, "many")) == [0, 1, 2]


@pytest.mark.parametrize(
    ("given", "status", "says"),
    [
        pytest.param({"session_id": "s1"}, 422, "a score, a label or an outcome", id="nothing said"),
        pytest.param({"score": 1}, 422, "what it is about", id="of nothing"),
        pytest.param(
            {"span_id": "0" * 16, "session_id": "s1", "score": 1}, 422, "span_id needs trace_id", id="no trace"
        ),
        pytest.param({"trace_id": "xyz", "score": 1}, 422, "trace_id", id="no id"),
        pytest.param({"session_id": "s1", "score": "NaN"}, 422, "finite", id="no number"),
        pytest.param({"session_id": "s1", "score": 1, "stars": 5}, 422, "stars", id="an unknown key"),
        pytest.param({"run_id": "nobody", "score": 1}, 404, "no run 'nobody'", id="an unknown run"),
        pytest.param([], 422, "at least 1", id="an empty list"),
    ],
)
def test_what_cannot_be_taken_is_named(client: TestClient, given: Any, status: int, says: str) -> None:
    answer = client.post("/api/v1/feedback", json=given)
    assert (answer.status_code, says in answer.text) == (status, True), answer.text
    assert client.post("/api/v1/feedback", json={"session_id": "s1", "score": 1}).status_code == 201


def test_a_page_from_elsewhere_cannot_send_it_as_text(client: TestClient) -> None:
    answer = client.post(
        "/api/v1/feedback", content='{"session_id": "s1", "score": 1}', headers={"content-type": "text/plain"}
    )
    assert answer.status_code == 422


def test_it_needs_the_scope_to_ingest(store: Store) -> None:
    with TestClient(create_app(store, authorize=lambda _, scope: scope == "read")) as reading:
        assert reading.post("/api/v1/feedback", json={"session_id": "s1", "score": 1}).status_code == 403
    with TestClient(create_app(store, authorize=lambda _, scope: scope == "ingest")) as sending:
        assert sending.post("/api/v1/feedback", json={"session_id": "s1", "score": 1}).status_code == 201
        assert sending.get("/api/v1/evaluations").status_code == 403
