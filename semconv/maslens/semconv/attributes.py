"""Attribute and event names as constants, enum values as classes.

Generated from `semconv/registry` and the names reused from upstream by `make generate`; do not edit. Enums are open: a
value that is not listed is allowed on the wire.
"""
# ruff: noqa: E501, S105
# fmt: off

from __future__ import annotations

from enum import Enum
from typing import Final, Literal, TypeAlias

SCHEMA_URL: Final = "https://maslens.example/schemas/mas/0.1.0"

# Our own
MAS_AGENT_CONFIG_HASH: Final = "mas.agent.config.hash"  # string: Changes when the agent's instructions, model, tools or settings change.
MAS_AGENT_INSTANCE_ID: Final = "mas.agent.instance.id"  # string: One live instance of an agent; `gen_ai.agent.id` is for ids that outlive the process.
MAS_AGENT_ROLE: Final = "mas.agent.role"  # enum: What the agent is for.
MAS_CONSENSUS_AGREEMENT: Final = "mas.consensus.agreement"  # double: The share of the weight that went to the winning option, from 0 to 1.
MAS_CONSENSUS_ID: Final = "mas.consensus.id"  # string: Joins the votes with the decision they were cast for.
MAS_CONSENSUS_METHOD: Final = "mas.consensus.method"  # enum: How the decision is found.
MAS_CONSENSUS_OUTCOME: Final = "mas.consensus.outcome"  # enum: What was decided.
MAS_CONSENSUS_PARTICIPANT_COUNT: Final = "mas.consensus.participant.count"  # int: How many may vote.
MAS_CONSENSUS_ROUND: Final = "mas.consensus.round"  # int: The round of the debate, from 1.
MAS_CONTEXT_HASH: Final = "mas.context.hash"  # string: Hash of the context; equal on both sides when nothing was lost.
MAS_CONTEXT_MESSAGE_COUNT: Final = "mas.context.message.count"  # int: Number of messages in the context.
MAS_CONTEXT_SIZE: Final = "mas.context.size"  # int: Size of the context in bytes of its canonical JSON text.
MAS_CONTEXT_STRATEGY: Final = "mas.context.strategy"  # enum: How the context that is passed on was made.
MAS_CONTEXT_TOKENS: Final = "mas.context.tokens"  # int: Size of the context in tokens, where it is known.
MAS_CONVERGENCE_SCORE: Final = "mas.convergence.score"  # double: How near the round came to its goal, from 0 to 1.
MAS_EVALUATION_TARGET_ID: Final = "mas.evaluation.target.id"  # string: The id of what the evaluation is about.
MAS_EVALUATION_TARGET_TYPE: Final = "mas.evaluation.target.type"  # enum: What the evaluation is about.
MAS_EXPERIMENT_ID: Final = "mas.experiment.id"  # string: The experiment the run belongs to.
MAS_EXPERIMENT_VARIANT: Final = "mas.experiment.variant"  # string: The arm of the experiment.
MAS_HANDOFF_ID: Final = "mas.handoff.id"  # string: Joins the span that hands over with the agent invocation that takes over, over traces and queues too.
MAS_HANDOFF_OUTCOME: Final = "mas.handoff.outcome"  # enum: What came of the handoff.
MAS_HANDOFF_TARGET_TYPE: Final = "mas.handoff.target.type"  # enum: What takes over.
MAS_HANDOFF_TRIGGER: Final = "mas.handoff.trigger"  # enum: Why control moved.
MAS_ITERATION_INDEX: Final = "mas.iteration.index"  # int: The round of a loop the span belongs to, from 1.
MAS_ITERATION_LIMIT: Final = "mas.iteration.limit"  # int: The round after which the loop stops in any case.
MAS_ITERATION_STOP_REASON: Final = "mas.iteration.stop_reason"  # enum: Why the loop ended.
MAS_LINK_TYPE: Final = "mas.link.type"  # enum: What a span link means.
MAS_OPERATION_NAME: Final = "mas.operation.name"  # enum: The operation, where `gen_ai.operation.name` has no value for it.
MAS_TASK_ID: Final = "mas.task.id"  # string: One unit of work, whoever does it.
MAS_TASK_NAME: Final = "mas.task.name"  # string: What kind of work it is, low in cardinality.
MAS_TASK_OUTCOME: Final = "mas.task.outcome"  # enum: How the work ended.
MAS_TASK_PARENT_ID: Final = "mas.task.parent.id"  # string: The unit of work this one is a part of.
MAS_VOTE_CONFIDENCE: Final = "mas.vote.confidence"  # double: How sure the voter is, from 0 to 1.
MAS_VOTE_OPTION: Final = "mas.vote.option"  # string: What was voted for, low in cardinality.
MAS_VOTE_WEIGHT: Final = "mas.vote.weight"  # double: Weight of the vote; 1 when absent.
MAS_WORKFLOW_PATTERN: Final = "mas.workflow.pattern"  # enum: How the agents of the workflow work together.

