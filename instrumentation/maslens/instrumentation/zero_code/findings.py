"""What in this environment would silently lose spans, tokens or agents, and what helps. Nothing is imported."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution, entry_points, requires
from typing import Literal, TypeAlias

from maslens.instrumentation.config import ConfigError, export_config
from maslens.instrumentation.outlet import listens
from maslens.instrumentation.zero_code.catalogue import FRAMEWORKS
from maslens.instrumentation.zero_code.environment import vendors_wanted
from maslens.instrumentation.zero_code.installed import choices, version_of
from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

Severity: TypeAlias = Literal["error", "warning", "note"]
Environ: TypeAlias = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that goes wrong without a word, and its cure."""

    code: str
    severity: Severity
    subject: str  # the package, framework or variable
    problem: str
    cure: str
    handled: bool = False  # `maslens run` takes care of it; plain `opentelemetry-instrument` or `init()` may not


def doctor_app(environ: Environ = os.environ) -> list[Finding]:
    """Every finding in the Python environment that runs this and in `environ`; the serious ones first."""
    found = [finding for check in _CHECKS for finding in check(environ)]
    order: dict[Severity, int] = {"error": 0, "warning": 1, "note": 2}
    return sorted(found, key=lambda finding: (finding.handled, order[finding.severity], finding.code))


# --- frameworks and their instrumentors


def _unobserved(_: Environ) -> Iterator[Finding]:
    for choice in choices():
        framework = choice.framework
        if choice.observed or choice.unused or framework.id == "mcp":
            continue
        if framework.is_model_client and any(other.observed for other in choices() if other is not choice):
            continue
        yield Finding(
            code="not-observed",
            severity="warning" if framework.is_model_client else "error",
            subject=framework.id,
            problem=f"{framework.distributions[0]} is installed, but nothing that turns what it does into spans",
            cure=f"pip install 'maslens[{framework.id}]'",
        )


def _refused_by_the_loader(_: Environ) -> Iterator[Finding]:
    for framework in FRAMEWORKS:
        for instrumentor in framework.instrumentors:
            missing = list(_missing_requirements(instrumentor.distribution))
            if missing and any(map(version_of, framework.distributions)):
                yield Finding(
                    code="refused-by-loader",
                    severity="warning",
                    subject=instrumentor.distribution,
                    problem=f"opentelemetry-instrument loads it only where {', '.join(missing)} is installed too",
                    cure="start the program with `maslens run`, or call instrument(skip_dep_check=True) yourself",
                    handled=True,
                )


def _two_for_one(_: Environ) -> Iterator[Finding]:
    for choice in choices():
        others = [
            one.distribution
            for one in choice.framework.instrumentors
            if one is not choice.instrumentor and version_of(one.distribution)
        ]
        kept = choice.instrumentor
        if kept is None or not others:
            continue
        if any(one.target == kept.target for one in choice.framework.instrumentors if one.distribution in others):
            yield Finding(
                code="same-module",
                severity="error",
                subject=kept.distribution,
                problem=f"{', '.join(others)} installs the same module; the last one installed works",
                cure=f"pip uninstall {' '.join(others)}; pip install --force-reinstall --no-deps {kept.distribution}",
            )
        else:
            yield Finding(
                code="instrumented-twice",
                severity="warning",
                subject=choice.framework.id,
                problem=f"{kept.distribution} and {', '.join(others)} would both write every call down",
                cure=f"pip uninstall {' '.join(others)}; `maslens run` switches on {kept.distribution} alone",
                handled=True,
            )


def _harmful(_: Environ) -> Iterator[Finding]:
    for framework in FRAMEWORKS:
        for instrumentor in framework.harmful:
            if version_of(instrumentor.distribution) and any(map(version_of, framework.distributions)):
                yield Finding(
                    code="spans-taken-over",
                    severity="warning",
                    subject=instrumentor.distribution,
                    problem=f"it takes over the spans that {framework.id} writes itself and loses model calls",
                    cure=f"pip uninstall {instrumentor.distribution}, or "
                    f"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS={instrumentor.entry_point}",
                    handled=True,
                )


def _only_processors(_: Environ) -> Iterator[Finding]:
    for name in ("agent-framework", "strands-agents", "pydantic-ai"):
        package = f"openinference-instrumentation-{name}"
        if version_of(package):
            yield Finding(
                code="processor-only",
                severity="note",
                subject=package,
                problem="it is a span processor, which opentelemetry-instrument does not load; alone it does nothing",
                cure="nothing to do: the framework's own spans are read as they are",
            )


