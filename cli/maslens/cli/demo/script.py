"""What happens in each case of the help desk, and what its models and tools answer: all of it from one seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from maslens.cli.demo import clock
from maslens.instrumentation import llm, tool


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    name: str
    provider: str
    first_token_s: float
    per_token_s: float


BIG = Model(name="gpt-4.1", provider="openai", first_token_s=0.7, per_token_s=0.011)
SMALL = Model(name="gpt-4.1-mini", provider="openai", first_token_s=0.35, per_token_s=0.006)
WRITING = Model(name="claude-sonnet-4-5", provider="anthropic", first_token_s=0.9, per_token_s=0.014)
READING = Model(name="gemini-2.5-flash", provider="google", first_token_s=0.3, per_token_s=0.004)


class CarrierTimeout(TimeoutError):
    """The parcel service did not answer."""


@dataclass(slots=True, kw_only=True)
class Case:
    """One customer with one problem."""

    id: str
    subject: str  # billing | technical | shipping
    difficult: bool  # needs research and a written answer
    late: bool  # after the new billing agent was rolled out
    luck: Random
    messages: list[dict[str, str]] = field(default_factory=list)
    answered: bool = True
    escalated: bool = False

    def say(self, role: str, text: str) -> None:
        self.messages.append({"role": role, "content": text})


PROBLEMS = {
    "billing": "I was charged twice for order {order}. Please refund one of the charges.",
    "technical": "Since the update my thermostat of order {order} drops off the wireless network every night.",
    "shipping": "Order {order} should have arrived last week. Where is my parcel?",
}


def case_of(number: int, of: int, seed: int) -> Case:
    """The same `seed` makes the same cases in the same order."""
    luck = Random(f"{seed}/{number}")  # noqa: S311 a script, no secret
    subject = luck.choices(["billing", "technical", "shipping"], [5, 4, 3])[0]
    case = Case(
        id=f"case-{seed}-{number:04d}",
        subject=subject,
        difficult=luck.random() < 0.25,
        late=number > of * 2 // 3,
        luck=luck,
    )
    case.say("user", PROBLEMS[subject].format(order=f"A-{luck.randrange(10_000, 99_999)}"))
    return case


def think(case: Case, model: Model, *, writes: int, knows: int = 400) -> None:
    """One model call: reads the conversation and `knows` tokens of instructions, which the provider has cached."""
    luck = case.luck
    conversation = sum(len(message["content"]) for message in case.messages) // 4
    written = max(5, int(luck.gauss(writes, writes / 5)))
    read = knows + conversation + luck.randrange(20, 120)
    with llm(model.name, provider=model.provider) as call:
        clock.spend(luck.lognormvariate(0, 0.25) * (model.first_token_s + written * model.per_token_s))
        call.usage(read, written, cache_read=knows // 128 * 128 if luck.random() < 0.6 else 0)
        call.response(id=f"resp_{luck.getrandbits(64):016x}", model=model.name, finish_reasons=["stop"])


def use(case: Case, name: str, *, takes: float, fails: float = 0.0) -> str:
    """One tool call; fails with the probability `fails`, and then after a long wait."""
    with tool(name, arguments={"case": case.id}) as call:
        if case.luck.random() < fails:
            clock.spend(5.0)
            raise CarrierTimeout(f"{name}: no answer within 5 s")
        clock.spend(takes * case.luck.lognormvariate(0, 0.4))
        result = f"{name} of {case.id}: found"
        call.result(result)
    case.say("tool", result + " " + "details " * case.luck.randrange(10, 60))
    return result
