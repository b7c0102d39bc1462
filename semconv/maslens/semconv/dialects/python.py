"""The dialects' rules applied to one span in Python: what the SELECT is tested against, and for the rare single span.

Written for reading, not for speed; bulk work belongs to `sql`. The two agree on every column.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from maslens.semconv.dialects.columns import AGENT_SPAN_COLUMNS, Column
from maslens.semconv.dialects.dialect_table import TABLE
from maslens.semconv.dialects.keys import DROPPED_ATTRIBUTES
from maslens.semconv.dialects.model import Clause, KindRule, Source, Table, When

_HEAD = 200
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_JSON_ESCAPES = {"/": "\\/", "\u2028": "\\u2028", "\u2029": "\\u2029"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RawSpan:
    """A row of `otel_traces`: ids in lower hex, attribute values as text."""

    timestamp_ns: int = 0
    duration_ns: int = 0
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    service_name: str = ""
    span_name: str = ""
    span_kind: str = "Internal"
    scope_name: str = ""
    status_code: str = "Unset"
    status_message: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    resource: Mapping[str, str] = field(default_factory=dict)
    events: Sequence[tuple[str, Mapping[str, str]]] = ()  # name, attributes
    links: Sequence[tuple[str, str, Mapping[str, str]]] = ()  # trace id, span id, attributes


def resolve(span: RawSpan) -> dict[str, Any]:
    """The columns of `agent_spans` for one span. `Timestamp` is nanoseconds since the epoch."""
    return _Resolution(span, TABLE).columns()


class _Resolution:
    def __init__(self, span: RawSpan, table: Table) -> None:
        self.span = span
        self.table = table
        self.attributes = {key: value for key, value in span.attributes.items() if value not in table.empty}
        self.dialects = [d.id for d in table.dialects if any(map(self.detected, d.detect))]
        self.kind = self.find_kind()
        self.framework = self.find_framework()

    # -- columns -------------------------------------------------------------------------------------------------------

    def columns(self) -> dict[str, Any]:
        span = self.span
        known: dict[str, Any] = {
            "Timestamp": span.timestamp_ns,
            "Duration": span.duration_ns,
            "TraceId": span.trace_id,
            "SpanId": span.span_id,
            "ParentSpanId": span.parent_span_id,
            "ServiceName": span.service_name,
            "SpanName": span.span_name,
            "SpanKind": span.span_kind,
            "ScopeName": span.scope_name,
            "StatusCode": span.status_code,
            "StatusMessage": span.status_message,
            "Dialect": self.dialects[-1] if self.dialects else "",
            "Framework": self.framework,
            "Kind": self.final_kind(),
            "Provider": self.provider(),
            "InputTokens": self.input_tokens(),
            "OutputTokens": self.output_tokens(),
            "ExceptionTypes": [attrs.get("exception.type", "") for name, attrs in span.events if name == "exception"],
            "LinkTraceIds": [trace for trace, _, _ in span.links],
            "LinkSpanIds": [span_id for _, span_id, _ in span.links],
            "LinkTypes": [_first(attrs.get(key, "") for key in self.table.link_type_keys) for *_, attrs in span.links],
            "EventNames": [name for name, _ in span.events],
            "DroppedAttributes": _whole(self.attributes.get(DROPPED_ATTRIBUTES, ""), 2**32) or 0,
            "Hints": self.hints(),
        }
        return {c.name: known[c.name] if c.name in known else self.read(c) for c in AGENT_SPAN_COLUMNS}

    def read(self, column: Column) -> Any:
        return _READINGS[column.reading](self.text(column.field), self.table)

    def text(self, field_: str) -> str:
        return self.first(self.table.fields[field_])

    def final_kind(self) -> str:
        tool = self.text("tool.name")
        if self.kind == "tool" and any(
            _search(known.pattern, tool)
            for known in self.table.transfer_tools
            if known.framework in ("", self.framework)
        ):
            return "handoff"
        return self.kind

    def provider(self) -> str:
        sources = self.table.fields["provider"]
        return _first(self.known_provider(self.value(source)) for source in sources if self.holds(source.when))

    def known_provider(self, value: str) -> str:
        name = value.lower()
        if name in self.table.frameworks_not_providers:
            return ""
        aliases = self.table.provider_aliases
        return aliases.get(name) or aliases.get(name.split(".")[0]) or name

    def input_tokens(self) -> int | None:
        told, read, written = (_uint(self.text(f"tokens.{part}")) for part in ("input", "cache_read", "cache_write"))
        if told is None:
            return None
        cached = (read or 0) + (written or 0)
        apart = cached > told or any(self.first([source]) for source in self.table.input_excludes_cache)
        return told + cached if apart else told

    def output_tokens(self) -> int | None:
        told, thought = (_uint(self.text(f"tokens.{part}")) for part in ("output", "reasoning"))
        apart = any(self.first([source]) for source in self.table.output_excludes_reasoning)
        return told + (thought or 0) if apart and told is not None else told

    def hints(self) -> dict[str, str]:
        found = {name: self.first(sources) for name, sources in self.table.hints.items()}
        return {name: value for name, value in found.items() if value}

    # -- kind and framework --------------------------------------------------------------------------------------------

    def find_kind(self) -> str:
        for step in self.table.kind_steps:
            if isinstance(step, KindRule):
                if step.dialect in self.dialects and self.all(step.clauses):
                    return step.kind
            elif (told := self.attributes.get(step.attribute, "")) in step.kinds:
                return step.kinds[told]
        return "other"

    def find_framework(self) -> str:
        table, scope = self.table, self.span.scope_name
        for hint, framework in table.framework_hints.items():
            if self.first(table.hints[hint]):
                return framework
        starts = (f for s, f in table.framework_scopes.items() if s.endswith("*") and scope.startswith(s[:-1]))
        providers = (self.value(source).lower() for source in table.fields["provider"] if source.when is None)
        return _first(
            [
                table.framework_names.get(self.span.span_name, ""),
                table.framework_scopes.get(scope, ""),
                next(starts, ""),
                *(table.frameworks_not_providers.get(provider, "") for provider in providers),
            ]
        )

    # -- conditions ----------------------------------------------------------------------------------------------------

    def all(self, clauses: Sequence[Clause]) -> bool:
        return all(map(self.test, clauses))

    def test(self, clause: Clause) -> bool:
        value, told = clause.value, self.attributes.get(clause.key, "")
        match clause.test:
            case "attr":
                return told != ""
            case "no_attr":
                return told == ""
            case "attr_equals":
                return told == value
            case "attr_match":
                return _search(value, told) is not None
            case "namespace":
                return any(key.split(".")[0] == clause.key for key in self.span.attributes)
            case "scope":
                return self.span.scope_name == value
            case "scope_prefix":
                return self.span.scope_name.startswith(value)
            case "scope_match":
                return _search(value, self.span.scope_name) is not None
            case "name_match":
                return _search(value, self.span.span_name) is not None
            case "event":
                return any(name == value for name, _ in self.span.events)
            case "span_kind":
                return self.span.span_kind == value
            case "same":
                return self.same(clause)
            case _:
                return not self.same(clause)

    def detected(self, clauses: Sequence[Clause]) -> bool:
        """A single `attr` tells a dialect by being there, whatever its value."""
        if len(clauses) == 1 and clauses[0].test == "attr":
            return clauses[0].key in self.span.attributes
        return self.all(clauses)

    def same(self, clause: Clause) -> bool:
        one, other = map(self.value, clause.sources)
        return one != "" and one == other

    def holds(self, when: When | None) -> bool:
        if when is None:
            return True
        told = self.attributes.get(when.attribute, "")
        return (
            (not when.dialect or when.dialect in self.dialects)
            and (not when.kinds or self.kind in when.kinds)
            and (not when.kinds_not or self.kind not in when.kinds_not)
            and (not when.scopes or self.span.scope_name in when.scopes)
            and (not when.attribute or told != "")
            and (not when.equals or told == when.equals)
            and (not when.head or when.head.encode() in told.encode()[:_HEAD])
        )

    # -- values --------------------------------------------------------------------------------------------------------

    def first(self, sources: Sequence[Source]) -> str:
        return _first(self.value(source) for source in sources if self.holds(source.when))

    def value(self, source: Source) -> str:
        value = self.whole(source)
        if not source.match:
            return value
        found = _search(source.match, value)
        return (found[1] or "") if found else ""

    def whole(self, source: Source) -> str:
        match source.origin:
            case "attribute":
                return self.attributes.get(source.key, "")
            case "json":
                return _pointed(self.attributes.get(source.key, ""), source.path)
            case "prefix":
                return self.flattened(source.key + ".")
            case "event":
                found = [attributes for name, attributes in self.span.events if name == source.events[0]]
                return found[-1].get(source.key, "") if found else ""
            case "events":
                listed = [
                    {"name": name, "attributes": dict(sorted(attributes.items()))}
                    for name, attributes in self.span.events
                    if name in source.events
                ]
                return _json_text(listed) if listed else ""
            case "name":
                return self.span.span_name
            case "status":
                return self.span.status_message
            case "resource":
                return self.span.resource.get(source.key, "")
            case _:
                return self.first(self.table.hints[source.key])

    def flattened(self, prefix: str) -> str:
        keys = [key for key in sorted(self.span.attributes) if ".".join(key.split(".")[:2]) + "." == prefix]
        return _json_text({key[len(prefix) :]: self.span.attributes[key] for key in keys}) if keys else ""


def _read_list(text: str, _: Table) -> list[str]:
    if not text.startswith("["):
        return [text] if text else []
    listed = _parsed(text)
    return [text for text in map(_as_text, listed) if text] if isinstance(listed, list) else []


def _read_name(text: str, table: Table) -> str:
    found = _search(table.agent_name_pattern, text)
    name = (found[1] or "") if found else ""
    return "" if name in table.agent_name_deny else table.agent_name_aliases.get(name, name)


def _read_id(text: str, table: Table) -> str:
    return "" if _search(f"^(?:{table.transient_id_pattern})$", text) else text


def _read_float(text: str, _: Table) -> float | None:
    number = float(text) if _FLOAT.fullmatch(text) else math.inf
    return number if math.isfinite(number) else None


def _uint(text: str) -> int | None:
    """Whole numbers, also written as a float."""
    whole = _whole(text, 2**64)
    if whole is not None or not _FLOAT.fullmatch(text):
        return whole
    number = float(text)
    return int(number) if math.isfinite(number) and number.is_integer() and 0 <= number < 2**64 else None


def _whole(text: str, limit: int) -> int | None:
    return int(text) if re.fullmatch(r"\+?[0-9]+", text) and int(text) < limit else None


def _uint32(text: str) -> int | None:
    number = _uint(text)
    return number if number is not None and number < 2**32 else None


_READINGS: Mapping[str, Callable[[str, Table], Any]] = {
    "text": lambda text, _: text,
    "enum": lambda text, _: text,
    "name": _read_name,
    "id": _read_id,
    "uint": lambda text, _: _uint(text),
    "uint32": lambda text, _: _uint32(text),
    "float": _read_float,
    "list": _read_list,
}


def _first(values: Iterator[str] | Sequence[str] | Any) -> str:
    return next((value for value in values if value), "")


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    """RE2's `$` is the end of the text; Python's would let a line break follow."""
    return re.compile(pattern.replace("$", r"\Z"), re.DOTALL)


def _search(pattern: str, text: str) -> re.Match[str] | None:
    return _compiled(pattern).search(text)


def _pointed(text: str, path: tuple[str | int, ...]) -> str:
    """Member of a JSON document as text: strings as they are, numbers and nested values as JSON."""
    if path and not text.startswith("[" if isinstance(path[0], int) else "{"):
        return ""
    node = _parsed(text)
    for part in path:
        if isinstance(part, int):
            node = node[part] if isinstance(node, list) and len(node) > part else None
        else:
            node = node.get(part) if isinstance(node, dict) else None
    return _as_text(node)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except ValueError:
        return None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no JSON number")
    return number


def _as_text(node: Any) -> str:
    if node is None:
        return ""
    if isinstance(node, str):
        return node
    text = json.dumps(_whole_numbers(node), ensure_ascii=False, separators=(",", ":"))
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _whole_numbers(node: Any) -> Any:
    """ClickHouse writes 12.0 as 12."""
    if isinstance(node, float) and node.is_integer():
        return int(node)
    if isinstance(node, list):
        return [_whole_numbers(one) for one in node]
    return {key: _whole_numbers(one) for key, one in node.items()} if isinstance(node, dict) else node


def _json_text(value: Any) -> str:
    """As `toJSONString` writes it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return "".join(_JSON_ESCAPES.get(letter, letter) for letter in text)
