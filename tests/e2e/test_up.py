"""The whole way in one process: real exporters in, answers, metrics and SQL out, and what goes wrong said well."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import clickhouse_connect
import httpx
import pytest
from google.rpc.status_pb2 import Status
from maslens.collector_processor import DeadLetters, Journal
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from prometheus_client.parser import text_string_to_metric_families

from tests.bench.processes import family
from tests.e2e.running import ANY_PORTS, Up, answer, eventually, here, maslens
from tests.e2e.spans import request

PROTOBUF = {"Content-Type": "application/x-protobuf"}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("up") / "data").start()
    yield running
    running.kill()


def count(up: Up, sql: str) -> int:
    return int(httpx.get(f"{up.addresses['clickhouse']}/", params={"query": sql}, timeout=30).raise_for_status().text)


def send_session(exporter: SpanExporter, session: str, agents: tuple[str, str]) -> None:
    """`agents[0]` hands over to `agents[1]`, each calls a model once."""
    provider = TracerProvider(resource=Resource({"service.name": "desk"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    everywhere = {"gen_ai.conversation.id": session}
    with tracer.start_as_current_span("invoke_workflow desk", attributes=everywhere):
        for place, agent in enumerate(agents):
            whose = {**everywhere, "gen_ai.agent.name": agent}
            invoked = {**whose, "gen_ai.operation.name": "invoke_agent"}
            with tracer.start_as_current_span(f"invoke_agent {agent}", attributes=invoked):
                call = {
                    **whose,
                    "gen_ai.operation.name": "chat",
                    "gen_ai.provider.name": "openai",
                    "gen_ai.request.model": "gpt-4.1-mini",
                    "gen_ai.usage.input_tokens": 1000 + place,
                    "gen_ai.usage.output_tokens": 100,
                }
                with tracer.start_as_current_span("chat gpt-4.1-mini", attributes=call):
                    pass
                if place == 0:
                    transfer = {
                        **whose,
                        "gen_ai.operation.name": "execute_tool",
                        "gen_ai.tool.name": f"transfer_to_{agents[1]}",
                        "gen_ai.transfer.mode": "pass_control",
                        "gen_ai.transfer.target.name": agents[1],
                    }
                    with tracer.start_as_current_span(f"execute_tool transfer_to_{agents[1]}", attributes=transfer):
                        pass
    provider.shutdown()


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_a_session_sent_by_a_real_exporter_is_in_every_answer(up: Up, transport: str) -> None:
    session, (first, second) = f"conv-{transport}", (f"triage_{transport}", f"billing_{transport}")
    exporter: SpanExporter = (
        GrpcExporter(endpoint=up.otlp_grpc.removeprefix("grpc://"), insecure=True)
        if transport == "grpc"
        else HttpExporter(endpoint=f"{up.otlp_http}/v1/traces")
    )
    send_session(exporter, session, (first, second))
    eventually(lambda: count(up, f"SELECT count() FROM llm_calls WHERE session_id = '{session}'") == 2)

    # By data directory, which a running maslens owns, and by address: the same answer.
    by_data = answer("handoffs", f"--data={up.data}", f"--session={session}")
    assert by_data == answer("handoffs", f"--url={up.url}", f"--session={session}")
    (edge,) = by_data
    assert {"session_id", "trace_id", "source", "target", "mode", "evidence", "confidence", "at"} <= set(edge)
    assert (edge["session_id"], edge["source"], edge["target"]) == (session, first, second)
    assert (edge["mode"], edge["evidence"], edge["confidence"]) == ("pass_control", "explicit", 1.0)

    agents = {row["agent"]: row for row in answer("agents", f"--url={up.url}", f"--session={session}")}
    assert set(agents) == {first, second}
    assert {"runs", "errors", "p50_ms", "p95_ms"} <= set(agents[first])
    assert (agents[first]["runs"], agents[first]["llm_calls"], agents[second]["input_tokens"]) == (1, 1, 1001)

    cost = {row["agent"]: row for row in answer("cost", "--by=agent", f"--url={up.url}", f"--session={session}")}
    assert set(cost) == {first, second, "(unattributed)", "(total)"}
    keys = ("llm_calls", "input_tokens", "output_tokens", "cached_tokens", "cost_usd")
    for key in keys:
        assert sum(row[key] for name, row in cost.items() if name != "(total)") == pytest.approx(cost["(total)"][key])
    assert cost["(total)"]["cost_usd"] == pytest.approx((2001 * 0.4 + 200 * 1.6) / 1e6)

    (row,) = answer("sessions", f"--url={up.url}", f"--session={session}")
    assert {"session_id", "outcome", "started_at"} <= set(row)
    assert row["session_id"] == session
    (edge,) = answer("graph", f"--url={up.url}", f"--session={session}")
    assert (edge["source"], edge["target"], edge["handoffs"]) == (first, second, 1)


def test_metrics_are_what_prometheus_reads_and_count_what_was_sent(up: Up) -> None:
    sent = request(3, seed=11, agent="counted")
    httpx.post(f"{up.otlp_http}/v1/traces", content=sent.SerializeToString(), headers=PROTOBUF).raise_for_status()

    def samples() -> dict[tuple[str, str], float]:
        text = httpx.get(f"{up.url}/metrics", timeout=30).raise_for_status().text
        families = text_string_to_metric_families(text)
        return {
            (sample.name, sample.labels.get("agent", sample.labels.get("kind", ""))): sample.value
            for family in families
            for sample in family.samples
        }

    def counted() -> dict[tuple[str, str], float] | None:
        seen = samples()
        return seen if any(agent == "counted" for _, agent in seen) else None

    seen = eventually(counted)
    assert seen["maslens_receiver_items_total", "traces"] >= 3
    assert seen["maslens_loader_loaded_items_total", "traces"] >= 3
    assert ("maslens_journal_lag_seconds", "") in seen
    assert ("maslens_sidecar_steps_total", "") in seen


def test_what_cannot_be_read_is_400_with_a_status_and_the_next_request_is_served(up: Up) -> None:
    with httpx.Client(base_url=up.otlp_http, timeout=30) as client:
        refused = client.post("/v1/traces", content=b"\x0a\xff\xff\xff", headers=PROTOBUF)
        assert refused.status_code == 400
        assert Status.FromString(refused.content).message
        refused = client.post("/v1/traces", content=b"{not json", headers={"Content-Type": "application/json"})
        assert refused.status_code == 400
        assert refused.json()["message"]
        sent = request(1, seed=21, agent="after_the_bad_one")
        taken = client.post("/v1/traces", content=sent.SerializeToString(), headers=PROTOBUF)
        assert taken.status_code == 200
    eventually(lambda: count(up, "SELECT count() FROM agent_spans WHERE AgentName = 'after_the_bad_one'") == 1)


def test_a_span_with_a_wrong_id_or_an_absurd_time_is_left_out_and_counted(up: Up) -> None:
    sent = request(4, seed=31, agent="partly_wrong")
    spans = sent.resource_spans[0].scope_spans[0].spans
    spans[0].trace_id = b"short"
    spans[1].start_time_unix_nano = spans[1].end_time_unix_nano = 2**63
    taken = httpx.post(f"{up.otlp_http}/v1/traces", content=sent.SerializeToString(), headers=PROTOBUF)
    assert taken.status_code == 200
    partial = ExportTraceServiceResponse.FromString(taken.content).partial_success
    assert partial.rejected_spans == 2
    assert partial.error_message
    eventually(lambda: count(up, "SELECT count() FROM agent_spans WHERE AgentName = 'partly_wrong'") == 2)


def test_hostile_names_reach_no_terminal(up: Up) -> None:
    sent = request(1, seed=41, agent="evil\x1b[2J\u202e<script>'; DROP TABLE x; --")
    httpx.post(f"{up.otlp_http}/v1/traces", content=sent.SerializeToString(), headers=PROTOBUF).raise_for_status()
    eventually(lambda: count(up, "SELECT count() FROM llm_calls WHERE session_id = 'made-41'") == 1)
    for command in (["agents"], ["cost"], ["sessions"], ["query", "SELECT AgentName FROM agent_spans"]):
        for form in ("table", "json"):
            done = here(*command, f"--url={up.url}", "--format", form)
            assert done.returncode == 0, done.stderr
            assert not [character for character in done.stdout if ord(character) < 32 and character != "\n"]
            assert "\u202e" not in done.stdout
    metrics = httpx.get(f"{up.url}/metrics").text
    list(text_string_to_metric_families(metrics))


def test_sql_over_the_exporters_own_tables(up: Up) -> None:
    (row,) = answer("query", "SELECT count() AS spans FROM otel_traces", f"--url={up.url}")
    assert row["spans"] > 0
    trace = """
        SELECT TraceId AS traceID, SpanId AS spanID, ParentSpanId AS parentSpanID, ServiceName AS serviceName,
            SpanName AS operationName, Timestamp AS startTime, multiply(Duration, 0.000001) AS duration,
            arrayMap(key -> map('key', key, 'value', SpanAttributes[key]), mapKeys(SpanAttributes)) AS tags
        FROM otel_traces
        WHERE TraceId = (SELECT TraceId FROM otel_traces_trace_id_ts LIMIT 1)
          AND Timestamp >= (SELECT min(Start) FROM otel_traces_trace_id_ts) LIMIT 1000"""
    rows = answer("query", trace, f"--url={up.url}")
    assert rows
    assert {"traceID", "operationName", "tags"} <= set(rows[0])
    refused = here("query", "DROP TABLE otel_traces", f"--url={up.url}")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


def test_page_rest_and_graphql_are_served(up: Up) -> None:
    with httpx.Client(base_url=up.url, timeout=30) as client:
        page = client.get("/")
        assert page.status_code == 200
        assert "text/html" in page.headers["content-type"]
        body = request(2, seed=61, agent="seen_by_rest").SerializeToString()
        httpx.post(f"{up.otlp_http}/v1/traces", content=body, headers=PROTOBUF).raise_for_status()
        agents = eventually(lambda: client.get("/api/v1/agents", params={"agent": "seen_by_rest"}).json())
        assert agents[0]["agent"] == "seen_by_rest"
        named = client.post("/graphql", json={"query": "{ __schema { queryType { name } } }"}).json()
        assert named["data"]["__schema"]["queryType"]["name"]
        refused = client.post("/api/v1/query", json={"query": "SELECT file('/etc/passwd')"})
        assert refused.status_code in (400, 403, 422)
        assert "root:" not in refused.text


def test_an_unknown_session_is_a_bad_answer(up: Up) -> None:
    done = maslens("handoffs", f"--url={up.url}", "--session=nobody", "--format=json", cwd=up.data.parent)
    assert done.returncode == 1
    assert json.loads(done.stdout) == []
    assert "no session 'nobody'" in done.stderr


def test_the_doctor_finds_it_well(up: Up) -> None:
    done = maslens("doctor", f"--data={up.data}", "--format=json", cwd=up.data.parent)
    findings = {finding["check"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 0, findings
    assert findings["data directory"]["state"] == "ok"
    assert findings["server"]["state"] == "ok"


def test_the_doctor_finds_what_waits_in_a_journal_that_nobody_loads(tmp_path: Path) -> None:
    path, data = tmp_path / "a.pb", tmp_path / "data"
    path.write_bytes(request(5, seed=91).SerializeToString())
    assert maslens("replay", str(path), f"--data={data}", cwd=tmp_path).returncode == 0

    def journal() -> dict[str, str]:
        findings = json.loads(maslens("doctor", f"--data={data}", "--format=json", cwd=tmp_path).stdout)
        return next(finding for finding in findings if finding["check"] == "journal")

    assert journal()["state"] == "ok"
    waiting = Journal(data / "journal")
    waiting.append("traces", request(7, seed=92).SerializeToString(), items=7).result()
    waiting.close()
    assert journal()["state"] == "warn"
    assert journal()["found"].startswith("7 acknowledged")


@pytest.mark.parametrize("command", ["up", "migrate"])
def test_a_directory_that_somebody_owns_is_said_with_the_cure(up: Up, command: str) -> None:
    ports = ANY_PORTS if command == "up" else []
    done = maslens(command, f"--data={up.data}", *ports, cwd=up.data.parent)
    assert done.returncode == 3
    for said in (str(up.data), str(up.addresses["pid"]), "--url"):
        assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_busy_port_is_named_with_its_flag(up: Up, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for flag in ("--page-port", "--otlp-http-port", "--otlp-grpc-port", "--clickhouse-port"):
            free = [given for given in ANY_PORTS if not given.startswith(flag)]
            done = maslens("up", f"--data={tmp_path / 'data'}", *free, f"{flag}={port}", cwd=tmp_path)
            assert done.returncode == 3
            assert f"port {port}" in done.stderr
            assert flag in done.stderr


def test_an_open_address_is_refused(tmp_path: Path) -> None:
    done = maslens("up", f"--data={tmp_path / 'data'}", "--host=0.0.0.0", cwd=tmp_path)
    assert done.returncode == 2
    assert "--host is 0.0.0.0, which others can reach" in done.stderr
    assert not (tmp_path / "data").exists()


def test_reprocessing_is_asked_of_the_owner(up: Up) -> None:
    done = maslens("reprocess", "--since=1h", f"--data={up.data}", cwd=up.data.parent)
    assert done.returncode == 0, done.stderr
    assert "traces are computed again" in done.stdout
    assert httpx.post(f"{up.url}/admin/reprocess?since=2026-01-01").status_code == 403  # what a web page could send


def test_sigterm_ends_it_with_nothing_lost_and_the_directory_free(tmp_path: Path) -> None:
    running = Up(tmp_path / "data").start()
    for seed in range(20):
        body = request(50, seed=1000 + seed).SerializeToString()
        httpx.post(f"{running.otlp_http}/v1/traces", content=body, headers=PROTOBUF).raise_for_status()
    began = time.monotonic()
    assert running.stop(signal.SIGTERM) == 0
    assert time.monotonic() - began < 30
    assert not (running.data / "maslens-up.json").exists()
    assert "stopped" in running.log.read_text()
    (row,) = answer("query", "SELECT count() AS n FROM otel_traces", f"--data={running.data}", cwd=tmp_path)
    assert row["n"] == 1000
    (row,) = answer("cost", f"--data={running.data}", "--limit=0", cwd=tmp_path)[-1:]
    assert (row["agent"], row["llm_calls"]) == ("(total)", 1000)


def test_a_killed_owner_owns_nothing(tmp_path: Path) -> None:
    running = Up(tmp_path / "data").start()
    body = request(5, seed=71).SerializeToString()
    httpx.post(f"{running.otlp_http}/v1/traces", content=body, headers=PROTOBUF).raise_for_status()
    eventually(lambda: count(running, "SELECT count() FROM llm_calls") == 5)
    running.kill()
    left = json.loads((running.data / "maslens-up.json").read_text())
    (running.data / "maslens-up.json").write_text(json.dumps({**left, "pid": os.getpid()}))  # its number in use again
    assert answer("cost", f"--data={running.data}", cwd=tmp_path)[-1]["llm_calls"] == 5
    done = maslens("reprocess", "--since=1h", f"--data={running.data}", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "1 traces were computed again\n"), done.stderr
    again = running.start()
    assert again.stop() == 0


def children(up: Up, running: str) -> list[int]:
    """The processes that `up` has started and whose command line has this in it."""
    assert up.process is not None
    found = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in family(up.process.pid) if pid != up.process.pid}
    return [pid for pid, command in found.items() if running.encode() in command]


def test_facts_have_a_process_of_their_own_that_is_started_again_and_ends_with_it(tmp_path: Path) -> None:
    served = Up(tmp_path / "data", flags=["--sidecar-processes=1"]).start()
    try:
        send_session(HttpExporter(endpoint=f"{served.otlp_http}/v1/traces"), "before", ("a", "b"))
        eventually(lambda: count(served, "SELECT count() FROM handoffs") == 1)
        (computing,) = children(served, "analytics.computing")
        os.kill(computing, signal.SIGKILL)
        send_session(HttpExporter(endpoint=f"{served.otlp_http}/v1/traces"), "after", ("c", "d"))
        eventually(lambda: count(served, "SELECT count() FROM handoffs") == 2, within_s=60)

        def told() -> bool:  # once the step is over, which is a little later than its facts are there
            metrics = httpx.get(f"{served.url}/metrics", timeout=30).text
            lines = ("maslens_sidecar_processes 1.0", "maslens_sidecar_process_restarts_total 1.0")
            return all(line in metrics for line in lines)

        eventually(told)
        (computing,) = children(served, "analytics.computing")
    finally:
        served.kill()  # however it ends
    eventually(lambda: not Path(f"/proc/{computing}").exists())


def test_with_front_ends_it_is_the_same_to_everybody(tmp_path: Path) -> None:
    served = Up(tmp_path / "data", flags=["--front-ends=2"]).start()
    assert served.process is not None
    try:
        send_session(HttpExporter(endpoint=f"{served.otlp_http}/v1/traces"), "over-http", ("a", "b"))
        send_session(GrpcExporter(endpoint=served.otlp_grpc.removeprefix("grpc://"), insecure=True), "grpc", ("c", "d"))
        eventually(lambda: count(served, "SELECT count() FROM handoffs") == 2)
        metrics = httpx.get(f"{served.url}/metrics", timeout=30).text
        assert 'maslens_receiver_items_total{kind="traces"} 12.0' in metrics
        front_ends = children(served, "front_end")
        assert len(front_ends) == 2
        os.kill(front_ends[0], signal.SIGKILL)
        eventually(
            lambda: "maslens_receiver_front_end_restarts_total 1.0" in httpx.get(f"{served.url}/metrics").text,
            within_s=60,
        )
        eventually(lambda: "maslens_receiver_front_ends 2.0" in httpx.get(f"{served.url}/metrics").text, within_s=60)
        assert httpx.get(f"{served.url}/readyz").status_code == 200
    finally:
        assert served.stop() == 0


def test_a_token_guards_every_surface(tmp_path: Path) -> None:
    token = "a-token-of-sixteen-letters"
    running = Up(tmp_path / "data", environ={"MASLENS_TOKEN": token}).start()
    try:
        body = request(1, seed=51).SerializeToString()
        assert httpx.post(f"{running.otlp_http}/v1/traces", content=body, headers=PROTOBUF).status_code == 401
        bearer = {"Authorization": f"Bearer {token}"}
        assert httpx.post(f"{running.otlp_http}/v1/traces", content=body, headers=PROTOBUF | bearer).status_code == 200
        for address in (f"{running.url}/metrics", f"{running.addresses['clickhouse']}/?query=SELECT+1"):
            assert httpx.get(address).status_code == 401
            assert httpx.get(address, headers=bearer).status_code == 200
        assert httpx.get(f"{running.url}/healthz").status_code == 200
        port = int(running.addresses["clickhouse"].rpartition(":")[2])
        client = clickhouse_connect.get_client(host="127.0.0.1", port=port, password=token)
        assert client.command("SELECT 1") == 1
        client.close()
        refused = maslens("agents", f"--data={running.data}", cwd=tmp_path)
        assert refused.returncode == 2
        assert "MASLENS_TOKEN" in refused.stderr
        assert maslens("agents", f"--data={running.data}", cwd=tmp_path, MASLENS_TOKEN=token).returncode == 0
    finally:
        running.kill()


def test_dead_letters_are_listed_and_sent_again(up: Up) -> None:
    letters = DeadLetters(up.data / "deadletter")
    letters.add(
        request(3, seed=81, agent="once_dead").SerializeToString(),
        signal="traces", reason="Code: 26. the store said no", token="test:1", items=3, received_ns=time.time_ns(),
    )  # fmt: skip
    (letter,) = answer("deadletter", "list", f"--data={up.data}")
    assert (letter["items"], letter["signal"], letter["reason"]) == (3, "traces", "Code: 26. the store said no")
    unknown = here("deadletter", "retry", "nobody", f"--data={up.data}")
    assert (unknown.returncode, "no dead letter 'nobody'" in unknown.stderr) == (1, True)
    done = here("deadletter", "retry", letter["name"], f"--data={up.data}")
    assert (done.returncode, done.stdout) == (0, "1 taken, 0 left\n"), done.stderr
    eventually(lambda: count(up, "SELECT count() FROM llm_calls WHERE agent = 'once_dead'") == 3)
    assert answer("deadletter", "list", f"--data={up.data}") == []
