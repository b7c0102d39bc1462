"""Microsoft Agent Framework writes good spans; a handoff is a message between executors there."""

from __future__ import annotations

from maslens.instrumentation.zero_code.catalogue import Instrumentor


def fill(_instrumentor: Instrumentor | None) -> None: ...
