"""The spans of a frame with what the rules look at close at hand: arrays by row, the trees, hints and links."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from . import names
from .forest import Flags, Forest, Ints
from .frames import CONTENTS, hints

Texts = npt.NDArray[Any]  # of str

_HINTS = (
    "langgraph_checkpoint_ns", "langgraph_step", "langgraph_triggers", "lc_agent_name", "__handoff_destination",
    "recipient_agent_class", "messaging.destination", "messaging.message.type", "message", "executor.id",
    "mas.handoff.target.type", "delegated_to", "ioa_observe.agent.previous", "ioa_observe.fork.id",
    "ioa_observe.fork.parent_name", "ioa_observe.join.fork_id",
)  # fmt: skip
_LONG = frozenset(CONTENTS)


class Spans:
    """`agent_spans`, each span once, sorted by trace and start; a row number means the same in all of it."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame
        self.forest = Forest.of(frame)
        self.trace: Texts = frame["TraceId"].to_numpy()
        self.kind: Texts = frame["Kind"].to_numpy()
        self.framework: Texts = frame["Framework"].to_numpy()
        self.start: Ints = frame["Timestamp"].dt.timestamp("ns").to_numpy()
        self.end: Ints = self.start + frame["Duration"].cast(pl.Int64).to_numpy()
        self._values: dict[str, list[Any]] = {}
        self._hints = {key: column.to_numpy() for key, column in hints(frame, list(_HINTS)).to_dict().items()}

    def __len__(self) -> int:
        return len(self.frame)

    def text(self, column: str, row: int) -> str:
        if column in _LONG:  # not worth copying as a whole
            return str(self.frame[column][row])
        return str(self.value(column, row))

    def value(self, column: str, row: int) -> Any:
        if column not in self._values:
            self._values[column] = self.frame[column].to_list()
        return self._values[column][row]

    def hint(self, key: str) -> Texts:
        """The values of a hint by row, empty where a span has none."""
        return self._hints[key]

    def hinted(self, *keys: str) -> bool:
        """Whether any span has one of these hints."""
        return not self._known_hints.isdisjoint(keys)

    @cached_property
    def _known_hints(self) -> frozenset[str]:
        return frozenset(key for key, values in self._hints.items() if (values != "").any())

    def of_kind(self, *kinds: str) -> Flags:
        return np.isin(self.kind, kinds)

    def mask(self, rows: Ints | list[int]) -> Flags:
        mask = np.zeros(len(self), dtype=np.bool_)
        mask[rows] = True
        return mask

    @cached_property
    def starts(self) -> list[int]:
        """`start`, quicker one by one."""
        return list(self.start.tolist())

    @cached_property
    def ends(self) -> list[int]:
        """`end`, quicker one by one."""
        return list(self.end.tolist())

    @cached_property
    def own_name(self) -> Texts:
        """The agent a span itself names, cleaned."""
        return self._mapped(self.frame["AgentName"])

    @cached_property
    def called(self) -> Texts:
        """The name that is left of a span's own name."""
        return self._mapped(self.frame["SpanName"])

    @cached_property
    def handoff_markers(self) -> Flags:
        """OpenLIT tells a handoff as one more span of the receiving agent: it says from whom, holds nothing, and the
        agent itself comes after it."""
        leaf = ~self.mask(self.forest.parent[self.forest.parent >= 0])
        marking: Flags = self.of_kind("agent") & leaf & (self.frame["TransferSource"] != "").to_numpy()
        if not marking.any():
            return marking
        last: dict[tuple[str, str], int] = {}
        for row in np.flatnonzero(self.of_kind("agent") & ~marking).tolist():
            who = (self.trace[row], self.own_name[row])
            last[who] = max(last.get(who, 0), int(self.start[row]))
        rows = np.flatnonzero(marking).tolist()
        return self.mask([row for row in rows if last.get((self.trace[row], self.own_name[row]), 0) >= self.end[row]])

    def links(self, row: int) -> list[tuple[int, str]]:
        """The rows that a span links to, and the type of the link."""
        if not self._linked[row]:
            return []
        traces, spans, types = (self.frame[column][row] for column in ("LinkTraceIds", "LinkSpanIds", "LinkTypes"))
        told = list(types) if len(types) == len(spans) else [""] * len(spans)
        found = [
            (self._rows.get((trace, span), -1), kind) for trace, span, kind in zip(traces, spans, told, strict=True)
        ]
        return [(other, kind) for other, kind in found if other >= 0]

    @cached_property
    def _linked(self) -> Flags:
        return np.asarray((self.frame["LinkSpanIds"].list.len() > 0).to_numpy(), dtype=np.bool_)

    @cached_property
    def _rows(self) -> dict[tuple[str, str], int]:
        return {pair: row for row, pair in enumerate(zip(self.frame["TraceId"], self.frame["SpanId"], strict=True))}

    def _mapped(self, column: pl.Series) -> Texts:
        unique = column.unique()
        cleaned = [names.clean(name) for name in unique]
        mapped: Texts = column.replace_strict(unique, cleaned, return_dtype=pl.String).to_numpy()
        return mapped
