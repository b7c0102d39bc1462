"""What the page address carries beside the page: who may change something, and what is counted."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import cast

import polars as pl
from anyio import to_thread
from maslens.analytics.api import Ask
from maslens.analytics.metrics import Part
from maslens.analytics.questions.spend import budget_calls
from maslens.analytics.sidecar import Sidecar
from maslens.analytics.spend import budgets_spent, parse_budgets
from maslens.collector_processor import Receiver
from maslens.storage import Store
from maslens.storage.guard import only_reads, parse
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route


def ask(store: Store) -> Ask:
    """Answers a stranger's SQL, if it does nothing but read the tables."""

    def answer(sql: str, params: Mapping[str, object], form: str) -> bytes:
        statement = parse(store, sql)
        only_reads(statement, params)
        return store.query_raw(sql, fmt=statement.form or form, params=params)

    return answer


def admin_routes(sidecar: Sidecar, receiver: Receiver | None = None) -> list[BaseRoute]:
    """What changes something. The header keeps web pages out: no page may send it here unasked."""

    async def retry(request: Request) -> Response:
        if "x-maslens" not in request.headers:
            return PlainTextResponse("the header X-Maslens is missing\n", status_code=403)
        if receiver is None:
            return PlainTextResponse("nothing is received in this process\n", status_code=404)
        names = request.query_params.getlist("name")
        taken, left = await to_thread.run_sync(receiver.loader.retry_dead_letters, names)
        return JSONResponse({"taken": taken, "left": left})

    async def reprocess(request: Request) -> Response:
        if "x-maslens" not in request.headers:
            return PlainTextResponse("the header X-Maslens is missing\n", status_code=403)
        try:
            since = datetime.fromisoformat(request.query_params["since"])
        except (KeyError, ValueError):
            return PlainTextResponse("since must be an ISO 8601 time\n", status_code=400)
        return JSONResponse({"traces": await to_thread.run_sync(sidecar.reprocess, since)})

    return [
        Route("/admin/reprocess", reprocess, methods=["POST"]),
        Route("/admin/deadletter/retry", retry, methods=["POST"]),
    ]


def receiver_parts(receiver: Receiver) -> list[Part]:
    """`maslens_receiver_…`, `maslens_journal_…`, `maslens_loader_…`."""
    return [
        Part(prefix="maslens_receiver", snapshot=lambda: _receiver(receiver), help=_RECEIVER_HELP),
        Part(prefix="maslens_journal", snapshot=lambda: _journal(receiver), help=_JOURNAL_HELP),
        Part(prefix="maslens_loader", snapshot=lambda: _loader(receiver), help=_LOADER_HELP),
    ]


def sidecar_parts(sidecar: Sidecar) -> list[Part]:
    """`maslens_sidecar_…`."""
    return [Part(prefix="maslens_sidecar", snapshot=lambda: sidecar.status)]


def budgets_part(store: Store, budgets: str, *, every_s: float = 30.0) -> Part:
    """`maslens_budget_…`, each budget by its own words; asked of the store at most once in `every_s`."""
    wanted = parse_budgets(budgets)
    known: list[tuple[float, dict[str, object]]] = []

    def snapshot() -> Mapping[str, object]:
        if not known or time.monotonic() - known[0][0] > every_s:
            now = datetime.now(timezone.utc)
            read = budget_calls(wanted, now)
            calls = cast(pl.DataFrame, pl.from_arrow(store.arrow(read.sql, read.params)))
            rows = budgets_spent(wanted, calls, now).to_dicts()
            told = {name: {row["budget"]: float(row[column]) for row in rows} for name, column in _BUDGET.items()}
            known[:] = [(time.monotonic(), cast(dict[str, object], told))]
        return known[0][1]

    return Part(prefix="maslens_budget", snapshot=snapshot, help=_BUDGET_HELP)


_BUDGET = {
    "limit_usd": "limit_usd",
    "spent_usd": "spent_usd",
    "used_ratio": "used",
    "burn_rate_1h": "burn_1h",
    "burn_rate_6h": "burn_6h",
}
_BUDGET_HELP = {
    "limit_usd": "US dollars that may be spent in one period of the budget.",
    "spent_usd": "US dollars spent since the period began.",
    "used_ratio": "Share of the limit that is spent.",
    "burn_rate_1h": "How fast money went in the last hour; 1 spends exactly the limit in one period.",
    "burn_rate_6h": "How fast money went in the last six hours; 1 spends exactly the limit in one period.",
}


