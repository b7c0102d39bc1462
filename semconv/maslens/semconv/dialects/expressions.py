"""What the rules of one table are in ClickHouse: sources as texts, conditions as 0 or 1."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from maslens.semconv.dialects.clickhouse import every, first_of, string, strings
from maslens.semconv.dialects.model import Clause, Source, Table, When
from maslens.semconv.dialects.slots import all_sources, asked_hints, assign, runs

HEAD = 200  # bytes in which `head` is looked for


class Expressions:
    """Holds what the expressions of one table share: slot numbers, dialect bits, kind numbers, names of values."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.bits = {dialect.id: 1 << place for place, dialect in enumerate(table.dialects)}
        self.kinds = {kind: number for number, kind in enumerate(table.kinds)}
        self.slots = assign(table)

    def first(self, sources: Sequence[Source], *, named: bool = False) -> str:
        """The first source that says something, as text."""
        arms: list[tuple[list[str], str]] = []
        for run in runs(sources):
            if isinstance(run, Source):
                value = self.named(run) if named else self.value(run)
                arms.append((self.condition(run.when) if named else self.when(run.when), value))
            else:
                arms += [([], slot) for slot in dict.fromkeys(map(self.slot, run))]
        return first_of(arms)

    def named(self, source: Source) -> str:
        return self.value_names.get(bare(source)) or self.value(source)

    def condition(self, when: When | None) -> list[str]:
        """The condition by the name it has in layer `values`."""
        return [] if when is None else [self.condition_names[when]]

    def value(self, source: Source) -> str:
        value = self._whole(source)
        if not source.match:
            return value
        return f"CAST(extract(toLowCardinality({value}), {string('(?s)' + source.match)}), 'String')"

    def _whole(self, source: Source) -> str:
        match source.origin:
            case "attribute":
                return self.slot(source.key)
            case "json":
                return self._json(source)
            case "prefix":
                return self._flattened(source.key)
            case "event":
                place = f"arrayLastIndex(n -> n = {string(source.events[0])}, event_names)"
                return f"event_attributes[{place}][{string(source.key)}]"
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
        slot = self.slot(source.key)
        if is_member(source):
            return f"tupleElement({self.document_of[source.key, source.when][0]}, {string(str(source.path[0]))})"
        if not source.path:
            return f"JSONExtractString({slot})"
        path = ", ".join(str(part + 1) if isinstance(part, int) else string(part) for part in source.path)
        opening = "[" if isinstance(source.path[0], int) else "{"
        wanted = every([f"startsWith({slot}, '{opening}')", *self.when(source.when)])
        return f"JSONExtractString(if({wanted}, {slot}, ''), {path})"

    def _flattened(self, prefix: str) -> str:
        """`prefix.0.a`, `prefix.1.a` … as one JSON object, in the order of the keys."""
        n = self.group_of[prefix]
        keys = f"arrayMap(k -> substring(k, {len(prefix) + 2}), arrayFilter((k, g) -> g = {n}, group_keys, groups))"
        values = f"arrayFilter((v, g) -> g = {n}, group_vals, groups)"
        return f"if(has(groups, {n}), toJSONString(mapFromArrays(CAST({keys}, 'Array(String)'), {values})), '')"

    def _event_list(self, events: Sequence[str]) -> str:
        names = strings(events)
        pairs = (
            "arrayMap((n, a) -> CAST((n, a), 'Tuple(name String, attributes Map(String, String))'), "
            f"arrayFilter(n -> has({names}, n), event_names), "
            f"arrayFilter((a, n) -> has({names}, n), event_attributes, event_names))"
        )
        return f"if(hasAny(event_names, {names}), toJSONString({pairs}), '')"

    def slot(self, key: str) -> str:
        return f"s{self.slots[key][0]}"

    def when(self, when: When | None) -> list[str]:
        if when is None:
            return []
        conditions = []
        if when.dialect:
            conditions.append(f"bitTest(bits, {self.bits[when.dialect].bit_length() - 1})")
        if when.kinds:
            conditions.append(f"bitTest({self._kind_set(when.kinds)}, kind)")
        if when.kinds_not:
            conditions.append(f"(bitTest({self._kind_set(when.kinds_not)}, kind) = 0)")
        if when.scopes:
            conditions.append(f"(scope IN ({', '.join(map(string, when.scopes))}))")
        if when.attribute:
            slot = self.slot(when.attribute)
            if when.head:
                conditions.append(f"(position(substring({slot}, 1, {HEAD}), {string(when.head)}) > 0)")
            else:
                conditions.append(f"({slot} = {string(when.equals)})" if when.equals else f"({slot} != '')")
        return conditions

    def _kind_set(self, kinds: Iterable[str]) -> str:
        return f"toUInt32({sum(1 << self.kinds[kind] for kind in kinds)})"

    def clause(self, clause: Clause) -> str:
        match clause.test:
            case "attr":
                return f"({self.slot(clause.key)} != '')"
            case "no_attr":
                return f"({self.slot(clause.key)} = '')"
            case "attr_equals":
                return f"({self.slot(clause.key)} = {string(clause.value)})"
            case "attr_match":
                return f"match({self.slot(clause.key)}, {string('(?s)' + clause.value)})"
            case "namespace":
                return f"arrayExists(k -> startsWith(k, {string(clause.key + '.')}), keys)"
            case "scope":
                return f"(scope = {string(clause.value)})"
            case "scope_prefix":
                return f"startsWith(scope, {string(clause.value)})"
            case "scope_match":
                return f"match(scope, {string('(?s)' + clause.value)})"
            case "name_match":
                return f"match(SpanName, {string('(?s)' + clause.value)})"
            case "event":
                return f"has(event_names, {string(clause.value)})"
            case "span_kind":
                return f"(SpanKind = {string(clause.value)})"
            case _:
                one, other = map(self.value, clause.sources)
                same = f"bitAnd({one} != '', {one} = {other})"
                return same if clause.test == "same" else f"({same} = 0)"

    @cached_property
    def asked_hints(self) -> frozenset[str]:
        return asked_hints(self.table)

    @cached_property
    def group_of(self) -> Mapping[str, int]:
        """Prefix of flattened lists → number."""
        prefixes = sorted({source.key for source in all_sources(self.table) if source.origin == "prefix"})
        return {prefix: number for number, prefix in enumerate(prefixes, start=1)}

    @cached_property
    def document_of(self) -> Mapping[tuple[str, When | None], tuple[str, list[str]]]:
        """(attribute, condition) → (column, members)."""
        documents: dict[tuple[str, When | None], tuple[str, list[str]]] = {}
        for source in dict.fromkeys(all_sources(self.table)):
            if source.origin == "json" and is_member(source):
                _, members = documents.setdefault((source.key, source.when), (f"d{len(documents)}", []))
                if source.path[0] not in members:
                    members.append(str(source.path[0]))
        return documents

    @cached_property
    def value_names(self) -> Mapping[Source, str]:
        """Sources worth a column of their own: whatever is more than a slot, and is not known already."""
        wanted = [
            *(source for field, sources in self.table.fields.items() if field != "provider" for source in sources),
            *(s for hint, sources in self.table.hints.items() if hint not in self.asked_hints for s in sources),
            *self.table.input_excludes_cache,
        ]
        cheap = ("attribute", "status", "hint", "name")
        costly = dict.fromkeys(bare(source) for source in wanted if source.match or source.origin not in cheap)
        return {source: f"v{n}" for n, source in enumerate(costly)}

    @cached_property
    def condition_names(self) -> Mapping[When, str]:
        conditions = dict.fromkeys(source.when for source in all_sources(self.table) if source.when)
        return {when: f"c{n}" for n, when in enumerate(conditions)}


def needs_kind(when: When | None) -> bool:
    return when is not None and bool(when.kinds or when.kinds_not)


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
