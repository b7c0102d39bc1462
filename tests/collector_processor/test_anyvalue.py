"""Values as the Collector writes them. The expected texts were printed by Go 1.26's encoding/json, HTML escapes off."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maslens.collector_processor.anyvalue import json_text, number_text, quoted
from maslens.collector_processor.deep_values import flatten_deep
from maslens.collector_processor.wire import AnyValue, KeyValue
from opentelemetry.proto.common.v1 import common_pb2


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (-1.5, "-1.5"),
        (0.1, "0.1"),
        (4.35, "4.35"),
        (1e-6, "0.000001"),
        (9.99e-7, "9.99e-7"),
        (1e-7, "1e-7"),
        (1.5e-7, "1.5e-7"),
        (-1e-10, "-1e-10"),
        (0.00012345, "0.00012345"),
        (-1e-5, "-0.00001"),
        (123456.789, "123456.789"),
        (1e15, "1000000000000000"),
        (1e16, "10000000000000000"),
        (1.234e17, "123400000000000000"),
        (9007199254740993.0, "9007199254740992"),
        (1.2345678901234567e19, "12345678901234567000"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e21, "1.5e+21"),
        (-1e22, "-1e+22"),
        (1e300, "1e+300"),
        (5e-324, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
    ],
)
def test_numbers(number: float, expected: str) -> None:
    assert number_text(number) == expected


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_back_as_itself(number: float) -> None:
    assert float(number_text(number)) == number


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(b"<>&'\"\\/", r'"<>&' + "'" + r'\"\\/"', id="no HTML escapes"),
        pytest.param(b"\x08\x0c\n\r\t\x00\x1f\x7f", r'"\b\f\n\r\t\u0000\u001f' + "\x7f" + '"', id="control characters"),
        pytest.param("\u2028\u2029".encode(), r'"\u2028\u2029"', id="line separators"),
        pytest.param("é日本😀".encode(), '"é日本😀"', id="not ASCII"),
        pytest.param(b"a\xff\xfeb", r'"a\ufffd\ufffdb"', id="no UTF-8"),
        pytest.param(b"\xed\xa0\x80", r'"\ufffd\ufffd\ufffd"', id="half a surrogate pair"),
        pytest.param(b"\xc3", r'"\ufffd"', id="cut short"),
        pytest.param("\ufffd".encode(), '"\ufffd"', id="U+FFFD itself"),
    ],
)
def test_strings(raw: bytes, expected: str) -> None:
    assert quoted(raw) == expected


def value(content: Any) -> common_pb2.AnyValue:
    """The AnyValue of a Python value."""
    if content is None:
        return common_pb2.AnyValue()
    if isinstance(content, bool):
        return common_pb2.AnyValue(bool_value=content)
    if isinstance(content, int):
        return common_pb2.AnyValue(int_value=content)
    if isinstance(content, float):
        return common_pb2.AnyValue(double_value=content)
    if isinstance(content, str):
        return common_pb2.AnyValue(string_value=content)
    if isinstance(content, bytes):
        return common_pb2.AnyValue(bytes_value=content)
    if isinstance(content, list):
        return common_pb2.AnyValue(array_value=common_pb2.ArrayValue(values=map(value, content)))
    pairs = [common_pb2.KeyValue(key=key, value=value(inner)) for key, inner in content.items()]
    return common_pb2.AnyValue(kvlist_value=common_pb2.KeyValueList(values=pairs))


def text(message: common_pb2.AnyValue) -> str:
    return json_text(AnyValue.FromString(message.SerializeToString()))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param([], "[]", id="empty list"),
        pytest.param({}, "{}", id="empty map"),
        pytest.param(["stop"], '["stop"]', id="finish reasons"),
        pytest.param({"b": 1, "a": None, "é": 2, "B": []}, '{"B":[],"a":null,"b":1,"é":2}', id="keys in byte order"),
        pytest.param({"by": b"\x01\x02\xff"}, '{"by":"AQL/"}', id="bytes as base64"),
        pytest.param([b"", ""], '[null,""]', id="no bytes at all"),
        pytest.param([True, False, 2**63 - 1, 1.0], "[true,false,9223372036854775807,1]", id="scalars"),
        pytest.param([{"role": "user", "parts": [{"content": "hi"}]}], '[{"parts":[{"content":"hi"}],"role":"user"}]'),
        pytest.param([math.nan, -math.inf], '["NaN","-Infinity"]', id="not finite: kept as text"),
    ],
)
def test_arrays_and_maps(content: Any, expected: str) -> None:
    assert text(value(content)) == expected


def test_of_a_repeated_key_the_last_counts() -> None:
    pairs = [common_pb2.KeyValue(key="a", value=value(number)) for number in (1, 2)]
    assert text(common_pb2.AnyValue(kvlist_value=common_pb2.KeyValueList(values=pairs))) == '{"a":2}'


plain = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text()


@given(st.recursive(plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)))
def test_what_comes_out_is_the_json_of_what_went_in(content: Any) -> None:
    written = text(value(content))
    assert json.loads(written) == content
    expected = json.dumps(content, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    assert written == expected.replace("\u2028", r"\u2028").replace("\u2029", r"\u2029")


@settings(deadline=None)
@given(
    st.recursive(
        plain | st.floats() | st.binary(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    )
)
def test_the_way_without_recursion_writes_the_same(content: Any) -> None:
    pair = common_pb2.KeyValue(key="k", value=value([content]))
    flat = KeyValue.FromString(flatten_deep(KeyValue, pair.SerializeToString()))
    assert flat.value.text.decode() == text(value([content]))
