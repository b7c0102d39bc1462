"""Build the OpenTelemetry Collector and telemetrygen from Go modules, once, into build/collector.

    python -m tests.contract.collector.build      (or: make collector)

The Collector's own builder reads builder.yaml: about two minutes on two cores. Later calls find the binaries.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
FOLDER = ROOT / "build" / "collector"
VERSION = "v0.161.0"
BUILDER = f"go.opentelemetry.io/collector/cmd/builder@{VERSION}"
TELEMETRYGEN = f"github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen@{VERSION}"


def collector() -> Path:
    """The built Collector, whether it exists yet or not."""
    return FOLDER / "out" / "otelcol"


def telemetrygen() -> Path:
    """The Collector project's own load generator."""
    return FOLDER / "bin" / "telemetrygen"


def missing() -> str | None:
    """Why the binaries cannot be used, in words a skipped test prints; None when they can."""
    if collector().is_file() and telemetrygen().is_file():
        return None
    if shutil.which("go") is None:
        return "no Go toolchain to build the Collector with"
    return "the Collector is not built yet: make collector"


def build() -> None:
    """Build what is not there yet; raises CalledProcessError with Go's own words on stderr."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    go = {**os.environ, "GOBIN": str(FOLDER / "bin"), "CGO_ENABLED": "0"}
    if not collector().is_file():
        subprocess.run(["go", "install", BUILDER], env=go, check=True)
        config = FOLDER / "builder.yaml"
        text = (HERE / "builder.yaml").read_text()
        config.write_text(text.replace("output_path: ./build", f"output_path: {FOLDER / 'out'}"))
        command = [str(FOLDER / "bin" / "builder"), "--config", str(config), "--skip-strict-versioning"]
        subprocess.run(command, env=go, check=True)
    if not telemetrygen().is_file():
        subprocess.run(["go", "install", TELEMETRYGEN], env=go, check=True)


if __name__ == "__main__":
    if shutil.which("go") is None:
        sys.exit("make collector: no Go toolchain on the PATH; the tests that need the Collector will be skipped")
    build()
    print(collector())
    print(telemetrygen())
