"""Reads `semconv/dialects/*.yaml` and merges them into one `Table`.

Needs PyYAML; only the generator and tests come here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import yaml
from maslens.semconv.dialects.model import (
    Clause,
    Dialect,
    KindRule,
    KindValues,
    Source,
    Table,
    Test,
    TransferTool,
    When,
)

FORMAT = "maslens.dialects/1"
_ON_KEYS = ("attr", "no_attr", "namespace")


class DialectError(ValueError):
    """A dialect file that cannot be used; the message names the file and the place in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DialectFile:
    """One dialect as written: what the reference page shows and what `merge` takes together."""

    dialect: Dialect
    sources: tuple[str, ...]
    kind_steps: tuple[KindRule | KindValues, ...]
    fields: Mapping[str, tuple[Source, ...]]
    hints: Mapping[str, tuple[Source, ...]]
    input_excludes_cache: tuple[Source, ...]
    output_excludes_reasoning: tuple[Source, ...]
    link_type_keys: tuple[str, ...]
    quirks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Canonical:
    """`_canonical.yaml`."""

    columns: tuple[Mapping[str, str], ...]
    kinds: tuple[str, ...]
    raw: Mapping[str, Any]

    @property
    def fields(self) -> frozenset[str]:
        return frozenset(column["field"] for column in self.columns if column.get("field"))


def load(folder: Path) -> tuple[Canonical, tuple[DialectFile, ...]]:
    """Everything in `folder`, dialects by descending priority."""
    canonical = _canonical(folder / "_canonical.yaml")
    files = [_dialect(path, canonical) for path in sorted(folder.glob("[!_]*.yaml"))]
    _no_two(files, "id", lambda file: file.dialect.id)
    _no_two(files, "priority", lambda file: file.dialect.priority)
    return canonical, tuple(sorted(files, key=lambda file: -file.dialect.priority))


