"""Facts over many sessions: on data made so that the truth is known, captured topologies and a known call graph."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from maslens.analytics import frames
from maslens.analytics.bottlenecks import bottlenecks, rank_bottlenecks
from maslens.analytics.coalitions import coalitions
from maslens.analytics.coordination import usual_pattern, window_shape
from maslens.analytics.degradation import OBSERVATION, degradations
from maslens.analytics.facts import compute
from maslens.analytics.patterns import PATTERNS, Transfer, detect
from maslens.storage import open_store

from tests.validate.captures import Capture, agent_spans, captures
from tests.validate.nezha import spans as nezha_spans
from tests.validate.rows import Floats, Number, Row, Validation, row, share

BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)

PATTERN = Number(
    name="coordination: the pattern",
    definition="How the agents of a session work together: sequential, hierarchical, collaborative, reflexive, swarm.",
    formula="""every transfer votes: one that returns (or is answered by control passed straight back) for hierarchical,
    repeats of the same caller and callee for reflexive, one to or from runs side by side, or into a run that several
    lead to, for collaborative, one that an agent decided for swarm, any other for sequential; votes and told rounds
    count too. Confidence: share of votes under a Dirichlet(1/2) prior. Over many sessions determinism of at least 0.9
    decides between sequential and swarm.""",
    source="`agent_runs`, `handoffs`, `agent_events`; `analytics/patterns.py`",
    distrust="""on one or two transfers; between sequential and swarm in a single session whose program says its
    handoffs itself; where the spans name no session, so that every agent is alone.""",
)
GRAPH = Number(
    name="coordination: the graph",
    definition="Who calls whom, read from spans alone.",
    formula="an edge where a run of one agent led to a run of another; density, cycles and the like are NetworkX's",
    source="`handoffs`",
    distrust="it holds what happened, not what may happen: a call that was never made is no edge",
)
PATH = Number(
    name="bottlenecks: what a fix saves",
    definition="How much earlier a session would have ended had an agent taken no time.",
    formula="replay of the session's starts and ends with the agent's own time set to nothing",
    source="`agent_runs`, `handoffs`; `analytics/critical_path.py`",
    distrust="""it is an upper bound: no fix makes an agent take no time; branches that would have been started earlier
    for another reason are unknown to it""",
)
EPOCHS = Number(
    name="degradations: epochs within a version",
    definition="Whether an agent got worse while its version stayed the same, looked at after every call for ever.",
    formula="""20 calls against the next 20, those 40 against the next 40, up to 2,000; the k-th epoch has 1/(k(k+1)) of
    α = 5 %; bets may begin at any doubling. Alarm, onset (best split by ranks), recovery by the same test.""",
    source="`agent_runs`, `sessions`, `handoff_quality`, `evaluations`; `analytics/degradation.py`",
    distrust="""when calls depend on each other (a busy hour is not an independent draw); when a change creeps in so
    slowly that each epoch takes it for normal""",
)
COALITION = Number(
    name="coalitions",
    definition="Agents that work together more than chance has it.",
    formula="""Louvain on the backbone of co-occurrence (2.33 standard deviations above a bipartite configuration model)
    in the older half of the sessions; tested by 199 draws of that model on the newer half, Benjamini–Hochberg.""",
    source="`sessions`; `analytics/coalitions.py`",
    distrust="""with fewer than 40 sessions; when a program always calls the same agents together, that is its structure
    and no choice of theirs; no labelled data exists, so this is held against made data only""",
)


# --- patterns --------------------------------------------------------------------------------------------------------

# What the scenario is, by its name; those that mix or are about something else are left out.
TOPOLOGIES: Mapping[str, str] = {
    **dict.fromkeys(("sequential", "pipeline", "custom_graph", "responses"), "sequential"),
    **dict.fromkeys(
        ("hierarchical", "supervisor", "team", "delegation", "agenttool", "code", "nested", "selector"), "hierarchical"
    ),
    **dict.fromkeys(("swarm", "handoff", "transfer"), "swarm"),
    **dict.fromkeys(("parallel", "parallel_fail"), "collaborative"),
    "loop": "reflexive",
}


def topology(capture: Capture) -> str | None:
    """Whoever calls others and gets an answer is above them, side by side or not."""
    named = TOPOLOGIES.get(str(capture.truth["scenario"]))
    return "hierarchical" if named == "collaborative" and capture.truth.get("delegations") else named


def captured_patterns(folder: Path) -> Iterator[Row]:
    listed = [capture for capture in captures(folder) if topology(capture)]
    with tempfile.TemporaryDirectory() as directory:
        store = open_store(f"chdb://{directory}/store")
        store.migrate()
        spans = agent_spans(store, listed)
        store.close()
    right: list[bool] = []
    joined: list[bool] = []
    for capture in listed:
        found = compute(spans[capture.name]).coordination["pattern"].to_list()
        hit = bool(found) and set(found) == {topology(capture)}
        right.append(hit)
        if len(found) == 1:  # one session, as it was
            joined.append(hit)
    yield share(PATTERN, "captures", "captures with the pattern of their scenario", right)
    yield share(PATTERN, "captures", "of those whose spans make one session", joined)


def _moves(pairs: Sequence[tuple[str, str]], *, returns: bool, evidence: str) -> list[Transfer]:
    return [
        Transfer(source=a, target=b, returns=returns, evidence=evidence, at=at, target_run=f"{b}{at}")
        for at, (a, b) in enumerate(pairs)
    ]


def made_session(pattern: str, random: np.random.Generator) -> tuple[list[Transfer], set[str]]:
    """(transfers, runs side by side) of a session of that pattern, with a stray call among every ten transfers."""
    agents = [f"a{at}" for at in range(int(random.integers(3, 9)))]
    evidence = str(random.choice(["explicit", "tool_name"]))
    beside: set[str] = set()
    if pattern == "sequential":
        moves = _moves(list(pairwise(agents)), returns=False, evidence="structure")
    elif pattern == "hierarchical":
        called = [(agents[0], str(agent)) for agent in random.choice(agents[1:], size=int(random.integers(3, 9)))]
        moves = _moves(called, returns=bool(random.random() < 0.5), evidence=evidence)
        if not moves[0].returns:
            both = [pair for a, b in called for pair in ((a, b), (b, a))]
            moves = _moves(both, returns=False, evidence=evidence)
    elif pattern == "reflexive":
        both = [pair for _ in range(int(random.integers(3, 7))) for pair in (agents[:2], agents[1::-1])]
        moves = _moves([(a, b) for a, b in both], returns=False, evidence=evidence)
    elif pattern == "swarm":
        walk = [0]
        while len(walk) < int(random.integers(4, 10)):
            walk.append(int(random.choice([at for at in range(len(agents)) if at not in walk[-2:]])))
        moves = _moves([(agents[a], agents[b]) for a, b in pairwise(walk)], returns=False,
                       evidence=evidence)  # fmt: skip
    else:
        middle = agents[1:-1]
        moves = _moves([(agents[0], agent) for agent in middle], returns=False, evidence="structure")
        beside = {move.target_run for move in moves}
        moves += [
            Transfer(source=agent, target=agents[-1], returns=False, evidence="sequence", at=99, target_run="join")
            for agent in middle
        ]
    if random.random() < len(moves) / 10:
        a, b = random.choice(agents, size=2, replace=False)
        moves.append(Transfer(source=str(a), target=str(b), returns=True, evidence="explicit", at=50, target_run="x"))
    return moves, beside


def made_patterns(_: Path) -> Iterator[Row]:
    random = np.random.default_rng(0)
    sure: list[bool] = []
    for pattern in PATTERNS:
        hits = []
        for _nth in range(200):
            moves, beside = made_session(pattern, random)
            found = detect({end for move in moves for end in (move.source, move.target)}, moves, beside=beside)
            hits.append(found.pattern == pattern)
            if found.confidence >= 0.6:
                sure.append(hits[-1])
        yield share(PATTERN, "made", f"sessions made {pattern} that are called so", hits)
    yield share(PATTERN, "made", "right where the confidence is 0.6 or more", sure)
    for pattern in ("sequential", "swarm"):  # a program that says its own handoffs looks like a swarm, once
        windows = [_window(pattern, np.random.default_rng(seed)) for seed in range(50)]
        yield share(PATTERN, "made", f"windows of 40 {pattern} sessions, all told explicitly", windows)


def _window(pattern: str, random: np.random.Generator) -> bool:
    told: dict[str, float] = {}
    pairs: dict[tuple[str, str], int] = {}
    agents = [f"a{at}" for at in range(5)]
    for _ in range(40):
        walk = agents if pattern == "sequential" else [str(agent) for agent in random.permutation(agents)]
        if random.random() < 0.2:
            walk = walk[: int(random.integers(2, 5))]  # some end early
        moves = _moves(list(pairwise(walk)), returns=False, evidence="explicit")
        found = detect(set(walk), moves)
        told[found.pattern] = told.get(found.pattern, 0.0) + found.confidence
        for move in moves:
            pairs[move.source, move.target] = pairs.get((move.source, move.target), 0) + 1
    edges = pl.DataFrame(
        [(*pair, n) for pair, n in pairs.items()], schema=["source", "target", "handoffs"], orient="row"
    )
    return usual_pattern(told, window_shape(edges, agents)["determinism"], 40)[0] == pattern


# --- the graph -------------------------------------------------------------------------------------------------------


def call_graph(folder: Path) -> Iterator[Row]:
    """Every span as a run of the service's agent, facts computed as always; the day's call graph is the truth."""
    runs = nezha_spans(folder)
    for path in sorted(folder.glob("*.dependency.csv")):
        day = path.name.split(".")[0]
        with path.open() as file:
            listed = [(line["Source"], line["Target"]) for line in csv.DictReader(file)]
        truth = {pair for pair in listed if not any("." in end for end in pair)}
        mine = runs.filter(pl.col("day") == day)
        root = pl.col("parent_run_id") == "root"
        spans = frames.agent_spans(
            mine.select(
                SpanId="run_id",
                ParentSpanId=pl.when(root).then(pl.lit("")).otherwise("parent_run_id"),
                TraceId=_trace(mine),
                AgentName="agent",
                SpanName="name",
                Timestamp="started_at",
                Kind=pl.lit("agent"),
                Duration=(pl.col("ended_at") - pl.col("started_at")).dt.total_nanoseconds().clip(lower_bound=0),
                Dialect=pl.lit("otel_genai"),
                ServiceName="agent",
                StatusCode=pl.lit("Unset"),
            )
        )
        handoffs = compute(spans).handoffs
        found = set(handoffs.select("source", "target").unique().rows())
        found = {pair for pair in found if pair[0] != pair[1]}
        yield share(
            GRAPH, "nezha", f"edges that are right, {day}", [pair in truth for pair in found], ("at least", 100.0)
        )
        yield share(
            GRAPH, "nezha", f"edges that are found, {day}", [pair in found for pair in truth], ("at least", 92.8)
        )


def _trace(runs: pl.DataFrame) -> pl.Series:
    """The root above each span, so that whole traces stay together."""
    above = dict(runs.select("run_id", "parent_run_id").iter_rows())
    root: dict[str, str] = {}

    def find(run: str) -> str:
        way = []
        while run in above and run not in root and above[run] in above:
            way.append(run)
            run = above[run]
        top = root.get(run, run)
        root.update(dict.fromkeys(way, top))
        return top

    return pl.Series("TraceId", [find(run) for run in runs["run_id"]])


# --- bottlenecks -----------------------------------------------------------------------------------------------------

Plan = Sequence[Sequence[tuple[str, int]]]  # stages one after another, each of agents side by side and their ms


def made_plan(random: np.random.Generator, culprit: str, factor: float) -> Plan:
    agents = [f"a{at}" for at in range(8)]
    plan = []
    for _ in range(int(random.integers(2, 6))):
        chosen = random.choice(agents, size=int(random.integers(1, 4)), replace=False)
        plan.append([
            (str(agent), int(random.lognormal(6, 0.5) * (factor if agent == culprit else 1))) for agent in chosen
        ])  # fmt: skip
    return plan


def took(plan: Plan, without: str = "") -> int:
    return sum(max(0 if agent == without else ms for agent, ms in stage) for stage in plan) + 10 * (len(plan) + 1)


def played(session: str, plan: Plan) -> list[tuple[Any, ...]]:
    """The runs of a boss who takes 10 ms between stages."""
    rows, at = [], 10
    for number, stage in enumerate(plan):
        rows += [(session, f"{number}{agent}", "boss", agent, at, at + ms) for agent, ms in stage]
        at += max(ms for _, ms in stage) + 10
    return [(session, "boss", "", "boss", 0, at), *rows]


def culprits(_: Path) -> Iterator[Row]:
    """The truth is the plan played again without each agent; every other window has an agent that is twice as slow."""
    random = np.random.default_rng(0)
    exact: list[bool] = []
    first: list[bool] = []
    longest: list[bool] = []
    for nth in range(100):
        plans = {f"s{at}": made_plan(random, f"a{nth % 8}", 1.0 + nth % 2) for at in range(30)}
        runs = _runs([one for session, plan in plans.items() for one in played(session, plan)])
        table = bottlenecks(runs)
        for session, agent, saves in table.select("session_id", "agent", "saves_ns").iter_rows():
            if agent != "boss":
                exact.append(saves == (took(plans[session]) - took(plans[session], agent)) * 1_000_000)
        agents = {agent for plan in plans.values() for stage in plan for agent, _ in stage}
        worst = max(sorted(agents), key=lambda a: sum(took(plan) - took(plan, a) for plan in plans.values()))
        first.append(rank_bottlenecks(table).filter(pl.col("agent") != "boss")["agent"][0] == worst)
        total = runs.filter(pl.col("agent") != "boss").group_by("agent").agg(pl.col("duration_ns").sum())
        longest.append(total.sort("duration_ns")["agent"][-1] == worst)
    what = "windows whose first agent is the one without which they were shortest"
    yield share(PATH, "made", "savings equal to those of the plan without the agent", exact, ("at least", 100.0))
    yield share(PATH, "made", what, first, ("above", 100 * float(np.mean(longest))))
    yield share(PATH, "made", f"{what}, by total run time", longest)


def _runs(rows: Sequence[tuple[Any, ...]]) -> pl.DataFrame:
    names = ["session_id", "run_id", "parent_run_id", "agent", "a", "b"]
    start, end = (pl.col(name) * 1_000_000 for name in "ab")
    return pl.DataFrame(rows, schema=names, orient="row").select(
        *names[:4], status=pl.lit("ok"), started_at=start.cast(frames.TIME), ended_at=end.cast(frames.TIME),
        duration_ns=end - start,
    )  # fmt: skip


# --- degradations ----------------------------------------------------------------------------------------------------

STREAMS, CALLS, AFTER = 60, 1000, 400
KINDS: Mapping[str, tuple[str, Callable[[np.random.Generator, int], Floats], Callable[[Floats], Floats]]] = {
    "lognormal latency, × 1.5": ("duration_ms", lambda random, n: random.lognormal(0, 0.8, n), lambda v: v * 1.5),
    "2 % errors, 10 points more": (
        "error_rate",
        lambda random, n: (random.random(n) < 0.02).astype(float),
        lambda v: np.maximum(v, (np.random.default_rng(len(v)).random(len(v)) < 0.1).astype(float)),
    ),
    "90 % success, one in ten spoilt": (
        "success",
        lambda random, n: (random.random(n) < 0.9).astype(float),
        lambda v: v * (np.random.default_rng(len(v)).random(len(v)) >= 0.1),
    ),
}


def _alarm(metric: str, values: Floats) -> int | None:
    at = [BEGIN + timedelta(seconds=second) for second in range(len(values))]
    series = pl.DataFrame(
        {"agent": "a", "version": "1", "metric": metric, "at": at, "value": values}, schema=OBSERVATION
    )
    table = degradations(series)
    rung = table.filter(pl.col("alarm_at").is_not_null())["alarm_at"].min()
    return None if rung is None else int((rung - BEGIN).total_seconds())  # type: ignore[operator]


def _plain(metric: str, values: Floats, *, over: int = 20) -> int | None:
    """The mean of the last 20 worse than the first 100's by 5 %."""
    means = np.convolve(values, np.ones(over) / over, "valid")[100:]
    usual = values[:100].mean()
    hits = np.flatnonzero(means < 0.95 * usual if metric == "success" else means > 1.05 * usual)
    return int(hits[0]) + 100 + over if len(hits) else None


