"""Rules for what must not be stored, applied before anything is written. Off unless asked for, and then no cost.

Keys stay and values are blanked, so that counts stay true.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from typing import Any, Final, TypeAlias

from maslens.collector_processor.errors import ConfigError
from maslens.collector_processor.flattening import opened
from maslens.collector_processor.intake import Stage
from maslens.collector_processor.signals import Signal
from maslens.collector_processor.wire import Frame, Item, Resource, Scope
from maslens.semconv.dialects.dialect_table import TABLE

BLANK: Final = b"[redacted]"
NOT_CAPTURED: Final = b"[not captured]"


@dataclass(frozen=True, slots=True, kw_only=True)
class RedactionRules:
    keys: tuple[str, ...] = ()  # attributes to blank, `*` for any part: "*password*"; also inside JSON values
    patterns: tuple[str, ...] = ()  # "email", "key", "card", or "name=regular expression"
    content_off: tuple[str, ...] = ()  # services (`*` for any part) whose prompts, answers and tool data are blanked

    def __post_init__(self) -> None:
        for pattern in self.patterns:
            _pattern(pattern)


def redact(rules: RedactionRules) -> Stage:
    """A stage that applies `rules`."""
    key_matches = _any_of(rules.keys)
    service_matches = _any_of(rules.content_off)
    replacements = [_pattern(pattern) for pattern in rules.patterns]

    def text(value: bytes) -> bytes:
        for pattern, mark, wanted in replacements:
            value = _replaced(value, pattern, mark, wanted)
        return value

    def attributes(pairs: Any, content_off: bool, *, inside: str = "") -> None:
        for pair in pairs:
            key = pair.key.decode("utf-8", "replace")
            if key_matches is not None and key_matches(key):
                pair.value.text = BLANK
            elif content_off and is_content(key, inside=inside):
                pair.value.text = NOT_CAPTURED
            else:
                _scrub(pair.value, text, key_matches)

    def item(signal: Signal, raw: bytes, content_off: bool) -> bytes:
        opened_item = opened(Item[signal], raw)
        if signal == "traces":
            attributes(opened_item.attributes, content_off)
            opened_item.name = text(opened_item.name)
            if opened_item.trace_state:
                opened_item.trace_state = text(opened_item.trace_state)
            if opened_item.status.message:
                opened_item.status.message = text(opened_item.status.message)
            for event in opened_item.events:
                attributes(event.attributes, content_off, inside=event.name.decode("utf-8", "replace"))
                event.name = text(event.name)
            for link in opened_item.links:
                attributes(link.attributes, content_off)
        else:
            name = _event_name(opened_item)
            attributes(opened_item.attributes, content_off, inside=name)
            if content_off and (name in _content()[2] or name.startswith("gen_ai.")):
                opened_item.body.text = NOT_CAPTURED
            elif opened_item.HasField("body"):
                _scrub(opened_item.body, text, key_matches)
        return bytes(opened_item.SerializeToString())

    def part(kind: type[Any], raw: bytes) -> bytes:
        opened_part = opened(kind, raw)
        attributes(opened_part.attributes, False)
        return bytes(opened_part.SerializeToString())

    def stage(signal: Signal, body: bytes) -> bytes:
        frame = Frame.FromString(body)
        for group in frame.groups:
            content_off = service_matches is not None and service_matches(_service(group.resource))
            group.resource = part(Resource, group.resource)
            for scoped in group.scopes:
                scoped.scope = part(Scope, scoped.scope)
                items = [item(signal, raw, content_off) for raw in scoped.items]
                scoped.ClearField("items")
                scoped.items.extend(items)
        return bytes(frame.SerializeToString())

    return _Redaction(rules, stage)


@dataclass(frozen=True, slots=True)
class _Redaction:
    """The stage, which can be sent to another process as the rules it was made from."""

    rules: RedactionRules
    apply: Stage

    def __call__(self, signal: Signal, body: bytes) -> bytes:
        return self.apply(signal, body)

    def __reduce__(self) -> tuple[Callable[[RedactionRules], Stage], tuple[RedactionRules]]:
        return redact, (self.rules,)


def is_content(key: str, *, inside: str = "") -> bool:
    """Whether an attribute (of the event `inside`) holds a prompt, an answer, or a tool's data, in any dialect."""
    keys, prefixes, events = _content()
    if key in keys:
        return True
    if inside in events:
        return key not in _HARMLESS
    return key.startswith(prefixes) and key.rpartition(".")[2] not in _HARMLESS


