"""Arrow in and out."""

from __future__ import annotations

from typing import Any

import pyarrow as pa


def stream_bytes(data: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, data.schema) as writer:
        writer.write_table(data)
    return bytes(sink.getvalue())


def table(stream: bytes) -> pa.Table:
    """The table in an Arrow stream; a statement without a result answers with no bytes."""
    if not stream:
        return pa.table({})
    with pa.ipc.open_stream(pa.py_buffer(stream)) as reader:
        return reader.read_all()


def plain_rows(data: pa.Table) -> list[dict[str, Any]]:
    """Rows of Python values, maps as dictionaries. Python's `datetime` ends at the microsecond: the rest is cut off."""
    coarse = pa.schema([field.with_type(_microseconds(field.type)) for field in data.schema])
    rows: list[dict[str, Any]] = data.cast(coarse, safe=False).to_pylist(maps_as_pydicts="strict")
    return rows


def _microseconds(kind: Any) -> Any:
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_microseconds(kind.value_type)))
    return kind
