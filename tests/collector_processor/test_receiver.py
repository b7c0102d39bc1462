"""The whole room: from a socket into the store, through overload, restarts and strangers."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
import trustme
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from maslens.collector_processor import (
    BatchConfig,
    ConfigError,
    JournalBusy,
    JournalConfig,
    LoaderConfig,
    Receiver,
    ReceiverConfig,
    RedactionRules,
    TlsConfig,
    Tokens,
    redact,
)
from maslens.storage import Store, Unavailable
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from tests.collector_processor.conftest import Running
from tests.collector_processor.stores import MemoryStore, rejects
from tests.collector_processor.test_anyvalue import value
from tests.contract.otlp.endpoint import JSON, METHODS, Endpoint, log_request, trace_json, trace_request

Run = Callable[..., Running]
TINY_JOURNAL = JournalConfig(segment_bytes=4096, max_bytes=16384, min_free_bytes=0)
QUICK = LoaderConfig(
    batch=BatchConfig(idle_wait=timedelta(milliseconds=10), busy_wait=timedelta(milliseconds=20)),
    first_retry=timedelta(milliseconds=10),
    last_retry=timedelta(milliseconds=50),
)


def away(_token: str, _body: bytes) -> None:
    raise Unavailable("away")


def here(_token: str, _body: bytes) -> None:
    return None


# --- into the store ---------------------------------------------------------------------------------------------------


def test_both_transports_reach_the_real_tables(run: Run, chdb_store: Store) -> None:
    running = run(chdb_store)
    endpoint = running.endpoint
    endpoint.export(trace_request("over grpc", attributes=[KeyValue(key="reasons", value=value(["stop", 1]))]))
    endpoint.post(gzip.compress(trace_request("over http")), Content_Encoding="gzip")
    endpoint.post(json.dumps(trace_json(name="in json")).encode(), content_type=JSON)
    endpoint.export(log_request("a record"), "logs")
    assert running.receiver.drained(60)
    rows = chdb_store.rows("SELECT SpanName, SpanAttributes['reasons'] AS reasons FROM otel_traces ORDER BY SpanName")
    assert rows == [
        {"SpanName": "in json", "reasons": ""},
        {"SpanName": "over grpc", "reasons": '["stop",1]'},
        {"SpanName": "over http", "reasons": ""},
    ]
    assert chdb_store.rows("SELECT Body FROM otel_logs") == [{"Body": "a record"}]
    assert chdb_store.rows("SELECT count() AS n FROM agent_spans") == [{"n": 3}]


def test_hostile_texts_reach_the_tables_as_they_are(run: Run, chdb_store: Store) -> None:
    hostile = [
        "'; DROP TABLE otel_traces; --",
        "<script>alert(1)</script>",
        "\x1b[2J\x1b]0;x\x07",
        "a\0b",
        "\u202e",
        "\\N",
    ]
    running = run(chdb_store)
    running.endpoint.export(trace_request(*hostile, attributes=[KeyValue(key=h, value=value(h)) for h in hostile]))
    bad = trace_request("UTF8", attributes=[KeyValue(key="UTF8", value=value("UTF8"))]).replace(
        b"UTF8", b"\xff\xfe\xc3\xc3"
    )
    running.endpoint.export(bad)
    assert running.receiver.drained(60)
    names = {row["SpanName"] for row in chdb_store.rows("SELECT SpanName FROM otel_traces")}
    assert names == {*hostile, "\ufffd\ufffd\ufffd\ufffd"}
    (row,) = chdb_store.rows("SELECT SpanAttributes AS a FROM otel_traces WHERE SpanName LIKE '<script>%'")
    assert dict(row["a"]) == {text: text for text in hostile}


@pytest.mark.slow
def test_a_trace_of_fifty_thousand_spans_arrives_whole(run: Run, chdb_store: Store) -> None:
    running = run(chdb_store)
    for part in range(10):
        running.endpoint.export(trace_request(*[f"s{part}-{n}" for n in range(5000)], trace_id=b"T" * 16))
    assert running.receiver.drained(120)
    (row,) = chdb_store.rows("SELECT count() AS n, uniqExact(SpanId) AS ids FROM otel_traces")
    assert row == {"n": 50_000, "ids": 50_000}


# --- life and death ---------------------------------------------------------------------------------------------------


def test_what_was_not_loaded_is_loaded_by_the_next_start(run: Run) -> None:
    first = run(loader=QUICK)
    first.store.before = away
    names = [f"n{n}" for n in range(20)]
    for name in names:
        first.endpoint.export(trace_request(name))
    assert not first.receiver.drained(0.1)
    first.receiver.stop()
    second = run(loader=QUICK)
    assert second.receiver.drained(20)
    assert sorted(second.store.span_names()) == sorted(names)


def test_stopping_can_wait_for_the_store(run: Run) -> None:
    running = run()
    running.endpoint.export(trace_request("a"))
    running.receiver.stop(drain=20)
    assert running.store.span_names() == ["a"]


def test_two_receivers_never_share_a_directory_or_a_port(run: Run, tmp_path: Path) -> None:
    running = run()
    with pytest.raises(JournalBusy):
        run()
    for taken in ({"grpc_port": running.receiver.grpc_port}, {"http_port": running.receiver.http_port}):
        with pytest.raises(ConfigError, match="cannot start"):
            run(directory=tmp_path / "other", **taken)
    run(directory=tmp_path / "other")  # the failed ones have let go


def test_either_transport_can_be_left_out(run: Run) -> None:
    running = run(grpc_port=None)
    assert running.endpoint.post(trace_request()).status == 200
    assert running.receiver.grpc_port == 0


def test_a_poisoned_request_does_not_stop_the_others(run: Run) -> None:
    running = run(loader=QUICK)
    running.store.before = rejects(b"poison")
    for name in ("a", "poison", "b"):
        running.endpoint.export(trace_request(name))
    assert running.receiver.drained(20)
    assert sorted(running.store.span_names()) == ["a", "b"]
    metrics = running.receiver.metrics()
    assert (metrics.loader.dead_letters, metrics.dead_letters) == (1, 1)


def test_numbers_about_itself(run: Run) -> None:
    running = run(loader=QUICK)
    running.endpoint.export(trace_request("a", "b"))
    running.endpoint.post(log_request("l"), "logs")
    running.endpoint.post(trace_request("c", span_id=b""))
    running.endpoint.post(b"\xff")
    running.endpoint.request("GET", "/v1/traces")
    assert running.receiver.drained(20)
    metrics = running.receiver.metrics()
    assert metrics.intake.items == {"traces": 2, "logs": 1}
    assert metrics.intake.requests == {"traces": 2, "logs": 1}
    assert metrics.intake.rejected == {"a span id that is not 8 bytes or all zeros": 1}
    assert metrics.intake.refused == {"malformed": 1, "method": 1}
    assert metrics.loader.loaded_items == {"traces": 2, "logs": 1}
    assert (metrics.lag_seconds, metrics.lag_items, metrics.refusing) == (0.0, {"traces": 0, "logs": 0}, "")
    running.store.before = away
    running.endpoint.export(trace_request("waits"))
    time.sleep(0.3)
    metrics = running.receiver.metrics()
    assert metrics.lag_items == {"traces": 1, "logs": 0}
    assert metrics.lag_seconds > 0.2
    assert metrics.loader.failing_since_ns > 0


# --- overload ---------------------------------------------------------------------------------------------------------


def fill(running: Running) -> int:
    """Send until the journal is full; how many were taken."""
    taken = 0
    while running.receiver.journal.refusal() is None:
        taken += running.endpoint.post(trace_request("x" * 1000)).status == 200
        assert taken < 100
    return taken


def test_a_full_journal_is_answered_with_when_to_come_back_and_nothing_is_lost(run: Run) -> None:
    running = run(journal=TINY_JOURNAL, loader=QUICK)
    running.store.before = away
    taken = fill(running)
    answer = running.endpoint.post(trace_request())
    assert answer.status == 503
    assert 1 <= int(answer.headers["retry-after"]) <= 5
    info = error_details_pb2.RetryInfo()
    assert answer.rpc_status().code == 14
    assert answer.rpc_status().details[0].Unpack(info)
    answer = running.endpoint.post(b"{}", content_type=JSON)
    assert (answer.status, answer.media_type, json.loads(answer.body)["code"]) == (503, JSON, 14)
    with pytest.raises(grpc.RpcError) as raised:
        running.endpoint.export(trace_request())
    assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
    trailers = dict(raised.value.trailing_metadata())
    assert 1 <= error_details_pb2.RetryInfo.FromString(trailers["google.rpc.retryinfo-bin"]).retry_delay.seconds <= 5
    assert status_pb2.Status.FromString(trailers["grpc-status-details-bin"]).code == 14
    metrics = running.receiver.metrics()
    assert metrics.refusing == "journal_full"
    assert metrics.intake.refused["journal_full"] >= 3
    running.store.before = here
    assert running.receiver.drained(20)
    deadline = time.monotonic() + 5
    while running.receiver.journal.refusal() is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running.endpoint.post(trace_request("after")).status == 200
    assert running.receiver.drained(20)
    assert len(running.store.span_names()) == taken + 1


def test_an_absent_store_does_not_delay_acknowledgement(run: Run) -> None:
    running = run()
    running.store.before = lambda _token, _body: time.sleep(0.5) or away("", b"")
    slowest = 0.0
    for _ in range(50):
        started = time.monotonic()
        running.endpoint.export(trace_request())
        slowest = max(slowest, time.monotonic() - started)
    assert slowest < 2.0


@pytest.mark.slow
def test_thousands_of_tiny_requests_from_many_connections(run: Run) -> None:
    running = run()
    with ThreadPoolExecutor(16) as pool:

        def send(worker: int) -> int:
            with running.endpoint.channel() as channel:
                call = channel.unary_unary(METHODS["traces"])
                return sum(call(trace_request(f"{worker}-{n}"), timeout=60) == b"" for n in range(250))

        assert sum(pool.map(send, range(16))) == 4000
    assert running.receiver.drained(30)
    assert len(set(running.store.span_names())) == len(running.store.span_names()) == 4000


# --- strangers --------------------------------------------------------------------------------------------------------

TOKENS = Tokens.parse(
    "writer-token-0123456789 name=writer\nreader-token-0123456789 name=reader scopes=read\n"
    "slow-token-01234567890 name=slow rate=10K",
    source="test",
)


def sent(endpoint: Endpoint, token: str | None, body: bytes) -> tuple[int, grpc.StatusCode]:
    """What both transports say to a token."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    known = replace(endpoint, headers=headers)
    http = known.post(body).status
    try:
        known.export(body)
    except grpc.RpcError as error:
        return http, error.code()
    return http, grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("token", "http", "code"),
    [
        pytest.param("writer-token-0123456789", 200, grpc.StatusCode.OK, id="known"),
        pytest.param("reader-token-0123456789", 403, grpc.StatusCode.PERMISSION_DENIED, id="another scope"),
        pytest.param("nobody-token-0123456789", 401, grpc.StatusCode.UNAUTHENTICATED, id="unknown"),
        pytest.param(None, 401, grpc.StatusCode.UNAUTHENTICATED, id="none"),
    ],
)
def test_tokens_on_both_transports(run: Run, token: str | None, http: int, code: grpc.StatusCode) -> None:
    running = run(tokens=TOKENS)
    assert sent(running.endpoint, token, trace_request("a")) == (http, code)
    assert running.receiver.drained(20)
    assert len(running.store.span_names()) == (2 if http == 200 else 0)


