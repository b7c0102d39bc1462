"""Dialects → one ClickHouse SELECT that fills `agent_spans` from `otel_traces`.

The engine plans this statement at every insert, and planning costs by the function and by the column. So what could be
a function for each rule is a number in an array of constants, and the span is a handful of arrays:

    keys      the span's attributes, the numbers of their keys; bits of the dialects that keys, scope and events tell
    known     the attributes that say something, as numbers and texts; those of the last event of each name
    members   members of JSON attributes and flattened lists, as numbers and texts too
    words     what the elementary tests of rules (`flags`) say, a bit each, set where something is missing
    bits      all dialects of the span; the kinds that its attributes name
    kinds     the canonical kind
    wanted    the JSON attributes that are worth opening on a span of this kind
    values    sources that are more than a number: patterns, paths, lists of events
    found     everything found, as codes: field, rank among its sources, condition
    sorted    what is left when conditions are looked at, sorted: a field's value is at the first of its codes
    outside   the columns of `agent_spans`

A rule holds where no bit of its masks is missing: one comparison over arrays of constants decides all rules. Nothing is
captured in a lambda that is not small: the engine copies what is captured once an element.
"""

from __future__ import annotations

from collections.abc import Iterator

from maslens.semconv.dialects.clickhouse import (
    every,
    first_of,
    numbers,
    re2,
    some,
    string,
    strings,
    worded,
)
from maslens.semconv.dialects.columns import AGENT_SPAN_COLUMNS, Column
from maslens.semconv.dialects.dialect_table import TABLE
from maslens.semconv.dialects.expressions import hint_column, text_column
from maslens.semconv.dialects.keys import DROPPED_ATTRIBUTES
from maslens.semconv.dialects.layers import Layers

_RAW = {
    "ScopeName": "scope",
    "LinkTraceIds": "link_traces",
    "LinkSpanIds": "link_spans",
    "EventNames": "CAST(event_names, 'Array(String)')",
}


def agent_spans_select(source: str = "otel_traces") -> str:
    """The SELECT that yields `AGENT_SPAN_COLUMNS`, in their order, from a table like the Collector exporter's."""
    return _Columns(TABLE).select(source)


