"""OTLP files: told apart by content, checked whole before anything is sent, then read request by request."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from google.protobuf.message import DecodeError, Message
from maslens.cli.faults import BadInput
from maslens.collector_processor.errors import Malformed
from maslens.collector_processor.otlp_json import request_from_json
from maslens.collector_processor.signals import Signal
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

Form = Literal["protobuf", "delimited", "json"]

EXPECTED = (
    "OTLP traces or logs: one protobuf request, length-delimited protobuf requests, "
    "JSON (one request or an array) or JSON lines; plain, .gz or .xz"
)
_NO_IDEA = "is not OTLP"
MAX_FRAME = 1 << 30  # a longer length prefix is no length prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One export request; `items` spans or log records."""

    signal: Signal
    body: bytes
    items: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OtlpFile:
    """A file that was read to its end and understood."""

    path: Path
    form: Form
    requests: int
    spans: int
    logs: int


def check(path: Path, *, on_bytes: Callable[[int], None] = lambda _: None) -> OtlpFile:
    """Read `path` to its end; raises BadInput, one line, unless every request in it is understood.

    on_bytes: told how many more bytes of the file on disk were read.
    """
    if not path.is_file():
        raise BadInput(f"{path}: {'is a directory' if path.is_dir() else 'no such file'}; expected {EXPECTED}")
    if not path.stat().st_size:
        raise BadInput(f"{path}: is empty; expected {EXPECTED}")
    complaint = ""
    for form in _candidates(path):
        requests = spans = logs = 0
        try:
            for request in _read(path, form, on_bytes):
                requests += 1
                spans += request.items if request.signal == "traces" else 0
                logs += request.items if request.signal == "logs" else 0
        except _NotOtlp as reason:
            complaint = str(reason) if complaint in ("", _NO_IDEA) else complaint
            continue
        except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error):
            raise BadInput(f"{path}: its compression is cut off or damaged; expected {EXPECTED}") from None
        if spans or logs:
            return OtlpFile(path=path, form=form, requests=requests, spans=spans, logs=logs)
        complaint = complaint or "holds no span and no log record"
    raise BadInput(f"{path}: {complaint or 'is not OTLP'}; expected {EXPECTED}")


def read(file: OtlpFile, *, on_bytes: Callable[[int], None] = lambda _: None) -> Iterator[Request]:
    """The requests of a file that `check` has passed."""
    return _read(file.path, file.form, on_bytes)


class _NotOtlp(Exception):
    """What is wrong with the file when read in one of the forms."""


class _CutOff(Exception):
    """The file ends where a request has not."""


def _candidates(path: Path) -> tuple[Form, ...]:
    with _open(path) as stream:
        try:
            head = stream.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
        except (EOFError, OSError, lzma.LZMAError, zlib.error):
            return ("delimited",)  # reading it again reports the damage
    # 0x7b and 0x5b are also lengths that a delimited file can start with.
    return ("json", "delimited", "protobuf") if head[:1] in (b"{", b"[") else ("delimited", "protobuf")


def _read(path: Path, form: Form, on_bytes: Callable[[int], None]) -> Iterator[Request]:
    with _open(path, on_bytes) as stream:
        if form == "json":
            yield from _json_requests(stream)
        elif form == "delimited":
            yield from _delimited_requests(stream)
        else:
            request = _understand(stream.read())
            if request is None:
                raise _NotOtlp(_NO_IDEA)
            yield request


@contextmanager
def _open(path: Path, on_bytes: Callable[[int], None] = lambda _: None) -> Iterator[IO[bytes]]:
    with io.BufferedReader(_Counted(path, on_bytes), buffer_size=1 << 18) as raw:
        magic = raw.peek(6)
        if magic.startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=raw) as unzipped:
                yield unzipped  # type: ignore[misc]  # typeshed gives GzipFile no IO
        elif magic.startswith(b"\xfd7zXZ\x00"):
            with lzma.LZMAFile(raw) as unpacked:
                yield unpacked
        else:
            yield raw


class _Counted(io.FileIO):
    """A file that says how much of it was read: what a progress bar can show of a compressed file."""

    def __init__(self, path: Path, on_bytes: Callable[[int], None]) -> None:
        super().__init__(path, "rb")
        self._on_bytes = on_bytes

    def readinto(self, buffer: Any) -> int | None:
        count = super().readinto(buffer)
        self._on_bytes(count or 0)
        return count


def _delimited_requests(stream: IO[bytes]) -> Iterator[Request]:
    number = items = 0
    while True:
        number += 1
        try:
            length = _varint(stream)
            if length is None:
                return
            request = _understand(_exactly(stream, length)) if length else Request(signal="traces", body=b"", items=0)
        except _CutOff:
            raise _NotOtlp(f"request {number} is cut off" if items else _NO_IDEA) from None
        except ValueError:
            request = None
        if request is None:
            raise _NotOtlp(f"request {number} is damaged" if items else _NO_IDEA)
        items += request.items
        yield request


