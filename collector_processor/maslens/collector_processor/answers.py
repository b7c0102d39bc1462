"""What a sender is told: google.rpc.Status, RetryInfo and partial success, for both transports."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from maslens.collector_processor.errors import (
    Forbidden,
    Malformed,
    Refused,
    TooLarge,
    TooManyRequests,
    TryAgain,
    Unauthenticated,
    Unsupported,
)
from maslens.collector_processor.signals import Signal
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsPartialSuccess, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

# google.rpc.Code
OK, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, PERMISSION_DENIED, RESOURCE_EXHAUSTED = 0, 3, 4, 5, 7, 8
UNIMPLEMENTED, INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 12, 13, 14, 16

_LONGEST_MESSAGE: Final = 1024


@dataclass(frozen=True, slots=True)
class Taken:
    """A request whose spans are safe, apart from `rejected` ones."""

    items: int = 0
    rejected: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """A refusal in the words of both transports."""

    http: int
    code: int  # google.rpc.Code
    message: str
    retry_after: int | None = None  # whole seconds; None: not worth trying again

    @property
    def status(self) -> status_pb2.Status:
        status = status_pb2.Status(code=self.code, message=self.message)
        if self.retry_after is not None:
            status.details.add().Pack(self.retry_info)
        elif self.code == INVALID_ARGUMENT:
            violation = error_details_pb2.BadRequest.FieldViolation(field="body", description=self.message)
            status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
        return status

    @property
    def retry_info(self) -> error_details_pb2.RetryInfo:
        return error_details_pb2.RetryInfo(retry_delay=Duration(seconds=self.retry_after or 0))

    def body(self, *, as_json: bool) -> bytes:
        """google.rpc.Status, without details in JSON: Any needs type names that few clients know."""
        if as_json:
            return json.dumps({"code": self.code, "message": self.message}).encode()
        return bytes(self.status.SerializeToString())

    def trailers(self) -> tuple[tuple[str, bytes], ...]:
        """For gRPC: Python's exporter reads the first, everybody else the second."""
        both: tuple[tuple[str, bytes], ...] = (("grpc-status-details-bin", self.status.SerializeToString()),)
        if self.retry_after is not None:
            both = (("google.rpc.retryinfo-bin", self.retry_info.SerializeToString()), *both)
        return both


def failure(refused: Refused) -> Failure:
    message = str(refused)[:_LONGEST_MESSAGE]
    for kind, (http, code) in _STATUS.items():
        if isinstance(refused, kind):
            delay = refused.delay.total_seconds() if isinstance(refused, TryAgain) else None
            return Failure(http, code, message, None if delay is None else max(1, math.ceil(delay)))
    return Failure(500, INTERNAL, message)


def success(signal: Signal, taken: Taken, *, as_json: bool) -> bytes:
    """Export…ServiceResponse; `partial_success` only where it is partial."""
    if as_json:
        return json.dumps(
            {"partialSuccess": {_REJECTED[signal]: str(taken.rejected), "errorMessage": taken.message}}
            if taken.rejected
            else {}
        ).encode()
    if not taken.rejected:
        return b""
    if signal == "traces":
        spans = ExportTracePartialSuccess(rejected_spans=taken.rejected, error_message=taken.message)
        return ExportTraceServiceResponse(partial_success=spans).SerializeToString()
    records = ExportLogsPartialSuccess(rejected_log_records=taken.rejected, error_message=taken.message)
    return ExportLogsServiceResponse(partial_success=records).SerializeToString()


def rejection_message(signal: Signal, rejected: Mapping[str, int], *, total: int) -> str:
    what = "spans" if signal == "traces" else "log records"
    reasons = ", ".join(f"{number} with {reason}" for reason, number in sorted(rejected.items()))
    return f"{sum(rejected.values())} of {total} {what} rejected: {reasons}"[:_LONGEST_MESSAGE]


# The first that fits, so the narrower ones come first.
_STATUS: Final[Mapping[type[Refused], tuple[int, int]]] = {
    TooManyRequests: (429, RESOURCE_EXHAUSTED),
    TryAgain: (503, UNAVAILABLE),
    TooLarge: (413, RESOURCE_EXHAUSTED),
    Unsupported: (415, INVALID_ARGUMENT),
    Unauthenticated: (401, UNAUTHENTICATED),
    Forbidden: (403, PERMISSION_DENIED),
    Malformed: (400, INVALID_ARGUMENT),
}
_REJECTED: Final[Mapping[Signal, str]] = {"traces": "rejectedSpans", "logs": "rejectedLogRecords"}
