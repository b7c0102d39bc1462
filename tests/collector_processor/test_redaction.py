"""What must not be stored is not, and everything else is."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from maslens.collector_processor.errors import ConfigError
from maslens.collector_processor.redaction import RedactionRules, is_content, redact
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.collector_processor.test_anyvalue import value
from tests.collector_processor.test_prepare import span, traces


def attributes(rules: RedactionRules, **given: Any) -> dict[str, Any]:
    """A span's attributes after `rules`; `__` stands for a dot."""
    pairs = [KeyValue(key=key.replace("__", "."), value=value(content)) for key, content in given.items()]
    body = redact(rules)("traces", traces(span(attributes=pairs)).SerializeToString())
    (only,) = ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans
    found = {}
    for pair in only.attributes:
        kind = pair.value.WhichOneof("value")
        found[pair.key.replace(".", "__")] = getattr(pair.value, kind) if kind else None
    return found


@pytest.mark.parametrize(
    ("keys", "given", "expected"),
    [
        pytest.param(
            ("user__email",), {"user__email": "a@b.c", "n": 1}, {"user__email": "[redacted]", "n": 1}, id="key"
        ),
        pytest.param(("*password*",), {"db__Password2": "x"}, {"db__Password2": "[redacted]"}, id="part, any case"),
        pytest.param(("secret",), {"secret": 5}, {"secret": "[redacted]"}, id="a number"),
        pytest.param(
            ("ssn",),
            {"input": '{"a":[{"ssn":"1","b":2}]}'},
            {"input": '{"a":[{"ssn":"[redacted]","b":2}]}'},
            id="in JSON",
        ),
        pytest.param(
            ("ssn",),
            {"input": '[{"arguments":"{\\"ssn\\":\\"1\\",\\"b\\":2}"}]'},
            {"input": '[{"arguments":"{\\"ssn\\":\\"[redacted]\\",\\"b\\":2}"}]'},
            id="in JSON in a string of JSON",
        ),
        pytest.param(
            ("ssn",), {"a": '{"x":"y","ssn":"12'}, {"a": '{"x":"y","ssn":"[redacted]"'}, id="in JSON cut short"
        ),
        pytest.param(
            ("ssn",),
            {"a": '[{"arguments":"{\\"ssn\\": \\"1\\\\\\"2\\", \\"b\\": 2}"}, {"cut'},
            {"a": '[{"arguments":"{\\"ssn\\": \\"[redacted]\\", \\"b\\": 2}"}, {"cut'},
            id="in a string of JSON cut short",
        ),
        pytest.param(
            ("ssn",), {"a": "{'ssn': 'x', 'b': None}"}, {"a": "{'ssn': '[redacted]', 'b': None}"}, id="as Python prints"
        ),
        pytest.param(
            ("ssn",),
            {"a": 'I call f({"ssn": 12, "b": 1})'},
            {"a": 'I call f({"ssn": "[redacted]", "b": 1})'},
            id="amid",
        ),
        pytest.param(("ssn",), {"a": '{"ssn": {"x": "12'}, {"a": '{"ssn": "[redacted]"'}, id="an object cut short"),
        pytest.param(("ssn",), {"input": '{"ssn" is not JSON'}, {"input": '{"ssn" is not JSON'}, id="no JSON"),
        pytest.param(("none",), {"a": '{"b": 1}'}, {"a": '{"b": 1}'}, id="untouched byte by byte"),
    ],
)
def test_by_key(keys: tuple[str, ...], given: dict[str, Any], expected: dict[str, Any]) -> None:
    rules = RedactionRules(keys=tuple(key.replace("__", ".") for key in keys))
    assert attributes(rules, **given) == expected


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("email", "write to Ann.Lee+x@mail.example.org, please", "write to [email], please"),
        ("email", "a@b is none, nor is @home", "a@b is none, nor is @home"),
        ("card", "4111 1111 1111 1111!", "[card]!"),
        ("card", "5500-0055-5555-5559 and 4111111111111112", "[card] and 4111111111111112"),
        ("card", "1795203860444725429 is a time", "1795203860444725429 is a time"),
        ("key", "OPENAI sk-abcdefghij0123456789", "OPENAI [key]"),
        ("key", "Authorization: Bearer abcdefghijklmnop.qrs", "Authorization: [key]"),
        ("key", "AKIAIOSFODNN7EXAMPLE", "[key]"),
        ("key", "task-oriented skeleton", "task-oriented skeleton"),
        ("ticket=T-[0-9]+", "see T-123", "see [ticket]"),
        ("email", '{"t":"hi\\nann@example.org"}', '{"t":"hi\\n[email]"}'),
        ("key", '{"t":"is:\\tsk-abcdefghij0123456789\\n"}', '{"t":"is:\\t[key]\\n"}'),
        ("key", '{"t":"{\\\\"k\\\\":\\\\"a\\\\nsk-abcdefghij0123456789"}', '{"t":"{\\\\"k\\\\":\\\\"a\\\\n[key]"}'),
        ("card", '"\\u20284111 1111 1111 1111"', '"\\u2028[card]"'),
    ],
)
def test_by_pattern(pattern: str, text: str, expected: str) -> None:
    assert attributes(RedactionRules(patterns=(pattern,)), a=text) == {"a": expected}


