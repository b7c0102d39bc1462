"""What captured content says: plain text, words that carry meaning, numbers, and the facts in structured payloads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import repeat
from typing import Any

_WORD = re.compile(r"[^\W_]+(?:[.,][0-9]+)*")
_NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?")
_LEFT_OUT = """
a an and are as at be been being but by can cannot could did do does each for from had has have here how i if in into
is it its let me more much many my not of on or our please should so than that the their them then there these they
this those to us was we were what when where which who whom why will with would you your
"""
_STOP = frozenset(_LEFT_OUT.split())
_decode = json.JSONDecoder().raw_decode  # without the checks of `json.loads`: `parsed` makes those it needs
_BLANK = " \t\n\r"
_HALF_A_LETTER = re.compile(r"\\u[dD][89a-fA-F]")

# of a chat message: where somebody speaks, and what only carries it
SPEECH = frozenset(["content", "text", "parts", "message", "input", "output", "messages"])
ENVELOPE = frozenset(["role", "type", "id", "index", "finish_reason", "tool_call_id"])


def plain(content: str) -> str:
    """All text in `content`: the text itself, of chat messages what is said in them, of any other JSON document every
    value with the key that says what it is.

    A key whose value is false or missing says that something is not so: neither of them is text.
    """
    document = parsed(content)
    return content if document is None else plain_document(document)


def plain_document(document: Any) -> str:
    """`plain` of a JSON document, an object or a list, that was parsed before."""
    chat = _chat(document)
    told: list[str] = []
    for path, value in leaves(document):
        if not value:
            continue
        said = "" if value is True else str(value)
        key = path[-1] if path else None
        if key is None or (chat and key in SPEECH):
            told.append(said.strip())
        elif not chat or key not in ENVELOPE:
            told.append(f"{key} {said}".strip())
    return "\n".join(told)


def messages(document: Any) -> list[dict[str, Any]]:
    """The chat messages in a JSON document, if it is made of them."""
    if isinstance(document, dict):
        document = document.get("messages", [document])
    if not isinstance(document, list):
        return []
    for each in document:
        if not isinstance(each, dict) or "role" not in each or SPEECH.isdisjoint(each):
            return []
    return list(document)


def _chat(document: Any) -> bool:
    if messages(document):
        return True
    parts = document if isinstance(document, list) else [document]
    return bool(parts) and all(
        isinstance(part, dict) and "type" in part and isinstance(part.get("content", part.get("text")), str)
        for part in parts
    )


def words(text: str) -> list[str]:
    """Lower-case words and numbers, the ones every text has left out; plurals and trailing zeros taken off."""
    return [_plainest(word) for word in _WORD.findall(text.lower()) if word not in _STOP]


def numbers(text: str) -> set[str]:
    """Numbers, without thousands separators and trailing zeros."""
    return {_plainest(number) for number in _NUMBER.findall(text)}


def parsed(content: str) -> Any:
    """The JSON document in `content`, or None if it is not one (bare strings and numbers are text)."""
    if not content or content[0] not in "{[":
        return None
    try:
        document, end = _decode(content)
        if end != len(content) and content[end:].strip(_BLANK):
            return None
        if "\\" in content and _HALF_A_LETTER.search(content):  # a surrogate without its other half is no text
            document = json.loads(json.dumps(document, ensure_ascii=False).encode(errors="replace"))
    except (ValueError, RecursionError):  # hostile text nests as deep as it likes
        return None
    return document


def leaves(document: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """(path, value) of all in a JSON document that is neither object nor list; text that is JSON is opened."""
    found: list[tuple[tuple[str, ...], Any]] = []
    inside: Iterator[tuple[str | None, Any]] = iter([(None, document)])
    above: list[tuple[tuple[str, ...], Iterator[tuple[str | None, Any]]]] = []
    while True:
        for key, value in inside:
            kind = value.__class__
            if kind is str and value and value[0] in "{[" and (inner := parsed(value)) is not None:
                value, kind = inner, inner.__class__
            here = path if key is None else (*path, key)
            if kind is dict or kind is list:
                above.append((path, inside))
                path, inside = here, iter(value.items()) if kind is dict else zip(repeat(None), value)
                break
            found.append((here, value))
        else:
            if not above:
                return found
            path, inside = above.pop()


def carried(parts: list[str] | set[str], whole: list[str] | set[str]) -> float:
    """Share of the distinct `parts` that are among `whole`; 1 if there are none."""
    wanted = set(parts)
    return len(wanted & set(whole)) / len(wanted) if wanted else 1.0


def _plainest(word: str) -> str:
    if word[0].isdigit():
        number = word.replace(",", "")
        return number.rstrip("0").rstrip(".") if "." in number else number
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
