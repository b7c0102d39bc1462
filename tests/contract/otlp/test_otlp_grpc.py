"""OTLP/gRPC, by the letter of the specification."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tests.contract.otlp.endpoint import Endpoint, assert_full_success, log_request, trace_request

MIB = 1 << 20
SAMPLES: dict[str, Any] = {"traces": trace_request, "logs": log_request}


def refused(endpoint: Endpoint, body: bytes, signal: str = "traces", **options: Any) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as raised:
        endpoint.export(body, signal, **options)
    return raised.value


def trailers(error: Any) -> dict[str, bytes]:
    return dict(error.trailing_metadata() or ())


@pytest.mark.parametrize("signal", SAMPLES)
@pytest.mark.parametrize("compression", list(grpc.Compression), ids=lambda each: each.name)
def test_success(over_grpc: Endpoint, signal: str, compression: grpc.Compression) -> None:
    if compression is grpc.Compression.Deflate and not over_grpc.ours:
        pytest.skip("the specification asks for none and gzip")
    answer = over_grpc.export(SAMPLES[signal](), signal, compression=compression)
    assert_full_success(over_grpc, signal, answer)


@pytest.mark.parametrize("signal", SAMPLES)
def test_an_empty_request_is_a_success(over_grpc: Endpoint, signal: str) -> None:
    assert_full_success(over_grpc, signal, over_grpc.export(b"", signal))


def test_unknown_fields_are_skipped(over_grpc: Endpoint) -> None:
    assert_full_success(over_grpc, "traces", over_grpc.export(trace_request() + b"\xfa\x3f\x05hello"))


@pytest.mark.parametrize(
    "body", [b"\xff\xff", trace_request()[:-3], b'{"resourceSpans": []}'], ids=["no protobuf", "cut", "JSON"]
)
def test_bad_data_is_not_to_be_sent_again(over_grpc: Endpoint, body: bytes) -> None:
    error = refused(over_grpc, body)
    assert error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL)
    assert "google.rpc.retryinfo-bin" not in trailers(error)


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_message_over_the_limit_is_exhausted_for_good(over_grpc: Endpoint, compression: grpc.Compression) -> None:
    error = refused(over_grpc, bytes(65 * MIB), compression=compression)
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "google.rpc.retryinfo-bin" not in trailers(error)


def test_a_bomb_is_refused(over_grpc: Endpoint) -> None:
    error = refused(over_grpc, bytes(500 * MIB), compression=grpc.Compression.Gzip)
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_large_message_within_the_limit_is_taken(over_grpc: Endpoint) -> None:
    assert_full_success(over_grpc, "traces", over_grpc.export(trace_request(*["x" * MIB] * 60)))


@pytest.mark.parametrize("method", ["/x/Export", "/opentelemetry.proto.collector.trace.v1.TraceService/Nothing", "/"])
def test_other_methods_are_unimplemented(over_grpc: Endpoint, method: str) -> None:
    with over_grpc.channel() as channel, pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary(method)(b"", timeout=10)
    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_many_at_once(over_grpc: Endpoint) -> None:
    with over_grpc.channel() as channel, ThreadPoolExecutor(50) as pool:
        call = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        metadata = tuple(over_grpc.headers.items())
        answers = list(pool.map(lambda _: call(trace_request(), timeout=60, metadata=metadata), range(500)))
    for answer in answers:
        assert_full_success(over_grpc, "traces", answer)


def test_a_client_that_gives_up_disturbs_nobody(over_grpc: Endpoint) -> None:
    with over_grpc.channel() as channel:
        call = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        body = trace_request(*["x" * 1000] * 1000)
        calls = [call.future(body, timeout=0.001) for _ in range(50)]
        for each in calls:
            each.cancel()
    assert threading.active_count() < 200


def test_partial_success_says_how_many_and_why(ours: Endpoint) -> None:
    body = trace_request("good") + trace_request("bad", span_id=b"x") + trace_request("bad", trace_id=bytes(16))
    partial = ExportTraceServiceResponse.FromString(ours.export(body)).partial_success
    assert partial.rejected_spans == 2
    assert partial.error_message == (
        "2 of 3 spans rejected: 1 with a span id that is not 8 bytes or all zeros, "
        "1 with a trace id that is not 16 bytes or all zeros"
    )


def test_bad_data_has_details(ours: Endpoint) -> None:
    status = status_pb2.Status.FromString(trailers(refused(ours, b"\xff"))["grpc-status-details-bin"])
    details = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(details)
    assert details.field_violations[0].field == "body"


def test_giant_metadata_is_refused(ours: Endpoint) -> None:
    with ours.channel() as channel, pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")(
            trace_request(), timeout=30, metadata=tuple((f"x-{n}", "x" * 1000) for n in range(1100))
        )
    assert raised.value.code() in (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
    )


def test_metrics_are_refused_clearly(ours: Endpoint) -> None:
    error = refused(ours, b"", "metrics")
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED
    assert "metrics are not stored here" in (error.details() or "")


def test_health(ours: Endpoint) -> None:
    with ours.channel() as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "opentelemetry.proto.collector.trace.v1.TraceService"):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection(ours: Endpoint) -> None:
    with ours.channel() as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        ask = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(
                file_containing_symbol="opentelemetry.proto.collector.trace.v1.TraceService"
            ),
        ]
        listed, described = stub.ServerReflectionInfo(iter(ask), timeout=10)
    names = {service.name for service in listed.list_services_response.service}
    assert {
        "opentelemetry.proto.collector.trace.v1.TraceService",
        "opentelemetry.proto.collector.logs.v1.LogsService",
        "grpc.health.v1.Health",
    } <= names
    assert described.file_descriptor_response.file_descriptor_proto
