"""When the judge is asked: about sessions with suspects that came to rest, the newest first, while the day's tokens
last. Verdicts are kept: a question is paid for once, whichever session it is asked about."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any, cast

import polars as pl
from maslens.analytics import frames, reads
from maslens.analytics.cost import price
from maslens.analytics.facts import steps_of
from maslens.analytics.judge import JudgeConfig, Verdict, digest, estimated_tokens, judge, messages
from maslens.analytics.prices import PriceBook
from maslens.analytics.suspects import LABEL_CONVENTION
from maslens.storage import Store

log = logging.getLogger(__name__)
_AGAIN = timedelta(hours=1)  # after an endpoint did not answer at all
_AT_ONCE = 10  # sessions of one look


class Judging:
    """`step` asks about what there is to judge now; `start` does so in a thread until `stop`."""

    def __init__(
        self, store: Store, config: JudgeConfig, *, prices: PriceBook, idle_s: float, every_s: float = 30.0,
        clock: Callable[[], float] = time.time, sleep: Callable[[float], None] | None = None,
    ) -> None:  # fmt: skip
        self._store = store
        self._config = config
        self._prices = prices
        self._idle_s = idle_s
        self._every_s = every_s
        self._clock = clock
        self._stop = threading.Event()
        self._sleep = sleep or (lambda seconds: cast(None, self._stop.wait(seconds)))
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="maslens-judge", daemon=True)
        self._thread.start()

    def stop(self, *, within_s: float = 10.0) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=within_s)

    def step(self) -> int:
        """How many sessions the judge was asked about."""
        asked = 0
        for session in self._waiting():
            if self._stop.is_set() or not self._one(session):
                break
            asked += 1
        return asked

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.step()
            except Exception as error:  # the loop that keeps a worker alive
                log.warning("the judge could not be asked: %s", error)
            self._stop.wait(self._every_s)

    def _waiting(self) -> list[str]:
        """Failed sessions at rest that have no verdict."""
        rows = self._store.rows(
            """
SELECT session_id FROM sessions
WHERE ended_at < {rested:DateTime64(9, 'UTC')} AND session_id IN (SELECT session_id FROM suspects)
    AND session_id NOT IN (
        SELECT session_id FROM judge_verdicts WHERE status != 'failed' OR judged_at > {again:DateTime64(9, 'UTC')})
ORDER BY ended_at DESC, session_id LIMIT {most:UInt32}""",
            {
                "rested": self._now() - timedelta(seconds=self._idle_s),
                "again": self._now() - _AGAIN,
                "most": _AT_ONCE,
            },
        )
        return [row["session_id"] for row in rows]

    def _one(self, session: str) -> bool:
        """False if the day's tokens do not last for it."""
        found = self._store.arrow(reads.spans_with_contents(reads.TRACES_OF_SESSION), {"session": session})
        steps = steps_of(cast(pl.DataFrame, pl.from_arrow(found))).filter(pl.col("session_id") == session)
        if steps.is_empty():
            return True
        rows = steps.rows(named=True)
        asked = messages(rows)
        question = digest(asked, self._config)
        if (known := self._known(question)) is not None:
            self._write(session, question, known, rows)
            return True
        if self._spent_today() + estimated_tokens(asked, self._config) > self._config.tokens_per_day:
            log.info("the judge has used up the tokens of the day")
            return False
        self._write(session, question, judge(asked, rows, self._config, sleep=self._sleep), rows)
        return True

    def _known(self, question: str) -> Verdict | None:
        """What was answered to the same question before; it costs nothing now."""
        found = self._store.rows(
            "SELECT step, category, confidence, reason FROM judge_verdicts"
            " WHERE digest = {digest:String} AND status = 'ok' LIMIT 1",
            {"digest": question},
        )
        if not found:
            return None
        (row,) = found
        step, sure = int(row["step"]), float(row["confidence"])
        return Verdict(status="ok", step=step, category=row["category"], confidence=sure, reason=row["reason"])

    def _spent_today(self) -> int:
        midnight = self._now().replace(hour=0, minute=0, second=0, microsecond=0)
        (row,) = self._store.rows(
            "SELECT sum(input_tokens + output_tokens) AS spent FROM judge_verdicts"
            " WHERE judged_at >= {midnight:DateTime64(9, 'UTC')}",
            {"midnight": midnight},
        )
        return int(row["spent"] or 0)

    def _write(self, session: str, asked: str, verdict: Verdict, steps: list[dict[str, Any]]) -> None:
        now = self._now()
        blamed = next((step for step in steps if step["step"] == verdict.step), None)
        row = {
            "session_id": session, "digest": asked, "judged_at": now, "evidence": "judge",
            "model": self._config.model, "status": verdict.status, "step": verdict.step,
            **{name: blamed[name] if blamed else "" for name in ("agent", "trace_id", "span_id", "run_id")},
            "confidence": verdict.confidence, "category": verdict.category, "reason": verdict.reason,
            "label_convention": LABEL_CONVENTION, "calls": verdict.calls, "input_tokens": verdict.input_tokens,
            "output_tokens": verdict.output_tokens, **self._cost(verdict, now),
        }  # fmt: skip
        version = int(self._clock() * 1e9)
        made = pl.DataFrame([row], schema=dict(frames.JUDGE_VERDICTS), orient="row").with_columns(
            version=pl.lit(version, dtype=pl.UInt64), is_deleted=pl.lit(0, dtype=pl.UInt8)
        )
        arrow = made.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
        self._store.insert_arrow("fact_judge_verdicts", arrow, token=f"judge:{session}:{asked}:{version}")

    def _cost(self, verdict: Verdict, at: datetime) -> dict[str, Any]:
        used = {
            "model": self._config.model, "provider": "", "at": at, "input_tokens": verdict.input_tokens,
            "output_tokens": verdict.output_tokens, "cached_tokens": None, "cache_write_tokens": None,
            "reasoning_tokens": None,
        }  # fmt: skip
        schema = {name: frames.LLM_CALLS[name] for name in used}
        (priced,) = price(pl.DataFrame([used], schema=schema, orient="row"), self._prices).rows(named=True)
        return {"cost_usd": priced["cost_usd"] if verdict.calls else 0.0, "unpriced_reason": priced["unpriced_reason"]}

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), timezone.utc)
