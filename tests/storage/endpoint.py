"""The HTTP endpoint on a store of its own, opened for writing: a ClickHouse server as far as a client can tell.

`python -m tests.storage.endpoint DIRECTORY` prints its port and serves until its input ends.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


@contextmanager
def served(directory: Path) -> Iterator[tuple[int, int]]:
    """The port of an endpoint in another process, and that process's id."""
    command = [sys.executable, "-m", "tests.storage.endpoint", str(directory)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline()), process.pid
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


@contextmanager
def listening(app: object) -> Iterator[int]:
    """The port that `app` is served on by a thread of this process."""
    import uvicorn

    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, log_config=None, lifespan="off")  # type: ignore[arg-type]  # any ASGI app
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(30)


def main() -> None:
    from maslens.storage import open_store
    from maslens.storage.clickhouse_http import EndpointConfig, clickhouse_app

    directory = Path(sys.argv[1]).absolute()
    directory.mkdir(parents=True, exist_ok=True)
    os.chdir(directory.parent)  # where the engine caches the schemas that a client sends as text
    store = open_store(f"chdb://{directory}")
    config = EndpointConfig(writable=True, body_bytes=128 * 1024 * 1024)
    with listening(clickhouse_app(store, config=config)) as port:
        print(port, flush=True)
        sys.stdin.read()
    store.close()


if __name__ == "__main__":
    main()
