"""What a stranger may ask of the engine.

`readonly = 1` keeps the tables whole, but lets an embedded engine read the user's files (`SELECT file('/etc/passwd')`)
and write new ones (`INTO OUTFILE`). The engine's own parser writes the statement back in one canonical form, without
comments and with plain names; what is looked for in that form cannot be hidden by spelling.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from maslens.storage import Store

_READS = ("SELECT", "WITH", "SHOW", "DESCRIBE", "EXISTS", "EXPLAIN", "(")
_QUOTED = re.compile(r"'(?:[^'\\]|\\.|'')*'|`(?:[^`\\]|\\.)*`|\"(?:[^\"\\]|\\.)*\"")
_FORBIDDEN = re.compile(
    r"\bINTO OUTFILE\b|\b(?:file|url|s3|gcs|hdfs|remote|executable|input|fuzz\w*|catboostEvaluate|ai[A-Z_]\w*)\s*\(",
    re.IGNORECASE,
)
_FORMAT = re.compile(r"\bFORMAT (\w+)(?: SETTINGS .*)?$")


class Refused(Exception):
    """The statement does something else than read the tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement that only reads; `form` is the output format it asks for itself."""

    sql: str
    form: str | None


def parse(store: Store, sql: str) -> Statement:
    """Raises Refused, or the store's QueryError when `sql` is no single statement."""
    rows = store.rows("SELECT formatQuerySingleLine({sql:String}) AS sql", {"sql": sql})
    canonical = str(rows[0]["sql"])
    bare = _QUOTED.sub("''", canonical)
    if not bare.startswith(_READS):
        raise Refused(f"only statements that read are answered here, and this one starts with {bare.split()[0]}")
    forbidden = _FORBIDDEN.search(bare)
    if forbidden:
        raise Refused(f"{forbidden[0].rstrip('(').strip()} reaches beyond the tables and is not allowed here")
    named = _FORMAT.search(bare)
    return Statement(sql=sql, form=named[1] if named else None)
