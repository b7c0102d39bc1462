"""ClickHouse expressions as text: literals, and what they are joined with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

EMPTY = "''"


def first_of(arms: Sequence[tuple[Sequence[str], str]]) -> str:
    """The first text that is not empty and whose conditions hold."""
    if not arms:
        return EMPTY
    if len(arms) == 1 and not arms[0][0]:
        return arms[0][1]
    *others, (conditions, last) = arms
    parts = [f"{every([*conditions, f'{value} != {EMPTY}'])}, {value}" for conditions, value in others]
    if conditions:
        parts.append(f"{every(conditions)}, {last}")
        last = EMPTY
    return f"multiIf({', '.join([*parts, last])})"


def unsigned(text: str) -> str:
    """Whole numbers, also written as a float."""
    return f"ifNull(toUInt64OrNull({text}), accurateCastOrNull(toFloat64OrNull({text}), 'UInt64'))"


def every(conditions: Sequence[str]) -> str:
    return _folded("bitAnd", conditions)


def some(terms: Sequence[str]) -> str:
    return _folded("bitOr", terms)


def _folded(function: str, terms: Sequence[str]) -> str:
    result = terms[0]
    for term in terms[1:]:
        result = f"{function}({result}, {term})"
    return result


def coded(keys: str, codes: Mapping[str, int], type_: str = "UInt32") -> str:
    """The array `keys` with each key as its number, 0 where it has none."""
    return f"arrayMap(k -> transform(k, {numbered(codes, type_)}, 0::{type_}), {keys})"


def numbered(table: Mapping[str, int], type_: str = "UInt32") -> str:
    return f"{strings(table)}, {numbers(table.values(), type_)}"


def worded(table: Mapping[str, str]) -> str:
    return f"{strings(table)}, {strings(table.values())}"


def string(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def strings(texts: Iterable[str]) -> str:
    return "[" + ", ".join(map(string, texts)) + "]"


def numbers(numbers: Iterable[int], type_: str = "UInt32") -> str:
    return "[" + ", ".join(map(str, numbers)) + f"]::Array({type_})"


def quote(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "\\.+*?()|[]{}^$" else letter for letter in text)


def re2(pattern: str) -> str:
    return pattern.replace("(?P<target>", "(?:")
