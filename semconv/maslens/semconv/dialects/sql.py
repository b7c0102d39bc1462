"""Dialects → one ClickHouse SELECT that fills `agent_spans` from `otel_traces`.

Looking an attribute up in a Map is a scan of its keys, and there are hundreds of keys. So every span's keys are translated
once, on the block's dictionary of keys, into slot numbers; a slot is a list of keys of which the first present one counts.
Sorted by slot, a lookup is an `indexOf` in a short array of integers. Patterns run on dictionaries (`LowCardinality`) too.

The SELECT is nested, so that each layer's names are short and nothing is computed twice:

    found    the span's known keys as sorted numbers; bits of the dialects that its keys and scope tell
    slots    one column a slot
    hints    bits complete; values only inference reads
    kinds    the canonical kind; JSON documents opened
    outside  the columns of `agent_spans`
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from maslens.semconv.dialects.columns import AGENT_SPAN_COLUMNS, Column
from maslens.semconv.dialects.dialect_table import TABLE
from maslens.semconv.dialects.model import Clause, KindRule, Source, Table, When

_RAW = {
    "Timestamp": "Timestamp",
    "Duration": "Duration",
    "TraceId": "TraceId",
    "SpanId": "SpanId",
    "ParentSpanId": "ParentSpanId",
    "ServiceName": "ServiceName",
    "SpanName": "SpanName",
    "SpanKind": "SpanKind",
    "ScopeName": "scope",
    "StatusCode": "StatusCode",
    "StatusMessage": "StatusMessage",
    "LinkTraceIds": "link_traces",
    "LinkSpanIds": "link_spans",
    "EventNames": "CAST(event_names, 'Array(String)')",
}
_DROPPED = "otel.dropped_attributes_count"


def agent_spans_select(source: str = "otel_traces") -> str:
    """The SELECT that yields `AGENT_SPAN_COLUMNS`, in their order, from a table with the Collector exporter's columns."""
    return _Compiler(TABLE).select(source)


