"""Budgets on /metrics: what was really spent, in the words of the setting."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import polars as pl
from maslens.analytics import frames
from maslens.analytics.metrics import Exposition
from maslens.cli.web import budgets_part
from maslens.storage import open_store
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Exemplar


class Nothing:
    def shown(self) -> dict[str, float]:
        return {}

    def exemplars(self) -> dict[str, Exemplar]:
        return {}


def test_what_is_spent_is_on_metrics(tmp_path: Path) -> None:
    store = open_store(f"chdb://{tmp_path / 'data'}")
    try:
        store.migrate()
        now = datetime.now(timezone.utc)
        calls = pl.DataFrame(
            {
                "session_id": ["s"] * 2, "trace_id": ["t"] * 2, "span_id": ["a", "b"], "agent": ["billing", "triage"],
                "at": [now - timedelta(seconds=1), now - timedelta(days=40)], "cost_usd": [2.5, 99.0],
                "version": [1, 1], "is_deleted": [0, 0],
            }
        ).with_columns(pl.col("at").cast(frames.TIME))  # fmt: skip
        store.insert_arrow("fact_llm_calls", calls.to_arrow(compat_level=pl.CompatLevel.oldest()), token="calls")
        part = budgets_part(store, "agent billing 10/month; 1/hour")
        text = Exposition(Nothing(), [part], process=False).render()[0].decode()
    finally:
        store.close()
    found = {
        (sample.name, sample.labels["kind"]): sample.value
        for family in text_string_to_metric_families(text)
        if family.name.startswith("maslens_budget")
        for sample in family.samples
    }
    assert found["maslens_budget_limit_usd", "agent billing 10/month"] == 10
    assert found["maslens_budget_used_ratio", "agent billing 10/month"] in (0.25, 0)  # 0 in a month's first second
    assert found["maslens_budget_burn_rate_1h", "1/hour"] == 2.5
