"""Blocks of the Native format as clients of the Go driver read them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from maslens.storage import Store, open_store
from maslens.storage.errors import Rejected
from maslens.storage.native_format import for_revision

INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"
REVISION = 54485


EXPRESSIONS = (
    "toUInt8(number)",
    "toInt256(number)",
    "toFloat32(number)",
    "number = 1",
    "toDate(number)",
    "toDate32(number)",
    "toDateTime(number, 'UTC')",
    "toDateTime64(number, 9, 'Europe/Berlin')",
    "toString(number)",
    "toFixedString('abc', 7)",
    "toNullable(number)",
    "if(number % 2 = 0, NULL, toString(number))",
    "CAST(number % 2, 'Enum8(\\'a, b\\' = 0, \\'c)\\' = 1)')",
    "toLowCardinality(toString(number % 3))",
    "CAST(if(number % 2 = 0, NULL, 'x'), 'LowCardinality(Nullable(String))')",
    "range(number)",
    "arrayMap(x -> toLowCardinality(toString(x)), range(number % 4))",
    "emptyArrayString()",
    "map('a', number, 'b', 2)",
    "CAST(map('k', toString(number)), 'Map(LowCardinality(String), String)')",
    "CAST(map(), 'Map(LowCardinality(String), String)')",
    "[map('a', [toNullable(number)])]",
    "CAST((number, 'x'), 'Tuple(`a b` UInt64, text LowCardinality(String))')",
    "(number, (number, 'x'))",
    "NULL",
    "[]",
    "toDecimal32(number, 2)",
    "toDecimal128(number, 3)",
    "generateUUIDv4()",
    "toIPv4('127.0.0.1')",
    "toIPv6('::1')",
    "toIntervalDay(number)",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = open_store(f"chdb://{tmp_path_factory.mktemp('native') / 'data'}")
    yield opened
    opened.close()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_block_is_found_from_end_to_end(store: Store, expression: str) -> None:
    blocks = store.query_raw(
        f"SELECT {expression} AS first, 'sentinel' AS last FROM numbers(1000)",
        fmt="Native",
        settings={"max_block_size": 400},
    )
    framed = for_revision(blocks, REVISION)
    count = framed.count(INFO)
    assert count >= 3
    assert len(framed) == len(blocks) + count * (len(INFO) + 2)  # two columns, a byte each


def test_an_empty_result_keeps_its_columns(store: Store) -> None:
    blocks = store.query_raw("SELECT number, toString(number) AS text FROM numbers(0)", fmt="Native")
    assert len(for_revision(blocks, REVISION)) in (0, len(blocks) + len(INFO) + 2)


def test_a_column_that_does_not_tell_its_end_is_refused_by_name(store: Store) -> None:
    blocks = store.query_raw("SELECT sumState(number) AS state FROM numbers(3)", fmt="Native")
    with pytest.raises(Rejected, match="AggregateFunction"):
        for_revision(blocks, REVISION)


@pytest.mark.parametrize("revision", [0, 54405])
def test_a_client_that_reads_plain_blocks_gets_them_as_they_are(revision: int) -> None:
    assert for_revision(b"anything", revision) == b"anything"
