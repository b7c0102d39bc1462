"""Loads that break other receivers, against a real `maslens up`; each ends in one line and a verdict.

Every span is counted in the store by its id: what was acknowledged must be there, once, and nothing else.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.processes import cpu_seconds, free_port, resident_bytes, wait_until
from tests.bench.requests import SPANS_PER_REQUEST
from tests.e2e.running import Up, environment
from tests.load.bodies import fleet, one_trace, tiny
from tests.load.senders import GrpcClient, HttpClient, Sent, client, persistently, pour

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
LOADED_S = 600.0  # after the last acknowledgement, on a machine that others use too


@dataclass(frozen=True)
class Outcome:
    line: str
    lost: int
    doubled: int
    others: int = 0  # stored although nobody was told so
    wrong: str = ""  # whatever else is not as it must be

    @property
    def right(self) -> bool:
        return not (self.lost or self.doubled or self.others or self.wrong)

    def __str__(self) -> str:
        counts = f"{self.lost} lost, {self.doubled} doubled"
        counts += f", {self.others} stored without an acknowledgement" if self.others else ""
        return f"{self.line}; {counts}" + (f"; WRONG: {self.wrong}" if self.wrong else "")


@contextmanager
def served(*flags: str, **environ: str) -> Iterator[Up]:
    with tempfile.TemporaryDirectory() as folder:
        up = Up(Path(folder) / "data", flags=flags, environ=environ).start(within_s=300)
        try:
            yield up
        finally:
            up.kill()  # everything is counted by then


def steady(*, minutes: float = 10.0, share: float = 0.5, calibrate_s: float = 20.0, every_s: float = 5.0) -> Outcome:
    """Half of the load it can take, for ten minutes: memory stays where it is."""
    with served() as up:
        bodies, sent = fleet(), Sent()
        started = time.monotonic()
        asyncio.run(_pour(up.otlp_http, bodies, sent, number=4, until=lambda: time.monotonic() - started > calibrate_s))
        _loaded(up, sent.acknowledged * SPANS_PER_REQUEST)
        full = sent.acknowledged * SPANS_PER_REQUEST / (time.monotonic() - started)
        samples: list[tuple[float, int]] = []
        own: list[int] = []
        before, began = sent.acknowledged, time.monotonic()

        def over() -> bool:
            return time.monotonic() - began > 60 * minutes

        async def offer() -> None:
            async def watch() -> None:
                while not over():
                    samples.append((time.monotonic() - began, resident_bytes(_pid(up))))
                    own.append(resident_bytes(_pid(up), anonymous=True))
                    await asyncio.sleep(every_s)

            rate = share * full / SPANS_PER_REQUEST
            await asyncio.gather(_pour(up.otlp_http, bodies, sent, number=4, per_s=rate, until=over), watch())

        asyncio.run(offer())
        offered = (sent.acknowledged - before) * SPANS_PER_REQUEST / (time.monotonic() - began)
        stored, ids = _loaded(up, sent.acknowledged * SPANS_PER_REQUEST)
        peak = resident_bytes(_pid(up), peak=True)
    late = [(at / 60, size / MIB) for at, size in samples if at > 20 * minutes]  # the first third is warming up
    slope = float(np.polyfit(*zip(*late, strict=True), 1)[0]) if len(late) > 2 else float("nan")
    wrong = f"{peak / MIB:,.0f} MiB resident at most" if peak >= 1 << 30 else ""
    line = (
        f"steady: {minutes:g} min at {offered:,.0f} spans/s (full load {full:,.0f}), resident "
        f"{_mean(late):,.0f} MiB ({own[-1] / MIB:,.0f} at the end no file's), at most {peak / MIB:,.0f} MiB, "
        f"slope {slope:+.1f} MiB/min; by minute: {_by_minute(samples)}"
    )
    return _outcome(line, sent.acknowledged * SPANS_PER_REQUEST, stored, ids, sent, wrong)


def trace(*, spans: int = 50_000) -> Outcome:
    """One trace of 50,000 spans in one session, from the socket into the facts."""
    with served() as up:
        session, sent, started = "the-long-one", Sent(), time.monotonic()
        asyncio.run(_pour(up.otlp_http, iter(one_trace(spans, session=session)), sent, number=2))
        stored, ids = _loaded(up, spans)
        agents, calls = -(-(spans - 1) // 10), spans - 1 - -(-(spans - 1) // 10)
        expected = {
            "traces": 1, "spans": spans, "agent_runs": agents, "llm_calls": calls,
            "input_tokens": 100 * calls, "output_tokens": 10 * calls,
        }  # fmt: skip
        sql = f"SELECT {', '.join(f'toInt64({name}) AS {name}' for name in expected)} FROM sessions"
        runs_sql = "SELECT toInt64(count()) AS n, toInt64(uniqExact(run_id)) AS ids FROM agent_runs"
        every_run = {"n": agents, "ids": agents}
        give_up = time.monotonic() + LOADED_S
        while True:  # the facts of a session are written table by table
            seen, runs = _rows(up, sql), _rows(up, runs_sql)
            if (seen == [expected] and runs == [every_run]) or time.monotonic() > give_up:
                break
            time.sleep(0.5)
        took = time.monotonic() - started
        peak = resident_bytes(_pid(up), peak=True)
    wrong = "" if seen == [expected] else f"the session says {seen}, not {expected}"
    if runs != [every_run]:
        wrong += f" agent runs {runs}, not {agents}"
    line = f"trace: {spans:,} spans of one trace in the facts after {took:.1f} s, at most {peak / MIB:,.0f} MiB"
    return _outcome(line, spans, stored, ids, sent, wrong)


def connections(*, number: int = 1000, requests_each: int = 3) -> Outcome:
    """A thousand connections at once, over HTTP and then over gRPC, all open before the first one sends."""
    _room_for_files(4 * number + 1000)
    with served() as up:
        sent, notes = Sent(), []
        for name, url in (("HTTP", up.otlp_http), ("gRPC", up.otlp_grpc)):
            before, cpu = sent.acknowledged, cpu_seconds(_pid(up))
            took = asyncio.run(_crowd(url, number, requests_each, sent))
            cpu = cpu_seconds(_pid(up)) - cpu
            notes.append(
                f"{name} {sent.acknowledged - before:,} requests in {took:.1f} s, "
                f"{1e6 * cpu / max(1, number * requests_each):,.0f} µs of CPU each"
            )
        stored, ids = _loaded(up, sent.acknowledged)
        peak = resident_bytes(_pid(up), peak=True)
    wrong = "" if sent.acknowledged == 2 * number * requests_each else f"only {sent.acknowledged} acknowledged"
    line = f"connections: {number:,} at once, {', '.join(notes)}, at most {peak / MIB:,.0f} MiB"
    return _outcome(line, sent.acknowledged, stored, ids, sent, wrong)


def many(*, number: int = 100_000, clients: int = 16) -> Outcome:
    """A hundred thousand requests of one span each, half over HTTP and half over gRPC."""
    with served() as up:
        sent, notes = Sent(), []
        bodies = tiny()
        for name, url in (("HTTP", up.otlp_http), ("gRPC", up.otlp_grpc)):
            cpu, started = cpu_seconds(_pid(up)), time.monotonic()
            asyncio.run(_pour(url, itertools.islice(bodies, number // 2), sent, number=clients))
            took, cpu = time.monotonic() - started, cpu_seconds(_pid(up)) - cpu
            notes.append(f"{name} {2e6 * cpu / number:,.0f} µs of CPU a request, {number / 2 / took:,.0f}/s")
        stored, ids = _loaded(up, sent.acknowledged)
        counted = _metric(up, 'maslens_receiver_requests_total{kind="traces"}')
    wrong = "" if sent.acknowledged == number == counted else f"{sent.acknowledged} acknowledged, {counted:g} counted"
    return _outcome(f"tiny: {number:,} requests, {', '.join(notes)}", sent.acknowledged, stored, ids, sent, wrong)


def absent(*, seconds: float = 180.0, journal_mib: int = 64) -> Outcome:
    """The store is away for minutes: acknowledged up to the journal's bound, refused with a delay, then all there."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        flags = [
            f"--store=http://127.0.0.1:{port}/maslens", f"--journal-dir={folder / 'journal'}",
            f"--journal-max-bytes={journal_mib}MiB",
        ]  # fmt: skip
        with _halves(folder, flags) as (url, pid):
            sent, bodies = Sent(), fleet()
            started = time.monotonic()
            asyncio.run(_pour(url, bodies, sent, number=4, patience_s=2.0, until=lambda: _full(sent, started)))
            held, refused, first = sent.acknowledged, sent.refused, time.monotonic() - started
            size = _disk(folder / "journal" / "journal" / "segments")
            while time.monotonic() - started < seconds:  # still refused, still with a delay, memory where it is
                asyncio.run(_pour(url, bodies, sent, number=1, patience_s=0.0, until=_once()))
                time.sleep(1.0)
            away = time.monotonic() - started
            taken_while_full = sent.acknowledged - held
            wrong = ""
            if not refused or sent.without_delay:
                wrong = f"{refused} refusals, {sent.without_delay} of them without a delay"
            if size > journal_mib * MIB + 70 * MIB // 4 or taken_while_full:
                wrong += f" journal of {size / MIB:.0f} MiB, {taken_while_full} requests taken past its bound"
            before = sent.acknowledged
            with _clickhouse(folder / "server", port) as ask:
                back = time.monotonic()
                asyncio.run(_pour(url, itertools.islice(bodies, 4), sent, number=2, patience_s=600.0))
                wanted = sent.acknowledged * SPANS_PER_REQUEST
                stored, ids = _counted_until(ask, wanted)
                recovered = time.monotonic() - back
            peak = resident_bytes(pid, peak=True)
    if sent.acknowledged - before != 4:
        wrong += " the last four requests were not taken"
    line = (
        f"absent: {held * SPANS_PER_REQUEST:,} spans acknowledged in {first:.0f} s ({size / MIB:.0f} MiB of journal, "
        f"bound {journal_mib}), then refused with a delay; store away for {away:.0f} s, all there {recovered:.0f} s "
        f"after it came, at most {peak / MIB:,.0f} MiB"
    )
    return _outcome(line, wanted, stored, ids, sent, wrong.strip())


