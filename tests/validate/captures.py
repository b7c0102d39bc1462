"""Captured framework runs, brought through the real store to the frames that the facts are computed from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from google.protobuf.internal.decoder import _DecodeVarint32
from maslens.storage import Store
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, slots=True)
class Capture:
    """One captured run: what was sent and what really happened."""

    name: str
    bodies: tuple[bytes, ...]
    truth: Mapping[str, Any]

    def trace_ids(self) -> set[str]:
        return {
            span.trace_id.hex()
            for body in self.bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }


def captures(folder: Path) -> list[Capture]:
    """All captures of `folder` that have spans, by name."""
    found = []
    for path in sorted(folder.glob("*.truth.yaml")):
        name = path.name.removesuffix(".truth.yaml")
        sent = folder / f"{name}.otlp.pb"
        if sent.is_file():
            truth = yaml.load(path.read_text(), yaml.CSafeLoader)
            found.append(Capture(name, tuple(_messages(sent.read_bytes())), truth))
    return found


def agent_spans(store: Store, chosen: Sequence[Capture]) -> dict[str, pl.DataFrame]:
    """Per capture its rows of `agent_spans`, sent through `store` as a sender would, all in one request."""
    store.insert_otlp("traces", [body for capture in chosen for body in capture.bodies], token="captures")
    owner = {trace: capture.name for capture in chosen for trace in capture.trace_ids()}
    rows = pl.DataFrame(store.arrow("SELECT * FROM agent_spans"))
    of_capture = rows["TraceId"].cast(pl.String).replace_strict(owner, default="", return_dtype=pl.String)
    parts = rows.with_columns(of_capture.alias("capture")).partition_by("capture", as_dict=True, include_key=False)
    return {capture.name: parts.get((capture.name,), rows.clear()) for capture in chosen}


def _messages(data: bytes) -> Iterator[bytes]:
    """The messages of a file of varint length-delimited protobuf."""
    at = 0
    while at < len(data):
        size, at = _DecodeVarint32(data, at)
        yield data[at : at + size]
        at += size
