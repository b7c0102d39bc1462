"""Every way in which zero-code fails without a word is named with its cure; on made-up environments of metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import metadata
from pathlib import Path

import pytest
from maslens.instrumentation import doctor_app
from maslens.instrumentation.zero_code import findings
from maslens.instrumentation.zero_code.findings import Finding
from maslens.instrumentation.zero_code.installed import version_of

from tests.instrumentation.conftest import Install
from tests.instrumentation.otlp_sink import Sink

PAGE = (Path(__file__).parents[2] / "docs" / "instrument.md").read_text()


@dataclass(frozen=True, kw_only=True)
class Case:
    """`installed` (name, version, more metadata) and `environ` must give `finding` with `cure`; without, nothing."""

    installed: list[tuple[str, dict[str, str]]]
    finding: tuple[str, str]  # code, subject
    cure: str
    environ: dict[str, str] = field(default_factory=dict)
    absent: str = ""  # not there, although the tests themselves need it


def has(name: str, version: str = "99.0", **more: str) -> tuple[str, dict[str, str]]:
    return name, {"version": version, **more}


NOT_THERE = "not-installed-anywhere>=0.1.7; extra == 'instruments'"
OPENAI_V2 = has("opentelemetry-instrumentation-openai-v2", "2.4b0")
UTIL_WITHOUT = has("opentelemetry-util-genai", "1.2b0", files="opentelemetry/util/genai/handler.py,,\n")
UTIL_WITH = has("opentelemetry-util-genai", "1.1b0", files="opentelemetry/util/genai/instruments.py,,\n")
CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"

SILENT = [
    pytest.param(
        Case(
            installed=[
                has("llama-index-core"),
                has("openinference-instrumentation-llama-index", requires=NOT_THERE),
            ],
            finding=("refused-by-loader", "openinference-instrumentation-llama-index"),
            cure="maslens run",
        ),
        id="LlamaIndex: the loader refuses OpenInference",
    ),
    pytest.param(
        Case(
            installed=[has("llama-index-core"), has("opentelemetry-instrumentation-llamaindex", requires=NOT_THERE)],
            finding=("refused-by-loader", "opentelemetry-instrumentation-llamaindex"),
            cure="skip_dep_check=True",
        ),
        id="LlamaIndex: the loader refuses Traceloop",
    ),
    pytest.param(
        Case(
            installed=[OPENAI_V2, has("openai", "3.52.0"), UTIL_WITH],
            absent="httpx",
            finding=("import-fails", "opentelemetry-instrumentation-openai-v2"),
            cure="pip install httpx",
        ),
        id="openai-v2 imports httpx, which openai 3 has replaced",
    ),
    pytest.param(
        Case(
            installed=[OPENAI_V2, has("openai", "2.9"), UTIL_WITHOUT],
            finding=("import-fails", "opentelemetry-instrumentation-openai-v2"),
            cure="opentelemetry-util-genai<1.2b0",
        ),
        id="openai-v2 imports a module that util-genai has dropped",
    ),
    pytest.param(
        Case(
            installed=[UTIL_WITH],
            environ={CONTENT: "true"},
            finding=("variable", CONTENT),
            cure="SPAN_ONLY",
        ),
        id="`true` no longer records contents",
    ),
    pytest.param(
        Case(
            installed=[OPENAI_V2, has("openai", "2.9")],
            finding=("no-responses-api", "opentelemetry-instrumentation-openai-v2"),
            cure="maslens[openai]",
        ),
        id="openai-v2 does not see client.responses",
    ),
    pytest.param(
        Case(
            installed=[has("opentelemetry-distro", "0.48b0")],
            finding=("old-distro", "opentelemetry-distro"),
            cure="opentelemetry-distro>=0.60b0",
        ),
        id="the resolver went back to a distro of 2024",
    ),
    pytest.param(
        Case(
            installed=[has("google-adk"), has("openinference-instrumentation-google-adk")],
            finding=("spans-taken-over", "openinference-instrumentation-google-adk"),
            cure="OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=google_adk",
        ),
        id="Google ADK's spans are taken over and lost",
    ),
    pytest.param(
        Case(
            installed=[has("langgraph"), has("openlit")],
            finding=("model-calls-lost", "openlit"),
            cure="maslens[langgraph]",
        ),
        id="OpenLIT loses LangGraph's model calls",
    ),
    pytest.param(
        Case(
            installed=[has("pydantic-ai-slim")],
            finding=("needs-a-call", "pydantic-ai"),
            cure="maslens run",
        ),
        id="Pydantic AI writes nothing until told to",
    ),
    *(
        pytest.param(
            Case(
                installed=[has(f"openinference-instrumentation-{name}")],
                finding=("processor-only", f"openinference-instrumentation-{name}"),
                cure="nothing to do",
            ),
            id=f"OpenInference's {name} is a processor, which nobody loads",
        )
        for name in ("agent-framework", "strands-agents", "pydantic-ai")
    ),
    # --- and what was found beside them
    pytest.param(
        Case(installed=[has("langgraph")], finding=("not-observed", "langgraph"), cure="maslens[langgraph]"),
        id="a framework without an instrumentor",
    ),
    pytest.param(
        Case(
            installed=[
                has("openai-agents"),
                has("opentelemetry-instrumentation-openai-agents"),
                has("opentelemetry-instrumentation-openai-agents-v2"),
            ],
            finding=("same-module", "opentelemetry-instrumentation-openai-agents-v2"),
            cure="pip uninstall opentelemetry-instrumentation-openai-agents",
        ),
        id="two distributions install one module",
    ),
    pytest.param(
        Case(
            installed=[
                has("crewai"),
                has("openinference-instrumentation-crewai"),
                has("opentelemetry-instrumentation-crewai"),
            ],
            finding=("instrumented-twice", "crewai"),
            cure="pip uninstall opentelemetry-instrumentation-crewai",
        ),
        id="two instrumentors write one call down",
    ),
    pytest.param(
        Case(
            installed=[has("openai-agents"), has("opentelemetry-instrumentation-openai-agents-v2")],
            finding=("sent-to-vendor", "openai-agents"),
            cure="maslens run",
        ),
        id="traces go on to api.openai.com",
    ),
    pytest.param(
        Case(
            installed=[has("langchain-openai")],
            environ={"OPENAI_BASE_URL": "http://proxy"},
            finding=("stream-without-tokens", "langchain-openai"),
            cure="stream_usage=True",
        ),
        id="LangChain's streams behind a proxy have no tokens",
    ),
    pytest.param(
        Case(
            installed=[has("llama-index-llms-openai")],
            finding=("stream-without-tokens", "llama-index-llms-openai"),
            cure="include_usage",
        ),
        id="LlamaIndex's streams have no tokens",
    ),
    pytest.param(
        Case(
            installed=[has("a-distro", entry_points="[opentelemetry_distro]\nother = other:Distro\n")],
            finding=("two-distros", "other"),
            cure="OTEL_PYTHON_DISTRO=maslens",
        ),
        id="another distro is installed beside ours",
    ),
    pytest.param(
        Case(installed=[], finding=("attributes-dropped", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"), cure="=10000"),
        id="the attribute limit is the SDK's",
    ),
    pytest.param(
        Case(
            installed=[],
            environ={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
            finding=("nobody-listens", "http://127.0.0.1:9/v1/traces"),
            cure="maslens up",
        ),
        id="nobody listens at the endpoint",
    ),
]


@pytest.fixture
def healthy(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Variables with which nothing is wrong by themselves."""
    sink = Sink().start()
    yield {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "10000"}
    sink.stop()


