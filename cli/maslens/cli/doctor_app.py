"""`maslens doctor --app`: would an app started in this Python environment be traced? Needs the base install only."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict

from maslens.cli.faults import EXIT_BAD_ANSWER, EXIT_OK
from maslens.cli.text import safe
from maslens.instrumentation import doctor_app

_MARKS = {"error": "✗", "warning": "!", "note": "·"}


def main(arguments: Sequence[str]) -> int:
    """Print what was found; 1 if something would lose spans under `maslens run` too."""
    parser = argparse.ArgumentParser(prog="maslens doctor --app", description=__doc__)
    parser.add_argument("--app", action="store_true", help="look at this Python environment")
    parser.add_argument("--format", choices=["table", "json"], default="table")
    options = parser.parse_args(arguments)
    findings = doctor_app()
    if options.format == "json":
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            mark = "✓" if finding.handled else _MARKS[finding.severity]
            print(f"{mark} {safe(finding.subject)}: {safe(finding.problem)}")
            print(f"    {'maslens run takes care of it' if finding.handled else '→ ' + safe(finding.cure)}")
        print(f"{len(findings)} found, {sum(finding.handled for finding in findings)} of them handled by `maslens run`")
    bad = any(finding.severity == "error" and not finding.handled for finding in findings)
    return EXIT_BAD_ANSWER if bad else EXIT_OK
