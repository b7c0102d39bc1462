"""What captured content says: plain text, words that carry meaning, numbers, and the facts in structured payloads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_WORD = re.compile(r"[^\W_]+(?:[.,][0-9]+)*")
_NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?")
_LEFT_OUT = """
a an and are as at be been being but by can cannot could did do does each for from had has have here how i if in into
is it its let me more much many my not of on or our please should so than that the their them then there these they
this those to us was we were what when where which who whom why will with would you your
"""
_STOP = frozenset(_LEFT_OUT.split())


# of a chat message: where somebody speaks, and what only carries it
SPEECH = frozenset(["content", "text", "parts", "message", "input", "output", "messages"])
ENVELOPE = frozenset(["role", "type", "id", "index", "finish_reason", "tool_call_id"])


def plain(content: str) -> str:
    """All text in `content`: the text itself, of chat messages what is said in them, of any other JSON document every
    value with the key that says what it is.

    A key whose value is false or missing says that something is not so: neither of them is text.
    """
    document = parsed(content)
    if document is None:
        return content
    told = [(path[-1:], value) for path, value in leaves(document) if value not in (False, None, "")]
    if _chat(document):
        told = [(() if set(key) <= SPEECH else key, value) for key, value in told if not key or key[-1] not in ENVELOPE]
    return "\n".join(" ".join([*key, "" if value is True else str(value)]).strip() for key, value in told)


def messages(document: Any) -> list[dict[str, Any]]:
    """The chat messages in a JSON document, if it is made of them."""
    if isinstance(document, dict):
        document = document.get("messages", [document])
    listed = document if isinstance(document, list) else []
    told = [each for each in listed if isinstance(each, dict) and "role" in each and not SPEECH.isdisjoint(each)]
    return told if len(told) == len(listed) else []


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
    if content[:1] not in "{[":
        return None
    try:
        return json.loads(content)
    except ValueError:
        return None


def leaves(document: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(path, value) of all in a JSON document that is neither object nor list; text that is JSON is opened."""
    if isinstance(document, str) and (inner := parsed(document)) is not None:
        document = inner
    if isinstance(document, dict):
        for key, value in document.items():
            yield from leaves(value, (*path, str(key)))
    elif isinstance(document, list):
        for value in document:
            yield from leaves(value, path)
    else:
        yield path, document


def carried(parts: list[str] | set[str], whole: list[str] | set[str]) -> float:
    """Share of the distinct `parts` that are among `whole`; 1 if there are none."""
    wanted = set(parts)
    return len(wanted & set(whole)) / len(wanted) if wanted else 1.0


def _plainest(word: str) -> str:
    if word[0].isdigit():
        number = word.replace(",", "")
        return number.rstrip("0").rstrip(".") if "." in number else number
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
