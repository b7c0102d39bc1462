"""How much may wait to be sent, in bytes: a queue counted in spans alone holds gigabytes of long conversations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_ROUGHLY = 600  # bytes of a span or record besides its texts


class Room:
    """Counts what waits: one item in eight stands for all, so that counting costs the app next to nothing."""

    __slots__ = ("_most", "_waiting", "full", "queue", "refused")

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting = 0
        self.queue: Sequence[Any] = ()  # what waits; where it is empty, counting starts anew
        self.full = False
        self.refused = 0

    def take(self, size: int) -> bool:
        """Whether there is room for an item that stands for `size` bytes; it is in it from now on."""
        if not self.queue:
            self._waiting, self.full = 0, False
        if self.full or self._waiting + size > self._most:
            self.full = True
            self.refused += 1
            return False
        self._waiting += size
        return True

    def leave(self, size: int) -> None:
        """Items that stood for `size` bytes are out of the queue."""
        self._waiting = max(0, self._waiting - size)
        self.full = False

    def weight(self, number: int, item: Any) -> int:
        """Bytes that `item` stands for, by a random `number` of its own; a very large one does not fill the room."""
        return 0 if number & 7 else min(8 * size_of(item), self._most // 4)


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
