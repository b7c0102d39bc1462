"""Three processes, two transports, one session: from the words in an app to what `maslens` answers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.running import Up, answer, environment, eventually

pytestmark = pytest.mark.slow

BILLING = """
import http.server
from maslens.instrumentation import agent, init, llm, received, shutdown, tool

init(service_name="billing")


class Desk(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        question = self.rfile.read(int(self.headers["Content-Length"]))
        with received(self.headers, same_trace=True), agent("billing", context=question):
            with llm("gpt-4.1-mini", provider="openai") as call:
                call.usage(1000, 100)
            with tool("lookup_order"):
                pass
        self.send_response(200)
        self.end_headers()


server = http.server.HTTPServer(("127.0.0.1", 0), Desk)
print(server.server_address[1], flush=True)
server.handle_request()
shutdown()
"""
TRIAGE = """
import json, sys, urllib.request
from maslens.instrumentation import agent, handoff, init, llm, session, vote, workflow

init(service_name="triage")
port, queue = sys.argv[1:]
with session("c-1"), workflow("desk"), agent("triage"):
    with llm("gpt-4.1-mini", provider="openai") as call:
        call.usage(2000, 200)
    with handoff("billing", mode="return_to_caller", context=b"order 7?") as h:
        request = urllib.request.Request(f"http://127.0.0.1:{port}", b"order 7?", h.carrier())
        urllib.request.urlopen(request).close()
    with handoff("archive", context=["order 7?", "shipped"], trigger="rule") as h, open(queue, "w") as out:
        json.dump(h.carrier(), out)
"""
ARCHIVE = """
import json, sys
from maslens.instrumentation import agent, init

init(service_name="archive")
with open(sys.argv[1]) as queue:
    message = json.load(queue)
with agent("archive", handoff=message, context=["order 7?"]):
    pass
"""


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running maslens that three processes have talked to."""
    folder = tmp_path_factory.mktemp("whole")
    up = Up(folder / "data").start()
    environ = environment(OTEL_EXPORTER_OTLP_ENDPOINT=up.otlp_http)
    billing = subprocess.Popen([sys.executable, "-c", BILLING], env=environ, stdout=subprocess.PIPE, text=True)
    try:
        assert billing.stdout is not None
        port = billing.stdout.readline().strip()
        queue = str(folder / "queue.json")
        subprocess.run([sys.executable, "-c", TRIAGE, port, queue], env=environ, check=True, timeout=60)
        subprocess.run([sys.executable, "-c", ARCHIVE, queue], env=environ, check=True, timeout=60)
        assert billing.wait(timeout=60) == 0
        eventually(lambda: len(ask(up, "handoffs")) == 2 and len(ask(up, "agents")) == 3)
        yield up
    finally:
        billing.kill()
        up.kill()
        billing.communicate()


def ask(up: Up, *command: str) -> list[dict[str, Any]]:
    return answer(*command, "--url", up.url)


def test_it_is_one_session_over_three_services(asked: Up) -> None:
    (session,) = ask(asked, "sessions")
    assert session["session_id"] == "c-1"
    assert sorted(session["agents"]) == ["archive", "billing", "triage"]
    assert (session["traces"], session["outcome"]) == (2, "success")


def test_both_handoffs_are_explicit_whatever_they_travelled_over(asked: Up) -> None:
    found = {
        (row["source"], row["target"], row["mode"], row["evidence"], row["confidence"])
        for row in ask(asked, "handoffs")
    }
    assert found == {
        ("triage", "billing", "return_to_caller", "explicit", 1.0),
        ("triage", "archive", "pass_control", "explicit", 1.0),
    }


def test_what_was_lost_on_the_way_shows(asked: Up) -> None:
    rows = {row["target"]: row for row in ask(asked, "handoffs")}
    assert rows["billing"]["context_hash_sent"] == rows["billing"]["context_hash_received"] != ""
    assert rows["archive"]["context_hash_sent"] != rows["archive"]["context_hash_received"] != ""


def test_each_agent_pays_for_its_own_calls(asked: Up) -> None:
    rows = {row["agent"]: (row["llm_calls"], row["input_tokens"]) for row in ask(asked, "cost", "--by", "agent")}
    assert rows["triage"] == (1, 2000)
    assert rows["billing"] == (1, 1000)
    assert rows["(total)"] == (2, 3000)


def test_nothing_was_left_behind(asked: Up, tmp_path: Path) -> None:
    assert "Traceback" not in asked.log.read_text()
