"""Where spans go and how many may wait. Arguments come first, then the OpenTelemetry variables, then our defaults."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, cast
from urllib.parse import urlsplit

Protocol: TypeAlias = Literal["http/protobuf", "grpc"]
Signal: TypeAlias = Literal["traces", "logs"]

DEFAULT_HTTP = "http://127.0.0.1:4318"
DEFAULT_GRPC = "http://127.0.0.1:4317"
LIMITS = {  # the SDK's own 128 silently drops the oldest attributes of a long conversation: tokens and model first
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": 10_000,
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": 1_000,
    "OTEL_SPAN_EVENT_COUNT_LIMIT": 1_000,
    "OTEL_SPAN_LINK_COUNT_LIMIT": 1_000,
}
_BY_EXPORTER = {"otlp_proto_grpc": "grpc", "otlp_proto_http": "http/protobuf"}
_ALL_ATTRIBUTES = "OTEL_ATTRIBUTE_COUNT_LIMIT"  # said by the user, it rules over both attribute limits
_BATCH_VARIABLES = {
    "max_queue": "MAX_QUEUE_SIZE",
    "max_batch": "MAX_EXPORT_BATCH_SIZE",
    "delay_ms": "SCHEDULE_DELAY",
}
_CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


class ConfigError(ValueError):
    """A setting that cannot be; the message names it as users write it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """How many spans or events wait for others, and how long."""

    max_queue: int = 4096  # what does not fit is dropped, the app never waits
    max_batch: int = 512
    delay_ms: int = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    endpoints: Mapping[Signal, str]  # the full URL of each signal that is sent
    protocols: Mapping[Signal, Protocol] = field(default_factory=dict)  # http/protobuf where none is said
    elsewhere: frozenset[Signal] = frozenset()  # the variables name an exporter that is not OTLP's: it is enough
    headers: Mapping[str, str] = field(default_factory=dict)  # on top of OTEL_EXPORTER_OTLP_HEADERS
    service_name: str | None = None  # None: OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES says it
    capture_content: bool = False
    compress: bool = False  # over a network; on the same machine it only costs
    batches: Mapping[Signal, BatchLimits] = field(default_factory=dict)
    max_waiting_bytes: int = 64 * 2**20  # of a signal; what does not fit is dropped
    exit_ms: int = 3000  # the longest that leaving the program may take because of us

    def __post_init__(self) -> None:
        for protocol in self.protocols.values():
            if protocol not in ("http/protobuf", "grpc"):
                raise ConfigError(f"protocol must be http/protobuf or grpc, got {protocol!r}")
        if self.max_waiting_bytes < 1:
            raise ConfigError(f"MASLENS_MAX_WAITING_BYTES must be at least 1, got {self.max_waiting_bytes}")
        if self.exit_ms < 0:
            raise ConfigError(f"MASLENS_EXIT_TIMEOUT_MS must not be negative, got {self.exit_ms}")

    def protocol(self, signal: Signal) -> Protocol:
        return self.protocols.get(signal, "http/protobuf")

    def batch_limits(self, signal: Signal) -> BatchLimits:
        return self.batches.get(signal, BatchLimits())


def export_config(
    *,
    endpoint: str | None = None,
    protocol: str | None = None,
    headers: Mapping[str, str] | None = None,
    service_name: str | None = None,
    capture_content: bool | None = None,
    environ: Mapping[str, str] = os.environ,
) -> ExportConfig:
    """The settings as they hold for this process."""
    disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    signals: list[Signal] = [] if disabled else ["traces", "logs"]
    protocols = {signal: protocol or _protocol(signal, environ) for signal in signals}
    endpoints = {
        signal: _endpoint(signal, endpoint, protocols[signal], environ)
        for signal in signals
        if _word(environ, f"OTEL_{signal.upper()}_EXPORTER") != "none"
    }
    content = environ.get(_CONTENT, "").strip().upper() in ("TRUE", "SPAN_ONLY", "SPAN_AND_EVENT")
    return ExportConfig(
        endpoints=endpoints,
        protocols=cast("Mapping[Signal, Protocol]", protocols),
        elsewhere=frozenset(signal for signal in signals if not _is_otlp(signal, environ)),
        headers=headers or {},
        service_name=service_name or _service_name(environ),
        capture_content=content if capture_content is None else capture_content,
        compress=not any(map(is_local, endpoints.values())) and not _says_compression(environ),
        batches={signal: _batch_limits(signal, environ) for signal in signals},
        max_waiting_bytes=_number(environ, "MASLENS_MAX_WAITING_BYTES", 64 * 2**20),
        exit_ms=_number(environ, "MASLENS_EXIT_TIMEOUT_MS", 3000),
    )


