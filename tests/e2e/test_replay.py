"""`maslens replay`: every form, both destinations, killed in the middle, and files that are no OTLP."""

from __future__ import annotations

import gzip
import json
import lzma
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.running import ANY_PORTS, COMMAND, Up, answer, environment, eventually, here, maslens
from tests.e2e.spans import delimited, request

BIG = 40  # requests
SPANS = 500  # in each


def count(up: Up, sql: str) -> int:
    return int(httpx.get(f"{up.addresses['clickhouse']}/", params={"query": sql}, timeout=60).raise_for_status().text)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("replay") / "data").start()
    yield running
    running.kill()


def bodies(requests: int, spans: int, *, seed: int) -> list[bytes]:
    return [
        request(spans, seed=seed + index, agent=f"replayed_{seed}").SerializeToString() for index in range(requests)
    ]


def test_into_a_directory_with_the_facts_ready(tmp_path: Path) -> None:
    plain, packed, small = tmp_path / "a.pb", tmp_path / "b.pb.gz", tmp_path / "c.bin.xz"
    plain.write_bytes(delimited(bodies(3, 10, seed=100)))
    packed.write_bytes(gzip.compress(bodies(1, 10, seed=200)[0]))
    small.write_bytes(lzma.compress(delimited(bodies(2, 5, seed=300))))
    data = tmp_path / "data"
    done = maslens("replay", str(plain), str(packed), str(small), f"--data={data}", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "replayed 50 spans from 3 files" in done.stdout
    total = answer("cost", f"--data={data}", cwd=tmp_path)[-1]
    assert (total["agent"], total["llm_calls"], total["input_tokens"]) == ("(total)", 50, 5000)
    assert {row["agent"] for row in answer("agents", f"--data={data}", cwd=tmp_path)} == {
        "replayed_100", "replayed_200", "replayed_300",
    }  # fmt: skip
    row, definition, *evidence = answer("agents", "--explain=2", f"--data={data}", cwd=tmp_path)
    assert (row["part"], row["agent"], definition["part"]) == ("row", "replayed_200", "definition")
    assert {part["agent"] for part in evidence if part["part"] == "latest runs"} == {"replayed_200"}
    beyond = maslens("agents", "--explain=4", f"--data={data}", cwd=tmp_path)
    assert (beyond.returncode, "the answer has 3" in beyond.stderr) == (1, True)


@pytest.mark.parametrize("transport", ["otlp_http", "otlp_grpc"])
def test_to_a_receiver(up: Up, tmp_path: Path, transport: str) -> None:
    seed = 1000 if transport == "otlp_http" else 2000
    path = tmp_path / "a.pb"
    path.write_bytes(delimited(bodies(4, 25, seed=seed)))
    done = here("replay", str(path), f"--endpoint={up.addresses[transport]}", "--format=json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["requests"], report["spans"], report["rejected"]) == (4, 100, 0)
    eventually(lambda: count(up, f"SELECT count() FROM llm_calls WHERE agent = 'replayed_{seed}'") == 100)


def test_to_whoever_owns_the_directory(up: Up, tmp_path: Path) -> None:
    path = tmp_path / "a.pb"
    path.write_bytes(bodies(1, 7, seed=3000)[0])
    done = here("replay", str(path), f"--data={up.data}")
    assert done.returncode == 0, done.stderr
    assert f"belongs to process {up.addresses['pid']}" in done.stderr
    eventually(
        lambda: (
            count(up, "SELECT count() FROM otel_traces WHERE SpanAttributes['gen_ai.agent.name'] = 'replayed_3000'")
            == 7
        )
    )


def test_what_the_receiver_leaves_out_is_said(up: Up, tmp_path: Path) -> None:
    wrong = request(3, seed=4000)
    wrong.resource_spans[0].scope_spans[0].spans[0].span_id = b"x"
    path = tmp_path / "a.pb"
    path.write_bytes(wrong.SerializeToString())
    done = here("replay", str(path), f"--endpoint={up.otlp_http}")
    assert done.returncode == 0
    assert "replayed 2 spans" in done.stdout
    assert "1 were refused" in done.stderr


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"# notes\nnothing here\n", id="text"),
        pytest.param(b'{"spans": []}', id="other json"),
        pytest.param(delimited([request(2, seed=1).SerializeToString()])[:-2], id="cut off"),
        pytest.param(b"", id="empty"),
    ],
)
def test_an_unknown_file_is_one_line_and_nothing_is_written(tmp_path: Path, content: bytes) -> None:
    good, strange = tmp_path / "good.pb", tmp_path / "strange.bin"
    good.write_bytes(request(5, seed=2).SerializeToString())
    strange.write_bytes(content)
    done = maslens("replay", str(good), str(strange), f"--data={tmp_path / 'data'}", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert str(strange) in done.stderr
    assert "expected OTLP" in done.stderr
    assert not (tmp_path / "data").exists()


def test_every_unknown_file_is_named(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text("no")
    done = here(
        "replay", str(tmp_path / "one"), str(tmp_path / "two"), str(tmp_path / "three"), f"--data={tmp_path / 'd'}"
    )
    assert done.returncode == 2
    assert [
        str(tmp_path / name) in line
        for name, line in zip(("one", "two", "three"), done.stderr.splitlines(), strict=True)
    ]


def test_nobody_there_is_said_with_how_to_go_on(tmp_path: Path) -> None:
    path = tmp_path / "a.pb"
    path.write_bytes(request(1, seed=5).SerializeToString())
    done = here("replay", str(path), "--endpoint=http://127.0.0.1:9", "--patience=0.1")
    assert done.returncode == 3
    assert "no OTLP receiver answers at http://127.0.0.1:9" in done.stderr
    assert "--skip 0" in done.stderr


@pytest.mark.parametrize("endpoint", ["ftp://x", "http://"])
def test_an_endpoint_that_is_none(tmp_path: Path, endpoint: str) -> None:
    path = tmp_path / "a.pb"
    path.write_bytes(request(1, seed=5).SerializeToString())
    done = here("replay", str(path), f"--endpoint={endpoint}")
    assert done.returncode == 2
    assert "--endpoint takes" in done.stderr


@pytest.mark.slow
def test_killed_in_the_middle_nothing_acknowledged_is_lost_or_doubled(tmp_path: Path) -> None:
    """kill -9 of `maslens up` during a replay; started again; the remainder replayed: every span once."""
    path = tmp_path / "many.pb"
    sent = bodies(BIG, SPANS, seed=9000)
    path.write_bytes(delimited(sent))
    running = Up(tmp_path / "data").start()
    replay = subprocess.Popen(
        [*COMMAND, "replay", str(path), f"--endpoint={running.otlp_http}", "--patience=0.5", "--format=json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), cwd=tmp_path,
    )  # fmt: skip
    eventually(lambda: count(running, "SELECT count() FROM otel_traces") > 0 or replay.poll() is not None)
    running.kill()
    _, said = replay.communicate(timeout=60)
    if replay.returncode == 0:  # it was quicker than the kill: all of it is acknowledged
        acknowledged = BIG
    else:
        assert replay.returncode == 3, said
        acknowledged = int(said.rpartition("--skip ")[2])
    assert 0 < acknowledged <= BIG

    again = Up(tmp_path / "data").start()
    try:
        eventually(
            lambda: count(again, "SELECT uniqExact(TraceId, SpanId) FROM otel_traces") >= acknowledged * SPANS,
            within_s=60,
        )
        rest = here("replay", str(path), f"--endpoint={again.otlp_http}", f"--skip={acknowledged}", "--format=json")
        assert rest.returncode == 0, rest.stderr
        assert json.loads(rest.stdout)["requests"] == BIG - acknowledged
        facts = "SELECT count() FROM llm_calls"
        eventually(lambda: count(again, facts) == BIG * SPANS, within_s=90)
        assert count(again, "SELECT uniqExact(TraceId, SpanId) FROM otel_traces") == BIG * SPANS
        assert count(again, "SELECT sum(input_tokens) FROM llm_calls") == BIG * SPANS * 100
        # The one request that was under way at the kill may have been kept without its answer: nothing else is doubled.
        doubled = count(again, "SELECT count() FROM otel_traces") - BIG * SPANS
        assert doubled in (0, *(SPANS * requests for requests in range(1, 6)))
        if replay.returncode == 0:
            assert doubled == 0
    finally:
        again.kill()


def test_a_full_journal_pushes_back_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """A store that is not there: acknowledged up to the stated size, then 503 with Retry-After; all the while alive."""
    process = subprocess.Popen(
        [
            *COMMAND, "up", "--store=http://127.0.0.1:9", f"--journal-dir={tmp_path / 'journal'}",
            "--journal-max-bytes=2MiB", *ANY_PORTS,
        ],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path, env=environment(),
    )  # fmt: skip
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, "")), daemon=True)  # type: ignore[union-attr]
    reader.start()
    try:
        otlp = eventually(lambda: _address(lines, "OTLP HTTP"), within_s=60)
        page = _address(lines, "page and API")
        taken, refused = _push(otlp, until=503)
        assert 1024**2 < taken <= 3 * 1024**2
        assert float(refused.headers["retry-after"]) > 0
        ready = httpx.get(f"{page}/readyz")
        assert ready.status_code == 503
        assert len(ready.json()["problems"]) == 2
        assert httpx.get(f"{page}/healthz").status_code == 200
        assert "maslens_receiver_refusing 1.0" in httpx.get(f"{page}/metrics").text
        assert httpx.post(f"{page}/clickhouse/", content="SELECT 1").status_code == 503
    finally:
        process.terminate()
        process.wait(timeout=60)
        reader.join(timeout=10)
        process.stdout.close()  # type: ignore[union-attr]
    assert process.returncode == 0
    held = sum(path.stat().st_size for path in (tmp_path / "journal").rglob("*.seg"))
    assert held >= taken  # nothing that was acknowledged is given up


