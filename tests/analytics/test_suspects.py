"""Failed sessions: which step probably decided it, and why."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maslens.analytics.content import carried, numbers, plain, words
from maslens.analytics.facts import compute
from maslens.analytics.steps import STEPS, steps
from maslens.analytics.suspect_signs import SIGNS, signs
from maslens.analytics.suspects import WEIGHTS, suspects

from tests.analytics.made_spans import Trace, frame

GOAL = "Which available kettle costs less than 40 dollars?"


def step(number: int, agent: str = "a", session: str = "s", **told: Any) -> dict[str, Any]:
    blank = dict.fromkeys(STEPS) | {"goal": GOAL, "text": "", "handed": "", "result": "", "error": ""}
    return (
        blank
        | {"session_id": session, "step": number, "agent": agent, "kind": "agent", "acts": False, "failed": False}
        | told
    )


def table(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=dict(STEPS), orient="row")


def present(*rows: dict[str, Any]) -> list[set[str]]:
    return [{name for name, value in found.items() if value} for found in signs(list(rows))]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        pytest.param(
            {"text": "The sky is blue today in Rome", "handed": "The sky is blue"}, "goal_lost", id="another task"
        ),
        pytest.param({"text": "Let us assume the price is fine"}, "assumes", id="assumption"),
        pytest.param({"text": "It costs 1234 dollars"}, "claims", id="a figure from nowhere"),
        pytest.param({"text": "```python\nprint(1)\n```", "acts": True}, "codes", id="code"),
        pytest.param({"acts": True, "failed": True, "error": "KeyError: 'x'"}, "failed", id="a failed call"),
        pytest.param({"text": "TERMINATE"}, "silent", id="nothing said"),
        pytest.param({"kind": "tool", "failed": True, "error": "timed out after 30000ms"}, "tool_broke", id="time-out"),
        pytest.param({"kind": "check", "text": "approved"}, "judges", id="judge"),
        pytest.param({"handoff_loss": 0.6}, "constraint_lost", id="measured loss"),
    ],
)
def test_signs(told: dict[str, Any], expected: str) -> None:
    rows = [step(0, text=GOAL, handed=GOAL), step(1, "b", text="kettle, available"), step(2, "c", **told), step(3, "d")]
    assert expected in present(*rows)[2]


def test_a_tool_that_broke_is_not_its_callers_fault() -> None:
    rows = [
        step(0, acts=True, failed=True, error="503 Service Unavailable"),
        step(1, "t", kind="tool", failed=True, error="503"),
    ]
    assert "failed" not in present(*rows)[0]
    assert "tool_broke" in present(*rows)[1]


def test_figures_that_were_seen_before_are_no_claim() -> None:
    rows = [step(0, acts=True, result='{"price": 39.50}'), step(1, "b", text="It costs 39.5")]
    assert "claims" not in present(*rows)[1]


@pytest.mark.parametrize(
    ("handed", "lost"),
    [
        pytest.param('{"available_only": true, "price_max": 40.0, "type": "kettle"}', False, id="all of it"),
        pytest.param('{"available_only": true, "type": "kettle"}', True, id="the figure is missing"),
        pytest.param('{"available_only": false, "price_max": 40}', True, id="what the goal names is switched off"),
        pytest.param('{"in_stock": false, "price_max": 40}', False, id="something else is switched off"),
        pytest.param("an available kettle below 40 dollars", False, id="in words"),
        pytest.param("an available kettle", True, id="in words, without the figure"),
    ],
)
def test_a_part_of_the_goal_is_not_passed_on(handed: str, lost: bool) -> None:
    assert ("constraint_lost" in present(step(0, handed=handed))[0]) is lost


def test_a_unit_joined_to_a_figure_makes_it_a_name() -> None:
    assert "constraint_lost" not in present(step(0, goal="Has it RAM=8GB?", handed="has it memory?"))[0]


def test_the_ranking_by_hand() -> None:
    found = suspects(table(step(0, "a", text="kettle"), step(1, "b", text="suppose it is fine"), step(2, "c")))
    # a: first, b: assumes, c: answers and last
    weight = [WEIGHTS["first"], WEIGHTS["assumes"], WEIGHTS["answers"] + WEIGHTS["last"]]
    shares = pl.Series(weight).exp() / pl.Series(weight).exp().sum()
    assert found.select("agent", "rank").rows() == [("b", 1), ("a", 2), ("c", 3)]
    assert found["confidence"].to_list() == pytest.approx([shares[1], shares[0], shares[2]])
    assert found["evidence"][0].to_list() == [SIGNS["assumes"].says]


def test_every_sign_has_a_weight_and_every_weight_a_sign() -> None:
    assert set(WEIGHTS) == set(SIGNS)


def desk(*, broken: str = "") -> pl.DataFrame:
    """triage hands over to billing, which asks a tool and answers."""
    trace = Trace("t", SessionId="s")
    triage = trace.agent("triage", 0, 100, InputContent='[{"role": "user", "content": "refund order 77"}]')
    trace.call(
        5,
        20,
        triage,
        InputContent='[{"role": "user", "content": "refund order 77"}]',
        OutputContent="to billing",
    )
    trace.tool(
        "transfer_to_billing", 25, 30, triage, Kind="handoff", ToolArguments='{"order": 77}', TransferTarget="billing"
    )
    billing = trace.agent("billing", 110, 200, InputContent="order 77")
    trace.call(115, 130, billing, OutputContent="let me look")
    failing = {"StatusCode": "Error", "ErrorType": "ToolError", "ErrorMessage": broken} if broken else {}
    trace.tool("lookup", 135, 140, billing, ToolArguments='{"order": 77}', ToolResult="{}", **failing)
    trace.call(145, 160, billing, OutputContent="refunded")
    return frame(trace)


def steps_of(spans: pl.DataFrame) -> pl.DataFrame:
    facts = compute(spans)
    return steps(spans, facts.agent_runs, facts.llm_calls, facts.tool_calls, facts.handoffs)


def test_steps_of_the_products_own_spans() -> None:
    found = steps_of(desk(broken="KeyError: 'amount'"))
    calls = found.filter(pl.col("agent") != "transfer_to_billing")
    assert calls.select("agent", "kind", "acts", "failed").rows() == [
        ("triage", "agent", False, False), ("billing", "agent", True, True), ("lookup", "tool", False, True),
        ("billing", "agent", False, False),
    ]  # fmt: skip
    assert set(found["goal"]) == {"refund order 77"}
    assert found.filter(pl.col("agent") == "triage")["handed"].to_list() == ['["{\\"order\\": 77}", "order 77"]']


def test_a_bad_call_points_at_the_caller_and_an_outage_at_the_tool() -> None:
    by_caller = suspects(steps_of(desk(broken="KeyError: 'amount'")))
    by_tool = suspects(steps_of(desk(broken="upstream timed out")))
    assert by_caller["agent"][0] == "billing"
    assert by_tool["agent"][0] == "lookup"


def test_without_contents_failures_still_count() -> None:
    bare = desk(broken="KeyError").with_columns(
        pl.lit("").alias(name) for name in ("InputContent", "OutputContent", "ToolArguments", "ToolResult")
    )
    assert suspects(steps_of(bare))["agent"][0] == "billing"


def test_contents() -> None:
    assert plain('{"a": {"open": true, "closed": false, "price": 4.50}, "b": "[\\"x\\"]"}') == "open\nprice 4.5\nb x"
    assert words("The Prices of 1,200.50 kettles") == ["price", "1200.5", "kettle"]
    assert numbers("2 of 1,200.0 and v3.1") == {"2", "1200"}
    assert carried(["a", "b", "b"], ["b"]) == 0.5
    assert carried([], []) == 1.0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["", "assume 99", "```py\nx```", "ok"]), st.booleans()),
        min_size=1, max_size=8,
    ),
    st.integers(0, 2**31),
)  # fmt: skip
def test_order_and_duplicates_change_nothing_and_confidences_add_up(
    rows: list[tuple[str, str, bool]], seed: int
) -> None:
    told = table(
        *(step(at, agent, text=text, acts=failed, failed=failed) for at, (agent, text, failed) in enumerate(rows))
    )
    found = suspects(told)
    assert found["confidence"].sum() == pytest.approx(1.0)
    again = pl.concat([told, told.head(2)]).sample(fraction=1, shuffle=True, seed=seed)
    assert suspects(again).equals(found)


def chat(*said: tuple[str, str], inputs: bool) -> pl.DataFrame:
    """A group chat: everybody is given what was said so far, nobody but the first the goal."""
    trace = Trace("t", SessionId="s")
    root = trace.span("chat", "workflow", 0, 100, InputContent=f'[{{"role": "user", "content": "{GOAL}"}}]')
    history: list[dict[str, str]] = []
    for at, (who, text) in enumerate(said):
        given = {"InputContent": json.dumps(history)} if inputs and history else {}
        run = trace.agent(who, 10 * at, 10 * at + 9, root, **({} if text.startswith("exitcode") else given))
        if text.startswith("exitcode"):
            trace.rows[-1]["OutputContent"] = text
        else:
            trace.call(10 * at + 1, 10 * at + 8, run, OutputContent=text, **given)
        history.append({"role": "assistant", "content": text})
    return frame(trace)


@pytest.mark.parametrize("inputs", [True, False])
def test_who_opens_a_chat_briefs_the_others(inputs: bool) -> None:
    spans = chat(("manager", f"The task: {GOAL}"), ("worker", "I look"), ("writer", "done"), inputs=inputs)
    assert steps_of(spans)["handed"].to_list() == [f"The task: {GOAL}", "", ""]


def test_a_briefing_that_leaves_the_goal_out_is_seen_where_the_others_are_given_nothing_else() -> None:
    spans = chat(("manager", "Find us something nice"), ("worker", "I look"), ("writer", "done"), inputs=True)
    assert steps_of(spans)["handed"].to_list() == ["Find us something nice", "", ""]
    assert "goal_lost" in suspects(steps_of(spans))["signs"][0].to_list()


def test_an_executor_among_the_agents_is_a_tool_and_its_answer_belongs_to_whoever_spoke_before() -> None:
    answer = "exitcode: 1 (execution failed)\nCode output: KeyError: 'price'"
    spans = chat(("manager", GOAL), ("worker", "```python\nprint(1)\n```"), ("terminal", answer), inputs=True)
    found = steps_of(spans)
    assert found.select("agent", "kind", "acts", "failed").rows() == [
        ("manager", "agent", False, False), ("worker", "agent", True, True), ("terminal", "tool", False, True),
    ]  # fmt: skip


def test_chat_messages_are_read_without_their_envelope() -> None:
    message = json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": "TERMINATE"}]}])
    assert plain(message) == "TERMINATE"
    assert plain('{"type": "kettle", "content": 3}') == "type kettle\ncontent 3"
