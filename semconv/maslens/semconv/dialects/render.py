"""Dialects → the committed Python modules, so that nobody needs PyYAML at run time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from maslens.semconv.dialects.load import Canonical
from maslens.semconv.dialects.model import Table

_WIDTH = 118

_COLUMNS = '''\
"""The columns of `agent_spans`: what every dialect is translated into, in the order the SELECT yields them.

Generated from `semconv/dialects/_canonical.yaml` by `make generate`; do not edit.
"""
# ruff: noqa: E501
# fmt: off

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Reading: TypeAlias = Literal["raw", "derived", "text", "name", "id", "enum", "uint", "uint32", "float", "list"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of `agent_spans`."""

    name: str
    type: str  # ClickHouse type
    reading: Reading  # how a source becomes the value
    field: str  # canonical field that dialects name in their `fields`; empty when no dialect fills the column
    brief: str


AGENT_SPAN_COLUMNS: tuple[Column, ...] = (
{columns}
)
'''

_TABLE = '''\
"""All dialects merged. Generated from `semconv/dialects/*.yaml` by `make generate`; do not edit."""
# ruff: noqa: E501
# fmt: off

from __future__ import annotations

from maslens.semconv.dialects.model import (
    Clause,
    Dialect,
    KindRule,
    KindValues,
    Source,
    Table,
    TransferTool,
    When,
)

TABLE = {table}
'''


def columns_module(canonical: Canonical) -> str:
    lines = (
        f"    Column(name={_text(c['name'])}, type={_text(c['type'])}, reading={_text(c['as'])}, "
        f"field={_text(c.get('field', ''))}, brief={_text(c['brief'])}),"
        for c in canonical.columns
    )
    return _COLUMNS.format(columns="\n".join(lines))


def table_module(table: Table) -> str:
    return _TABLE.format(table=_value(table, 0))


def _value(value: Any, indent: int) -> str:
    """Python source of `value`: on one line where it fits, else one item a line."""
    flat = _flat(value)
    if len(flat) + 4 * indent <= _WIDTH or isinstance(value, str | int | float | bool):
        return flat
    opening, closing, items = _items(value, indent + 1)
    inner = "".join(f"{'    ' * (indent + 1)}{item},\n" for item in items)
    return f"{opening}\n{inner}{'    ' * indent}{closing}"


def _items(value: Any, indent: int) -> tuple[str, str, Iterator[str]]:
    if is_dataclass(value):
        return f"{type(value).__name__}(", ")", (f"{name}={_value(v, indent)}" for name, v in _given(value))
    if isinstance(value, Mapping):
        return "{", "}", (f"{_text(key)}: {_value(v, indent)}" for key, v in value.items())
    return "(", ")", (_value(v, indent) for v in value)


def _flat(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if is_dataclass(value):
        return f"{type(value).__name__}({', '.join(f'{name}={_flat(v)}' for name, v in _given(value))})"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_text(key)}: {_flat(v)}' for key, v in value.items())}}}"
    if isinstance(value, tuple):
        inner = ", ".join(_flat(v) for v in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return repr(value)


def _given(value: Any) -> Iterator[tuple[str, Any]]:
    for field in fields(value):
        given = getattr(value, field.name)
        if field.default is MISSING or given != field.default:
            yield field.name, given


def _text(text: str) -> str:
    quoted = repr(text)
    if quoted[0] == "'" and '"' not in text and "\\'" not in quoted:
        return f'"{quoted[1:-1]}"'
    return quoted
