"""The facts of a goal that later steps must not lose: figures, identifiers, dates, quoted words, names; and which of
them a text still has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import copy

MOST_FACTS = 40  # of a goal, the first
MOST_GOAL = 8_000  # characters of it that are read
_QUOTED = re.compile(r"[\"“”«»`]([^\"“”«»`\n]{2,60})[\"“”«»`]|(?<!\w)'([^'\n]{2,60})'(?!\w)")
_MARKS = "'\"“”«»`"
_TOKEN = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+|https?://[^\s\"'<>)]+|[^\W_][\w.,:/@#&%+-]*[\w%]|[^\W_]|[%€$£]")
_SENTENCE = re.compile(r"(?:^|[.!?:;\n]|[-*•]\s)\s*[\"'“(]*$")
_FIGURE = re.compile(r"\d[\d,]*(?:\.\d+)?")
_FIGURES = re.compile(r"[\d@]|://")
_ESCAPES = ("\\n", "\\t", "\\r")
_JSON_LETTER = re.compile(r"\\u([0-9a-fA-F]{4})")


def goal_facts(goal: str) -> list[str]:
    """In the order they are said, each once. A word with a capital is a name unless a sentence begins with it or
    everything is in capitals."""
    text = goal[:MOST_GOAL]
    found: dict[str, str] = {}
    for match in _QUOTED.finditer(text) if any(mark in text for mark in _MARKS) else ():
        _add(found, (match.group(1) or match.group(2)).strip())
    if text.islower() and text.isascii() and not _FIGURES.search(text):
        return list(found.values())[:MOST_FACTS]  # neither a name nor a figure
    shouting = text.upper() == text
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token.isalpha() and not token[0].isupper():  # most words
            continue
        token = token.rstrip(".,:")
        figure = not token.isalpha() and (bool(_FIGURES.search(token)) or any(map(str.isdigit, token)))
        name = len(token) > 1 and token[0].isupper() and not shouting
        if (figure and (len(token) > 1 or _unit_follows(text, match.end()))) or (
            name and not _SENTENCE.search(text[max(0, match.start() - 6) : match.start()])
        ):
            _add(found, token)
    return list(found.values())[:MOST_FACTS]


def _add(found: dict[str, str], fact: str) -> None:
    if len(fact) > 1 or fact.isdigit():
        found.setdefault(fact.lower(), fact)


def _unit_follows(text: str, end: int) -> bool:
    """A single digit is a fact if a word follows it: `3 adults`, not `step 3.`"""
    return bool(re.match(r" ?[^\W\d_]{2,}|[%€$£]", text[end : end + 12]))


class Kept:
    """Which of `facts` texts still have: a fact is there if all its words are, in whatever case or form of a figure."""

    def __init__(self, facts: Sequence[str]) -> None:
        self._forms: dict[str, int] = {}  # a word in any of its forms → its number
        self._needed: list[tuple[str, frozenset[int]]] = []
        numbers: dict[str, int] = {}
        for fact in facts:
            needed = set()
            for word in sorted(_words(fact)):
                number = numbers.setdefault(_value(word), len(numbers))
                self._forms |= dict.fromkeys(_forms(word), number)
                needed.add(number)
            self._needed.append((fact, frozenset(needed)))
        self._start()

    def _start(self) -> None:
        self._last = ""
        self._found: frozenset[int] = frozenset()

    def another(self) -> Kept:
        """The same facts for other texts."""
        other = copy(self)
        other._start()
        return other

    def of(self, text: str) -> frozenset[str]:
        """A text that goes on where the one before ended, as a growing history does, costs what is new in it."""
        if not self._needed:
            return frozenset()
        shared = len(self._last) - _CLOSING
        if shared > _OVERLAP and text.startswith(self._last[:shared]):
            found = self._found | self._numbers(text[shared - _OVERLAP :])
        else:
            found = self._numbers(text)
        self._last, self._found = text, found
        return frozenset(fact for fact, needed in self._needed if needed <= found)

    def _numbers(self, text: str) -> frozenset[int]:
        return frozenset(self._forms[word] for word in _words(text) & self._forms.keys())


_CLOSING = 4  # characters with which a JSON history ends, written over when it goes on
_OVERLAP = 64  # a word must not be cut in two
_APART = str.maketrans(dict.fromkeys("\"'()[]{}<>|;:!?=*#&+~^`/\\%€$£“”«»\n\t", " "))


def _words(text: str) -> set[str]:
    if "\\" in text:
        text = _JSON_LETTER.sub(lambda match: chr(int(match.group(1), 16)), text)
        for escape in _ESCAPES:
            text = text.replace(escape, " ")
    spaced = text.lower().translate(_APART) + " "
    return set(spaced.replace(". ", " ").replace(", ", " ").replace("- ", " ").split())


def _forms(word: str) -> list[str]:
    """A figure with and without thousands separators and zeros at its end."""
    if not _FIGURE.fullmatch(word):
        return [word]
    value = _value(word)
    whole, _, part = value.partition(".")
    grouped = f"{int(whole):,}" if len(whole) < 16 else whole
    parts = ["", ".0", ".00"] if not part else [f".{part}", f".{part}0"]
    return [begin + end for begin in {whole, grouped} for end in parts]


def _value(figure: str) -> str:
    if not _FIGURE.fullmatch(figure):
        return figure
    plain = figure.replace(",", "")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain
