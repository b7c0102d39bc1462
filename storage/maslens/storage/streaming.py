"""Which answers can be sent while they are found, and how their pieces become one.

The embedded engine writes every piece as if it were all: with a header, and with what ends the format. So only formats
that are row after row can be joined, those with a header once it is cut off all pieces but the first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import chain

from maslens.storage.guard import Statement

HEAD_BYTES = 1 << 20  # an answer up to this is sent as one, with its length


def streams(sql: str, statement: Statement, form: str, settings: Mapping[str, object]) -> bool:
    """Whether the pieces of this answer can be joined: nothing comes after the rows, and the engine streams it.

    `sql` is the statement as it was sent: some formats (Values) are not in the canonical one.
    """
    return (
        statement.kind in ("SELECT", "WITH")
        and form in _HEADERS
        and (statement.form is not None or not _FORMAT.search(sql))
        and not _MORE_THAN_ROWS.search(statement.text)
        and not _MORE_THAN_ROWS.search(" ".join(settings))
    )


def joined(pieces: Iterator[bytes], form: str) -> Iterator[bytes]:
    """The pieces as one answer."""
    header = _HEADERS[form]
    for first in pieces:
        yield first
        for piece in pieces:
            yield piece[header(piece) :]


def head_of(pieces: Iterator[bytes]) -> tuple[bytes, Iterator[bytes] | None]:
    """At least HEAD_BYTES of an answer and the rest of it; None when that was all."""
    taken: list[bytes] = []
    size = 0
    for piece in pieces:
        if size >= HEAD_BYTES:
            return b"".join(taken), chain([piece], pieces)
        taken.append(piece)
        size += len(piece)
    return b"".join(taken), None


def has_header(form: str) -> bool:
    """Whether an answer without rows is still not empty: the engine streams nothing then."""
    return _HEADERS[form] is not _none


_FORMAT = re.compile(r"\bFORMAT\b", re.IGNORECASE)
_MORE_THAN_ROWS = re.compile(r"\bTOTALS\b|\bextremes\b|\boutput_format_json_array_of_rows\b|\bINTO\s+OUTFILE\b")


def _none(_: bytes) -> int:
    return 0


def _line(piece: bytes) -> int:
    return piece.index(b"\n") + 1


def _two_lines(piece: bytes) -> int:
    return piece.index(b"\n", _line(piece)) + 1


def _csv_line(piece: bytes) -> int:
    """Names stand in double quotes, doubled inside, and may hold line ends."""
    found = re.compile(rb'(?:[^"\n]|"(?:[^"]|"")*")*\n').match(piece)
    return found.end() if found else 0


def _binary(texts: int) -> Callable[[bytes], int]:
    """A count of columns, then one name each, and with `texts` = 2 one type each."""

    def header(piece: bytes) -> int:
        columns, at = _varint(piece, 0)
        for _ in range(columns * texts):
            size, at = _varint(piece, at)
            at += size
        return at

    return header


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at


_HEADERS: Mapping[str, Callable[[bytes], int]] = {
    **dict.fromkeys(
        ("TabSeparated", "TSV", "TabSeparatedRaw", "TSVRaw", "Raw", "CSV", "JSONEachRow", "JSONLines", "NDJSON",
         "JSONCompactEachRow", "JSONStringsEachRow", "JSONCompactStringsEachRow", "RowBinary", "Native"), _none),
    **dict.fromkeys(("TabSeparatedWithNames", "TSVWithNames", "JSONCompactEachRowWithNames"), _line),
    **dict.fromkeys(
        ("TabSeparatedWithNamesAndTypes", "TSVWithNamesAndTypes", "JSONCompactEachRowWithNamesAndTypes"), _two_lines),
    "CSVWithNames": _csv_line,
    "RowBinaryWithNames": _binary(1),
    "RowBinaryWithNamesAndTypes": _binary(2),
}  # fmt: skip