def unset_limits(environ: Mapping[str, str] = os.environ) -> dict[str, int]:
    """The limits to raise: those the user has said nothing about."""
    return {
        name: value
        for name, value in LIMITS.items()
        if name not in environ and not (_ALL_ATTRIBUTES in environ and "ATTRIBUTE" in name)
    }


def _protocol(signal: Signal, environ: Mapping[str, str]) -> str:
    """What the signal's own variables say, then those of all; the exporter's name for traces says it for events too."""
    return (
        _BY_EXPORTER.get(_word(environ, f"OTEL_{signal.upper()}_EXPORTER"))
        or _word(environ, f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL")
        or _BY_EXPORTER.get(_word(environ, "OTEL_TRACES_EXPORTER"))
        or _word(environ, "OTEL_EXPORTER_OTLP_PROTOCOL")
        or "http/protobuf"
    )


def _is_otlp(signal: Signal, environ: Mapping[str, str]) -> bool:
    exporters = _word(environ, f"OTEL_{signal.upper()}_EXPORTER")
    return not exporters or "otlp" in exporters


def _word(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name, "").strip().lower()


def _endpoint(signal: Signal, given: str | None, protocol: str, environ: Mapping[str, str]) -> str:
    own = environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT", "").strip()
    if given is None and own:
        return own
    default = DEFAULT_GRPC if protocol == "grpc" else DEFAULT_HTTP
    base = (given or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")).strip() or default
    if "://" not in base:
        base = f"http://{base}"
    if protocol == "grpc":
        return base
    for known in ("/v1/traces", "/v1/logs"):
        base = base.rstrip("/").removesuffix(known)
    return f"{base.rstrip('/')}/v1/{signal}"


def _service_name(environ: Mapping[str, str]) -> str | None:
    """The program's name, where nobody says a better one: `unknown_service` tells no two apps apart."""
    if environ.get("OTEL_SERVICE_NAME") or "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        return None
    arguments: list[str] = list(getattr(sys, "orig_argv", []))[1:]
    if "-m" in arguments[:-1]:
        return arguments[arguments.index("-m") + 1]
    script = next((argument for argument in arguments if not argument.startswith("-")), None)
    return Path(script).stem if script and "-c" not in arguments else None


def _says_compression(environ: Mapping[str, str]) -> bool:
    return any(name.startswith("OTEL_EXPORTER_OTLP_") and name.endswith("COMPRESSION") for name in environ)


def _batch_limits(signal: Signal, environ: Mapping[str, str]) -> BatchLimits:
    """What is said of spans holds for events too, unless their own variables say otherwise."""
    said: dict[str, int] = {}
    for name, variable in _BATCH_VARIABLES.items():
        for batches in ("BSP", "BLRP") if signal == "logs" else ("BSP",):
            whole = f"OTEL_{batches}_{variable}"
            said[name] = number = _number(environ, whole, said.get(name, getattr(BatchLimits(), name)))
            if number < 1:
                raise ConfigError(f"{whole} must be at least 1, got {number}")
    return BatchLimits(**said)


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "").strip()
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"{name} must be a whole number, got {text!r}") from None


def address_of(url: str) -> tuple[str, int] | None:
    """Host and port to knock at, or None where a proxy stands between or the URL says neither."""
    parts = urlsplit(url)
    try:
        port = parts.port or {"https": 443}.get(parts.scheme, 80)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname else None


def is_local(url: str) -> bool:
    return (urlsplit(url).hostname or "") in ("localhost", "127.0.0.1", "::1")
