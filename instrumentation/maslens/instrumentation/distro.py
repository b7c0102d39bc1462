"""What `opentelemetry-instrument` finds where maslens is installed: our defaults, set-up and instrumentors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from maslens.instrumentation.guard import swallowed
from maslens.instrumentation.setup import init
from opentelemetry.instrumentation.distro import BaseDistro  # type: ignore[attr-defined]  # untyped upstream

_OTLP = ("", "otlp", "otlp_proto_http", "otlp_proto_grpc", "none")
_ONLY_THE_SDK_KNOWS = (
    "OTEL_CONFIG_FILE",
    "OTEL_EXPERIMENTAL_CONFIG_FILE",
    "OTEL_PYTHON_ID_GENERATOR",
    "OTEL_PYTHON_TRACER_CONFIGURATOR",
    "OTEL_PYTHON_LOGGER_CONFIGURATOR",
    "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED",
)


class MaslensDistro(BaseDistro):  # type: ignore[misc]  # untyped upstream
    """Sets what keeps data whole before anything reads it, and lets `zero_code` choose the instrumentors."""

    def _configure(self, **_: Any) -> None:
        from maslens.instrumentation.zero_code import in_charge, prepare

        in_charge()
        prepare()

    def load_instrumentor(self, entry_point: Any, **kwargs: Any) -> None:
        from maslens.instrumentation.zero_code import load

        load(entry_point, kwargs)


class MaslensConfigurator:
    """`init` where OTLP is all that is asked for; the SDK's own configurator, with our stamp on top, where more is."""

    def configure(self, **kwargs: Any) -> None:
        if not _only_otlp(os.environ):
            try:
                from opentelemetry.sdk import _configuration

                sdk: Any = _configuration._OTelSDKConfigurator
                sdk().configure(**kwargs)
            except Exception as mistake:
                swallowed("configurator", mistake)
        version = kwargs.get("auto_instrumentation_version")
        init(resource_attributes={"telemetry.auto.version": version} if version else None)


def _only_otlp(environ: Mapping[str, str]) -> bool:
    exporters = [environ.get(f"OTEL_{signal}_EXPORTER", "").strip().lower() for signal in ("TRACES", "LOGS")]
    metrics = environ.get("OTEL_METRICS_EXPORTER", "none").strip().lower()
    return (
        all(exporter in _OTLP for exporter in exporters)
        and metrics in ("", "none")
        and not any(environ.get(name) for name in _ONLY_THE_SDK_KNOWS)
    )
