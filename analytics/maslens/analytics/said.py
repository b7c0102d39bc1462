"""What every run of a session was given, said and found out, in order of time; read as little as possible.

Only sessions with handoffs are looked at, a run's texts are read once each, and the longest are cut: what a transfer
lacks shows in figures, names and fields, of which the first thousands of characters and the last hold enough.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from .content import carried, plain, words
from .retention import Facts, facts_of, fates, share

CONTENTS = ("InputContent", "OutputContent", "ToolArguments", "ToolResult")
MOST_TEXT = 32_768  # characters of what a source knew that are compared, the newest
_QUESTION = re.compile(r"[^.!?\n]{0,400}\?")
_SAME_QUESTION = 0.6  # of its words were in the earlier one …
_TELLING = 3  # … if it has so many
_MOST_QUESTIONS = 200  # asked before, the newest

Handoff = Mapping[str, Any]


def with_content(spans: pl.DataFrame) -> pl.DataFrame:
    """`TraceId, SpanId` and contents of the spans that have any."""
    told = spans.select("TraceId", "SpanId", *CONTENTS)
    return told.filter(pl.any_horizontal(pl.col(CONTENTS) != ""))


class Said:
    """spans: as of `with_content`."""

    def __init__(
        self,
        handoffs: pl.DataFrame,
        runs: pl.DataFrame,
        llm_calls: pl.DataFrame,
        tool_calls: pl.DataFrame,
        spans: pl.DataFrame,
    ) -> None:
        self.contents = {(row[0], row[1]): row[2:] for row in spans.rows()}
        self.given: dict[tuple[str, str], str] = {}
        self.read: dict[tuple[str, str], list[tuple[Any, str]]] = defaultdict(list)  # inputs: each holds those before
        self.heard: dict[tuple[str, str], list[tuple[Any, str]]] = defaultdict(list)
        self.spoken: dict[str, list[tuple[Any, str, str]]] = defaultdict(list)  # per session: (at, run, output)
        self._facts: dict[str, Facts] = {}
        self._questions: dict[str, list[frozenset[str]]] = {}
        mine = handoffs.select(pl.col("session_id").unique())
        columns = ["session_id", "trace_id", "span_id", "run_id", "at"]
        told = pl.concat(
            [
                runs.select("session_id", "trace_id", "run_id", span_id="run_id", at="started_at").select(
                    *columns, order=pl.lit(0)
                ),
                llm_calls.select(*columns, order=pl.lit(1)),
                tool_calls.select(*columns, order=pl.lit(1)),
            ]
        ).join(mine, on="session_id", how="semi")
        for session, trace, span, run, at in told.sort("order", "at", "span_id").select(columns).rows():
            if content := self.contents.get((trace, span)):
                self._note(session, run, at, content)

    def _note(self, session: str, run_id: str, at: Any, content: Sequence[str]) -> None:
        given, said, arguments, result = content
        run = (session, run_id)
        if given and not arguments:
            self.given.setdefault(run, given)
        if given:
            self.read[run].append((at, given))
        if said or result:
            self.heard[run] += [(at, text) for text in (said, result) if text]
        if said:
            self.spoken[session].append((at, run_id, said))

    def lost(self, handoff: Handoff) -> tuple[float | None, list[str] | None]:
        """Of what the source had heard and said by then, what is neither in the transfer nor in the target's input:
        the share, and the facts."""
        source = (handoff["session_id"], handoff["source_run_id"])
        heard = [text for at, text in self.heard.get(source, []) if at <= handoff["at"]]
        known = self._newest([text for at, text in self.read.get(source, []) if at <= handoff["at"]][-1:] + heard)
        transfer = self.contents.get((handoff["trace_id"], handoff["span_id"]), ("", "", "", ""))
        given = list(filter(None, [self.given.get((handoff["session_id"], handoff["target_run_id"])), transfer[2]]))
        if not known or not given:
            return None, None
        facts = self._all(known)
        if not facts:
            return None, None
        told = fates(facts, self._all(given), given)
        carried_over = share(told, facts)
        if carried_over is None:
            return None, None
        return 1 - carried_over, sorted({path[-1] for path, fate in told.items() if fate != "kept"})

    def _newest(self, texts: Sequence[str]) -> list[str]:
        """Each text once, the newest that are `MOST_TEXT` together, in order of time."""
        kept: list[str] = []
        left = MOST_TEXT
        for text in dict.fromkeys(reversed(texts)):
            if left <= 0:
                break
            kept.append(text)
            left -= len(text)
        return kept[::-1]

    def _all(self, texts: Sequence[str]) -> Facts:
        found: dict[tuple[str, ...], Any] = {}
        for text in texts:
            found |= facts_of(text, self._facts)
        return found

    def asked_again(self, handoff: Handoff) -> float | None:
        """1 if the target asked what somebody else had asked before it, 0 if not, None if it said nothing."""
        spoken = self.spoken.get(handoff["session_id"], [])
        mine = [text for at, run, text in spoken if run == handoff["target_run_id"] and at >= handoff["at"]]
        if not mine or not handoff["target_run_id"]:
            return None
        asking = [question for text in mine for question in self._asked(text) if len(question) >= _TELLING]
        if not asking:
            return 0.0
        before = [text for at, run, text in spoken if at <= handoff["at"] and run != handoff["target_run_id"]]
        asked = [question for text in before for question in self._asked(text)][-_MOST_QUESTIONS:]
        return float(any(carried(set(one), set(other)) >= _SAME_QUESTION for one in asking for other in asked))

    def _asked(self, text: str) -> list[frozenset[str]]:
        """The words of each question in `text`."""
        if text not in self._questions:
            found = _QUESTION.findall(plain(text)) if "?" in text else []
            self._questions[text] = [frozenset(words(question)) for question in found]
        return self._questions[text]
