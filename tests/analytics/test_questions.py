"""Everything in the catalogue can be asked, narrowed and explained."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from maslens.analytics.questions import CATALOGUE, Entry, Option, load
from maslens.analytics.questions.question import Asked, plain
from maslens.analytics.reads import Filters

ENTRIES = [pytest.param(each, id=each.name) for each in CATALOGUE]


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_has_its_question(entry: Entry) -> None:
    question = load(entry.name)
    assert question.name == entry.name
    assert (question.read is None) != (question.compute is None)
    assert question.definition.endswith(".")
    if entry.api:
        assert set(question.shown) <= set(question.schema)


def test_names_are_unique() -> None:
    assert len({each.name for each in CATALOGUE}) == len(CATALOGUE)


def test_an_unknown_question_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        load("nothing")


@pytest.mark.parametrize(
    ("option", "given", "expected"),
    [
        (Option(name="by", help="", default="a", choices=("a", "b")), "b", "b"),
        (Option(name="days", help="", default=7), "30", 30),
        (Option(name="alpha", help="", default=0.05), "0.01", 0.01),
    ],
)
def test_an_option_takes_its_type(option: Option, given: Any, expected: Any) -> None:
    assert option.checked(given) == expected


@pytest.mark.parametrize(
    ("option", "given", "says"),
    [
        (Option(name="by", help="", default="a", choices=("a", "b")), "c", "by takes a, b, got 'c'"),
        (Option(name="days", help="", default=7), "many", "days takes a number, got 'many'"),
    ],
)
def test_an_option_says_what_it_takes(option: Option, given: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        option.checked(given)


def test_limit_and_offset_are_applied_to_what_is_computed() -> None:
    question = load("cost")
    asked = Asked(filters=Filters(limit=2, offset=1), options={"by": "agent"})
    five = pl.DataFrame({"agent": list("abcde")})
    assert question.answer(lambda *_: [five], asked)["agent"].to_list() == ["b", "c"]


def test_plain_values_are_what_json_can_have() -> None:
    frame = pl.DataFrame(
        {
            "at": pl.Series([1_500_000_000_000_000_001], dtype=pl.Int64).cast(pl.Datetime("ns", "UTC")),
            "ratio": [float("nan")],
            "agent": pl.Series(["a"], dtype=pl.Categorical),
        }
    )
    assert plain(frame).to_dicts() == [{"at": "2017-07-14T02:40:00.000000001Z", "ratio": None, "agent": "a"}]
