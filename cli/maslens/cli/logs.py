"""What the server process says while it runs: one line an event on stderr, readable by people and machines."""

from __future__ import annotations

import logging
import sys

import structlog
from maslens.cli.text import safe


def configure_logs(level: str) -> None:
    """Colours on a terminal, `key=value` elsewhere; the standard library's loggers join in."""
    number: int = getattr(logging, level.upper())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]
    on_terminal = sys.stderr.isatty()
    last: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(pad_event_to=0, timestamp_key="at")
        if on_terminal
        else structlog.processors.LogfmtRenderer(key_order=["at", "level", "event"], bool_as_flag=False)
    )
    errors = [] if on_terminal else [structlog.processors.format_exc_info]
    structlog.configure(
        processors=[*shared, *errors, _disarmed, last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *errors, _disarmed, last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    for chatty in ("uvicorn.error", "uvicorn.access", "asyncio"):
        logging.getLogger(chatty).setLevel(max(number, logging.WARNING))


def _disarmed(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Strangers' words are in it: no character is left that a terminal would obey, but for the ends of lines."""
    return {
        key: "\n".join(map(safe, value.split("\n"))) if isinstance(value, str) else value
        for key, value in event.items()
    }
