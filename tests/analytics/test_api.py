"""REST, GraphQL and what stands around them, over a real store."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote

import polars as pl
import pytest
from maslens.analytics import frames
from maslens.analytics.api import Refused, Scope, moment
from maslens.analytics.fact_writer import TABLES
from maslens.analytics.facts import compute
from maslens.analytics.metrics import Exposition
from maslens.analytics.paging import ORDERS
from maslens.analytics.prices import PriceBook
from maslens.analytics.questions import CATALOGUE, load
from maslens.analytics.reader import Reader
from maslens.analytics.reads import Read
from maslens.analytics.server import create_app
from maslens.analytics.sidecar import Sidecar
from maslens.storage import Store, Unavailable, open_store
from starlette.requests import Request
from starlette.testclient import TestClient

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
HOSTILE = "x'); DROP TABLE fact_sessions; --<script>alert(1)</script>\u2028&\""


def span(trace: str, number: int, parent: int | None, kind: str, start: float, **more: Any) -> dict[str, Any]:
    return {
        "TraceId": trace * 32,
        "SpanId": f"{number:016x}",
        "ParentSpanId": "" if parent is None else f"{parent:016x}",
        "Timestamp": NOON + timedelta(seconds=start),
        "Duration": 10**9,
        "Kind": kind,
        "SpanName": kind,
        "Dialect": "mas",
        "StatusCode": "Unset",
        **more,
    }


def session(trace: str, name: str, start: float, second: str = "billing", **more: Any) -> list[dict[str, Any]]:
    llm = {"RequestModel": "gpt-4o", "Provider": "openai", "InputTokens": 1000, "OutputTokens": 100}
    return [
        span(trace, 1, None, "workflow", start, Duration=10**10, SessionId=name),
        span(trace, 2, 1, "agent", start, AgentName="triage", AgentVersion="v1"),
        span(trace, 3, 2, "llm", start, **llm),
        span(trace, 8, 2, "handoff", start + 0.9, TransferSource="triage", TransferTarget=second, AgentName="triage"),
        span(trace, 4, 1, "agent", start + 2, AgentName=second, **more),
        span(trace, 5, 4, "llm", start + 2, **llm),
        span(trace, 6, 4, "tool", start + 2.5, Duration=10**8, ToolName="refund"),
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = open_store(f"chdb://{tmp_path_factory.mktemp('api')}")
    store.migrate()
    failed = {"StatusCode": "Error", "ErrorType": "Timeout", "ErrorMessage": "no answer"}
    rows = [*session("a", "desk/1", 0), *session("b", "desk-2", 3600, **failed), *session("c", "odd", 7200, HOSTILE)]
    spans = frames.agent_spans(pl.DataFrame(rows, infer_schema_length=None))
    arrow = spans.drop("Hints").rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    store.insert_arrow("agent_spans", arrow, token="api")
    Sidecar(store, lambda s, e: compute(s, e, prices=PriceBook())).drain()
    yield store
    store.close()


def ask(store: Store) -> Any:
    def answer(sql: str, params: Mapping[str, object], form: str) -> bytes:
        if not sql.upper().startswith("SELECT"):
            raise Refused("only statements that read")
        return store.query_raw(sql, fmt=form, params=params, settings={"output_format_json_array_of_rows": 1})

    return answer


@pytest.fixture(scope="module")
def client(store: Store) -> Iterator[TestClient]:
    with TestClient(create_app(store, ask=ask(store))) as client:
        yield client


def get(client: TestClient, path: str, **params: Any) -> Any:
    answer = client.get(f"/api/v1/{path}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(
    "table", [each for each in TABLES if each.name in ("sessions", "handoffs")], ids=lambda t: t.name
)
def test_lists_are_flat_objects_with_the_columns_of_the_fact(client: TestClient, table: Any) -> None:
    rows = get(client, table.name)
    assert len(rows) == 3
    assert all(list(row) == list(table.schema) for row in rows)


def test_runs_are_the_rows_of_the_fact(client: TestClient) -> None:
    rows = get(client, "runs", session="desk-2")
    assert [list(row) for row in rows] == [list(frames.AGENT_RUNS)] * 2
    assert [row["agent"] for row in rows] == ["billing", "triage"]  # newest first
    assert rows[0]["started_at"] == "2026-01-01T13:00:02.000000000Z"
    assert rows[0]["duration_ns"] == 10**9


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, {"odd", "desk-2", "desk/1"}),
        ({"session": "desk/1"}, {"desk/1"}),
        ({"since": "2026-01-01T12:30:00Z"}, {"odd", "desk-2"}),
        ({"since": "2026-01-01T13:30:00+01:00"}, {"odd", "desk-2"}),
        ({"until": "1767272400"}, {"desk/1"}),
        ({"since": "2026-01-01T12:30:00", "until": "2026-01-01T13:30:00Z"}, {"desk-2"}),
        ({"agent": "billing"}, {"desk-2", "desk/1"}),
        ({"agent": HOSTILE}, {"odd"}),
        ({"agent": "' OR 1=1 --"}, set()),
        ({"limit": 1}, {"odd"}),
        ({"limit": 1, "offset": 1}, {"desk-2"}),
        ({"since": "15m"}, set()),
        ({"since": "all"}, {"odd", "desk-2", "desk/1"}),
    ],
)
def test_filters(client: TestClient, params: dict[str, Any], expected: set[str]) -> None:
    assert {row["session_id"] for row in get(client, "sessions", **params)} == expected


@pytest.mark.parametrize("name", [entry.name for entry in CATALOGUE if entry.api])
@pytest.mark.parametrize("narrowed", ["session", "agent", "version", "since", "until"])
def test_every_list_takes_every_filter(client: TestClient, name: str, narrowed: str) -> None:
    values = {"session": "desk-2", "agent": "billing", "version": "v1", "since": "2026-01-01", "until": "2027-01-01"}
    assert isinstance(get(client, name, **{narrowed: values[narrowed]}), list)


def test_agents(client: TestClient) -> None:
    agents = {row["agent"]: row for row in get(client, "agents")}
    assert set(agents) == {"triage", "billing", HOSTILE}
    billing = agents["billing"]
    assert (billing["runs"], billing["errors"], billing["error_ratio"]) == (2, 1, 0.5)
    assert (billing["p50_ms"], billing["p95_ms"], billing["input_tokens"]) == (1000, 1000, 2000)
    assert agents["triage"]["versions"] == ["v1"]
    assert [row["agent"] for row in get(client, "agents", version="v1")] == ["triage"]


@pytest.mark.parametrize(
    "by", ["agent", "model", "provider", "session", "day", "version", "handoff", "tool", "variant"]
)
def test_cost_adds_up(client: TestClient, by: str) -> None:
    rows = get(client, "cost", by=by)
    assert [row[by] for row in rows][-2:] == ["(unattributed)", "(total)"]
    *parts, total = rows
    assert total["llm_calls"] == 6
    assert total["cost_usd"] == pytest.approx(6 * (1000 * 2.5 + 100 * 10) / 1e6)
    for name in ("llm_calls", "input_tokens", "output_tokens", "cost_usd", "unpriced_calls"):
        assert sum(row[name] for row in parts) == pytest.approx(total[name])


def pages(client: TestClient, path: str, **params: Any) -> list[Any]:
    """One page after the other, as the Link header leads."""
    found = []
    answer = client.get(f"/api/v1/{path}", params=params)
    for _ in range(50):
        assert answer.status_code == 200, answer.text
        found += answer.json()
        if "next" not in answer.links:
            return found
        answer = client.get(answer.links["next"]["url"])
    raise AssertionError("there is always a next page")


@pytest.mark.parametrize("name", list(ORDERS))
@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
def test_pages_make_the_whole_list(client: TestClient, name: str, limit: int) -> None:
    assert pages(client, name, limit=limit) == get(client, name)
    assert pages(client, name, limit=limit, agent="billing") == get(client, name, agent="billing")


def test_rows_of_one_moment_are_told_apart(store: Store) -> None:
    store.command(
        "INSERT INTO fact_evaluations (session_id, trace_id, span_id, at, name, explanation, version)"
        " SELECT 'desk/1', toString(number % 3), toString(number), '2026-01-01 12:00:00', {name:String}, '', 1"
        " FROM numbers(9)",
        {"name": HOSTILE},
    )
    with TestClient(create_app(store)) as client:  # it remembers nothing yet
        found = pages(client, "evaluations", limit=2)
    assert len({row["span_id"] for row in found}) == len(found) >= 9
    store.command("INSERT INTO fact_evaluations (session_id, trace_id, span_id, at, name, version, is_deleted)"
                  " SELECT session_id, trace_id, span_id, at, name, 2, 1 FROM evaluations WHERE name = {name:String}",
                  {"name": HOSTILE})  # fmt: skip


def test_a_page_has_one_after_it_only_if_it_is_full(client: TestClient) -> None:
    assert "link" not in client.get("/api/v1/sessions", params={"limit": 4}).headers
    answer = client.get("/api/v1/sessions", params={"limit": 1, "offset": 1, "agent": "billing"})
    assert "offset" not in answer.links["next"]["url"]
    assert [row["session_id"] for row in client.get(answer.links["next"]["url"]).json()] == []


@pytest.mark.parametrize(
    "cursor", ["", "x", "!!", "bnVsbA", "WzFd", "WyIxIiwiYSJd", "WzFlOTksImEiXQ", "é" * 9, "A" * 8000]
)
def test_a_cursor_that_is_none_is_refused(client: TestClient, cursor: str) -> None:
    answer = client.get("/api/v1/sessions", params={"cursor": cursor})
    assert answer.status_code == 422
    assert "Link header" in answer.json()["detail"]


def test_lists_in_another_order_have_no_cursor(client: TestClient) -> None:
    answer = client.get("/api/v1/agents", params={"cursor": "WzFd"})
    assert (answer.status_code, "sessions" in answer.json()["detail"]) == (422, True)


def test_csv(client: TestClient) -> None:
    answer = client.get("/api/v1/agents", params={"format": "csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert {row["agent"] for row in rows} == {"triage", "billing", HOSTILE}


def test_graph(client: TestClient) -> None:
    graph = get(client, "graph")
    edges = {(edge["client"], edge["server"]): edge for edge in graph["edges"]}
    assert set(edges) == {("user", "triage"), ("triage", "billing"), ("triage", HOSTILE)}
    assert edges["triage", "billing"]["failed"] == 1
    assert graph["metrics"]["agents"] == 3
    assert len(get(client, "graph", session="odd")["edges"]) == 2


def test_one_session(client: TestClient) -> None:
    found = get(client, f"sessions/{quote('desk/1')}")
    assert found["session"]["session_id"] == "desk/1"
    assert [len(found[kind]) for kind in ("runs", "handoffs", "llm_calls", "tool_calls", "errors")] == [2, 1, 2, 1, 0]
    assert client.get("/api/v1/sessions/nobody").status_code == 404


def test_summary_and_timeline(client: TestClient) -> None:
    (summary,) = get(client, "summary")
    assert (summary["sessions"], summary["agent_runs"], summary["agents"]) == (3, 6, 3)
    rows = get(client, "timeline", step=3600)
    assert [(row["at"], row["sessions"]) for row in rows] == [
        ("2026-01-01T12:00:00Z", 1),
        ("2026-01-01T13:00:00Z", 1),
        ("2026-01-01T14:00:00Z", 1),
    ]
    assert sum(row["cost_usd"] for row in rows) == pytest.approx(summary["cost_usd"])


def test_errors_and_tools(client: TestClient) -> None:
    assert [(row["agent"], row["error_type"]) for row in get(client, "errors")] == [("billing", "Timeout")]
    assert [(row["tool"], row["calls"], row["p50_ms"]) for row in get(client, "tools")] == [("refund", 3, 100)]


@pytest.mark.parametrize(
    ("path", "params", "says"),
    [
        ("sessions", {"since": "yesterday"}, "since must be a time"),
        ("sessions", {"until": "2026-99-01"}, "until must be a time"),
        ("sessions", {"since": "9" * 60}, "since must be a time"),
        ("sessions", {"limit": 0}, "limit"),
        ("sessions", {"limit": 10**9}, "limit"),
        ("cost", {"by": "vibes"}, "by must be one of"),
        ("agents", {"format": "xml"}, "format"),
        ("timeline", {"step": 0}, "step"),
    ],
)
def test_what_cannot_be_asked_is_named(client: TestClient, path: str, params: dict[str, Any], says: str) -> None:
    answer = client.get(f"/api/v1/{path}", params=params)
    assert answer.status_code == 422
    assert says in answer.text


def test_moments() -> None:
    assert moment("15m", "since", now=NOON) == NOON - timedelta(minutes=15)
    assert moment("2d", "since", now=NOON) == NOON - timedelta(days=2)
    assert moment("24h", "since", now=NOON + timedelta(seconds=59.9)) == NOON - timedelta(hours=24)  # the same again
    assert moment("15m", "since", now=NOON + timedelta(seconds=1.9)) == NOON - timedelta(seconds=899)
    assert moment("2026-01-01T12:00:00Z", "since") == NOON
    assert moment(None, "since") is None


# --- SQL of strangers, tokens ----------------------------------------------------------------------------------------


def test_query(client: TestClient) -> None:
    assert get(client, "query", sql="SELECT count() AS n FROM sessions") == [{"n": 3}]
    posted = client.post(
        "/api/v1/query",
        json={"sql": "SELECT session_id FROM sessions WHERE has(agents, {who:String})", "params": {"who": HOSTILE}},
    )
    assert posted.json() == [{"session_id": "odd"}]
    assert client.get("/api/v1/query", params={"sql": "DROP TABLE sessions"}).status_code == 403
    wrong = client.get("/api/v1/query", params={"sql": "SELECT nothing FROM nowhere"})
    assert wrong.status_code == 400
    assert "nowhere" in wrong.json()["detail"]


def test_no_query_where_nobody_answers_it(store: Store) -> None:
    with TestClient(create_app(store)) as client:
        assert client.get("/api/v1/query", params={"sql": "SELECT 1"}).status_code == 404


def test_scopes(store: Store) -> None:
    asked: list[Scope] = []

    def authorize(request: Request, scope: Scope) -> bool:
        asked.append(scope)
        return request.headers.get("authorization") == f"Bearer {scope}"

    with TestClient(create_app(store, authorize=authorize, ask=ask(store))) as client:
        assert client.get("/api/v1/agents").status_code == 403
        assert client.get("/api/v1/agents", headers={"Authorization": "Bearer read"}).status_code == 200
        sql = {"sql": "SELECT 1"}
        assert client.get("/api/v1/query", params=sql, headers={"Authorization": "Bearer read"}).status_code == 403
        assert client.post("/graphql", json={"query": "{agents{agent}}"}).status_code == 403
        assert client.get("/").status_code == 200  # the page itself says nothing
    assert set(asked) == {"read", "query"}


class Down:
    def __getattr__(self, name: str) -> Any:
        def fail(*_: Any, **__: Any) -> Any:
            raise Unavailable("the store is away")

        return fail


def test_a_store_that_is_away_is_asked_for_later() -> None:
    with TestClient(create_app(Down())) as client:  # type: ignore[arg-type]
        for path in ("agents", "graph", "sessions/x", "cost?by=tool"):
            answer = client.get(f"/api/v1/{path}")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")


# --- what is remembered ----------------------------------------------------------------------------------------------


class Counting:
    def __init__(self) -> None:
        self.asked = 0

    def query_raw(self, *_: Any, **__: Any) -> bytes:
        self.asked += 1
        return b"[]"


def test_the_same_question_is_asked_again_when_facts_changed() -> None:
    store, now, revision = Counting(), [0.0], [1]
    reader = Reader(store, revision=lambda: revision[0], clock=lambda: now[0])  # type: ignore[arg-type]
    question = Read(sql="SELECT 1")

    def asked_after(seconds: float, *, commit: bool = False, of: Read = question) -> int:
        now[0] += seconds
        revision[0] += commit
        reader.bytes(of)
        return store.asked

    assert asked_after(0) == 1
    assert asked_after(0.5, commit=True) == 1  # a second old at most
    assert asked_after(0.6) == 2
    assert asked_after(30) == 2  # nothing was committed
    assert asked_after(31) == 3
    assert asked_after(0, of=Read(sql="SELECT 1", params={"a": 1})) == 4


def test_nothing_is_remembered_where_nobody_says_what_changed() -> None:
    store = Counting()
    reader = Reader(store)  # type: ignore[arg-type]
    for asked in (1, 2):
        reader.bytes(Read(sql="SELECT 1"))
        assert store.asked == asked


def test_what_is_too_old_to_be_given_is_forgotten() -> None:
    now = [0.0]
    reader = Reader(Counting(), revision=lambda: 1, clock=lambda: now[0])  # type: ignore[arg-type]
    for minute in range(5):
        now[0] = 61.0 * minute
        reader.bytes(Read(sql=f"SELECT {minute}"))
        reader.bytes(Read(sql=f"SELECT {minute} + 1"))
    assert len(reader._answers) == 2


# --- GraphQL ---------------------------------------------------------------------------------------------------------


def graphql(client: TestClient, query: str) -> Any:
    return client.post("/graphql", json={"query": query}).json()


def test_graphql(client: TestClient) -> None:
    answer = graphql(
        client,
        """{
            session(session_id: "desk/1") {
                outcome handoffs_count started_at
                handoffs { source target evidence } agent_runs { agent duration_ns } errors { error_type }
            }
            sessions(agent: "billing") { session_id llm_calls_count llm_calls { model cost_usd } }
            cost(by: "model") { name cost_usd llm_calls }
            graph { nodes { agent kind } edges { client server handoffs } metrics { name value } }
            nobody: session(session_id: "nobody") { outcome }
        }""",
    )
    assert "errors" not in answer
    data = answer["data"]
    assert data["session"]["handoffs"][0]["source"] == "triage"
    assert data["session"]["handoffs_count"] == 1
    assert {run["agent"] for run in data["session"]["agent_runs"]} == {"triage", "billing"}
    assert [row["session_id"] for row in data["sessions"]] == ["desk-2", "desk/1"]
    assert [row["name"] for row in data["cost"]] == ["gpt-4o", "(unattributed)", "(total)"]
    assert len(data["graph"]["nodes"]) == 4
    assert data["nobody"] is None


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("{" + " ".join(f"a{i}: agents{{agent}}" for i in range(50)) + "}", id="many aliases"),
        pytest.param("{ agents { agent " + "runs " * 3000 + "} }", id="many tokens"),
        pytest.param('{ cost(by: "vibes") { name } }', id="unknown cut"),
        pytest.param("{ nothing }", id="unknown field"),
        pytest.param('{ agents(since: "soon") { agent } }', id="no time"),
    ],
)
def test_graphql_that_goes_too_far_is_refused(client: TestClient, query: str) -> None:
    answer = graphql(client, query)
    assert answer["errors"]


# --- around it -------------------------------------------------------------------------------------------------------


class Numbers:
    def shown(self) -> Mapping[str, float]:
        return {'maslens_sessions{"outcome":"success"}': 2.0}

    def exemplars(self) -> Mapping[str, Any]:
        return {}


def test_metrics_health_and_readiness(store: Store) -> None:
    problems: list[str] = []
    app = create_app(store, exposition=Exposition(Numbers(), process=False), problems=lambda: problems)
    with TestClient(app) as client:
        text = client.get("/metrics")
        assert 'maslens_sessions_total{outcome="success"} 2.0' in text.text
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        assert client.get("/metrics", headers=accept).headers["content-type"].startswith("application/openmetrics-text")
        assert client.get("/healthz").text == "ok\n"
        assert client.get("/readyz").json() == {"ready": True, "problems": []}
        problems.append("the sidecar stands still")
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200


def test_every_answer_keeps_strangers_out(client: TestClient) -> None:
    for path in ("/", "/page.js", "/api/v1/agents", "/api/v1/nothing", "/metrics", "/healthz"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"


def test_openapi_names_every_path(client: TestClient) -> None:
    paths = client.get("/api/v1/openapi.json").json()["paths"]
    assert {"/api/v1/agents", "/api/v1/graph", "/api/v1/cost", "/api/v1/sessions/{session_id}"} <= set(paths)


def test_the_page_has_no_script_or_style_of_its_own_and_all_it_names_is_there(client: TestClient) -> None:
    html = client.get("/").text
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", html)
    seen, waiting = set(), set(re.findall(r'(?:src|href)="([^"#]+)"', html))
    while waiting:
        path = waiting.pop()
        seen.add(path)
        answer = client.get(f"/{path}")
        assert answer.status_code == 200, path
        if path.endswith(".js") and not path.startswith("vendor/"):
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", answer.text
            )
            imported = re.findall(r'from "\./([^"]+)"', answer.text)
            waiting |= set(imported) - seen
    assert "vendor/dagre.js" in seen


@pytest.mark.parametrize("name", [each.name for each in CATALOGUE if each.api])
def test_every_question_is_a_list_whose_rows_can_be_explained(client: TestClient, name: str) -> None:
    rows = get(client, name)
    assert isinstance(rows, list)
    question = load(name)
    assert all(set(row) <= set(question.schema) for row in rows)
    if rows:
        told = get(client, name, explain=1)
        assert [part["part"] for part in told[:2]] == ["row", "definition"]
        assert {key: value for key, value in told[0].items() if key != "part"}.keys() == rows[0].keys()
    missing = client.get(f"/api/v1/{name}", params={"explain": 9999})
    assert (missing.status_code, "there is no row 9999" in missing.text) == (404, True)


@pytest.mark.parametrize("name", [each.name for each in CATALOGUE if each.api])
def test_every_question_is_a_field_of_graphql(client: TestClient, name: str) -> None:
    column = next(iter(load(name).schema))
    field = name.replace("-", "_")
    answer = client.post("/graphql", json={"query": f"{{ {field} {{ {column} }} }}"}).json()
    assert "errors" not in answer, answer
    assert len(answer["data"][field]) == len(get(client, name))


def test_a_handoff_is_explained_by_its_span_and_runs(client: TestClient) -> None:
    told = get(client, "handoffs", session="desk/1", explain=1)
    parts = {part["part"] for part in told}
    assert {"row", "definition", "span, as it was understood", "runs"} <= parts
    runs = [part["agent"] for part in told if part["part"] == "runs"]
    assert runs == ["triage", "billing"]
