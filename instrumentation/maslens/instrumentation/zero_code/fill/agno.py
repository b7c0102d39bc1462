"""Agno under OpenInference tells who delegates to whom; what is left is that a member was called by its leader."""

from __future__ import annotations

from typing import Any

from maslens.instrumentation.stamp import watch
from maslens.instrumentation.zero_code.catalogue import Instrumentor
from maslens.instrumentation.zero_code.telling import tell_caller
from maslens.semconv import attributes as names
from opentelemetry.sdk.trace import Span


def fill(instrumentor: Instrumentor | None) -> None:
    if instrumentor is not None:
        watch("openinference.instrumentation.agno", _started)


def _started(span: Span, inherited: dict[str, Any]) -> None:
    has = span.attributes or {}
    caller = inherited.get(names.GEN_AI_AGENT_NAME)
    if has.get("openinference.span.kind") == "AGENT" and "graph.node.parent_id" in has and caller:
        tell_caller(span, caller)