class _Compiler:
    """Holds what the expressions of one table share: slot numbers, dialect bits, kind numbers, JSON documents."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.bits = {dialect.id: 1 << place for place, dialect in enumerate(table.dialects)}
        self.kinds = {kind: number for number, kind in enumerate(table.kinds)}

    def select(self, source: str) -> str:
        columns = ",\n    ".join(f"{self._column(column)} AS {column.name}" for column in AGENT_SPAN_COLUMNS)
        return (
            f"SELECT\n    {columns}\nFROM\n(\n"
            f"SELECT\n    *,\n    {self._kinds()}\nFROM\n(\n"
            f"SELECT\n    *,\n    {self._hints()}\nFROM\n(\n"
            f"SELECT\n    *,\n    {self._slots()}\nFROM\n(\n"
            f"SELECT\n    {self._found()}\nFROM {source}\n))))"
        )

    # -- layer `found` -------------------------------------------------------------------------------------------------

    def _found(self) -> str:
        keys = self._slot_of
        codes = [slot << 6 | rank for slot, rank in keys.values()]
        code = f"transform(k, {_strings(keys)}, {_numbers(codes)}, 0::UInt32)"
        return ",\n    ".join(
            [
                "Timestamp, Duration, TraceId, SpanId, ParentSpanId, ServiceName, SpanName, SpanKind, StatusCode, StatusMessage",
                "ResourceAttributes AS resource",
                "toLowCardinality(ScopeName) AS scope",
                "Events.Name AS event_names",
                "Events.Attributes AS event_attributes",
                "Links.TraceId AS link_traces",
                "Links.SpanId AS link_spans",
                "Links.Attributes AS link_attributes",
                "mapKeys(SpanAttributes) AS keys",
                "mapValues(SpanAttributes) AS vals",
                "arraySort(arrayFilter(x -> x >= 65536, arrayMap((c, v, p) -> "
                f"if({self._is_empty('v')}, 0, c * 65536 + p), arrayMap(k -> {code}, keys), vals, arrayEnumerate(keys)))) AS found",
                f"{self._early_bits()} AS early_bits",
                f"arrayMap(k -> {self._prefix_number()}, keys) AS prefixes",
            ]
        )

    def _early_bits(self) -> str:
        """Dialects told by the scope, by the presence of a key or by an event."""
        exact: Counter[str] = Counter()
        prefix: Counter[str] = Counter()
        scopes: Counter[str] = Counter()
        terms: list[str] = []
        for dialect, (clause,) in self._detections(single=True):
            bit = self.bits[dialect]
            match clause.test:
                case "attr":
                    exact[clause.key] |= bit
                case "attr_prefix":
                    prefix[clause.key] |= bit
                case "scope":
                    scopes[clause.value] |= bit
                case "attr_equals" | "same" | "not_same" | "no_attr":
                    pass  # needs slots
                case _:
                    terms.append(f"if({self._clause(clause)}, {bit}, 0)::UInt32")
        terms.append(f"transform(scope, {_strings(scopes)}, {_numbers(scopes.values())}, 0::UInt32)")
        started = f"extract(k, {_string('^(' + '|'.join(_quote(p) for p in prefix) + ')')})"
        by_key = (
            f"bitOr(transform(k, {_strings(exact)}, {_numbers(exact.values())}, 0::UInt32), "
            f"transform({started}, {_strings(prefix)}, {_numbers(prefix.values())}, 0::UInt32))"
        )
        terms.append(f"arrayReduce('groupBitOr', arrayMap(k -> {by_key}, keys))")
        return _any_bits(terms)

    def _prefix_number(self) -> str:
        names = "|".join(_quote(prefix) for prefix in self._prefixes)
        return f"transform(extract(k, {_string(f'^({names})[0-9]')}), {_strings(self._prefixes)}, {_numbers(self._prefixes.values(), 'UInt8')}, 0::UInt8)"

    def _detections(self, *, single: bool) -> Iterable[tuple[str, tuple[Clause, ...]]]:
        for dialect in self.table.dialects:
            for clauses in dialect.detect:
                if (len(clauses) == 1) == single:
                    yield dialect.id, clauses

    # -- layer `slots` -------------------------------------------------------------------------------------------------

    @cached_property
    def _runs(self) -> list[tuple[str, ...]]:
        """Every list of keys that is asked for as a whole, in order of preference."""
        runs = [
            run
            for field, sources in [*self.table.fields.items(), *self.table.hints.items()]
            for run in _plain_runs(sources, apart=field == "provider")
            if field in self.table.fields or field in self._asked_hints
        ]
        singles = [
            *self._clause_keys(),
            *(s.key for s in self._sources() if s.origin in ("attribute", "json") and not _plain(s)),
            *(s.key for s in self._outside_fields() if _plain(s)),
            *(source.when.attribute for source in self._sources() if source.when and source.when.attribute),
            _DROPPED,
        ]
        return list(dict.fromkeys([*runs, *((key,) for key in singles)]))

    @cached_property
    def _slot_of(self) -> Mapping[str, tuple[int, int]]:
        """Key → (slot, rank in it). A key asked for in several lists gets a slot of its own."""
        uses = Counter(key for run in self._runs for key in run)
        slots: dict[str, tuple[int, int]] = {}
        number = 0
        for run in self._runs:
            joined = False
            for key in run:
                if key in slots:
                    joined = False
                    continue
                alone = uses[key] > 1
                if alone or not joined:
                    number, rank = number + 1, 0
                else:
                    rank += 1
                slots[key] = (number, rank)
                joined = not alone
        return slots

    def _slot(self, key: str) -> str:
        return f"s{self._slot_of[key][0]}"

    def _slots(self) -> str:
        numbers = sorted({slot for slot, _ in self._slot_of.values()})
        return ",\n    ".join(
            [
                "arrayMap(x -> toUInt16(bitShiftRight(x, 22)), found) AS slots",
                "arrayMap(x -> bitAnd(x, 65535), found) AS places",
                *(f"vals[places[indexOf(slots, {number})]] AS s{number}" for number in numbers),
            ]
        )

    def _clause_keys(self) -> Iterable[str]:
        rules = (clauses for _, clauses in [*self._detections(single=True), *self._detections(single=False)])
        kinds = (step.clauses for step in self.table.kind_steps if isinstance(step, KindRule))
        for clauses in [*rules, *kinds]:
            yield from (clause.key for clause in clauses if clause.test in ("attr_equals", "no_attr"))
        for clauses in [*(c for _, c in self._detections(single=False)), *kinds]:
            yield from (clause.key for clause in clauses if clause.test == "attr")
        for step in self.table.kind_steps:
            if isinstance(step, KindRule):
                yield from (clause.key for clause in step.clauses if clause.test == "attr")
            else:
                yield step.attribute

    def _sources(self) -> Iterable[Source]:
        for sources in [*self.table.fields.values(), *self.table.hints.values()]:
            yield from sources
        yield from self._outside_fields()

    def _outside_fields(self) -> Iterable[Source]:
        yield from self.table.input_excludes_cache
        for step in self.table.kind_steps:
            if isinstance(step, KindRule):
                for clause in step.clauses:
                    yield from clause.sources

    # -- layer `hints` -------------------------------------------------------------------------------------------------

    def _hints(self) -> str:
        late = [
            f"if({self._all(clauses)}, {self.bits[dialect]}, 0)::UInt32"
            for dialect, clauses in [*self._detections(single=True), *self._detections(single=False)]
            if len(clauses) > 1 or clauses[0].test in ("attr_equals", "no_attr", "same", "not_same")
        ]
        named = [hint for hint in self.table.hints if hint in self._asked_hints]
        return ",\n    ".join(
            [
                f"{_any_bits(['early_bits', *late])} AS bits",
                *self._documents("hints", kinds_known=False),
                *(f"{self._text(self.table.hints[hint])} AS {self._hint(hint)}" for hint in named),
                *self._hint_columns(),
            ]
        )

    @cached_property
    def _asked_hints(self) -> frozenset[str]:
        asked = {source.key for source in self._sources() if source.origin == "hint"}
        return frozenset(asked | set(self.table.framework_hints))

    def _hint(self, name: str) -> str:
        return "h_" + "".join(letter if letter.isalnum() else "_" for letter in name)

    def _hint_columns(self) -> list[str]:
        """The hints as sorted codes and values: plain attributes by number, conditional sources beside them."""
        return [
            f"arrayMap((c, v) -> if({self._is_empty('v')}, 0, c), arrayMap(k -> {self._hint_code()}, keys), vals) AS hint_codes",
            "arrayFilter(c -> c != 0, hint_codes) AS hint_found",
            "arraySort((v, c) -> c, arrayFilter((v, c) -> c != 0, vals, hint_codes), hint_found) AS hint_values",
            f"arrayMap(c -> {self._hint_name('c')}, arraySort(hint_found)) AS hint_names",
        ]

    def _hint_code(self) -> str:
        codes: dict[str, int] = {}
        for number, (name, sources) in enumerate(self.table.hints.items(), start=1):
            plain = [source for source in sources if _plain(source)]
            if list(sources[len(sources) - len(plain) :]) != plain:
                raise ValueError(f"hint {name}: plain attributes must come after conditional sources")
            for rank, source in enumerate(plain):
                if source.key in codes:
                    raise ValueError(f"hint {name}: {source.key} is another hint already")
                codes[source.key] = number << 4 | rank
        return f"transform(k, {_strings(codes)}, {_numbers(codes.values())}, 0::UInt32)"

    def _hint_name(self, code: str) -> str:
        names = list(self.table.hints)
        return f"transform(bitShiftRight({code}, 4), {_numbers(range(1, len(names) + 1))}, {_strings(names)}, '')"

    def _hint_map(self) -> str:
        """All hints of the span; of two values for one name the one preferred by the dialects' order."""
        some: list[str] = []
        pairs: list[str] = []
        for name, sources in self.table.hints.items():
            conditional = [source for source in sources if not _plain(source)]
            if conditional:
                value = (
                    self._hint(name)
                    if name in self._asked_hints and len(conditional) == len(sources)
                    else self._text(conditional)
                )
                pairs.append(f"({_string(name)}, {value})")
                some += [self._present(source) for source in conditional]
        others = f"if({' OR '.join(dict.fromkeys(some))}, arrayFilter(t -> t.2 != '', [{', '.join(pairs)}]), [])"
        names = f"arrayConcat(arrayMap(t -> t.1, {others}), hint_names)"
        values = f"arrayConcat(arrayMap(t -> t.2, {others}), hint_values)"
        first = f"arrayEnumerateUniq({names})"
        return (
            f"mapFromArrays(CAST(arrayFilter((n, u) -> u = 1, {names}, {first}), 'Array(LowCardinality(String))'), "
            f"arrayFilter((v, u) -> u = 1, {values}, {first}))"
        )

    def _present(self, source: Source) -> str:
        if source.origin == "prefix":
            return f"has(prefixes, {self._prefixes[source.key]})"
        return f"{self._slot(source.key)} != ''"

    # -- layer `kinds` -------------------------------------------------------------------------------------------------

    def _kinds(self) -> str:
        arms: list[str] = []
        for step in self.table.kind_steps:
            if isinstance(step, KindRule):
                own = f"bitAnd(bits, {self.bits[step.dialect]}) != 0"
                arms.append(f"{' AND '.join([own, *map(self._clause, step.clauses)])}, {self.kinds[step.kind]}")
            else:
                numbers = _numbers((self.kinds[kind] for kind in step.kinds.values()), "UInt8")
                told = f"transform(toLowCardinality({self._slot(step.attribute)}), {_strings(step.kinds)}, {numbers}, 255::UInt8)"
                arms.append(f"{told} != 255, {told}")
        return ",\n    ".join(
            [
                f"multiIf({', '.join(arms)}, {self.kinds['other']})::UInt8 AS kind",
                f"{self._framework()} AS framework",
                *self._documents("kinds", kinds_known=True),
            ]
        )

    def _framework(self) -> str:
        hints = [
            f"{self._hint(hint)} != '', {_string(framework)}" for hint, framework in self.table.framework_hints.items()
        ]
        names = _transform("SpanName", self.table.framework_names, "''")
        exact = {scope: f for scope, f in self.table.framework_scopes.items() if not scope.endswith("*")}
        starts = {scope[:-1]: f for scope, f in self.table.framework_scopes.items() if scope.endswith("*")}
        started = f"extract(scope, {_string('^(' + '|'.join(_quote(p) for p in starts) + ')')})"
        providers = [source.key for source in self.table.fields["provider"] if _plain(source)]
        told = [
            names,
            _transform("scope", exact, "''"),
            _transform(started, starts, "''"),
            *(_transform(f"lower({self._slot(key)})", self.table.frameworks_not_providers, "''") for key in providers),
        ]
        return f"toLowCardinality(multiIf({', '.join([*hints, *(f'{one} != {_EMPTY}, {one}' for one in told)])}, ''))"

    def _documents(self, layer: str, *, kinds_known: bool) -> list[str]:
        """JSON attributes of which several members are asked for are opened once, as a tuple."""
        return [
            f"JSONExtract(if({self._opened(key, when)}, {self._slot(key)}, ''), "
            f"'Tuple({', '.join(f'`{member}` String' for member in members)})') AS {name}"
            for (key, when), (name, members, late) in self._document_of.items()
            if late == kinds_known
        ]

    def _opened(self, key: str, when: When | None) -> str:
        return " AND ".join([f"startsWith({self._slot(key)}, '{{')", *self._when(when)])

    @cached_property
    def _document_of(self) -> Mapping[tuple[str, When | None], tuple[str, list[str], bool]]:
        """(attribute, condition) → (column, members, whether its condition needs the kind)."""
        documents: dict[tuple[str, When | None], tuple[str, list[str], bool]] = {}
        for source in dict.fromkeys(self._sources()):
            if source.origin == "json" and len(source.path) == 1 and isinstance(source.path[0], str):
                late = bool(source.when and (source.when.kinds or source.when.kinds_not))
                _, members, _ = documents.setdefault((source.key, source.when), (f"d{len(documents)}", [], late))
                if source.path[0] not in members:
                    members.append(source.path[0])
        return documents

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
            "DroppedAttributes": lambda: f"toUInt32OrZero({self._slot(_DROPPED)})",
            "Hints": self._hint_map,
        }
        if column.name in special:
            return special[column.name]()
        if column.reading == "raw":
            return _RAW[column.name]
        text = self._text(self.table.fields[column.field])
        match column.reading:
            case "name":
                return f"CAST({self._agent_name(text)}, 'String')"
            case "enum":
                return f"toLowCardinality({text})"
            case "uint":
                return _uint(text)
            case "uint32":
                return f"accurateCastOrNull({_uint(text)}, 'UInt32')"
            case "float":
                return f"toFloat64OrNull({text})"
            case "list":
                return (
                    f"if(startsWith({text}, '['), JSONExtract({text}, 'Array(String)'), if({text} = '', [], [{text}]))"
                )
            case _:
                return text

    def _dialect(self) -> str:
        names = _strings(dialect.id for dialect in self.table.dialects)
        return f"toLowCardinality(if(bits = 0, '', {names}[toUInt8(log2(bits)) + 1]))"

    def _kind(self) -> str:
        """A tool whose name says that it moves control is a handoff."""
        tool = self._text(self.table.fields["tool.name"])
        anywhere = "|".join(f"(?:{_re2(t.pattern)})" for t in self.table.transfer_tools if not t.framework)
        moves = [f"match(toLowCardinality({tool}), {_string(anywhere)})"]
        for only in self.table.transfer_tools:
            if only.framework:
                moves.append(
                    f"framework = {_string(only.framework)} AND match(toLowCardinality({tool}), {_string(_re2(only.pattern))})"
                )
        number = f"if(kind = {self.kinds['tool']} AND ({' OR '.join(f'({move})' for move in moves)}), {self.kinds['handoff']}, kind)"
        return f"toLowCardinality({_strings(self.table.kinds)}[{number} + 1])"

    def _provider(self) -> str:
        """The first value that is a provider and not a framework; `openai.chat` is `openai`."""
        arms = []
        for source in self.table.fields["provider"]:
            value = f"lower(toLowCardinality({self._one(source)}))"
            known = {**self.table.provider_aliases, **dict.fromkeys(self.table.frameworks_not_providers, "")}
            head = f"extract({value}, '^([^.]*)[.]')"
            told = _transform(value, known, _transform(head, self.table.provider_aliases, value))
            arms.append(f"{' AND '.join([*self._when(source.when), f'{told} != {_EMPTY}'])}, {told}")
        return f"toLowCardinality(multiIf({', '.join(arms)}, ''))"

    def _input_tokens(self) -> str:
        """Cached tokens are a part of the input; whoever counts them apart gets them added."""
        told, read, written = (
            _uint(self._text(self.table.fields[field]))
            for field in ("tokens.input", "tokens.cache_read", "tokens.cache_write")
        )
        cached = f"(ifNull({read}, 0) + ifNull({written}, 0))"
        apart = [
            f"({cached} > {told})",
            *(f"({self._text([source])} != '')" for source in self.table.input_excludes_cache),
        ]
        return f"CAST(if({' OR '.join(apart)}, {told} + {cached}, {told}), 'Nullable(UInt64)')"

    def _exception_types(self) -> str:
        return (
            "if(has(event_names, 'exception'), arrayMap(a -> a['exception.type'], "
            "arrayFilter((a, n) -> n = 'exception', event_attributes, event_names)), [])"
        )

    def _link_types(self) -> str:
        arms = ", ".join(f"a[{_string(key)}] != '', a[{_string(key)}]" for key in self.table.link_type_keys)
        return f"if(empty(link_attributes), [], arrayMap(a -> multiIf({arms}, ''), link_attributes))"

    def _agent_name(self, text: str) -> str:
        name = f"extract(toLowCardinality({text}), {_string(self.table.agent_name_pattern)})"
        return f"if({name} IN ({', '.join(map(_string, self.table.agent_name_deny))}), '', {name})"

    # -- sources and conditions ----------------------------------------------------------------------------------------

    def _text(self, sources: Sequence[Source]) -> str:
        """The first source that says something, as text."""
        arms: list[tuple[list[str], str]] = []
        for run in _runs(sources):
            if isinstance(run, Source):
                arms.append((self._when(run.when), self._one(run)))
            else:
                arms += [([], slot) for slot in dict.fromkeys(map(self._slot, run))]
        if len(arms) == 1 and not arms[0][0]:
            return arms[0][1]
        if not arms:
            return "''"
        *others, (conditions, last) = arms
        tail = f"if({' AND '.join(conditions)}, {last}, '')" if conditions else last
        parts = [f"{' AND '.join([*conditions, f'{value} != {_EMPTY}'])}, {value}" for conditions, value in others]
        return f"multiIf({', '.join([*parts, tail])})" if parts else tail

    def _one(self, source: Source) -> str:
        value = self._value(source)
        if not source.match:
            return value
        value = value if source.origin == "name" else f"toLowCardinality({value})"
        return f"CAST(extract({value}, {_string('(?s)' + source.match)}), 'String')"

    def _value(self, source: Source) -> str:
        match source.origin:
            case "attribute":
                return self._slot(source.key)
            case "json":
                return self._json(source)
            case "prefix":
                return self._flattened(source.key)
            case "event":
                name = _string(source.events[0])
                found = f"event_attributes[arrayLastIndex(n -> n = {name}, event_names)][{_string(source.key)}]"
                return f"if(has(event_names, {name}), {found}, '')"
            case "events":
                return self._event_list(source.events)
            case "name":
                return "SpanName"
            case "status":
                return "StatusMessage"
            case "resource":
                return f"resource[{_string(source.key)}]"
            case _:
                return self._hint(source.key)

    def _json(self, source: Source) -> str:
        slot = self._slot(source.key)
        if not source.path:
            return f"if({slot} = '', '', JSONExtractString({slot}))"
        if len(source.path) == 1 and isinstance(source.path[0], str):
            return f"tupleElement({self._document_of[source.key, source.when][0]}, {_string(source.path[0])})"
        path = ", ".join(str(part + 1) if isinstance(part, int) else _string(part) for part in source.path)
        opening = "[" if isinstance(source.path[0], int) else "{"
        return f"if(startsWith({slot}, '{opening}'), JSONExtractString({slot}, {path}), '')"

    @cached_property
    def _prefixes(self) -> Mapping[str, int]:
        return {
            key: n for n, key in enumerate(sorted({s.key for s in self._sources() if s.origin == "prefix"}), start=1)
        }

    def _flattened(self, prefix: str) -> str:
        """`prefix0.a`, `prefix1.a` … as one JSON object, in the order of the keys."""
        n = self._prefixes[prefix]
        keys = (
            f"arrayMap(k -> substring(k, {len(prefix.encode()) + 1}), arrayFilter((k, p) -> p = {n}, keys, prefixes))"
        )
        values = f"arrayFilter((v, p) -> p = {n}, vals, prefixes)"
        return f"if(has(prefixes, {n}), toJSONString(mapFromArrays(CAST({keys}, 'Array(String)'), {values})), '')"

    def _event_list(self, events: Sequence[str]) -> str:
        names = f"[{', '.join(map(_string, events))}]"
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
            conditions.append(f"bitAnd(bits, {self.bits[when.dialect]}) != 0")
        if when.kinds:
            conditions.append(f"kind IN ({', '.join(str(self.kinds[kind]) for kind in when.kinds)})")
        if when.kinds_not:
            conditions.append(f"kind NOT IN ({', '.join(str(self.kinds[kind]) for kind in when.kinds_not)})")
        if when.scopes:
            conditions.append(f"scope IN ({', '.join(map(_string, when.scopes))})")
        if when.attribute:
            slot = self._slot(when.attribute)
            conditions.append(f"{slot} = {_string(when.equals)}" if when.equals else f"{slot} != ''")
        return conditions

    def _all(self, clauses: Sequence[Clause]) -> str:
        return " AND ".join(map(self._clause, clauses))

    def _clause(self, clause: Clause) -> str:
        match clause.test:
            case "attr":
                return f"{self._slot(clause.key)} != ''"
            case "no_attr":
                return f"{self._slot(clause.key)} = ''"
            case "attr_equals":
                return f"{self._slot(clause.key)} = {_string(clause.value)}"
            case "attr_prefix":
                return f"arrayExists(k -> startsWith(k, {_string(clause.key)}), keys)"
            case "scope":
                return f"scope = {_string(clause.value)}"
            case "scope_prefix":
                return f"startsWith(scope, {_string(clause.value)})"
            case "scope_match":
                return f"match(scope, {_string('(?s)' + clause.value)})"
            case "name_match":
                return f"match(SpanName, {_string('(?s)' + clause.value)})"
            case "event":
                return f"has(event_names, {_string(clause.value)})"
            case "span_kind":
                return f"SpanKind = {_string(clause.value)}"
            case _:
                one, other = map(self._one, clause.sources)
                both = f"({one} != '' AND {one} = {other})"
                return both if clause.test == "same" else f"NOT {both}"

    def _is_empty(self, value: str) -> str:
        return " OR ".join(f"{value} = {_string(text)}" for text in self.table.empty)


