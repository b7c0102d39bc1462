"""First on PYTHONPATH under `maslens run`: Python imports it before the program, in child processes too."""

import sys
from pathlib import Path


def _start() -> None:
    try:
        from maslens.instrumentation.run import start

        start()
    except Exception as mistake:  # the program must run in any case
        print(f"maslens is off in this process: {type(mistake).__name__}: {mistake}", file=sys.stderr)


def _the_sitecustomize_we_hide() -> None:
    """Only one `sitecustomize` is found by Python; whatever environment or tool put the other there still counts."""
    here = str(Path(__file__).parent)
    others = [entry for entry in sys.path if entry and str(Path(entry)) != here]
    import importlib.machinery
    import importlib.util

    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


_start()
_the_sitecustomize_we_hide()
