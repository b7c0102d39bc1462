"""What happens to a request between the socket and the journal."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from maslens.collector_processor.anyvalue import json_text
from maslens.collector_processor.errors import ConfigError, Malformed
from maslens.collector_processor.inspection import Window, inspect
from maslens.collector_processor.intake import Prepared, prepare
from maslens.collector_processor.wire import AnyValue as Lenient
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.collector_processor.test_anyvalue import plain, value

NOW = time.time_ns()
SECOND = 10**9
DAY = 86_400 * SECOND
WINDOW = Window()


def ready(signal: Any, body: bytes) -> Prepared:
    return prepare(signal, body, now_ns=NOW, window=WINDOW)


def span(**fields: Any) -> Span:
    right = {"trace_id": b"t" * 16, "span_id": b"s" * 8, "start_time_unix_nano": NOW, "end_time_unix_nano": NOW}
    return Span(**{**right, **fields})


def traces(*spans: Span) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add(schema_url="https://opentelemetry.io/schemas/1.39.0")
    group.resource.attributes.add(key="service.name", value=AnyValue(string_value="test"))
    scope = group.scope_spans.add()
    scope.scope.name = "tests"
    scope.spans.extend(spans)
    return request


def names(body: bytes) -> list[str]:
    request = ExportTraceServiceRequest.FromString(body)
    return [s.name for rs in request.resource_spans for ss in rs.scope_spans for s in ss.spans]


def test_a_plain_request_goes_through_byte_by_byte() -> None:
    attributes = [KeyValue(key="*2*2", value=value("*2 12 2a 32 \x12\x04*\x02")), KeyValue(key="n", value=value(42))]
    body = traces(*(span(attributes=attributes) for _ in range(3))).SerializeToString()
    prepared = ready("traces", body)
    assert prepared.body is body
    assert (prepared.items, prepared.rejected) == (3, {})


@pytest.mark.parametrize("body", [b"", ExportTraceServiceRequest().SerializeToString(), traces().SerializeToString()])
def test_a_request_without_spans_is_right_and_empty(body: bytes) -> None:
    assert ready("traces", body).items == 0


@pytest.mark.parametrize(
    "body",
    [b"\xff", b"\x0a\x05abc", b"hello, world", b"\x0a\x02\x08", b"\x0a\xff\xff\xff\xff\x0f", b"{}", b"\x0b" * 200],
)
@pytest.mark.parametrize("signal", ["traces", "logs"])
def test_what_is_no_request_is_malformed(signal: Any, body: bytes) -> None:
    with pytest.raises(Malformed):
        ready(signal, body)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        pytest.param({"trace_id": b""}, "a trace id", id="no trace id"),
        pytest.param({"trace_id": b"t" * 15}, "a trace id", id="short trace id"),
        pytest.param({"trace_id": b"t" * 17}, "a trace id", id="long trace id"),
        pytest.param({"trace_id": bytes(16)}, "a trace id", id="zero trace id"),
        pytest.param({"span_id": b""}, "a span id", id="no span id"),
        pytest.param({"span_id": b"s" * 16}, "a span id", id="long span id"),
        pytest.param({"span_id": bytes(8)}, "a span id", id="zero span id"),
        pytest.param({"parent_span_id": b"p"}, "a parent span id", id="short parent id"),
        pytest.param({"start_time_unix_nano": 0}, "a start time", id="no start"),
        pytest.param({"start_time_unix_nano": 1}, "a start time", id="1970"),
        pytest.param({"start_time_unix_nano": NOW + 2 * DAY}, "a start time", id="the day after tomorrow"),
        pytest.param({"start_time_unix_nano": NOW // 10**6}, "a start time", id="milliseconds for nanoseconds"),
        pytest.param({"end_time_unix_nano": 2**64 - 1}, "an end time", id="the end of time"),
    ],
)
def test_a_span_that_cannot_be_right_costs_itself_only(fields: dict[str, Any], reason: str) -> None:
    body = traces(span(name="a"), span(name="b", **fields), span(name="c")).SerializeToString()
    prepared = ready("traces", body)
    assert names(prepared.body) == ["a", "c"]
    assert prepared.items == 2
    ((said, number),) = prepared.rejected.items()
    assert said.startswith(reason)
    assert number == 1


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"end_time_unix_nano": 0}, id="no end"),
        pytest.param({"end_time_unix_nano": NOW - SECOND}, id="end before start"),
        pytest.param({"start_time_unix_nano": NOW - 365 * DAY}, id="a year ago"),
        pytest.param({"start_time_unix_nano": NOW + 3600 * SECOND}, id="a clock that is ahead"),
    ],
)
def test_what_is_odd_but_possible_is_kept(fields: dict[str, Any]) -> None:
    body = traces(span(**fields)).SerializeToString()
    assert ready("traces", body) == Prepared(body, 1, {})


def test_a_parent_id_of_zeros_means_none() -> None:
    prepared = ready("traces", traces(span(parent_span_id=bytes(8), name="root")).SerializeToString())
    (mended,) = ExportTraceServiceRequest.FromString(prepared.body).resource_spans[0].scope_spans[0].spans
    assert (prepared.items, prepared.rejected, mended.parent_span_id) == (1, {}, b"")


@pytest.mark.parametrize("number", [1, 63, 64, 65, 200])
@pytest.mark.parametrize("bad_at", [0, -1])
def test_one_wrong_span_is_found_among_any_number(number: int, bad_at: int) -> None:
    spans = [span(name=str(index)) for index in range(number)]
    spans[bad_at].start_time_unix_nano = 5
    prepared = ready("traces", traces(*spans).SerializeToString())
    assert (prepared.items, sum(prepared.rejected.values())) == (number - 1, 1)


def test_the_window_is_a_setting() -> None:
    old = traces(span(start_time_unix_nano=NOW - 10 * DAY)).SerializeToString()
    narrow = Window(past=timedelta(days=7))
    assert prepare("traces", old, now_ns=NOW, window=narrow).items == 0
    with pytest.raises(ConfigError):
        Window(past=timedelta(days=-1))


def test_unknown_fields_survive_mending() -> None:
    unknown = b"\xfa\x3f\x05hello"  # field 1023
    good = span(name="kept").SerializeToString() + unknown
    bad = span(name="bad", trace_id=b"").SerializeToString()
    scope = b"".join(b"\x12" + bytes([len(raw)]) + raw for raw in (good, bad)) + unknown
    group = b"\x12" + bytes([len(scope)]) + scope + unknown
    body = b"\x0a" + len(group).to_bytes(1, "little") + group if len(group) < 128 else b""
    if not body:
        body = b"\x0a" + bytes([len(group) & 0x7F | 0x80, len(group) >> 7]) + group
    prepared = ready("traces", body)
    assert names(prepared.body) == ["kept"]
    assert prepared.body.count(b"hello") == 3


# --- what the engine would misread ------------------------------------------------------------------------------------

PAYLOADS = {0: b"\x05", 1: b"12345678", 2: b"\x03abc", 5: b"1234"}
# The wire type of every field that is read, by level.
KNOWN = {
    "request": {1: 2},
    "group": {1: 2, 2: 2, 3: 2},
    "scope": {1: 2, 2: 2, 3: 2},
    "span": {1: 2, 2: 2, 3: 2, 4: 2, 5: 2, 6: 0, 7: 1, 8: 1, 9: 2, 10: 0, 11: 2, 12: 0, 13: 2, 14: 0, 15: 2, 16: 5},
    "pair": {1: 2, 2: 2},
    "value": {1: 2, 2: 0, 3: 0, 4: 1, 5: 2, 6: 2, 7: 2},
    "event": {1: 1, 2: 2, 3: 2, 4: 0},
    "status": {2: 2, 3: 0},
}


# Here the library understands numbers that come packed as a list. Nobody sends such; the engine refuses or misreads it.
PACKED = {"span": {6, 7, 8, 10}, "event": {1}, "status": {3}, "value": {2}}


def at_level(level: str, extra: bytes) -> bytes:
    """A request of one span with `extra` bytes somewhere in it."""
    inner = span(name="x").SerializeToString()
    inner += {
        "span": extra,
        "pair": _field(0x4A, _field(0x0A, b"k") + extra),
        "value": _field(0x4A, _field(0x0A, b"k") + _field(0x12, extra)),
        "event": _field(0x5A, extra),
        "status": _field(0x7A, extra),
    }.get(level, b"")
    scope = _field(0x12, inner) + (extra if level == "scope" else b"")
    group = _field(0x12, scope) + (extra if level == "group" else b"")
    return _field(0x0A, group) + (extra if level == "request" else b"")


def tag(number: int, wire: int) -> bytes:
    key = number << 3 | wire
    return bytes([key]) if key < 0x80 else bytes([key & 0x7F | 0x80, key >> 7])


@pytest.mark.parametrize("level", KNOWN)
@pytest.mark.parametrize("wire", PAYLOADS)
def test_a_field_of_another_type_is_malformed(level: str, wire: int) -> None:
    for number, right in KNOWN[level].items():
        if wire != right and not (wire == 2 and number in PACKED.get(level, ())):
            with pytest.raises(Malformed):
                ready("traces", at_level(level, tag(number, wire) + PAYLOADS[wire]))


@pytest.mark.parametrize("level", KNOWN)
def test_a_field_nobody_knows_is_kept_whatever_its_type(level: str) -> None:
    for wire, payload in PAYLOADS.items():
        assert ready("traces", at_level(level, tag(100, wire) + payload)).items == 1
    with pytest.raises(Malformed):  # but for groups, which the engine cannot step over
        ready("traces", at_level(level, tag(100, 3) + b"\x08\x01" + tag(100, 4)))


@pytest.mark.parametrize(
    ("level", "extra"),
    [
        pytest.param("value", b"\x10\x02", id="a bool of 2"),
        pytest.param("value", b"\x10\x80\x02", id="a bool of 256"),
        pytest.param("span", b"\x30" + b"\x80" * 5 + b"\x01", id="a kind beyond 32 bits"),
        pytest.param("span", b"\x50" + b"\x80" * 5 + b"\x01", id="a count beyond 32 bits"),
        pytest.param("status", b"\x18" + b"\x80" * 5 + b"\x01", id="a status beyond 32 bits"),
    ],
)
def test_a_number_that_does_not_fit_is_malformed(level: str, extra: bytes) -> None:
    with pytest.raises(Malformed, match="does not fit"):
        ready("traces", at_level(level, extra))


# --- UTF-8 ------------------------------------------------------------------------------------------------------------

PLACES: dict[str, Callable[[bytes], bytes]] = {
    "span name": lambda bad: traces(span(name="NAME")).SerializeToString().replace(b"NAME", bad),
    "key": lambda bad: traces(span(attributes=[KeyValue(key="NAME")])).SerializeToString().replace(b"NAME", bad),
    "value": lambda bad: (
        traces(span(attributes=[KeyValue(key="k", value=value("NAME"))])).SerializeToString().replace(b"NAME", bad)
    ),
    "event": lambda bad: traces(span(events=[Span.Event(name="NAME")])).SerializeToString().replace(b"NAME", bad),
    "in an array": lambda bad: (
        traces(span(attributes=[KeyValue(key="k", value=value(["NAME"]))])).SerializeToString().replace(b"NAME", bad)
    ),
    "resource": lambda bad: traces(span()).SerializeToString().replace(b"test", bad),
    "schema url": lambda bad: traces(span()).SerializeToString().replace(b"sche", bad),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("bad", [b"a\xff\xfeb", b"\xc3\xc3\xc3\xc3", b"\xed\xa0\x80x"])
def test_bytes_that_are_no_utf8_are_replaced_and_the_span_is_kept(place: str, bad: bytes) -> None:
    prepared = ready("traces", PLACES[place](bad))
    assert (prepared.items, prepared.rejected) == (1, {})
    ExportTraceServiceRequest.FromString(prepared.body)  # checks every text
    assert b"\xef\xbf\xbd" in prepared.body or rb"\ufffd" in prepared.body
    assert inspect("traces", prepared.body, WINDOW.at(NOW)).clean


def test_nul_characters_are_text_as_any() -> None:
    body = traces(span(name="a\0b", attributes=[KeyValue(key="\0", value=value("\0"))])).SerializeToString()
    assert ready("traces", body).body is body


# --- arrays and maps --------------------------------------------------------------------------------------------------


def everywhere(content: Any) -> ExportTraceServiceRequest:
    """A request with the value at every place where one can be."""
    pair = [KeyValue(key="plain", value=value("x")), KeyValue(key="nested", value=content)]
    request = traces(
        span(name="plain"),
        span(attributes=pair, events=[Span.Event(name="e", attributes=pair)], links=[Span.Link(attributes=pair)]),
    )
    request.resource_spans[0].resource.attributes.extend(pair)
    request.resource_spans[0].scope_spans[0].scope.attributes.extend(pair)
    return request


def flat(message: Any, texts: Callable[[AnyValue], str]) -> None:
    """The reference: walk everything."""
    if isinstance(message, AnyValue):
        if message.WhichOneof("value") in ("array_value", "kvlist_value"):
            message.string_value = texts(message)
        return
    for field, content in message.ListFields():
        if field.message_type is not None:
            for part in content if field.is_repeated else (content,):
                flat(part, texts)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(["stop"], '["stop"]', id="a list"),
        pytest.param([], "[]", id="an empty list"),
        pytest.param({}, "{}", id="an empty map"),
        pytest.param({"a": [1, {"b": None}]}, '{"a":[1,{"b":null}]}', id="deeper"),
        pytest.param(["x" * 300], '["' + "x" * 300 + '"]', id="long"),
    ],
)
def test_arrays_and_maps_become_text_wherever_they_are(content: Any, expected: str) -> None:
    request = everywhere(value(content))
    prepared = ready("traces", request.SerializeToString())
    flat(request, lambda _: expected)
    assert ExportTraceServiceRequest.FromString(prepared.body) == request


def test_log_bodies_and_attributes_too() -> None:
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    scope.log_records.add(body=value({"role": "user"}), attributes=[KeyValue(key="k", value=value([1]))])
    scope.log_records.add(body=value("plain"))
    prepared = ready("logs", request.SerializeToString())
    first, second = ExportLogsServiceRequest.FromString(prepared.body).resource_logs[0].scope_logs[0].log_records
    assert first.body.string_value == '{"role":"user"}'
    assert first.attributes[0].value.string_value == "[1]"
    assert second.body.string_value == "plain"


def _nested(levels: int, innermost: bytes = b"\x0a\x01x") -> bytes:
    """An AnyValue, wrapped in arrays by hand: the encoder here has a limit."""
    raw = innermost
    for _ in range(levels):
        raw = _field(0x2A, _field(0x0A, raw))
    return raw


def _pair_of(raw: bytes) -> bytes:
    return _field(0x0A, b"k") + _field(0x12, raw)


def _spans(*raw: bytes) -> bytes:
    return _field(0x0A, _field(0x12, b"".join(_field(0x12, each) for each in raw)))


@pytest.mark.parametrize("levels", [1, 30, 48, 49, 50, 100, 1000, 4900])
def test_values_of_any_depth_become_text(levels: int) -> None:
    text = "[" * levels + '"x"' + "]" * levels
    deep = _pair_of(_nested(levels))
    event = _field(0x12, b"e") + _field(0x1A, deep)
    link = _field(0x0A, b"l" * 16) + _field(0x22, deep)
    body = _spans(span().SerializeToString() + _field(0x4A, deep) + _field(0x5A, event) + _field(0x6A, link))
    group = ExportTraceServiceRequest.FromString(ready("traces", body).body).resource_spans[0]
    (made,) = group.scope_spans[0].spans
    assert made.attributes[0].value.string_value == text
    assert made.events[0].attributes[0].value.string_value == text
    assert made.links[0].attributes[0].value.string_value == text
    resource = _field(0x0A, _field(0x0A, _field(0x0A, deep)) + _field(0x12, _field(0x0A, _field(0x1A, deep))))
    group = ExportTraceServiceRequest.FromString(ready("traces", resource + body).body).resource_spans[0]
    record = _field(0x2A, _nested(levels)) + _field(0x32, deep)
    logs = ExportLogsServiceRequest.FromString(ready("logs", _field(0x0A, _field(0x12, _field(0x12, record)))).body)
    (kept,) = logs.resource_logs[0].scope_logs[0].log_records
    assert (kept.body.string_value, kept.attributes[0].value.string_value) == (text, text)


def test_what_is_deep_is_kept_beside_what_is_wrong() -> None:
    text = "[" * 200 + '"\\ufffd"' + "]" * 200
    deep = span(name="deep").SerializeToString() + _field(0x4A, _pair_of(_nested(200, b"\x0a\x01\xff")))
    bad = span(name="bad", trace_id=b"").SerializeToString()
    for extra in (b"", _field(0x2A, b"\xff")):  # a name that is no UTF-8: every text of the request is mended
        prepared = ready("traces", _spans(deep, bad, span(name="plain").SerializeToString() + extra))
        assert (prepared.items, sum(prepared.rejected.values())) == (2, 1)
        first = ExportTraceServiceRequest.FromString(prepared.body).resource_spans[0].scope_spans[0].spans[0]
        assert first.attributes[0].value.string_value == text


def test_values_nested_beyond_reason_are_malformed_and_nothing_breaks() -> None:
    for levels in (5001, 20_000):
        with pytest.raises(Malformed, match="nested deeper than 10000"):
            ready("traces", _spans(span().SerializeToString() + _field(0x4A, _pair_of(_nested(levels)))))
    assert ready("traces", traces(span()).SerializeToString()).items == 1


def test_an_array_that_cannot_be_read_is_malformed() -> None:
    array = _field(0x2A, b"\x0a\x05x")  # says five bytes and has one
    bad = _field(0x4A, _field(0x0A, b"k") + _field(0x12, array))
    with pytest.raises(Malformed):
        ready("traces", _field(0x0A, _field(0x12, _field(0x12, span().SerializeToString() + bad))))


def _field(tag: int, raw: bytes) -> bytes:
    size, length = bytearray(), len(raw)
    while length > 0x7F:
        size.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([tag]) + bytes(size) + bytes([length]) + raw


def test_a_span_of_a_million_attributes_is_taken() -> None:
    pair = _field(0x4A, KeyValue(key="k", value=value(1)).SerializeToString())
    body = _field(0x0A, _field(0x12, _field(0x12, span().SerializeToString() + pair * 1_000_000)))
    started = time.monotonic()
    assert ready("traces", body).items == 1
    assert time.monotonic() - started < 20


nested = st.recursive(
    plain | st.floats(allow_nan=False) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
pairs = st.lists(st.builds(KeyValue, key=st.text(max_size=200), value=nested.map(value)), max_size=4)
spans = st.builds(
    span,
    name=st.text(max_size=20),
    kind=st.integers(0, 5),
    attributes=pairs,
    events=st.lists(st.builds(Span.Event, name=st.text(max_size=5), attributes=pairs), max_size=2),
    links=st.lists(st.builds(Span.Link, trace_id=st.just(b"l" * 16), attributes=pairs), max_size=2),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    groups=st.lists(st.tuples(pairs, st.lists(st.tuples(pairs, st.lists(spans, max_size=3)), max_size=2)), max_size=2)
)
def test_nothing_but_arrays_and_maps_changes(groups: Any) -> None:
    request = ExportTraceServiceRequest()
    for resource, scopes in groups:
        group = request.resource_spans.add()
        group.resource.attributes.extend(resource)
        for scope_attributes, scope_spans in scopes:
            scope = group.scope_spans.add()
            scope.scope.attributes.extend(scope_attributes)
            scope.spans.extend(scope_spans)
    body = request.SerializeToString()
    prepared = ready("traces", body)
    if prepared.items:
        flat(request, lambda message: json_text(Lenient.FromString(message.SerializeToString())))
        assert ExportTraceServiceRequest.FromString(prepared.body) == request
        assert inspect("traces", prepared.body, WINDOW.at(NOW)).clean


@settings(max_examples=300, deadline=None)
@given(signal=st.sampled_from(["traces", "logs"]), body=st.binary(max_size=300))
def test_arbitrary_bytes_are_taken_or_malformed(signal: Any, body: bytes) -> None:
    try:
        prepared = ready(signal, body)
    except Malformed:
        return
    assert prepared.items >= 0


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, 10_000), junk=st.binary(min_size=0, max_size=6), drop=st.integers(0, 6), content=nested)
def test_a_damaged_request_is_taken_or_malformed(at: int, junk: bytes, drop: int, content: Any) -> None:
    body = everywhere(value(content)).SerializeToString()
    at %= len(body)
    damaged = body[:at] + junk + body[at + drop :]
    try:
        prepared = ready("traces", damaged)
    except Malformed:
        return
    if prepared.items:
        found = inspect("traces", prepared.body, WINDOW.at(NOW))
        assert found.readable
        assert not found.nested
