"""Which attribute keys a SELECT looks up, and under which numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from maslens.semconv.dialects.model import Clause, KindRule, Source, Table

_ON_VALUES = ("attr", "no_attr", "attr_equals", "attr_match")
DROPPED_ATTRIBUTES = "otel.dropped_attributes_count"


def is_plain(source: Source) -> bool:
    """Whether the source is an attribute's whole value, whatever the rest of the span says."""
    return source.origin == "attribute" and not source.match and source.when is None


def runs(sources: Iterable[Source]) -> list[Source | tuple[str, ...]]:
    """Neighbouring plain attributes as one list of keys, everything else by itself."""
    result: list[Source | tuple[str, ...]] = []
    for source in sources:
        if not is_plain(source):
            result.append(source)
        elif result and isinstance(result[-1], tuple):
            result[-1] = (*result[-1], source.key)
        else:
            result.append((source.key,))
    return result


def asked_hints(table: Table) -> frozenset[str]:
    """Hints that other rules read, so that they are looked up one by one too."""
    return frozenset({s.key for s in all_sources(table) if s.origin == "hint"} | set(table.framework_hints))


def all_sources(table: Table) -> Iterator[Source]:
    """Every source of the table, wherever it stands."""
    for sources in [*table.fields.values(), *table.hints.values()]:
        yield from sources
    yield from _loose_sources(table)


def assign(table: Table) -> Mapping[str, tuple[int, int]]:
    """Key → (slot, rank in the slot): of a slot's keys the first one present on a span counts.

    Keys that are only ever asked for together share a slot; a key asked for in several lists gets one of its own.
    """
    lists = _lists(table)
    uses = Counter(key for keys in lists for key in keys)
    slots: dict[str, tuple[int, int]] = {}
    number = rank = 0
    for keys in lists:
        joined = False
        for key in keys:
            if key in slots:
                joined = False
                continue
            shared = uses[key] > 1
            number, rank = (number, rank + 1) if joined and not shared else (number + 1, 0)
            slots[key] = (number, rank)
            joined = not shared
    return slots


def _lists(table: Table) -> list[tuple[str, ...]]:
    hints = asked_hints(table)
    groups = [
        *(runs(sources) for field, sources in table.fields.items() if field != "provider"),
        *(runs(sources) for hint, sources in table.hints.items() if hint in hints),
    ]
    together = [keys for group in groups for keys in group if isinstance(keys, tuple)]
    alone = [
        *(source.key for source in table.fields["provider"] if is_plain(source)),
        *(s.key for s in all_sources(table) if s.origin in ("attribute", "json") and not is_plain(s)),
        *(s.key for s in _loose_sources(table) if is_plain(s)),
        *(s.when.attribute for s in all_sources(table) if s.when and s.when.attribute),
        *_tested_keys(table),
        DROPPED_ATTRIBUTES,
    ]
    return list(dict.fromkeys([*together, *((key,) for key in alone)]))


def _loose_sources(table: Table) -> Iterator[Source]:
    yield from table.input_excludes_cache
    for step in table.kind_steps:
        if isinstance(step, KindRule):
            for clause in step.clauses:
                yield from clause.sources


def _tested_keys(table: Table) -> Iterator[str]:
    for step in table.kind_steps:
        if isinstance(step, KindRule):
            yield from (clause.key for clause in step.clauses if clause.test in _ON_VALUES)
        else:
            yield step.attribute
    for clauses in late_detections(table):
        yield from (clause.key for clause in clauses[1] if clause.test in _ON_VALUES)


def late_detections(table: Table) -> Iterator[tuple[str, Sequence[Clause]]]:
    """What tells a dialect only when values are known, or several things at once."""
    for dialect in table.dialects:
        for clauses in dialect.detect:
            if len(clauses) > 1 or clauses[0].test not in EARLY_TESTS:
                yield dialect.id, clauses


EARLY_TESTS = ("attr", "namespace", "scope", "scope_prefix", "scope_match", "name_match", "event", "span_kind")
