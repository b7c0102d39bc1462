"""What can go wrong on the way in, named for what the sender or the operator should do next."""

from __future__ import annotations

from datetime import timedelta


class ReceiverError(Exception):
    """Any failure of this room."""


class ConfigError(ReceiverError):
    """A setting that cannot be; the message names it as users write it."""


class JournalError(ReceiverError):
    """The journal's directory cannot be used as it is; the message says why and what to do."""


class JournalBusy(JournalError):
    """Another process (or another Journal here) owns the directory."""


class Refused(ReceiverError):
    """A request that is not taken. `reason` is the word it is counted under."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class TryAgain(Refused):
    """Nothing is wrong with the request: the same bytes may be taken after `delay`."""

    def __init__(self, message: str, *, reason: str, delay: timedelta = timedelta(seconds=1)) -> None:
        super().__init__(message, reason=reason)
        self.delay = delay

    def again(self) -> TryAgain:
        """The same answer for somebody else: an exception is raised once."""
        return TryAgain(str(self), reason=self.reason, delay=self.delay)


class TooManyRequests(TryAgain):
    """This sender is over its rate."""


class Malformed(Refused):
    """The bytes are not what they claim to be: sending them again will fail again."""

    def __init__(self, message: str, *, reason: str = "malformed") -> None:
        super().__init__(message, reason=reason)


class TooLarge(Refused):
    """Over a size limit, before or after decompression."""

    def __init__(self, message: str, *, reason: str = "too_large") -> None:
        super().__init__(message, reason=reason)


class Unsupported(Refused):
    """A content type or encoding nobody here speaks."""

    def __init__(self, message: str, *, reason: str = "unsupported") -> None:
        super().__init__(message, reason=reason)


class Unauthenticated(Refused):
    """No token, or none that is known."""

    def __init__(self, message: str = "a bearer token is needed: Authorization: Bearer <token>") -> None:
        super().__init__(message, reason="unauthenticated")


class Forbidden(Refused):
    """A known token without the scope that is asked for."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="forbidden")
