"""OTLP messages cut to what is asked of them, so that the protobuf library does the work and no Python walks spans.

Readings of the same bytes, all with OTLP's field numbers:

- *columns*: every repeated message declared singular. The library merges them, so a whole request becomes one list of
  trace ids, one of start times, and so on. Strings are declared as strings: it checks their UTF-8.
- *frame*: groups, scopes and items (spans, log records) as they lie, each item left as bytes.
- *hits*: as columns, but item by item, and an array or map is a message that lacks a required field. Asked what is
  missing, the library names the items that hold one.
- *pieces*: one item with its attributes, events and links left as bytes.
- *items*: one item with its attributes, strings as bytes so that any can be read and mended.

What is not declared stays as unknown fields and is written back untouched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from maslens.collector_processor.signals import Signal

_F = descriptor_pb2.FieldDescriptorProto
_TYPES: Final[Mapping[str, int]] = {
    "string": _F.TYPE_STRING,
    "bytes": _F.TYPE_BYTES,
    "fixed64": _F.TYPE_FIXED64,
    "fixed32": _F.TYPE_FIXED32,
    "int64": _F.TYPE_INT64,
    "uint64": _F.TYPE_UINT64,
    "int32": _F.TYPE_INT32,
    "uint32": _F.TYPE_UINT32,
    "double": _F.TYPE_DOUBLE,
    "bool": _F.TYPE_BOOL,
}

_LABELS: Final = {"*": _F.LABEL_REPEATED, "!": _F.LABEL_REQUIRED}

# `*` marks a list, `!` what must be there. In *columns* a list is where many items' values end up one after the other,
# and small numbers are declared as large ones, to see those that do not fit.
_COLUMNS: Final = """
Request: groups=1 Group
Group: resource=1 Resource, scopes=2 Scoped, schema_url=3 string
Resource: attributes=1 KeyValue, dropped=2 uint32
Scoped: scope=1 Scope, items=2 {item}, schema_url=3 string
Scope: name=1 string, version=2 string, attributes=3 KeyValue, dropped=4 uint32
Span: trace_id=1 bytes*, span_id=2 bytes*, trace_state=3 string, parent_span_id=4 bytes*, name=5 string, kind=6 int64*,
 start=7 fixed64*, end=8 fixed64*, attributes=9 KeyValue, dropped_attributes=10 uint64*, events=11 Event,
 dropped_events=12 uint32, links=13 Link, dropped_links=14 uint32, status=15 Status, flags=16 fixed32
Event: time=1 fixed64*, name=2 string, attributes=3 KeyValue, dropped=4 uint32
Link: trace_id=1 bytes*, span_id=2 bytes*, trace_state=3 string, attributes=4 KeyValue, dropped=5 uint32,
 flags=6 fixed32
Status: message=2 string, code=3 int64*
LogRecord: start=1 fixed64*, severity_number=2 int64*, severity_text=3 string, body=5 AnyValue, attributes=6 KeyValue,
 dropped=7 uint64*, flags=8 fixed32, trace_id=9 bytes*, span_id=10 bytes*, end=11 fixed64*, event_name=12 string
KeyValue: key=1 string, value=2 AnyValue
AnyValue: text=1 string, flag=2 uint64*, integer=3 int64, number=4 double, array=5 bytes*, kvlist=6 bytes*, raw=7 bytes
"""

_FRAME: Final = """
Request: groups=1 Group*
Group: resource=1 bytes, scopes=2 Scoped*, schema_url=3 bytes
Scoped: scope=1 bytes, items=2 bytes*, schema_url=3 bytes
"""

_HITS: Final = """
Request: groups=1 Group*
Group: resource=1 Resource, scopes=2 Scoped*, schema_url=3 bytes
Resource: attributes=1 KeyValue, dropped=2 uint32
Scoped: scope=1 Scope, items=2 {item}*, schema_url=3 bytes
Scope: name=1 bytes, version=2 bytes, attributes=3 KeyValue, dropped=4 uint32
Span: trace_id=1 bytes, span_id=2 bytes, trace_state=3 bytes, parent_span_id=4 bytes, name=5 bytes, kind=6 int32,
 start=7 fixed64, end=8 fixed64, attributes=9 KeyValue, dropped_attributes=10 uint32, events=11 Event,
 dropped_events=12 uint32, links=13 Link, dropped_links=14 uint32, status=15 bytes, flags=16 fixed32
Event: time=1 fixed64, name=2 bytes, attributes=3 KeyValue, dropped=4 uint32
Link: trace_id=1 bytes, span_id=2 bytes, trace_state=3 bytes, attributes=4 KeyValue, dropped=5 uint32, flags=6 fixed32
LogRecord: start=1 fixed64, severity_number=2 int32, severity_text=3 bytes, body=5 AnyValue, attributes=6 KeyValue,
 dropped=7 uint32, flags=8 fixed32, trace_id=9 bytes, span_id=10 bytes, end=11 fixed64, event_name=12 bytes