# Reused from upstream
CODE_FUNCTION_NAME: Final = "code.function.name"  # string: The function, fully qualified.
ERROR_TYPE: Final = "error.type"  # string: What kind of error, low in cardinality.
EXCEPTION_MESSAGE: Final = "exception.message"  # string: Message of the exception.
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"  # string: Where it was raised.
EXCEPTION_TYPE: Final = "exception.type"  # string: Type of the exception.
GEN_AI_AGENT_DESCRIPTION: Final = "gen_ai.agent.description"  # string: What the agent is for.
GEN_AI_AGENT_ID: Final = "gen_ai.agent.id"  # string: Stable id of a hosted agent.
GEN_AI_AGENT_NAME: Final = "gen_ai.agent.name"  # string: Name of the agent.
GEN_AI_AGENT_VERSION: Final = "gen_ai.agent.version"  # string: Version of the agent.
GEN_AI_CALLER_NAME: Final = "gen_ai.caller.name"  # string: Who called the agent.
GEN_AI_CALLER_TYPE: Final = "gen_ai.caller.type"  # enum: What called the agent.
GEN_AI_CONVERSATION_ID: Final = "gen_ai.conversation.id"  # string: The conversation, session or thread.
GEN_AI_EVALUATION_EVALUATOR_ID: Final = "gen_ai.evaluation.evaluator.id"  # string: Which judge.
GEN_AI_EVALUATION_EVALUATOR_TYPE: Final = "gen_ai.evaluation.evaluator.type"  # enum: Who judges.
GEN_AI_EVALUATION_EXPLANATION: Final = "gen_ai.evaluation.explanation"  # string: Why.
GEN_AI_EVALUATION_NAME: Final = "gen_ai.evaluation.name"  # string: The metric.
GEN_AI_EVALUATION_SCORE_LABEL: Final = "gen_ai.evaluation.score.label"  # string: The verdict in words.
GEN_AI_EVALUATION_SCORE_VALUE: Final = "gen_ai.evaluation.score.value"  # double: The score.
GEN_AI_INPUT_MESSAGES: Final = "gen_ai.input.messages"  # any: What went in.
GEN_AI_OPERATION_NAME: Final = "gen_ai.operation.name"  # enum: The operation.
GEN_AI_OUTPUT_MESSAGES: Final = "gen_ai.output.messages"  # any: What came out.
GEN_AI_PROVIDER_NAME: Final = "gen_ai.provider.name"  # enum: The model provider.
GEN_AI_REQUEST_MODEL: Final = "gen_ai.request.model"  # string: The model asked for.
GEN_AI_RESPONSE_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"  # string[]: Why the model stopped.
GEN_AI_RESPONSE_ID: Final = "gen_ai.response.id"  # string: The provider's id of the answer.
GEN_AI_RESPONSE_MODEL: Final = "gen_ai.response.model"  # string: The model that answered.
GEN_AI_SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"  # any: System instructions.
GEN_AI_TOOL_CALL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"  # any: What the tool was given.
GEN_AI_TOOL_CALL_ID: Final = "gen_ai.tool.call.id"  # string: Id of the tool call.
GEN_AI_TOOL_CALL_RESULT: Final = "gen_ai.tool.call.result"  # any: What the tool answered.
GEN_AI_TOOL_DEFINITIONS: Final = "gen_ai.tool.definitions"  # any: The tools offered.
GEN_AI_TOOL_DESCRIPTION: Final = "gen_ai.tool.description"  # string: What the tool does.
GEN_AI_TOOL_NAME: Final = "gen_ai.tool.name"  # string: Name of the tool.
GEN_AI_TOOL_TYPE: Final = "gen_ai.tool.type"  # string: Kind of the tool.
GEN_AI_TRANSFER_MODE: Final = "gen_ai.transfer.mode"  # enum: Whether control comes back to the source of the transfer.
GEN_AI_TRANSFER_TARGET_NAME: Final = "gen_ai.transfer.target.name"  # string: Who takes over.
GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"  # int: Input tokens read from the provider's cache.
GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS: Final = "gen_ai.usage.cache_write.input_tokens"  # int: Input tokens written to the provider's cache.
GEN_AI_USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"  # int: Input tokens, cached ones included.
GEN_AI_USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"  # int: Output tokens, reasoning included.
GEN_AI_USAGE_REASONING_OUTPUT_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"  # int: Output tokens spent on reasoning.
GEN_AI_WORKFLOW_NAME: Final = "gen_ai.workflow.name"  # string: Name of the workflow, low in cardinality.
SERVER_ADDRESS: Final = "server.address"  # string: Where the request went.
SERVER_PORT: Final = "server.port"  # int: The port there.
SERVICE_NAME: Final = "service.name"  # string: Name of the service.
SESSION_ID: Final = "session.id"  # string: The session.
USER_ID: Final = "user.id"  # string: The user.

