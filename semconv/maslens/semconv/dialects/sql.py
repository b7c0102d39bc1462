"""Dialects → one ClickHouse SELECT that fills `agent_spans` from `otel_traces`.

Looking an attribute up in a Map scans its keys, and there are hundreds of keys to ask for. So all keys of a span are
translated once into the numbers of slots (a slot is a list of keys of which the first present one counts) and sorted; a
lookup is then an `indexOf` in a short array of integers. Patterns run on dictionaries (`LowCardinality`), and JSON is
opened once however many members are asked for.

The SELECT is nested. Each layer gives short names to what the next ones use often; ClickHouse would otherwise analyse
the same text again and again on every insert:

    found    the span's known keys as sorted numbers; bits of the dialects that keys, scope and events tell
    places   those numbers taken apart; the hints' values
    slots    one column a slot; the hints' names
    told     all bits; JSON documents; what each kind attribute, provider and framework name means
    kinds    the canonical kind and the framework
    values   every source that is not a plain attribute; every condition
    texts    one text a field
    outside  the columns of `agent_spans`

Conditions are joined with `bitAnd` and `bitOr`: a few hundred `AND` and `OR` take the query analyser a second, on every
insert. Branches are never lazy: a lazy branch is evaluated on filtered copies of its columns, all contents included,
which took three times as long as evaluating everything (see `ignore` below). What is expensive gets an empty text where
it is not wanted.
"""

from __future__ import annotations

from maslens.semconv.dialects.clickhouse import every, first_of, re2, some, string, strings, unsigned, worded
from maslens.semconv.dialects.columns import AGENT_SPAN_COLUMNS, Column
from maslens.semconv.dialects.dialect_table import TABLE
from maslens.semconv.dialects.expressions import text_column
from maslens.semconv.dialects.layers import Layers
from maslens.semconv.dialects.slots import DROPPED_ATTRIBUTES, is_plain

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
        text = ",\n    ".join(columns)
        return f"SELECT\n    {text}\nFROM {inner}"

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
                return f"if(match({text}, {string('^(?:' + self.table.transient_id_pattern + ')$')}), '', {text})"
            case "enum":
                return f"toLowCardinality({text})"
            case "uint":
                return unsigned(text)
            case "uint32":
                return f"accurateCastOrNull({unsigned(text)}, 'UInt32')"
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
                every([f"framework = {string(t.framework)}", f"match({tool}, {string(re2(t.pattern))})"])
                for t in self.table.transfer_tools
                if t.framework
            ),
        ]
        moved = every([f"kind = {self.kinds['tool']}", some(moves)])
        return f"toLowCardinality({strings(self.table.kinds)}[if({moved}, {self.kinds['handoff']}, kind) + 1])"

    def _provider(self) -> str:
        """The name that is known for it; `openai.chat` is `openai`."""
        told = [(self.condition(s.when), f"p{n}") for n, s in enumerate(self.table.fields["provider"])]
        name = f"toLowCardinality({first_of(told)})"
        aliases = worded(self.table.provider_aliases)
        head = f"transform(substringIndex({name}, '.', 1), {aliases}, {name})"
        return f"toLowCardinality(transform({name}, {aliases}, {head}))"

    def _input_tokens(self) -> str:
        """Cached tokens are a part of the input; whoever counts them apart gets them added."""
        told, read, written = (
            unsigned(self._text(f"tokens.{part}")) for part in ("input", "cache_read", "cache_write")
        )
        cached = f"(ifNull({read}, 0) + ifNull({written}, 0))"
        apart = some(
            [f"ifNull({cached} > {told}, 0)", *(f"{self.named(s)} != ''" for s in self.table.input_excludes_cache)]
        )
        return f"CAST(if({apart}, {told} + {cached}, {told}), 'Nullable(UInt64)')"

    def _dropped_attributes(self) -> str:
        """Besides, `ignore` makes an eager column of everything named, so that no branch evaluates it lazily."""
        named = [column.rsplit(" AS ", 1)[1] for layer in self.layers[1:] for column in layer]
        return f"CAST(toUInt32OrZero({self.slot(DROPPED_ATTRIBUTES)}) + ignore({', '.join(named)}), 'UInt32')"

    def _exception_types(self) -> str:
        exceptions = "arrayFilter((a, n) -> n = 'exception', event_attributes, event_names)"
        return f"arrayMap(a -> a['exception.type'], {exceptions})"

    def _link_types(self) -> str:
        arms: list[tuple[list[str], str]] = [([], f"a[{string(key)}]") for key in self.table.link_type_keys]
        return f"arrayMap(a -> {first_of(arms)}, link_attributes)"

    def _hint_map(self) -> str:
        """All hints of the span; of two values for one name the one preferred by the dialects' order."""
        others: dict[str, str] = {}
        for name, sources in self.table.hints.items():
            conditional = [source for source in sources if not is_plain(source)]
            if conditional:
                others[name] = self.first(conditional, named=name not in self.asked_hints)
        told = f"[{', '.join(others.values())}]"
        names = f"arrayConcat(arrayFilter((n, v) -> v != '', {strings(others)}, {told}), hint_names)"
        values = f"arrayConcat(arrayFilter(v -> v != '', {told}), hint_values)"
        first = f"arrayEnumerateUniq({names})"
        return (
            f"mapFromArrays(CAST(arrayFilter((n, u) -> u = 1, {names}, {first}), 'Array(LowCardinality(String))'), "
            f"arrayFilter((v, u) -> u = 1, {values}, {first}))"
        )

    def _agent_name(self, text: str) -> str:
        name = f"extract(toLowCardinality({text}), {string(self.table.agent_name_pattern)})"
        known = {**dict.fromkeys(self.table.agent_name_deny, ""), **self.table.agent_name_aliases}
        return f"transform({name}, {worded(known)}, {name})"
