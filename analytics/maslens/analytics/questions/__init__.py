"""What can be asked: one entry a read command, which is also a list of the REST API and a field of GraphQL.

The catalogue is light, so that `maslens --help` is quick; `load` brings in what answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maslens.analytics.questions.question import Question

Value = str | int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What a question takes beside the filters. The default's type is the option's; `choices` are all there are."""

    name: str
    help: str
    default: Value
    choices: tuple[str, ...] = ()

    @property
    def described(self) -> str:
        """The help with what it takes and what it is where nothing is said."""
        text = f"{self.help}: {', '.join(self.choices)}" if self.choices else self.help
        return f"{text} ({self.default})" if self.default else text

    def checked(self, value: Value) -> Value:
        """`value` as the option's type; ValueError says what it takes."""
        if self.choices and value not in self.choices:
            raise ValueError(f"{self.name} takes {', '.join(self.choices)}, got {str(value)[:60]!r}")
        try:
            return type(self.default)(value)
        except ValueError:
            raise ValueError(f"{self.name} takes a number, got {str(value)[:60]!r}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """`module` has the `Question` in its `QUESTIONS`, under `name`."""

    name: str
    module: str
    help: str
    options: tuple[Option, ...] = ()
    command: bool = True  # `maslens <name>`
    api: bool = True  # GET /api/v1/<name> and a field of GraphQL, made from the question

    def checked(self, given: Mapping[str, Value | None], usual: Mapping[str, Value] | None = None) -> dict[str, Value]:
        """All options: as `given`, else as is `usual` here, else the default."""
        defaults = {option.name: option.default for option in self.options} | dict(usual or {})
        told = defaults | {name: value for name, value in given.items() if value is not None}
        return {option.name: option.checked(told[option.name]) for option in self.options}


COST_BY = ("agent", "model", "provider", "session", "day", "version", "variant", "task", "handoff", "tool")

CATALOGUE: tuple[Entry, ...] = (
    Entry(
        name="sessions",
        module="basics",
        help="One row a session: when, which agents, how it ended, what it cost.",
    ),
    Entry(name="agents", module="basics", help="One row an agent: runs, errors, durations, tokens, cost."),
    Entry(name="runs", module="basics", help="One row a run of an agent, newest first."),
    Entry(
        name="handoffs",
        module="basics",
        help="One row a handoff: who to whom, how we know (evidence) and how surely (confidence).",
    ),
    Entry(
        name="quality",
        module="per_session",
        help="One row a handoff: how well it went, each part of the score a column; the worst first.",
    ),
    Entry(
        name="suspects",
        module="per_session",
        help="Failed sessions: their steps by how probably each was the decisive mistake, with evidence.",
    ),
    Entry(
        name="verdicts",
        module="per_session",
        help="What the optional judge, a model, said of failed sessions, and what it cost.",
    ),
    Entry(
        name="drift",
        module="per_session",
        help="One row a step: how far from the goal, which of its facts were carried or lost, what was compacted.",
    ),
    Entry(name="graph", module="basics", help="Who hands to whom how often, and how that goes.", api=False),
    Entry(
        name="cost",
        module="costs",
        help="Tokens and money, charged on model calls only; agents plus (unattributed) always make the (total).",
        options=(
            Option(name="by", help="what the rows are", default="agent", choices=COST_BY),
            Option(
                name="rate", help="US dollars for an agent-hour; above 0 adds what the agents' time costs", default=0.0
            ),
        ),
        api=False,  # both have had it from the start, each in a form of its own
    ),
    Entry(name="unit-costs", module="spend", help="What a session costs by how it ended, and what a success costs."),
    Entry(name="waste", module="spend", help="Money that bought nothing: failed sessions, failed calls, rediscovery."),
    Entry(name="paths", module="spend", help="Ways through the agents, the dearest first."),
    Entry(
        name="budgets",
        module="spend",
        help="How far budgets are spent, how fast, and when they will be used up.",
        options=(Option(name="budgets", help="`50/day; agent billing 5/day; model gpt-4o 100/month`", default=""),),
    ),
    Entry(
        name="bottlenecks",
        module="bottlenecks",
        help="Who held sessions up: time on the critical path, waiting, retries, and what fixing it would save.",
    ),
    Entry(
        name="coordination",
        module="coordination",
        help="How agents work together: the pattern, the graph's shape, tokens spent on it, delegations, agreement.",
        options=(
            Option(name="by", help="what the rows are", default="window", choices=("window", "session", "version")),
        ),
    ),
    Entry(
        name="degradations",
        module="degradations",
        help="Who got worse, in what, since when and how surely: versions and times compared, false alarms bounded.",
        options=(
            Option(
                name="show", help="what is so now, or all alarms there were", default="now", choices=("now", "history")
            ),
        ),
    ),
    Entry(
        name="coalitions",
        module="coalitions",
        help="Agents that work together more than by chance, how stable that is, and whether work goes better for it.",
    ),
    Entry(
        name="teams",
        module="coalitions",
        help="For each kind of task the sets of agents that did it, the best first.",
    ),
    Entry(name="errors", module="basics", help="Errors by agent and type: how many, how many recovered, the last."),
    Entry(name="tools", module="basics", help="One row a tool: calls, errors, durations, who calls it."),
    Entry(
        name="evaluations", module="basics", help="One row an evaluation or feedback: about whom, by whom, the score."
    ),
    Entry(name="summary", module="basics", help="One row: how much there is.", command=False),
)


def entry(name: str) -> Entry:
    """The entry of that name; KeyError if there is none."""
    return {each.name: each for each in CATALOGUE}[name]


def load(name: str) -> Question:
    """The question of that name; KeyError if there is none."""
    questions: Mapping[str, Question] = import_module(f"{__name__}.{entry(name).module}").QUESTIONS
    return questions[name]
