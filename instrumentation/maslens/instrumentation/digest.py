"""The fingerprint of what one agent passes to another: equal on both sides means nothing was lost on the way."""

from __future__ import annotations

import base64
import dataclasses
import enum
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

_SCALARS = (str, int, float, bool, bytes, type(None))
_DEPTH = 40  # deeper nesting than this is a cycle or as good as one
_TRUSTED_DEPTH = 12  # contexts are flatter; what is deeper may hold the same part many times over
_MOST = 100_000  # parts looked at of one value: what is told of a context may not hold the app up


class Digest(NamedTuple):
    hash: str  # "sha256:" and the first 16 hex digits
    size: int  # bytes that were hashed
    messages: int | None  # length of the context if it is a list


def digest(value: Any) -> Digest:
    """Fingerprint of `value`: text and bytes as they are, else canonical JSON (sorted keys, no blanks, UTF-8)."""
    data = canonical(value)
    messages = len(value) if isinstance(value, (list, tuple)) else None
    return Digest("sha256:" + hashlib.sha256(data).hexdigest()[:16], len(data), messages)


def canonical(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else json_text(value)).encode("utf-8", "surrogatepass")


def json_text(value: Any) -> str:
    """`value` as JSON, whatever it is: objects by their fields, unknown ones by the name of their type."""
    try:
        if not _is_deep(value):
            return _dumps(value, _Plain())
    except (TypeError, ValueError, RecursionError, _TooMuch):  # odd keys, a cycle, objects without end
        pass
    return _dumps(_Tamed().of(value, _DEPTH), _plain)


def attribute(value: Any) -> Any:
    """`value` as an attribute: text, number, bool, bytes and flat lists of them as they are, anything else as JSON."""
    if type(value) in _SCALARS:
        return value
    try:
        if isinstance(value, (str, bool, int, float, bytes)):
            return value
        if isinstance(value, (list, tuple)) and all(type(item) in _SCALARS for item in value):
            return value
        return json_text(value)
    except Exception:
        return f"<{type(value).__qualname__}>"


def _is_deep(value: Any) -> bool:
    """Whether the first or the last parts of its parts go on for long."""
    for first in (iter, reversed):
        part, depth = value, 0
        while isinstance(part, (dict, list, tuple)) and part and depth <= _TRUSTED_DEPTH:
            part, depth = next(first(part.values() if isinstance(part, dict) else part)), depth + 1
        if depth > _TRUSTED_DEPTH:
            return True
    return False


def _dumps(value: Any, default: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=default)


class _TooMuch(Exception):
    """More objects than a context has."""


class _Plain:
    """`_plain`, so many times and no more."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = _MOST

    def __call__(self, value: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise _TooMuch
        return _plain(value)


def _plain(value: Any) -> Any:
    """One step from an object towards what JSON knows; one that does not let itself be looked at is its type's name."""
    try:
        return _step(value)
    except Exception:
        return f"<{type(value).__qualname__}>"


def _step(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=json_text)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode()
    for method in ("model_dump", "to_dict", "isoformat"):  # pydantic and its imitators, dates
        made = getattr(value, method, None)
        if callable(made) and not isinstance(value, type):
            return made()
    if isinstance(value, Iterable) and hasattr(value, "__len__"):
        return list(value)
    fields = getattr(value, "__dict__", None)
    if fields and not isinstance(value, type) and not callable(value):
        return {key: field for key, field in fields.items() if not key.startswith("_")}
    return f"<{type(value).__qualname__}>"


class _Tamed:
    """Any value as a tree of bounded depth and size: a part inside itself, and what is too much, become a mark."""

    __slots__ = ("_above", "_left")

    def __init__(self) -> None:
        self._left = _MOST
        self._above: set[int] = set()

    def of(self, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, (str, int, float, bool)):
            return value
        self._left -= 1
        if depth == 0 or self._left < 0 or id(value) in self._above:
            return "<…>"
        self._above.add(id(value))
        try:
            if isinstance(value, Mapping):
                return {_key(key): self.of(item, depth - 1) for key, item in value.items()}
            if isinstance(value, (list, tuple)):
                return [self.of(item, depth - 1) for item in value]
            return self.of(_plain(value), depth - 1)
        finally:
            self._above.discard(id(value))


def _key(key: Any) -> str:
    try:
        return str(key)
    except Exception:  # the app's own __str__ is broken
        return f"<{type(key).__qualname__}>"