SCENARIOS: Mapping[str, Callable[[], Outcome]] = {
    "steady": steady,
    "trace": trace,
    "connections": connections,
    "tiny": many,
    "absent": absent,
}


# --- sending ----------------------------------------------------------------------------------------------------------


async def _pour(url: str, bodies: Iterator[bytes], sent: Sent, *, number: int, **how: Any) -> None:
    clients = [client(url) for _ in range(number)]
    try:
        await pour(clients, bodies, sent=sent, **how)
    finally:
        for one in clients:
            await one.close()


async def _crowd(url: str, number: int, requests_each: int, sent: Sent) -> float:
    bodies = tiny(seed=hash(url) % 1000)
    clients = [client(url) for _ in range(number)]
    for first in range(0, number, 100):  # more at once than a backlog holds would only test the system's retries
        await asyncio.gather(*(one.connect() for one in clients[first : first + 100]))
    started = time.monotonic()

    async def work(one: HttpClient | GrpcClient) -> None:
        for _ in range(requests_each):
            await persistently(one, next(bodies), sent=sent)

    await asyncio.gather(*(work(one) for one in clients))
    took = time.monotonic() - started
    await asyncio.gather(*(one.close() for one in clients))
    return took


def _full(sent: Sent, started: float) -> bool:
    return sent.given_up >= 2 or time.monotonic() - started > 300


