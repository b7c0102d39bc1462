"""The registry is sound, and a faulty one says which file and key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from maslens.semconv import attributes
from maslens.semconv.generate import own_registry
from maslens.semconv.registry import RegistryError, load_registry

MANIFEST = {"name": "mine", "schema_url": "https://mine.example/schemas/1.0.0"}
SOUND: dict[str, Any] = {
    "file_format": "definition/2",
    "attributes": [
        {"key": "mas.role", "type": "string", "brief": "Role", "stability": "development", "examples": ["critic"]},
        {
            "key": "mas.mode",
            "type": {"members": [{"id": "a", "value": "a", "brief": "A", "stability": "development"}]},
            "brief": "Mode",
            "stability": "development",
        },
    ],
    "attribute_groups": [{"id": "mas.group", "visibility": "internal", "attributes": [{"ref": "mas.mode"}]}],
    "spans": [
        {
            "type": "mas.step.internal",
            "kind": "internal",
            "name": {"note": "step"},
            "brief": "Step",
            "stability": "development",
            "attributes": [{"ref_group": "mas.group"}, {"ref": "mas.role", "requirement_level": "required"}],
        }
    ],
}
ROLE = SOUND["attributes"][0]
STEP = SOUND["spans"][0]
Write = Callable[[dict[str, Any]], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(data: dict[str, Any]) -> Path:
        (tmp_path / "manifest.yaml").write_text(yaml.safe_dump(MANIFEST), encoding="utf-8")
        (tmp_path / "model.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
        return tmp_path

    return write


def test_a_sound_registry_is_read(write: Write) -> None:
    registry = load_registry(write(SOUND), prefix="mas.")
    assert set(registry.attributes) == {"mas.role", "mas.mode"}
    (span,) = registry.signals
    assert [(ref.key, ref.level) for ref in span.attributes] == [("mas.mode", "recommended"), ("mas.role", "required")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"file_format": "definition/1"}, "model.yaml: file_format: must be 'definition/2'", id="format"),
        pytest.param({"metrics": []}, "model.yaml: metrics: unknown or unsupported section", id="unread section"),
        pytest.param({"attributes": [ROLE, ROLE]}, "model.yaml: mas.role: defined twice", id="twice"),
        pytest.param({"attributes": [ROLE | {"key": "Mas.Role"}]}, "Mas.Role: must be lower-case", id="upper case"),
        pytest.param(
            {"attributes": [ROLE | {"key": "gen_ai.role"}]}, "gen_ai.role: own attributes start with `mas.`", id="ns"
        ),
        pytest.param({"attributes": [ROLE | {"key": "mas.turn_count"}]}, "mas.turn_count: the last word", id="count"),
        pytest.param({"attributes": [ROLE | {"type": "str"}]}, "mas.role: type must be one of", id="type"),
        pytest.param(
            {"attributes": [ROLE | {"type": {"members": []}}]}, "mas.role: type must be one of", id="no members"
        ),
        pytest.param(
            {"attributes": [ROLE | {"examples": []}]}, "mas.role: text attributes need examples", id="no example"
        ),
        pytest.param(
            {"attributes": [ROLE | {"examples": [1]}]}, "mas.role: example 1 is no string", id="example's type"
        ),
        pytest.param(
            {"attributes": [ROLE | {"stability": "fine"}]}, "mas.role: stability must be one of", id="stability"
        ),
        pytest.param({"attributes": [ROLE | {"brief": ""}]}, "mas.role: has no brief", id="no brief"),
        pytest.param({"attributes": [ROLE | {"breif": "x"}]}, "mas.role: unknown member 'breif'", id="misspelt"),
        pytest.param(
            {"attributes": [ROLE, ROLE | {"key": "mas.role.name"}]},
            "mas.role: is also the namespace of mas.role.name",
            id="nested",
        ),
        pytest.param(
            {"attributes": [ROLE | {"type": {"members": [{"id": "a", "value": "x"}, {"id": "a", "value": "y"}]}}]},
            "mas.role: two members have the id 'a'",
            id="member twice",
        ),
        pytest.param(
            {"attributes": [ROLE | {"type": {"members": [{"id": "a", "value": "x"}, {"id": "b", "value": 2}]}}]},
            "mas.role: members mix texts and integers",
            id="mixed members",
        ),
        pytest.param(
            {"spans": [STEP | {"attributes": [{"ref": "mas.nobody"}]}]},
            "model.yaml: mas.step.internal: refers to mas.nobody, which is not defined",
            id="unknown ref",
        ),
        pytest.param(
            {"spans": [STEP | {"attributes": [{"ref_group": "mas.nobody"}]}]},
            "ref_group 'mas.nobody' is not known",
            id="group",
        ),
        pytest.param(
            {"spans": [STEP | {"attributes": [{"ref": "mas.role"}, {"ref": "mas.role"}]}]},
            "refers to mas.role twice",
            id="ref twice",
        ),
        pytest.param(
            {"spans": [STEP | {"attributes": [{"ref": "mas.role", "requirement_level": "must"}]}]},
            "mas.step.internal: mas.role: requirement_level must be",
            id="level",
        ),
        pytest.param(
            {"spans": [STEP | {"attributes": [{"ref": "mas.role", "requirement_level": "conditionally_required"}]}]},
            "requirement_level must be",
            id="condition missing",
        ),
        pytest.param({"spans": [STEP | {"kind": "inner"}]}, "mas.step.internal: kind must be one of", id="span kind"),
        pytest.param({"spans": [STEP, STEP]}, "mas.step.internal: defined twice", id="span twice"),
        pytest.param(
            {"span_refinements": [{"id": "mas.x", "ref": "gen_ai.nothing"}]},
            "refines 'gen_ai.nothing', which is not known",
            id="refinement",
        ),
    ],
)
def test_a_faulty_registry_is_refused(write: Write, change: dict[str, Any], message: str) -> None:
    with pytest.raises(RegistryError) as raised:
        load_registry(write(SOUND | change), prefix="mas.")
    assert message in str(raised.value)


def test_all_faults_are_told_at_once(write: Write) -> None:
    with pytest.raises(RegistryError) as raised:
        load_registry(
            write(
                SOUND
                | {"attributes": [ROLE | {"brief": ""}, ROLE | {"key": "mas.other", "type": "str"}], "metrics": []}
            )
        )
    assert len(raised.value.faults) >= 3


def test_a_yaml_key_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.yaml").write_text(yaml.safe_dump(MANIFEST), encoding="utf-8")
    (tmp_path / "model.yaml").write_text(
        "file_format: definition/2\nattributes: []\nattributes: []\n", encoding="utf-8"
    )
    with pytest.raises(RegistryError, match=r"model\.yaml.*'attributes' is there twice"):
        load_registry(tmp_path)


def test_our_own_registry_says_all_it_should() -> None:
    registry = own_registry()
    spans = {signal.refines or signal.id for signal in registry.signals if signal.sort.startswith("span")}
    assert {"gen_ai.invoke_agent.internal", "gen_ai.execute_tool.internal", "gen_ai.invoke_workflow.internal"} <= spans
    assert {"mas.vote.cast", "mas.task.outcome", "mas.handoff.outcome", "mas.iteration.completed"} == {
        signal.id for signal in registry.signals if signal.sort == "event"
    }
    used = {reference.key for signal in registry.signals for reference in signal.attributes}
    assert set(registry.attributes) <= used, "an attribute on no signal"
    assert registry.attribute("gen_ai.transfer.mode").type == "enum"


def test_constants_are_the_keys() -> None:
    registry = own_registry()
    assert registry.imported is not None
    assert frozenset({*registry.attributes, *registry.imported.attributes}) == attributes.ALL_ATTRIBUTES
    assert attributes.MAS_HANDOFF_ID == "mas.handoff.id"
    assert str(attributes.MasHandoffTrigger.LLM_DECISION) == "llm_decision"
    assert attributes.MasContextStrategy.NONE_ == "none"
    assert attributes.EVENT_MAS_VOTE_CAST == "mas.vote.cast"
