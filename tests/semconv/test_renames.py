"""Names that a convention has given up are read for ever: each old form says what the new one says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from maslens.semconv.dialects.columns import AGENT_SPAN_COLUMNS
from maslens.semconv.dialects.dialect_table import TABLE
from maslens.semconv.dialects.python import RawSpan, resolve

from tests.semconv.engine import Engine

COLUMN_OF = {column.field: column for column in AGENT_SPAN_COLUMNS if column.field}
CHAT = {"gen_ai.operation.name": "chat"}
Form = Mapping[str, str] | tuple[str, Mapping[str, str]]  # attributes, or an event and its attributes

# open-telemetry/semantic-conventions model/gen-ai/deprecated; semantic-conventions-genai docs/gen-ai/…/migration.md
RENAMES: dict[str, tuple[Form, Form]] = {
    "gen_ai.system": ({"gen_ai.system": "openai"}, {"gen_ai.provider.name": "openai"}),
    "vertex_ai": ({"gen_ai.system": "vertex_ai"}, {"gen_ai.provider.name": "gcp.vertex_ai"}),
    "gemini": ({"gen_ai.system": "gemini"}, {"gen_ai.provider.name": "gcp.gemini"}),
    "az.ai.inference": ({"gen_ai.system": "az.ai.inference"}, {"gen_ai.provider.name": "azure.ai.inference"}),
    "az.ai.openai": ({"gen_ai.system": "az.ai.openai"}, {"gen_ai.provider.name": "azure.ai.openai"}),
    "xai": ({"gen_ai.system": "xai"}, {"gen_ai.provider.name": "x_ai"}),
    "prompt_tokens": ({"gen_ai.usage.prompt_tokens": "7"}, {"gen_ai.usage.input_tokens": "7"}),
    "completion_tokens": ({"gen_ai.usage.completion_tokens": "7"}, {"gen_ai.usage.output_tokens": "7"}),
    "cache_creation.input_tokens": (
        {"gen_ai.usage.cache_creation.input_tokens": "7"},
        {"gen_ai.usage.cache_write.input_tokens": "7"},
    ),
    "cache_creation_input_tokens": (
        {"gen_ai.usage.cache_creation_input_tokens": "7"},
        {"gen_ai.usage.cache_write.input_tokens": "7"},
    ),
    "cache_read_input_tokens": (
        {"gen_ai.usage.cache_read_input_tokens": "7"},
        {"gen_ai.usage.cache_read.input_tokens": "7"},
    ),
    "reasoning_tokens": ({"gen_ai.usage.reasoning_tokens": "7"}, {"gen_ai.usage.reasoning.output_tokens": "7"}),
    "finish_reason": ({"gen_ai.response.finish_reason": "stop"}, {"gen_ai.response.finish_reasons": '["stop"]'}),
    "gen_ai.prompt": ({"gen_ai.prompt": '[{"role":"user"}]'}, {"gen_ai.input.messages": '[{"role":"user"}]'}),
    "gen_ai.completion": ({"gen_ai.completion": '[{"role":"a"}]'}, {"gen_ai.output.messages": '[{"role":"a"}]'}),
    "event gen_ai.content.prompt": (
        ("gen_ai.content.prompt", {"gen_ai.prompt": "hi"}),
        {"gen_ai.input.messages": "hi"},
    ),
    "event gen_ai.content.completion": (
        ("gen_ai.content.completion", {"gen_ai.completion": "ho"}),
        {"gen_ai.output.messages": "ho"},
    ),
    "event gen_ai.system.message": (
        ("gen_ai.system.message", {"content": "be brief"}),
        {"gen_ai.system_instructions": "be brief"},
    ),
    "details as a span event": (
        ("gen_ai.client.inference.operation.details", {"gen_ai.input.messages": "hi"}),
        {"gen_ai.input.messages": "hi"},
    ),
    "llm.usage.prompt_tokens": ({"llm.usage.prompt_tokens": "7"}, {"gen_ai.usage.input_tokens": "7"}),
    "llm.usage.completion_tokens": ({"llm.usage.completion_tokens": "7"}, {"gen_ai.usage.output_tokens": "7"}),
    "llm.request.model": ({"llm.request.model": "m"}, {"gen_ai.request.model": "m"}),
    "llm.response.model": ({"llm.response.model": "m"}, {"gen_ai.response.model": "m"}),
    "gen_ai.usage.cost": ({"gen_ai.usage.cost": "0.5"}, {"gen_ai.usage.cost.amount": "0.5"}),
    "text_completions": ({"gen_ai.operation.name": "text_completions"}, {"gen_ai.operation.name": "text_completion"}),
    "handoff.target.name": (
        {"gen_ai.operation.name": "execute_tool", "gen_ai.agent.handoff.target.name": "billing"},
        {"gen_ai.operation.name": "execute_tool", "gen_ai.transfer.target.name": "billing"},
    ),
}
# What a form says of itself beside what it means, or means only together with what else is there.
_OF_THE_FORM = {"Dialect", "EventNames", "Hints"}


def span(form: Form) -> RawSpan:
    if isinstance(form, tuple):
        return RawSpan(attributes=CHAT, events=[form])
    return RawSpan(attributes={**CHAT, **form})


def meant(row: Mapping[str, Any], old: Form) -> dict[str, Any]:
    """Columns that say what was meant. Messages one by one are a list of them besides."""
    one_by_one = {"InputContent"} if isinstance(old, tuple) and old[0].endswith(".message") else set()
    return {name: value for name, value in row.items() if name not in _OF_THE_FORM | one_by_one}


@pytest.mark.parametrize("name", RENAMES)
def test_an_old_name_says_what_the_new_one_says(name: str) -> None:
    old, new = RENAMES[name]
    said, empty = meant(resolve(span(old)), old), meant(resolve(span({})), old)
    assert said == meant(resolve(span(new)), old)
    assert said != empty or name == "text_completions"


def test_the_new_name_counts_where_both_are_told() -> None:
    both = RawSpan(attributes={**CHAT, "gen_ai.usage.prompt_tokens": "9", "gen_ai.usage.input_tokens": "7"})
    assert resolve(both)["InputTokens"] == 7


def _keys() -> Iterator[tuple[str, str]]:
    """Every attribute that says a field whatever else is there."""
    for field, sources in TABLE.fields.items():
        for source in sources:
            if source.origin == "attribute" and not source.when and not source.match and field in COLUMN_OF:
                yield field, source.key


KEYS = [pytest.param(field, key, id=f"{field} from {key}") for field, key in _keys()]
_TEXTS = {"uint": "7", "uint32": "7", "float": "0.5", "list": '["stop"]', "id": "id-of-it"}
_VALUES = {"uint": 7, "uint32": 7, "float": 0.5, "list": ["stop"], "id": "id-of-it"}


def _alone(field: str, key: str) -> tuple[RawSpan, Any]:
    """A span with that attribute and no other, and what its column must say."""
    reading = COLUMN_OF[field].reading
    return RawSpan(attributes={key: _TEXTS.get(reading, "told")}), _VALUES.get(reading, "told")


@pytest.mark.parametrize(("field", "key"), KEYS)
def test_every_name_of_a_field_says_it_alone(field: str, key: str) -> None:
    alone, expected = _alone(field, key)
    assert resolve(alone)[COLUMN_OF[field].name] == expected


def test_the_engine_reads_every_name_alike(engine: Engine) -> None:
    asked = [(field, key, *_alone(field, key)) for field, key in _keys()]
    olds = [span(form) for forms in RENAMES.values() for form in forms]
    found = engine.resolve([*(alone for *_, alone, _ in asked), *olds])
    for (field, key, _, expected), row in zip(asked, found, strict=False):
        assert row[COLUMN_OF[field].name] == expected, (field, key)
    columns = [column.name for column in AGENT_SPAN_COLUMNS if column.field]
    for old, row in zip(olds, found[len(asked) :], strict=True):
        assert {name: row[name] for name in columns} == {name: resolve(old)[name] for name in columns}, old