def epochs(_: Path) -> Iterator[Row]:
    for name, (metric, draw, spoil) in KINDS.items():
        random = np.random.default_rng(1)
        calm = [draw(random, CALLS) for _ in range(STREAMS)]
        alarms = [_alarm(metric, values) for values in calm]
        what = f"unchanged streams of {CALLS:,} calls that ever alarm"
        yield share(EPOCHS, "made", f"{name}: {what}", [at is not None for at in alarms], ("at most", 5.0))
        plain = [_plain(metric, values) is not None for values in calm]
        yield share(EPOCHS, "made", f"{name}: plain rule (last 20 worse by 5 %), unchanged streams that alarm", plain)
        changed = [np.concatenate([values[:AFTER], spoil(values[AFTER:])]) for values in calm]
        found = [_alarm(metric, values) for values in changed]
        real = [at is not None and at >= AFTER for at in found]
        yield share(EPOCHS, "made", f"{name}: changes after {AFTER} calls that are reported", real)
        delays = [at - AFTER for at in found if at is not None and at >= AFTER]
        if delays:
            low, high = np.quantile(delays, [0.05, 0.95])
            yield row(EPOCHS, "made", f"{name}: median delay in calls (interval: 5 to 95 % of streams)",
                      float(np.median(delays)), (low, high))  # fmt: skip