@lru_cache(maxsize=1)
def _content() -> tuple[frozenset[str], tuple[str, ...], frozenset[str]]:
    """Attributes, beginnings of attributes, and events that hold content, as the dialects say."""
    fields = ("content.system", "content.input", "content.output", "tool.arguments", "tool.result")
    sources = [source for field in fields for source in TABLE.fields.get(field, ())]
    keys = {source.key for source in sources if source.key and source.origin not in ("prefix", "events")}
    prefixes = {f"{source.key}." for source in sources if source.origin == "prefix"}
    events = {event for source in sources if source.origin == "events" for event in source.events}
    return frozenset(keys), tuple(sorted(prefixes)), frozenset(events)


# What is left of a message when its content is not: who spoke, which tool, why it ended.
_HARMLESS: Final = frozenset({"role", "name", "id", "finish_reason", "type", "gen_ai.system", "gen_ai.provider.name"})


def _scrub(value: Any, text: Callable[[bytes], bytes], key_matches: Callable[[str], bool] | None) -> None:
    kind = value.WhichOneof("value")
    if kind == "text":
        scrubbed = text(value.text)
        if key_matches is not None:
            scrubbed = _blank_keys(scrubbed, key_matches)
        if scrubbed != value.text:
            value.text = scrubbed
    elif kind == "raw":
        scrubbed = text(value.raw)
        if scrubbed != value.raw:
            value.raw = scrubbed
    elif kind in ("integer", "number"):  # a card number may come as a number
        number = value.integer if kind == "integer" else value.number
        if 10**12 <= abs(number) < 10**19:
            digits = str(int(number)).encode()
            scrubbed = text(digits)
            if scrubbed != digits:
                value.text = scrubbed


