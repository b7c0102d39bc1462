"""What the rules of one table are in ClickHouse: sources as texts, conditions as 0 or 1."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from maslens.semconv.dialects.clickhouse import first_of, string, strings
from maslens.semconv.dialects.keys import all_sources, asked_hints, numbered_keys
from maslens.semconv.dialects.model import Clause, Source, Table, When

HEAD = 200  # bytes in which `head` is looked for


class Expressions:
    """Holds what the expressions of one table share: numbers of keys, kinds and conditions, bits of dialects, names."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.bits = {dialect.id: 1 << place for place, dialect in enumerate(table.dialects)}
        self.kinds = {kind: number for number, kind in enumerate(table.kinds)}
        self.numbers = numbered_keys(table)
        self.conditions = {when: n for n, when in enumerate(_whens(table), start=1)}

    def first(self, sources: Sequence[Source]) -> str:
        """The first source that says something, as text; none of them has conditions."""
        return first_of([([], self.value(source)) for source in sources])

    def value(self, source: Source) -> str:
        value = self._whole(source)
        if not source.match:
            return value
        words = value if source.origin == "name" else f"toLowCardinality({value})"
        return f"extract({words}, {string('(?s)' + source.match)})"

    def _whole(self, source: Source) -> str:
        match source.origin:
            case "attribute":
                return self.attribute(source.key)
            case "json":
                return self._json(source)
            case "events":
                return self._event_list(source.events)
            case "name":
                return "SpanName" if source.match else "span_name"
            case "status":
                return "StatusMessage"
            case "resource":
                return f"resource[{string(source.key)}]"
            case _:
                return hint_column(source.key)

    def _json(self, source: Source) -> str:
        if is_member(source):
            return f"member_texts[indexOf(members, {self.number(source)})]"
        if not source.path:
            return f"JSONExtractString({self.attribute(source.key)})"
        path = ", ".join(str(part + 1) if isinstance(part, int) else string(part) for part in source.path)
        text = f"json_texts[indexOf(json, {self.numbers[source.key]})]"
        if isinstance(source.path[0], int):  # of an object it would be the first member
            text = f"if(startsWith({text}, '['), {text}, '')"
        return f"JSONExtractString({text}, {path})"

    def _event_list(self, events: Sequence[str]) -> str:
        names = strings(events)
        pairs = (
            "arrayMap((n, a) -> CAST((n, a), 'Tuple(name String, attributes Map(String, String))'), "
            f"arrayFilter(n -> has({names}, n), event_names), "
            f"arrayFilter((a, n) -> has({names}, n), event_attributes, event_names))"
        )
        return f"if(hasAny(event_names, {names}), toJSONString({pairs}), '')"

    def attribute(self, key: str) -> str:
        """What the span says under `key`; nothing where it says nothing worth having."""
        return f"vals[indexOf(known, {self.numbers[key]})]"

    def test(self, clause: Clause) -> str:
        """0 or 1."""
        match clause.test:
            case "no_attr":
                return f"(has(known, {self.numbers[clause.key]}) = 0)"
            case "attr_match":
                return f"match({self.attribute(clause.key)}, {string('(?s)' + clause.value)})"
            case "scope_prefix":
                return f"startsWith(scope, {string(clause.value)})"
            case "scope_match":
                return f"match(scope, {string('(?s)' + clause.value)})"
            case "name_match":
                return f"match(SpanName, {string('(?s)' + clause.value)})"
            case "span_kind":
                return f"(SpanKind = {string(clause.value)})"
            case "same" | "not_same":
                one, other = map(self.value, clause.sources)
                same = f"bitAnd({one} != '', {one} = {other})"
                return same if clause.test == "same" else f"({same} = 0)"
            case _:
                raise ValueError(f"{clause.test} is told with others of its family, not by itself")

    def mentions(self, key: str, text: str) -> str:
        """Whether the attribute has `text` in its first bytes: 0 or 1."""
        return f"(position(substring({self.attribute(key)}, 1, {HEAD}), {string(text)}) > 0)"

    @cached_property
    def asked_hints(self) -> frozenset[str]:
        return asked_hints(self.table)

    @cached_property
    def group_of(self) -> Mapping[str, int]:
        """Prefix of flattened lists → number."""
        prefixes = sorted({source.key for source in all_sources(self.table) if source.origin == "prefix"})
        return {prefix: number for number, prefix in enumerate(prefixes, start=1)}

    @cached_property
    def part_numbers(self) -> Mapping[tuple[str, str], int]:
        """(attribute, member), (event, attribute) and (prefix, nothing) → number, after those of the attributes."""
        asked = dict.fromkeys(
            part(s) for s in all_sources(self.table) if self.is_numbered(s) and s.origin != "attribute"
        )
        return {asked_: number for number, asked_ in enumerate(asked, start=len(self.numbers) + 1)}

    def parts_of(self, origin: str) -> Mapping[tuple[str, str], int]:
        asked = dict.fromkeys(part(s) for s in all_sources(self.table) if s.origin == origin and self.is_numbered(s))
        return {asked_: self.part_numbers[asked_] for asked_ in asked}

    @cached_property
    def value_names(self) -> Mapping[Source, str]:
        """Sources of fields that are more than an attribute, each once."""
        wanted = [source for _, sources in self.lists for source in sources if not self.is_numbered(source)]
        return {source: f"v{n}" for n, source in enumerate(dict.fromkeys(map(bare, wanted)))}

    def number(self, source: Source) -> int:
        """Of a source for which `is_numbered`."""
        return self.numbers[source.key] if source.origin == "attribute" else self.part_numbers[part(source)]

    def is_numbered(self, source: Source) -> bool:
        """Whether the source is found by its number: attributes, members of JSON, events' attributes, prefixes."""
        if source.match:
            return False
        return source.origin in ("attribute", "event", "prefix") or (source.origin == "json" and is_member(source))

    @cached_property
    def lists(self) -> Sequence[tuple[str, Sequence[Source]]]:
        """All that is looked for on a span, (field or hint, sources); fields first."""
        return [*self.table.fields.items(), *self.table.hints.items()]


def _whens(table: Table) -> Iterable[When]:
    return dict.fromkeys(source.when for source in all_sources(table) if source.when)


def bare(source: Source) -> Source:
    """The source without its condition, unless that keeps JSON from being read where it is not wanted."""
    return source if source.origin == "json" else replace(source, when=None)


def hint_column(name: str) -> str:
    return "h_" + "".join(letter if letter.isalnum() else "_" for letter in name)


def text_column(field: str) -> str:
    return "t_" + field.replace(".", "_")


def is_member(source: Source) -> bool:
    """Whether a JSON source is a member of the outermost object, so that several are read at once."""
    return len(source.path) == 1 and isinstance(source.path[0], str)


def part(source: Source) -> tuple[str, str]:
    """What of a span a numbered source other than an attribute is."""
    match source.origin:
        case "event":
            return source.events[0], source.key
        case "json":
            return source.key, str(source.path[0])
        case _:
            return source.key, ""
