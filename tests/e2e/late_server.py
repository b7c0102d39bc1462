"""A ClickHouse server as far as a client can tell: `python -m tests.e2e.late_server DIRECTORY PORT`."""

from __future__ import annotations

import sys
import threading

import uvicorn
from maslens.storage import open_store
from maslens.storage.clickhouse_http import EndpointConfig, clickhouse_app


def main() -> None:
    store = open_store(f"chdb://{sys.argv[1]}")
    app = clickhouse_app(store, config=EndpointConfig(writable=True, body_bytes=128 << 20))
    server = uvicorn.Server(uvicorn.Config(app, port=int(sys.argv[2]), log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    sys.stdin.read()
    server.should_exit = True
    thread.join(10)
    store.close()


if __name__ == "__main__":
    main()
