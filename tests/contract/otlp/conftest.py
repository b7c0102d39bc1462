"""OTLP_HTTP_URL and OTLP_GRPC_ADDR (and OTLP_TOKEN) name the receiver to test; without them ours is started."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from maslens.collector_processor import Receiver, ReceiverConfig

from tests.collector_processor.stores import MemoryStore
from tests.contract.otlp.endpoint import Endpoint, assert_full_success, endpoint_from_environment, trace_request


@pytest.fixture(scope="session", params=[pytest.param(0, id="one process"), pytest.param(2, id="front ends")])
def endpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    given = endpoint_from_environment()
    if given is not None:
        if request.param:
            pytest.skip("the endpoint that was given is tested once")
        yield given
        return
    directory: Path = tmp_path_factory.mktemp("receiver")
    receiver = Receiver(
        ReceiverConfig(directory=directory, grpc_port=0, http_port=0, front_ends=request.param), MemoryStore()
    )
    receiver.start()
    try:
        yield Endpoint(f"http://127.0.0.1:{receiver.http_port}", f"127.0.0.1:{receiver.grpc_port}", ours=True)
    finally:
        receiver.stop()


@pytest.fixture(autouse=True)
def _still_serving(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test sent, the next good request is served."""
    yield
    if "endpoint" not in request.fixturenames:
        return
    endpoint = request.getfixturevalue("endpoint")
    if endpoint.http:
        assert endpoint.post(trace_request()).status == 200
    if endpoint.grpc:
        assert_full_success(endpoint, "traces", endpoint.export(trace_request()))


@pytest.fixture
def over_http(endpoint: Endpoint) -> Endpoint:
    if not endpoint.http:
        pytest.skip("no OTLP_HTTP_URL given")
    return endpoint


@pytest.fixture
def over_grpc(endpoint: Endpoint) -> Endpoint:
    if not endpoint.grpc:
        pytest.skip("no OTLP_GRPC_ADDR given")
    return endpoint


@pytest.fixture
def ours(endpoint: Endpoint) -> Endpoint:
    if not endpoint.ours:
        pytest.skip("the specification leaves this open; this is our choice")
    return endpoint
