"""What an insert of OTLP bytes says to the engine, embedded or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
from maslens.storage.errors import Rejected
from maslens.storage.pieces import pieces, rows_only, varint
from maslens.storage.store import Signal

FORMAT = "ProtobufList"
_ROWS = {"traces": "ResourceSpans", "logs": "ResourceLogs"}


def inbox(signal: Signal) -> str:
    if signal not in _ROWS:
        raise Rejected(f"{signal} are not stored, only {' and '.join(_ROWS)}")
    return f"otlp_{signal}_inbox"


def schema_settings(signal: Signal) -> dict[str, str]:
    """How a server is to read the bytes: the schema travels with the insert."""
    return {
        "format_schema_source": "string",
        "format_schema": _schema(signal).read_text("utf-8"),
        "format_schema_message_name": _ROWS[signal],
    }


def embedded_schema_settings(signal: Signal) -> dict[str, str]:
    """The same for the embedded engine, by path: a schema sent as text it would cache in the working directory."""
    return {"format_schema": f"{_schema(signal).with_suffix('')}:{_ROWS[signal]}"}


def _schema(signal: Signal) -> Path:
    return Path(__file__).parent / "otlp" / f"{signal}.proto"


INSERT_SETTINGS = {
    # One insert may span any number of days: a replayed year is 365 partitions, and the receiver refuses absurd times.
    "max_partitions_per_insert_block": "0",
    # A failing view must fail the insert, so that it is sent again under its token.
    "materialized_views_ignore_errors": "0",
    "deduplicate_blocks_in_dependent_materialized_views": "1",
    "async_insert": "0",
    # Planning the views' queries costs more than inserting a thousand spans; improving their plans is a third of it and
    # brings nothing (measured: 390 → 280 ms an insert on a busy machine).
    "query_plan_enable_optimizations": "0",
}


PIECE_BYTES = 16 * 1024 * 1024  # of one insert; about 130 MiB in the engine


def insert_batch(body: bytes | Sequence[bytes], token: str, send: Callable[[list[bytes], str], None]) -> None:
    """Send a batch as the inserts that it takes, nearly always one. `send` takes what ProtobufList wants and a token.

    The size is in the tokens of pieces because other pieces must never come under the same token.
    """
    chunks = [body] if isinstance(body, bytes) else list(body)
    if sum(map(len, chunks)) <= PIECE_BYTES:
        _send_known(chunks, token, send)
        return
    for number, piece in enumerate(pieces(chunks, PIECE_BYTES)):
        _send_known(piece, f"{token}/{PIECE_BYTES}/{number}", send)


def _send_known(chunks: list[bytes], token: str, send: Callable[[list[bytes], str], None]) -> None:
    """The engine stumbles over unknown fields at the top level, and only there: once seen, they are taken out."""
    try:
        send(_framed(chunks), token)
    except Rejected:
        known = [rows_only(chunk) for chunk in chunks]
        if known == chunks:
            raise
        send(_framed(known), token)


def _framed(chunks: list[bytes]) -> list[bytes]:
    """ProtobufList is one message with its length in front."""
    return [varint(sum(map(len, chunks))), *chunks]


def columns(data: pa.Table) -> str:
    """The column list of an INSERT."""
    return "(" + ", ".join(f"`{name}`" for name in data.column_names) + ")"
