"""The page for users does what it says: its programs are run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from maslens.instrumentation import __all__ as WORDS
from maslens.instrumentation.zero_code.catalogue import FRAMEWORKS

from tests.instrumentation.otlp_sink import Sink

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "instrument.md").read_text()


@pytest.fixture
def sink() -> Iterator[Sink]:
    made = Sink().start()
    yield made
    made.stop()


def programs(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def run(command: list[str], sink: Sink, folder: Path) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = sink.url
    return subprocess.run(command, env=environ, cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("program", programs("python"), ids=["one line", "own words", "loops and votes"])
def test_its_python_runs(program: str, sink: Sink, tmp_path: Path) -> None:
    done = run([sys.executable, "-c", program], sink, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_its_loops_votes_and_judgements_say_what_it_promises(sink: Sink, tmp_path: Path) -> None:
    done = run([sys.executable, "-c", programs("python")[2]], sink, tmp_path)
    assert done.stdout == "Foxes are red.\n"
    everywhere = {"gen_ai.conversation.id": "conversation-44", "mas.experiment.variant": "B"}
    assert all(everywhere.items() <= span.attributes.items() for span in sink.spans)
    writer, publisher = sink.named("invoke_agent writer"), sink.named("invoke_agent publisher")
    assert (writer.attributes["mas.iteration.index"], writer.attributes["gen_ai.caller.name"]) == (1, "editor")
    editor, newsroom = sink.named("invoke_agent editor"), sink.named("invoke_workflow newsroom")
    assert [(to, about["mas.link.type"]) for _, to, about in publisher.links] == [
        (editor.span_id, "triggered_by"),
        (newsroom.span_id, "join"),
    ]
    votes = [log.attributes for log in sink.logs if log.event == "mas.vote.cast"]
    assert {(cast["gen_ai.agent.name"], cast["mas.vote.option"]) for cast in votes} == {
        ("editor", "accept"),
        ("critic", "accept"),
    }
    assert len({cast["mas.consensus.id"] for cast in votes}) == 1
    judged = {log.attributes["gen_ai.evaluation.name"]: log for log in sink.logs if "evaluation" in log.event}
    assert judged["helpfulness"].attributes["gen_ai.evaluation.score.label"] == "good"
    assert judged["thumbs"].span_id == newsroom.span_id


def test_its_own_words_say_what_it_promises(sink: Sink, tmp_path: Path) -> None:
    done = run([sys.executable, "-c", programs("python")[1]], sink, tmp_path)
    assert done.stdout == "shipped\n"
    sent, taken = sink.named("execute_tool transfer_to_billing billing"), sink.named("invoke_agent billing")
    assert sent.attributes["mas.handoff.id"] == taken.attributes["mas.handoff.id"]
    assert sent.attributes["mas.context.hash"] == taken.attributes["mas.context.hash"]
    assert sink.named("chat gpt-4.1-mini").attributes["gen_ai.agent.name"] == "billing"
    assert {span.attributes["gen_ai.conversation.id"] for span in sink.spans} == {"conversation-42"}


def test_it_knows_every_framework_and_every_word() -> None:
    for framework in FRAMEWORKS:
        assert f"`{framework.id}`" in PAGE
    for word in WORDS:
        if word.islower():
            assert f"`{word}" in PAGE or f"{word}(" in PAGE or word in ("shutdown", "doctor_app"), word
