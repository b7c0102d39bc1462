"""Bodies that were compressed, cut short, or made to explode."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from maslens.collector_processor.encodings import decompress, supported
from maslens.collector_processor.errors import Malformed, Refused, TooLarge, Unsupported

LIMIT = 1 << 20


def raw_deflate(body: bytes) -> bytes:
    machine = zlib.compressobj(wbits=-15)
    return machine.compress(body) + machine.flush()


COMPRESS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZIP ": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.compress,
    "identity": bytes,
    "": bytes,
}


@pytest.mark.parametrize("encoding", COMPRESS)
@pytest.mark.parametrize("body", [b"", b"x", b"hello " * 10_000])
def test_what_was_compressed_comes_back(encoding: str, body: bytes) -> None:
    assert decompress(encoding, COMPRESS[encoding](body), limit=LIMIT) == body


def test_deflate_without_its_header_and_files_of_several_parts() -> None:
    assert decompress("deflate", raw_deflate(b"hello"), limit=LIMIT) == b"hello"
    assert decompress("gzip", gzip.compress(b"a") + gzip.compress(b"b"), limit=LIMIT) == b"ab"
    assert decompress("zstd", zstandard.compress(b"a") + zstandard.compress(b"b"), limit=LIMIT) == b"ab"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_a_body_of_exactly_the_limit_passes_and_one_byte_more_does_not(encoding: str) -> None:
    assert len(decompress(encoding, COMPRESS[encoding](bytes(LIMIT)), limit=LIMIT)) == LIMIT
    with pytest.raises(TooLarge):
        decompress(encoding, COMPRESS[encoding](bytes(LIMIT + 1)), limit=LIMIT)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_a_bomb_is_refused_without_unpacking_it(encoding: str) -> None:
    bomb = COMPRESS[encoding](bytes(400 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            decompress(encoding, bomb, limit=LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 48 << 20
    finally:
        tracemalloc.stop()


def test_a_zstd_frame_that_asks_for_too_much_memory_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    body = zstandard.ZstdCompressor(compression_params=parameters).compress(bytes(200 << 20))
    with pytest.raises(Refused):
        decompress("zstd", body, limit=LIMIT)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
@pytest.mark.parametrize("damage", ["cut", "empty", "noise"])
def test_what_is_not_compressed_as_said_is_malformed(encoding: str, damage: str) -> None:
    whole = COMPRESS[encoding](b"hello " * 1000)
    body = {"cut": whole[:-3], "empty": b"", "noise": b"hello " * 10}[damage]
    with pytest.raises(Malformed):
        decompress(encoding, body, limit=LIMIT)


@pytest.mark.parametrize("encoding", ["br", "snappy", "gzip, gzip", "lz4"])
def test_other_encodings_are_named(encoding: str) -> None:
    assert not supported(encoding)
    with pytest.raises(Unsupported, match="supported: gzip, deflate, zstd"):
        decompress(encoding, b"x", limit=LIMIT)


@settings(max_examples=300, deadline=None)
@given(encoding=st.sampled_from(["gzip", "deflate", "zstd"]), noise=st.binary(max_size=200), keep=st.integers(0, 60))
def test_arbitrary_bytes_are_taken_or_refused(encoding: str, noise: bytes, keep: int) -> None:
    try:
        body = decompress(encoding, COMPRESS[encoding](b"hello " * 20)[:keep] + noise, limit=1000)
    except Refused:
        return
    assert len(body) <= 1000
