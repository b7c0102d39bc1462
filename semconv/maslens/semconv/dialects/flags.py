"""Elementary tests on a span as bits, so that rules are numbers: a rule holds where all of its bits are set.

One function over arrays of constants then decides all rules, however many there are. A test is a bit of a 64-bit word;
tests that are told alike (by a key, by a key's value, by the scope, by an event, one by one) share words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from maslens.semconv.dialects.clickhouse import numbers, some

WORD = 64  # bits

Family: TypeAlias = Literal["key", "value", "scope", "event", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One test. `told_by`: keys, pairs of key and value, scopes or events that tell it, or one expression."""

    family: Family
    told_by: tuple[str, ...]


@dataclass(slots=True)
class Flags:
    """Gives each test its bit, in the order in which they are asked for."""

    place: dict[Flag, int] = field(default_factory=dict)  # 64 times the word, plus the bit

    def masks(self, flags: Iterable[Flag]) -> dict[int, int]:
        """Word → mask of a rule that needs all of `flags`."""
        masks: dict[int, int] = {}
        for flag in flags:
            word, bit = divmod(self.place[flag], WORD)
            masks[word] = masks.get(word, 0) | 1 << bit
        return masks

    def assign(self, flags: Iterable[Flag]) -> None:
        """Families keep to words of their own, `other` excepted, which come first so that words are few."""
        wanted = list(dict.fromkeys(flags))
        for family in ("key", "value", "scope", "event", "other"):
            for flag in wanted:
                if flag.family == family:
                    self.place[flag] = len(self.place)

    @property
    def words(self) -> range:
        return range(-(-len(self.place) // WORD))

    def told_by(self, family: Family, word: int) -> Mapping[str, int]:
        """What sets bits of `word` → which."""
        told: dict[str, int] = {}
        for flag, place in self.place.items():
            if flag.family == family and place // WORD == word:
                for thing in flag.told_by:
                    told[thing] = told.get(thing, 0) | 1 << place % WORD
        return told


def holding(type_: str, rules: Sequence[tuple[int, Mapping[str, int]]]) -> str:
    """The results of the rules that hold, as an array of `type_`.

    rules: (result, column → mask), in order. A column has a bit for whatever is *missing* on the span, so that a rule
    holds where no bit of its masks is set.
    """
    columns = list(dict.fromkeys(column for _, masks in rules for column in masks))
    names = [f"m{n}" for n in range(len(columns))]
    arrays = [numbers((masks.get(column, 0) for _, masks in rules), "UInt64") for column in columns]
    missing = some([f"bitAnd({column}, {name})" for column, name in zip(columns, names, strict=True)])
    results = numbers((result for result, _ in rules), type_)
    return f"arrayFilter((r, {', '.join(names)}) -> {missing} = 0, {results}, {', '.join(arrays)})"


def missing(what: str, rules: Mapping[int, Mapping[str, int]]) -> str:
    """Whether rule `what` (an expression for its number) lacks something: 0 if it holds. Numbers not listed always do.

    For the few rules that come into question; `holding` goes through all.
    """
    terms = []
    for column in dict.fromkeys(column for masks in rules.values() for column in masks):
        masks = {number: masks[column] for number, masks in rules.items() if masks.get(column)}
        if masks:
            listed = f"{numbers(masks)}, {numbers(masks.values(), 'UInt64')}"
            terms.append(f"bitAnd({column}, transform({what}, {listed}, 0::UInt64))")
    return some(terms)
