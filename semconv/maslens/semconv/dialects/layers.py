"""The inner layers of the SELECT: what each gives a name to, in order. `sql` says why there are layers."""

from __future__ import annotations

from collections import Counter
from functools import cached_property

from maslens.semconv.dialects.clickhouse import (
    coded,
    every,
    numbered,
    quote,
    some,
    string,
    strings,
    worded,
)
from maslens.semconv.dialects.expressions import Expressions, hint_column, needs_kind, text_column
from maslens.semconv.dialects.model import KindValues, Source
from maslens.semconv.dialects.slots import EARLY_TESTS, is_plain, late_detections

_NO_KIND = 255


class Layers(Expressions):
    @cached_property
    def layers(self) -> list[list[str]]:
        return [
            self._found(),
            self._places(),
            self._slots(),
            self._told(),
            self._kinds(),
            self._values(),
            self._texts(),
        ]

    # -- layer `found` -------------------------------------------------------------------------------------------------

    def _found(self) -> list[str]:
        coded_keys = coded("keys", {key: slot << 6 | rank for key, (slot, rank) in self.slots.items()})
        numbered_keys = f"arrayMap((c, t, p) -> c * t * 65536 + p, {coded_keys}, told, arrayEnumerate(keys))"
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
            "mapValues(SpanAttributes) AS vals",
            f"arrayMap(v -> v NOT IN ({', '.join(map(string, self.table.empty))}), vals) AS told",
            f"arraySort(arrayFilter(x -> x >= 65536, {numbered_keys})) AS found",
            f"arrayMap((c, t) -> toUInt16(c * t), {self._hint_codes()}, told) AS hint_codes",
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
                    terms.append(f"toUInt32({self.clause(clause)} * {bit})")
        by_key = (
            f"bitOr(transform(k, {numbered(exact)}, 0::UInt32), "
            f"transform(substringIndex(k, '.', 1), {numbered(spaces)}, 0::UInt32))"
        )
        terms.append(f"transform(scope, {numbered(scopes)}, 0::UInt32)")
        terms.append(f"arrayReduce('groupBitOr', arrayMap(k -> {by_key}, keys))")
        return some(terms)

    # -- layer `places` ------------------------------------------------------------------------------------------------

    def _places(self) -> list[str]:
        told = "arrayFilter(c -> c != 0, hint_codes)"
        return [
            "arrayMap(x -> toUInt16(bitShiftRight(x, 22)), found) AS slots",
            "arrayMap(x -> toUInt16(x), found) AS places",
            "arrayFilter(g -> g != 0, grouped) AS groups",
            "arrayFilter((k, g) -> g != 0, keys, grouped) AS group_keys",
            "arrayFilter((v, g) -> g != 0, vals, grouped) AS group_vals",
            f"arraySort({told}) AS hint_found",
            f"arraySort((v, c) -> c, arrayFilter((v, c) -> c != 0, vals, hint_codes), {told}) AS hint_values",
        ]

    # -- layer `slots` -------------------------------------------------------------------------------------------------

    def _slots(self) -> list[str]:
        names = list(self.table.hints)
        return [
            *(f"vals[places[indexOf(slots, {n})]] AS s{n}" for n in sorted({slot for slot, _ in self.slots.values()})),
            f"arrayMap(c -> {strings(names)}[bitShiftRight(c, 4)], hint_found) AS hint_names",
        ]

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
        return coded("keys", codes)

    # -- layer `told` --------------------------------------------------------------------------------------------------

    def _told(self) -> list[str]:
        late = [
            f"toUInt32({every([self.clause(clause) for clause in clauses])} * {self.bits[dialect]})"
            for dialect, clauses in late_detections(self.table)
        ]
        return [
            f"{some(['early_bits', *late])} AS bits",
            *self._documents(kinds_known=False),
            *(f"{self.first(self.table.hints[hint])} AS {hint_column(hint)}" for hint in sorted(self.asked_hints)),
            *(f"{self._kind_told(step)} AS k{n}" for n, step in enumerate(self._kind_values)),
            *(f"{self._provider_told(source)} AS p{n}" for n, source in enumerate(self.table.fields["provider"])),
            *(f"{framework} AS f{n}" for n, framework in enumerate(self._frameworks_told)),
        ]

    @cached_property
    def _kind_values(self) -> list[KindValues]:
        return [step for step in self.table.kind_steps if isinstance(step, KindValues)]

    def _kind_told(self, step: KindValues) -> str:
        numbers = {value: self.kinds[kind] for value, kind in step.kinds.items()}
        return f"transform({self.slot(step.attribute)}, {numbered(numbers, 'UInt8')}, {_NO_KIND}::UInt8)"

    def _provider_told(self, source: Source) -> str:
        """What the source calls a provider, unless it is a framework."""
        value = f"lower(toLowCardinality({self.value(source)}))"
        return f"transform({value}, {worded(dict.fromkeys(self.table.frameworks_not_providers, ''))}, {value})"

    @cached_property
    def _frameworks_told(self) -> list[str]:
        scopes = self.table.framework_scopes
        exact = {scope: framework for scope, framework in scopes.items() if not scope.endswith("*")}
        starts = {scope[:-1]: framework for scope, framework in scopes.items() if scope.endswith("*")}
        pattern = "^(" + "|".join(map(quote, starts)) + ")"
        told = [source for source in self.table.fields["provider"] if is_plain(source)]
        frameworks = worded(self.table.frameworks_not_providers)
        return [
            f"transform(SpanName, {worded(self.table.framework_names)}, '')",
            f"transform(scope, {worded(exact)}, '')",
            f"transform(extract(scope, {string(pattern)}), {worded(starts)}, '')",
            *(f"transform(lower(toLowCardinality({self.slot(source.key)})), {frameworks}, '')" for source in told),
        ]

    def _documents(self, *, kinds_known: bool) -> list[str]:
        """JSON attributes of which members are asked for, opened once as a tuple of texts."""
        columns = []
        for (key, when), (name, members) in self.document_of.items():
            if needs_kind(when) == kinds_known:
                opened = every([f"startsWith({self.slot(key)}, '{{')", *self.when(when)])
                shape = ", ".join(f"`{member}` String" for member in members)
                columns.append(f"JSONExtract(if({opened}, {self.slot(key)}, ''), 'Tuple({shape})') AS {name}")
        return columns

    # -- layer `kinds` -------------------------------------------------------------------------------------------------

    def _kinds(self) -> list[str]:
        arms = []
        for step in self.table.kind_steps:
            if isinstance(step, KindValues):
                told = f"k{self._kind_values.index(step)}"
                arms.append(f"{told} != {_NO_KIND}, {told}")
            else:
                own = f"bitTest(bits, {self.bits[step.dialect].bit_length() - 1})"
                arms.append(f"{every([own, *map(self.clause, step.clauses)])}, {self.kinds[step.kind]}")
        hints = [f"{hint_column(hint)} != '', {string(name)}" for hint, name in self.table.framework_hints.items()]
        names = [f"f{n} != '', f{n}" for n in range(len(self._frameworks_told))]
        return [
            f"multiIf({', '.join(arms)}, {self.kinds['other']})::UInt8 AS kind",
            f"toLowCardinality(multiIf({', '.join([*hints, *names])}, '')) AS framework",
        ]

    # -- layer `values` ------------------------------------------------------------------------------------------------

    def _values(self) -> list[str]:
        named = [f"{self.value(source)} AS {name}" for source, name in self.value_names.items()]
        conditions = [f"{every(self.when(when))} AS {name}" for when, name in self.condition_names.items()]
        return [*self._documents(kinds_known=True), *named, *conditions]

    # -- layer `texts` -------------------------------------------------------------------------------------------------

    def _texts(self) -> list[str]:
        fields = (field for field in self.table.fields if field != "provider")
        return [f"{self.first(self.table.fields[field], named=True)} AS {text_column(field)}" for field in fields]
