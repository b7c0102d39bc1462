"""The SELECT and the Python rules say the same about every span, column by column."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from maslens.semconv.dialects.columns import AGENT_SPAN_COLUMNS
from maslens.semconv.dialects.dialect_table import TABLE
from maslens.semconv.dialects.keys import all_sources, numbered_keys
from maslens.semconv.dialects.model import Clause, KindRule
from maslens.semconv.dialects.python import RawSpan, resolve

from tests.semconv.captured import captures, spans_of
from tests.semconv.engine import Engine

CLAUSES: list[Clause] = [
    *(clause for dialect in TABLE.dialects for clauses in dialect.detect for clause in clauses),
    *(clause for step in TABLE.kind_steps if isinstance(step, KindRule) for clause in step.clauses),
]
PREFIXES = sorted({source.key for source in all_sources(TABLE) if source.origin == "prefix"})
KEYS = sorted(
    {
        *numbered_keys(TABLE),
        *(source.key for source in all_sources(TABLE) if source.origin == "attribute"),
        *(clause.key for clause in CLAUSES if clause.test == "attr"),
        *(
            f"{prefix}.{tail}"
            for prefix in PREFIXES
            for tail in ("0.message.role", "0.content", "1.message.content", "name")
        ),
        *(f"{clause.key}.anything" for clause in CLAUSES if clause.test == "namespace"),
        "http.method",
        "llm",
        "gen_ai",
    }
)
SCOPES = sorted(
    {
        *(clause.value for clause in CLAUSES if clause.test in ("scope", "scope_prefix")),
        *(scope.rstrip("*") + "x" for scope in TABLE.framework_scopes if scope.endswith("*")),
        *(scope for scope in TABLE.framework_scopes if not scope.endswith("*")),
        "opentelemetry.instrumentation.openai.v1",
        "my.own.scope",
        "",
    }
)
MEMBERS = sorted({str(part) for source in all_sources(TABLE) if source.origin == "json" for part in source.path})
UUID = "4f2c0a1b-9d3e-4c5f-8a7b-001122334455"
NAMES = (
    "billing",
    "billing.agent",
    "invoke_agent billing",
    "create_agent triage",
    f"billing_{UUID}",
    f"triage_{UUID}/{UUID}",
    "agent",
    "OpenAI Agent",
    "Crew Manager",
    "transfer_to_billing",
    "transfer_to_agent",
    "handoff",
    "Task",
    "handoff to x",
    "LangGraph",
    "tools",
    "triage_node",
    "execute_tool search",
    "execute_task model",
    "goto x",
    "response",
    "turn",
    "article-crew.kickoff",
    "Swarm.run_stream",
    "Step 1",
    "AgentWorkflow.run",
    "agent_run [root]",
    "call_llm",
    "chat gpt-4",
    "workflow.run",
    "executor.process a",
    "message.send",
    "autogen process x",
    "running tool",
    "Handoff",
    "CHAIN",
    "invocation",
    "Delegate work to coworker",
    "search.tool",
    "manager.run",
    "crewai.workflow",
    "ünï",
    "a\nb",
    "",
)
WORDS = (
    *TABLE.empty,
    *NAMES,
    *KEYS[:5],
    "0",
    "12",
    "12.0",
    "007",
    "+5",
    "-1",
    "1e3",
    "12.5",
    ".5",
    "5.",
    "1e400",
    "nan",
    "inf",
    "0x10",
    "1_000",
    "18446744073709551615",
    "18446744073709551616",
    "4294967296",
    "12abc",
    " 5",
    "openai",
    "OpenAI",
    "openai.chat",
    "langgraph",
    "azure.ai.openai",
    "gcp.vertex.agent",
    "crewai",
    "LLM",
    "llm",
    "TOOL",
    "AGENT",
    '"AGENT"',
    "chat",
    "invoke_agent",
    "execute_tool",
    "agent_handoff",
    "workflow",
    "tool",
    "agent",
    "chain",
    "system",
    "pass_control",
    "['a']",
    '["stop"]',
    '["a", 1, null, ["b"]]',
    "[broken",
    "{broken",
    '{"a": 1} x',
    '"quoted"',
    f"a:{UUID}|b:{UUID}",
    f"team:{UUID}|lead:{UUID}|model:{UUID}",
    'é/\u2028\\"\x01\n',
    "0.25",
    '[{"role": "system", "parts": [{"type": "text", "content": "be kind"}]}]',
    '[{"role":"system","content":"be brief"}]',
)

EVENTS = sorted(
    {*(name for source in all_sources(TABLE) for name in source.events), "exception", "LLMChatStartEvent", "other"}
)
EVENT_KEYS = sorted({*(s.key for s in all_sources(TABLE) if s.origin == "event"), "exception.type", "content", "other"})
SPANS_A_BATCH = 400


class Maker:
    """Spans made of what the rules look at, and of what could be mistaken for it."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # repeatable, not secret

    def spans(self, count: int) -> list[RawSpan]:
        return [self.span() for _ in range(count)]

    def span(self) -> RawSpan:
        choose = self.random.choice
        return RawSpan(
            span_name=choose(NAMES),
            span_kind=choose(("Internal", "Client", "Server")),
            scope_name=choose(SCOPES),
            status_code=choose(("Unset", "Ok", "Error")),
            status_message=choose(("", "boom")),
            attributes=self.mapping(KEYS, 16),
            resource=self.mapping(("mas.experiment.id", "mas.experiment.variant", "service.name"), 2),
            events=[(choose(EVENTS), self.mapping(EVENT_KEYS, 3)) for _ in range(self.some(3))],
            links=[("ab" * 16, "cd" * 8, self.mapping((*TABLE.link_type_keys, "x"), 2)) for _ in range(self.some(2))],
        )

    def some(self, most: int) -> int:
        return self.random.randint(0, most)

    def mapping(self, keys: Sequence[str], most: int) -> dict[str, str]:
        return {self.random.choice(keys): self.value() for _ in range(self.some(most))}

    def value(self) -> str:
        return self.random.choice(WORDS) if self.random.random() < 0.7 else json.dumps(self.document(3))

    def document(self, depth: int) -> Any:
        kind = self.random.choice(("members", "members", "list", "leaf")) if depth else "leaf"
        if kind == "members":
            return {self.random.choice((*MEMBERS, "other")): self.document(depth - 1) for _ in range(self.some(4))}
        if kind == "list":
            return [self.document(depth - 1) for _ in range(self.some(3))]
        leaves = (None, True, False, self.random.randint(-(2**31), 2**53), 0.25, 12.0, self.random.choice(WORDS))
        return self.random.choice(leaves)


def assert_agree(engine: Engine, batch: Sequence[RawSpan]) -> None:
    for span, found in zip(batch, engine.resolve(batch), strict=True):
        expected = resolve(span)
        for column in AGENT_SPAN_COLUMNS:
            if column.name != "Timestamp":
                got, wanted = found[column.name], expected[column.name]
                assert _equal(got, wanted), f"{column.name}: SQL says {got!r}, Python {wanted!r}, of {span}"


def _equal(found: Any, expected: Any) -> bool:
    if isinstance(expected, float) and found is not None:
        return math.isclose(found, expected, rel_tol=1e-12)
    return bool(found == expected)


@given(st.integers(0, 2**32))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sql_and_python_agree_on_made_up_spans(engine: Engine, seed: int) -> None:
    assert_agree(engine, Maker(seed).spans(SPANS_A_BATCH))


@pytest.mark.captures
def test_sql_and_python_agree_on_every_captured_span(engine: Engine, shared: Path) -> None:
    assert_agree(engine, [span for capture in captures(shared / "captures") for span in spans_of(capture)])
