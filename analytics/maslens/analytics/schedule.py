"""When the sidecar will look for new spans next: what is stored in between is seen no sooner."""

from __future__ import annotations

import time
from collections.abc import Callable

_WEIGHT = 0.4  # of the last step in what one is expected to take
_IN_TIME = 0.8  # who comes so late is waited for by a part of a step at most; the look after that is a whole one later


class Schedule:
    """Told of looks by one thread, asked by others. Times are of the monotonic clock, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looked = self._next = clock()
        self._takes = 0.0  # from a look until the next one is possible
        self._working = False

    def look(self) -> None:
        self._looked, self._working = self._clock(), True

    def ready(self, *, busy: bool) -> None:
        """The next look is possible. busy: there was something to do since the last one."""
        now = self._clock()
        if busy and self._working:
            self._takes += _WEIGHT * (now - self._looked - self._takes)
        self._next, self._working = now, False

    def rest(self, seconds: float) -> None:
        """No look sooner than in so many seconds."""
        self._next, self._working = self._clock() + seconds, False

    def looks_in(self, after: float, *, news: bool) -> float:
        """Seconds until the first look that is no sooner than in `after` seconds.

        news: there is something to see already, so that the next look comes as soon as it may and is followed by work.
        """
        now = self._clock()
        if not (self._working or news):
            return after
        left = self._looked + self._takes - now if self._working else max(self._next - now, 0.0)
        if left < 0 and not news:  # it takes longer than expected: nobody knows how long
            return after
        left = max(left, 0.0)
        return left if left >= _IN_TIME * after else max(left + self._takes, after)
