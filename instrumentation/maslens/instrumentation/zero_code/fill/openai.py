"""OpenAI's client: cached and reasoning tokens, on the span of whichever library is waiting for the answer."""

from __future__ import annotations

from typing import Any

from maslens.instrumentation.guard import quiet
from maslens.instrumentation.zero_code.catalogue import Instrumentor
from maslens.instrumentation.zero_code.telling import is_model_call, tell_usage
from maslens.instrumentation.zero_code.wrapping import wrap
from maslens.semconv import attributes as names
from opentelemetry.sdk.trace import Span
from opentelemetry.trace import get_current_span

_MODULE = "openai.resources.chat.completions.completions"
_KNOWN = (names.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS, "llm.token_count.prompt_details.cache_read")


def fill(_instrumentor: Instrumentor | None) -> None:
    wrap(_MODULE, "Completions.create", _create)
    wrap(_MODULE, "AsyncCompletions.create", _acreate)


def _create(wrapped: Any, _client: Any, args: Any, kwargs: Any) -> Any:
    answer = wrapped(*args, **kwargs)
    _tell(answer, kwargs)
    return answer


async def _acreate(wrapped: Any, _client: Any, args: Any, kwargs: Any) -> Any:
    answer = await wrapped(*args, **kwargs)
    _tell(answer, kwargs)
    return answer


@quiet
def _tell(answer: Any, kwargs: dict[str, Any]) -> None:
    span = get_current_span()
    if kwargs.get("stream") is True or not isinstance(span, Span) or not is_model_call(span):
        return
    if any(key in (span.attributes or {}) for key in _KNOWN):
        return
    tell_usage(span, getattr(answer, "usage", None))
