"""What is chosen for whom, what is set; on made-up environments of really installed metadata."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from maslens.instrumentation.zero_code import catalogue, environment, installed
from maslens.instrumentation.zero_code import load as load_instrumentor
from maslens.instrumentation.zero_code.streaming import UsageAsker

from tests.instrumentation.conftest import Install
from tests.instrumentation.otlp_sink import Sink


def chosen() -> dict[str, str | None]:
    return {
        choice.framework.id: choice.instrumentor.distribution if choice.instrumentor else None
        for choice in installed.choices()
    }


def test_openinference_is_preferred_and_what_is_there_is_taken(install: Install) -> None:
    install("langgraph")
    install("crewai")
    install("openinference-instrumentation-langchain")
    install("opentelemetry-instrumentation-langchain")
    install("opentelemetry-instrumentation-crewai")
    assert chosen()["langgraph"] == "openinference-instrumentation-langchain"
    assert chosen()["crewai"] == "opentelemetry-instrumentation-crewai"


def test_a_framework_without_instrumentor_is_known_as_unobserved(install: Install) -> None:
    install("smolagents")
    (choice,) = [one for one in installed.choices() if one.framework.id == "smolagents"]
    assert not choice.observed


@pytest.mark.parametrize(
    ("framework", "instrumentor", "switched_on"),
    [
        pytest.param("langgraph", "openinference-instrumentation-langchain", False, id="the framework's spans hold it"),
        pytest.param("crewai", "openinference-instrumentation-crewai", True, id="the framework leaves it out"),
        pytest.param("smolagents", "somebody-elses", True, id="the framework is not observed"),
    ],
)
def test_a_model_client_is_switched_on_only_where_nobody_covers_it(
    install: Install, framework: str, instrumentor: str, switched_on: bool
) -> None:
    install(framework)
    install(instrumentor)
    install("openai")
    install("openinference-instrumentation-openai")
    assert (chosen()["openai"] is not None) is switched_on


def test_the_loader_gets_everything_but_what_is_ours_to_choose() -> None:
    loaded: list[str] = []

    def entry_point(name: str, value: str) -> SimpleNamespace:
        instrumentor = SimpleNamespace(instrument=lambda **_: loaded.append(name))
        return SimpleNamespace(name=name, value=value, load=lambda: lambda: instrumentor)

    for name, value in (
        ("requests", "opentelemetry.instrumentation.requests:RequestsInstrumentor"),
        ("langchain", "openinference.instrumentation.langchain:LangChainInstrumentor"),
        ("google_adk", "openinference.instrumentation.google_adk:GoogleADKInstrumentor"),
    ):
        load_instrumentor(entry_point(name, value), {})
    assert loaded == ["requests"]


def test_the_environment_is_completed_and_never_overruled() -> None:
    environ = {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "7", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    environment.prepare(environ)
    assert environ["OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"] == "7"
    assert environ["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://127.0.0.1:4317"
    assert environ["OTEL_METRICS_EXPORTER"] == "none"
    assert environ["CREWAI_DISABLE_TELEMETRY"] == "true"
    assert "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT" not in environ


def test_vendors_get_theirs_only_where_the_user_says_so() -> None:
    environ = {"MASLENS_KEEP_VENDOR_EXPORT": "1"}
    environment.prepare(environ)
    assert not any(name in environ for name in ("CREWAI_DISABLE_TELEMETRY", "AGNO_TELEMETRY"))


@pytest.mark.parametrize(("content", "hidden"), [("on", "false"), ("off", "true")])
def test_contents_are_on_or_off_for_all_libraries_at_once(content: environment.Content, hidden: str) -> None:
    environ: dict[str, str] = {}
    environment.prepare(environ, content=content)
    assert environ["OPENINFERENCE_HIDE_INPUTS"] == hidden


def test_a_server_that_refuses_to_count_streams_is_asked_once() -> None:
    asker, asked = UsageAsker(), []

    def asking() -> Iterator[int]:
        asked.append(1)
        raise ValueError("unknown field: stream_options")
        yield 0

    for _ in range(2):
        plain = (lambda: iter([1, 2]),)
        items = asker.iterate("server", asking, *plain) if asker.may_ask("server") else plain[0]()
        assert list(items) == [1, 2]
    assert asked == [1]
    with pytest.raises(ValueError, match="quota"):
        list(asker.iterate("other", lambda: (_ for _ in ()).throw(ValueError("quota")), lambda: iter([])))


PROGRAM = """
import sys
from opentelemetry import trace
with trace.get_tracer("theirs").start_as_current_span("theirs"):
    pass
print("said", sys.argv[1:])
"""


def observed(command: list[str], sink: Sink, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "MASLENS_"))}
    return subprocess.run(
        command,
        env={**clean, "OTEL_EXPORTER_OTLP_ENDPOINT": sink.url, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
    )


@pytest.fixture
def sink() -> Iterator[Sink]:
    made = Sink().start()
    yield made
    made.stop()


RUN = [sys.executable, "-m", "maslens.instrumentation.run"]
INSTRUMENT = [str(Path(sys.executable).parent / "opentelemetry-instrument")]


@pytest.mark.parametrize("way", [RUN, INSTRUMENT], ids=["maslens run", "opentelemetry-instrument"])
def test_a_program_is_observed_without_a_change(way: list[str], sink: Sink, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(PROGRAM)
    done = observed([*way, sys.executable, "app.py", "--flag", "x"], sink, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "said ['--flag', 'x']\n", "")
    assert sink.named("theirs").resource["telemetry.distro.name"] == "maslens"
    assert sink.named("theirs").resource["service.name"] == "app"


OTHER_DISTRO = """
from opentelemetry.instrumentation.distro import BaseDistro
from opentelemetry.sdk._configuration import _OTelSDKConfigurator as Configurator