# Names of log events
EVENT_GEN_AI_CLIENT_INFERENCE_OPERATION_DETAILS: Final = "gen_ai.client.inference.operation.details"
EVENT_GEN_AI_EVALUATION_RESULT: Final = "gen_ai.evaluation.result"
EVENT_MAS_HANDOFF_OUTCOME: Final = "mas.handoff.outcome"
EVENT_MAS_ITERATION_COMPLETED: Final = "mas.iteration.completed"
EVENT_MAS_TASK_OUTCOME: Final = "mas.task.outcome"
EVENT_MAS_VOTE_CAST: Final = "mas.vote.cast"


class MasAgentRole(str, Enum):
    """What the agent is for."""

    ORCHESTRATOR = "orchestrator"  # Divides the work and calls others
    WORKER = "worker"  # Does a part of the work
    PLANNER = "planner"  # Makes the plan
    ROUTER = "router"  # Chooses who takes over
    CRITIC = "critic"  # Finds faults in others' work
    REVIEWER = "reviewer"  # Approves or sends back
    JUDGE = "judge"  # Decides between answers
    EXECUTOR = "executor"  # Acts on the world
    HUMAN_PROXY = "human_proxy"  # Speaks for a person

    __str__ = str.__str__


MasAgentRoleValue: TypeAlias = Literal["orchestrator", "worker", "planner", "router", "critic", "reviewer", "judge", "executor", "human_proxy"]


class MasConsensusMethod(str, Enum):
    """How the decision is found."""

    MAJORITY = "majority"  # Most votes win
    WEIGHTED = "weighted"  # Most weight wins
    UNANIMOUS = "unanimous"  # All must agree
    QUORUM = "quorum"  # Enough must agree
    JUDGE = "judge"  # One decides
    RANKED = "ranked"  # Ranked choices

    __str__ = str.__str__


MasConsensusMethodValue: TypeAlias = Literal["majority", "weighted", "unanimous", "quorum", "judge", "ranked"]


class MasConsensusOutcome(str, Enum):
    """What was decided."""

    AGREED = "agreed"  # One option won
    TIED = "tied"  # No option won
    REJECTED = "rejected"  # The proposal was turned down
    TIMED_OUT = "timed_out"  # Time ran out

    __str__ = str.__str__


MasConsensusOutcomeValue: TypeAlias = Literal["agreed", "tied", "rejected", "timed_out"]


class MasContextStrategy(str, Enum):
    """How the context that is passed on was made."""

    FULL = "full"  # Everything
    LAST_N = "last_n"  # The last messages
    SUMMARY = "summary"  # A summary
    FILTERED = "filtered"  # Some messages
    REFERENCE = "reference"  # A pointer to it
    NONE_ = "none"  # Nothing

    __str__ = str.__str__


MasContextStrategyValue: TypeAlias = Literal["full", "last_n", "summary", "filtered", "reference", "none"]


class MasEvaluationTargetType(str, Enum):
    """What the evaluation is about."""

    SPAN = "span"  # One span
    TRACE = "trace"  # One trace
    SESSION = "session"  # The whole session
    TASK = "task"  # One unit of work
    HANDOFF = "handoff"  # One handoff
    AGENT = "agent"  # The agent

    __str__ = str.__str__


