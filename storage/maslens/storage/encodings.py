"""Content codings of HTTP bodies, in and out, and the fields of a form."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from email import message_from_bytes
from email.policy import HTTP
from typing import Any

import lz4.frame
import zstandard

_CHUNK = 1 << 18


class TooLarge(ValueError):
    """A body is larger than is taken."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body is larger than {limit} bytes")


def decoded(body: bytes, coding: str | None, limit: int) -> bytes:
    """Raises TooLarge, or ValueError for a body that is not what it says."""
    coding = (coding or "identity").strip().lower()
    if coding == "identity" or not body:
        return body
    if coding not in _DECODERS:
        raise ValueError(f"unknown Content-Encoding {coding}; understood are {', '.join(_DECODERS)}")
    try:
        out, size = [], 0
        for part in _DECODERS[coding](body):
            size += len(part)
            if size > limit:
                raise TooLarge(limit)
            out.append(part)
        return b"".join(out)
    except (zlib.error, zstandard.ZstdError, RuntimeError, EOFError) as error:
        raise ValueError(f"the body is not {coding}: {error}") from error


def chosen(accept: str) -> str | None:
    """The coding to answer in, of those that an Accept-Encoding header takes."""
    offered = [part.strip().lower().split(";") for part in accept.split(",")]
    taken = {name.strip() for name, *weight in offered if not any(w.strip() in ("q=0", "q=0.0") for w in weight)}
    return next((coding for coding in _ENCODERS if coding in taken), None)


def all_encoded(bodies: Iterable[bytes], coding: str) -> Iterator[bytes]:
    """`bodies` as one, in chunks, compressed as they are sent."""
    encoder = _ENCODERS[coding]()
    for body in bodies:
        for start in range(0, len(body), _CHUNK):
            if part := encoder.compress(body[start : start + _CHUNK]):
                yield part
    yield encoder.flush()


def form_fields(content_type: str, body: bytes) -> dict[str, str]:
    """The fields of a multipart form, which clients use when a query or its parameters are long."""
    message = message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body, policy=HTTP)
    if not message.is_multipart():
        raise ValueError("the body is not the form that its Content-Type says")
    fields = {}
    for part in message.iter_parts():
        name, text = part.get_param("name", header="content-disposition"), part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(text, bytes):
            fields[name] = text.decode("utf-8")
    return fields


def _inflated(window: int) -> Callable[[bytes], Iterator[bytes]]:
    def parts(body: bytes) -> Iterator[bytes]:
        stream = zlib.decompressobj(window)
        while body:
            yield stream.decompress(body, _CHUNK)
            body = stream.unconsumed_tail
        if not stream.eof:
            raise EOFError("it ends too early")

    return parts


def _unzstd(body: bytes) -> Iterator[bytes]:
    """Twice: the stream that can be bounded does not notice that its end is missing."""
    with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(body) as reader:
        while part := reader.read(_CHUNK):
            yield part
    whole = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
    whole.decompress(body)
    if not whole.eof:
        raise EOFError("it ends too early")


def _unlz4(body: bytes) -> Iterator[bytes]:
    stream = lz4.frame.LZ4FrameDecompressor()
    part = stream.decompress(body, max_length=_CHUNK)
    yield part
    while not stream.eof:
        part = stream.decompress(b"", max_length=_CHUNK)
        if not part:
            raise EOFError("it ends too early")
        yield part


class _Lz4Encoder:
    def __init__(self) -> None:
        self._frame = lz4.frame.LZ4FrameCompressor()
        self._begun = False

    def compress(self, part: bytes) -> bytes:
        head = b"" if self._begun else self._frame.begin()
        self._begun = True
        return bytes(head + self._frame.compress(part))

    def flush(self) -> bytes:
        head = b"" if self._begun else self._frame.begin()
        return bytes(head + self._frame.flush())


_DECODERS: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "gzip": _inflated(31),
    "deflate": _inflated(15),
    "zstd": _unzstd,
    "lz4": _unlz4,
}
_ENCODERS: dict[str, Callable[[], Any]] = {
    "zstd": lambda: zstandard.ZstdCompressor(level=1).compressobj(),
    "lz4": _Lz4Encoder,
    "gzip": lambda: zlib.compressobj(1, wbits=31),
    "deflate": lambda: zlib.compressobj(1),
}
