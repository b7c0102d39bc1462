"""Dialects → one ClickHouse SELECT that fills `agent_spans` from `otel_traces`.

Looking an attribute up in a Map scans its keys, and there are hundreds of keys to ask for. So all keys of a span are
translated once into the numbers of slots (a slot is a list of keys of which the first present one counts) and sorted; a
lookup is then an `indexOf` in a short array of integers. Patterns run on dictionaries (`LowCardinality`), and JSON is
opened once however many members are asked for.

The SELECT is nested. Each layer gives short names to what the next ones use often; ClickHouse would otherwise analyse the
same text again and again on every insert:

    found    the span's known keys as sorted numbers; bits of the dialects that keys, scope and events tell
    slots    one column a slot; the hints
    told     all bits; JSON documents; what each kind attribute, provider and framework name means
    kinds    the canonical kind and the framework
    values   every source that is not a plain attribute
    outside  the columns of `agent_spans`

Conditions are joined with `bitAnd` and `bitOr`: a few hundred `AND` and `OR` take the query analyser a second, on every insert.
Branches are never lazy: a lazy branch is evaluated on filtered copies of its columns, all contents included, which took
four times as long as evaluating everything (see `ignore` below). What is expensive gets an empty text where it is not wanted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from maslens.semconv.dialects.columns import AGENT_SPAN_COLUMNS, Column
from maslens.semconv.dialects.dialect_table import TABLE
from maslens.semconv.dialects.model import Clause, KindRule, KindValues, Source, Table, When
from maslens.semconv.dialects.slots import (
    DROPPED_ATTRIBUTES,
    EARLY_TESTS,
    all_sources,
    asked_hints,
    assign,
    is_plain,
    late_detections,
    runs,
)

_RAW = {
    "ScopeName": "scope",
    "LinkTraceIds": "link_traces",
    "LinkSpanIds": "link_spans",
    "EventNames": "CAST(event_names, 'Array(String)')",
}
HEAD = 200  # bytes in which `head` is looked for
_EMPTY = "''"
_NO_KIND = 255


def agent_spans_select(source: str = "otel_traces") -> str:
    """The SELECT that yields `AGENT_SPAN_COLUMNS`, in their order, from a table with the Collector exporter's columns."""
    return _Compiler(TABLE).select(source)