# --- coalitions ------------------------------------------------------------------------------------------------------


def made_sessions(random: np.random.Generator, n: int, groups: Sequence[str]) -> pl.DataFrame:
    """A hub in every session, one of `groups` whose members come with 70 %, and strays that come with 30 %."""
    rows = []
    for at in range(n):
        group = groups[int(random.integers(len(groups)))] if groups else ""
        strays = "uvwxyz" if groups else "abcdefghijuvwxyz"
        agents = [name for name in group if random.random() < 0.7] + [name for name in strays if random.random() < 0.3]
        won = "success" if random.random() < 0.7 else "failure"
        rows.append((f"s{at}", BEGIN + timedelta(minutes=at), ["hub", *agents], won, "t"))
    schema = {"session_id": pl.String, "started_at": pl.Datetime("ns", "UTC"), "agents": pl.List(pl.String),
              "outcome": pl.String, "task": pl.String}  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row")


def planted(_: Path) -> Iterator[Row]:
    groups = ["abc", "defg", "hij"]
    found: list[bool] = []
    wrong: list[bool] = []
    for seed in range(40):
        sure = coalitions(made_sessions(np.random.default_rng(seed), 200, groups)).filter(
            pl.col("verdict") == "coalition"
        )
        members = {"".join(one) for one in sure["members"].to_list()}
        found += [group in members for group in groups]
        wrong += [one not in groups for one in members]
    yield share(COALITION, "made", "planted groups found to the member, 200 sessions each", found)
    yield share(COALITION, "made", "coalitions that are not as planted", wrong)
    calm = [
        bool((coalitions(made_sessions(np.random.default_rng(1000 + seed), 200, []))["verdict"] == "coalition").any())
        for seed in range(100)
    ]
    yield share(COALITION, "made", "windows without any group in which one is reported", calm, ("at most", 5.0))


VALIDATIONS = (
    Validation(number=GRAPH, data="nezha", run=call_graph),
    Validation(number=PATH, data="made", run=culprits),
    Validation(number=PATTERN, data="made", run=made_patterns),
    Validation(number=PATTERN, data="captures", run=captured_patterns),
    Validation(number=COALITION, data="made", run=planted),
    Validation(number=EPOCHS, data="made", run=epochs),
)