def _needs_a_call(_: Environ) -> Iterator[Finding]:
    if version_of("pydantic-ai-slim") or version_of("pydantic-ai"):
        yield Finding(
            code="needs-a-call",
            severity="warning",
            subject="pydantic-ai",
            problem="it writes no spans until the program calls Agent.instrument_all(); no variable does that",
            cure="start the program with `maslens run`, or add the call",
            handled=True,
        )


def _openai_v2(_: Environ) -> Iterator[Finding]:
    package = "opentelemetry-instrumentation-openai-v2"
    if not version_of(package):
        return
    openai = version_of("openai")
    if openai and Version(openai).major >= 3 and not version_of("httpx"):
        yield Finding(
            code="import-fails",
            severity="error",
            subject=package,
            problem=f"it imports httpx, which openai {openai} no longer brings; it fails and says nothing",
            cure="pip install httpx",
        )
    if version_of("opentelemetry-util-genai") and not _has_file("opentelemetry-util-genai", "util/genai/instruments"):
        yield Finding(
            code="import-fails",
            severity="error",
            subject=package,
            problem="it imports opentelemetry.util.genai.instruments, which this opentelemetry-util-genai lacks",
            cure="pip install 'opentelemetry-util-genai<1.2b0'",
        )
    yield Finding(
        code="no-responses-api",
        severity="warning",
        subject=package,
        problem="it does not see client.responses: such calls leave no span",
        cure="pip install 'maslens[openai]', which sees both APIs",
    )


def _native_and_instrumented(_: Environ) -> Iterator[Finding]:
    anthropic = version_of("anthropic")
    if not anthropic or Version(anthropic) < Version("2.11"):
        return
    (framework,) = (one for one in FRAMEWORKS if one.id == "anthropic")
    for instrumentor in framework.instrumentors:
        if version_of(instrumentor.distribution):
            yield Finding(
                code="instrumented-twice",
                severity="note",
                subject=instrumentor.distribution,
                problem=f"anthropic {anthropic} writes spans of its calls itself; every call is there twice",
                cure="nothing to do: maslens counts a call once, by its response id",
            )


def _openlit_langgraph(_: Environ) -> Iterator[Finding]:
    if version_of("openlit") and version_of("langgraph"):
        yield Finding(
            code="model-calls-lost",
            severity="error",
            subject="openlit",
            problem="with LangGraph 1.x it names every agent `model` and loses model calls",
            cure="pip install 'maslens[langgraph]' and start without openlit",
        )


# --- the loader


def _old_distro(_: Environ) -> Iterator[Finding]:
    distro = version_of("opentelemetry-distro")
    if distro and Version(distro) < Version("0.60b0"):
        yield Finding(
            code="old-distro",
            severity="error",
            subject="opentelemetry-distro",
            problem=f"{distro} is years older than the SDK beside it; opentelemetry-instrument dies on `pkg_resources`",
            cure="pip install 'opentelemetry-distro>=0.60b0'",
        )


def _other_distros(environ: Environ) -> Iterator[Finding]:
    others = {point.name for point in entry_points(group="opentelemetry_distro")} - {"maslens"}
    if others and environ.get("OTEL_PYTHON_DISTRO") != "maslens":
        yield Finding(
            code="two-distros",
            severity="warning",
            subject=", ".join(sorted(others)),
            problem="opentelemetry-instrument takes the first distro it finds; under another one limits stay at 128",
            cure="start with `maslens run`, or OTEL_PYTHON_DISTRO=maslens and OTEL_PYTHON_CONFIGURATOR=maslens",
            handled=True,
        )


