"""Transfer tools: which tool names mean "another agent goes on", and whom they name. The table is semconv's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import polars as pl
from maslens.semconv.dialects.dialect_table import TABLE
from maslens.semconv.dialects.model import TransferTool

from . import names
from .content import leaves, parsed

# A transfer tool called in a model's answer, however the answer is written.
IN_ANSWER: Final = r"\b(?:Handoff-)?(?:transfer(?:_back)?_to|handoff_to)_[A-Za-z0-9_\-]+"


@lru_cache(maxsize=65_536)
def transfer_tool(tool: str, framework: str = "") -> TransferTool | None:
    """The row of the table for a tool of this name, if it is a transfer tool."""
    found = [row for row in TABLE.transfer_tools if re.search(row.pattern, tool) and row.framework in ("", framework)]
    return min(found, key=lambda row: not row.target_argument, default=None)  # `transfer_to_agent` has an argument


def delegating(tools: Iterable[str]) -> list[str]:
    """Those of `tools` that delegate and get the answer back, naming the delegate in an argument."""
    rows = [row for row in TABLE.transfer_tools if row.mode == "return_to_caller" and row.target_argument]
    return [tool for tool in tools if any(re.search(row.pattern, tool) for row in rows)]


def is_but_a_handoff(tool: str) -> bool:
    """The tool's name holds its target, so the tool is nothing but the handoff."""
    row = transfer_tool(tool)
    return row is not None and not row.target_argument


def target(tool: str, arguments: str, framework: str = "") -> str:
    """Whom a transfer tool hands over to; empty if it is none, or does not say."""
    row = transfer_tool(tool, framework)
    if row is None:
        return ""
    if row.target_argument:
        return argument(arguments, row.target_argument)
    found = re.search(row.pattern, tool)
    return found.group("target") if found and "(?P<target>" in row.pattern else row.target


def argument(arguments: str, name: str) -> str:
    """The text given for `name` in arguments written as JSON (nested or escaped too) or as a Python repr."""
    if (document := parsed(arguments)) is not None:
        for path, value in leaves(document):
            if path and path[-1] == name and isinstance(value, str):
                return value.strip()
    quoted = r"""\\*['"]((?:[^'"\\]|\\(?!['"]))+)"""
    found = re.search(rf"""\\*['"]?\b{re.escape(name)}\b\\*['"]?\s*[:=]\s*{quoted}""", arguments)
    return _unescaped(found.group(1).strip()) if found else ""


def _unescaped(text: str) -> str:
    """JSON of plain ASCII writes other letters as `\\u7814`, nested JSON with more backslashes."""
    return re.sub(r"\\+u([0-9a-fA-F]{4})", lambda code: chr(int(code.group(1), 16)), text)


def answered_transfers(answers: pl.Series) -> list[list[str]]:
    """Per model answer the targets that its tool calls hand over to."""
    answers = said_alone(answers)
    found = answers.str.extract_all(IN_ANSWER).to_list()
    return [_targets(tools, answer) if tools else [] for tools, answer in zip(found, answers, strict=True)]


def said_alone(answers: pl.Series) -> pl.Series:
    """Answers without what a whole response of a provider repeats of the question: the tools that could be called."""
    whole = answers.str.contains(_WHOLE_RESPONSE)
    if not whole.any():
        return answers
    return pl.Series([_said(text) if all_of_it else text for text, all_of_it in zip(answers, whole, strict=True)])


_WHOLE_RESPONSE: Final = r'^\{(?s:.*)(?:"object"\s*:\s*"response"|"tools"\s*:\s*\[\s*\{)'


def _said(response: str) -> str:
    document = parsed(response)
    if not isinstance(document, dict):
        return response
    return json.dumps({key: value for key, value in document.items() if key not in ("tools", "instructions")})


def _targets(tools: list[str], answer: str) -> list[str]:
    cleaned = (names.clean(target(tool, answer)) for tool in tools)
    return list(dict.fromkeys(name for name in cleaned if name))