def test_a_card_number_may_come_as_a_number() -> None:
    given = {"a": 4111111111111111, "b": 12, "c": 4111111111111111.0, "d": 0.5, "e": b"4111111111111111"}
    assert attributes(RedactionRules(patterns=("card",)), **given) == {
        **given,
        "a": "[card]",
        "c": "[card]",
        "e": b"[card]",
    }


def test_patterns_reach_every_text_of_a_span() -> None:
    pair = [KeyValue(key="k", value=value("me@example.org"))]
    request = traces(
        span(
            name="mail me@example.org",
            status=Status(message="me@example.org"),
            trace_state="a=me@example.org",
            events=[Span.Event(name="e me@example.org", attributes=pair)],
            links=[Span.Link(attributes=pair)],
        )
    )
    request.resource_spans[0].resource.attributes.extend(pair)
    request.resource_spans[0].scope_spans[0].scope.attributes.extend(pair)
    body = redact(RedactionRules(patterns=("email",)))("traces", request.SerializeToString())
    assert b"example.org" not in body
    assert body.count(b"[email]") == 8


def test_patterns_reach_log_bodies() -> None:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add(body=value("from me@example.org"))
    body = redact(RedactionRules(patterns=("email",)))("logs", request.SerializeToString())
    (record,) = ExportLogsServiceRequest.FromString(body).resource_logs[0].scope_logs[0].log_records
    assert record.body.string_value == "from [email]"


CONTENT = {
    "gen_ai__input__messages": '[{"role":"user"}]',
    "gen_ai__output__messages": "[]",
    "gen_ai__prompt__0__content": "secret",
    "gen_ai__prompt__0__role": "user",
    "llm__input_messages__0__message__content": "secret",
    "input__value": "secret",
    "gen_ai__tool__call__arguments": "{}",
    "gen_ai__agent__name": "billing",
    "gen_ai__usage__input_tokens": 5,
}


def test_content_can_be_off_for_a_service() -> None:
    rules = RedactionRules(content_off=("te*",))  # the requests of these tests come from "test"
    kept = {"gen_ai__prompt__0__role", "gen_ai__agent__name", "gen_ai__usage__input_tokens"}
    assert attributes(rules, **CONTENT) == {
        key: content if key in kept else "[not captured]" for key, content in CONTENT.items()
    }
    assert attributes(RedactionRules(content_off=("other",)), **CONTENT) == CONTENT


def test_content_in_events_and_logs_is_off_too() -> None:
    event = Span.Event(
        name="gen_ai.user.message",
        attributes=[KeyValue(key="content", value=value("secret")), KeyValue(key="role", value=value("user"))],
    )
    body = redact(RedactionRules(content_off=("*",)))("traces", traces(span(events=[event])).SerializeToString())
    assert b"secret" not in body
    assert b"user" in body
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    records.add(event_name="gen_ai.user.message", body=value("secret"))
    records.add(body=value("secret"), attributes=[KeyValue(key="event.name", value=value("gen_ai.choice"))])
    records.add(body=value("plain log"))
    body = redact(RedactionRules(content_off=("*",)))("logs", request.SerializeToString())
    assert b"secret" not in body
    assert b"plain log" in body


def test_what_is_content_comes_from_the_dialects() -> None:
    assert is_content("traceloop.entity.input")
    assert is_content("llm.output_messages.3.message.content")
    assert not is_content("gen_ai.request.model")


@pytest.mark.parametrize("pattern", ["phone", "x=("])
def test_wrong_patterns_are_named(pattern: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(pattern)):
        RedactionRules(patterns=(pattern,))


@pytest.mark.parametrize(
    "text",
    [
        "a" * 200_000,
        "a@" * 100_000,
        "4 " * 100_000,
        "eyJ" + "a" * 100_000,
        "sk-" * 60_000,
        "-----BEGIN PRIVATE KEY-----" + "A" * 100_000,
        "\\" * 200_000,
        '"ssn":' * 40_000,
        '"ssn":"' + '\\"' * 100_000,
        '{"ssn":"' * 30_000,
        '["' * 100_000,
    ],
    ids=lambda text: text[:5],
)
def test_no_text_makes_the_patterns_slow(text: str) -> None:
    started = time.process_time()
    attributes(RedactionRules(keys=("ssn",), patterns=("email", "key", "card")), a=text)
    assert time.process_time() - started < 5