def _address(lines: list[str], name: str) -> str | None:
    return next((line.split()[-1] for line in lines if line.strip().startswith(name)), None)


def _push(otlp: str, *, until: int) -> tuple[int, Any]:
    """Send until that status; the acknowledged bytes, and the refusal."""
    taken, give_up = 0, time.monotonic() + 60
    with httpx.Client(timeout=30) as client:
        for seed in range(10_000):
            body = request(100, seed=50_000 + seed).SerializeToString()
            reply = client.post(f"{otlp}/v1/traces", content=body, headers={"Content-Type": "application/x-protobuf"})
            if reply.status_code == until:
                return taken, reply
            assert reply.status_code == 200, reply.text
            assert time.monotonic() < give_up
            taken += len(body)
    raise AssertionError("never refused")


@pytest.mark.captures
def test_every_capture_replays_and_money_is_conserved(shared: Path, tmp_path: Path) -> None:
    files = sorted(str(path) for path in (shared / "captures").glob("*.pb"))
    data = tmp_path / "data"
    done = maslens("replay", *files, f"--data={data}", "--format=json", cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["files"] == len(files)
    assert report["rejected"] == 0
    (row,) = answer("query", "SELECT count() AS n FROM otel_traces", f"--data={data}", cwd=tmp_path)
    assert row["n"] == report["spans"]
    (row,) = answer("query", "SELECT count() AS n FROM otel_logs", f"--data={data}", cwd=tmp_path)
    assert row["n"] == report["log_records"]
    for by in ("agent", "model", "session"):
        charged = answer("cost", f"--by={by}", f"--data={data}", cwd=tmp_path)
        total = charged[-1]
        assert total["llm_calls"] > 0
        for key in ("llm_calls", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"):
            assert sum(part[key] for part in charged[:-1]) == total[key], (by, key)
        assert sum(part["cost_usd"] for part in charged[:-1]) == pytest.approx(total["cost_usd"], abs=1e-9)
