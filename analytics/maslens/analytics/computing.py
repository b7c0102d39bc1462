"""Where facts are computed: in the thread that asks, or in processes of their own, which leave this one's lock alone.

Facts are pure functions of frames, so that a process needs nothing but the bytes of a frame and answers with some.
"""

from __future__ import annotations

import io
import os
import pickle
import signal
import socket
import subprocess
import sys
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import fields
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import polars as pl
from maslens.analytics.facts import Facts, compute
from maslens.analytics.lexical import lexical, loaded
from maslens.analytics.prices import PriceBook
from maslens.analytics.totals import FactFrames

Compute = Callable[[pl.DataFrame, "pl.DataFrame | None"], FactFrames]
MOST_PROCESSES = 64
_MAIN = "from maslens.analytics.computing import serve; import sys; serve(int(sys.argv[1]))"
_END_S = 5.0


def fact_rules(price_sheet: Path | None = None, embedder: str | None = None) -> Compute:
    """`facts.compute` with these prices and this measure of distance. Raises what reading them raises."""
    embed = lexical if embedder is None else loaded(embedder)
    return partial(compute, prices=PriceBook.load(price_sheet), embed=embed)


def spare_processes(cores: int | None = None) -> int:
    """How many processes are worth it where nobody said: one, unless there is but one core."""
    return min(1, (cores if cores is not None else len(os.sched_getaffinity(0))) - 1)


class ComputeError(Exception):
    """Facts could not be computed; says what the process that did so printed."""


class Computing(ABC):
    """`begin` begins and answers what to call for the facts."""

    processes = 0  # beside this one
    restarts = 0  # of those

    @abstractmethod
    def begin(self, spans: pl.DataFrame, events: pl.DataFrame | None) -> Callable[[], FactFrames]: ...

    @abstractmethod
    def close(self) -> None:
        """Nothing is asked any more."""


class Here(Computing):
    """In the thread that asks for the facts, when it asks."""

    def __init__(self, compute: Compute) -> None:
        self._compute = compute

    def begin(self, spans: pl.DataFrame, events: pl.DataFrame | None) -> Callable[[], FactFrames]:
        return partial(self._compute, spans, events)

    def close(self) -> None:
        pass


class Elsewhere(Computing):
    """In `processes` of this interpreter that are started (never forked) now and end with this one.

    load: makes the compute function in each process; it is pickled. One that dies is started again, and who waited for
    its facts gets a ComputeError.
    """

    def __init__(self, load: Callable[[], Compute], *, processes: int) -> None:
        if not 1 <= processes <= MOST_PROCESSES:
            raise ValueError(f"facts can be computed in 1 to {MOST_PROCESSES} processes, got {processes}")
        self.processes = processes
        self.restarts = 0
        pickled = pickle.dumps(load)
        self._all = [_Process(pickled) for _ in range(processes)]
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        for process in self._all:
            self._idle.put(process)
        self._closed = False
        self._threads = ThreadPoolExecutor(max_workers=processes, thread_name_prefix="maslens-compute")

    def begin(self, spans: pl.DataFrame, events: pl.DataFrame | None) -> Callable[[], FactFrames]:
        return self._threads.submit(self._ask, spans, events).result

    def close(self) -> None:
        """At once: who still waits for facts gets an error."""
        self._closed = True
        for process in self._all:
            process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._all:
            process.end()

    def _ask(self, spans: pl.DataFrame, events: pl.DataFrame | None) -> Facts:
        process = self._idle.get()
        try:
            good, answer = process.ask((_bytes(spans), None if events is None else _bytes(events)))
        except (EOFError, OSError) as error:
            if self._closed:
                raise ComputeError("facts are not computed any more: this is closed") from error
            code = process.end()
            process.start()
            self.restarts += 1
            raise ComputeError(
                f"a process that computes facts ended with {code} and is started again; a negative number is a signal, "
                "-9 most often the system's when memory runs out"
            ) from error
        finally:
            self._idle.put(process)
        if not good:
            raise ComputeError(answer)
        return Facts(**{name: pl.read_ipc_stream(frame) for name, frame in answer.items()})


class _Process:
    """One process and the socket it is asked through."""

    def __init__(self, load: bytes) -> None:
        self._load = load
        self.start()

    def start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            # One thread each: there are as many processes as cores are to be used.
            alone = dict.fromkeys(("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
            self._process = subprocess.Popen(  # noqa: S603  # this interpreter, this package
                [sys.executable, "-c", _MAIN, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, **alone},
            )
        self._link = Connection(ours.detach())
        self._link.send_bytes(self._load)

    def ask(self, question: object) -> tuple[bool, Any]:
        self._link.send_bytes(pickle.dumps(question, protocol=5))
        answer: tuple[bool, Any] = pickle.loads(self._link.recv_bytes())  # noqa: S301  # from our own process
        return answer

    def kill(self) -> None:
        """It has nothing to lose."""
        self._process.kill()

    def end(self) -> int:
        """Its exit code; it ends by itself once nobody is at the other end."""
        self._link.close()
        try:
            return self._process.wait(timeout=_END_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.wait()


def serve(file: int) -> None:
    """What such a process does: answer until nobody asks any more. Signals are for the one that started it."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    link = Connection(file)
    with suppress(EOFError, OSError):
        rules = _made(link.recv_bytes())
        while True:
            spans, events = pickle.loads(link.recv_bytes())  # noqa: S301  # from the process that started this one
            link.send_bytes(pickle.dumps(_answered(rules, spans, events), protocol=5))


def _made(load: bytes) -> Compute | str:
    """What computes, else what went wrong."""
    try:
        rules: Compute = pickle.loads(load)()  # noqa: S301  # from the process that started this one
        return rules
    except Exception:
        return traceback.format_exc()


def _answered(rules: Compute | str, spans: bytes, events: bytes | None) -> tuple[bool, object]:
    if isinstance(rules, str):
        return False, rules
    try:
        facts = rules(pl.read_ipc_stream(spans), None if events is None else pl.read_ipc_stream(events))
        return True, {field.name: _bytes(getattr(facts, field.name)) for field in fields(Facts)}
    except Exception:
        return False, traceback.format_exc()


def _bytes(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_ipc_stream(buffer)
    return buffer.getvalue()
