"""Query parameters: Python values as ClickHouse reads them for `{name:Type}`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timezone


class Escaped(str):
    """A value that is in the engine's escaped text form already, as an HTTP client sent it."""

    __slots__ = ()


def texts(params: Mapping[str, object] | None) -> dict[str, str]:
    """Every value in the escaped text form that the engine's `param_…` takes."""
    return {name: _outer(value) for name, value in (params or {}).items()}


def plain(params: Mapping[str, object] | None) -> dict[str, object] | None:
    """The same for clickhouse-connect, which escapes by itself but would cut times to the second."""
    return {name: _plain(value) for name, value in params.items()} if params else None


def literal(text: str) -> str:
    """`text` as a quoted SQL string."""
    return "'" + _escaped(text) + "'"


def identifier(name: str) -> str:
    """`name` as a quoted SQL identifier."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def setting(value: object) -> str:
    """A value for `SETTINGS name = …`; the engine turns quoted numbers back into numbers."""
    return literal(str(int(value)) if isinstance(value, bool) else str(value))


def _outer(value: object) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, Escaped):
        return value
    if isinstance(value, str):
        return _escaped(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (datetime, date)):
        return _time(value)
    return _inner(value)


def _inner(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return literal(value)
    if isinstance(value, (datetime, date)):
        return literal(_time(value))
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_inner(key)}:{_inner(item)}" for key, item in value.items()) + "}"
    if isinstance(value, tuple):
        return "(" + ",".join(map(_inner, value)) + ")"
    if isinstance(value, (Sequence, set, frozenset)):
        return "[" + ",".join(map(_inner, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _plain(value: object) -> object:
    if isinstance(value, date):
        return _time(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    if isinstance(value, (list, set, frozenset)):
        return [_plain(item) for item in value]
    return value


def _time(value: date) -> str:
    """A date, or a time in UTC (every handle speaks UTC) to the microsecond; a naive time is taken as UTC."""
    if not isinstance(value, datetime):
        return value.isoformat()
    if value.tzinfo is not None:
        value = value.astimezone(timezone.utc)
    return value.strftime("%Y-%m-%d %H:%M:%S.%f")


def _escaped(text: str) -> str:
    out = text.replace("\\", "\\\\").replace("'", "\\'")
    return out.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r").replace("\0", "\\0")
