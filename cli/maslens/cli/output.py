"""Answers as a table for people, as JSON or CSV for programs."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
from maslens.cli.forms import Format
from maslens.cli.text import safe, safe_json
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

CELL_WIDTH = 60  # longest text shown in a table cell; JSON and CSV are never cut
_GUTTER = 3  # between two columns
_FEWEST = 3  # columns that are shown however narrow the terminal is


def write(
    answer: pa.Table,
    form: Format,
    *,
    shown: Sequence[str] = (),
    title: str = "",
    out: IO[str] | None = None,
) -> None:
    """Write `answer` to `out` (stdout); a table shows only the columns `shown`, or all of them."""
    target = out or sys.stdout
    if form is Format.json:
        write_objects(rows(answer), target)
    elif form is Format.csv:
        _write_csv(answer, target)
    else:
        columns = [name for name in shown if name in answer.column_names] or answer.column_names
        _write_table(answer.select(columns), title, target, whole=not shown)


def rows(answer: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows as plain values: times as RFC 3339 text in UTC with all their digits, not-a-number as None."""
    plain = _plain(answer)
    for batch in plain.to_batches(max_chunksize=4096):
        columns = [[_value(item) for item in _items(column)] for column in batch.columns]
        for values in zip(*columns, strict=True):
            yield dict(zip(batch.schema.names, values, strict=True))


def write_objects(objects: Iterable[Mapping[str, Any]], target: IO[str] | None = None) -> None:
    """One JSON array, an object a line."""
    out, index = target or sys.stdout, -1
    out.write("[")
    for index, row in enumerate(objects):
        text = json.dumps(row, ensure_ascii=False, allow_nan=False, default=str)
        out.write((",\n " if index else "\n ") + safe_json(text))
    out.write("\n]\n" if index >= 0 else "]\n")


def _write_csv(answer: pa.Table, target: IO[str]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(answer.column_names)
    for row in rows(answer):
        writer.writerow([_csv_cell(value) for value in row.values()])
        if buffer.tell() > 1 << 16:
            target.write(_for_terminal(buffer.getvalue(), target))
            buffer.seek(0)
            buffer.truncate()
    target.write(_for_terminal(buffer.getvalue(), target))


def _csv_cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, (list, dict)) else value


def _for_terminal(text: str, target: IO[str]) -> str:
    """A file gets the exact bytes; a terminal gets no character that it would obey."""
    return "\n".join(safe(line) for line in text.split("\n")) if target.isatty() else text


def _write_table(answer: pa.Table, title: str, target: IO[str], *, whole: bool) -> None:
    """`whole`: text columns are folded to fit a terminal; else the last columns are left out and named."""
    # A pipe has no width: give the table the one it needs rather than fold it at 80.
    console = Console(file=target, highlight=False, width=None if target.isatty() else 10_000)
    names = list(answer.column_names)
    cells = {name: [] for name in names}  # type: dict[str, list[str]]
    for row in rows(answer):
        for name, value in row.items():
            cells[name].append(_cell(name, value))
    widths = {name: max(map(cell_len, [safe(name), *cells[name]])) + _GUTTER for name in names}
    while not whole and len(names) > _FEWEST and sum(widths[name] for name in names) > console.width:
        names.pop()
    table = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        right = _is_number(answer.schema.field(name).type)
        table.add_column(Text(safe(name)), justify="right" if right else "left", no_wrap=right, overflow="fold")
    for place in range(answer.num_rows):
        table.add_row(*(Text(cells[name][place]) for name in names))
    console.print(table)
    if not answer.num_rows:
        console.print(Text("no rows"))
    left_out = answer.column_names[len(names) :]
    if left_out:
        console.print(Text(f"no room for {', '.join(left_out)}: a wider terminal, or --format json", style="dim"))


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return _number(name, value)
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, str):
        return safe(_seconds(value), limit=CELL_WIDTH)
    if isinstance(value, (list, tuple)):
        return safe(", ".join(str(item) for item in value), limit=CELL_WIDTH)
    return safe(str(value), limit=CELL_WIDTH)


def _number(name: str, value: float) -> str:
    if name.endswith("_usd"):
        return f"{value:,.4f}" if abs(value) < 100 else f"{value:,.2f}"
    if name.endswith("_ms"):
        return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2f}"
    if value == int(value) and abs(value) < 1e15:
        return f"{value:.1f}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:.4g}"


def _seconds(value: str) -> str:
    """`2026-11-20T08:00:00.123456789Z` → `2026-11-20 08:00:00`: nobody reads nanoseconds in a table."""
    if len(value) >= 20 and value[4:5] == "-" and value[10:11] == "T" and value.endswith("Z"):
        return f"{value[:10]} {value[11:19]}"
    return value


def _plain(answer: pa.Table) -> pa.Table:
    """Times to text and dictionaries to their values, column by column."""
    columns = []
    for column, field in zip(answer.columns, answer.schema, strict=True):
        if pa.types.is_dictionary(field.type):
            column = column.cast(field.type.value_type)
        if pa.types.is_timestamp(field.type):
            column = _time_text(column)
        columns.append(column)
    return pa.table(columns, names=answer.column_names)


def _time_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    ticks = column.cast(pa.timestamp(column.type.unit)) if column.type.tz else column  # naive values are UTC here
    text = pc.strftime(ticks, format="%Y-%m-%dT%H:%M:%S")
    return pc.if_else(pc.is_valid(text), pc.binary_join_element_wise(text, "Z", ""), text)


def _items(column: pa.Array) -> Iterable[Any]:
    if pa.types.is_map(column.type):
        return [None if item is None else dict(item) for item in column.to_pylist()]
    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except UnicodeDecodeError:  # ClickHouse strings are bytes; show what cannot be read as �
        return [
            None if item is None else item.decode("utf-8", "replace") for item in column.cast(pa.binary()).to_pylist()
        ]


def _value(item: Any) -> Any:
    if isinstance(item, float) and not math.isfinite(item):
        return None
    if isinstance(item, bytes):
        return item.decode("utf-8", "replace")
    if isinstance(item, list):
        return [_value(part) for part in item]
    if isinstance(item, dict):
        return {key: _value(value) for key, value in item.items()}
    return item


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))
