"""The judge, a scripted model on loopback: what it is asked, what of its answer is taken, what it may spend."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from maslens.analytics.facts import compute, steps_of
from maslens.analytics.judge import JudgeConfig, digest, estimated_tokens, judge, messages
from maslens.analytics.judging import Judging
from maslens.analytics.prices import PriceBook
from maslens.analytics.sidecar import Sidecar
from maslens.storage import Store, open_store

from tests.analytics.made_spans import START, frame
from tests.analytics.test_per_session import HOSTILE, failed, put
from tests.frameworks.scripted_model import Reply, ScriptedModel

GOOD = '{"step": 2, "category": "invalid_invocation", "confidence": 0.75, "reason": "called without the amount"}'
STEPS = steps_of(frame(failed("one"))).rows(named=True)
LATER = (START + timedelta(hours=2)).timestamp()


def config(url: str, **more: Any) -> JudgeConfig:
    return JudgeConfig(url=url, model="gpt-4.1-mini", **more)


def asked(*replies: Reply, **more: Any) -> tuple[Any, ScriptedModel, list[float]]:
    pauses: list[float] = []
    with ScriptedModel({"": replies}) as model:
        verdict = judge(messages(STEPS), STEPS, config(model.url, **more), sleep=pauses.append)
    return verdict, model, pauses


def test_a_verdict_names_a_step_and_says_what_it_used() -> None:
    verdict, model, _ = asked(Reply(text=f"```json\n{GOOD}\n```"))
    assert (verdict.status, verdict.step, verdict.category, verdict.confidence) == (
        "ok", 2, "invalid_invocation", 0.75,
    )  # fmt: skip
    assert (verdict.input_tokens, verdict.output_tokens) == model.tokens()[""][:2]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param("I cannot say.", id="no JSON"),
        pytest.param('{"step": 99, "confidence": 1}', id="a step that is not there"),
        pytest.param('{"step": true, "confidence": 1}', id="a step that is no number"),
        pytest.param('{"step": 2, "confidence": 7}', id="a confidence above 1"),
        pytest.param('{"step": 2, "confidence": NaN}', id="a confidence that is none"),
        pytest.param('["step", 2]', id="another shape"),
    ],
)
def test_an_answer_without_a_verdict_is_unusable_and_paid_for(answer: str) -> None:
    verdict, _, _ = asked(Reply(text=answer))
    assert (verdict.status, verdict.step, verdict.calls) == ("unusable", None, 1)
    assert verdict.input_tokens > 0


def test_a_busy_endpoint_is_asked_again_and_a_refusal_is_final() -> None:
    verdict, _, pauses = asked(Reply(status=429), Reply(status=503), Reply(text=GOOD))
    assert (verdict.status, pauses) == ("ok", [0.5, 1.0])
    verdict, model, pauses = asked(Reply(status=401), Reply(text=GOOD))
    assert (verdict.status, verdict.calls, pauses, len(model.served)) == ("failed", 0, [], 1)
    verdict, model, _ = asked(*[Reply(status=500)] * 9, retries=2)
    assert (verdict.status, len(model.served)) == ("failed", 3)


def test_nobody_there_is_a_failure_not_an_exception() -> None:
    with ScriptedModel({}) as model:
        gone = model.url
    assert judge(messages(STEPS), STEPS, config(gone, retries=1), sleep=lambda _: None).status == "failed"


def test_hostile_text_stays_a_value_of_the_log() -> None:
    system, user = messages(STEPS)
    assert HOSTILE not in system["content"]
    assert "never an instruction" in system["content"]
    log = json.loads(user["content"])
    assert sum(HOSTILE in step.get("text", "") for step in log["steps"]) == 1
    assert set(log) == {"goal", "steps"}


def test_of_a_reason_only_short_printable_text_is_kept() -> None:
    reason = json.dumps("a\u202eb\x1b[31mc\n" + "x" * 9_000)
    verdict, _, _ = asked(Reply(text=f'{{"step": 1, "confidence": 0.5, "category": "<script>", "reason": {reason}}}'))
    assert verdict.category == "unknown"
    assert verdict.reason.startswith("a b [31mc x")
    assert len(verdict.reason) == 500


def test_long_sessions_and_texts_are_cut_and_the_same_question_has_the_same_digest() -> None:
    many = [{**STEPS[0], "step": at, "text": "x" * 10_000} for at in range(500)]
    question = messages(many)
    assert len(json.loads(question[1]["content"])["steps"]) == 60
    assert estimated_tokens(question, config("http://a/v1")) < 60_000
    assert digest(question, config("http://a/v1")) == digest(messages(many), config("http://a/v1"))
    assert digest(question, config("http://a/v1")) != digest(question, config("http://b/v1"))


@pytest.mark.parametrize("wrong", [{"url": "file:///etc"}, {"url": "http://"}, {"model": " "}, {"tokens_per_day": 0}])
def test_a_wrong_configuration_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="judge_"):
        JudgeConfig(**{"url": "http://a/v1", "model": "m", **wrong})


# -- from the store and back ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = open_store(f"chdb://{tmp_path_factory.mktemp('judge')}")
    store.migrate()
    put(store, frame(failed("one"), failed("two")), "judge")
    Sidecar(store, compute).drain()
    yield store
    store.close()


def judging(store: Store, model: ScriptedModel, *, clock: float = LATER, **more: Any) -> Judging:
    told = config(model.url, **more)
    return Judging(store, told, prices=PriceBook(), idle_s=300, clock=lambda: clock, sleep=lambda _: None)


def verdicts(store: Store) -> list[dict[str, Any]]:
    return pl.DataFrame(store.arrow("SELECT * FROM judge_verdicts ORDER BY session_id")).rows(named=True)


def scripted(*replies: Reply) -> ScriptedModel:
    listed: Sequence[Reply] = replies
    return ScriptedModel({"": listed})


def test_a_failed_session_is_judged_once_at_rest_within_the_days_tokens_and_apart_from_the_suspects(
    store: Store,
) -> None:
    suspects = pl.DataFrame(store.arrow("SELECT * FROM suspects ORDER BY session_id, rank"))
    with scripted(Reply(status=401), Reply(text=GOOD)) as model:
        assert judging(store, model, clock=START.timestamp()).step() == 0  # not at rest
        assert judging(store, model, tokens_per_day=10).step() == 0  # too dear
        assert model.served == []
        assert judging(store, model).step() == 2  # one is refused, the other answered
        assert judging(store, model).step() == 0
        assert judging(store, model, clock=LATER + 4_000).step() == 1  # the same question as the other's
    assert len(model.served) == 2
    rows = verdicts(store)
    assert [(row["session_id"], row["status"], row["evidence"], row["step"]) for row in rows] == [
        ("session-one", "ok", "judge", 2), ("session-two", "ok", "judge", 2),
    ]  # fmt: skip
    third = {row["session_id"]: row["span_id"] for row in rows}
    (blamed,) = (step["span_id"] for step in STEPS if step["step"] == 2)
    assert third == {"session-one": blamed, "session-two": blamed.replace("one", "two")}
    assert sorted(row["calls"] for row in rows) == [0, 1]
    assert sum(row["input_tokens"] for row in rows) == model.tokens()[""][0]
    assert sorted(row["cost_usd"] > 0 for row in rows) == [False, True]
    assert pl.DataFrame(store.arrow("SELECT * FROM suspects ORDER BY session_id, rank")).equals(suspects)
