"""How much may wait to be sent, in bytes: a queue counted in items alone holds gigabytes of long conversations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

ONE_IN = 8  # spans; the condition in `SpanBatches.on_end` says it again
_ROUGHLY = 600  # bytes of a span or record besides its texts


class Room:
    """Counts what waits: of spans one in eight stands for all, so that counting costs the app next to nothing.

    `recount` puts right what threads that counted at once have got wrong; whoever takes items out calls it.
    """

    __slots__ = ("_most", "_waiting", "full", "refused")

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting = 0
        self.full = False
        self.refused = 0

    def take(self, item: Any) -> bool:
        """Whether there is room for `item`; it is in it from now on."""
        size = self._weight(item)
        if self.full or self._waiting + size > self._most:
            self.full = True
            self.refused += 1
            return False
        self._waiting += size
        return True

    def recount(self, items: Sequence[Any]) -> None:
        """`items` are all that wait."""
        self._waiting = sum(map(self._weight, items))
        self.full = False

    def _weight(self, item: Any) -> int:
        """Bytes that `item` stands for; a very large one does not fill the room."""
        context = getattr(item, "_context", None)  # of a span; records, which are few, all count
        if context is None:
            return min(size_of(item), self._most // 4)
        return 0 if context.span_id % ONE_IN else min(ONE_IN * size_of(item), self._most // 4)


def pieces(items: Sequence[Any], sizes: Sequence[int], most: int) -> Iterator[Sequence[Any]]:
    """`items` in order, cut so that each piece has about `most` bytes or is one item."""
    begin, filled = 0, 0
    for place, size in enumerate(sizes):
        if filled and filled + size > most:
            yield items[begin:place]
            begin, filled = place, 0
        filled += size
    yield items[begin:] if begin else items


def size_of(item: Any) -> int:
    """Bytes of a span or a log record, about: its texts, which are what makes one large."""
    attributes = getattr(item, "_attributes", None)
    if attributes is None:
        record = getattr(item, "log_record", item)
        return _ROUGHLY + _texts(getattr(record, "body", None), 4) + _texts(getattr(record, "attributes", None), 4)
    size = _ROUGHLY
    for value in getattr(attributes, "_dict", attributes).values():  # past the lock: the span has ended
        kind = type(value)
        if kind is str:
            size += len(value)
        elif kind is tuple:
            size += _texts(value, 4)
    for event in item._events or ():
        size += _ROUGHLY + _texts(event.attributes, 4)
    return size


def _texts(value: Any, depth: int) -> int:
    if isinstance(value, (str, bytes)):
        return len(value)
    if depth and isinstance(value, Mapping):
        return sum(_texts(item, depth - 1) for item in value.values())
    if depth and isinstance(value, (list, tuple)):
        return sum(_texts(item, depth - 1) for item in value)
    return 0 if value is None else 8
