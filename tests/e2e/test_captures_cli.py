"""Captured runs of real frameworks, from their file to the command line's answer.

Every capture is held against its truth in `tests/analytics/test_captures.py`;
some of each convention go the whole way here.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from tests.e2e.running import answer, maslens

pytestmark = [pytest.mark.captures, pytest.mark.slow]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("openai-agents-openinference-loop", id="openinference, handoffs to and fro"),
        pytest.param("agno-openinference-team", id="openinference, agents as tools"),
        pytest.param("langgraph-traceloop-swarm", id="traceloop, a swarm"),
        pytest.param("agent-framework-native-handoff", id="otel genai, with logs"),
    ],
)
def test_handoffs_and_cost_are_as_they_really_were(shared: Path, tmp_path: Path, name: str) -> None:
    captures = shared / "captures"
    files = [path for path in (captures / f"{name}.otlp.pb", captures / f"{name}.logs.otlp.pb") if path.is_file()]
    truth = yaml.safe_load((captures / f"{name}.truth.yaml").read_text(encoding="utf-8"))
    data = f"--data={tmp_path / 'data'}"
    done = maslens("replay", *map(str, files), data, "--format=json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rejected"] == 0

    edges = answer("handoffs", data, cwd=tmp_path)
    found = Counter((edge["source"], edge["target"], edge["mode"]) for edge in edges)
    passed = [(source, target, "pass_control") for source, target in truth.get("handoffs") or ()]
    called = [(source, target, "return_to_caller") for source, target in truth.get("delegations") or ()]
    assert found == Counter([*passed, *called])
    in_order = [(edge["source"], edge["target"]) for edge in edges if edge["mode"] == "pass_control"]
    assert in_order == [tuple(edge) for edge in truth.get("handoffs") or ()]

    charged = {row["agent"]: row for row in answer("cost", "--by=agent", data, cwd=tmp_path)}
    total, unattributed = charged.pop("(total)"), charged.pop("(unattributed)")
    assert unattributed["llm_calls"] == 0
    for key in ("input_tokens", "output_tokens", "cached_tokens"):
        spent = {agent: tokens[key] for agent, tokens in truth["tokens_per_agent"].items() if tokens["llm_calls"]}
        assert {agent: row[key] for agent, row in charged.items()} == spent, key
        assert sum(row[key] for row in charged.values()) == total[key]
    assert sum(row["cost_usd"] for row in charged.values()) == pytest.approx(total["cost_usd"], abs=1e-9)
