"""Values as text, exactly as the OpenTelemetry Collector writes them (pdata's `Value.AsString`).

One difference: where a number inside an array or a map is not finite, the Collector writes an empty string for the
whole value; here the number becomes the string "NaN", "Infinity" or "-Infinity" and nothing is lost.
"""

from __future__ import annotations

import base64
import math
import re
from json.encoder import encode_basestring
from typing import Any

_NOT_PLAIN = re.compile("[\u2028\u2029\ud800-\udfff]")  # line separators, and what was no UTF-8


def json_text(value: Any) -> str:
    """An AnyValue of `wire.Items` as JSON: map keys sorted, no spaces, `<>&` as they are."""
    kind = value.WhichOneof("value")
    if kind == "text":
        return quoted(value.text)
    if kind == "array":
        return array_text(value.array)
    if kind == "kvlist":
        return kvlist_text(value.kvlist)
    if kind == "integer":
        return str(value.integer)
    if kind == "number":
        text = number_text(value.number)
        return text if math.isfinite(value.number) else f'"{text}"'
    if kind == "flag":
        return "true" if value.flag else "false"
    if kind == "raw" and value.raw:  # of none at all the Collector writes null
        return f'"{base64.b64encode(value.raw).decode()}"'
    return "null"


def array_text(array: Any) -> str:
    return f"[{','.join([json_text(value) for value in array.values])}]"


def kvlist_text(kvlist: Any) -> str:
    pairs = {pair.key: pair.value for pair in kvlist.values}  # of a repeated key the last one counts, as in Go
    return f"{{{','.join([f'{quoted(key)}:{json_text(pairs[key])}' for key in sorted(pairs)])}}}"


def number_text(number: float) -> str:
    """As JavaScript writes it."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    if number == 0:
        return "-0" if math.copysign(1, number) < 0 else "0"
    if 1e-6 <= abs(number) < 1e21:
        text = repr(number)
        return f"{number:.0f}" if number.is_integer() and abs(number) < 2**53 else _plain(text)
    mantissa, _, exponent = repr(number).partition("e")
    sign, digits = exponent[:1], exponent.lstrip("+-").lstrip("0")
    return f"{mantissa.removesuffix('.0')}e{'-' if sign == '-' else '+'}{digits}"


def quoted(raw: bytes) -> str:
    """A JSON string; bytes that are no UTF-8 become `\\ufffd`."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("utf-8", "surrogateescape")
    json = encode_basestring(text)
    return _NOT_PLAIN.sub(_escape, json) if _NOT_PLAIN.search(json) else json


def _escape(found: re.Match[str]) -> str:
    code = ord(found.group())
    return "\\ufffd" if 0xD800 <= code <= 0xDFFF else f"\\u{code:04x}"


def _plain(text: str) -> str:
    """Without an exponent: `1e+16` becomes `10000000000000000`, `1e-05` becomes `0.00001`."""
    mantissa, _, exponent = text.partition("e")
    if not exponent:
        return mantissa.removesuffix(".0")
    sign, mantissa = ("-", mantissa[1:]) if mantissa.startswith("-") else ("", mantissa)
    whole, _, fraction = mantissa.partition(".")
    digits, point = whole + fraction, len(whole) + int(exponent)
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    return f"{sign}{digits[:point].ljust(point, '0')}{'.' + digits[point:] if digits[point:] else ''}"