MasEvaluationTargetTypeValue: TypeAlias = Literal["span", "trace", "session", "task", "handoff", "agent"]


class MasHandoffOutcome(str, Enum):
    """What came of the handoff."""

    ACCEPTED = "accepted"  # The target took over
    COMPLETED = "completed"  # The target finished the work
    FAILED = "failed"  # The target failed
    REJECTED = "rejected"  # The target refused
    RETURNED = "returned"  # Control came back without the work being done
    TIMED_OUT = "timed_out"  # The target did not answer in time

    __str__ = str.__str__


MasHandoffOutcomeValue: TypeAlias = Literal["accepted", "completed", "failed", "rejected", "returned", "timed_out"]


class MasHandoffTargetType(str, Enum):
    """What takes over."""

    AGENT = "agent"  # Another agent takes over
    HUMAN = "human"  # A person takes over
    WORKFLOW = "workflow"  # A workflow takes over
    EXTERNAL = "external"  # A system outside takes over

    __str__ = str.__str__


MasHandoffTargetTypeValue: TypeAlias = Literal["agent", "human", "workflow", "external"]


class MasHandoffTrigger(str, Enum):
    """Why control moved."""

    LLM_DECISION = "llm_decision"  # The model decided
    RULE = "rule"  # Code decided
    ERROR = "error"  # The source failed
    ESCALATION = "escalation"  # The source gave up or lacked authority
    TIMEOUT = "timeout"  # The source took too long
    USER_REQUEST = "user_request"  # The user asked for it

    __str__ = str.__str__


MasHandoffTriggerValue: TypeAlias = Literal["llm_decision", "rule", "error", "escalation", "timeout", "user_request"]


class MasIterationStopReason(str, Enum):
    """Why the loop ended."""

    CONVERGED = "converged"  # Nothing changed any more
    GOAL_MET = "goal_met"  # The goal was met
    LIMIT = "limit"  # The limit was reached
    NO_PROGRESS = "no_progress"  # It went round in circles
    CONSENSUS = "consensus"  # The participants agreed
    ERROR = "error"  # It failed
    CANCELLED = "cancelled"  # It was stopped from outside

    __str__ = str.__str__


MasIterationStopReasonValue: TypeAlias = Literal["converged", "goal_met", "limit", "no_progress", "consensus", "error", "cancelled"]


class MasLinkType(str, Enum):
    """What a span link means."""

    HANDOFF = "handoff"  # The receiving agent points at the transfer
    JOIN = "join"  # The joining agent points at every branch
    RETRY = "retry"  # A further attempt points at the one before
    TRIGGERED_BY = "triggered_by"  # The span was caused by the other
    EVALUATES = "evaluates"  # A late evaluation points at what it is about

    __str__ = str.__str__


MasLinkTypeValue: TypeAlias = Literal["handoff", "join", "retry", "triggered_by", "evaluates"]


class MasOperationName(str, Enum):
    """The operation, where `gen_ai.operation.name` has no value for it."""

    TASK = "task"  # A unit of work
    ITERATION = "iteration"  # One round of a loop
    CONSENSUS = "consensus"  # A decision by several agents

    __str__ = str.__str__


MasOperationNameValue: TypeAlias = Literal["task", "iteration", "consensus"]


class MasTaskOutcome(str, Enum):
    """How the work ended."""

    SUCCESS = "success"  # Done
    PARTIAL = "partial"  # Done in part
    FAILURE = "failure"  # Not done
    ABANDONED = "abandoned"  # Given up by the user
    CANCELLED = "cancelled"  # Stopped from outside
    UNKNOWN = "unknown"  # Nobody knows

    __str__ = str.__str__


MasTaskOutcomeValue: TypeAlias = Literal["success", "partial", "failure", "abandoned", "cancelled", "unknown"]


class MasWorkflowPattern(str, Enum):
    """How the agents of the workflow work together."""

    SEQUENTIAL = "sequential"  # One after another
    PARALLEL = "parallel"  # Side by side with a join
    HIERARCHICAL = "hierarchical"  # A supervisor and workers
    ROUTER = "router"  # One is chosen
    SWARM = "swarm"  # Each may hand to each
    GROUP_CHAT = "group_chat"  # All hear all
    DEBATE = "debate"  # They argue until one view remains
    BLACKBOARD = "blackboard"  # They share a board
    EVALUATOR_OPTIMIZER = "evaluator_optimizer"  # One makes and another judges
    DYNAMIC = "dynamic"  # Decided at run time

    __str__ = str.__str__


