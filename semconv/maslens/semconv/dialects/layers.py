"""The inner layers of the SELECT: what each gives a name to, in order. `sql` says why there are layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from maslens.semconv.dialects.clickhouse import coded, numbered, numbers, quote, some, string, strings, unsigned, worded
from maslens.semconv.dialects.columns import AGENT_SPAN_COLUMNS
from maslens.semconv.dialects.expressions import Expressions, bare, hint_column, is_member
from maslens.semconv.dialects.flags import Family, Flag, Flags, holding, missing
from maslens.semconv.dialects.keys import EARLY_TESTS, all_sources, is_plain, late_detections
from maslens.semconv.dialects.model import Clause, KindRule, KindValues, When

_BYTE = 255


class Layers(Expressions):
    @cached_property
    def layers(self) -> list[list[str]]:
        return [
            self._keys(),
            self._known(),
            self._members(),
            self._words(),
            self._bits(),
            self._kinds(),
            self._wanted(),
            self._values(),
            self._found(),
            self._sorted(),
        ]

    # -- layers `keys` and `known` -------------------------------------------------------------------------------------

    def _keys(self) -> list[str]:
        return [
            "Timestamp, Duration, TraceId, SpanId, ParentSpanId, ServiceName, SpanName, SpanKind",
            "StatusCode, StatusMessage",
            "CAST(SpanName, 'String') AS span_name",
            "ResourceAttributes AS resource",
            "toLowCardinality(ScopeName) AS scope",
            "Events.Name AS event_names",
            "Events.Attributes AS event_attributes",
            "Links.TraceId AS link_traces",
            "Links.SpanId AS link_spans",
            "Links.Attributes AS link_attributes",
            "mapKeys(SpanAttributes) AS keys",
            "mapValues(SpanAttributes) AS all_vals",
            f"{coded('keys', self.numbers, 'UInt16')} AS numbers",
            f"{self._groups()} AS grouped",
            f"{self._early_bits()} AS early_bits",
        ]

    def _groups(self) -> str:
        return (
            f"arrayMap(k -> transform(substringIndex(k, '.', 2), {numbered(self.group_of, 'UInt8')}, 0::UInt8), keys)"
        )

    def _early_bits(self) -> str:
        """Dialects told by the scope, by the presence of a key or by an event."""
        exact: Counter[str] = Counter()
        spaces: Counter[str] = Counter()
        scopes: Counter[str] = Counter()
        events: Counter[str] = Counter()
        others: list[tuple[str, int]] = []
        for dialect in self.table.dialects:
            bit = self.bits[dialect.id]
            for clauses in dialect.detect:
                clause = clauses[0]
                if len(clauses) > 1 or clause.test not in EARLY_TESTS:
                    continue
                told = {"attr": exact, "namespace": spaces, "scope": scopes, "event": events}.get(clause.test)
                if told is None:
                    others.append((self.test(clause), bit))
                else:
                    told[clause.key if clause.test in ("attr", "namespace") else clause.value] |= bit
        by_key = (
            f"bitOr(transform(k, {numbered(exact)}, 0::UInt32), "
            f"transform(substringIndex(k, '.', 1), {numbered(spaces)}, 0::UInt32))"
        )
        tests = ", ".join(test for test, _ in others)
        bits = numbers(bit for _, bit in others)
        return some(
            [
                f"transform(scope, {numbered(scopes)}, 0::UInt32)",
                f"arrayReduce('groupBitOr', arrayMap(e -> transform(e, {numbered(events)}, 0::UInt32), event_names))",
                f"arrayReduce('groupBitOr', arrayMap((t, b) -> toUInt32(t * b), [{tests}]::Array(UInt8), {bits}))",
                f"arrayReduce('groupBitOr', arrayMap(k -> {by_key}, keys))",
            ]
        )

    def _known(self) -> list[str]:
        empty = ", ".join(map(string, self.table.empty))
        return [
            f"arrayMap((n, v) -> toUInt16(n * (v NOT IN ({empty}))), numbers, all_vals) AS told",
            "arrayFilter(n -> n != 0, told) AS known",
            "arrayFilter((v, n) -> n != 0, all_vals, told) AS vals",
            "arrayFilter(g -> g != 0, grouped) AS groups",
            "arrayFilter((k, g) -> g != 0, keys, grouped) AS group_keys",
            "arrayFilter((v, g) -> g != 0, all_vals, grouped) AS group_vals",
            *self._events(),
        ]

    def _events(self) -> list[str]:
        """The attributes of the last event of each name that is asked for."""
        asked = {f"{event}@{key}": number for (event, key), number in self.parts_of("event").items()}
        names = strings(dict.fromkeys(event for event, _ in self.parts_of("event")))
        last = f"(has({names}, n) AND u = 1)"
        names_, attributes = "arrayReverse(event_names)", "arrayReverse(event_attributes)"
        first = f"arrayEnumerateUniq({names_})"
        number = f"transform(concat(n, '@', k), {numbered(asked, 'UInt16')}, 0::UInt16)"
        parts = f"arrayMap((n, a) -> arrayMap(k -> {number}, mapKeys(a)), last_names, last_attributes)"
        return [
            f"arrayFilter((n, u) -> {last}, {names_}, {first}) AS last_names",
            f"arrayFilter((a, n, u) -> {last}, {attributes}, {names_}, {first}) AS last_attributes",
            f"arrayFlatten({parts}) AS event_parts",
            "arrayFlatten(arrayMap(a -> mapValues(a), last_attributes)) AS event_texts",
        ]

    # -- layer `members` -----------------------------------------------------------------------------------------------

    def _members(self) -> list[str]:
        """Members of JSON attributes that are wanted whatever the span is, and prefixes as one JSON object each."""
        lengths = {number: len(prefix) + 2 for prefix, number in self.group_of.items()}
        cut = f"transform(g, {numbers(lengths, 'UInt8')}, {numbers(lengths.values(), 'UInt8')}, 0::UInt8)"
        keys = f"arrayMap(k -> substring(k, {cut}), arrayFilter((k, h) -> h = g, group_keys, groups))"
        whole = {self.group_of[prefix]: number for (prefix, _), number in self.parts_of("prefix").items()}
        values = "arrayFilter((v, h) -> h = g, group_vals, groups)"
        object_ = f"toJSONString(mapFromArrays(CAST({keys}, 'Array(String)'), {values}))"
        part = f"transform(g, {numbers(whole, 'UInt8')}, {numbers(whole.values(), 'UInt16')}, 0::UInt16)"
        return [
            *self._documents("members", "member_texts", f"n IN ({', '.join(map(str, self._wanted_always))})"),
            f"arrayMap(g -> {part}, arrayDistinct(groups)) AS group_parts",
            f"arrayMap(g -> {object_}, arrayDistinct(groups)) AS group_texts",
        ]

    def _documents(self, parts: str, texts: str, wanted: str) -> list[str]:
        """The members of JSON attributes that are asked for, as numbers and texts side by side."""
        asked = {f"{self.numbers[key]}.{member}": n for (key, member), n in self.parts_of("json").items()}
        opened = f"({wanted} AND startsWith(v, '{{'))"
        texts_ = f"arrayFilter((v, n) -> {opened}, vals, known)"
        number = f"transform(concat(toString(n), '.', m.1), {numbered(asked, 'UInt16')}, 0::UInt16)"
        return [
            f"arrayFilter((n, v) -> {opened}, known, vals) AS {parts}_of",
            f"arrayMap(v -> JSONExtractKeysAndValues(v, 'String'), {texts_}) AS {parts}_told",
            f"arrayFlatten(arrayMap((n, d) -> arrayMap(m -> {number}, d), {parts}_of, {parts}_told)) AS {parts}",
            f"arrayFlatten(arrayMap(d -> d.2, {parts}_told)) AS {texts}",
        ]

    @cached_property
    def _json_asked(self) -> Mapping[int, list[When | None]]:
        """Number of a JSON attribute that is looked into → when that is wanted."""
        asked: dict[int, list[When | None]] = {}
        for source in all_sources(self.table):
            if source.origin == "json" and source.path:
                asked.setdefault(self.numbers[source.key], []).append(source.when)
        return asked

    @property
    def _wanted_always(self) -> list[int]:
        return [
            self.numbers[key]
            for key in dict.fromkeys(s.key for s in all_sources(self.table) if s.origin == "json" and is_member(s))
            if None in self._json_asked[self.numbers[key]]
        ]

    # -- layer `words` -------------------------------------------------------------------------------------------------

    def _words(self) -> list[str]:
        pairs = f"n IN ({', '.join(map(str, sorted(self._paired_keys)))})"
        keys, values = f"arrayFilter(n -> {pairs}, known)", f"arrayFilter((v, n) -> {pairs}, vals, known)"
        return [
            f"arrayMap((n, v) -> concat(toString(n), '=', v), {keys}, {values}) AS pairs",
            *(f"{self.first(self.table.hints[hint])} AS {hint_column(hint)}" for hint in sorted(self.asked_hints)),
            *(f"bitNot({some(list(self._word(word)))}) AS missing{word}" for word in self.flags.words),
        ]

    @cached_property
    def _paired_keys(self) -> set[int]:
        """Numbers of the keys whose values are compared with constants."""
        compared = [pair for flag in self.flags.place if flag.family == "value" for pair in flag.told_by]
        return {
            *(self.numbers[step.attribute] for step in self.table.kind_steps if isinstance(step, KindValues)),
            *(int(pair.partition("=")[0]) for pair in compared),
        }

    def _pair(self, key: str, value: str) -> str:
        return f"{self.numbers[key]}={value}"

    def _word(self, word: int) -> Iterator[str]:
        """What sets bits of the word, by the families of tests that have some in it."""
        for family in ("key", "value", "scope", "event", "other"):
            told = self.flags.told_by(family, word)
            if told:
                yield self._told(family, told)

    def _told(self, family: Family, told: Mapping[str, int]) -> str:
        if family == "other":
            return f"arraySum((t, m) -> t * m, [{', '.join(told)}]::Array(UInt8), {numbers(told.values(), 'UInt64')})"
        if family == "scope":
            return f"transform(scope, {numbered(told, 'UInt64')}, 0::UInt64)"
        masks = numbered(told, "UInt64")
        if family == "key":
            masks = f"{numbers((self.numbers[key] for key in told), 'UInt16')}, {numbers(told.values(), 'UInt64')}"
        listed = {"key": "known", "value": "pairs", "event": "event_names"}[family]
        return f"arrayReduce('groupBitOr', arrayMap(x -> transform(x, {masks}, 0::UInt64), {listed}))"

    @cached_property
    def flags(self) -> Flags:
        flags = Flags()
        flags.assign(flag for tested in self._tested for flag in tested)
        return flags

    @property
    def _tested(self) -> Iterator[list[Flag]]:
        for step in self.table.kind_steps:
            if isinstance(step, KindRule):
                yield [self._flag(clause) for clause in step.clauses]
        for _, clauses in late_detections(self.table):
            yield [self._flag(clause) for clause in clauses]
        for when in self.conditions:
            yield self._flags_of(when)

    def _flag(self, clause: Clause) -> Flag:
        match clause.test:
            case "attr":
                return Flag(family="key", told_by=(clause.key,))
            case "attr_equals":
                return self._equal(clause.key, clause.value)
            case "scope":
                return Flag(family="scope", told_by=(clause.value,))
            case "event":
                return Flag(family="event", told_by=(clause.value,))
            case _:
                return Flag(family="other", told_by=(self.test(clause),))

    def _equal(self, key: str, value: str) -> Flag:
        return Flag(family="value", told_by=(self._pair(key, value),))

    def _flags_of(self, when: When) -> list[Flag]:
        flags = []
        if when.scopes:
            flags.append(Flag(family="scope", told_by=when.scopes))
        if when.attribute and when.head:
            flags.append(Flag(family="other", told_by=(self.mentions(when.attribute, when.head),)))
        elif when.attribute and when.equals:
            flags.append(self._equal(when.attribute, when.equals))
        elif when.attribute:
            flags.append(Flag(family="key", told_by=(when.attribute,)))
        return flags

    def _masks(self, flags: Sequence[Flag]) -> dict[str, int]:
        return {f"missing{word}": mask for word, mask in self.flags.masks(flags).items()}

    # -- layers `bits` and `kind` --------------------------------------------------------------------------------------

    def _bits(self) -> list[str]:
        late = [
            (self.bits[dialect], self._masks([self._flag(clause) for clause in clauses]))
            for dialect, clauses in late_detections(self.table)
        ]
        steps: dict[str, int] = {}
        for n, step in enumerate(self.table.kind_steps):
            if isinstance(step, KindValues):
                for value, kind in step.kinds.items():
                    steps.setdefault(self._pair(step.attribute, value), n << 8 | self.kinds[kind])
        return [
            f"bitOr(early_bits, arrayReduce('groupBitOr', {holding('UInt32', late)})) AS bits",
            f"arrayMap(p -> transform(p, {numbered(steps, 'UInt16')}, {self._no_kind}::UInt16), pairs) AS steps_told",
        ]

    @property
    def _no_kind(self) -> int:
        return len(self.table.kind_steps) << 8 | self.kinds["other"]

    def _kinds(self) -> list[str]:
        """The kind that the first step says, by a rule or by an attribute's value: the least of step and kind."""
        rules = {
            n << 8 | self.kinds[step.kind]: (self.bits[step.dialect], self._masks(list(map(self._flag, step.clauses))))
            for n, step in enumerate(self.table.kind_steps)
            if isinstance(step, KindRule)
        }
        own = holding("UInt16", [(rule, {_MISSING_BITS: bit}) for rule, (bit, _) in rules.items()])
        told = f"arrayFilter(r -> {missing('r', {rule: masks for rule, (_, masks) in rules.items()})} = 0, {own})"
        steps = f"arrayConcat(steps_told, {told}, [{self._no_kind}::UInt16])"
        return [f"toUInt8(bitAnd(arrayMin({steps}), {_BYTE})) AS kind"]

    # -- layers `wanted` and `values` ------------------------------------------------------------------------------

    def _wanted(self) -> list[str]:
        """Which JSON attributes are worth opening on this span."""
        rules = [
            (number, self._masks_of(when) if when else {_MISSING_BITS: 0})
            for number, whens in self._json_asked.items()
            for when in ([None] if None in whens else dict.fromkeys(whens))
        ]
        return [f"{holding('UInt16', rules)} AS wanted"]

    def _masks_of(self, when: When) -> dict[str, int]:
        allowed = set(when.kinds or self.kinds) - set(when.kinds_not)
        return {
            _MISSING_BITS: self.bits[when.dialect] if when.dialect else 0,
            _KIND_BIT: sum(1 << number for kind, number in self.kinds.items() if kind not in allowed),
            **self._masks(self._flags_of(when)),
        }

    def _values(self) -> list[str]:
        named = [f"{self.value(source)} AS {name}" for source, name in self.value_names.items()]
        early = ", ".join(map(str, self._wanted_always))
        return [
            "arrayFilter(n -> has(wanted, n), known) AS json",
            "arrayFilter((v, n) -> has(wanted, n), vals, known) AS json_texts",
            *self._documents("late_members", "late_texts", f"has(wanted, n) AND n NOT IN ({early})"),
            *named,
        ]

    # -- layers `found` and `sorted` -----------------------------------------------------------------------------------
    #
    # A code is field, rank among the field's sources, place on the span (of the same key twice the first counts) and
    # condition, a byte each: sorted, a field's first code is the one that counts.

    @cached_property
    def field_numbers(self) -> Mapping[str, int]:
        """Fields, then hints, by number; hints start at `first_hint`."""
        names = [*self.table.fields, *(f"hint {name}" for name in self.table.hints)]
        if len(names) > _BYTE:
            raise ValueError(f"{len(names)} fields and hints; a code has room for {_BYTE}")
        return {name: number for number, name in enumerate(names, start=1)}

    @property
    def first_hint(self) -> int:
        return len(self.table.fields) + 1

    def code(self, field: int, rank: int, when: When | None) -> int:
        return field << 24 | rank << 16 | (self.conditions[when] if when else 0)

    @cached_property
    def _codes(self) -> list[dict[int, int]]:
        """Number → code; what is asked for twice has its second code in the second pass, and so on."""
        passes: list[dict[int, int]] = []
        for number, (_, sources) in enumerate(self.lists, start=1):
            for rank, source in enumerate(sources):
                if self.is_numbered(source):
                    asked = self.number(source)
                    free = next((codes for codes in passes if asked not in codes), None)
                    if free is None:
                        passes.append(free := {})
                    free[asked] = self.code(number, rank, source.when)
        return passes

    def _found(self) -> list[str]:
        values, codes = [], []
        for number, (_, sources) in enumerate(self.lists, start=1):
            for rank, source in enumerate(sources):
                if not self.is_numbered(source):
                    values.append(self.value_names[bare(source)])
                    codes.append(self.code(number, rank, source.when))
        found = [
            f"arrayMap(n -> transform(n, {numbers(c, 'UInt16')}, {numbers(c.values())}, 0::UInt32), all_known)"
            for c in self._codes
        ]
        names = [f"codes{n}" for n in range(len(found))]
        known = ", ".join(f"arrayFilter(c -> c != 0, {name})" for name in names)
        said = ", ".join(f"arrayFilter((v, c) -> c != 0, all_said, {name})" for name in names)
        others, other_codes = f"[{', '.join(values)}]", numbers(codes)
        return [
            "arrayConcat(known, event_parts, members, group_parts, late_members) AS all_known",
            "arrayConcat(vals, event_texts, member_texts, group_texts, late_texts) AS all_said",
            *(f"{codes_} AS {name}" for codes_, name in zip(found, names, strict=True)),
            f"arrayConcat({known}, arrayFilter((c, v) -> v != '', {other_codes}, {others})) AS found",
            f"arrayConcat({said}, arrayFilter(v -> v != '', {others})) AS found_texts",
        ]

    def _sorted(self) -> list[str]:
        lacking = missing(
            f"bitAnd(c, {_BYTE})", {number: self._masks_of(when) for when, number in self.conditions.items()}
        )
        counted = f"n IN ({', '.join(map(str, self.whole_numbers))})"
        place = f"least(n, {_BYTE}) * 256"
        counts = f"(c + {place}) * ({lacking} = 0) * (v != '')"
        kept = f"arrayMap((c, n, v) -> toUInt32({counts}), found, arrayEnumerate(found), found_texts)"
        sorted_ = (
            "arraySort((v, c) -> c, arrayFilter((v, c) -> c != 0, found_texts, kept), arrayFilter(c -> c != 0, kept))"
        )
        return [
            f"{kept} AS kept",
            "arraySort(arrayFilter(c -> c != 0, kept)) AS codes",
            "arrayMap(c -> toUInt8(bitShiftRight(c, 24)), codes) AS fields",
            f"{sorted_} AS texts",
            f"arrayFilter(n -> {counted}, fields) AS counted",
            f"arrayMap(v -> {unsigned('v')}, arrayFilter((v, n) -> {counted}, texts, fields)) AS counts",
        ]

    def text(self, field: str) -> str:
        return f"texts[indexOf(fields, {self.field_numbers[field]})]"

    # -- frameworks and numbers ----------------------------------------------------------------------------------------

    def frameworks_told(self) -> list[str]:
        """What may name the framework, the surest first."""
        scopes = self.table.framework_scopes
        exact = {scope: framework for scope, framework in scopes.items() if not scope.endswith("*")}
        starts = {scope[:-1]: framework for scope, framework in scopes.items() if scope.endswith("*")}
        pattern = "^(" + "|".join(map(quote, starts)) + ")"
        field = self.field_numbers["provider"]
        plain = [field << 8 | rank for rank, s in enumerate(self.table.fields["provider"]) if is_plain(s)]
        said = f"arrayFilter((v, c) -> bitShiftRight(c, 16) IN ({', '.join(map(str, plain))}), texts, codes)"
        frameworks = worded(self.table.frameworks_not_providers)
        return [
            f"transform(SpanName, {worded(self.table.framework_names)}, '')",
            f"transform(scope, {worded(exact)}, '')",
            f"transform(extract(scope, {string(pattern)}), {worded(starts)}, '')",
            f"arrayFirst(v -> v != '', arrayMap(v -> transform(lower(v), {frameworks}, ''), {said}))",
        ]

    @cached_property
    def whole_numbers(self) -> list[int]:
        """The fields that are whole numbers."""
        return [
            self.field_numbers[column.field]
            for column in AGENT_SPAN_COLUMNS
            if column.field and column.reading in ("uint", "uint32")
        ]

    def whole_number(self, field: str) -> str:
        return f"counts[indexOf(counted, {self.field_numbers[field]})]"


_MISSING_BITS = "bitNot(bits)"
_KIND_BIT = "bitShiftLeft(1::UInt64, kind)"
