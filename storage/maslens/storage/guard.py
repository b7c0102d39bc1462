"""What a stranger may ask of the embedded engine.

`readonly = 1` keeps the tables whole, but leaves the user's files open: `SELECT file('/etc/passwd')` reads one and
`INTO OUTFILE` writes one. So the engine's own parser writes the statement back in one canonical form (no comments,
plain names, one way to quote), and what is looked for there cannot be hidden by spelling.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from maslens.storage.errors import QueryError
from maslens.storage.store import Params, Store

_READS = frozenset({"SELECT", "WITH", "SHOW", "DESCRIBE", "DESC", "EXISTS", "EXPLAIN", "USE", "("})

# Names that reach out of the tables and that readonly lets pass. Banned wherever a name may stand, not only before a
# parenthesis: a function can also be applied by its name (`* APPLY file`, `arrayMap(file, …)`). `eval` runs text as a
# query that nobody has looked at; ai… ask a model over the network.
_BANNED = frozenset(
    {
        "file", "eval", "python", "stack_trace", "catboostevaluate", "aigenerate", "aiclassify", "aiextract",
        "aitranslate", "aiembed", "aifilter", "aisimilarity", "airedact",
    }
)  # fmt: skip

# Table functions that readonly refuses by itself; to be on the safe side, not as a function here either.
_UNCALLABLE = frozenset(
    {
        "executable", "input", "url", "urlcluster", "s3", "s3cluster", "gcs", "oss", "cosn", "hdfs", "hdfscluster",
        "remote", "remotesecure", "cluster", "clusterallreplicas", "mysql", "postgresql", "mongodb", "redis", "sqlite",
        "odbc", "jdbc", "bigquery", "ytsaurus", "filesystem", "viewexplain", "arrowstream", "filecluster",
    }
)  # fmt: skip

# The plan of a SELECT with a thousand functions is text of many gigabytes, which no memory limit of the engine counts.
MOST_EXPLAINED = 10_000

_STRING = re.compile(r"'(?:[^'\\]|\\.|'')*'", re.DOTALL)
_QUOTED_NAME = re.compile(r"`(?:[^`\\]|\\.)*`|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_NAME = re.compile(r"(?:`((?:[^`\\]|\\.)*)`|\"((?:[^\"\\]|\\.)*)\"|([A-Za-z_]\w*))\s*(\(?)", re.DOTALL)
_IDENTIFIER_PARAM = re.compile(r"\{(\w+):Identifier\}")
_FORMAT = re.compile(r" FORMAT (\w+)(?: SETTINGS .*)?$", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement, in canonical form. `form` is the output format it asks for itself."""

    text: str
    kind: str  # its first word
    form: str | None


def without_settings(statement: Statement) -> tuple[str, dict[str, str]]:
    """The statement without the SETTINGS at its end, and those: a read-only session takes none in a statement.

    Raises Refused for settings of a subquery, which the engine would take even there, and for `readonly`.
    """
    found = _SETTINGS.search(statement.text)
    rest = statement.text[: found.start()] if found else statement.text
    if re.search(r"\bSETTINGS \w+ = ", _QUOTED_NAME.sub("``", _STRING.sub("''", rest))):
        raise _refused("SETTINGS stand at the end of a statement here, not in a subquery")
    if found is None:
        return statement.text, {}
    if re.search(r"\breadonly = ", found["settings"]):
        raise _refused("what is asked here is read-only")
    chosen = {name: _unquoted(value) for name, value in _SETTING.findall(found["settings"])}
    return statement.text[: found.start()] + (found["before"] or "") + (found["after"] or ""), chosen


_VALUE = r"(?:'(?:[^'\\]|\\.)*'|[-+\w.]+)"
_SETTINGS = re.compile(
    rf"(?P<before> FORMAT \w+)? SETTINGS (?P<settings>\w+ = {_VALUE}(?:, \w+ = {_VALUE})*)(?P<after> FORMAT \w+)?$"
)
_SETTING = re.compile(rf"(\w+) = ({_VALUE})")


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith("'") else value


class Refused(QueryError):
    """The statement does something else than read the tables."""


def parse(store: Store, sql: str) -> Statement:
    """Raises QueryError, with the engine's words, when `sql` is not exactly one statement."""
    (row,) = store.rows("SELECT formatQuerySingleLine({sql:String}) AS text", {"sql": sql})
    text = str(row["text"])
    bare = _STRING.sub("''", text)
    form = _FORMAT.search(bare)
    first = re.match(r"\w+", bare)
    return Statement(text=text, kind=first[0].upper() if first else bare[:1], form=form[1] if form else None)


def only_reads(statement: Statement, params: Params) -> None:
    """Raise Refused unless the statement does nothing but read tables."""
    if statement.kind not in _READS:
        raise _refused(f"only statements that read are answered here, not {statement.kind}")
    if statement.kind == "EXPLAIN" and len(statement.text) > MOST_EXPLAINED:
        raise _refused(f"EXPLAIN takes statements of up to {MOST_EXPLAINED} characters here")
    bare = _STRING.sub("''", statement.text)
    if re.search(r"\bINTO OUTFILE\b", _QUOTED_NAME.sub("``", bare)):
        raise _refused("INTO OUTFILE would write a file")
    names = _names(bare) | {(str(params.get(name, "")).strip('`"'), False) for name in _IDENTIFIER_PARAM.findall(bare)}
    for name, called in names:
        if name.lower() in _BANNED or (called and name.lower() in _UNCALLABLE):
            raise _refused(f"`{name}` may reach out of the tables; the name is not allowed here")


def _names(bare: str) -> set[tuple[str, bool]]:
    """Every name in a statement without its strings, and whether a parenthesis follows it."""
    return {(quoted or double or plain, bool(open_)) for quoted, double, plain, open_ in _NAME.findall(bare)}


def _refused(why: str) -> Refused:
    return Refused(f"Code: 497. DB::Exception: {why}. (ACCESS_DENIED)")
