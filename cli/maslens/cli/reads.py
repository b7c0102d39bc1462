"""The read commands: from flags to a question, from an answer to the terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone

import pyarrow as pa
from maslens.cli.faults import BadAnswer, BadInput, nearest
from maslens.cli.forms import Format
from maslens.cli.output import rows, write
from maslens.cli.questions import COST_KEYS, OTHERS, TOTAL, UNATTRIBUTED, Filters, Question, cost, known_session
from maslens.cli.settings import Settings
from maslens.cli.sources import Source, in_worker, open_source
from maslens.cli.text import moment, safe, safe_json

TABLE_ROWS = 50  # a table is for eyes; JSON and CSV are whole unless --limit says otherwise


def filters(
    *, session: str | None, agent: str | None, since: str | None, until: str | None, limit: int | None, form: Format
) -> Filters:
    now = datetime.now(timezone.utc)
    begin = moment(since, now=now, flag="--since") if since is not None else None
    end = moment(until, now=now, flag="--until") if until is not None else None
    if begin is not None and end is not None and begin >= end:
        raise BadInput(f"--since {since} is not before --until {until}")
    if limit is None and form is Format.table:
        limit = TABLE_ROWS
    return Filters(session=session, agent=agent, since=begin, until=end, limit=limit or None)


def show(
    question: Callable[[Filters], Question], wanted: Filters, settings: Settings, *, url: str | None, form: Format
) -> None:
    """Ask, and write the answer to stdout."""
    with _source(settings, url) as source:
        asked = question(wanted)
        answer = source.arrow(asked.sql, asked.params)
        write(answer, form, title=asked.title, shown=asked.shown)
        _say_more(source, wanted, answer.num_rows, form)


def show_cost(by: str, wanted: Filters, settings: Settings, *, url: str | None, form: Format) -> None:
    if by not in COST_KEYS:
        raise BadInput(f"--by takes {', '.join(COST_KEYS)}, got {by!r}{nearest(by, COST_KEYS)}")
    with _source(settings, url) as source:
        asked = cost(wanted, by=by)
        answer = _folded(source.arrow(asked.sql, asked.params), COST_KEYS[by], wanted.limit)
        write(answer, form, title=asked.title, shown=asked.shown)
        _say_more(source, wanted, answer.num_rows - 2, form)


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
    from maslens.storage import StoreBusy, StoreError, Unavailable, open_store

    def brought_up() -> list[str]:
        store = open_store(settings.store)
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
        known = known_session(wanted.session)
        if not next(rows(source.arrow(known.sql, known.params)))["n"]:
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
