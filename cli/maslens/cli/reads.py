"""The read commands: from flags to a question, from an answer to the terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import groupby
from typing import Any, cast

import polars as pl
import pyarrow as pa
from maslens.analytics.cost import TOTAL
from maslens.analytics.frames import UNATTRIBUTED
from maslens.analytics.questions import Entry, Value, entry, load
from maslens.analytics.questions.costs import column
from maslens.analytics.questions.question import Ask, Asked, Question
from maslens.analytics.reads import Filters, Read
from maslens.cli.faults import BadAnswer, BadInput, nearest
from maslens.cli.forms import Format
from maslens.cli.output import rows, write, write_objects
from maslens.cli.settings import Settings
from maslens.cli.sources import Source, in_worker, open_source
from maslens.cli.text import moment, safe, safe_json

OTHERS = "(others)"
TABLE_ROWS = 50  # a table is for eyes; JSON and CSV are whole unless --limit says otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a read command was told: which question, how narrowed, where to ask and how to write the answer."""

    name: str
    filters: Filters = field(default_factory=Filters)
    options: Mapping[str, Value | None] = field(default_factory=dict)  # None where nothing was said
    explain: int | None = None
    url: str | None = None
    form: Format = Format.table


def filters(
    *,
    session: str | None,
    agent: str | None,
    version: str | None,
    since: str | None,
    until: str | None,
    limit: int | None,
    form: Format,
) -> Filters:
    now = datetime.now(timezone.utc)
    begin = moment(since, now=now, flag="--since") if since is not None else None
    end = moment(until, now=now, flag="--until") if until is not None else None
    if begin is not None and end is not None and begin >= end:
        raise BadInput(f"--since {since} is not before --until {until}")
    if limit is None and form is Format.table:
        limit = TABLE_ROWS
    return Filters(session=session, agent=agent, version=version, since=begin, until=end, limit=limit or None)


def show(wanted: Wanted, settings: Settings) -> None:
    """Ask, and write the answer to stdout."""
    with _source(settings, wanted.url) as source:
        show_from(source, wanted, usual=settings.usual_options().get(wanted.name))


def show_from(source: Source, wanted: Wanted, *, usual: Mapping[str, Value] | None = None) -> int:
    """Writes the answer, and returns how many rows it has. usual: options where none were given."""
    question, asked = load(wanted.name), _asked(wanted, usual)
    if wanted.explain is not None:
        _explain(source, question, asked, wanted)
        return 1
    answer = _answer(source, question, asked)
    extra = 0
    if wanted.name == "cost":
        by = str(asked.options["by"])
        answer, extra = _folded(answer, column(by), wanted.filters.limit), 2
        title, shown = f"Cost by {by}", [column(by), *_COST_SHOWN]
    else:
        title, shown = question.title, list(question.shown)
    write(answer, wanted.form, title=title, shown=shown)
    _say_more(source, wanted.filters, answer.num_rows - extra, wanted.form)
    return int(answer.num_rows)


_COST_SHOWN = (
    "llm_calls",
    "cost_usd",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "unpriced_calls",
    "calls_without_tokens",
)


def _asked(wanted: Wanted, usual: Mapping[str, Value] | None) -> Asked:
    asked = entry(wanted.name)
    try:
        return Asked(filters=wanted.filters, options=asked.checked(wanted.options, usual))
    except ValueError as reason:
        raise BadInput(f"--{reason}{_meant(asked, wanted.options)}") from None


def _meant(asked: Entry, given: Mapping[str, Value | None]) -> str:
    for option in asked.options:
        value = given.get(option.name)
        if option.choices and value is not None and value not in option.choices:
            return nearest(str(value), option.choices)
    return ""


def _answer(source: Source, question: Question, asked: Asked) -> pa.Table:
    if question.read is not None:
        read = question.read(asked)
        sql = f"SELECT * FROM ({read.sql}) ORDER BY {question.order}" if question.order else read.sql
        return source.arrow(sql, read.params)
    try:
        return question.answer(_ask(source), asked).to_arrow()
    except ValueError as wrong:  # an option that only its question can check
        raise BadInput(str(wrong)) from None


def _ask(source: Source) -> Ask:
    def ask(*reads: Read) -> list[pl.DataFrame]:
        answers = (source.arrow(read.sql, read.params) for read in reads)
        return [cast(pl.DataFrame, pl.from_arrow(answer)) for answer in answers]

    return ask


def _explain(source: Source, question: Question, asked: Asked, wanted: Wanted) -> None:
    """Row `wanted.explain`, its definition and what it rests on, one table each or one array of flat objects."""
    number = wanted.explain or 1
    found = _answer(source, question, asked)
    if number > found.num_rows:
        more = "; --limit 0 counts on" if wanted.filters.limit is not None and found.num_rows else ""
        raise BadAnswer(f"there is no row {number}: the answer has {found.num_rows}{more}")
    row = cast(pl.DataFrame, pl.from_arrow(found.slice(number - 1, 1))).row(0, named=True)
    told = next(rows(found.slice(number - 1, 1)))
    parts = question.explained(row, _ask(source), asked)
    if wanted.form is not Format.table:
        parts[0] = {"part": "row", **told}
        if wanted.form is Format.json:
            write_objects(parts)
        else:
            write(_flat(parts), wanted.form)
        return
    facts = [{"column": name, "value": json.dumps(value, ensure_ascii=False)} for name, value in told.items()]
    write(pa.Table.from_pylist(facts), wanted.form, title=f"{question.title}, row {number}")
    print(question.definition + "\n")
    for title, group in groupby(parts[2:], key=lambda part: part["part"]):
        evidence = [{name: value for name, value in part.items() if name != "part"} for part in group]
        write(_flat(evidence), wanted.form, title=str(title))


