"""How a command ends badly: each fault is one line for a person and an exit code for a script."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

EXIT_OK = 0
EXIT_BAD_ANSWER = 1  # the question was understood and its answer is bad: an unhealthy check, an unknown session
EXIT_USAGE = 2  # the command or its input is wrong: running it again will fail again
EXIT_UNAVAILABLE = 3  # the store or the server is not there: running it later may work
EXIT_INTERRUPTED = 130


class Fault(Exception):
    """Ends the command with `code`; the message is written to stderr as `maslens: <message>`."""

    code = EXIT_BAD_ANSWER


class BadAnswer(Fault):
    """What was asked for does not exist or is not well."""


class BadInput(Fault):
    """A flag, a setting, a file or a statement is wrong."""

    code = EXIT_USAGE


class NotThere(Fault):
    """The store, the server or a port cannot be had right now."""

    code = EXIT_UNAVAILABLE


class Interrupted(Fault):
    """Ctrl-C ended work that was not finished; the message says what was done until then."""

    code = EXIT_INTERRUPTED


def nearest(word: str, known: Iterable[str]) -> str:
    """` (did you mean x?)` for the closest of `known`, or nothing."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""