def merge(canonical: Canonical, files: Iterable[DialectFile]) -> Table:
    """One list of sources a field: dialects by descending priority, first mention of a source wins."""
    files = tuple(files)
    raw = canonical.raw
    names = raw["agent_names"]
    aliases = {name: name for name in raw["providers"]} | dict(raw["provider_aliases"])
    return Table(
        dialects=tuple(reversed([file.dialect for file in files])),
        kinds=canonical.kinds,
        kind_steps=tuple(step for file in files for step in file.kind_steps),
        fields={
            field: tuple(dict.fromkeys(source for file in files for source in file.fields.get(field, ())))
            for field in sorted(canonical.fields)
        },
        hints={
            hint: tuple(dict.fromkeys(source for file in files for source in file.hints.get(hint, ())))
            for hint in sorted({hint for file in files for hint in file.hints})
        },
        empty=tuple(raw["empty"]),
        agent_name_pattern=names["pattern"],
        agent_name_deny=tuple(names["deny"]),
        agent_name_aliases=dict(names["aliases"]),
        transient_id_pattern=names["transient_id"],
        transfer_tools=tuple(
            TransferTool(**{**tool, "seen_in": tuple(tool["seen_in"])}) for tool in raw["transfer_tools"]
        ),
        provider_aliases=aliases,
        frameworks_not_providers=dict(raw["frameworks_not_providers"]),
        framework_scopes=dict(raw["framework_scopes"]),
        framework_hints=dict(raw["framework_hints"]),
        framework_names=dict(raw["framework_names"]),
        link_type_keys=tuple(dict.fromkeys(key for file in files for key in file.link_type_keys)),
        input_excludes_cache=tuple(dict.fromkeys(s for file in files for s in file.input_excludes_cache)),
        output_excludes_reasoning=tuple(dict.fromkeys(s for file in files for s in file.output_excludes_reasoning)),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise DialectError(f"{path.name}: not YAML: {error}") from error
    if not isinstance(data, dict) or data.get("file_format") != FORMAT:
        raise DialectError(f"{path.name}: file_format must be {FORMAT!r}")
    return data


def _canonical(path: Path) -> Canonical:
    data = _read(path)
    return Canonical(columns=tuple(data["columns"]), kinds=tuple(data["kinds"]), raw=data)


def _dialect(path: Path, canonical: Canonical) -> DialectFile:
    return _Reader(path, canonical).dialect()


class _Reader:
    """Turns one file into values, remembering where it is for error messages."""

    def __init__(self, path: Path, canonical: Canonical) -> None:
        self.file = path.name
        self.canonical = canonical
        self.data = _read(path)
        unknown = set(self.data) - {
            "file_format", "id", "title", "priority", "sources", "detect", "kind", "fields", "hints",
            "input_excludes_cache", "output_excludes_reasoning", "link_types", "quirks",
        }  # fmt: skip
        if unknown:
            raise self.error(", ".join(sorted(unknown)), "unknown key")
        self.id = str(self.data.get("id", ""))
        if self.id != path.stem:
            raise self.error("id", f"must be {path.stem!r}, like the file")

    def error(self, place: str, problem: str) -> DialectError:
        return DialectError(f"{self.file}: {place}: {problem}")

    def dialect(self) -> DialectFile:
        data = self.data
        return DialectFile(
            dialect=Dialect(
                id=self.id,
                title=str(data["title"]),
                priority=int(data["priority"]),
                detect=self.detect(data["detect"]),
            ),
            sources=tuple(data.get("sources", ())),
            kind_steps=tuple(self.kind_steps(data.get("kind") or {})),
            fields={field: self.source_list(f"fields.{field}", given) for field, given in self.known_fields().items()},
            hints={hint: self.source_list(f"hints.{hint}", given) for hint, given in data.get("hints", {}).items()},
            input_excludes_cache=self.source_list("input_excludes_cache", data.get("input_excludes_cache", [])),
            output_excludes_reasoning=self.source_list(
                "output_excludes_reasoning", data.get("output_excludes_reasoning", [])
            ),
            link_type_keys=tuple(data.get("link_types", ())),
            quirks=tuple(str(quirk) for quirk in data.get("quirks", ())),
        )

    def known_fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = self.data.get("fields", {})
        for field in fields:
            if field not in self.canonical.fields:
                raise self.error(f"fields.{field}", "no column of _canonical.yaml has this field")
        return fields

    def kind(self, place: str, kind: str) -> str:
        if kind not in self.canonical.kinds:
            raise self.error(place, f"unknown kind {kind!r}")
        return kind

    def detect(self, given: Mapping[str, Any]) -> tuple[tuple[Clause, ...], ...]:
        if set(given) != {"any"}:
            raise self.error("detect", "must be one list under `any`")
        return tuple(self.clauses("detect", option) for option in given["any"])

    def clauses(self, place: str, given: Mapping[str, Any]) -> tuple[Clause, ...]:
        parts = given["all"] if set(given) == {"all"} else [given]
        return tuple(self.clause(place, part) for part in parts)

    def clause(self, place: str, given: Mapping[str, Any]) -> Clause:
        if len(given) != 1:
            raise self.error(place, f"one test a clause, got {sorted(given)}")
        ((test, value),) = given.items()
        if test == "attr_eq":
            ((key, wanted),) = value.items()
            return Clause(test="attr_equals", key=key, value=str(wanted))
        if test == "attr_match":
            ((key, wanted),) = value.items()
            return Clause(test="attr_match", key=key, value=wanted)
        if test in ("same", "no_same"):
            sources = self.source_list(place, value)
            if len(sources) != 2:
                raise self.error(place, f"`{test}` takes two sources")
            return Clause(test="same" if test == "same" else "not_same", sources=sources)
        if test == "namespace" and "." in value:
            raise self.error(place, f"a namespace is the first word of a key, got {value!r}")
        if test in get_args(Test):
            known = cast(Test, test)
            return Clause(test=known, key=value) if test in _ON_KEYS else Clause(test=known, value=value)
        raise self.error(place, f"unknown test {test!r}")

    def kind_steps(self, given: Mapping[str, Any]) -> Iterable[KindRule | KindValues]:
        for n, rule in enumerate(given.get("overrides", ())):
            place = f"kind.overrides[{n}]"
            yield KindRule(
                dialect=self.id, kind=self.kind(place, rule["kind"]), clauses=self.clauses(place, rule["when"])
            )
        if "attr" in given:
            kinds = {str(value): self.kind(f"kind.values.{value}", kind) for value, kind in given["values"].items()}
            yield KindValues(dialect=self.id, attribute=given["attr"], kinds=kinds)
        if "default" in given:
            yield KindRule(dialect=self.id, kind=self.kind("kind.default", given["default"]), clauses=())

    def source_list(self, place: str, given: Any) -> tuple[Source, ...]:
        if not isinstance(given, list):
            raise self.error(place, "must be a list of sources")
        return tuple(self.source(place, one) for one in given)

    def source(self, place: str, given: Any) -> Source:
        if isinstance(given, str):
            return self.parse(place, given, "", None)
        unknown = set(given) - {"from", "match", "when", "scoped"}
        if unknown or "from" not in given:
            raise self.error(place, f"a source has `from`, `match`, `when`, `scoped`; got {sorted(given)}")
        return self.parse(place, given["from"], given.get("match", ""), self.when(place, given))

    def when(self, place: str, given: Mapping[str, Any]) -> When | None:
        when = dict(given.get("when") or {})
        if not when and not given.get("scoped"):
            return None
        attribute, equals, head = when.pop("attr", ""), "", ""
        if "attr_eq" in when:
            ((attribute, equals),) = when.pop("attr_eq").items()
        if "head" in when:
            ((attribute, head),) = when.pop("head").items()
        result = When(
            kinds=tuple(self.kind(place, kind) for kind in when.pop("kind", ())),
            kinds_not=tuple(self.kind(place, kind) for kind in when.pop("kind_not", ())),
            scopes=tuple(when.pop("scope", ())),
            dialect=self.id if given.get("scoped") else "",
            attribute=attribute,
            equals=str(equals),
            head=head,
        )
        if when:
            raise self.error(place, f"unknown condition {sorted(when)}")
        return result

    def parse(self, place: str, text: str, match: str, when: When | None) -> Source:
        head, colon, rest = text.partition(":")
        if text == "span.name":
            return Source(origin="name", match=match, when=when)
        if text == "status.message":
            return Source(origin="status", match=match, when=when)
        if not colon:
            return Source(origin="attribute", key=text, match=match, when=when)
        if head == "json":
            key, _, pointer = rest.partition("#")
            path = tuple(int(part) if part.isdigit() else part for part in pointer.split("/") if part)
            return Source(origin="json", key=key, path=path, match=match, when=when)
        if head == "event":
            event, _, key = rest.partition("@")
            return Source(origin="event", key=key, events=(event,), match=match, when=when)
        if head == "events":
            return Source(origin="events", events=tuple(rest.split(",")), match=match, when=when)
        if head == "prefix" and rest.count(".") != 1:
            raise self.error(place, f"a prefix is the first two words of a key, got {rest!r}")
        if head in ("prefix", "hint", "resource"):
            return Source(origin=head, key=rest, match=match, when=when)  # type: ignore[arg-type]  # narrowed above
        raise self.error(place, f"unknown kind of source {text!r}")


def _no_two(files: list[DialectFile], what: str, key: Any) -> None:
    seen: dict[Any, str] = {}
    for file in files:
        value = key(file)
        if value in seen:
            raise DialectError(f"{file.dialect.id}.yaml: {what} {value!r} is also {seen[value]}.yaml's")
        seen[value] = file.dialect.id
