"""`maslens run python app.py`: the same program, observed. It is replaced by its command, not wrapped in ours."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from shutil import which

from maslens.instrumentation.zero_code.environment import Content, prepare

START = Path(__file__).parent / "start"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in `argv`; returns only if it cannot be run: 127 not found, 126 not executable, 2 wrong usage."""
    arguments = _parser().parse_args(argv)
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        _parser().print_usage(sys.stderr)
        return 2
    if command[0].endswith(".py"):
        command = [sys.executable, *command]
    program = which(command[0])
    if program is None:
        print(f"maslens run: {command[0]}: no such command", file=sys.stderr)
        return 127
    environ = dict(os.environ)
    _apply(arguments, environ)
    sys.stdout.flush()
    try:
        os.execve(program, list(command), environ)  # noqa: S606 - running what the user asks for is the purpose
    except OSError as error:
        print(f"maslens run: {command[0]}: {error.strerror}", file=sys.stderr)
    return 126


def start() -> None:
    """In the program's own process, before its first line."""
    from maslens.instrumentation.zero_code import activate
    from opentelemetry.instrumentation.auto_instrumentation import initialize

    initialize()
    activate()  # also where the installed metadata is older than our hook


def _apply(arguments: argparse.Namespace, environ: MutableMapping[str, str]) -> None:
    said = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": arguments.endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": arguments.protocol,
        "OTEL_SERVICE_NAME": arguments.service_name,
    }
    environ.update({name: value for name, value in said.items() if value})
    content: Content = "as each library has it"
    if arguments.content is not None:
        content = "on" if arguments.content else "off"
    environ.setdefault("OTEL_PYTHON_DISTRO", "maslens")
    environ.setdefault("OTEL_PYTHON_CONFIGURATOR", "maslens")
    prepare(environ, content=content)
    path = [entry for entry in environ.get("PYTHONPATH", "").split(os.pathsep) if entry and entry != str(START)]
    environ["PYTHONPATH"] = os.pathsep.join([str(START), *path])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="maslens run",
        usage="maslens run [options] COMMAND [ARGUMENTS]...",
        description="Run a Python program of agents, unchanged, and send what they do to maslens.",
    )
    parser.add_argument("--endpoint", help="where to send it; default http://127.0.0.1:4318")
    parser.add_argument("--protocol", choices=["http/protobuf", "grpc"])
    parser.add_argument("--service-name", help="default: the program's name")
    parser.add_argument(
        "--content",
        action=argparse.BooleanOptionalAction,
        help="record message contents, or hide them; default: as each library has it",
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help="for example: python app.py")
    return parser


if __name__ == "__main__":
    sys.exit(main())
