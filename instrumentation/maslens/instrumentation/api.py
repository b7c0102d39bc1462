"""The words an app uses. Each is a decorator, a context manager and an async context manager.

@agent("triage", role="router")
async def triage(question: str) -> str:
    with handoff("billing", context=messages):
        ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar, overload

from maslens.instrumentation.agents import (
    NOT_GIVEN,
    Agent,
    AgentSpec,
    Handoff,
    HandoffSpec,
    TakenUp,
    Tool,
    ToolSpec,
)
from maslens.instrumentation.carried import typed_link
from maslens.instrumentation.digest import attribute
from maslens.instrumentation.events import EventSpec, Feedback, Vote, Where, context_of
from maslens.instrumentation.guard import swallowed
from maslens.instrumentation.operation import (
    Consensus,
    Iteration,
    IterationSpec,
    ModelCall,
    SpanSpec,
    Task,
    TaskSpec,
    Workflow,
    WorkflowSpec,
)
from maslens.instrumentation.scopes import Carried, Received, ReceivedSpec
from maslens.semconv import attributes as names
from opentelemetry.trace import Link

F = TypeVar("F", bound=Callable[..., Any])
_AGENT_TYPE = "gen_ai.agent.type"  # OpenLIT's names; ours has none for what an agent could do but did not
_AGENT_HANDOFFS = "gen_ai.agent.handoffs"
_NONE: tuple[Any, ...] = ()
_UNNAMED_AGENT = ("invoke_agent", names.GEN_AI_AGENT_NAME)
_UNNAMED_TOOL = ("execute_tool", names.GEN_AI_TOOL_NAME)
More: TypeAlias = "Mapping[str, Any] | None"


@overload
def agent(name: F, /) -> F: ...
@overload
def agent(
    name: str | None = None,
    /,
    *,
    role: str | None = None,
    version: str | None = None,
    description: str | None = None,
    instance: str | None = None,
    config_hash: str | None = None,
    context: Any = NOT_GIVEN,
    context_strategy: str | None = None,
    context_tokens: int | None = None,
    handoff: TakenUp | Callable[..., TakenUp] | None = None,
    joins: Iterable[Where] = _NONE,
    retries: Where = None,
    triggered_by: Where = None,
    attributes: More = None,
) -> Agent: ...
def agent(
    name: Any = None,
    /,
    *,
    role: str | None = None,
    version: str | None = None,
    description: str | None = None,
    instance: str | None = None,
    config_hash: str | None = None,
    context: Any = NOT_GIVEN,
    context_strategy: str | None = None,
    context_tokens: int | None = None,
    handoff: TakenUp | Callable[..., TakenUp] | None = None,
    joins: Iterable[Where] = _NONE,
    retries: Where = None,
    triggered_by: Where = None,
    attributes: More = None,
) -> Any:
    """One invocation of the agent `name`; without a name, the decorated function's.

    context: what the agent was given, or a function of the call's arguments that says; recorded as hash and size, so
        that comparing with the handoff's own shows whether anything was lost on the way.
    handoff: the handoff that brought it here, where it cannot be found by itself: the object, its id, or the carrier
        it came in, or a function of the call's arguments that says.
    joins: the branches this agent brings together; retries: the attempt it repeats; triggered_by: what set it off.
        Handles, span contexts or carriers.
    """
    if callable(name):
        return agent()(name)
    called = _word(name, "agent")
    said: dict[str, Any] = {names.GEN_AI_OPERATION_NAME: "invoke_agent", names.GEN_AI_AGENT_NAME: called}
    if version is not None:
        said[names.GEN_AI_AGENT_VERSION] = attribute(version)
    if description is not None:
        said[names.GEN_AI_AGENT_DESCRIPTION] = attribute(description)
    if role is not None:
        said[names.MAS_AGENT_ROLE] = attribute(role)
    if config_hash is not None:
        said[names.MAS_AGENT_CONFIG_HASH] = attribute(config_hash)
    if context_strategy is not None:
        said[names.MAS_CONTEXT_STRATEGY] = attribute(context_strategy)
    if context_tokens is not None:
        said[names.MAS_CONTEXT_TOKENS] = attribute(context_tokens)
    if attributes is not None:
        _add(said, attributes)
    return Agent(
        AgentSpec(
            f"invoke_agent {called}",
            said,
            _NONE
            if joins is _NONE and retries is None and triggered_by is None
            else (*_links("join", joins), *_links("retry", [retries]), *_links("triggered_by", [triggered_by])),
            _UNNAMED_AGENT if name is None else None,
            None if instance is None else _word(instance, ""),
            context,
            handoff,
        )
    )


@overload
def workflow(name: F, /) -> F: ...
@overload
def workflow(
    name: str | None = None,
    /,
    *,
    pattern: str | None = None,
    session: str | None = None,
    variant: str | None = None,
    experiment: str | None = None,
    attributes: More = None,
) -> Workflow: ...
def workflow(
    name: Any = None,
    /,
    *,
    pattern: str | None = None,
    session: str | None = None,
    variant: str | None = None,
    experiment: str | None = None,
    attributes: More = None,
) -> Any:
    """One run of several agents together. `name` is the kind of run, not the run: `help_desk`, not a ticket's number.

    session: the conversation the run belongs to; variant, experiment: what is being compared.
    """
    if callable(name):
        return workflow()(name)
    called = _word(name, "workflow")
    spec = WorkflowSpec(
        name=f"invoke_workflow {called}",
        attributes=_known(
            {names.GEN_AI_OPERATION_NAME: "invoke_workflow", names.GEN_AI_WORKFLOW_NAME: called},
            {names.MAS_WORKFLOW_PATTERN: pattern},
            attributes,
        ),
        unnamed=("invoke_workflow", names.GEN_AI_WORKFLOW_NAME) if name is None else None,
        entries=_entries(session, experiment, variant),
    )
    return Workflow(spec)


@overload
def task(name: F, /) -> F: ...
@overload
def task(
    name: str | None = None,
    /,
    *,
    id: str | None = None,
    parent_id: str | None = None,
    attributes: More = None,
) -> Task: ...
def task(
    name: Any = None,
    /,
    *,
    id: str | None = None,
    parent_id: str | None = None,
    attributes: More = None,
) -> Any:
    """A piece of work with an id; inside another task that one is its parent."""
    if callable(name):
        return task()(name)
    called = _word(name, "task")
    spec = TaskSpec(
        name=f"task {called}",
        attributes=_known(
            {names.MAS_OPERATION_NAME: "task", names.MAS_TASK_NAME: called},
            {names.MAS_TASK_PARENT_ID: parent_id},
            attributes,
        ),
        unnamed=("task", names.MAS_TASK_NAME) if name is None else None,
        id=None if id is None else _word(id, ""),
    )
    return Task(spec)


@overload
def tool(name: F, /) -> F: ...
@overload
def tool(
    name: str | None = None,
    /,
    *,
    call_id: str | None = None,
    kind: str = "function",
    arguments: Any = NOT_GIVEN,
    attributes: More = None,
) -> Tool: ...
def tool(
    name: Any = None,
    /,
    *,
    call_id: str | None = None,
    kind: str = "function",
    arguments: Any = NOT_GIVEN,
    attributes: More = None,
) -> Any:
    """One call of a tool. Its arguments and result are recorded only where contents are (`init(capture_content=True)`).

    kind: function, extension or datastore.
    """
    if callable(name):
        return tool()(name)
    called = _word(name, "tool")
    said = {names.GEN_AI_OPERATION_NAME: "execute_tool", names.GEN_AI_TOOL_NAME: called, names.GEN_AI_TOOL_TYPE: kind}
    if call_id is not None:
        said[names.GEN_AI_TOOL_CALL_ID] = attribute(call_id)
    if attributes is not None:
        _add(said, attributes)
    return Tool(ToolSpec(f"execute_tool {called}", said, _NONE, _UNNAMED_TOOL if name is None else None, arguments))


def handoff(
    target: str,
    /,
    *,
    mode: str = "pass_control",
    context: Any = NOT_GIVEN,
    context_strategy: str | None = None,
    context_tokens: int | None = None,
    trigger: str | None = None,
    target_type: str | None = None,
    source: str | None = None,
    tool_name: str | None = None,
    attributes: More = None,
) -> Handoff:
    """The current agent passes work to `target`: one span, and an id that the receiving agent carries too.

    mode: `pass_control` if this agent is done, `return_to_caller` if it waits for an answer.
    context: what is passed on, or a function of the call's arguments that says; recorded as hash and size.
    trigger: llm_decision, rule, error, escalation, timeout, user_request.
    target_type: agent, human, workflow, external.
    source: the agent that hands over, where it is not the current one.
    """
    called = _word(target, "unknown")
    by = _word(tool_name, f"transfer_to_{called}")
    optional = {
        names.GEN_AI_AGENT_NAME: source,
        names.MAS_HANDOFF_TRIGGER: trigger,
        names.MAS_HANDOFF_TARGET_TYPE: target_type,
        names.MAS_CONTEXT_STRATEGY: context_strategy,
        names.MAS_CONTEXT_TOKENS: context_tokens,
    }
    transfer = {
        names.GEN_AI_OPERATION_NAME: "execute_tool",
        names.GEN_AI_TOOL_NAME: by,
        names.GEN_AI_TRANSFER_MODE: mode,
        names.GEN_AI_TRANSFER_TARGET_NAME: called,
    }
    spec = HandoffSpec(
        name=f"execute_tool {by} {called}",
        attributes=_known(transfer, optional, attributes),
        target=called,
        passed=context,
    )
    return Handoff(spec)


def llm(model: str, /, *, provider: str | None = None, operation: str = "chat", attributes: More = None) -> ModelCall:
    """One call of a model by a client that no library instruments; tell `usage` and `response` what came back."""
    called, verb = _word(model, "unknown"), _word(operation, "chat")
    said = {names.GEN_AI_OPERATION_NAME: verb, names.GEN_AI_REQUEST_MODEL: called}
    if provider is not None:
        said[names.GEN_AI_PROVIDER_NAME] = attribute(provider)
    if attributes is not None:
        _add(said, attributes)
    return ModelCall(SpanSpec(f"{verb} {called}", said))


def consensus(
    method: str | None = None,
    /,
    *,
    id: str | None = None,
    round: int | None = None,
    participants: int | None = None,
    attributes: More = None,
) -> Consensus:
    """One round of agreeing. method: majority, weighted, unanimous, quorum, judge, ranked."""
    optional = {
        names.MAS_CONSENSUS_ID: id,
        names.MAS_CONSENSUS_METHOD: method,
        names.MAS_CONSENSUS_ROUND: round,
        names.MAS_CONSENSUS_PARTICIPANT_COUNT: participants,
    }
    spec = SpanSpec(
        name=f"consensus {_word(method, '')}".rstrip(),
        attributes=_known({names.MAS_OPERATION_NAME: "consensus"}, optional, attributes),
    )
    return Consensus(spec)


@overload
def iteration(index: F, /) -> F: ...
@overload
def iteration(index: int | None = None, /, *, limit: int | None = None, span: bool = False) -> Iteration: ...
def iteration(index: Any = None, /, *, limit: int | None = None, span: bool = False) -> Any:
    """One round of a loop; its number, counted from 1 where none is given, stands on every span inside.

    span: make a span of its own of it; the number on the others costs less and says the same.
    """
    if callable(index):
        return iteration()(index)
    spec = IterationSpec(
        name="iteration",
        attributes={names.MAS_OPERATION_NAME: "iteration"},
        index=index if isinstance(index, int) else None,
        limit=limit if isinstance(limit, int) else None,
        span=bool(span) if isinstance(span, int) else False,
    )
    return Iteration(spec)


def session(id: str, /) -> Carried:
    """Everything inside belongs to the conversation `id`."""
    return Carried(_entries(id, None, None))


def experiment(id: str | None = None, /, *, variant: str | None = None) -> Carried:
    """Everything inside belongs to this experiment and this variant of it."""
    return Carried(_entries(None, id, variant))


def received(message: Mapping[str, Any] | Callable[..., Mapping[str, Any]], /, *, same_trace: bool = False) -> Received:
    """What runs inside was set off by the message whose headers carried `carrier()`.

    same_trace: the sender waits for the answer, so it is one trace. HTTP and MCP libraries that OpenTelemetry
        instruments do all of this by themselves.
    """
    return Received(ReceivedSpec(message=message, same_trace=same_trace is True))


@overload
def vote(option: F, /) -> F: ...
@overload
def vote(
    option: str | None = None,
    /,
    *,
    consensus: Consensus | str | None = None,
    voter: str | None = None,
    weight: float | None = None,
    confidence: float | None = None,
    round: int | None = None,
    of: Where = None,
) -> Vote: ...
def vote(
    option: Any = None,
    /,
    *,
    consensus: Consensus | str | None = None,
    voter: str | None = None,
    weight: float | None = None,
    confidence: float | None = None,
    round: int | None = None,
    of: Where = None,
) -> Any:
    """The current agent (or `voter`) chooses `option`, said at once; without one, at the end of the block or call.

    Decorating a function, what it returns is the option.
    """
    if callable(option):
        return vote()(option)
    attributes = _known(
        {},
        {
            names.MAS_VOTE_OPTION: None if option is None else _word(option, ""),
            names.MAS_CONSENSUS_ID: consensus.id if isinstance(consensus, Consensus) else consensus,
            names.MAS_CONSENSUS_ROUND: round,
            names.GEN_AI_AGENT_NAME: voter,
            names.MAS_VOTE_WEIGHT: weight,
            names.MAS_VOTE_CONFIDENCE: confidence,
        },
    )
    return _said_if_known(Vote(EventSpec(attributes=attributes, of=of)))


@overload
def feedback(name: F, /) -> F: ...
@overload
def feedback(
    name: str | None = None,
    /,
    *,
    score: float | None = None,
    label: str | None = None,
    explanation: str | None = None,
    source: str | None = None,
    evaluator: str | None = None,
    target_type: str | None = None,
    target_id: str | None = None,
    response_id: str | None = None,
    of: Where = None,
) -> Feedback: ...
def feedback(
    name: Any = None,
    /,
    *,
    score: float | None = None,
    label: str | None = None,
    explanation: str | None = None,
    source: str | None = None,
    evaluator: str | None = None,
    target_type: str | None = None,
    target_id: str | None = None,
    response_id: str | None = None,
    of: Where = None,
) -> Any:
    """A judgement called `name` on `of` (or the current span), said at once if `score` or `label` is given.

    source: human, llm_judge, code, implicit. target_type: span, trace, session, task, handoff, agent, with its id.
    Decorating a function, what it returns: a score, a label, or (score, label, explanation).
    """
    if callable(name):
        return feedback()(name)
    attributes = _known(
        {},
        {
            names.GEN_AI_EVALUATION_NAME: None if name is None else _word(name, "feedback"),
            names.GEN_AI_EVALUATION_SCORE_VALUE: _number(score),
            names.GEN_AI_EVALUATION_SCORE_LABEL: label,
            names.GEN_AI_EVALUATION_EXPLANATION: explanation,
            names.GEN_AI_EVALUATION_EVALUATOR_TYPE: source,
            names.GEN_AI_EVALUATION_EVALUATOR_ID: evaluator,
            names.GEN_AI_RESPONSE_ID: response_id,
            names.MAS_EVALUATION_TARGET_TYPE: target_type,
            names.MAS_EVALUATION_TARGET_ID: target_id,
        },
    )
    return _said_if_known(Feedback(EventSpec(attributes=attributes, of=of)))


def monitor_llm(
    operation_name: str | None = None,
    agent_name: str | None = None,
    agent_role: str | None = None,
    agent_type: str | None = None,
    can_handoff_to: Iterable[str] | None = None,
) -> Agent:
    """`agent` under the name and with the arguments that people know."""
    return agent(
        operation_name if agent_name is None else agent_name,
        role=agent_type if agent_role is None else agent_role,
        attributes={
            names.MAS_TASK_NAME: operation_name,
            _AGENT_TYPE: agent_type,
            _AGENT_HANDOFFS: _words(can_handoff_to),
        },
    )


def _said_if_known(said: Any) -> Any:
    if said.say():
        said._spec = replace(said._spec, said=True)
    return said


def _known(known: dict[str, Any], optional: Mapping[str, Any], more: More = None) -> dict[str, Any]:
    """`known`, and what is given of the others."""
    known.update((key, attribute(value)) for key, value in optional.items() if value is not None)
    if more is not None:
        _add(known, more)
    return known


def _add(known: dict[str, Any], more: Mapping[str, Any]) -> None:
    try:
        if type(more) is dict or isinstance(more, Mapping):
            for key, value in more.items():
                if value is not None:
                    known[_word(key, "?")] = attribute(value)
    except Exception as mistake:
        swallowed("attributes", mistake)


def _entries(session: str | None, experiment: str | None, variant: str | None) -> dict[str, str]:
    given = {
        names.GEN_AI_CONVERSATION_ID: session,
        names.MAS_EXPERIMENT_ID: experiment,
        names.MAS_EXPERIMENT_VARIANT: variant,
    }
    return {key: _word(value, "") for key, value in given.items() if value is not None}


def _links(kind: str, spots: Iterable[Where]) -> list[Link]:
    try:
        contexts = [context_of(spot) for spot in spots if spot is not None]
        return [typed_link(kind, context) for context in contexts if context.is_valid]
    except Exception as mistake:
        swallowed(f"{kind} link", mistake)
        return []


def _word(value: Any, otherwise: str) -> str:
    """`value` as text, whatever it is; `otherwise` where there is none."""
    if isinstance(value, str):
        return value or otherwise
    try:
        return otherwise if value is None else str(value)
    except Exception as mistake:
        swallowed("name", mistake)
        return otherwise


def _words(values: Any) -> list[str] | None:
    try:
        return None if values is None else [_word(value, "") for value in values]
    except Exception as mistake:
        swallowed("names", mistake)
        return None


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except Exception as mistake:
        swallowed("score", mistake)
        return None
