"""What an agent is called: the name a person would write down, whatever the spans made of it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from maslens.semconv.dialects.dialect_table import TABLE

# What is written where an agent's name belongs: the dialects' list, and the insides of graphs and frameworks.
_INTERNALS: Final = """
agents tool none null end call_agent call_llm should_continue route_to_active_agent runnablesequence runnablelambda
prompt chain workflow turn task invoke_agent agent_run graph swarm agent_executor pre_model_hook post_model_hook
channelwrite generate_structured_response finalize call_llm_native_tools call_llm_and_parse execute_tool_action
execute_native_tool initialize_reasoning force_final_answer route_by_answer_type increment_and_continue
increment_native_and_continue continue_iteration continue_iteration_native agent_finished recover_from_parser_error
recover_from_context_length check_max_iterations
"""
NOT_AGENTS: Final = frozenset(
    {"agentrunner.run", *_INTERNALS.split(), *(name.lower() for name in TABLE.agent_name_deny)}
)

# Names that stand for whoever is outside: never agents of their own in the list of handoffs.
PEOPLE: Final = frozenset({"user", "human", "user_proxy", "human_input", "end_user"})

_PREFIX = re.compile(r"^(?:invoke_agent|execute_task|create_agent|agent[_ ]run)[ :]+\[?(?=\S)", re.IGNORECASE)
_SUFFIX = re.compile(
    r"(?:\.(?:agent|a?run|run_stream|a?invoke|a?kickoff|workflow|task|forward|__call__|_execute_core|execute_task"
    r"|on_messages(?:_stream)?)|\])$"
)
_INSTANCE = re.compile(
    r"(?:[_\-/:.@ #]+(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r"|(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{8,}))+$",
    re.IGNORECASE,
)
_ALIASES: Final = {"crew manager": "manager"}  # CrewAI's own role for the manager of a hierarchical crew


@lru_cache(maxsize=65_536)
def clean(name: str) -> str:
    """`name` without what the emitter wrapped around it; empty for what is no agent's name at all."""
    bare = _PREFIX.sub("", name.strip())
    short = _SUFFIX.sub("", _SUFFIX.sub("", bare))
    plain = _INSTANCE.sub("", short).strip()
    plain = _ALIASES.get(plain.lower(), plain)
    return "" if {form.lower() for form in (bare, short, plain)} & NOT_AGENTS else plain


@lru_cache(maxsize=65_536)
def node_name(node: str) -> str:
    """The agent a graph node stands for: `billing_node:4f2c…` is `billing`."""
    return clean(re.sub(r"(?<=.)[_\- ]node$", "", node.split(":", 1)[0], flags=re.IGNORECASE))


@lru_cache(maxsize=65_536)
def key(name: str) -> str:
    """Equal for two spellings of one name: case, spaces and hyphens do not count."""
    return re.sub(r"[\s\-_]+", "_", name.strip()).lower()


@lru_cache(maxsize=65_536)
def function(name: str) -> str:
    """What a function is called that is made of a name: `transfer_to_` + this, for OpenAI Agents and others."""
    return re.sub(r"[^a-zA-Z0-9]", "_", name.strip()).lower()


@lru_cache(maxsize=65_536)
def tool(name: str) -> str:
    """A tool as its author called it: `Delegate work to coworker` is `delegate_work_to_coworker`."""
    name = re.sub(r"\.(?:run|tool|__call__|a?call)$", "", name)
    return re.sub(r"\s+", "_", name.strip()).lower() if " " in name.strip() else name


def moderator(cls: str) -> str:
    """AutoGen's class of the agent that moderates a group chat: `SelectorGroupChatManager` is `selector`."""
    if cls.endswith("Orchestrator"):
        return "orchestrator"
    return clean(re.sub(r"(?:GroupChat)?Manager$", "", cls).lower())


_SPELT = r"[^\W\d_][\w\-]*(?:\.[\w\-]+)*"  # a word of a name, in any alphabet
_CALLED = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\bagent named \\*['\"`]?({_SPELT}(?: [\w\-]+){{0,4}}?)\\*['\"`.,]",
        rf"\byour name is \\*['\"`]?({_SPELT})",
        rf"\byou(?:'re| are) (?:called|named) \\*['\"`]?({_SPELT})",
    )
)
_IN_ROLE = re.compile(
    rf"\byou(?:'re| are) (?:the|an?) ({_SPELT}(?: [\w\-]+(?:\.[\w\-]+)*){{0,3}}(?: \([\w ]+\))?)"
    r" (?:agent|specialist|assistant|bot)\b",
    re.IGNORECASE,
)
_PRAISE = frozenset(
    [
        "helpful",
        "expert",
        "ai",
        "intelligent",
        "smart",
        "friendly",
        "general",
        "professional",
        "autonomous",
        "powerful",
        "capable",
        "virtual",
        "personal",
        "useful",
        "skilled",
        "experienced",
        "advanced",
        "reliable",
        "world-class",
        "senior",
    ]
)


def introduced(prompt: str) -> str:
    """The name a system prompt gives its reader ("You are the planner agent"), empty when it gives none."""
    for pattern in _CALLED:
        if found := pattern.search(prompt):
            return clean(found.group(1).strip())
    found = _IN_ROLE.search(prompt[:1000])
    told = found.group(1).split() if found else []
    while told and (told[0] in _PRAISE or told[0] == "AI"):  # in small letters: "Senior Researcher" is a name
        told = told[1:]
    praise = [word.lower() in _PRAISE for word in told]
    return "" if all(praise) or any(praise[1:]) else clean(" ".join(told))