def _plain(source: Source) -> bool:
    return source.origin == "attribute" and not source.match and source.when is None


def _runs(sources: Sequence[Source]) -> list[Source | tuple[str, ...]]:
    """Neighbouring plain attributes as one list of keys, everything else by itself."""
    result: list[Source | tuple[str, ...]] = []
    for source in sources:
        if not _plain(source):
            result.append(source)
        elif result and isinstance(result[-1], tuple):
            result[-1] = (*result[-1], source.key)
        else:
            result.append((source.key,))
    return result


def _plain_runs(sources: Sequence[Source], *, apart: bool) -> list[tuple[str, ...]]:
    if apart:
        return [(source.key,) for source in sources if _plain(source)]
    return [run for run in _runs(sources) if isinstance(run, tuple)]


_EMPTY = "''"


def _uint(text: str) -> str:
    """Whole numbers, also written as a float."""
    return f"ifNull(toUInt64OrNull({text}), accurateCastOrNull(toFloat64OrNull({text}), 'UInt64'))"


def _any_bits(terms: Sequence[str]) -> str:
    result = terms[0]
    for term in terms[1:]:
        result = f"bitOr({result}, {term})"
    return result


def _transform(value: str, table: Mapping[str, str], otherwise: str) -> str:
    return f"transform({value}, {_strings(table)}, {_strings(table.values())}, {otherwise})"


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
