"""How much of what one agent knew arrived at the next: fact by fact, without asking a model.

A fact is a leaf of structured content (its key and value) or, in running text, a figure, date, address or identifier.
Some weigh more: those that bind what may be done next. They are told by their key (a consent, an approval, …) or by a
value that is a state of knowledge (unknown, pending, denied, valid, …).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal, TypeAlias

from .content import ENVELOPE, SPEECH, leaves, parsed

Fate: TypeAlias = Literal["kept", "missing", "altered", "invented"]

Facts: TypeAlias = Mapping[tuple[str, ...], Any]

_SHORT = 80  # letters of a value that is worth remembering
MOST_FACTS = 200  # compared, the newest
BINDING_WEIGHT = 1.4  # fitted by `python -m tests.validate.handoffbench`, ordinary facts weighing 1
_KEPT: Mapping[Fate, float] = {"kept": 1.0, "missing": 0.0, "altered": 0.0, "invented": -1.0}

_NOT_KNOWN = """
? missing n/a none null open pending tbd unconfirmed undecided unknown unresolved unverified
"""
_TOLD = """
accepted allowed approved confirmed conflicting contradicted declined denied disputed expired forbidden granted invalid
refused rejected revoked stale valid verified
"""
_OPEN = frozenset(_NOT_KNOWN.split())
_STATES = _OPEN | frozenset(_TOLD.split())
_BINDING = re.compile(
    r"consent|approval|permission|authori[sz]ation|confirmation|acceptance|clearance|acknowledg|verification|sign.?off"
)
_IN_TEXT = re.compile(
    r"[\w.+-]+@[\w-]+\.[\w.]+"  # addresses
    r"|https?://\S+"
    r"|\d{4}-\d{2}-\d{2}"
    r"|(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{3,}"  # identifiers: letters and digits mixed
    r"|\d[\d.,]*\d|\d+(?= ?[%€$£])"
)
_STANDS_OUT = re.compile(r"[\d@]|://")  # every match of `_IN_TEXT` has one of these
_FIGURE = re.compile(r"\d+\.\d+")
_BETWEEN = re.compile(r"[^\w.@|/%+-]+")


@dataclass(frozen=True, slots=True)
class Retention:
    """`share` of the weight of all facts that arrived, 0 at worst; a state of not knowing that arrived as knowledge
    counts against it. None if there were no facts."""

    share: float | None
    fates: Mapping[str, Fate]  # by key, or by the text itself


def retention(known: Iterable[str], given: Iterable[str]) -> Retention:
    """What became of the facts in the contents `known` in the contents `given`; of equal keys the last one counts."""
    facts, given = _all_facts(known), list(given)
    told = fates(facts, _all_facts(given), given)
    return Retention(share(told, facts), {path[-1]: fate for path, fate in told.items()})


def fates(facts: Facts, arrived: Facts, given: Iterable[str]) -> dict[tuple[str, ...], Fate]:
    """What became of each of `facts`; arrived: the facts of the contents `given`."""
    by_key: dict[str, Any] = {path[-1]: value for path, value in arrived.items() if path[0]}
    text = _Text(given)
    newest = list(facts)[-MOST_FACTS:]
    return {path: _fate(path, facts[path], by_key, text) for path in newest}


def share(told: Mapping[tuple[str, ...], Fate], facts: Facts) -> float | None:
    """Of the weight of the facts `told` of, how much was kept."""
    weights = {path: _weight(path, facts[path]) for path in told}
    total = sum(weights.values())
    kept = sum(weights[path] * _KEPT[fate] for path, fate in told.items())
    return max(0.0, kept / total) if total else None


def facts_of(content: str, read: dict[str, Facts] | None = None) -> Facts:
    """The facts in one content: values by their path in a structured one, what stands out of running text.

    read: what was found in texts before; a history repeats its messages, and each is read once.
    """
    read = {} if read is None else read
    if content not in read:
        read[content] = _facts(content, read)
    return read[content]


def _all_facts(contents: Iterable[str]) -> dict[tuple[str, ...], Any]:
    found: dict[tuple[str, ...], Any] = {}
    for content in contents:
        found |= facts_of(content)
    return found


def _facts(content: str, read: dict[str, Facts]) -> Facts:
    document = parsed(content)
    if document is None:
        return _in_text(content)
    found: dict[tuple[str, ...], Any] = {}
    for path, value in leaves(document):
        if isinstance(value, str) and (not path or path[-1] in SPEECH or _prose(value)):
            found |= facts_of(value, read)
        elif path and path[-1] not in ENVELOPE:
            found[path] = value
    return found


def _in_text(content: str) -> Facts:
    if not _STANDS_OUT.search(content):
        return {}
    words = [word for word in content.split() if not word.isalpha()]  # most words are none of these
    telling = " ".join([word if _STANDS_OUT.search(word) else word[0] for word in words])  # its sign may be a figure's
    return {("", token): token for token in _IN_TEXT.findall(telling)}


def _prose(value: str) -> bool:
    return value.count(" ") > 7


class _Text:
    """Contents as one plain text, made when it is first needed."""

    def __init__(self, contents: Iterable[str]) -> None:
        self._contents = contents

    def has(self, spoken: str) -> bool:
        """spoken: plain. What is nowhere among the letters is not among the words, and letters are there at once."""
        words = spoken.split()
        if any(word not in self._letters for word in words):
            return False
        return spoken in self._words if len(words) == 1 else bool(words) and f" {spoken} " in self._plain

    @cached_property
    def _letters(self) -> str:
        return " ".join(self._contents).lower()

    @cached_property
    def _plain(self) -> str:
        return f" {_plain(self._letters)} "

    @cached_property
    def _words(self) -> Collection[str]:
        return frozenset(self._plain.split())


def _fate(path: tuple[str, ...], value: Any, by_key: Mapping[str, Any], text: _Text) -> Fate:
    for key in reversed(path if path[0] else ()):
        if key in by_key:
            return _compared(value, by_key[key], nested=key != path[-1])
    spoken = _plain(str(value))
    telling = path[0] == "" or (len(spoken) > 1 and not isinstance(value, bool) and spoken not in _STATES)
    return "kept" if telling and text.has(spoken) else "missing"


def _compared(was: Any, now: Any, *, nested: bool) -> Fate:
    before, after = _plain(str(was)), _plain(str(now))
    if before == after or (nested and after in _STATES):  # of something with parts a state says enough
        return "kept"
    if before in _OPEN:
        return "kept" if after in _OPEN else "invented"
    return "altered"


def _weight(path: tuple[str, ...], value: Any) -> float:
    binding = _plain(str(value)) in _STATES or bool(_BINDING.search(" ".join(path).lower()))
    return BINDING_WEIGHT if binding else 1.0


def _plain(text: str) -> str:
    return _plain_short(text) if len(text) <= _SHORT else _plain_any(text)


@lru_cache(maxsize=16_384)  # values come again and again
def _plain_short(text: str) -> str:
    return _plain_any(text)


def _plain_any(text: str) -> str:
    found = _BETWEEN.sub(" ", text.lower()).split()
    if "." in text:
        found = [word for each in found if (word := _undotted(each) if "." in each else each)]
    return " ".join(found)


def _undotted(word: str) -> str:
    """Without the full stop of a sentence or a figure's zeros at the end."""
    word = word.strip(".")
    return word.rstrip("0").rstrip(".") if _FIGURE.fullmatch(word) else word
