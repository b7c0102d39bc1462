"""The house rules that no linter holds."""

from __future__ import annotations

import subprocess
from pathlib import Path

import maslens  # type: ignore[import-not-found,unused-ignore]  # a namespace package: no file of its own

ROOT = Path(__file__).parent.parent
ROOMS = ("semconv", "instrumentation", "collector_processor", "storage", "analytics", "cli")


def test_maslens_is_a_namespace_so_no_folder_hides_another() -> None:
    assert getattr(maslens, "__file__", None) is None
    assert not list(ROOT.glob("*/maslens/__init__.py"))


def test_every_room_says_what_goes_in_and_what_comes_out() -> None:
    for room in (*ROOMS, "deploy"):
        assert (ROOT / room / "README.md").is_file(), room


def test_no_file_names_a_package_registry() -> None:
    hosts = (
        "pypi" + ".org",
        "files.pythonhosted" + ".org",
        "registry.npmjs" + ".org",
        "proxy.golang" + ".org",
        "repo1.maven" + ".org",
        "repo.maven.apache" + ".org",
        "deb.debian" + ".org",
        "crates" + ".io",
    )
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if not path.is_file():
            continue
        text = path.read_bytes().decode("utf-8", "replace")
        assert not [host for host in hosts if host in text], name
