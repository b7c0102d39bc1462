"""Signs of a mistake, step by step: what in a failed session speaks for or against each step being the decisive one.

A step is what one agent said or did at a time, with the outcome of the calls it made; a tool is a step of its own.
Signs are read from words, numbers and error texts: no model is asked, so the same steps always give the same signs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .content import carried, leaves, numbers, parsed, plain, words


class Sign(NamedTuple):
    name: str
    says: str  # for people
    category: str = "unknown"  # of the failure, as AgentRx names them (arXiv 2602.02475)


_PLAN, _INVENTED = "plan_adherence_failure", "invention_of_new_information"
_CALL, _SYSTEM, _MISREAD = "invalid_invocation", "system_failure", "misinterpretation_of_tool_output"

SIGNS: Mapping[str, Sign] = {
    sign.name: sign
    for sign in (
        Sign("goal_lost", "what it passed on does not mention most of the goal", _PLAN),
        Sign("constraint_lost", "what it passed on lacks a part of the goal, or did not arrive whole", _PLAN),
        Sign("acts_in_brief", "it acted while still stating the task", _PLAN),
        Sign("first", "it was the first to work on the task"),
        Sign("codes", "it wrote code"),
        Sign("failed", "it ended in an error, or a call it made failed or answered nothing", _CALL),
        Sign("first_failed", "that was the first failure of the session", _CALL),
        Sign("assumes", "it assumed, simulated or used placeholders", _INVENTED),
        Sign("claims", "it stated figures that nothing before it contains, and checked none", _INVENTED),
        Sign("answers", "it wrote the answer", _MISREAD),
        Sign("tool_broke", "the tool failed by itself: time-out, outage or overload", _SYSTEM),
        Sign("silent", "it said nothing"),
        Sign("last", "nothing came after it"),
        Sign("judges", "it only judged the work of others"),
        Sign("tool", "it is a tool"),
    )
}
STEP = (
    "session_id",
    "step",
    "agent",
    "kind",
    "goal",
    "text",
    "handed",
    "acts",
    "failed",
    "result",
    "error",
    "handoff_loss",
)

_ASSUMES = re.compile(
    r"\b(assum\w+|simulat\w+|hypothetical\w*|placeholders?|mock\w*|dummy|fictional|suppos\w+|approximat\w+|estimate[ds]?"
    r"|typically|likely|generally|commonly|known (?:to|that|values?)|let'?s say|sample data"
    r"|example (?:data|dataset|values?)|for (?:the sake of|demonstration|illustration))\b",
    re.IGNORECASE,
)
_TOOL_BROKE = re.compile(
    r"timed? ?-?out|timeout|unavailable|connection|refused|unreachable|overload|rate.?limit|too many requests|quota"
    r"|internal server error|bad gateway|\b(?:429|50[0-9])\b|temporar",
    re.IGNORECASE,
)
_CODE = re.compile(r"```.*?```", re.DOTALL)
_WRITTEN = re.compile(r"```[a-z]+\b", re.IGNORECASE)  # a code block with its language
_NOTHING = frozenset(
    ["agree", "agreed", "done", "final", "finished", "good", "great", "ok", "okay", "stop", "terminate", "thank", "you"]
)
_GOAL_LEAST = 0.5
_FIGURE = re.compile(r"(?<![\w.,])\d[\d,]*(?:\.\d+)?(?![\w.,]*\w)")  # with no unit or letters joined to it


def signs(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Per step of `steps` (columns `STEP`, sorted by session and step) the strength of each sign, 0 where absent.

    A session's signs rest on its own steps alone.
    """
    found: list[dict[str, float]] = []
    begin = 0
    for at in range(1, len(steps) + 1):
        if at == len(steps) or steps[at]["session_id"] != steps[begin]["session_id"]:
            found.extend(_session(steps[begin:at]))
            begin = at
    return found


def _session(steps: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, float]]:
    known = numbers(steps[0]["goal"] or steps[0]["text"])
    agents = [at for at, step in enumerate(steps) if step["kind"] == "agent"]
    silent = [step["kind"] == "agent" and bool(step["text"]) and set(words(step["text"])) <= _NOTHING for step in steps]
    author = next((at for at in reversed(agents) if not silent[at]), -1)
    first = next((at for at in agents if not steps[at]["handed"]), -1)
    last = next((at for at in reversed(range(len(steps))) if not silent[at] and steps[at]["kind"] != "tool"), 0)
    failed_before = False
    for at, step in enumerate(steps):
        broke = bool(step["failed"]) and bool(_TOOL_BROKE.search(step["error"] or step["result"]))
        prose = _CODE.sub(" ", step["text"])
        new = {number for number in numbers(prose) - known if len(number) > 1}
        brief = bool(step["handed"])
        agent = step["kind"] == "agent"
        failed = bool(step["failed"]) and agent and not broke
        yield {
            "goal_lost": float(brief and bool(step["goal"]) and _lost(step)),
            "constraint_lost": max(float(brief and _part_lost(step)), float(step["handoff_loss"] or 0)),
            "acts_in_brief": float(brief and bool(step["acts"]) and at == 0),
            "first": float(at == first),
            "codes": float(agent and not brief and bool(_WRITTEN.search(step["text"]))),
            "failed": float(failed),
            "first_failed": float(failed and not failed_before),
            "assumes": float(agent and not brief and bool(_ASSUMES.search(step["text"]))),
            "claims": float(agent and not brief and not step["acts"] and bool(new)),
            "answers": float(at == author),
            "tool_broke": float(step["kind"] == "tool" and broke),
            "silent": float(silent[at]),
            "last": float(at >= last),
            "judges": float(step["kind"] == "check"),
            "tool": float(step["kind"] == "tool"),
        }
        failed_before |= failed
        known |= numbers(step["text"]) | numbers(step["result"]) | numbers(step["handed"])


def _lost(step: Mapping[str, Any]) -> bool:
    return carried(words(step["goal"]), words(plain(step["handed"])) + words(step["text"])) < _GOAL_LEAST


def _part_lost(step: Mapping[str, Any]) -> bool:
    """A figure of the goal is not in what was passed on, or a field that a word of the goal names is switched off."""
    passed, goal = step["handed"], step["goal"]
    if {_plainest(figure) for figure in _FIGURE.findall(goal)} - numbers(plain(passed)):
        return True
    off = {path[-1] for path, value in leaves(parsed(passed)) if path and value in (False, None, "")}
    wanted = set(words(goal))
    return any(wanted & set(words(name.replace("_", " "))) for name in off)


def _plainest(figure: str) -> str:
    return next(iter(numbers(figure)), figure)