MasWorkflowPatternValue: TypeAlias = Literal["sequential", "parallel", "hierarchical", "router", "swarm", "group_chat", "debate", "blackboard", "evaluator_optimizer", "dynamic"]


class GenAiCallerType(str, Enum):
    """What called the agent."""

    AGENT = "agent"  # agent
    WORKFLOW = "workflow"  # workflow

    __str__ = str.__str__


GenAiCallerTypeValue: TypeAlias = Literal["agent", "workflow"]


class GenAiEvaluationEvaluatorType(str, Enum):
    """Who judges."""

    HUMAN = "human"  # human
    LLM_JUDGE = "llm_judge"  # llm_judge
    CODE = "code"  # code
    IMPLICIT = "implicit"  # implicit

    __str__ = str.__str__


GenAiEvaluationEvaluatorTypeValue: TypeAlias = Literal["human", "llm_judge", "code", "implicit"]


class GenAiOperationName(str, Enum):
    """The operation."""

    CHAT = "chat"  # chat
    TEXT_COMPLETION = "text_completion"  # text_completion
    GENERATE_CONTENT = "generate_content"  # generate_content
    EMBEDDINGS = "embeddings"  # embeddings
    RETRIEVAL = "retrieval"  # retrieval
    CREATE_AGENT = "create_agent"  # create_agent
    INVOKE_AGENT = "invoke_agent"  # invoke_agent
    INVOKE_WORKFLOW = "invoke_workflow"  # invoke_workflow
    EXECUTE_TOOL = "execute_tool"  # execute_tool
    PLAN = "plan"  # plan
    SEARCH_MEMORY = "search_memory"  # search_memory
    CREATE_MEMORY = "create_memory"  # create_memory
    UPDATE_MEMORY = "update_memory"  # update_memory
    UPSERT_MEMORY = "upsert_memory"  # upsert_memory
    DELETE_MEMORY = "delete_memory"  # delete_memory
    CREATE_MEMORY_STORE = "create_memory_store"  # create_memory_store
    DELETE_MEMORY_STORE = "delete_memory_store"  # delete_memory_store
    FETCH_RESPONSE = "fetch_response"  # fetch_response

    __str__ = str.__str__


GenAiOperationNameValue: TypeAlias = Literal["chat", "text_completion", "generate_content", "embeddings", "retrieval", "create_agent", "invoke_agent", "invoke_workflow", "execute_tool", "plan", "search_memory", "create_memory", "update_memory", "upsert_memory", "delete_memory", "create_memory_store", "delete_memory_store", "fetch_response"]


class GenAiProviderName(str, Enum):
    """The model provider."""

    OPENAI = "openai"  # openai
    GCP_GEN_AI = "gcp.gen_ai"  # gcp.gen_ai
    GCP_VERTEX_AI = "gcp.vertex_ai"  # gcp.vertex_ai
    GCP_GEMINI = "gcp.gemini"  # gcp.gemini
    ANTHROPIC = "anthropic"  # anthropic
    COHERE = "cohere"  # cohere
    AZURE_AI_INFERENCE = "azure.ai.inference"  # azure.ai.inference
    AZURE_AI_OPENAI = "azure.ai.openai"  # azure.ai.openai
    IBM_WATSONX_AI = "ibm.watsonx.ai"  # ibm.watsonx.ai
    AWS_BEDROCK = "aws.bedrock"  # aws.bedrock
    PERPLEXITY = "perplexity"  # perplexity
    X_AI = "x_ai"  # x_ai
    DEEPSEEK = "deepseek"  # deepseek
    GROQ = "groq"  # groq
    MISTRAL_AI = "mistral_ai"  # mistral_ai
    MOONSHOT_AI = "moonshot_ai"  # moonshot_ai

    __str__ = str.__str__


GenAiProviderNameValue: TypeAlias = Literal["openai", "gcp.gen_ai", "gcp.vertex_ai", "gcp.gemini", "anthropic", "cohere", "azure.ai.inference", "azure.ai.openai", "ibm.watsonx.ai", "aws.bedrock", "perplexity", "x_ai", "deepseek", "groq", "mistral_ai", "moonshot_ai"]


class GenAiTransferMode(str, Enum):
    """Whether control comes back to the source of the transfer."""

    PASS_CONTROL = "pass_control"  # pass_control
    RETURN_TO_CALLER = "return_to_caller"  # return_to_caller

    __str__ = str.__str__


