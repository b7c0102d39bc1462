"""What a dialect is made of, once its YAML has been read: plain values that SQL and Python are both made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

Origin: TypeAlias = Literal["attribute", "json", "prefix", "event", "events", "name", "status", "resource", "hint"]
Test: TypeAlias = Literal[
    "attr", "no_attr", "attr_equals", "attr_match", "namespace", "scope", "scope_prefix", "scope_match", "name_match",
    "event", "span_kind", "same", "not_same",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """What must hold for a source to be asked; all that is given."""

    kinds: tuple[str, ...] = ()
    kinds_not: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    dialect: str = ""  # the span must be in this dialect
    attribute: str = ""  # must be present and not empty …
    equals: str = ""  # … and, when given, have this value …
    head: str = ""  # … or, when given, mention this in its first 200 bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a value may come from."""

    origin: Origin
    key: str = ""  # attribute, prefix, event attribute, hint or resource attribute
    path: tuple[str | int, ...] = ()  # JSON pointer; list indexes count from 0
    events: tuple[str, ...] = ()
    match: str = ""  # group 1 of this pattern instead of the whole value
    when: When | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """One test on a span."""

    test: Test
    key: str = ""
    value: str = ""
    sources: tuple[Source, ...] = ()  # for `same` and `not_same`: equal and not empty


@dataclass(frozen=True, slots=True, kw_only=True)
class KindRule:
    """The kind of every span of `dialect` for which all clauses hold."""

    dialect: str
    kind: str
    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KindValues:
    """The kind as an attribute's value says it."""

    dialect: str
    attribute: str
    kinds: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """A convention and how to recognise it: any of `detect`, of which every clause must hold."""

    id: str
    title: str
    priority: int
    detect: tuple[tuple[Clause, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferTool:
    """How a framework's transfer tool names its target: group `target` of the pattern, `target`, or an argument."""

    id: str
    pattern: str
    mode: Literal["pass_control", "return_to_caller"]
    target: str = ""
    target_argument: str = ""
    message_argument: str = ""
    framework: str = ""  # only in spans of this framework, because the name alone is too common
    is_return: bool = False
    seen_in: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All dialects merged: one list of sources a field, highest priority first."""

    dialects: tuple[Dialect, ...]  # ascending priority: a dialect's place is its bit
    kinds: tuple[str, ...]
    kind_steps: tuple[KindRule | KindValues, ...]
    fields: Mapping[str, tuple[Source, ...]]
    hints: Mapping[str, tuple[Source, ...]]
    empty: tuple[str, ...]
    agent_name_pattern: str
    agent_name_deny: tuple[str, ...]
    agent_name_aliases: Mapping[str, str]
    transient_id_pattern: str
    transfer_tools: tuple[TransferTool, ...]
    provider_aliases: Mapping[str, str]
    frameworks_not_providers: Mapping[str, str]
    framework_scopes: Mapping[str, str]
    framework_hints: Mapping[str, str]
    framework_names: Mapping[str, str]
    link_type_keys: tuple[str, ...]
    input_excludes_cache: tuple[Source, ...]  # any of these said: cached tokens come on top of the input tokens
    output_excludes_reasoning: tuple[
        Source, ...
    ]  # any of these said: reasoning tokens come on top of the output tokens
