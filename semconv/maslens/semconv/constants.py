"""The registry → `attributes.py` (typed constants) and `docs/reference/attributes.md`."""

from __future__ import annotations

import keyword
from collections.abc import Iterator

from maslens.semconv.registry import Attribute, AttributeRef, Registry, Signal

_HEAD = '''\
"""Attribute and event names as constants, enum values as classes.

Generated from `semconv/registry` and the names reused from upstream by `make generate`; do not edit. Enums are open: a
value that is not listed is allowed on the wire.
"""
# ruff: noqa: E501, S105
# fmt: off

from __future__ import annotations

from enum import Enum
from typing import Final, Literal, TypeAlias

SCHEMA_URL: Final = "{schema_url}"
'''

_ENUM = '''

class {name}(str, Enum):
    """{brief}"""

{members}

    __str__ = str.__str__
'''

_ABOUT = (
    "Own names start with `mas.`. Existing names are reused as they are; those in flight upstream "
    "(`gen_ai.transfer.*`, `gen_ai.caller.*`) are written as proposed. Enums are open. Contents are opt-in."
)


def attributes_module(registry: Registry) -> str:
    parts = [_HEAD.format(schema_url=registry.schema_url)]
    for title, one in (("Our own", registry), ("Reused from upstream", registry.imported)):
        if one is None:
            continue
        parts.append(f"\n# {title}\n")
        parts += [f'{_constant(a.key)}: Final = "{a.key}"  # {a.type}: {a.brief}\n' for a in _sorted(one)]
    parts.append("\n# Names of log events\n")
    parts += [f'EVENT_{_constant(id_)}: Final = "{id_}"\n' for id_ in _event_names(registry)]
    for one in (registry, registry.imported):
        parts += [text for a in (_sorted(one) if one else ()) if a.members for text in (_enum(a), _literal(a))]
    parts.append("\n\nALL_ATTRIBUTES: Final[frozenset[str]] = frozenset({\n")
    parts += [f"    {_constant(a.key)},\n" for one in (registry, registry.imported) if one for a in _sorted(one)]
    parts.append("})\n")
    return "".join(parts)


def attributes_page(registry: Registry) -> str:
    """The reference page: every own attribute, every signal it is on."""
    lines = [
        "# Attributes",
        "",
        "Generated from `semconv/registry` by `make generate`; do not edit.",
        "",
        _ABOUT,
        "",
        "## Own attributes",
        "",
        "| attribute | type | what it says | on |",
        "|---|---|---|---|",
    ]
    for attribute in _sorted(registry):
        on = ", ".join(f"`{s.id}`" for s in registry.signals if any(r.key == attribute.key for r in s.attributes))
        lines.append(
            f"| `{attribute.key}` | {_type(attribute)} | {_cell(attribute.brief)} {_example(attribute)}| {on} |"
        )
    for attribute in _sorted(registry):
        if attribute.members:
            lines += ["", f"### `{attribute.key}`", "", "| value | meaning |", "|---|---|"]
            lines += [f"| `{m.value}` | {_cell(m.brief)} |" for m in attribute.members]
    titles = {
        "span": "Spans", "span_refinement": "Spans of upstream, refined", "event": "Log events",
        "event_refinement": "Log events of upstream, refined", "group": "Links, baggage and resource",
    }  # fmt: skip
    for sort, title in titles.items():
        lines += ["", f"## {title}"]
        for signal in registry.signals:
            if signal.sort == sort:
                lines += ["", *_signal(signal)]
    lines += ["", "## Reused from upstream", "", "| attribute | type | what it says |", "|---|---|---|"]
    for attribute in _sorted(registry.imported) if registry.imported else ():
        lines.append(f"| `{attribute.key}` | {_type(attribute)} | {_cell(attribute.brief)} |")
    return "\n".join(lines) + "\n"


def _sorted(registry: Registry) -> Iterator[Attribute]:
    return iter(sorted(registry.attributes.values(), key=lambda attribute: attribute.key))


def _event_names(registry: Registry) -> list[str]:
    imported = registry.imported.signals if registry.imported else ()
    return sorted(signal.id for signal in (*registry.signals, *imported) if signal.sort == "event")


def _constant(key: str) -> str:
    return key.replace(".", "_").upper()


def _class(key: str) -> str:
    return "".join(word.capitalize() for word in key.replace("_", ".").split("."))


def _enum(attribute: Attribute) -> str:
    members = "\n".join(f'    {_member(m.id)} = "{m.value}"  # {m.brief}' for m in attribute.members)
    return _ENUM.format(name=_class(attribute.key), brief=attribute.brief, members=members)


def _literal(attribute: Attribute) -> str:
    values = ", ".join(f'"{m.value}"' for m in attribute.members)
    return f"\n\n{_class(attribute.key)}Value: TypeAlias = Literal[{values}]\n"


def _member(id_: str) -> str:
    name = id_.upper()
    return f"{name}_" if keyword.iskeyword(id_) or name in ("NONE",) else name


def _signal(signal: Signal) -> list[str]:
    head = f"### `{signal.id}`"
    about = signal.brief or f"Refines `{signal.refines}`."
    if signal.name_note:
        about += f" Span name {signal.name_note}, kind {signal.kind.upper()}."
    rows = [f"| `{reference.key}` | {_level(reference)} |" for reference in signal.attributes]
    return [head, "", about, "", "| attribute | requirement |", "|---|---|", *rows]


def _level(reference: AttributeRef) -> str:
    level = reference.level.replace("_", " ").replace("opt in", "opt-in")
    return f"{level}: {_cell(reference.condition)}" if reference.condition else level


def _type(attribute: Attribute) -> str:
    return attribute.type


def _example(attribute: Attribute) -> str:
    return f"(`{attribute.examples[0]}`) " if attribute.examples else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
