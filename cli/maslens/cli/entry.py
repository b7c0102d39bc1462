"""Where the `maslens` script starts. `run` and `doctor --app` belong beside the user's app, in a base install."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

NEEDED = ("typer", "chdb", "pyarrow")  # each stands for the extra


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] == ["run"]:
        from maslens.instrumentation.run import main as run

        sys.exit(run(arguments[1:]))
    if arguments[:1] == ["doctor"] and "--app" in arguments:
        from maslens.cli.doctor_app import main as doctor_app

        sys.exit(doctor_app(arguments[1:]))
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(
            "maslens: this installation is for apps (`maslens run`, `maslens doctor --app`); the rest needs "
            f"{', '.join(missing)}: pip install 'maslens[server]'",
            file=sys.stderr,
        )
        sys.exit(3)
    from maslens.cli.allocators import give_back

    give_back(os.environ)
    from maslens.cli.main import main as command

    command()


if __name__ == "__main__":
    main()
