"""Generated files are what the YAML says, and the light part stays light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from maslens.semconv import generate
from maslens.semconv.dialects.columns import AGENT_SPAN_COLUMNS
from maslens.semconv.dialects.sql import agent_spans_select


def test_generating_leaves_no_diff() -> None:
    stale = [str(path) for path, text in generate.generated().items() if path.read_text(encoding="utf-8") != text]
    assert not stale, "run `make generate`"


def test_check_tells_what_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh, old, missing = tmp_path / "fresh", tmp_path / "old", tmp_path / "deep" / "missing"
    fresh.write_text("same", encoding="utf-8")
    old.write_text("before", encoding="utf-8")
    monkeypatch.setattr(generate, "generated", lambda: {fresh: "same", old: "after", missing: "new"})
    assert generate.main(["--check"]) == 1
    assert capsys.readouterr().out.splitlines() == [f"stale: {old}", f"stale: {missing}"]
    assert old.read_text(encoding="utf-8") == "before"
    assert generate.main([]) == 0
    assert (old.read_text(encoding="utf-8"), missing.read_text(encoding="utf-8")) == ("after", "new")
    assert generate.main(["--check"]) == 0


def test_generating_is_repeatable() -> None:
    assert generate.generated() == generate.generated()
    assert agent_spans_select() == agent_spans_select()


def test_the_select_is_the_same_text_in_every_process() -> None:
    """A view is applied again when its text changes; it must not change with the order of a set."""
    program = "from maslens.semconv.dialects.sql import agent_spans_select; print(agent_spans_select())"
    texts = [
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, env={"PYTHONHASHSEED": seed})
        for seed in ("1", "2")
    ]
    assert texts[0].stdout == texts[1].stdout


@pytest.mark.parametrize("module", ["maslens.semconv.attributes", "maslens.semconv.dialects.sql"])
def test_no_yaml_at_run_time(module: str) -> None:
    program = f"import sys, {module}; sys.exit('yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_select_yields_the_columns_in_order() -> None:
    text = agent_spans_select("some_table")
    at = [text.index(f" AS {column.name}") for column in AGENT_SPAN_COLUMNS]
    assert at == sorted(at)
    assert "FROM some_table" in text