GenAiTransferModeValue: TypeAlias = Literal["pass_control", "return_to_caller"]


ALL_ATTRIBUTES: Final[frozenset[str]] = frozenset({
    MAS_AGENT_CONFIG_HASH,
    MAS_AGENT_INSTANCE_ID,
    MAS_AGENT_ROLE,
    MAS_CONSENSUS_AGREEMENT,
    MAS_CONSENSUS_ID,
    MAS_CONSENSUS_METHOD,
    MAS_CONSENSUS_OUTCOME,
    MAS_CONSENSUS_PARTICIPANT_COUNT,
    MAS_CONSENSUS_ROUND,
    MAS_CONTEXT_HASH,
    MAS_CONTEXT_MESSAGE_COUNT,
    MAS_CONTEXT_SIZE,
    MAS_CONTEXT_STRATEGY,
    MAS_CONTEXT_TOKENS,
    MAS_CONVERGENCE_SCORE,
    MAS_EVALUATION_TARGET_ID,
    MAS_EVALUATION_TARGET_TYPE,
    MAS_EXPERIMENT_ID,
    MAS_EXPERIMENT_VARIANT,
    MAS_HANDOFF_ID,
    MAS_HANDOFF_OUTCOME,
    MAS_HANDOFF_TARGET_TYPE,
    MAS_HANDOFF_TRIGGER,
    MAS_ITERATION_INDEX,
    MAS_ITERATION_LIMIT,
    MAS_ITERATION_STOP_REASON,
    MAS_LINK_TYPE,
    MAS_OPERATION_NAME,
    MAS_TASK_ID,
    MAS_TASK_NAME,
    MAS_TASK_OUTCOME,
    MAS_TASK_PARENT_ID,
    MAS_VOTE_CONFIDENCE,
    MAS_VOTE_OPTION,
    MAS_VOTE_WEIGHT,
    MAS_WORKFLOW_PATTERN,
    CODE_FUNCTION_NAME,
    ERROR_TYPE,
    EXCEPTION_MESSAGE,
    EXCEPTION_STACKTRACE,
    EXCEPTION_TYPE,
    GEN_AI_AGENT_DESCRIPTION,
    GEN_AI_AGENT_ID,
    GEN_AI_AGENT_NAME,
    GEN_AI_AGENT_VERSION,
    GEN_AI_CALLER_NAME,
    GEN_AI_CALLER_TYPE,
    GEN_AI_CONVERSATION_ID,
    GEN_AI_EVALUATION_EVALUATOR_ID,
    GEN_AI_EVALUATION_EVALUATOR_TYPE,
    GEN_AI_EVALUATION_EXPLANATION,
    GEN_AI_EVALUATION_NAME,
    GEN_AI_EVALUATION_SCORE_LABEL,
    GEN_AI_EVALUATION_SCORE_VALUE,
    GEN_AI_INPUT_MESSAGES,
    GEN_AI_OPERATION_NAME,
    GEN_AI_OUTPUT_MESSAGES,
    GEN_AI_PROVIDER_NAME,
    GEN_AI_REQUEST_MODEL,
    GEN_AI_RESPONSE_FINISH_REASONS,
    GEN_AI_RESPONSE_ID,
    GEN_AI_RESPONSE_MODEL,
    GEN_AI_SYSTEM_INSTRUCTIONS,
    GEN_AI_TOOL_CALL_ARGUMENTS,
    GEN_AI_TOOL_CALL_ID,
    GEN_AI_TOOL_CALL_RESULT,
    GEN_AI_TOOL_DEFINITIONS,
    GEN_AI_TOOL_DESCRIPTION,
    GEN_AI_TOOL_NAME,
    GEN_AI_TOOL_TYPE,
    GEN_AI_TRANSFER_MODE,
    GEN_AI_TRANSFER_TARGET_NAME,
    GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS,
    GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS,
    GEN_AI_USAGE_INPUT_TOKENS,
    GEN_AI_USAGE_OUTPUT_TOKENS,
    GEN_AI_USAGE_REASONING_OUTPUT_TOKENS,
    GEN_AI_WORKFLOW_NAME,
    SERVER_ADDRESS,
    SERVER_PORT,
    SERVICE_NAME,
    SESSION_ID,
    USER_ID,
})
