"""Dialects → `docs/reference/dialects.md`: which keys of which dialect fill a column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from maslens.semconv.dialects.load import Canonical, DialectFile
from maslens.semconv.dialects.model import Clause, KindRule, KindValues, Source, When

_HEAD = """\
# Dialects

Generated from `semconv/dialects` by `make generate`; do not edit.

A span may be in several dialects at once: a Traceloop span is an OpenTelemetry GenAI span too. For each column the
dialects are asked in order of priority, and the first value that is not empty counts. Most keys are so unmistakable
that nobody asks whether the span is in the dialect; where a key could mean something else, the condition is shown. An
attribute with the value {empty} counts as absent.

A span of no dialect keeps its place in the trace: `Dialect` is empty and `Kind` is `other`.
"""

_TESTS = {
    "attr": "`{key}` is there",
    "no_attr": "`{key}` is not there",
    "attr_equals": "`{key}` is `{value}`",
    "attr_match": "`{key}` matches `{value}`",
    "namespace": "any `{key}.*`",
    "scope": "scope `{value}`",
    "scope_prefix": "scope `{value}*`",
    "scope_match": "scope matches `{value}`",
    "name_match": "span name matches `{value}`",
    "event": "event `{value}`",
    "span_kind": "span kind {value}",
}


def dialects_page(canonical: Canonical, files: Sequence[DialectFile]) -> str:
    empty = ", ".join(f"`{text}`" if text else "(nothing)" for text in canonical.raw["empty"])
    lines = [_HEAD.format(empty=empty)]
    lines += ["## Columns of `agent_spans`", "", "| column | type | what it says | filled from |", "|---|---|---|---|"]
    for column in canonical.columns:
        sources = [_from(file, column.get("field", "")) for file in files]
        cell = "<br>".join(text for text in sources if text) or column["as"]
        lines.append(f"| `{column['name']}` | `{column['type']}` | {_cell(column['brief'])} | {cell} |")
    lines += ["", "## Hints", "", "What only inference rules read, under one name whoever emits it.", ""]
    lines += ["| hint | filled from |", "|---|---|"]
    for hint in sorted({hint for file in files for hint in file.hints}):
        given = [f"{file.dialect.id}: {_sources(file.hints[hint])}" for file in files if hint in file.hints]
        lines.append(f"| `{hint}` | {'<br>'.join(given)} |")
    for file in files:
        lines += ["", *_dialect(file)]
    lines += ["", "## Transfer tools", "", *_transfer_tools(canonical)]
    return "\n".join(lines) + "\n"


def _from(file: DialectFile, field: str) -> str:
    return f"{file.dialect.id}: {_sources(file.fields[field])}" if field in file.fields else ""


def _dialect(file: DialectFile) -> Iterator[str]:
    dialect = file.dialect
    yield f"## {dialect.id} ({dialect.priority})"
    yield ""
    yield f"{dialect.title}."
    yield ""
    yield f"Recognised by: {'; '.join(_all(clauses) for clauses in dialect.detect)}."
    yield ""
    kinds = [_kind(step) for step in file.kind_steps]
    if kinds:
        yield "Kind, the first that holds:"
        yield ""
        yield from (f"- {kind}" for kind in kinds)
        yield ""
    if file.quirks:
        yield from (f"- {_cell(quirk)}" for quirk in file.quirks)
        yield ""
    yield f"Read from: {'; '.join(file.sources)}."


def _kind(step: KindRule | KindValues) -> str:
    if isinstance(step, KindRule):
        return f"{step.kind}, when {_all(step.clauses)}" if step.clauses else step.kind
    values: dict[str, list[str]] = {}
    for value, kind in step.kinds.items():
        values.setdefault(kind, []).append(f"`{_cell(value)}`")
    told = "; ".join(f"{', '.join(given)} → {kind}" for kind, given in values.items())
    return f"`{step.attribute}`: {told}"


def _all(clauses: Iterable[Clause]) -> str:
    return " and ".join(map(_clause, clauses))


def _clause(clause: Clause) -> str:
    if clause.test in ("same", "not_same"):
        one, other = map(_source, clause.sources)
        return f"{one} {'is' if clause.test == 'same' else 'is not'} {other}"
    return _TESTS[clause.test].format(key=clause.key, value=_cell(clause.value))


def _sources(sources: Iterable[Source]) -> str:
    return ", ".join(_source(source) + _when(source.when) for source in sources)


def _source(source: Source) -> str:
    pointer = "/".join(map(str, source.path))
    text = {
        "attribute": f"`{source.key}`",
        "json": f"`{source.key}` → `{pointer}`" if pointer else f"`{source.key}` as JSON",
        "prefix": f"`{source.key}.*`",
        "event": f"`{source.key}` of event `{''.join(source.events)}`",
        "events": "events " + ", ".join(f"`{event}`" for event in source.events),
        "name": "span name",
        "status": "status message",
        "resource": f"resource `{source.key}`",
        "hint": f"hint `{source.key}`",
    }[source.origin]
    return f"{text} matching `{_cell(source.match)}`" if source.match else text


def _when(when: When | None) -> str:
    if when is None:
        return ""
    parts = []
    if when.kinds:
        parts.append(f"kind {' or '.join(when.kinds)}")
    if when.kinds_not:
        parts.append(f"kind not {' or '.join(when.kinds_not)}")
    if when.scopes:
        parts.append("scope " + " or ".join(f"`{scope}`" for scope in when.scopes))
    if when.dialect:
        parts.append("in this dialect")
    if when.attribute:
        says = f"is `{when.equals}`" if when.equals else f"begins with `{when.head}` in it" if when.head else "is there"
        parts.append(f"`{when.attribute}` {says}")
    return f" ({', '.join(parts)})"


def _transfer_tools(canonical: Canonical) -> Iterator[str]:
    yield "A tool span with such a name is of kind `handoff`; who infers handoffs reads the target as shown."
    yield ""
    yield "| tool name | target | mode | seen in |"
    yield "|---|---|---|---|"
    for tool in canonical.raw["transfer_tools"]:
        target = (
            f"argument `{tool['target_argument']}`" if "target_argument" in tool else tool.get("target", "in the name")
        )
        yield f"| `{_cell(tool['pattern'])}` | {target} | {tool['mode']} | {', '.join(tool['seen_in'])} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
