"""Where validation goes: `build/validity.json`, the page, the terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.validate.rows import Number, Row

_INTRODUCTION = """# How far each number can be trusted

Written by `make validate DATASETS=… CAPTURES=…`; the same rows are in `build/validity.json`. Every figure is measured
on public data with labels that others made. An interval is 95 %: Wilson for shares, bootstrap over whole units (runs,
stories, series) otherwise. The bar is the better of a trivial rule and a published result on the same data; a figure
that fails its bar is shown as failing. "Shipped" means with the constants in the code, which were fitted on the data
kept beside the project; "cross-validated" means fitted without the part it is measured on.
"""


def merge(path: Path, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows of a number and data set replace their older ones; what other commands wrote stays."""
    old = json.loads(path.read_text()) if path.exists() else []
    renewed = {(row.number, row.data) for row in rows}
    kept = [row for row in old if (row["number"], row["data"]) not in renewed]
    merged = kept + [_finite(row.as_json()) for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(merged, indent=1) + "\n")
    return merged


def page(rows: Sequence[Mapping[str, Any]], numbers: Iterable[Number]) -> str:
    """The validity page."""
    known = {number.name: number for number in numbers}
    names = list(dict.fromkeys([*known, *(row["number"] for row in rows)]))
    parts = [_INTRODUCTION, _summary(rows)]
    for name in names:
        mine = [row for row in rows if row["number"] == name]
        if mine:
            parts.append(_section(name, known.get(name), mine))
    return "\n".join(parts)


def lines(rows: Sequence[Row]) -> str:
    """A table for the terminal."""
    table = [("data", "metric", "value", "95 % interval", "bar", "")]
    table += [(row.data, row.metric, *_cells(row.as_json())) for row in rows]
    widths = [max(len(line[at]) for line in table) for at in range(6)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table
    )


def _summary(rows: Sequence[Mapping[str, Any]]) -> str:
    judged = [row for row in rows if row["holds"] is not None]
    failing = [row for row in judged if not row["holds"]]
    text = f"{len(judged) - len(failing)} of {len(judged)} bars are cleared."
    if failing:
        text += " Failing:\n\n" + "\n".join(
            f"- {row['number']}, {row['data']}: {row['metric']}, {row['value']}" for row in failing
        )
    return text + "\n"


def _section(name: str, number: Number | None, rows: Sequence[Mapping[str, Any]]) -> str:
    told = []
    if number:
        told = [number.definition, "", f"- Formula: {number.formula}", f"- Source: {number.source}",
                f"- When not to trust it: {number.distrust}"]  # fmt: skip
        told += [f"- Tried: {number.tried}"] if number.tried else []
    head = ["| data | metric | value | 95 % interval | bar | holds |", "|---|---|---|---|---|---|"]
    body = [f"| {row['data']} | {row['metric']} | " + " | ".join(_cells(row)) + " |" for row in rows]
    return "\n".join([f"## {name[:1].upper()}{name[1:]}", "", *told, "", *head, *body, ""])


def _cells(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    known = row["low"] is not None and not math.isnan(row["low"])
    return (
        "–" if row["value"] is None else f"{row['value']:.4g}",
        f"{row['low']:.4g} to {row['high']:.4g}" if known else "",
        "" if row["bar"] is None else f"{row['bar']:g}",
        "" if row["holds"] is None else ("yes" if row["holds"] else "**no**"),
    )


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}
