"""Streams that say what they cost. OpenAI's API counts a stream's tokens only if asked; some servers refuse."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

SWITCH = "MASLENS_STREAM_USAGE"


def wanted() -> bool:
    return os.environ.get(SWITCH, "true").strip().lower() not in ("0", "false", "no", "off")


class UsageAsker:
    """Asks each server until it refuses; then the call is made again as the app made it, and never asked again."""

    def __init__(self) -> None:
        self._refused: set[str] = set()

    def may_ask(self, server: str) -> bool:
        return wanted() and server not in self._refused

    def iterate(self, server: str, asking: Callable[[], Iterator[Any]], plain: Callable[[], Iterator[Any]]) -> Any:
        items = asking()
        try:
            first = next(items)
        except StopIteration:
            return
        except Exception as error:
            if not self._is_refusal(server, error):
                raise
            yield from plain()
            return
        yield first
        yield from items

    async def aiterate(
        self, server: str, asking: Callable[[], AsyncIterator[Any]], plain: Callable[[], AsyncIterator[Any]]
    ) -> AsyncIterator[Any]:
        items = asking()
        try:
            try:
                first = await items.__anext__()
            except StopAsyncIteration:
                return
            except Exception as error:
                if not self._is_refusal(server, error):
                    raise
                items = plain()
            else:
                yield first
            async for item in items:
                yield item
        finally:  # whoever stops early wants the connection closed now, not when the garbage is collected
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()

    def _is_refusal(self, server: str, error: Exception) -> bool:
        said = str(error)
        if "stream_options" in said or "include_usage" in said:
            self._refused.add(server)
            return True
        return False
