"""The environment a program starts in: whole data, one destination, nothing to a vendor unasked; what is set stays."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from typing import Literal, TypeAlias

from maslens.instrumentation.config import DEFAULT_GRPC, DEFAULT_HTTP, unset_limits

Content: TypeAlias = Literal["as each library has it", "on", "off"]

KEEP_VENDORS = "MASLENS_KEEP_VENDOR_EXPORT"  # set it and frameworks go on sending to their makers as well

_DESTINATION = {
    "OTEL_TRACES_EXPORTER": "otlp",
    "OTEL_LOGS_EXPORTER": "otlp",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
}
_NOT_TO_VENDORS = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_TRACKING": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "AGNO_TELEMETRY": "false",
    "TRACELOOP_TELEMETRY": "false",
    "LITELLM_TELEMETRY": "False",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "MEM0_TELEMETRY": "False",
    "ANONYMIZED_TELEMETRY": "False",
}
_CONTENT_ON = {
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_AND_EVENT",
    "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental",  # without it the value above means nothing
    "ENABLE_SENSITIVE_DATA": "true",  # agent-framework
    "ADK_CAPTURE_MESSAGE_CONTENT_IN_SPANS": "true",
    "TRACELOOP_TRACE_CONTENT": "true",
    "OPENINFERENCE_HIDE_INPUTS": "false",
    "OPENINFERENCE_HIDE_OUTPUTS": "false",
}
_CONTENT_OFF = {
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "NO_CONTENT",
    "ENABLE_SENSITIVE_DATA": "false",
    "ADK_CAPTURE_MESSAGE_CONTENT_IN_SPANS": "false",
    "TRACELOOP_TRACE_CONTENT": "false",
    "OPENINFERENCE_HIDE_INPUTS": "true",
    "OPENINFERENCE_HIDE_OUTPUTS": "true",
}


def prepare(
    environ: MutableMapping[str, str] = os.environ, *, content: Content = "as each library has it"
) -> dict[str, str]:
    """Set what is not set yet; returns what was added."""
    wanted = {**_DESTINATION, **{name: str(value) for name, value in unset_limits(environ).items()}}
    protocol = environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    wanted["OTEL_EXPORTER_OTLP_ENDPOINT"] = DEFAULT_GRPC if protocol == "grpc" else DEFAULT_HTTP
    wanted.update({"on": _CONTENT_ON, "off": _CONTENT_OFF}.get(content, {}))
    added = {name: value for name, value in wanted.items() if name not in environ}
    environ.update(added)
    return added | keep_from_vendors(environ)


def keep_from_vendors(environ: MutableMapping[str, str] = os.environ) -> dict[str, str]:
    """Have frameworks send nothing to their makers, where neither they nor we are told to; returns what was added."""
    wanted = {} if vendors_wanted(environ) else _NOT_TO_VENDORS
    added = {name: value for name, value in wanted.items() if name not in environ}
    environ.update(added)
    return added


def vendors_wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the user asks that frameworks go on sending to their makers too."""
    return environ.get(KEEP_VENDORS, "").strip().lower() in ("1", "true", "yes")
