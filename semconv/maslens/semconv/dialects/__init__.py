"""Dialects: how the attributes of other conventions become the columns of `agent_spans`.

`columns` says what comes out, `dialect_table` is the data generated from `semconv/dialects/*.yaml`, `sql` compiles it
to one ClickHouse SELECT and `python` applies the same rules to one span, for tests and rarities.
"""
