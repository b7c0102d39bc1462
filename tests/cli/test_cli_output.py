"""An answer as table, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json

import pyarrow as pa
from maslens.cli.forms import Format
from maslens.cli.output import rows, write


def written(answer: pa.Table, form: Format, **options: object) -> str:
    out = io.StringIO()
    write(answer, form, out=out, **options)  # type: ignore[arg-type]
    return out.getvalue()


ANSWER = pa.table(
    {
        "agent": ["billing", "\x1b[2Jshout", None],
        "runs": [3, None, 1],
        "at": pa.array([1_700_000_000_123_456_789, None, 5], pa.timestamp("ns", tz="UTC")),
        "p50_ms": [1.5, float("nan"), float("inf")],
        "cost_usd": [0.001234, 1.0, 500.0],
        "agents": [["a", "b"], [], None],
        "labels": pa.array([[("k", "v")], [], None], pa.map_(pa.string(), pa.string())),
        "big": pa.array([2**64 - 1, 0, 1], pa.uint64()),
        "mode": pa.array(["x", "y", "x"]).dictionary_encode(),
    }
)


def test_json_is_one_array_of_flat_objects_with_the_columns_as_keys() -> None:
    answer = json.loads(written(ANSWER, Format.json))
    assert [list(row) for row in answer] == [ANSWER.column_names] * 3
    assert answer[0] == {
        "agent": "billing",
        "runs": 3,
        "at": "2023-11-14T22:13:20.123456789Z",
        "p50_ms": 1.5,
        "cost_usd": 0.001234,
        "agents": ["a", "b"],
        "labels": {"k": "v"},
        "big": 2**64 - 1,
        "mode": "x",
    }


def test_what_no_number_can_say_is_null() -> None:
    answer = json.loads(written(ANSWER, Format.json))
    assert [row["p50_ms"] for row in answer] == [1.5, None, None]
    assert answer[1]["at"] is None


def test_no_rows_are_an_empty_array_and_said_in_a_table() -> None:
    assert json.loads(written(ANSWER.slice(0, 0), Format.json)) == []
    assert "no rows" in written(ANSWER.slice(0, 0), Format.table)
    assert written(ANSWER.slice(0, 0), Format.csv) == ",".join(ANSWER.column_names) + "\n"


def test_csv_reads_back() -> None:
    answer = list(csv.DictReader(io.StringIO(written(ANSWER, Format.csv))))
    assert [row["agent"] for row in answer] == ["billing", "\x1b[2Jshout", ""]
    assert answer[0]["agents"] == '["a", "b"]'


def test_a_table_shows_the_columns_asked_for_and_obeys_no_escape() -> None:
    table = written(ANSWER, Format.table, shown=("agent", "cost_usd", "nothing"), title="Agents")
    assert "\x1b" not in table
    assert "\\x1b[2Jshout" in table
    assert "500.00" in table
    assert "p50_ms" not in table


def test_a_wide_table_in_a_pipe_is_not_folded() -> None:
    wide = pa.table({f"column_{index}": ["x" * 30] for index in range(12)})
    lines = written(wide, Format.table).splitlines()
    assert any(line.count("x" * 30) == 12 for line in lines)


def test_bytes_that_are_no_text_are_shown_and_do_not_stop_the_answer() -> None:
    broken = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xffabc"]).buffers())
    assert next(rows(pa.table({"text": broken}))) == {"text": "�abc"}