def _once() -> Callable[[], bool]:
    turns = itertools.count()
    return lambda: next(turns) >= 1


# --- counting ---------------------------------------------------------------------------------------------------------


def _outcome(line: str, acknowledged: int, stored: int, ids: int, sent: Sent, wrong: str) -> Outcome:
    if sent.unanswered:
        line += f" ({sent.unanswered} requests sent again after a broken connection)"
    return Outcome(line, max(0, acknowledged - ids), stored - ids, max(0, ids - acknowledged), wrong)


def _loaded(up: Up, spans: int) -> tuple[int, int]:
    """Rows and different span ids, once there are `spans` or nothing is waited for any more."""
    return _counted_until(lambda sql: _rows(up, sql), spans)


def _counted_until(ask: Callable[[str], list[dict[str, Any]]], spans: int) -> tuple[int, int]:
    give_up = time.monotonic() + LOADED_S
    while _count(ask) < spans and time.monotonic() < give_up:
        time.sleep(0.5)
    ids = "SELECT toInt64(uniqExact(SpanId)) AS ids FROM otel_traces WHERE cityHash64(SpanId) % 16 ="
    parts = [ask(f"{ids} {part}") for part in range(16)]  # all at once are more than a query may remember
    return _count(ask), sum(int(row["ids"]) for (row,) in parts)


