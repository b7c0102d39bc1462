"""Captured framework runs, brought through the real store to the frames that the facts are computed from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from google.protobuf.internal.decoder import _DecodeVarint32
from maslens.analytics.feed import with_log_contents
from maslens.collector_processor.inspection import Window
from maslens.collector_processor.intake import prepare
from maslens.storage import Store
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, slots=True)
class Capture:
    """One captured run: what was sent and what really happened."""

    name: str
    bodies: tuple[bytes, ...]
    truth: Mapping[str, Any]
    logs: tuple[bytes, ...] = ()

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
            logs = tuple(log_bodies(folder, name))
            found.append(Capture(name, tuple(_messages(sent.read_bytes())), truth, logs))
    return found


def agent_spans(store: Store, chosen: Sequence[Capture]) -> dict[str, pl.DataFrame]:
    """Per capture its rows of `agent_spans`, with what its log records tell, sent through `store` as a sender would,
    all in one request."""
    store.insert_otlp("traces", [body for capture in chosen for body in capture.bodies], token="captures")
    told = [_received(body) for capture in chosen for body in capture.logs]
    if told:
        store.insert_otlp("logs", told, token="captured logs")
    owner = {trace: capture.name for capture in chosen for trace in capture.trace_ids()}
    rows = with_log_contents(store, pl.DataFrame(store.arrow("SELECT * FROM agent_spans")), list(owner))
    of_capture = rows["TraceId"].cast(pl.String).replace_strict(owner, default="", return_dtype=pl.String)
    parts = rows.with_columns(of_capture.alias("capture")).partition_by("capture", as_dict=True, include_key=False)
    return {capture.name: parts.get((capture.name,), rows.clear()) for capture in chosen}


def log_bodies(folder: Path, name: str) -> list[bytes]:
    """The log requests of a capture, none if it sent no records."""
    sent = folder / f"{name}.logs.otlp.pb"
    return list(_messages(sent.read_bytes())) if sent.is_file() else []


def _received(body: bytes) -> bytes:
    """As the receiver hands it on, whenever it was sent."""
    return bytes(prepare("logs", body, now_ns=0, window=_ANY_TIME).body)


_ANY_TIME = Window(future=timedelta(days=365_000))


def _messages(data: bytes) -> Iterator[bytes]:
    """The messages of a file of varint length-delimited protobuf."""
    at = 0
    while at < len(data):
        size, at = _DecodeVarint32(data, at)
        yield data[at : at + size]
        at += size
