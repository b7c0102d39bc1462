"""Writes every generated file of this room from its YAML; `--check` only says what would change.

    python -m maslens.semconv.generate [--check]

Needs PyYAML and a checkout: the YAML stands beside the package, in `semconv/dialects` and `semconv/registry`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from maslens.semconv.constants import attributes_module, attributes_page
from maslens.semconv.dialects.load import load, merge
from maslens.semconv.dialects.page import dialects_page
from maslens.semconv.dialects.render import columns_module, table_module
from maslens.semconv.registry import Registry, load_registry

ROOM = Path(__file__).parents[2]


def generated(room: Path = ROOM) -> Mapping[Path, str]:
    """Every generated file and what belongs in it."""
    package = room / "maslens" / "semconv"
    pages = room.parent / "docs" / "reference"
    canonical, files = load(room / "dialects")
    registry = own_registry(room)
    return {
        package / "attributes.py": attributes_module(registry),
        pages / "attributes.md": attributes_page(registry),
        pages / "dialects.md": dialects_page(canonical, files),
        package / "dialects" / "columns.py": columns_module(canonical),
        package / "dialects" / "dialect_table.py": table_module(merge(canonical, files)),
    }


def own_registry(room: Path = ROOM) -> Registry:
    """`semconv/registry` with the names it reuses."""
    return load_registry(room / "registry", prefix="mas.", imported=load_registry(room / "upstream"))


def main(arguments: list[str]) -> int:
    check = arguments == ["--check"]
    if arguments and not check:
        print("usage: python -m maslens.semconv.generate [--check]", file=sys.stderr)
        return 2
    stale = [(path, text) for path, text in generated().items() if not path.exists() or path.read_text() != text]
    for path, text in stale:
        print(f"{'stale' if check else 'wrote'}: {path}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if check and stale:
        print("run `make generate` and commit the result", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
