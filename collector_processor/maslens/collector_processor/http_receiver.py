"""OTLP over HTTP: POST /v1/traces and /v1/logs, protobuf and JSON on one port."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from maslens.collector_processor.access import Tokens
from maslens.collector_processor.answers import (
    INVALID_ARGUMENT,
    NOT_FOUND,
    UNAVAILABLE,
    UNIMPLEMENTED,
    Failure,
    failure,
)
from maslens.collector_processor.answers import success as answer_success
from maslens.collector_processor.encodings import ACCEPTED, decompress, supported
from maslens.collector_processor.errors import Refused, TooLarge, Unsupported
from maslens.collector_processor.http_server import HttpLimits, HttpServer, Request, Response
from maslens.collector_processor.intake import Intake
from maslens.collector_processor.otlp_json import request_from_json
from maslens.collector_processor.signals import Signal

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"
_PATHS: Final[Mapping[str, Signal]] = {"/v1/traces": "traces", "/v1/logs": "logs"}
_NOT_TAKEN: Final = {
    "/v1/metrics": "metrics are not stored here, only traces and logs: send them to Prometheus",
    "/v1development/profiles": "profiles are not stored here, only traces and logs",
}
_OFF_THE_LOOP: Final = 256 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReceiver:
    """Answers requests; `server` does the talking."""

    intake: Intake
    tokens: Tokens
    limits: HttpLimits
    cors_origins: tuple[str, ...] = ()  # "*" for all; none: a browser's scripts may not send

    def server(self) -> HttpServer:
        return HttpServer(early=self._early, handle=self._handle, complain=self._complain, limits=self.limits)

    def _early(self, request: Request) -> Response | None:
        """What can be said before the body is there."""
        headers = request.headers
        signal = _PATHS.get(request.path)
        if signal is None:
            message = _NOT_TAKEN.get(request.path, f"nothing at this path, try {' or '.join(_PATHS)}")
            code = UNIMPLEMENTED if request.path in _NOT_TAKEN else NOT_FOUND
            return self._failed(Failure(404, code, message), headers, reason="path")
        if request.method == "OPTIONS" and self._allowed_origin(headers) is not None:
            return self._preflight(headers)
        if request.method != "POST":
            wrong = Failure(405, UNIMPLEMENTED, f"method {request.method} is not supported, only POST")
            return self._failed(wrong, headers, ("allow", "POST"), reason="method")
        try:
            self.tokens.grant(headers.get("authorization"), "ingest")
            if _media_type(headers) not in (PROTOBUF, JSON):
                raise Unsupported(
                    f"unsupported Content-Type {headers.get('content-type', '')!r}, supported: {JSON}, {PROTOBUF}",
                    reason="content_type",
                )
            if not supported(headers.get("content-encoding", "")):
                decompress(headers["content-encoding"], b"", limit=0)
            refusal = self.intake.sink.refusal()
            if refusal is not None:
                raise refusal
        except Refused as refused:
            return self._refused(refused, headers)
        return None

    async def _handle(self, request: Request) -> Response:
        headers, body = request.headers, request.body
        signal, as_json = _PATHS[request.path], _media_type(headers) == JSON
        try:
            grant = self.tokens.grant(headers.get("authorization"), "ingest")
            await self.intake.sink.spend(grant, len(body))
            if len(body) > _OFF_THE_LOOP and (as_json or headers.get("content-encoding")):
                loop = asyncio.get_running_loop()
                body = await loop.run_in_executor(None, self._decoded, signal, body, headers, as_json)
            else:
                body = self._decoded(signal, body, headers, as_json)
        except Refused as refused:
            return self._refused(refused, headers)
        try:
            taken = await self.intake.take(signal, body)
        except Refused as refused:  # counted there
            return self._failed(failure(refused), headers)
        return Response(
            200,
            answer_success(signal, taken, as_json=as_json),
            JSON if as_json else PROTOBUF,
            self._cors(headers),
        )

    def _decoded(self, signal: Signal, body: bytes, headers: Mapping[str, str], as_json: bool) -> bytes:
        body = decompress(headers.get("content-encoding", ""), body, limit=self.limits.max_body_bytes)
        return request_from_json(signal, body) if as_json else body

    # --- refusals ---------------------------------------------------------------------------------------------------

    def _refused(self, refused: Refused, headers: Mapping[str, str]) -> Response:
        extra = {
            "encoding": [("accept-encoding", ACCEPTED)],
            "content_type": [("accept", f"{PROTOBUF}, {JSON}")],
            "unauthenticated": [("www-authenticate", "Bearer")],
        }.get(refused.reason, [])
        return self._failed(failure(refused), headers, *extra, reason=refused.reason)

    def _failed(
        self, failed: Failure, headers: Mapping[str, str], *extra: tuple[str, str], reason: str | None = None
    ) -> Response:
        if reason is not None:
            self.intake.sink.refused(reason)
        as_json = _media_type(headers) == JSON
        if failed.retry_after is not None:
            extra = (*extra, ("retry-after", str(failed.retry_after)))
        content_type = JSON if as_json else PROTOBUF
        return Response(failed.http, failed.body(as_json=as_json), content_type, (*extra, *self._cors(headers)))

    def _complain(self, status: int, message: str, headers: Mapping[str, str]) -> Response:
        """The server itself refuses."""
        if status == 413:
            return self._refused(TooLarge(message), headers)
        retry_after = 1 if status == 503 else None
        code = UNAVAILABLE if status == 503 else INVALID_ARGUMENT
        return self._failed(Failure(status, code, message, retry_after), headers, reason=_REASONS.get(status, "http"))

    # --- browsers ---------------------------------------------------------------------------------------------------

    def _allowed_origin(self, headers: Mapping[str, str]) -> str | None:
        origin = headers.get("origin")
        return origin if origin and ("*" in self.cors_origins or origin in self.cors_origins) else None

    def _cors(self, headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        origin = self._allowed_origin(headers)
        return (("access-control-allow-origin", origin), ("vary", "origin")) if origin else ()

    def _preflight(self, headers: Mapping[str, str]) -> Response:
        asked = headers.get("access-control-request-headers", "content-type")
        allowed = ",".join(name for name in asked.split(",") if name.strip().replace("-", "").isalnum())
        return Response(
            204,
            headers=(
                *self._cors(headers),
                ("access-control-allow-methods", "POST"),
                ("access-control-allow-headers", allowed),
                ("access-control-max-age", "7200"),
            ),
        )


def _media_type(headers: Mapping[str, str]) -> str:
    declared = headers.get("content-type", "").partition(";")[0].strip().lower()
    return PROTOBUF if declared == "application/protobuf" else declared


_REASONS: Final = {400: "http", 408: "slow", 431: "headers", 503: "busy"}