def _flat(parts: Sequence[Mapping[str, Any]]) -> pa.Table:
    """A table of rows that need not have the same columns."""
    names = list(dict.fromkeys(name for part in parts for name in part))
    columns = {name: [part.get(name) for part in parts] for name in names}
    return pa.table({name: _column(values) for name, values in columns.items()})


def _column(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # parts that mean different things by one name
        return pa.array([None if value is None else str(value) for value in values])


def show_query(sql: str, settings: Settings, *, url: str | None, form: Format) -> None:
    forms = {
        Format.table: "JSONCompactStringsEachRowWithNamesAndTypes",
        Format.json: "JSONEachRow",
        Format.csv: "CSVWithNames",
    }
    if not sql.strip():
        raise BadInput("query needs a statement: maslens query 'SELECT count() FROM otel_traces'")
    with _source(settings, url) as source:
        named, body = source.raw(sql, forms[form])
    if named != forms[form]:  # the statement asked for a format of its own
        sys.stdout.flush()
        sys.stdout.buffer.write(body)
    elif form is Format.table:
        write(_text_table(body), Format.table)
    else:
        text = body.decode("utf-8", "replace")
        clean = safe_json if form is Format.json else safe if sys.stdout.isatty() else str
        sys.stdout.write("".join(clean(line) + "\n" for line in text.rstrip("\n").split("\n")))


def migrate(settings: Settings) -> None:
    from maslens.cli.faults import NotThere
    from maslens.storage import StoreBusy, StoreConfig, StoreError, Unavailable, open_store

    def brought_up() -> list[str]:
        store = open_store(settings.store, settings=StoreConfig(fsync=settings.survives_power_loss))
        try:
            return store.migrate(on_progress=lambda name: print(f"  {safe(name)}", flush=True))
        finally:
            store.close()

    print(f"migrating {safe(settings.store.rpartition('@')[2])}")
    try:
        applied = in_worker(brought_up)
    except (StoreBusy, Unavailable) as reason:
        raise NotThere(str(reason)) from None
    except StoreError as reason:
        raise BadAnswer(str(reason)) from None
    print(f"{len(applied)} applied" if applied else "nothing to do")


@contextmanager
def _source(settings: Settings, url: str | None) -> Iterator[Source]:
    source = open_source(settings, url=url)
    try:
        yield source
    finally:
        source.close()


def _say_more(source: Source, wanted: Filters, count: int, form: Format) -> None:
    """What the answer itself cannot say: that it was cut, or that nobody knows the session."""
    if wanted.session is not None and count <= 0:
        known = "SELECT count() AS n FROM sessions WHERE session_id = {session:String}"
        if not next(rows(source.arrow(known, {"session": wanted.session})))["n"]:
            raise BadAnswer(f"no session {wanted.session!r}; `maslens sessions` lists them")
    if form is Format.table and wanted.limit is not None and count >= wanted.limit:
        print(f"the first {wanted.limit}; --limit 0 shows all", file=sys.stderr)


def _folded(answer: pa.Table, key: str, limit: int | None) -> pa.Table:
    """At most `limit` named rows; what they leave out is one row, so that the sums still agree."""
    charged = [row for row in answer.to_pylist() if row[key] not in (UNATTRIBUTED, TOTAL)]
    if limit is None or len(charged) <= limit:
        return answer
    rest = charged[limit:]
    folded = {name: OTHERS if name == key else sum(row[name] or 0 for row in rest) for name in answer.column_names}
    kept = pa.Table.from_pylist([*charged[:limit], folded], schema=answer.schema)
    return pa.concat_tables([kept, answer.slice(answer.num_rows - 2)])


def _text_table(body: bytes) -> pa.Table:
    """Names, types and rows as ClickHouse writes them; numbers only so that they stand to the right."""
    lines = [json.loads(line) for line in body.decode("utf-8", "replace").splitlines() if line.strip()]
    if not lines:
        return pa.table({})
    names, kinds, found = lines[0], lines[1], lines[2:]
    columns = []
    for index, kind in enumerate(kinds):
        texts = [None if row[index] == "ᴺᵁᴸᴸ" else row[index] for row in found]
        columns.append(pa.array(texts, pa.string()) if not _counts(kind) else _numbers(texts))
    return pa.Table.from_arrays(columns, names=names)


def _counts(kind: str) -> bool:
    return kind.startswith(("UInt", "Int", "Nullable(UInt", "Nullable(Int")) and "256" not in kind and "128" not in kind


def _numbers(texts: list[str | None]) -> pa.Array:
    values = [None if text is None else int(text) for text in texts]
    return pa.array(values, pa.uint64() if all(value is None or value >= 0 for value in values) else pa.int64())
