"""AGNTCY's recorded LangGraph sessions: traces stitched, edges held against the graph that the program declared."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from maslens.semconv.dialects.python import RawSpan

from tests.validate.recorded import facts_of
from tests.validate.rows import Number, Row, Validation, row

NUMBER = Number(
    name="edges and sessions of AGNTCY",
    definition="edges between agents against the declared graph (hidden from the reader), traces stitched, tokens",
    formula="precision over the edges found, recall over the declared edges between agents, sessions, tokens",
    source="two recorded sessions; the program's own declaration of its graph, and sums over the model calls",
    distrust="as a measure of recall: a declared graph is what may happen, and half of it did not",
)
_HIDDEN = "gen_ai.ioa.graph"
_PLACES = ("__start__", "__end__")


def spans(rows: list[Mapping[str, Any]]) -> Iterator[RawSpan]:
    """Rows of `otel_traces` in either of their two spellings, without the declared graph."""
    for given in rows:
        events = (given.get("Events.Name") or given.get("EventsName") or [],
                  given.get("Events.Attributes") or given.get("EventsAttributes") or [])  # fmt: skip
        yield RawSpan(
            timestamp_ns=_nanoseconds(given["Timestamp"]),
            duration_ns=int(given["Duration"]),
            trace_id=given["TraceId"],
            span_id=given["SpanId"],
            parent_span_id=given["ParentSpanId"],
            service_name=given["ServiceName"],
            span_name=given["SpanName"],
            span_kind=given["SpanKind"],
            scope_name=given["ScopeName"],
            status_code=given["StatusCode"],
            status_message=given["StatusMessage"],
            attributes={
                key: str(value) for key, value in given["SpanAttributes"].items() if not key.startswith(_HIDDEN)
            },
            resource=given["ResourceAttributes"],
            events=list(zip(*events, strict=True)),
        )


def _nanoseconds(text: str) -> int:
    seconds, _, fraction = text.rstrip("Z").replace("T", " ").partition(".")
    whole = datetime.strptime(seconds, "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)
    return int(whole.timestamp()) * 10**9 + int(fraction.ljust(9, "0"))


def recordings(folder: Path) -> Iterator[tuple[str, list[Mapping[str, Any]], Mapping[str, Any]]]:
    """Name, rows and truth of each."""
    truth = json.loads((folder / "truth.json").read_text())
    for path in sorted(folder.glob("*.json.xz")):
        data = json.loads(lzma.decompress(path.read_bytes()))
        rows = data if isinstance(data, list) else [given for each in data.values() for given in each]
        yield path.name.removesuffix(".json.xz"), rows, truth[path.name.removesuffix(".xz")]


def validate(folder: Path) -> Iterator[Row]:
    found, declared, told, sessions, known = set(), set(), 0, 0, 0
    for name, rows, truth in recordings(folder):
        facts = facts_of(spans(rows))
        found |= {(name, *edge) for edge in facts.handoffs.select("source", "target").iter_rows()}
        declared |= {
            (name, source, target)
            for source, target, _ in truth.get("declared_edges", ())
            if not {source, target} & set(_PLACES)
        }
        sessions += len(facts.sessions)
        known += 1
        calls = facts.llm_calls
        spent = (calls["input_tokens"].sum(), calls["output_tokens"].sum(), len(calls))
        told += spent == (truth["input_tokens"], truth["output_tokens"], truth["model_calls"])
    right, data = len(found & declared), "agntcy_spans"
    yield row(NUMBER, data, "edges, precision, %", 100 * right / len(found), bar=("at least", 100))
    yield row(NUMBER, data, "edges, recall of the declared ones, %", 100 * right / len(declared), bar=("at least", 50))
    yield row(NUMBER, data, "sessions a recorded session is read as", sessions / known, bar=("at most", 1))
    yield row(NUMBER, data, "sessions with tokens and calls exact, %", 100 * told / known, bar=("at least", 100))


VALIDATIONS = (Validation(number=NUMBER, data="agntcy_spans", run=validate),)
