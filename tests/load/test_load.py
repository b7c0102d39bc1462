"""`make load` in seconds: the same scenarios, smaller."""

from __future__ import annotations

from itertools import islice

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.load.bodies import fleet, one_trace, tiny
from tests.load.scenarios import Outcome, absent, connections, many, trace


def spans(body: bytes) -> list[Span]:
    request = ExportTraceServiceRequest.FromString(body)
    return [span for rs in request.resource_spans for ss in rs.scope_spans for span in ss.spans]


@pytest.mark.parametrize("bodies", [fleet, tiny])
def test_bodies_have_new_ids_every_time_and_their_trees_stay_whole(bodies: object) -> None:
    seen: set[bytes] = set()
    first = spans(next(bodies()))  # type: ignore[operator]
    tree = [span.parent_span_id in {each.span_id for each in first} for span in first]
    for body in islice(bodies(), 30):  # type: ignore[operator]
        made = spans(body)
        ids = {span.span_id for span in made}
        assert len(ids) == len(made)
        assert all(len(span.span_id) == 8 and any(span.span_id) and any(span.trace_id) for span in made)
        assert not ids & seen
        assert [span.parent_span_id in ids for span in made] == tree
        seen |= ids


def test_one_trace_has_as_many_spans_as_asked() -> None:
    made = [span for body in one_trace(1300, session="s") for span in spans(body)]
    assert len(made) == len({span.span_id for span in made}) == 1300
    assert len({span.trace_id for span in made}) == 1


def test_an_outcome_is_right_only_when_every_span_is_there_once() -> None:
    assert Outcome("x", 0, 0).right
    assert str(Outcome("x", 0, 0)) == "x; 0 lost, 0 doubled"
    for wrong in (Outcome("x", 1, 0), Outcome("x", 0, 1), Outcome("x", 0, 0, others=1), Outcome("x", 0, 0, wrong="y")):
        assert not wrong.right


@pytest.mark.slow
def test_a_long_trace_is_in_the_facts_whole() -> None:
    outcome = trace(spans=3000)
    assert outcome.right, outcome


@pytest.mark.slow
def test_many_connections_at_once() -> None:
    outcome = connections(number=60, requests_each=2)
    assert outcome.right, outcome


@pytest.mark.slow
def test_many_tiny_requests() -> None:
    outcome = many(number=1000)
    assert outcome.right, outcome


@pytest.mark.slow
def test_a_store_that_is_away_for_longer_than_the_journal_holds() -> None:
    outcome = absent(seconds=6.0, journal_mib=2)
    assert outcome.right, outcome
