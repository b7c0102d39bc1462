"""The agents of the help desk and who hands what to whom. This is what an instrumented app looks like."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from maslens.cli.demo import clock
from maslens.cli.demo.script import BIG, READING, SMALL, WRITING, CarrierTimeout, Case, think, use
from maslens.instrumentation import Agent, agent, feedback, handoff, iteration, workflow


async def handle(case: Case) -> None:
    """One case from the customer's question to the answer."""
    with workflow("help_desk", pattern="hierarchical", session=case.id) as run:
        await supervisor(case)
        run.outcome("success" if case.answered else "failure")
        clock.spend(2)
        if case.luck.random() < 0.5:
            score = 1.0 if case.answered and not case.escalated else 0.5 if case.answered else 0.0
            feedback("customer_rating", score=score, source="human", target_type="session", target_id=case.id)


@agent("supervisor", role="orchestrator", version="1.4.0")
async def supervisor(case: Case) -> None:
    think(case, BIG, writes=60, knows=900)
    try:
        with handoff("router", mode="return_to_caller", context=case.messages) as routed:
            await work_through(case, first="router")
            routed.outcome("completed")
    except CarrierTimeout:
        case.answered = False
        case.say("system", "the specialist could not finish")
    if case.difficult:
        await research(case)
        await write_answer(case)
    think(case, BIG, writes=180, knows=900)
    if not case.answered:
        with handoff("human_support", target_type="human", trigger="escalation", context=case.messages):
            clock.spend(0.1)


async def work_through(case: Case, first: str) -> None:
    """Control passes from agent to agent until one of them names no next."""
    name: str | None = first
    while name is not None:
        name = await AGENTS[name](case)


@agent("router", role="router", version="1.1.0")
async def router(case: Case) -> str:
    think(case, SMALL, writes=15)
    with handoff(case.subject, context=case.messages, context_strategy="full", trigger="llm_decision"):
        clock.spend(0.02)
    return case.subject


async def billing(case: Case) -> None:
    """A new version came in the afternoon: more talkative, and it looks everything up twice."""
    version, wordy = ("2.1.0", 2.2) if case.late else ("2.0.3", 1.0)
    with agent("billing", role="worker", version=version, context=case.messages):
        think(case, SMALL, writes=40)
        use(case, "lookup_invoice", takes=0.25)
        if case.late:
            use(case, "lookup_invoice", takes=0.25)
        think(case, SMALL, writes=int(90 * wordy), knows=int(400 * wordy))
        use(case, "issue_refund", takes=0.6)
        think(case, SMALL, writes=int(70 * wordy))
        case.say("assistant", "The second charge is refunded.")


@agent("technical", role="worker", version="1.8.2", context=lambda case: case.messages)
async def technical(case: Case) -> str | None:
    think(case, SMALL, writes=50)
    use(case, "search_manual", takes=0.4)
    think(case, SMALL, writes=110)
    if case.luck.random() > 0.4:
        case.say("assistant", "Please move the router to channel 6.")
        return None
    case.escalated = True
    with handoff("engineer", context=case.messages, context_strategy="summary", trigger="escalation"):
        clock.spend(0.05)
    return "engineer"


async def engineer(case: Case) -> None:
    """Gets a summary that has lost the order number, so it asks and looks up again what was known already."""
    summary = [{"role": "system", "content": "Customer has a wireless problem."}]
    with agent("engineer", role="worker", version="1.0.0", context=summary, context_strategy="summary"):
        think(case, BIG, writes=45, knows=300)
        use(case, "search_manual", takes=0.4)
        use(case, "run_diagnostics", takes=1.8)
        think(case, BIG, writes=160, knows=300)
        case.say("assistant", "A firmware fix is on its way to the device.")


@agent("shipping", role="worker", version="3.2.0", context=lambda case: case.messages)
async def shipping(case: Case) -> None:
    think(case, SMALL, writes=35)
    try:
        use(case, "track_parcel", takes=0.7, fails=0.35)
    except CarrierTimeout:
        think(case, SMALL, writes=20)
        use(case, "track_parcel", takes=0.7, fails=0.5)
    think(case, SMALL, writes=80)
    case.say("assistant", "Your parcel arrives tomorrow.")


async def research(case: Case) -> None:
    """Two researchers at once, and one who brings together what they found."""
    branches = await clock.together(
        asked(case, "web_researcher", "web_search"), asked(case, "docs_researcher", "search_docs")
    )
    with (
        handoff("synthesizer", mode="return_to_caller", context=case.messages) as joined,
        agent("synthesizer", role="worker", context=case.messages, joins=branches),
    ):
        think(case, READING, writes=140)
        case.say("assistant", "Findings: " + "fact " * 40)
    joined.outcome("completed")


async def asked(case: Case, name: str, by: str) -> Agent:
    with handoff(name, mode="return_to_caller", context=case.messages[0]):
        return await researcher(case, name, by)


async def researcher(case: Case, name: str, by: str) -> Agent:
    with agent(name, role="worker", context=case.messages[0]) as run:
        for _ in range(case.luck.randrange(1, 4)):
            think(case, READING, writes=60, knows=700)
            use(case, by, takes=0.9)
    return run


async def write_answer(case: Case) -> None:
    """Writer and critic in turns until the critic is content, three turns at most."""
    quality = case.luck.uniform(0.4, 0.75)
    for turn in range(3):
        with iteration(turn, limit=3) as step:
            with handoff("writer", mode="return_to_caller", context=case.messages):
                await writer(case)
            with handoff("critic", mode="return_to_caller", context=case.messages):
                await critic(case)
            quality = min(1.0, quality + case.luck.uniform(0.05, 0.3))
            content = quality > 0.8
            step.completed(score=quality, stop_reason="converged" if content else None)
        if content:
            break


@agent("writer", role="worker", version="0.9.0", context=lambda case: case.messages)
async def writer(case: Case) -> None:
    think(case, WRITING, writes=260, knows=1100)
    case.say("assistant", "Draft: " + "word " * 120)


@agent("critic", role="critic", version="0.9.0", context=lambda case: case.messages)
async def critic(case: Case) -> None:
    think(case, WRITING, writes=70, knows=600)
    case.say("assistant", "Critique: " + "remark " * 30)


AGENTS: Mapping[str, Callable[[Case], Awaitable[str | None]]] = {
    "router": router,
    "billing": billing,
    "technical": technical,
    "engineer": engineer,
    "shipping": shipping,
}