class _Columns(Layers):
    def select(self, source: str) -> str:
        columns = [f"{self._column(column)} AS {column.name}" for column in AGENT_SPAN_COLUMNS]
        inner = source
        for layer in self.layers:
            passed = "" if inner == source else "*,\n    "
            text = ",\n    ".join(layer)
            inner = f"(\nSELECT\n    {passed}{text}\nFROM {inner}\n)"
        names = ",\n    ".join([*self._names()])
        text = ",\n    ".join(columns)
        return f"WITH\n    {names}\nSELECT\n    {text}\nFROM {inner}"

    def _names(self) -> Iterator[str]:
        """What several columns are made from."""
        for field in self.table.fields:
            if field != "provider":
                yield f"{self.text(field)} AS {text_column(field)}"
        for n, framework in enumerate(self.frameworks_told()):
            yield f"{framework} AS f{n}"

    def _column(self, column: Column) -> str:
        special = {
            "Dialect": self._dialect,
            "Framework": self._framework,
            "Kind": self._kind,
            "Provider": self._provider,
            "InputTokens": self._input_tokens,
            "OutputTokens": self._output_tokens,
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
                return f"if(match({text}, {string('^(?:' + self.table.transient_id_pattern + ')$')}), '', {text})"
            case "enum":
                return f"toLowCardinality({text})"
            case "uint":
                return self.whole_number(column.field)
            case "uint32":
                return f"accurateCastOrNull({self.whole_number(column.field)}, 'UInt32')"
            case "float":
                number = f"toFloat64OrNull({text})"
                return f"if(isFinite(ifNull({number}, 0)), {number}, NULL)"
            case "list":
                listed = f"startsWith({text}, '[')"
                return (
                    f"arrayFilter(x -> x != '', "
                    f"if({listed}, JSONExtract(if({listed}, {text}, ''), 'Array(String)'), [{text}]))"
                )
            case _:
                return text

    def _text(self, field: str) -> str:
        return text_column(field)

    def _dialect(self) -> str:
        names = strings(dialect.id for dialect in self.table.dialects)
        return f"toLowCardinality(if(bits = 0, '', {names}[toUInt8(log2(greatest(bits, 1))) + 1]))"

    def _kind(self) -> str:
        """A tool whose name says that it moves control is a handoff."""
        tool = f"toLowCardinality({self._text('tool.name')})"
        anywhere = "|".join(f"(?:{re2(t.pattern)})" for t in self.table.transfer_tools if not t.framework)
        moves = [
            f"match({tool}, {string(anywhere)})",
            *(
                every([f"Framework = {string(t.framework)}", f"match({tool}, {string(re2(t.pattern))})"])
                for t in self.table.transfer_tools
                if t.framework
            ),
        ]
        moved = every([f"kind = {self.kinds['tool']}", some(moves)])
        return f"toLowCardinality({strings(self.table.kinds)}[if({moved}, {self.kinds['handoff']}, kind) + 1])"

    def _framework(self) -> str:
        hints = [f"{hint_column(hint)} != '', {string(name)}" for hint, name in self.table.framework_hints.items()]
        names = [f"f{n} != '', f{n}" for n in range(len(self.frameworks_told()))]
        return f"toLowCardinality(multiIf({', '.join([*hints, *names])}, ''))"

    def _provider(self) -> str:
        """The first that is no framework, by the name that is known for it; `openai.chat` is `openai`."""
        said = f"arrayFilter((v, n) -> n = {self.field_numbers['provider']}, texts, fields)"
        frameworks = ", ".join(map(string, self.table.frameworks_not_providers))
        name = f"toLowCardinality(arrayFirst(v -> v NOT IN ({frameworks}), arrayMap(v -> lower(v), {said})))"
        aliases = worded(self.table.provider_aliases)
        head = f"transform(substringIndex({name}, '.', 1), {aliases}, {name})"
        return f"toLowCardinality(transform({name}, {aliases}, {head}))"

    def _input_tokens(self) -> str:
        """Cached tokens are a part of the input; whoever counts them apart gets them added."""
        told, read, written = (self.whole_number(f"tokens.{part}") for part in ("input", "cache_read", "cache_write"))
        cached = f"(ifNull({read}, 0) + ifNull({written}, 0))"
        apart = some(
            [f"ifNull({cached} > {told}, 0)", *(f"{self.value(s)} != ''" for s in self.table.input_excludes_cache)]
        )
        return f"CAST(if({apart}, {told} + {cached}, {told}), 'Nullable(UInt64)')"

    def _output_tokens(self) -> str:
        """Reasoning tokens are a part of the output; whoever counts them apart gets them added."""
        told, thought = (self.whole_number(f"tokens.{part}") for part in ("output", "reasoning"))
        apart = some([f"{self.value(s)} != ''" for s in self.table.output_excludes_reasoning])
        return f"CAST(if({apart}, {told} + ifNull({thought}, 0), {told}), 'Nullable(UInt64)')"

    def _dropped_attributes(self) -> str:
        return f"toUInt32OrZero({self.attribute(DROPPED_ATTRIBUTES)})"

    def _exception_types(self) -> str:
        exceptions = "arrayFilter((a, n) -> n = 'exception', event_attributes, event_names)"
        return f"arrayMap(a -> a['exception.type'], {exceptions})"

    def _link_types(self) -> str:
        arms: list[tuple[list[str], str]] = [([], f"a[{string(key)}]") for key in self.table.link_type_keys]
        return f"arrayMap(a -> {first_of(arms)}, link_attributes)"

    def _hint_map(self) -> str:
        """All hints of the span; of two values for one name the one preferred by the dialects' order."""
        first = f"n >= {self.first_hint} AND u = 1"
        hints = {name: number for number, name in enumerate(self.table.hints, start=self.first_hint)}
        names = f"transform(n, {numbers(hints.values(), 'UInt8')}, {strings(hints)}, '')"
        found = f"arrayFilter((n, u) -> {first}, fields, arrayEnumerateUniq(fields))"
        return (
            f"mapFromArrays(CAST(arrayMap(n -> {names}, {found}), 'Array(LowCardinality(String))'), "
            f"arrayFilter((v, n, u) -> {first}, texts, fields, arrayEnumerateUniq(fields)))"
        )

    def _agent_name(self, text: str) -> str:
        name = f"extract(toLowCardinality({text}), {string(self.table.agent_name_pattern)})"
        known = {**dict.fromkeys(self.table.agent_name_deny, ""), **self.table.agent_name_aliases}
        return f"transform({name}, {worded(known)}, {name})"