def _blank_keys(raw: bytes, key_matches: Callable[[str], bool]) -> bytes:
    """A text without the values of such keys, in JSON at any depth, in JSON inside its strings, and in what is nearly
    JSON: cut short by a limit, inside other words, or a dictionary as Python prints it."""
    try:
        content = json.loads(raw) if raw.lstrip()[:1] in (b"{", b"[") else None
    except (ValueError, RecursionError):
        content = None
    if content is None:
        return _blank_loosely(raw, key_matches)
    found = []

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: blank(key) if key_matches(key) else walk(inner) for key, inner in node.items()}
        if isinstance(node, str):
            inside = node.encode("utf-8", "surrogatepass")
            cleaned = _blank_keys(inside, key_matches)
            if cleaned == inside:
                return node
            found.append(node)
            return cleaned.decode("utf-8", "surrogatepass")
        return [walk(inner) for inner in node] if isinstance(node, list) else node

    def blank(key: str) -> str:
        found.append(key)
        return BLANK.decode()

    try:
        cleaned = walk(content)
    except RecursionError:
        return _blank_loosely(raw, key_matches)
    if not found:
        return raw
    return json.dumps(cleaned, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


# A quoted word before a colon; the quote may be escaped, once for every string it is inside of.
_LOOSE_KEY: Final = re.compile(rb"""(\\{0,16}["'])([^"'\\]{1,256})\1\s{0,16}:\s{0,16}""")
_LOOSE_END: Final = re.compile(rb"""[\s,}\])"'\\]""")


def _blank_loosely(raw: bytes, key_matches: Callable[[str], bool]) -> bytes:
    parts, at = [], 0
    for found in _LOOSE_KEY.finditer(raw):
        if found.start() < at or not key_matches(found[2].decode("utf-8", "replace")):
            continue
        quote, start = found[1], found.end()
        parts += [raw[at:start], quote, BLANK, quote]
        if raw[start : start + 1] in (b"{", b"["):
            at = len(raw)  # where it ends cannot be told: the rest goes
        elif raw.startswith(quote, start):
            at = _after_string(raw, start + len(quote), quote)
        else:
            end = _LOOSE_END.search(raw, start)
            at = end.start() if end else len(raw)
    return b"".join([*parts, raw[at:]]) if parts else raw


def _after_string(raw: bytes, at: int, quote: bytes) -> int:
    """Behind the next quote that is escaped as `quote` is; the end where there is none."""
    escapes, start = len(quote) - 1, at
    while (end := raw.find(quote[-1:], at)) >= 0:
        before = raw[max(start, end - 64) : end]
        backslashes = len(before) - len(before.rstrip(b"\\"))
        if backslashes == escapes or (not escapes and backslashes % 2 == 0):
            return end + 1
        at = end + 1
    return len(raw)


def _service(resource: bytes) -> str:
    for pair in opened(Resource, resource).attributes:
        if pair.key == b"service.name":
            return str(pair.value.text.decode("utf-8", "replace"))
    return ""


def _event_name(record: Any) -> str:
    if record.event_name:
        return str(record.event_name.decode("utf-8", "replace"))
    for pair in record.attributes:
        if pair.key == b"event.name":
            return str(pair.value.text.decode("utf-8", "replace"))
    return ""


def _any_of(globs: tuple[str, ...]) -> Callable[[str], bool] | None:
    if not globs:
        return None
    matches = re.compile("|".join(translate(glob.lower()) for glob in globs)).match
    return lambda name: matches(name.lower()) is not None


_Rule: TypeAlias = "tuple[re.Pattern[bytes], bytes, Callable[[bytes], bool] | None]"
_ESCAPES: Final = re.compile(rb"""\\+(?:u[0-9a-fA-F]{4}|[nrtbf"'/])?""")


def _replaced(text: bytes, pattern: re.Pattern[bytes], mark: bytes, wanted: Callable[[bytes], bool] | None) -> bytes:
    """`text` with `mark` for what the pattern finds. In JSON a line break is two characters, of which the second is
    neither a part of the word that follows nor to be taken away from the first: escapes are looked at as spaces."""
    seen = _ESCAPES.sub(lambda found: b" " * len(found.group()), text) if b"\\" in text else text
    parts, at = [], 0
    for found in pattern.finditer(seen):
        if found.end() > found.start() and (wanted is None or wanted(found.group())):
            parts += [text[at : found.start()], mark]
            at = found.end()
    return b"".join([*parts, text[at:]]) if parts else text


def _pattern(rule: str) -> _Rule:
    name, given, expression = rule.partition("=")
    if not given:
        if name not in _KNOWN:
            raise ConfigError(f"redaction.patterns: {name!r} is not one of {', '.join(_KNOWN)}, nor NAME=REGEX")
        expression = _KNOWN[name]
    try:
        pattern = re.compile(expression.encode())
    except re.error as error:
        raise ConfigError(f"redaction.patterns: {rule!r} is no regular expression: {error}") from None
    return pattern, f"[{name}]".encode(), _luhn if name == "card" and not given else None


def _luhn(number: bytes) -> bool:
    digits = [character - 48 for character in number if 48 <= character <= 57]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return 13 <= len(digits) <= 19 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


# Every repetition has an end, so that no text makes them slow.
_KNOWN: Final[Mapping[str, str]] = {
    "email": r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}",
    "key": (
        r"\b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,200}|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{30,200}"
        r"|\bxox[a-z]-[A-Za-z0-9-]{10,200}|\bAIza[0-9A-Za-z_-]{35}"
        r"|\beyJ[A-Za-z0-9_-]{8,2000}\.[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{8,2000}"
        r"|(?i:\bbearer )[A-Za-z0-9._~+/-]{16,2000}"
        r"|-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[A-Za-z0-9+/=\s\\]{0,8000}(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?"
    ),
    "card": r"(?<![\d.])\d(?:[ -]?\d){12,18}(?![\d.])",
}
