"""The fingerprint of what one agent passes to another: equal on both sides means nothing was lost on the way."""

from __future__ import annotations

import base64
import dataclasses
import enum
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

_DEPTH = 40  # deeper nesting than this is a cycle or as good as one


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
        return _dumps(value)
    except (TypeError, ValueError, RecursionError):  # odd keys, a cycle
        return _dumps(_tame(value, _DEPTH))


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    """One step from an object towards what JSON knows."""
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


def _tame(value: Any, depth: int) -> Any:
    if depth == 0:
        return "<…>"
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _tame(item, depth - 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_tame(item, depth - 1) for item in value]
    return _tame(_plain(value), depth - 1)
