"""Where the `maslens` script starts. `maslens run` belongs in the user's app, where only the base install may be."""

from __future__ import annotations

import sys
from importlib.util import find_spec

NEEDED = ("typer", "chdb", "pyarrow")  # each stands for the extra


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] == ["run"]:
        from maslens.instrumentation.run import main as run

        sys.exit(run(arguments[1:]))
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(
            f"maslens: this installation instruments apps (`maslens run`); everything else needs {', '.join(missing)}: "
            "pip install 'maslens[server]'",
            file=sys.stderr,
        )
        sys.exit(3)
    from maslens.cli.main import main as command

    command()


if __name__ == "__main__":
    main()
