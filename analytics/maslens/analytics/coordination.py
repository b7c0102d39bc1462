"""How the agents of each session worked together: shape, what coordinating cost, how delegations went, the pattern."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import heappop, heappush
from itertools import accumulate, chain, groupby
from operator import itemgetter
from typing import Any

import networkx as nx
import polars as pl

from .agreement import decisions
from .frames import COORDINATION, UNATTRIBUTED
from .graph import FAILED_OUTCOMES, betweenness, determinism, shape
from .patterns import Detected, Transfer, calls_and_passes, detect, repeated

_DECIDED = ("explicit", "tool_name", "message")
_LEAST_EXCHANGE = 2  # calls of the same callee in a row that make a loop


CERTAIN = 0.9  # determinism from which on a path is taken to be the program's and not the agents'
LEAST_SESSIONS = 20  # before determinism says anything about that


def usual_pattern(told: Mapping[str, float], determinism: float, sessions: int) -> tuple[str, float]:
    """(pattern, confidence) of many sessions. told: by pattern, the confidence with which sessions were detected as it.

    Whether agents or the program chose the next agent shows over many sessions: what always takes the same way is
    sequential, what does not is a swarm.
    """
    several = {pattern: weight for pattern, weight in told.items() if pattern != "single"}
    if not several:
        return ("single", 1.0) if told else ("", 0.0)
    chosen = several.pop("sequential", 0.0), several.pop("swarm", 0.0)
    if sum(chosen) > 0:
        known = sessions >= LEAST_SESSIONS
        forward = ("sequential" if determinism >= CERTAIN else "swarm") if known else ""
        several[forward or ("sequential" if chosen[0] >= chosen[1] else "swarm")] = sum(chosen)
    best = max(sorted(several), key=lambda pattern: several[pattern])
    return best, several[best] / sum(several.values())


def window_shape(edges: pl.DataFrame, agents: Collection[str], entries: Collection[str] = ()) -> dict[str, float]:
    """The shape of a graph over many sessions.

    edges: `source, target, handoffs`, each pair once. entries: whom the user began with.
    """
    graph: Any = nx.DiGraph()
    graph.add_nodes_from(sorted(agents))
    graph.add_edges_from(edges.select("source", "target").iter_rows())
    between = betweenness(graph) if len(graph) > 2 else {}
    return {
        **_shape_from_user(graph, entries),
        "betweenness_max": max(between.values(), default=0.0),
        "determinism": determinism(edges.rename({"source": "client", "target": "server"})),
    }


def coordination(
    runs: pl.DataFrame,
    handoffs: pl.DataFrame,
    llm_calls: pl.DataFrame,
    *,
    bounced: pl.DataFrame | None = None,
    events: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """One row per session in which an agent ran; columns as in `frames.COORDINATION`.

    bounced: `session_id, trace_id, span_id, source, target, bounced` as `handoff_quality` has them. events:
    `agent_events` with `session_id`. Shape is that of agents only, whatever the user started. messages: a transfer that
    returns is two, one that does not is one. coordination_tokens: of the model calls that decided a transfer, the last
    one of the source before it; work_tokens: of all others. delegation_accuracy: share of transfers that neither
    failed nor bounced; redelegated: of those that did, how many the same source followed with another.
    """
    runs = runs.unique(["session_id", "run_id"], keep="first", maintain_order=True)
    between = (pl.col("source") != "") & (pl.col("target") != "") & (pl.col("connection_type") != "virtual_node")
    known = handoffs.filter(between).unique(
        ["session_id", "trace_id", "span_id", "source", "target", "at"], keep="first", maintain_order=True
    )
    sessions = list(_sessions(runs, known))
    told = _decided(_exchanges(sessions), events)
    found = _shapes(sessions)
    for part in (
        _patterns(sessions, told),
        runs.group_by("session_id").agg(started_at=pl.col("started_at").min()),
        _tokens(known, llm_calls),
        _delegations(known, runs, bounced),
        _loops(told),
    ):
        found = found.join(part, on="session_id", how="left")
    counts = [name for name, dtype in COORDINATION.items() if dtype == pl.UInt64() and name != "rounds_to_stable"]
    return (
        found.with_columns(pl.col(counts).fill_null(0))
        .select(pl.col(name).cast(dtype) for name, dtype in COORDINATION.items())
        .sort("session_id")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    session_id: str
    entry: str  # the agent that began
    agents: Collection[str]
    transfers: Sequence[Transfer]
    edges: Collection[tuple[str, str]]  # source and target, each pair once
    beside: Collection[str]  # runs that overlap another agent's


def _sessions(runs: pl.DataFrame, handoffs: pl.DataFrame) -> Iterator[_Session]:
    columns = ["session_id", "source", "target", "mode", "evidence", "source_run_id", "target_run_id"]
    moved = handoffs.select(*columns, pl.col("at").dt.epoch("ns")).sort(pl.all())
    moves = {session: list(rows) for session, rows in groupby(_rows(moved), key=itemgetter(0))}
    ran = runs.select(
        "session_id", "run_id", "parent_run_id", "agent", start=pl.col("started_at").dt.epoch("ns"),
        end=pl.col("ended_at").dt.epoch("ns"),
    ).sort("session_id", "start", "end", "run_id")  # fmt: skip
    for session, group in groupby(_rows(ran), key=itemgetter(0)):
        rows, mine = list(group), moves.get(session, ())
        agents = [row[3] for row in rows if row[3] not in ("", UNATTRIBUTED)]
        edges = {(source, target) for _, source, target, *_ in mine}
        yield _Session(
            session_id=session,
            entry=agents[0] if agents else "",
            agents={*agents, *chain.from_iterable(edges)},
            transfers=[
                Transfer(source=source, target=target, returns=mode == "return_to_caller", evidence=evidence, at=at,
                         target_run=target_run)
                for _, source, target, mode, evidence, _, target_run, at in mine
            ],
            edges=edges,
            beside=_beside(rows, {row[6]: row[5] for row in mine if row[6] and row[5]}),
        )  # fmt: skip


def _rows(table: pl.DataFrame) -> Iterator[tuple[Any, ...]]:
    """A list a column is made quicker than a tuple a row."""
    return zip(*(column.to_list() for column in table), strict=True)


def _shape_from_user(agents: Any, entries: Collection[object]) -> dict[str, float]:
    """The shape of `agents`, its depth counted from the user, who began with `entries`."""
    known = [agent for agent in entries if agent in agents]
    if not known:
        return shape(agents, agents, set())
    whole = agents.copy()
    whole.add_edges_from((USER_NODE, agent) for agent in known)
    return shape(agents, whole, {USER_NODE})


USER_NODE = "\x00user"  # no agent is called so


def _beside(rows: Sequence[tuple[Any, ...]], launcher: Mapping[str, str]) -> set[str]:
    """Runs at work at the same time as one of another agent, neither having launched the other.

    rows: `session_id, run_id, parent_run_id, agent, start, end` by start.
    """
    latest = accumulate((row[5] for row in rows), max)
    if all(row[4] >= end for end, row in zip(latest, rows[1:], strict=False)):
        return set()  # one after the other
    above = {run: parent for _, run, parent, *_ in rows if parent}
    known: dict[str, set[str]] = {}

    def lineage(run: str) -> set[str]:
        """The run and whatever launched it, directly or not."""
        if run not in known:
            seen: set[str] = set()
            waiting = [run]
            while waiting:
                one = waiting.pop()
                if one not in seen:
                    seen.add(one)
                    waiting += [up for up in (above.get(one), launcher.get(one)) if up]
            known[run] = seen
        return known[run]

    def unrelated(run: str, others: Iterable[str]) -> Iterator[str]:
        return (other for other in others if other not in lineage(run) and run not in lineage(other))

    found: set[str] = set()
    at_work: list[tuple[int, str, str]] = []  # a heap: who ends first
    alone: dict[str, set[str]] = {}  # by agent, its runs at work that are not found yet: each is looked at until it is
    beside: dict[str, set[str]] = {}  # ... and those that are
    for _, run, _, agent, start, end in rows:
        while at_work and at_work[0][0] <= start:
            _, ended, whose = heappop(at_work)
            _drop(beside if ended in found else alone, whose, ended)
        if start == end:
            continue
        met = [(other, name) for name, mine in alone.items() if name != agent for other in unrelated(run, mine)]
        for other, name in met:
            _drop(alone, name, other)
            beside.setdefault(name, set()).add(other)
            found.add(other)
        if met or any(True for name, mine in beside.items() if name != agent for _ in unrelated(run, mine)):
            found.add(run)
        (beside if run in found else alone).setdefault(agent, set()).add(run)
        heappush(at_work, (end, run, agent))
    return found


def _drop(runs: dict[str, set[str]], agent: str, run: str) -> None:
    runs[agent].discard(run)
    if not runs[agent]:
        del runs[agent]


def _exchanges(sessions: Collection[_Session]) -> pl.DataFrame:
    rows = []
    for session in sessions:
        if len(session.edges) == len(session.transfers):
            continue  # nobody was called twice by the same
        again = Counter((call.source, call.target) for call in repeated(calls_and_passes(session.transfers)[0]))
        rows += [(session.session_id, *pair, n + 1) for pair, n in sorted(again.items()) if n + 1 >= _LEAST_EXCHANGE]
    schema = {"session_id": pl.String, "caller": pl.String, "callee": pl.String, "rounds": pl.UInt64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _decided(exchanges: pl.DataFrame, events: pl.DataFrame | None) -> Mapping[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in decisions(events, exchanges).iter_rows(named=True):
        found[row["session_id"]].append(row)
    return found


_MEASURED = ("agents", "edges", "density", "depth", "fan_out_max", "centralisation", "cycles", "reciprocity",
             "betweenness_max")  # fmt: skip


def _shapes(sessions: Sequence[_Session]) -> pl.DataFrame:
    measured = [_measured(session) for session in sessions]
    columns: dict[str, list[Any]] = {
        "session_id": [session.session_id for session in sessions],
        "handoffs": [len(session.transfers) for session in sessions],
        "messages": [sum(1 + move.returns for move in session.transfers) for session in sessions],
        **{name: [numbers[name] for numbers in measured] for name in _MEASURED},
    }
    return pl.DataFrame(columns, schema={name: COORDINATION[name] for name in columns})


def _measured(session: _Session) -> Mapping[str, float]:
    """Sessions of one form, whoever the agents are, have the same numbers; a fleet repeats a few forms all day."""
    place = {agent: at for at, agent in enumerate(sorted(session.agents))}
    edges = sorted((place[source], place[target]) for source, target in session.edges)
    measure: Callable[..., Mapping[str, float]] = _measured_form if len(edges) <= _LARGE else _measured_form.__wrapped__
    return measure(len(place), tuple(edges), place.get(session.entry, -1))


_LARGE = 64  # edges; forms of more are not kept: they do not come again, and fill the memory


@lru_cache(maxsize=4_096)
def _measured_form(agents: int, edges: tuple[tuple[int, int], ...], entry: int) -> Mapping[str, float]:
    graph: Any = nx.DiGraph()
    graph.add_nodes_from(range(agents))
    graph.add_edges_from(edges)
    between = betweenness(graph) if agents > 2 else {}
    return {**_shape_from_user(graph, [entry]), "betweenness_max": max(between.values(), default=0.0)}


def _patterns(sessions: Sequence[_Session], told: Mapping[str, Sequence[Mapping[str, Any]]]) -> pl.DataFrame:
    found = [_pattern(session, told.get(session.session_id, ())) for session in sessions]
    columns: dict[str, list[Any]] = {
        "session_id": [session.session_id for session in sessions],
        "pattern": [one.pattern for one in found],
        "pattern_confidence": [one.confidence for one in found],
    }
    return pl.DataFrame(columns, schema={name: COORDINATION[name] for name in columns})


def _pattern(session: _Session, decided: Sequence[Mapping[str, Any]]) -> Detected:
    return detect(
        session.agents,
        session.transfers,
        beside=session.beside,
        votes=sum(row["votes"] or 0 for row in decided if row["kind"] == "vote"),
        rounds=sum(row["rounds"] - 1 for row in decided if row["kind"] == "loop"),
    )


def _tokens(handoffs: pl.DataFrame, llm_calls: pl.DataFrame) -> pl.DataFrame:
    """Tokens of the calls that decided a transfer (each once), and of all others."""
    tokens = pl.sum_horizontal(pl.col("input_tokens", "output_tokens").cast(pl.Int64))
    calls = llm_calls.unique(["session_id", "trace_id", "span_id"], keep="first").select(
        "session_id", "trace_id", "span_id", source_run_id="run_id", tokens=tokens,
        done=pl.col("at").dt.epoch("ns") + pl.col("duration_ns").cast(pl.Int64),
    )  # fmt: skip
    asked = handoffs.filter(
        (pl.col("evidence").is_in(_DECIDED) | (pl.col("mode") == "return_to_caller")) & (pl.col("source_run_id") != "")
    ).select("session_id", "source_run_id", done=pl.col("at").dt.epoch("ns") + _SLACK_NS)
    deciding = (
        asked.sort("done")
        .join_asof(calls.sort("done", "span_id"), on="done", by=["session_id", "source_run_id"], check_sortedness=False)
        .filter(pl.col("span_id").is_not_null())
        .select("session_id", "trace_id", "span_id", decides=pl.lit(True))
        .unique()
    )
    return (
        calls.join(deciding, on=["session_id", "trace_id", "span_id"], how="left")
        .with_columns(pl.col("decides").fill_null(False), pl.col("tokens").fill_null(0))
        .group_by("session_id")
        .agg(
            coordination_tokens=pl.col("tokens").filter("decides").sum(),
            work_tokens=pl.col("tokens").filter(~pl.col("decides")).sum(),
        )
    )


_SLACK_NS = 1_000_000  # a span may end a little after what it led to began


def _delegations(handoffs: pl.DataFrame, runs: pl.DataFrame, bounced: pl.DataFrame | None) -> pl.DataFrame:
    key = ["session_id", "trace_id", "span_id", "source", "target"]
    status = runs.select("session_id", target_run_id="run_id", ended="status")
    back = (
        handoffs.select(key).unique().with_columns(back=pl.lit(False))
        if bounced is None
        else bounced.group_by(key).agg(back=(pl.col("bounced") > 0).any())
    )
    table = (
        handoffs.join(status, on=["session_id", "target_run_id"], how="left")
        .join(back, on=key, how="left")
        .with_columns(
            failed=pl.col("outcome").is_in(FAILED_OUTCOMES) | (pl.col("ended") == "error").fill_null(False),
            back=pl.col("back").fill_null(False),
        )
        .with_columns(troubled=pl.col("failed") | pl.col("back"))
    )
    last = table.group_by("session_id", "source").agg(last=pl.col("at").max())
    return (
        table.join(last, on=["session_id", "source"])
        .group_by("session_id")
        .agg(
            failed=pl.col("failed").sum(),
            bounced=pl.col("back").sum(),
            redelegated=(pl.col("troubled") & (pl.col("last") > pl.col("at"))).sum(),
            delegation_accuracy=1 - pl.col("troubled").mean(),
        )
    )


def _loops(told: Mapping[str, Sequence[Mapping[str, Any]]]) -> pl.DataFrame:
    rows = []
    for session, decided in told.items():
        votes = [row for row in decided if row["kind"] == "vote"]
        loops = [row for row in decided if row["kind"] != "vote"]
        stable = [row["rounds_to_stable"] for row in decided if row["rounds_to_stable"] is not None]
        rows.append({
            "session_id": session, "decisions": len(votes), "loops": len(loops),
            "rounds_max": max((row["rounds"] for row in decided), default=0),
            "agreement": sum(row["agreement"] for row in votes) / len(votes) if votes else None,
            "rounds_to_stable": max(stable, default=None),
        })  # fmt: skip
    columns = ("session_id", "decisions", "loops", "rounds_max", "agreement", "rounds_to_stable")
    return pl.DataFrame(rows, schema={name: COORDINATION[name] for name in columns}, orient="row")