KeyValue: key=1 bytes, value=2 AnyValue
AnyValue: text=1 bytes, flag=2 bool, integer=3 int64, number=4 double, array=5 Hit, kvlist=6 Hit, raw=7 bytes
Hit: values=1 bytes, never=1000 bool!
"""

_PIECES: Final = """
Span: trace_id=1 bytes, span_id=2 bytes, trace_state=3 bytes, parent_span_id=4 bytes, name=5 bytes, kind=6 int32,
 start=7 fixed64, end=8 fixed64, attributes=9 bytes*, dropped_attributes=10 uint32, events=11 bytes*,
 dropped_events=12 uint32, links=13 bytes*, dropped_links=14 uint32, status=15 bytes, flags=16 fixed32
LogRecord: start=1 fixed64, severity_number=2 int32, severity_text=3 bytes, body=5 bytes, attributes=6 bytes*,
 dropped=7 uint32, flags=8 fixed32, trace_id=9 bytes, span_id=10 bytes, end=11 fixed64, event_name=12 bytes
"""

_ITEMS: Final = """
Resource: attributes=1 KeyValue*
Scope: name=1 bytes, version=2 bytes, attributes=3 KeyValue*
Span: trace_id=1 bytes, span_id=2 bytes, trace_state=3 bytes, parent_span_id=4 bytes, name=5 bytes, kind=6 int32,
 start=7 fixed64, end=8 fixed64, attributes=9 KeyValue*, dropped_attributes=10 uint32, events=11 Event*,
 dropped_events=12 uint32, links=13 Link*, dropped_links=14 uint32, status=15 Status, flags=16 fixed32
Event: time=1 fixed64, name=2 bytes, attributes=3 KeyValue*, dropped=4 uint32
Link: trace_id=1 bytes, span_id=2 bytes, trace_state=3 bytes, attributes=4 KeyValue*, dropped=5 uint32, flags=6 fixed32
Status: message=2 bytes, code=3 int32
LogRecord: start=1 fixed64, severity_number=2 int32, severity_text=3 bytes, body=5 AnyValue, attributes=6 KeyValue*,
 dropped=7 uint32, flags=8 fixed32, trace_id=9 bytes, span_id=10 bytes, end=11 fixed64, event_name=12 bytes
KeyValue: key=1 bytes, value=2 AnyValue
AnyValue: text=1 bytes value, flag=2 bool value, integer=3 int64 value, number=4 double value, array=5 Array value,
 kvlist=6 KeyValueList value, raw=7 bytes value
Array: values=1 AnyValue*
KeyValueList: values=1 KeyValue*
"""


def _classes(name: str, syntax: str, text: str) -> dict[str, type[Any]]:
    file = descriptor_pb2.FileDescriptorProto(
        name=f"maslens/{name}.proto", package=f"maslens.{name.replace('/', '.')}", syntax=syntax
    )
    for line in text.strip().replace("\n ", " ").splitlines():
        title, fields = line.split(": ")
        message = file.message_type.add(name=title)
        for part in fields.split(", "):
            field, declared, *oneof = part.split()
            field_name, number = field.split("=")
            kind = declared.rstrip("*!")
            made = message.field.add(
                name=field_name,
                number=int(number),
                label=_LABELS.get(declared[-1], _F.LABEL_OPTIONAL),
                type=_TYPES.get(kind, _F.TYPE_MESSAGE),
            )
            if kind not in _TYPES:
                made.type_name = f".{file.package}.{kind}"
            if oneof:
                made.oneof_index = 0
                if not message.oneof_decl:
                    message.oneof_decl.add(name=oneof[0])
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        message.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{message.name}"))
        for message in file.message_type
    }


_ITEM: Final[Mapping[Signal, str]] = {"traces": "Span", "logs": "LogRecord"}
Columns: Final[Mapping[Signal, type[Any]]] = {
    signal: _classes(f"columns/{signal}", "proto3", _COLUMNS.format(item=item))["Request"]
    for signal, item in _ITEM.items()
}
Frame: Final[type[Any]] = _classes("frame", "proto2", _FRAME)["Request"]
Hits: Final[Mapping[Signal, type[Any]]] = {
    signal: _classes(f"hits/{signal}", "proto2", _HITS.format(item=item))["Request"] for signal, item in _ITEM.items()
}
_pieces = _classes("pieces", "proto2", _PIECES)
Pieces: Final[Mapping[Signal, type[Any]]] = {signal: _pieces[item] for signal, item in _ITEM.items()}
_items = _classes("items", "proto2", _ITEMS)
Item: Final[Mapping[Signal, type[Any]]] = {signal: _items[item] for signal, item in _ITEM.items()}
Resource: Final = _items["Resource"]
Scope: Final = _items["Scope"]
Event: Final = _items["Event"]
Link: Final = _items["Link"]
KeyValue: Final = _items["KeyValue"]
AnyValue: Final = _items["AnyValue"]