def _receiver(receiver: Receiver) -> dict[str, object]:
    stats = receiver.metrics()
    return {
        "requests_total": stats.intake.requests,
        "items_total": stats.intake.items,
        "bytes_total": stats.intake.bytes,
        "refused_requests_total": stats.intake.refused,
        "rejected_items_total": stats.intake.rejected,
        "mended_requests_total": stats.intake.mended,
        "refusing": int(bool(stats.refusing)),
        "front_ends": stats.front_ends,
        "front_end_restarts_total": stats.front_end_restarts,
    }


_RECEIVER_HELP = {
    "requests_total": "Requests acknowledged, by signal.",
    "items_total": "Spans and log records acknowledged, by signal.",
    "bytes_total": "Bytes of protobuf acknowledged.",
    "refused_requests_total": "Requests refused, by reason.",
    "rejected_items_total": "Spans and log records left out of a partial success, by reason.",
    "mended_requests_total": "Requests that needed mending (nested values, text that is no UTF-8).",
    "refusing": "1 while nothing is taken, because the journal or its disk is full.",
    "front_ends": "Front-end processes that serve just now; 0 where this process serves.",
    "front_end_restarts_total": "Front ends that died and were started again.",
}


def _journal(receiver: Receiver) -> dict[str, object]:
    stats = receiver.metrics()
    journal = stats.journal
    return {
        "appended_records_total": journal.appended_records,
        "appended_bytes_total": journal.appended_bytes,
        "outstanding_cuts": journal.outstanding_cuts,
        "quarantined_bytes": journal.quarantined_bytes,
        "torn_bytes": journal.torn_bytes,
        "syncs_total": journal.syncs,
        "sync_seconds_total": journal.sync_seconds,
        "write_errors_total": journal.write_errors,
        "disk_bytes": journal.disk_bytes,
        "queued_bytes": journal.queued_bytes,
        "segments": journal.segments,
        "quarantined_records": journal.quarantined_records,
        "missing_records": journal.missing_records,
        "lag_items": stats.lag_items,
        "lag_bytes": stats.lag_bytes,
        "lag_seconds": stats.lag_seconds,
    }


_JOURNAL_HELP = {
    "lag_items": "Acknowledged spans and log records that are not in the store yet, by signal.",
    "lag_bytes": "Acknowledged bytes that are not in the store yet, by signal.",
    "lag_seconds": "Age of the oldest acknowledged request that is not in the store yet.",
    "quarantined_records": "Damaged records found at open; their bytes are kept.",
    "missing_records": "Records that were acknowledged once and are gone from the disk.",
}


def _loader(receiver: Receiver) -> dict[str, object]:
    stats = receiver.metrics()
    loader = stats.loader
    return {
        "loaded_records_total": loader.loaded_records,
        "loaded_items_total": loader.loaded_items,
        "loaded_bytes_total": loader.loaded_bytes,
        "inserts_total": loader.inserts,
        "insert_seconds_total": loader.insert_seconds,
        "inserts_within_seconds_total": {
            f"{bound:g}": number for bound, number in loader.insert_seconds_buckets.items()
        },
        "retries_total": loader.retries,
        "rejected_batches_total": loader.rejected_batches,
        "dead_letters_total": loader.dead_letters,
        "dead_letters_dropped_total": loader.dead_letters_dropped,
        "dead_letter_items_total": loader.dead_letter_items,
        "dead_letters_expired_total": stats.dead_letters_expired,
        "lost_batches_total": loader.lost_batches,
        "parked_requests": loader.parked,
        "failing_since_timestamp_seconds": loader.failing_since_ns / 1e9,
        "dead_letter_files": stats.dead_letters,
        "dead_letter_bytes": stats.dead_letter_bytes,
    }


_LOADER_HELP = {
    "loaded_items_total": "Spans and log records inserted, by signal.",
    "inserts_within_seconds_total": "Inserts that took no longer than so many seconds.",
    "dead_letter_items_total": "Spans and log records in the requests put aside.",
    "dead_letters_expired_total": "Dead letters removed because of their age.",
    "lost_batches_total": "Batches of which the disk gave nothing back.",
    "parked_requests": "Requests that fail again and again without being refused: tried once a minute.",
    "failing_since_timestamp_seconds": "Since when the batch is failing that is tried now; 0 while all is well.",
    "retries_total": "Inserts that were tried again, under the same token.",
    "dead_letters_total": "Requests the store refused for good, put aside.",
    "dead_letters_dropped_total": "Requests refused for good while the dead-letter folder was at its limit.",
}
