"""What can go wrong with a store, named for what the caller should do next."""

from __future__ import annotations

import re


class StoreError(Exception):
    """Any failure of a store."""


class Unavailable(StoreError):
    """The store cannot take this now; the same call may work later (same token, same bytes)."""


class Rejected(StoreError):
    """The bytes are wrong: sending them again will fail again."""


class StoreBusy(StoreError):
    """Another process owns the data directory."""


class QueryError(StoreError):
    """The engine refused a statement; `code` is ClickHouse's error number (0 when it gave none)."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = error_code(message)


class MigrationError(StoreError):
    """The schema cannot be brought up to date; the message names the file."""


def error_code(message: str) -> int:
    """The number in ClickHouse's `Code: 62. DB::Exception: …`, or 0."""
    found = re.search(r"\bCode: (\d+)\.", message)
    return int(found.group(1)) if found else 0


# Numbers that speak of the bytes, not of the moment (ClickHouse src/Common/ErrorCodes.cpp).
_POISON = frozenset(
    {
        6,  # CANNOT_PARSE_TEXT
        25,  # CANNOT_PARSE_ESCAPE_SEQUENCE
        26,  # CANNOT_PARSE_QUOTED_STRING
        27,  # CANNOT_PARSE_INPUT_ASSERTION_FAILED
        32,  # ATTEMPT_TO_READ_AFTER_EOF
        33,  # CANNOT_READ_ALL_DATA
        69,  # ARGUMENT_OUT_OF_BOUND
        72,  # CANNOT_PARSE_NUMBER
        117,  # INCORRECT_DATA
        128,  # TOO_LARGE_ARRAY_SIZE
        131,  # TOO_LARGE_STRING_SIZE
        321,  # VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
        407,  # DECIMAL_OVERFLOW
        436,  # PROTOBUF_BAD_CAST
        443,  # NO_COLUMNS_SERIALIZED_TO_PROTOBUF_FIELDS
        444,  # UNKNOWN_PROTOBUF_FORMAT
        469,  # VIOLATED_CONSTRAINT, of those that somebody added
    }
)


def insert_failure(message: str) -> StoreError:
    """The error an insert should raise for what the engine said."""
    return Rejected(message) if error_code(message) in _POISON else Unavailable(message)
