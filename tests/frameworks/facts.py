"""What maslens makes of the spans and logs a program sent: through its own store to its own facts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from maslens.analytics.facts import Facts, compute
from maslens.storage import open_store


def facts_of(bodies: Sequence[tuple[str, bytes]], folder: Path) -> Facts:
    """The facts of all requests in `bodies` (path, body), in an empty store in `folder`."""
    store = open_store(f"chdb://{folder}")
    try:
        store.migrate()
        for signal, path in (("traces", "/v1/traces"), ("logs", "/v1/logs")):
            sent = [body for where, body in bodies if where == path]
            if sent:
                store.insert_otlp(signal, sent, token=signal)  # type: ignore[arg-type]
        spans = pl.DataFrame(store.arrow("SELECT * FROM agent_spans"))
        events = pl.DataFrame(store.arrow("SELECT * FROM agent_events"))
    finally:
        store.close()
    return compute(spans, events)


def tokens_per_agent(facts: Facts) -> dict[str, tuple[int, int, int]]:
    """Input, output and cached tokens of each agent, as the model server counts them."""
    totals = facts.llm_calls.group_by("agent").agg(
        pl.col("input_tokens", "output_tokens", "cached_tokens").fill_null(0).sum()
    )
    return {
        row["agent"]: (row["input_tokens"], row["output_tokens"], row["cached_tokens"])
        for row in totals.iter_rows(named=True)
        if row["input_tokens"] or row["output_tokens"]
    }


def edges(facts: Facts) -> list[tuple[str, str, str]]:
    """(source, target, mode) in order of time, between agents."""
    rows = facts.handoffs.sort("at").iter_rows(named=True)
    return [(row["source"], row["target"], row["mode"]) for row in rows]