def test_a_stranger_is_refused_before_the_body_is_read(run: Run) -> None:
    running = run(tokens=TOKENS)
    with socket.create_connection(("127.0.0.1", running.receiver.http_port), timeout=10) as connection:
        headers = "Host: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 60000000\r\n\r\n"
        connection.sendall(f"POST /v1/traces HTTP/1.1\r\n{headers}".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 401")


def test_reflection_is_not_for_strangers_and_health_is(run: Run) -> None:
    running = run(tokens=TOKENS)
    ask = [reflection_pb2.ServerReflectionRequest(list_services="")]
    with running.endpoint.channel() as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        with pytest.raises(grpc.RpcError) as raised:
            list(stub.ServerReflectionInfo(iter(ask), timeout=10))
        assert raised.value.code() == grpc.StatusCode.UNAUTHENTICATED
        known = (("authorization", "Bearer reader-token-0123456789"),)
        assert list(stub.ServerReflectionInfo(iter(ask), timeout=10, metadata=known))
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert health.status == health_pb2.HealthCheckResponse.SERVING


def test_what_nobody_foresaw_is_answered_so_that_the_client_comes_again(run: Run) -> None:
    broken = [True]

    def stage(_signal: str, body: bytes) -> bytes:
        if broken[0]:
            raise RuntimeError("a bug of ours")
        return body

    running = run(stages=(stage,))
    answer = running.endpoint.post(trace_request("a"))
    assert (answer.status, answer.headers["retry-after"], answer.rpc_status().code) == (503, "1", 14)
    with pytest.raises(grpc.RpcError) as raised:
        running.endpoint.export(trace_request("a"))
    assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "google.rpc.retryinfo-bin" in dict(raised.value.trailing_metadata())
    assert running.receiver.metrics().intake.refused["unforeseen"] == 1
    broken[0] = False
    assert sent(running.endpoint, None, trace_request("b")) == (200, grpc.StatusCode.OK)


def test_a_token_over_its_rate_is_told_when_to_come_back(run: Run) -> None:
    running = run(tokens=TOKENS)
    body = trace_request("x" * 30_000)
    known = replace(running.endpoint, headers={"authorization": "Bearer slow-token-01234567890"})
    assert known.post(body).status == 200
    answer = known.post(body)
    assert answer.status == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 5
    with pytest.raises(grpc.RpcError) as raised:
        known.export(body)
    assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "google.rpc.retryinfo-bin" in dict(raised.value.trailing_metadata())
    assert sent(running.endpoint, "writer-token-0123456789", body) == (200, grpc.StatusCode.OK)


def test_other_machines_are_not_served_without_knowing_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can be reached from other machines"):
        ReceiverConfig(directory=tmp_path, host="0.0.0.0")
    ReceiverConfig(directory=tmp_path, host="0.0.0.0", insecure=True)
    ReceiverConfig(directory=tmp_path, host="0.0.0.0", tokens=TOKENS)


class Certificates:
    def __init__(self, directory: Path) -> None:
        self.authority = trustme.CA()
        self.stranger = trustme.CA()
        server = self.authority.issue_cert("localhost", "127.0.0.1")
        certificate, key, self.ca = (directory / name for name in ("server.pem", "server.key", "ca.pem"))
        server.private_key_pem.write_to_path(key)
        certificate.write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
        self.config = TlsConfig(certificate=certificate, key=key)
        self.authority.cert_pem.write_to_path(self.ca)

    def http_status(self, port: int, issuer: trustme.CA | None) -> int | None:
        context = ssl.create_default_context(cafile=self.ca)
        if issuer is not None:
            issuer.issue_cert("client").configure_cert(context)
        request = urllib.request.Request(
            f"https://localhost:{port}/v1/traces", trace_request(), {"Content-Type": "application/x-protobuf"}
        )
        try:
            with urllib.request.urlopen(request, context=context, timeout=10) as answer:
                return int(answer.status)
        except (urllib.error.URLError, ConnectionError, ssl.SSLError):
            return None

    def grpc_code(self, port: int, issuer: trustme.CA | None) -> grpc.StatusCode:
        client = issuer.issue_cert("client") if issuer else None
        credentials = grpc.ssl_channel_credentials(
            root_certificates=self.authority.cert_pem.bytes(),
            private_key=client.private_key_pem.bytes() if client else None,
            certificate_chain=client.cert_chain_pems[0].bytes() if client else None,
        )
        with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
            try:
                channel.unary_unary(METHODS["traces"])(trace_request(), timeout=5)
            except grpc.RpcError as error:
                return error.code()
        return grpc.StatusCode.OK


def test_tls_on_both_transports(run: Run, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    running = run(tls=certificates.config)
    assert certificates.http_status(running.receiver.http_port, None) == 200
    assert certificates.grpc_code(running.receiver.grpc_port, None) == grpc.StatusCode.OK
    with pytest.raises((ConnectionError, OSError)):
        running.endpoint.post(trace_request())
    with pytest.raises(grpc.RpcError):
        running.endpoint.export(trace_request())


def test_client_certificates_on_both_transports(run: Run, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    running = run(tls=replace(certificates.config, client_ca=certificates.ca), host="127.0.0.1")
    http, rpc = running.receiver.http_port, running.receiver.grpc_port
    assert certificates.http_status(http, certificates.authority) == 200
    assert certificates.grpc_code(rpc, certificates.authority) == grpc.StatusCode.OK
    for stranger in (None, certificates.stranger):
        assert certificates.http_status(http, stranger) is None
        assert certificates.grpc_code(rpc, stranger) == grpc.StatusCode.UNAVAILABLE
    assert running.receiver.drained(20)
    assert len(running.store.span_names()) == 2


def test_browsers_may_not_send_unless_asked_for(run: Run, tmp_path: Path) -> None:
    origin = {"Origin": "https://app.example", "Access-Control-Request-Headers": "content-type,x-y"}
    closed = run()
    assert closed.endpoint.request("OPTIONS", "/v1/traces", headers=origin).status == 405
    answer = closed.endpoint.post(b"{}", content_type=JSON, Origin="https://app.example")
    assert "access-control-allow-origin" not in answer.headers
    opened = run(directory=tmp_path / "open", cors_origins=("https://app.example",), tokens=TOKENS)
    answer = opened.endpoint.request("OPTIONS", "/v1/traces", headers=origin)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (204, "https://app.example")
    assert answer.headers["access-control-allow-headers"] == "content-type,x-y"
    answer = opened.endpoint.request("OPTIONS", "/v1/traces", headers={**origin, "Origin": "https://evil.example"})
    assert answer.status == 405


def test_redaction_happens_before_the_disk(run: Run, tmp_path: Path) -> None:
    running = run(stages=(redact(RedactionRules(patterns=("email",))),))
    running.endpoint.post(trace_request("mail for ann@example.org"))
    assert running.receiver.drained(20)
    assert running.store.span_names() == ["mail for [email]"]
    written = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    assert b"[email]" in written
    assert b"ann@example.org" not in written


def test_a_receiver_that_was_never_started_can_be_stopped(tmp_path: Path) -> None:
    config = ReceiverConfig(directory=tmp_path, grpc_port=0, http_port=0)
    receiver = Receiver(config, MemoryStore())
    receiver.stop()
    assert threading.active_count() < 50
    Receiver(config, MemoryStore()).stop()
