"""How much of what one agent knew arrived at the next: fact by fact, without asking a model.

A fact is a leaf of structured content (its key and value) or, in running text, a figure, date, address or identifier.
Some weigh more: those that bind what may be done next. They are told by their key (a consent, an approval, …) or by a
value that is a state of knowledge (unknown, pending, denied, valid, …).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from .content import leaves, parsed

Fate: TypeAlias = Literal["kept", "missing", "altered", "invented"]

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
# of a chat message: where somebody speaks, and what only carries it
_SPEECH = frozenset(["content", "text", "parts", "message", "input", "output", "messages"])
_ENVELOPE = frozenset(["role", "type", "id", "index", "finish_reason", "tool_call_id"])
_BETWEEN = re.compile(r"[^\w.@|/%+-]+")


@dataclass(frozen=True, slots=True)
class Retention:
    """`share` of the weight of all facts that arrived, 0 at worst; a state of not knowing that arrived as knowledge
    counts against it. None if there were no facts."""

    share: float | None
    fates: Mapping[str, Fate]  # by key, or by the text itself


def retention(known: Iterable[str], given: Iterable[str]) -> Retention:
    """What became of the facts in the contents `known` in the contents `given`; of equal keys the last one counts."""
    facts, arrived = _all_facts(known), _all_facts(given := list(given))
    by_key: dict[str, Any] = {path[-1]: value for path, value in arrived.items() if path[0]}
    text = _plain(" ".join(given))
    fates = {path: _fate(path, value, by_key, text) for path, value in facts.items()}
    total = sum(_weight(path, facts[path]) for path in fates)
    kept = sum(_weight(path, facts[path]) * _KEPT[fate] for path, fate in fates.items())
    return Retention(max(0.0, kept / total) if total else None, {path[-1]: fate for path, fate in fates.items()})


def _all_facts(contents: Iterable[str]) -> dict[tuple[str, ...], Any]:
    found: dict[tuple[str, ...], Any] = {}
    for content in contents:
        found |= _facts(content)
    return found


def _facts(content: str) -> dict[tuple[str, ...], Any]:
    document = parsed(content)
    if document is None:
        return {("", token): token for token in _IN_TEXT.findall(content)}
    found: dict[tuple[str, ...], Any] = {}
    for path, value in leaves(document):
        if isinstance(value, str) and (not path or path[-1] in _SPEECH or _prose(value)):
            found |= _facts(value)
        elif path and path[-1] not in _ENVELOPE:
            found[path] = value
    return found


def _prose(value: str) -> bool:
    return value.count(" ") > 7


def _fate(path: tuple[str, ...], value: Any, by_key: Mapping[str, Any], text: str) -> Fate:
    for key in reversed(path if path[0] else ()):
        if key in by_key:
            return _compared(value, by_key[key], nested=key != path[-1])
    spoken = _plain(str(value))
    telling = path[0] == "" or (len(spoken) > 1 and not isinstance(value, bool) and spoken not in _STATES)
    return "kept" if telling and f" {spoken} " in f" {text} " else "missing"


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
    return " ".join(_BETWEEN.sub(" ", text.lower()).split())