class Distro(BaseDistro):
    def _configure(self, **_):
        import os
        os.environ.setdefault("OTEL_TRACES_EXPORTER", "otlp_proto_http")
        os.environ.setdefault("OTEL_LOGS_EXPORTER", "none")
        os.environ.setdefault("OTEL_METRICS_EXPORTER", "none")
"""
INSTRUMENTOR = """
class Instrumentor:
    def instrument(self, **_):
        print(__name__, "switched on")
GoogleADKInstrumentor = Instrumentor
"""


def test_under_a_distro_of_somebody_else_the_choice_and_the_stamp_are_still_ours(sink: Sink, tmp_path: Path) -> None:
    """`opentelemetry-distro` and the like are often installed beside us, and the loader takes one of them."""
    harmful = tmp_path / "openinference" / "instrumentation" / "google_adk.py"
    harmful.parent.mkdir(parents=True)
    for file, text in (("otherdistro.py", OTHER_DISTRO), ("harmless.py", INSTRUMENTOR), (harmful, INSTRUMENTOR)):
        (tmp_path / file).write_text(text)
    info = tmp_path / "otherdistro-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: otherdistro\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[opentelemetry_distro]\nother = otherdistro:Distro\n"
        "[opentelemetry_configurator]\nother = otherdistro:Configurator\n"
        "[opentelemetry_instrumentor]\nharmless = harmless:Instrumentor\n"
        "google_adk = openinference.instrumentation.google_adk:GoogleADKInstrumentor\n"
    )
    (tmp_path / "app.py").write_text(
        "import os\nfrom maslens.instrumentation import session\nfrom opentelemetry import trace\n"
        "with session('c-1'), trace.get_tracer('theirs').start_as_current_span('theirs'):\n    pass\n"
        "print(os.environ['CREWAI_DISABLE_TELEMETRY'])\n"
    )
    other = {"OTEL_PYTHON_DISTRO": "other", "OTEL_PYTHON_CONFIGURATOR": "other", "PYTHONPATH": str(tmp_path)}
    done = observed([*INSTRUMENT, sys.executable, "app.py"], sink, tmp_path, **other)
    assert done.stdout == "harmless switched on\ntrue\n", done.stderr
    assert len(sink.spans) == 1
    assert sink.named("theirs").attributes["gen_ai.conversation.id"] == "c-1"
    assert "telemetry.distro.name" not in sink.named("theirs").resource


def test_child_processes_are_observed_too(sink: Sink, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(PROGRAM)
    (tmp_path / "parent.py").write_text(
        "import subprocess, sys\nsubprocess.run([sys.executable, 'app.py'], check=True)"
    )
    done = observed([*RUN, sys.executable, "parent.py"], sink, tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(sink.spans) == 1


def test_a_script_needs_no_python_in_front_and_options_are_ours_up_to_it(sink: Sink, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(PROGRAM)
    done = observed([*RUN, "--service-name", "desk", "--endpoint", sink.url, "app.py", "--endpoint"], sink, tmp_path)
    assert done.stdout == "said ['--endpoint']\n"
    assert sink.named("theirs").resource["service.name"] == "desk"


@pytest.mark.parametrize(
    ("command", "status", "says"),
    [
        pytest.param(["no-such-command"], 127, "no such command", id="unknown"),
        pytest.param([], 2, "usage:", id="nothing to run"),
    ],
)
def test_what_cannot_be_run_is_said(command: list[str], status: int, says: str, sink: Sink, tmp_path: Path) -> None:
    done = observed([*RUN, *command], sink, tmp_path)
    assert (done.returncode, says in done.stderr) == (status, True)


def test_the_programs_own_exit_status_and_signals_are_its_own(sink: Sink, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import sys; sys.exit(3)")
    assert observed([*RUN, sys.executable, "app.py"], sink, tmp_path).returncode == 3


def test_an_exporter_the_user_names_is_the_one_used(sink: Sink, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(PROGRAM)
    done = observed([*RUN, sys.executable, "app.py"], sink, tmp_path, OTEL_TRACES_EXPORTER="console")
    assert '"name": "theirs"' in done.stdout
    assert sink.spans == []


def test_every_fill_belongs_to_a_framework_and_every_framework_that_has_one_says_so() -> None:
    folder = Path(environment.__file__).parent / "fill"
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert files == {one.id.replace("-", "_") for one in catalogue.FRAMEWORKS if one.fills}


def test_every_framework_has_its_extra() -> None:
    from importlib.metadata import metadata

    extras = set(metadata("maslens").get_all("Provides-Extra") or ())
    assert {framework.id for framework in catalogue.FRAMEWORKS} <= extras