def _count(ask: Callable[[str], list[dict[str, Any]]]) -> int:
    try:
        return int(ask("SELECT toInt64(count()) AS n FROM otel_traces")[0]["n"])
    except OSError:  # the table is not there yet
        return 0


def _rows(up: Up, sql: str) -> list[dict[str, Any]]:
    return _ask(str(up.addresses["clickhouse"]), sql)


def _ask(url: str, sql: str, database: str = "") -> list[dict[str, Any]]:
    asked = {"query": sql, "default_format": "JSONEachRow", "output_format_json_quote_64bit_integers": "0"}
    query = urllib.parse.urlencode(asked | ({"database": database} if database else {}))
    try:
        with urllib.request.urlopen(f"{url}/?{query}", timeout=120) as answer:
            return [json.loads(line) for line in answer.read().splitlines()]
    except urllib.error.HTTPError as refused:
        raise OSError(f"{refused.code}: {refused.read().decode(errors='replace')[:500]}") from refused


def _metric(up: Up, sample: str) -> float:
    with urllib.request.urlopen(f"{up.url}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith(sample)).rpartition(" ")[2])


def _by_minute(samples: Sequence[tuple[float, int]]) -> str:
    """The first sample of each minute, in MiB."""
    first = {int(at // 60): size for at, size in reversed(samples)}
    return " ".join(f"{first[minute] / MIB:.0f}" for minute in sorted(first))


def _mean(samples: Sequence[tuple[float, float]]) -> float:
    return float(np.mean([size for _, size in samples])) if samples else float("nan")


def _disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*"))


def _pid(up: Up) -> int:
    assert up.process is not None
    return up.process.pid


def _room_for_files(number: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < number:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(number, hard), hard))


# --- a store of its own -----------------------------------------------------------------------------------------------


@contextmanager
def _halves(folder: Path, flags: Sequence[str]) -> Iterator[tuple[str, int]]:
    """`maslens receiver` before a server that is not there: its address over HTTP, and its process."""
    port = free_port()
    command = [sys.executable, "-m", "maslens.cli.entry", "receiver", *flags]
    command += [f"--otlp-http-port={port}", "--otlp-grpc-port=0", "--page-port=0"]
    with (folder / "receiver.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=log, stderr=log)
    try:
        wait_until(lambda: _listens(port), timeout_s=300, what="maslens receiver")
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)


@contextmanager
def _clickhouse(folder: Path, port: int) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.late_server", str(folder), str(port)],
        cwd=ROOT, env=environment(), stdin=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield lambda sql: _ask(f"http://127.0.0.1:{port}", sql, "maslens")
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(60)


def _listens(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/traces", timeout=2)
    except urllib.error.HTTPError:
        return True  # 405: it wants a POST
    except OSError:
        return False
    return True