def _disabled(environ: Environ) -> Iterator[Finding]:
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        yield _variable("OTEL_SDK_DISABLED", "error", "no span is made at all", "unset it")
    if environ.get("OPENAI_AGENTS_DISABLE_TRACING", "").lower() in ("1", "true"):
        yield _variable("OPENAI_AGENTS_DISABLE_TRACING", "error", "the OpenAI Agents SDK tells nobody", "unset it")
    if environ.get("OTEL_TRACES_EXPORTER", "").lower() == "none":
        yield _variable("OTEL_TRACES_EXPORTER", "error", "spans are made and thrown away", "unset it")
    sampler = environ.get("OTEL_TRACES_SAMPLER", "")
    if sampler and "always_on" not in sampler:
        yield _variable(
            "OTEL_TRACES_SAMPLER",
            "warning",
            f"{sampler} drops whole runs: counts and costs are those of the rest",
            "unset it, or sample behind maslens",
        )
    off = {name.strip() for name in environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")}
    for choice in choices():
        if choice.instrumentor is not None and off & {choice.instrumentor.entry_point, "*"}:
            yield _variable(
                "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS",
                "warning",
                f"it switches {choice.instrumentor.distribution} off, and every other one of that name",
                "take the name out of it",
            )


# --- what keeps data whole


def _limits(environ: Environ) -> Iterator[Finding]:
    for name in ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"):
        said = environ.get(name, "")
        if said.isdigit() and int(said) < 1000:
            yield _variable(
                name,
                "error",
                f"of a long conversation only {said} attributes are kept; tokens and model go first",
                f"{name}=10000",
            )
    if not any(name in environ for name in ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT")):
        yield Finding(
            code="attributes-dropped",
            severity="warning",
            subject="OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
            problem="unset it is 128: of a long conversation tokens and model are dropped without a word",
            cure="OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=10000, or start with `maslens run` or `init()`, which set it",
            handled=True,
        )


def _content(environ: Environ) -> Iterator[Finding]:
    name = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
    if environ.get(name, "").lower() in ("true", "1") and version_of("opentelemetry-util-genai"):
        yield _variable(
            name,
            "warning",
            "`true` is no longer a value of it; no content is recorded",
            f"{name}=SPAN_ONLY and OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental",
        )


def _streams(environ: Environ) -> Iterator[Finding]:
    behind_a_proxy = environ.get("OPENAI_BASE_URL") or environ.get("OPENAI_API_BASE")
    if version_of("langchain-openai") and behind_a_proxy:
        yield Finding(
            code="stream-without-tokens",
            severity="warning",
            subject="langchain-openai",
            problem=f"with {behind_a_proxy} it does not ask for the tokens of a stream; such calls count as unknown",
            cure="ChatOpenAI(stream_usage=True), or start with `maslens run`, which asks",
            handled=True,
        )
    if version_of("llama-index-llms-openai"):
        yield Finding(
            code="stream-without-tokens",
            severity="warning",
            subject="llama-index-llms-openai",
            problem="agents stream by default, and streams are not asked for their tokens",
            cure='OpenAI(additional_kwargs={"stream_options": {"include_usage": True}}), or start with `maslens run`',
            handled=True,
        )


def _destinations(environ: Environ) -> Iterator[Finding]:
    try:
        config = export_config(environ=environ)
    except ConfigError as error:
        yield Finding(code="setting", severity="error", subject="OTEL_*", problem=str(error), cure="correct it")
        return
    url = config.endpoints.get("traces")
    if url and not listens(url):
        yield Finding(
            code="nobody-listens",
            severity="error",
            subject=url,
            problem="nothing answers there; spans are dropped",
            cure="start `maslens up`, or say where it runs: OTEL_EXPORTER_OTLP_ENDPOINT=http://host:4318",
        )
    leaving = next((one for one in choices() if one.framework.id == "openai-agents" and one.instrumentor), None)
    if leaving and "openinference" not in leaving.instrumentor.distribution and not vendors_wanted(environ):  # type: ignore[union-attr]
        yield Finding(
            code="sent-to-vendor",
            severity="warning",
            subject="openai-agents",
            problem="its own exporter goes on sending every trace to api.openai.com",
            cure="start with `maslens run`, which takes it out, or agents.set_trace_processors([...])",
            handled=True,
        )


def _variable(name: str, severity: Severity, problem: str, cure: str) -> Finding:
    return Finding(code="variable", severity=severity, subject=name, problem=problem, cure=cure)


# --- what is installed


def _missing_requirements(package: str) -> Iterator[str]:
    """What the auto-loader demands of the extra `instruments` and does not find: it demands all of it."""
    for text in _requirements(package):
        try:
            wanted = Requirement(text)
        except InvalidRequirement:
            continue
        if wanted.marker is None or not re.search(r"extra\s*==\s*['\"]instruments['\"]", str(wanted.marker)):
            continue
        if not wanted.marker.evaluate({"extra": "instruments"}):
            continue
        has = version_of(wanted.name)
        if has is None or not wanted.specifier.contains(has, prereleases=True):
            yield f"{wanted.name}{wanted.specifier}"


def _requirements(package: str) -> Iterable[str]:
    try:
        return requires(package) or ()
    except PackageNotFoundError:
        return ()


def _has_file(package: str, part: str) -> bool:
    try:
        found: Distribution = distribution(package)
    except PackageNotFoundError:
        return False
    return any(part in str(file) for file in found.files or ())


_CHECKS: tuple[Callable[[Environ], Iterator[Finding]], ...] = (
    _unobserved,
    _refused_by_the_loader,
    _two_for_one,
    _harmful,
    _only_processors,
    _needs_a_call,
    _openai_v2,
    _native_and_instrumented,
    _openlit_langgraph,
    _old_distro,
    _other_distros,
    _disabled,
    _limits,
    _content,
    _streams,
    _destinations,
)
