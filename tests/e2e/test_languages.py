"""Agents in TypeScript, as docs/languages.md shows them, send with the stock exporter what maslens reads."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.running import Up, answer, environment, eventually
from tests.frameworks.scripted_model import Reply, ScriptedModel

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "build" / "typescript"
PAGE = ROOT / "docs" / "languages.md"
pytestmark = [pytest.mark.network, pytest.mark.slow]

SCRIPT = {
    "triage": [Reply(tools=[("ask_billing", {"question": "order 7?"})]), Reply(text="It is on its way.")],
    "billing": [Reply(tools=[("lookup_order", {"order": "7"})]), Reply(text="shipped")],
}


def snippet(name: str) -> str:
    """The code on the page after the mark of this name."""
    found = re.search(rf"<!-- test: {name} -->\n\n```typescript\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found, f"{PAGE} has no {name}"
    return found.group(1)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if not (PLACE / "node_modules").is_dir():
        pytest.skip("the packages are not there: make languages")
    running = Up(tmp_path_factory.mktemp("languages") / "data").start()
    yield running
    running.stop()


def run(up: Up, name: str, code: str, **environ: str) -> str:
    """Run `code` as the page has it."""
    program = PLACE / f"{name}.ts"
    program.write_text(code)
    done = subprocess.run(
        ["node", "--import", "tsx", program.name],
        cwd=PLACE,
        env=environment(OTEL_EXPORTER_OTLP_ENDPOINT=up.otlp_http, **environ),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def facts(up: Up, session: str) -> dict[str, Any]:
    def known() -> list[Any]:
        return [row for row in answer("sessions", "--url", up.url) if row["session_id"] == session]

    (ended,) = eventually(known, within_s=60)

    def of(what: str) -> Any:
        return answer(what, "--session", session, "--url", up.url)

    return {
        "session": ended,
        "edges": [(row["source"], row["target"], row["mode"], row["evidence"]) for row in of("handoffs")],
        "tools": sorted(
            (row["agent"], row["tool"])
            for row in answer(
                "query", f"SELECT agent, tool FROM tool_calls WHERE session_id = '{session}'", "--url", up.url
            )
        ),
        "spent": {
            row["agent"]: (row["input_tokens"], row["output_tokens"], row["cached_tokens"])
            for row in answer("cost", "--by", "agent", "--session", session, "--url", up.url)
            if not row["agent"].startswith("(")
        },
    }


def test_agents_of_vercels_ai_sdk(up: Up) -> None:
    marked = re.sub(r'"(You are the (\w+) agent)', r'"[agent:\2] \1', snippet("ai-sdk"))
    with ScriptedModel(SCRIPT) as model:
        said = run(up, "ai-sdk", marked, OPENAI_BASE_URL=model.url, OPENAI_API_KEY="scripted")
    assert (said.strip(), model.unexpected, model.left_over()) == ("It is on its way.", [], {})
    found = facts(up, "conversation-45")
    assert found["edges"] == [("triage", "billing", "return_to_caller", "structure")]
    assert found["tools"] == [("billing", "lookup_order"), ("triage", "ask_billing")]
    assert found["spent"] == model.tokens()  # the outer spans repeat them
    assert (found["session"]["outcome"], found["session"]["llm_calls"]) == ("success", 4)


def test_agents_written_by_hand(up: Up) -> None:
    run(up, "by-hand", snippet("by-hand"))
    found = facts(up, "conversation-43")
    assert found["edges"] == [("triage", "billing", "pass_control", "explicit")]
    assert found["spent"] == {"triage": (812, 40, 0)}