class _Compiler:
    """Holds what the expressions of one table share: slot numbers, dialect bits, kind numbers, names of values."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.bits = {dialect.id: 1 << place for place, dialect in enumerate(table.dialects)}
        self.kinds = {kind: number for number, kind in enumerate(table.kinds)}
        self.slots = assign(table)

    def select(self, source: str) -> str:
        columns = [f"{self._column(column)} AS {column.name}" for column in AGENT_SPAN_COLUMNS]
        inner = source
        for layer in self._layers:
            passed = "" if inner == source else "*,\n    "
            text = ",\n    ".join(layer)
            inner = f"(\nSELECT\n    {passed}{text}\nFROM {inner}\n)"
        text = ",\n    ".join(columns)
        return f"SELECT\n    {text}\nFROM {inner}"

    @cached_property
    def _layers(self) -> list[list[str]]:
        return [self._found(), self._slots(), self._told(), self._kinds(), self._values()]

    # -- layer `found` -------------------------------------------------------------------------------------------------

    def _found(self) -> list[str]:
        codes = [slot << 6 | rank for slot, rank in self.slots.values()]
        return [
            "Timestamp, Duration, TraceId, SpanId, ParentSpanId, ServiceName, SpanName, SpanKind",
            "StatusCode, StatusMessage",
            "ResourceAttributes AS resource",
            "toLowCardinality(ScopeName) AS scope",
            "Events.Name AS event_names",
            "Events.Attributes AS event_attributes",
            "Links.TraceId AS link_traces",
            "Links.SpanId AS link_spans",
            "Links.Attributes AS link_attributes",
            "mapKeys(SpanAttributes) AS keys",
            "mapValues(SpanAttributes) AS vals",
            f"arrayMap(v -> v NOT IN ({', '.join(map(_string, self.table.empty))}), vals) AS told",
            "arraySort(arrayFilter(x -> x >= 65536, arrayMap((c, t, p) -> c * t * 65536 + p, "
            f"{_codes('keys', self.slots, codes)}, told, arrayEnumerate(keys)))) AS found",
            f"arrayMap((c, t) -> toUInt16(c * t), {self._hint_codes()}, told) AS hint_codes",
            f"{self._groups()} AS groups",
            f"{self._early_bits()} AS early_bits",
        ]

    def _groups(self) -> str:
        return f"arrayMap(k -> transform(substringIndex(k, '.', 2), {_map(self._group_of, 'UInt8')}, 0::UInt8), keys)"

    @cached_property
    def _group_of(self) -> Mapping[str, int]:
        """Prefix of flattened lists → number."""
        prefixes = sorted({source.key for source in all_sources(self.table) if source.origin == "prefix"})
        return {prefix: number for number, prefix in enumerate(prefixes, start=1)}

    def _early_bits(self) -> str:
        """Dialects told by the scope, by the presence of a key or by an event."""
        exact: Counter[str] = Counter()
        spaces: Counter[str] = Counter()
        scopes: Counter[str] = Counter()
        terms: list[str] = []
        for dialect in self.table.dialects:
            bit = self.bits[dialect.id]
            for clauses in dialect.detect:
                clause = clauses[0]
                if len(clauses) > 1 or clause.test not in EARLY_TESTS:
                    continue
                if clause.test == "attr":
                    exact[clause.key] |= bit
                elif clause.test == "namespace":
                    spaces[clause.key] |= bit
                elif clause.test == "scope":
                    scopes[clause.value] |= bit
                else:
                    terms.append(f"toUInt32({self._clause(clause)} * {bit})")
        by_key = (
            f"bitOr(transform(k, {_map(exact)}, 0::UInt32), "
            f"transform(substringIndex(k, '.', 1), {_map(spaces)}, 0::UInt32))"
        )
        terms.append(f"transform(scope, {_map(scopes)}, 0::UInt32)")
        terms.append(f"arrayReduce('groupBitOr', arrayMap(k -> {by_key}, keys))")
        return _any(terms)

    # -- layer `slots` -------------------------------------------------------------------------------------------------

    def _slots(self) -> list[str]:
        names = list(self.table.hints)
        return [
            "arrayMap(x -> toUInt16(bitShiftRight(x, 22)), found) AS slots",
            "arrayMap(x -> toUInt16(x), found) AS places",
            *(f"vals[places[indexOf(slots, {n})]] AS s{n}" for n in sorted({slot for slot, _ in self.slots.values()})),
            "arrayFilter(c -> c != 0, hint_codes) AS hint_found",
            "arraySort((v, c) -> c, arrayFilter((v, c) -> c != 0, vals, hint_codes), hint_found) AS hint_values",
            f"arrayMap(c -> {_strings(names)}[bitShiftRight(c, 4)], arraySort(hint_found)) AS hint_names",
        ]

    def _slot(self, key: str) -> str:
        return f"s{self.slots[key][0]}"

    def _hint_codes(self) -> str:
        """Number of the hint and, in the low bits, its source's place among the sources."""
        codes: dict[str, int] = {}
        for number, (name, sources) in enumerate(self.table.hints.items(), start=1):
            plain = [source for source in sources if is_plain(source)]
            if list(sources[len(sources) - len(plain) :]) != plain:
                raise ValueError(f"hint {name}: plain attributes must come after conditional sources")
            for rank, source in enumerate(plain):
                if source.key in codes:
                    raise ValueError(f"hint {name}: {source.key} is another hint already")
                codes[source.key] = number << 4 | rank
        return _codes("keys", codes, codes.values())

    # -- layer `told` --------------------------------------------------------------------------------------------------

    def _told(self) -> list[str]:
        late = [
            f"toUInt32({_all([self._clause(clause) for clause in clauses])} * {self.bits[dialect]})"
            for dialect, clauses in late_detections(self.table)
        ]
        return [
            f"{_any(['early_bits', *late])} AS bits",
            *self._documents(kinds_known=False),
            *(f"{self._first(self.table.hints[hint])} AS {_hint(hint)}" for hint in sorted(self._asked_hints)),
            *(f"{self._kind_told(step)} AS k{n}" for n, step in enumerate(self._kind_values)),
            *(f"{self._provider_told(source)} AS p{n}" for n, source in enumerate(self.table.fields["provider"])),
            *(f"{framework} AS f{n}" for n, framework in enumerate(self._frameworks_told)),
        ]

    @cached_property
    def _asked_hints(self) -> frozenset[str]:
        return asked_hints(self.table)

    @cached_property
    def _kind_values(self) -> list[KindValues]:
        return [step for step in self.table.kind_steps if isinstance(step, KindValues)]

    def _kind_told(self, step: KindValues) -> str:
        numbers = {value: self.kinds[kind] for value, kind in step.kinds.items()}
        return f"transform({self._slot(step.attribute)}, {_map(numbers, 'UInt8')}, {_NO_KIND}::UInt8)"

    def _provider_told(self, source: Source) -> str:
        """A known provider's name, nothing for a framework's; `openai.chat` is `openai`."""
        value = f"lower(toLowCardinality({self._value(source)}))"
        known = {**self.table.provider_aliases, **dict.fromkeys(self.table.frameworks_not_providers, "")}
        head = f"transform(substringIndex({value}, '.', 1), {_texts(self.table.provider_aliases)}, {value})"
        return f"transform({value}, {_texts(known)}, {head})"

    @cached_property
    def _frameworks_told(self) -> list[str]:
        scopes = self.table.framework_scopes
        exact = {scope: framework for scope, framework in scopes.items() if not scope.endswith("*")}
        starts = {scope[:-1]: framework for scope, framework in scopes.items() if scope.endswith("*")}
        pattern = "^(" + "|".join(map(_quote, starts)) + ")"
        told = [source for source in self.table.fields["provider"] if is_plain(source)]
        return [
            f"transform(SpanName, {_texts(self.table.framework_names)}, '')",
            f"transform(scope, {_texts(exact)}, '')",
            f"transform(extract(scope, {_string(pattern)}), {_texts(starts)}, '')",
            *(
                f"transform(lower(toLowCardinality({self._slot(source.key)})), {_texts(self.table.frameworks_not_providers)}, '')"
                for source in told
            ),
        ]

    def _documents(self, *, kinds_known: bool) -> list[str]:
        """JSON attributes of which members are asked for, opened once as a tuple of texts."""
        columns = []
        for (key, when), (name, members) in self._document_of.items():
            if _needs_kind(when) == kinds_known:
                opened = _all([f"startsWith({self._slot(key)}, '{{')", *self._when(when)])
                shape = ", ".join(f"`{member}` String" for member in members)
                columns.append(f"JSONExtract(if({opened}, {self._slot(key)}, ''), 'Tuple({shape})') AS {name}")
        return columns

    @cached_property
    def _document_of(self) -> Mapping[tuple[str, When | None], tuple[str, list[str]]]:
        """(attribute, condition) → (column, members)."""
        documents: dict[tuple[str, When | None], tuple[str, list[str]]] = {}
        for source in dict.fromkeys(all_sources(self.table)):
            if source.origin == "json" and _is_member(source):
                _, members = documents.setdefault((source.key, source.when), (f"d{len(documents)}", []))
                if source.path[0] not in members:
                    members.append(str(source.path[0]))
        return documents

    # -- layer `kinds` -------------------------------------------------------------------------------------------------

    def _kinds(self) -> list[str]:
        arms = []
        for step in self.table.kind_steps:
            if isinstance(step, KindValues):
                told = f"k{self._kind_values.index(step)}"
                arms.append(f"{told} != {_NO_KIND}, {told}")
            else:
                own = f"bitTest(bits, {self.bits[step.dialect].bit_length() - 1})"
                arms.append(f"{_all([own, *map(self._clause, step.clauses)])}, {self.kinds[step.kind]}")
        hints = [f"{_hint(hint)} != '', {_string(name)}" for hint, name in self.table.framework_hints.items()]
        names = [f"f{n} != '', f{n}" for n in range(len(self._frameworks_told))]
        return [
            f"multiIf({', '.join(arms)}, {self.kinds['other']})::UInt8 AS kind",
            f"toLowCardinality(multiIf({', '.join([*hints, *names])}, '')) AS framework",
        ]

    # -- layer `values` ------------------------------------------------------------------------------------------------

    def _values(self) -> list[str]:
        named = [f"{self._value(source)} AS {name}" for source, name in self._value_names.items()]
        return [*self._documents(kinds_known=True), *named]

    @cached_property
    def _value_names(self) -> Mapping[Source, str]:
        """Sources worth a column of their own: whatever is more than a slot, and is not known already."""
        wanted = [
            *(source for field, sources in self.table.fields.items() if field != "provider" for source in sources),
            *(s for hint, sources in self.table.hints.items() if hint not in self._asked_hints for s in sources),
            *self.table.input_excludes_cache,
        ]
        costly = dict.fromkeys(s for s in wanted if s.match or s.origin not in ("attribute", "status", "hint"))
        return {source: f"v{n}" for n, source in enumerate(costly)}

    # -- outermost layer -----------------------------------------------------------------------------------------------

    def _column(self, column: Column) -> str:
        special = {
            "Dialect": self._dialect,
            "Framework": lambda: "framework",
            "Kind": self._kind,
            "Provider": self._provider,
            "InputTokens": self._input_tokens,
            "ExceptionTypes": self._exception_types,
            "LinkTypes": self._link_types,
            "DroppedAttributes": self._dropped_attributes,
            "Hints": self._hint_map,
        }
        if column.name in special:
            return special[column.name]()
        if column.reading == "raw":
            return _RAW.get(column.name, column.name)
        text = self._text(column.field)
        match column.reading:
            case "name":
                return f"CAST({self._agent_name(text)}, 'String')"
            case "id":
                return f"if(match({text}, {_string('^(?:' + self.table.transient_id_pattern + ')$')}), '', {text})"
            case "enum":
                return f"toLowCardinality({text})"
            case "uint":
                return _uint(text)
            case "uint32":
                return f"accurateCastOrNull({_uint(text)}, 'UInt32')"
            case "float":
                number = f"toFloat64OrNull({text})"
                return f"if(isFinite(ifNull({number}, 0)), {number}, NULL)"
            case "list":
                listed = f"startsWith({text}, '[')"
                return (
                    f"if({listed}, JSONExtract(if({listed}, {text}, ''), 'Array(String)'), "
                    f"arrayFilter(x -> x != '', [{text}]))"
                )
            case _:
                return text

    def _text(self, field: str) -> str:
        return self._first(self.table.fields[field], named=True)

    def _dialect(self) -> str:
        names = _strings(dialect.id for dialect in self.table.dialects)
        return f"toLowCardinality(if(bits = 0, '', {names}[toUInt8(log2(greatest(bits, 1))) + 1]))"

    def _kind(self) -> str:
        """A tool whose name says that it moves control is a handoff."""
        tool = f"toLowCardinality({self._text('tool.name')})"
        anywhere = "|".join(f"(?:{_re2(t.pattern)})" for t in self.table.transfer_tools if not t.framework)
        moves = [
            f"match({tool}, {_string(anywhere)})",
            *(
                _all([f"framework = {_string(t.framework)}", f"match({tool}, {_string(_re2(t.pattern))})"])
                for t in self.table.transfer_tools
                if t.framework
            ),
        ]
        moved = _all([f"kind = {self.kinds['tool']}", _any(moves)])
        return f"toLowCardinality({_strings(self.table.kinds)}[if({moved}, {self.kinds['handoff']}, kind) + 1])"

    def _provider(self) -> str:
        told = [(self._when(s.when), f"p{n}") for n, s in enumerate(self.table.fields["provider"])]
        return f"toLowCardinality({_first_of(told)})"

    def _input_tokens(self) -> str:
        """Cached tokens are a part of the input; whoever counts them apart gets them added."""
        told, read, written = (_uint(self._text(f"tokens.{part}")) for part in ("input", "cache_read", "cache_write"))
        cached = f"(ifNull({read}, 0) + ifNull({written}, 0))"
        apart = _any(
            [f"ifNull({cached} > {told}, 0)", *(f"{self._named(s)} != ''" for s in self.table.input_excludes_cache)]
        )
        return f"CAST(if({apart}, {told} + {cached}, {told}), 'Nullable(UInt64)')"

    def _dropped_attributes(self) -> str:
        """Besides, `ignore` makes an eager column of everything named, so that no branch evaluates it lazily."""
        named = [column.rsplit(" AS ", 1)[1] for layer in self._layers[1:] for column in layer]
        return f"CAST(toUInt32OrZero({self._slot(DROPPED_ATTRIBUTES)}) + ignore({', '.join(named)}), 'UInt32')"

    def _exception_types(self) -> str:
        exceptions = "arrayFilter((a, n) -> n = 'exception', event_attributes, event_names)"
        return f"arrayMap(a -> a['exception.type'], {exceptions})"

    def _link_types(self) -> str:
        arms = [([], f"a[{_string(key)}]") for key in self.table.link_type_keys]
        return f"arrayMap(a -> {_first_of(arms)}, link_attributes)"

    def _hint_map(self) -> str:
        """All hints of the span; of two values for one name the one preferred by the dialects' order."""
        pairs = []
        for name, sources in self.table.hints.items():
            conditional = [source for source in sources if not is_plain(source)]
            if conditional:
                pairs.append(f"({_string(name)}, {self._first(conditional, named=name not in self._asked_hints)})")
        others = f"arrayFilter(t -> t.2 != '', [{', '.join(pairs)}])"
        names = f"arrayConcat(arrayMap(t -> t.1, {others}), hint_names)"
        values = f"arrayConcat(arrayMap(t -> t.2, {others}), hint_values)"
        first = f"arrayEnumerateUniq({names})"
        return (
            f"mapFromArrays(CAST(arrayFilter((n, u) -> u = 1, {names}, {first}), 'Array(LowCardinality(String))'), "
            f"arrayFilter((v, u) -> u = 1, {values}, {first}))"
        )

    def _agent_name(self, text: str) -> str:
        name = f"extract(toLowCardinality({text}), {_string(self.table.agent_name_pattern)})"
        known = {**dict.fromkeys(self.table.agent_name_deny, ""), **self.table.agent_name_aliases}
        return f"transform({name}, {_texts(known)}, {name})"

    # -- sources and conditions ----------------------------------------------------------------------------------------

    def _first(self, sources: Sequence[Source], *, named: bool = False) -> str:
        """The first source that says something, as text."""
        arms: list[tuple[list[str], str]] = []
        for run in runs(sources):
            if isinstance(run, Source):
                arms.append((self._when(run.when), self._named(run) if named else self._value(run)))
            else:
                arms += [([], slot) for slot in dict.fromkeys(map(self._slot, run))]
        return _first_of(arms)

    def _named(self, source: Source) -> str:
        return self._value_names.get(source) or self._value(source)

    def _value(self, source: Source) -> str:
        value = self._whole(source)
        if not source.match:
            return value
        return f"CAST(extract(toLowCardinality({value}), {_string('(?s)' + source.match)}), 'String')"

    def _whole(self, source: Source) -> str:
        match source.origin:
            case "attribute":
                return self._slot(source.key)
            case "json":
                return self._json(source)
            case "prefix":
                return self._flattened(source.key)
            case "event":
                place = f"arrayLastIndex(n -> n = {_string(source.events[0])}, event_names)"
                return f"event_attributes[{place}][{_string(source.key)}]"
            case "events":
                return self._event_list(source.events)
            case "name":
                return "SpanName"
            case "status":
                return "StatusMessage"
            case "resource":
                return f"resource[{_string(source.key)}]"
            case _:
                return _hint(source.key)

    def _json(self, source: Source) -> str:
        slot = self._slot(source.key)
        if _is_member(source):
            return f"tupleElement({self._document_of[source.key, source.when][0]}, {_string(str(source.path[0]))})"
        if not source.path:
            return f"JSONExtractString({slot})"
        path = ", ".join(str(part + 1) if isinstance(part, int) else _string(part) for part in source.path)
        opening = "[" if isinstance(source.path[0], int) else "{"
        wanted = _all([f"startsWith({slot}, '{opening}')", *self._when(source.when)])
        return f"JSONExtractString(if({wanted}, {slot}, ''), {path})"

    def _flattened(self, prefix: str) -> str:
        """`prefix.0.a`, `prefix.1.a` … as one JSON object, in the order of the keys."""
        n = self._group_of[prefix]
        keys = f"arrayMap(k -> substring(k, {len(prefix) + 2}), arrayFilter((k, g) -> g = {n}, keys, groups))"
        values = f"arrayFilter((v, g) -> g = {n}, vals, groups)"
        return f"if(has(groups, {n}), toJSONString(mapFromArrays(CAST({keys}, 'Array(String)'), {values})), '')"

    def _event_list(self, events: Sequence[str]) -> str:
        names = _strings(events)
        pairs = (
            "arrayMap((n, a) -> CAST((n, a), 'Tuple(name String, attributes Map(String, String))'), "
            f"arrayFilter(n -> has({names}, n), event_names), "
            f"arrayFilter((a, n) -> has({names}, n), event_attributes, event_names))"
        )
        return f"if(hasAny(event_names, {names}), toJSONString({pairs}), '')"

    def _when(self, when: When | None) -> list[str]:
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
            conditions.append(f"(scope IN ({', '.join(map(_string, when.scopes))}))")
        if when.attribute:
            slot = self._slot(when.attribute)
            if when.head:
                conditions.append(f"(position(substring({slot}, 1, {HEAD}), {_string(when.head)}) > 0)")
            else:
                conditions.append(f"({slot} = {_string(when.equals)})" if when.equals else f"({slot} != '')")
        return conditions

    def _kind_set(self, kinds: Iterable[str]) -> str:
        return f"{sum(1 << self.kinds[kind] for kind in kinds)}::UInt32"

    def _clause(self, clause: Clause) -> str:
        match clause.test:
            case "attr":
                return f"({self._slot(clause.key)} != '')"
            case "no_attr":
                return f"({self._slot(clause.key)} = '')"
            case "attr_equals":
                return f"({self._slot(clause.key)} = {_string(clause.value)})"
            case "attr_match":
                return f"match({self._slot(clause.key)}, {_string('(?s)' + clause.value)})"
            case "namespace":
                return f"arrayExists(k -> startsWith(k, {_string(clause.key + '.')}), keys)"
            case "scope":
                return f"(scope = {_string(clause.value)})"
            case "scope_prefix":
                return f"startsWith(scope, {_string(clause.value)})"
            case "scope_match":
                return f"match(scope, {_string('(?s)' + clause.value)})"
            case "name_match":
                return f"match(SpanName, {_string('(?s)' + clause.value)})"
            case "event":
                return f"has(event_names, {_string(clause.value)})"
            case "span_kind":
                return f"(SpanKind = {_string(clause.value)})"
            case _:
                one, other = map(self._value, clause.sources)
                same = f"bitAnd({one} != '', {one} = {other})"
                return same if clause.test == "same" else f"({same} = 0)"


