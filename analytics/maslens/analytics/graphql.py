"""GraphQL at /graphql: the facts and reads of the REST API, with the same names, joined by session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import fields
from datetime import datetime
from inspect import Parameter, Signature
from types import MappingProxyType
from typing import Any, NewType, Optional, TypeAlias

import polars as pl
import strawberry
from anyio import to_thread
from maslens.analytics import api, frames, reads
from maslens.analytics.questions import CATALOGUE, Entry, basics, load
from maslens.analytics.questions.question import Asked
from maslens.analytics.reader import Reader
from maslens.analytics.reads import Filters, Kind, Read
from strawberry.asgi import GraphQL
from strawberry.extensions import MaxAliasesLimiter, MaxTokensLimiter, QueryDepthLimiter
from strawberry.schema.config import StrawberryConfig
from strawberry.tools import create_type

Time: TypeAlias = str | None
Name: TypeAlias = str | None

Count = NewType("Count", int)
_SCALARS: dict[object, Any] = {
    Count: strawberry.scalar(
        name="Count",
        description="A whole number of up to 64 bits; Int ends at 32",
        serialize=int,
        parse_value=int,
    )
}
_PYTHON: Mapping[Any, Any] = {
    pl.String: str,
    pl.UInt64: Count,
    pl.UInt32: Count,
    pl.Int64: Count,
    pl.Float64: float,
    pl.Boolean: bool,
}


def _type(name: str, schema: Mapping[str, Any], brief: str, parts: Mapping[str, Any] | None = None) -> Any:
    """A GraphQL type with a field for each column; all may be null, as a column is left out where nobody says it."""
    columns = {column: _maybe(_python(dtype)) for column, dtype in schema.items()}
    namespace = {"__annotations__": columns, **dict.fromkeys(columns), **(parts or {})}
    return strawberry.type(type(name, (), namespace), description=brief)


def _python(dtype: Any) -> Any:
    if isinstance(dtype, pl.List):
        return list[str]
    return datetime if isinstance(dtype, pl.Datetime) else _PYTHON.get(dtype.base_type(), str)


def _many(made: Any) -> Any:
    return list.__class_getitem__(made)


def _maybe(made: Any) -> Any:
    return Optional.__getitem__(made)


Run = _type("Run", frames.AGENT_RUNS, "One run of one agent")
Handoff = _type("Handoff", frames.HANDOFFS, "Control or work passed from one agent to another")
ModelCall = _type("ModelCall", frames.LLM_CALLS, "One call of a model")
ToolCall = _type("ToolCall", frames.TOOL_CALLS, "One call of a tool")
AgentError = _type("AgentError", frames.AGENT_ERRORS, "Something that went wrong")
Agent = _type("Agent", basics.AGENTS, "An agent over all its runs")
Evaluation = _type("Evaluation", frames.EVALUATIONS, "What somebody thought of a session, a run or a handoff")
_COST = {
    "name": pl.String(),
    **dict.fromkeys(("llm_calls", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"), pl.UInt64()),
    "cost_usd": pl.Float64(),
    "unpriced_calls": pl.UInt64(),
}
Cost = _type("Cost", _COST, "What one of whatever was asked for has cost; (unattributed) and (total) come last")
_EDGE = {
    **dict.fromkeys(("client", "server", "connection_type", "mode"), pl.String()),
    **dict.fromkeys(("handoffs", "failed", "sessions"), pl.UInt64()),
    **dict.fromkeys(("failure_rate", "confidence", "wait_p50_s", "wait_p95_s", "run_p50_s", "run_p95_s"), pl.Float64()),
}
Edge = _type("Edge", _EDGE, "All handoffs from one agent to another")
_NODE = {
    **dict.fromkeys(("agent", "kind"), pl.String()),
    **dict.fromkeys(("runs", "errors", "fan_in", "fan_out"), pl.UInt64()),
    **dict.fromkeys(("cost_usd", "betweenness"), pl.Float64()),
}
Node = _type("Node", _NODE, "An agent, or the user, in the coordination graph")
Metric = _type("Metric", {"name": pl.String(), "value": pl.Float64()}, "One number of the whole graph")
Graph = strawberry.type(
    type("Graph", (), {"__annotations__": {"nodes": _many(Node), "edges": _many(Edge), "metrics": _many(Metric)}}),
    description="Who works with whom",
)


def graphql_app(reader: Reader, *, usual: api.Usual = MappingProxyType({})) -> GraphQL[Any, Any]:
    """Queries only, of bounded depth and size; no page of its own."""
    schema = strawberry.Schema(
        query=create_type("Query", list(_queries(reader, usual))),
        config=StrawberryConfig(auto_camel_case=False, scalar_map=_SCALARS),
        extensions=[
            lambda: QueryDepthLimiter(max_depth=8),
            lambda: MaxAliasesLimiter(max_alias_count=20),
            lambda: MaxTokensLimiter(max_token_count=2000),
        ],
    )
    return GraphQL(schema, graphql_ide=None, allow_queries_via_get=True)


def _queries(reader: Reader, usual: api.Usual) -> Iterator[Any]:
    async def of(made: Any, read: Read) -> list[Any]:
        return [_made(made, row) for row in await to_thread.run_sync(reader.rows, read)]

    session = _session_type(of)

    async def agents(since: Time = None, until: Time = None, agent: Name = None, limit: int = 100) -> Any:
        return await of(Agent, reads.agents(_filters(None, since, until, agent, limit)))

    async def runs(
        session: Name = None, since: Time = None, until: Time = None, agent: Name = None, limit: int = 100
    ) -> Any:
        return await of(Run, reads.runs(_filters(session, since, until, agent, limit)))

    async def handoffs(
        session: Name = None, since: Time = None, until: Time = None, agent: Name = None, limit: int = 100
    ) -> Any:
        return await of(Handoff, reads.handoffs(_filters(session, since, until, agent, limit)))

    async def sessions(since: Time = None, until: Time = None, agent: Name = None, limit: int = 100) -> Any:
        return await of(session, reads.sessions(_filters(None, since, until, agent, limit)))

    async def one_session(session_id: str) -> Any:
        found = await of(session, reads.of_session("sessions", session_id, limit=1))
        return found[0] if found else None

    async def cost(by: str = "agent", session: Name = None, since: Time = None, until: Time = None) -> Any:
        if by not in reads.COST_KEYS:
            raise ValueError(f"by must be one of {', '.join(reads.COST_KEYS)}")
        rows = await to_thread.run_sync(reader.rows, reads.cost(_filters(session, since, until, None, 1), by=by))
        return [_made(Cost, {**row, "name": row[by]}) for row in rows]

    async def graph(session: Name = None, since: Time = None, until: Time = None) -> Any:
        narrowed = _filters(session, since, until, None, 1)
        made = await to_thread.run_sync(
            lambda: reader.remembered(("graph", repr(narrowed)), lambda: api.graph_of(reader, narrowed))
        )
        return Graph(
            nodes=[_made(Node, row) for row in made.nodes.to_dicts()],
            edges=[_made(Edge, row) for row in made.edges.to_dicts()],
            metrics=[Metric(name=name, value=float(value)) for name, value in made.metrics.items()],
        )

    yield _field("agents", _many(Agent), agents)
    yield _field("runs", _many(Run), runs)
    yield _field("handoffs", _many(Handoff), handoffs)
    yield _field("sessions", _many(session), sessions)
    yield _field("session", _maybe(session), one_session)
    yield _field("cost", _many(Cost), cost)
    yield _field("graph", Graph, graph)
    for each in CATALOGUE:
        if each.api and each.name not in _OWN:
            yield _question_field(reader, each, usual.get(each.name, {}))


_OWN = {"sessions", "agents", "runs", "handoffs"}  # fields of their own, above


def _question_field(reader: Reader, entry: Entry, usual: Mapping[str, Any]) -> Any:
    """Any other question of the catalogue: the filters, and what it takes beside them."""
    question, name = load(entry.name), entry.name.replace("-", "_")
    made = _type("".join(part.title() for part in f"{name}_row".split("_")), question.schema, entry.help)

    async def rows(**given: Any) -> Any:
        filters = _filters(*(given.pop(name) for name in ("session", "since", "until", "agent", "limit")))
        asked = Asked(filters=filters, options=entry.checked(given, usual))
        found = await to_thread.run_sync(
            lambda: reader.remembered((entry.name, repr(asked)), lambda: question.answer(reader.frames, asked))
        )
        return [_made(made, row) for row in found.to_dicts()]

    taken: dict[str, tuple[Any, Any]] = {
        **{each: (_maybe(str), None) for each in ("session", "since", "until", "agent")},
        "limit": (int, 100),
        **{option.name: (_maybe(type(option.default)), None) for option in entry.options},
    }
    rows.__name__ = name
    rows.__annotations__ = {name: kind for name, (kind, _) in taken.items()}
    rows.__signature__ = Signature(  # type: ignore[attr-defined]  # Strawberry reads the arguments from it
        [
            Parameter(name, Parameter.KEYWORD_ONLY, annotation=kind, default=default)
            for name, (kind, default) in taken.items()
        ],
        return_annotation=_many(made),
    )
    return _field(name, _many(made), rows)


def _session_type(of: Callable[[Any, Read], Awaitable[list[Any]]]) -> Any:
    """A session with the facts of it: lists in the place of their counts, which are called `…_count`."""

    def part(name: str, kind: Kind, made: Any) -> Any:
        async def rows(self: Any, limit: int = 1000) -> Any:
            return await of(made, reads.of_session(kind, self.session_id, limit=_most(limit)))

        return _field(name, _many(made), rows)

    columns = {name: dtype for name, dtype in frames.SESSIONS.items() if name not in _SESSION_PARTS}
    counts = {f"{name}_count": pl.UInt64() for name in _SESSION_PARTS}
    parts = {name: part(name, kind, made) for name, (kind, made) in _SESSION_PARTS.items()}
    return _type("Session", {**columns, **counts}, "All that belongs to one request or conversation", parts)


def _field(name: str, returns: Any, resolver: Any) -> Any:
    """A field of a type that is only known at run time."""
    resolver.__annotations__["return"] = returns
    return strawberry.field(resolver=resolver, name=name)


def _made(made: Any, row: Mapping[str, Any]) -> Any:
    """One object from one row; columns that are lists in the type become counts."""
    known = {each.name for each in fields(made)}
    counted = {f"{name}_count": value for name, value in row.items() if f"{name}_count" in known}
    plain = {name: value for name, value in row.items() if name in known and f"{name}_count" not in known}
    return made(**plain, **counted)


def _filters(session: str | None, since: str | None, until: str | None, agent: str | None, limit: int) -> Filters:
    return Filters(
        session=session,
        since=api.moment(since, "since"),
        until=api.moment(until, "until"),
        agent=agent,
        limit=_most(limit),
    )


_SESSION_PARTS: Mapping[str, tuple[Kind, Any]] = {
    "agent_runs": ("agent_runs", Run),
    "handoffs": ("handoffs", Handoff),
    "llm_calls": ("llm_calls", ModelCall),
    "tool_calls": ("tool_calls", ToolCall),
    "errors": ("agent_errors", AgentError),
    "evaluations": ("evaluations", Evaluation),
}


def _most(limit: int) -> int:
    return max(1, min(limit, api.MOST_ROWS))
