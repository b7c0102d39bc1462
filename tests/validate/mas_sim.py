"""MAS-SIM's traces of a pipeline written by hand: explicit delegations, the flow of work, tokens of each agent."""

from __future__ import annotations

import json
import lzma
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
from maslens.semconv.dialects.python import RawSpan

from tests.validate.recorded import facts_of
from tests.validate.rows import Number, Row, Validation, share

NUMBER = Number(
    name="handoffs and tokens of MAS-SIM",
    definition="handoffs and tokens of spans that borrow GenAI names and follow no convention",
    formula="explicit edges against the delegations the program logged; the order of agents; tokens per agent",
    source="30 traces of one pipeline; the event `task_delegated`, and the usage that the spans tell",
    distrust="one program, one shape: it shows that spans of no known dialect are read, not how well in general",
)
_STATUS = {"OK": "Ok", "ERROR": "Error"}


def traces(folder: Path) -> list[Mapping[str, Any]]:
    lines = lzma.decompress((folder / "traces.jsonl.xz").read_bytes()).decode().splitlines()
    return [json.loads(line) for line in lines]


def spans(trace: Mapping[str, Any]) -> Iterator[RawSpan]:
    for given in trace["spans"]:
        yield RawSpan(
            timestamp_ns=given["start_time_unix_ns"],
            duration_ns=given["end_time_unix_ns"] - given["start_time_unix_ns"],
            trace_id=given["trace_id"],
            span_id=given["span_id"],
            parent_span_id=given["parent_span_id"] or "",
            service_name="mas-sim",
            span_name=given["name"],
            status_code=_STATUS.get(given["status"]["status_code"], "Unset"),
            status_message=given["status"]["description"] or "",
            attributes={key: _text(value) for key, value in given["attributes"].items()},
            events=[
                (event["name"], {key: _text(value) for key, value in event["attributes"].items()})
                for event in given["events"]
            ],
        )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def validate(folder: Path) -> Iterator[Row]:
    recorded = traces(folder)
    facts = facts_of(span for trace in recorded for span in spans(trace))
    said, flow, spent = Counter[tuple[str, str, str]](), Counter[tuple[str, str, str]](), {}
    for trace in recorded:
        works = sorted(
            (span for span in trace["spans"] if span["attributes"].get("experiment.operation_type") == "agent_llm"),
            key=lambda span: span["start_time_unix_ns"],
        )
        names = [span["attributes"]["gen_ai.agent.name"] for span in works]
        flow.update((works[0]["trace_id"], *pair) for pair in pairwise(names))
        for span, name in zip(works, names, strict=True):
            said.update(
                (span["trace_id"], name, event["attributes"]["target_agent"])
                for event in span["events"]
                if event["name"] == "task_delegated"
            )
            spent[span["trace_id"], name] = tuple(
                span["attributes"][f"gen_ai.usage.{side}_tokens"] for side in ("input", "output")
            )
    edges = facts.handoffs.select("trace_id", "source", "target", "evidence")
    explicit = Counter(edges.filter(pl.col("evidence") == "explicit").drop("evidence").iter_rows())
    found = Counter(edges.drop("evidence").iter_rows())
    told = facts.llm_calls.group_by("trace_id", "agent").agg(pl.col("input_tokens", "output_tokens").sum())
    read = {(trace, agent): (used, made) for trace, agent, used, made in told.iter_rows()}
    data = "mas_sim_otel"
    for metric, one, other in (
        ("explicit edges, precision", explicit, said),
        ("explicit edges, recall", said, explicit),
        ("all edges, precision against the flow", found, flow),
        ("all edges, recall of the flow", flow, found),
    ):
        right = (one & other).total()
        yield share(NUMBER, data, metric, [True] * right + [False] * (one.total() - right), ("at least", 100))
    hits = [read.get(key) == tokens for key, tokens in spent.items()]
    yield share(NUMBER, data, "agents of a run with tokens exact", hits, ("at least", 100))
    yield share(NUMBER, data, "agents found that are agents", [key in spent for key in read], ("at least", 100))


VALIDATIONS = (Validation(number=NUMBER, data="mas_sim_otel", run=validate),)