def _varint(stream: IO[bytes]) -> int | None:
    """The next length prefix; None at the end of the file."""
    value = shift = 0
    while shift <= 35:
        byte = stream.read(1)
        if not byte and not shift:
            return None
        if not byte:
            raise _CutOff
        value |= (byte[0] & 0x7F) << shift
        if not byte[0] & 0x80:
            return value
        shift += 7
    raise ValueError("no length has so many digits")


def _exactly(stream: IO[bytes], length: int) -> bytes:
    body = stream.read(length) if length <= MAX_FRAME else b""
    if len(body) < length:
        raise _CutOff
    return body


def _json_requests(stream: IO[bytes]) -> Iterator[Request]:
    for document in _json_documents(stream):
        for element in document if isinstance(document, list) else [document]:
            yield from _json_element(element)


def _json_documents(stream: IO[bytes]) -> Iterator[Any]:
    """One JSON text, JSON lines, or JSON texts one after the other."""
    first = stream.readline().removeprefix(b"\xef\xbb\xbf")
    while first and not first.strip():
        first = stream.readline()
    try:
        yield json.loads(first)
    except ValueError:
        yield from _json_texts(first + stream.read())
        return
    for number, line in enumerate(stream, start=2):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as reason:
                raise _NotOtlp(f"line {number} is no JSON ({reason})") from None


def _json_texts(body: bytes) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    try:
        text = body.decode("utf-8")
        position = 0
        while position < len(text):
            document, position = decoder.raw_decode(text, position)
            yield document
            while position < len(text) and text[position].isspace():
                position += 1
    except ValueError as reason:
        raise _NotOtlp(f"is no JSON ({reason})") from None


def _json_element(element: Any) -> Iterator[Request]:
    """A request, or two where one object holds both signals."""
    known = False
    for signal, (kind, key) in _SIGNALS.items():
        if not isinstance(element, dict) or key not in element:
            continue
        known = True
        try:
            body = request_from_json(signal, json.dumps({key: element[key]}).encode())
        except Malformed as reason:
            raise _NotOtlp(f"has JSON that is no OTLP request ({' '.join(str(reason).split())[:200]})") from None
        yield Request(signal=signal, body=body, items=_count(kind.FromString(body)))
    if not known:
        metrics = isinstance(element, dict) and "resourceMetrics" in element
        raise _NotOtlp("holds OTLP metrics" if metrics else "has JSON with neither resourceSpans nor resourceLogs")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """A body read as one signal: how many bytes nobody knew, and whether its items look like that signal's."""

    signal: Signal
    items: int
    unknown: int
    credible: bool


def _understand(body: bytes) -> Request | None:
    """`body` as the signal it is: a span read as a log record, or the reverse, leaves fields that nobody knows."""
    readings = [reading for signal in _SIGNALS if (reading := _reading(body, signal)) is not None]
    best = min(readings, key=lambda reading: (reading.unknown, not reading.credible), default=None)
    if (best is None or not best.credible) and _is_metrics(body):
        raise _NotOtlp("holds OTLP metrics")
    if best is None or (best.unknown and not best.credible):
        return None
    return Request(signal=best.signal, body=body, items=best.items)


def _reading(body: bytes, signal: Signal) -> _Reading | None:
    try:
        message = _SIGNALS[signal][0].FromString(body)
    except DecodeError:
        return None
    items, size, credible = _count(message), message.ByteSize(), any(map(_is_credible, _each(message)))
    message.DiscardUnknownFields()
    return _Reading(signal=signal, items=items, unknown=size - message.ByteSize(), credible=credible)


def _is_metrics(body: bytes) -> bool:
    try:
        message = ExportMetricsServiceRequest.FromString(body)
    except DecodeError:
        return False
    return any(
        metric.name for group in message.resource_metrics for scope in group.scope_metrics for metric in scope.metrics
    )


def _each(message: Message) -> Iterator[Any]:
    if isinstance(message, ExportTraceServiceRequest):
        for spans in message.resource_spans:
            for span_scope in spans.scope_spans:
                yield from span_scope.spans
    elif isinstance(message, ExportLogsServiceRequest):
        for logs in message.resource_logs:
            for log_scope in logs.scope_logs:
                yield from log_scope.log_records


def _count(message: Message) -> int:
    if isinstance(message, ExportTraceServiceRequest):
        return sum(len(scope.spans) for group in message.resource_spans for scope in group.scope_spans)
    if isinstance(message, ExportLogsServiceRequest):
        return sum(len(scope.log_records) for group in message.resource_logs for scope in group.scope_logs)
    return 0


def _is_credible(item: Any) -> bool:
    if isinstance(item, Span):
        return len(item.trace_id) == 16 and len(item.span_id) == 8
    return bool(item.time_unix_nano or item.observed_time_unix_nano or item.event_name)


_SIGNALS: dict[Signal, tuple[type[Message], str]] = {
    "traces": (ExportTraceServiceRequest, "resourceSpans"),
    "logs": (ExportLogsServiceRequest, "resourceLogs"),
}
