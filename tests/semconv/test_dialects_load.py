"""Dialect files that cannot be used say where and why."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from maslens.semconv.dialects.load import DialectError, load
from maslens.semconv.generate import ROOM

SOUND = {
    "file_format": "maslens.dialects/1",
    "id": "mine",
    "title": "Mine",
    "priority": 1,
    "detect": {"any": [{"scope": "mine"}]},
    "kind": {"attr": "mine.kind", "values": {"call": "llm"}},
    "fields": {"agent.name": ["mine.agent", {"from": "span.name", "match": "^(.+)$", "when": {"kind": ["agent"]}}]},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    canonical = (ROOM / "dialects" / "_canonical.yaml").read_text(encoding="utf-8")
    (tmp_path / "_canonical.yaml").write_text(canonical, encoding="utf-8")
    return tmp_path


def test_a_sound_file_is_read(folder: Path) -> None:
    (folder / "mine.yaml").write_text(yaml.safe_dump(SOUND), encoding="utf-8")
    _, (file,) = load(folder)
    assert file.dialect.id == "mine"
    assert [source.key for source in file.fields["agent.name"]] == ["mine.agent", ""]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"file_format": "x"}, "mine.yaml: file_format must be", id="format"),
        pytest.param({"id": "yours"}, "mine.yaml: id: must be 'mine'", id="id unlike the file"),
        pytest.param({"feilds": {}}, "mine.yaml: feilds: unknown key", id="unknown key"),
        pytest.param({"fields": {"agent.nmae": ["x"]}}, "fields.agent.nmae: no column", id="unknown field"),
        pytest.param({"fields": {"agent.name": "x"}}, "fields.agent.name: must be a list", id="no list"),
        pytest.param({"fields": {"agent.name": ["attr:x"]}}, "fields.agent.name: unknown kind of source", id="source"),
        pytest.param({"fields": {"agent.name": ["prefix:a.b.c"]}}, "first two words", id="prefix too long"),
        pytest.param({"fields": {"agent.name": [{"form": "x"}]}}, "a source has `from`", id="misspelt from"),
        pytest.param(
            {"fields": {"agent.name": [{"from": "x", "when": {"kind": ["lmm"]}}]}},
            "unknown kind 'lmm'",
            id="condition's kind",
        ),
        pytest.param(
            {"fields": {"agent.name": [{"from": "x", "when": {"moon": 1}}]}},
            "unknown condition ['moon']",
            id="condition",
        ),
        pytest.param({"kind": {"attr": "k", "values": {"a": "lmm"}}}, "kind.values.a: unknown kind 'lmm'", id="kind"),
        pytest.param(
            {"kind": {"overrides": [{"kind": "llm", "when": {"atr": "x"}}]}},
            "kind.overrides[0]: unknown test 'atr'",
            id="test",
        ),
        pytest.param({"detect": {"all": []}}, "detect: must be one list under `any`", id="detect"),
        pytest.param({"detect": {"any": [{"namespace": "a.b"}]}}, "first word of a key", id="namespace"),
    ],
)
def test_a_faulty_file_is_refused(folder: Path, change: dict[str, object], message: str) -> None:
    (folder / "mine.yaml").write_text(yaml.safe_dump(SOUND | change), encoding="utf-8")
    with pytest.raises(DialectError) as raised:
        load(folder)
    assert message in str(raised.value)


def test_two_dialects_cannot_have_one_priority(folder: Path) -> None:
    (folder / "mine.yaml").write_text(yaml.safe_dump(SOUND), encoding="utf-8")
    (folder / "other.yaml").write_text(yaml.safe_dump(SOUND | {"id": "other"}), encoding="utf-8")
    with pytest.raises(DialectError, match=r"other\.yaml: priority 1 is also mine\.yaml's"):
        load(folder)