def _is_member(source: Source) -> bool:
    return len(source.path) == 1 and isinstance(source.path[0], str)


def _needs_kind(when: When | None) -> bool:
    return when is not None and bool(when.kinds or when.kinds_not)


def _hint(name: str) -> str:
    return "h_" + "".join(letter if letter.isalnum() else "_" for letter in name)


def _first_of(arms: Sequence[tuple[Sequence[str], str]]) -> str:
    """The first text that is not empty and whose conditions hold."""
    if not arms:
        return _EMPTY
    if len(arms) == 1 and not arms[0][0]:
        return arms[0][1]
    *others, (conditions, last) = arms
    parts = [f"{_all([*conditions, f'{value} != {_EMPTY}'])}, {value}" for conditions, value in others]
    if conditions:
        parts.append(f"{_all(conditions)}, {last}")
        last = _EMPTY
    return f"multiIf({', '.join([*parts, last])})"


def _uint(text: str) -> str:
    """Whole numbers, also written as a float."""
    return f"ifNull(toUInt64OrNull({text}), accurateCastOrNull(toFloat64OrNull({text}), 'UInt64'))"


def _all(conditions: Sequence[str]) -> str:
    return _folded("bitAnd", conditions)


def _any(terms: Sequence[str]) -> str:
    return _folded("bitOr", terms)


def _folded(function: str, terms: Sequence[str]) -> str:
    result = terms[0]
    for term in terms[1:]:
        result = f"{function}({result}, {term})"
    return result


def _codes(keys: str, known: Iterable[str], codes: Iterable[int]) -> str:
    return f"arrayMap(k -> transform(k, {_strings(known)}, {_numbers(codes)}, 0::UInt32), {keys})"


def _map(table: Mapping[str, int], type_: str = "UInt32") -> str:
    return f"{_strings(table)}, {_numbers(table.values(), type_)}"


def _texts(table: Mapping[str, str]) -> str:
    return f"{_strings(table)}, {_strings(table.values())}"


def _string(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _strings(texts: Iterable[str]) -> str:
    return "[" + ", ".join(map(_string, texts)) + "]"


def _numbers(numbers: Iterable[int], type_: str = "UInt32") -> str:
    return "[" + ", ".join(map(str, numbers)) + f"]::Array({type_})"


def _quote(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "\\.+*?()|[]{}^$" else letter for letter in text)


def _re2(pattern: str) -> str:
    return pattern.replace("(?P<target>", "(?:")