def found(environ: dict[str, str]) -> dict[tuple[str, str], list[Finding]]:
    made: dict[tuple[str, str], list[Finding]] = {}
    for finding in doctor_app(environ):
        made.setdefault((finding.code, finding.subject), []).append(finding)
    return made


@pytest.mark.parametrize("case", SILENT)
def test_a_silent_failure_is_named_with_its_cure(
    case: Case, install: Install, healthy: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {} if case.finding[0] == "attributes-dropped" else {**healthy, **case.environ}
    if case.absent:
        monkeypatch.setattr(findings, "version_of", lambda name: None if name == case.absent else version_of(name))
    if case.finding[0] != "attributes-dropped":
        assert case.finding not in found(healthy), "it is there without its cause"
    for name, about in case.installed:
        install(name, **about)
    version_of.cache_clear()
    assert any(case.cure in finding.cure for finding in found(environ)[case.finding])


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        pytest.param({"OTEL_SDK_DISABLED": "true"}, "no span is made", id="SDK off"),
        pytest.param({"OTEL_TRACES_EXPORTER": "none"}, "thrown away", id="exporter off"),
        pytest.param({"OPENAI_AGENTS_DISABLE_TRACING": "1"}, "tells nobody", id="agents off"),
        pytest.param({"OTEL_TRACES_SAMPLER": "traceidratio"}, "drops whole runs", id="sampling"),
        pytest.param({"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "128"}, "tokens and model go first", id="limit"),
        pytest.param({"OTEL_BSP_SCHEDULE_DELAY": "soon"}, "must be a whole number", id="wrong number"),
    ],
)
def test_a_variable_that_loses_data_is_named(environ: dict[str, str], says: str) -> None:
    named = [finding for finding in doctor_app(environ) if says in finding.problem]
    assert named and named[0].severity in ("error", "warning")


def test_a_healthy_environment_has_nothing_serious(healthy: dict[str, str]) -> None:
    assert [finding for finding in doctor_app(healthy) if finding.severity == "error"] == []


def test_the_page_lists_every_finding_there_is() -> None:
    codes = set(re.findall(r'code="([a-z-]+)"', Path(findings.__file__).read_text()))
    listed = set(re.findall(r"^\| `([a-z-]+)` \|", PAGE, flags=re.MULTILINE))
    assert listed == codes


def test_an_extra_that_a_cure_names_exists() -> None:
    extras = set(metadata("maslens").get_all("Provides-Extra") or ())
    named = set(re.findall(r"maslens\[([a-z-]+)\]", Path(findings.__file__).read_text()))
    assert named <= extras
