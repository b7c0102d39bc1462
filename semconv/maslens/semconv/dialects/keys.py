"""Which attribute keys the SELECT knows, and under which numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from maslens.semconv.dialects.model import Clause, KindRule, Source, Table

DROPPED_ATTRIBUTES = "otel.dropped_attributes_count"


def is_plain(source: Source) -> bool:
    """Whether the source is an attribute's whole value, whatever the rest of the span says."""
    return source.when is None and is_whole(source)


def is_whole(source: Source) -> bool:
    """Whether the source is an attribute's whole value, on some spans or on all."""
    return source.origin == "attribute" and not source.match


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
    yield from table.input_excludes_cache
    yield from table.output_excludes_reasoning
    for clause in all_clauses(table):
        yield from clause.sources


def all_clauses(table: Table) -> Iterator[Clause]:
    """Every test on a span, wherever it stands."""
    for step in table.kind_steps:
        if isinstance(step, KindRule):
            yield from step.clauses
    for dialect in table.dialects:
        for clauses in dialect.detect:
            yield from clauses


def numbered_keys(table: Table) -> Mapping[str, int]:
    """Key → its number, from 1."""
    asked = [
        *(source.key for source in all_sources(table) if source.origin in ("attribute", "json")),
        *(source.when.attribute for source in all_sources(table) if source.when and source.when.attribute),
        *(clause.key for clause in all_clauses(table) if clause.test in _ON_KEYS),
        *(step.attribute for step in table.kind_steps if not isinstance(step, KindRule)),
        DROPPED_ATTRIBUTES,
    ]
    return {key: number for number, key in enumerate(dict.fromkeys(asked), start=1)}


_ON_KEYS = ("attr", "no_attr", "attr_equals", "attr_match")


def late_detections(table: Table) -> Iterator[tuple[str, Sequence[Clause]]]:
    """What tells a dialect only when values are known, or several things at once."""
    for dialect in table.dialects:
        for clauses in dialect.detect:
            if len(clauses) > 1 or clauses[0].test not in EARLY_TESTS:
                yield dialect.id, clauses


EARLY_TESTS = ("attr", "namespace", "scope", "scope_prefix", "scope_match", "name_match", "event", "span_kind")
