"""A receiver in a process of its own, to see what its memory does.

Prints its ports, serves until its standard input ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from maslens.collector_processor import HttpLimits, Receiver, ReceiverConfig

from tests.collector_processor.stores import MemoryStore


class Lonely:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        ports = json.loads(next(line for line in process.stdout if line.startswith("{")))
        self.grpc, self.http = f"127.0.0.1:{ports['grpc']}", f"http://127.0.0.1:{ports['http']}"

    def memory(self, what: str = "VmRSS") -> int:
        """Bytes; `VmHWM` for the most it ever was."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith(what):
                return int(line.split()[1]) << 10
        raise AssertionError(what)


@contextmanager
def lonely(directory: Path, *, wait_s: float = 20.0, most_bytes: int = 256 << 20) -> Iterator[Lonely]:
    command = [sys.executable, "-m", "tests.collector_processor.lonely", str(directory), str(wait_s), str(most_bytes)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Lonely(process)
    finally:
        process.communicate(timeout=60)


def main() -> None:
    limits = HttpLimits(body_wait=timedelta(seconds=float(sys.argv[2])), max_buffered_bytes=int(sys.argv[3]))
    receiver = Receiver(
        ReceiverConfig(directory=Path(sys.argv[1]), grpc_port=0, http_port=0, http=limits), MemoryStore()
    )
    receiver.start()
    print(json.dumps({"grpc": receiver.grpc_port, "http": receiver.http_port}), flush=True)
    sys.stdin.read()
    receiver.stop(grace=0.5)


if __name__ == "__main__":
    main()
