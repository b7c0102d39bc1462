"""The page in a real browser, fed by a real store: what it draws, and that no span can make it run anything."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
import pytest
import uvicorn
from maslens.analytics import frames
from maslens.analytics.facts import compute
from maslens.analytics.prices import PriceBook
from maslens.analytics.server import create_app
from maslens.analytics.sidecar import Sidecar
from maslens.storage import Store, open_store

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian package chromium)")

NOW = datetime.now(timezone.utc) - timedelta(minutes=5)
EVIL = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=8000",
    "--dump-dom",
)


def span(number: int, parent: int | None, kind: str, start: float, seconds: float, **more: Any) -> dict[str, Any]:
    return {
        "TraceId": "a" * 32,
        "SpanId": f"{number:016x}",
        "ParentSpanId": "" if parent is None else f"{parent:016x}",
        "Timestamp": NOW + timedelta(seconds=start),
        "Duration": int(seconds * 1e9),
        "Kind": kind,
        "SpanName": EVIL,
        "Dialect": "mas",
        "StatusCode": "Unset",
        "ServiceName": EVIL,
        **more,
    }


SPANS = [
    span(1, None, "workflow", 0, 12, SessionId=EVIL),
    span(2, 1, "agent", 0, 4, AgentName="triage", AgentVersion=EVIL),
    span(3, 2, "llm", 1, 2, RequestModel="gpt-4o", Provider="openai", InputTokens=1000, OutputTokens=100),
    span(4, 2, "handoff", 3.9, 0.01, TransferSource="triage", TransferTarget=EVIL, AgentName="triage"),
    span(5, 1, "agent", 4, 8, AgentName=EVIL, StatusCode="Error", ErrorType=EVIL, ErrorMessage=EVIL),
    span(6, 5, "llm", 5, 2, RequestModel=EVIL, InputTokens=1, OutputTokens=1),
    span(7, 5, "tool", 8, 1, ToolName=EVIL, StatusCode="Error", ErrorType=EVIL),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = open_store(f"chdb://{tmp_path_factory.mktemp('page')}")
    store.migrate()
    yield store
    store.close()


@pytest.fixture(scope="module")
def browse(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], tuple[str, str]]]:
    """Open a place of the page; the document as it then is, and what the browser had to say."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(store), log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    address = f"http://127.0.0.1:{listening.getsockname()[1]}/"

    def open_page(place: str) -> tuple[str, str]:
        profile: Path = tmp_path_factory.mktemp("profile")
        shown = subprocess.run(
            [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", address + place],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        said = "\n".join(line for line in shown.stderr.splitlines() if "CONSOLE" in line)
        return shown.stdout, said

    yield open_page
    server.should_exit = True
    thread.join(timeout=10)
    listening.close()


def test_without_a_span_it_says_how_to_send_one(browse: Callable[[str], tuple[str, str]]) -> None:
    document, said = browse("")
    assert "Waiting for the first span" in document
    assert "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318" in document
    assert said == ""


@pytest.mark.parametrize(
    ("place", "drawn"),
    [
        ("#/", ["triage", "Who works with whom", 'class="node', 'class="edge', "Agents"]),
        (
            f"#/session/{quote(EVIL, safe='')}",
            ["Timeline", 'class="lane', 'class="call model"', 'class="mark"', "gpt-4o"],
        ),
        ("#/sessions", ["badge", "triage"]),
        ("#/handoffs", ["Latest handoffs", "explicit"]),
        (f"#/agent/{quote(EVIL, safe='')}", ["Latest runs", "badge error"]),
        ("#/problems", ["What got worse", "Who holds everybody up", "triage", 'class="why"']),
        ("#/money", ["Who spent it", "A success costs", "Ways through the agents"]),
    ],
)
def test_what_spans_say_is_text_and_nothing_else(
    store: Store, browse: Callable[[str], tuple[str, str]], place: str, drawn: list[str]
) -> None:
    if not store.rows("SELECT count() AS n FROM sessions")[0]["n"]:
        rows = frames.agent_spans(pl.DataFrame(SPANS, infer_schema_length=None)).drop("Hints").rechunk()
        store.insert_arrow("agent_spans", rows.to_arrow(compat_level=pl.CompatLevel.oldest()), token="page")
        Sidecar(store, lambda s, e: compute(s, e, prices=PriceBook())).drain()
    document, said = browse(place)
    for part in drawn:
        assert part in document, place
    assert "<title>maslens</title>" in document
    assert "<img src=x" not in document
    assert "<script>document" not in document
    assert "&lt;img src=x onerror=" in document  # it is there, as text
    assert said == ""
