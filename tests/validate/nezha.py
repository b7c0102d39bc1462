"""Services of OnlineBoutique with injected faults: each service is an agent, each span a run."""

from __future__ import annotations

import io
import json
import lzma
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
from maslens.analytics.changes import changed_agents, endings, own_time
from maslens.analytics.surprise import THRESHOLD, surprise

from tests.validate.nab import SURPRISE
from tests.validate.rows import Number, Row, Validation, row, share

CHANGED = Number(
    name="bottlenecks: which agent changed",
    definition="Agents ranked by how far any signal of their own left its usual range in a window.",
    formula="""the largest of the agent's z. Times and loads: (mean log in the window − median of the reference's
    buckets) / ((99th percentile − median) / 2.326 + 5 %). Rates: (share − reference share) / (binomial error + 3
    points). What a caller waits longer for everybody it calls counts for the caller. Signals: own time per kind of run,
    waiting between call and answer, work that ended right after the agent, CPU.""",
    source="`agent_runs`, `handoffs`, and whatever resource metrics the agents' hosts have",
    distrust="""Without a reference that was mostly healthy; with fewer than 8 reference buckets; when the trouble shows
    in none of the signals (a swallowed exception). Measured on microservices: the same arithmetic, other noise than
    agents have.""",
    tried="""the quartile spread as unit (AS@1 85.7; 95th percentile 89.3), adding total latencies (51.8: they blame
    callers). The misses are exceptions and early returns on paths that no span of the window took; Nezha also reads
    logs.""",
)


@dataclass(frozen=True, slots=True)
class Fault:
    day: str
    at: int  # seconds
    service: str
    kind: str


def faults(folder: Path) -> list[Fault]:
    """Times from `inject_time`: the stamps are a minute off in some rows."""
    found = []
    for path in sorted(folder.glob("*.fault_list.json")):
        for listed in json.loads(path.read_text()).values():
            for one in listed:
                at = datetime.strptime(one["inject_time"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)
                service = one["inject_pod"].rsplit("-", 2)[0]
                found.append(Fault(path.name.split(".")[0], int(at.timestamp()), service, one["inject_type"]))
    return found


@cache
def spans(folder: Path) -> pl.DataFrame:
    """Every span as a run: `day, run_id, parent_run_id, agent, name, started_at, ended_at, second`."""
    days = []
    for path in sorted(folder.glob("*.traces.csv.xz")):
        with lzma.open(path) as file:
            table = pl.read_csv(io.BytesIO(file.read()))
        days.append(table.with_columns(day=pl.lit(path.name.split(".")[0])))
    start = pl.col("StartTimeUnixNano")
    return (
        pl.concat(days)
        .unique("SpanID", keep="first", maintain_order=True)
        .select(
            "day",
            run_id="SpanID",
            parent_run_id="ParentID",
            agent=pl.col("PodName").str.replace(r"-[^-]+-[^-]+$", ""),
            name="OperationName",
            started_at=start.cast(pl.Datetime("ns", "UTC")),
            ended_at=(start + pl.col("Duration") * 1000).cast(pl.Datetime("ns", "UTC")),
            second=start // 1_000_000_000,
        )
    )


@cache
def metrics(folder: Path) -> pl.DataFrame:
    """Minute values of every pod and call edge: `day, second, agent, signal, value`."""
    found = []
    for path in sorted(folder.glob("*.metrics.tar.xz")):
        day = path.name.split(".")[0]
        with tarfile.open(path) as archive:
            tables = {
                member.name: pl.read_csv(io.BytesIO(file.read()), infer_schema_length=None)
                for member in archive.getmembers()
                if member.name.endswith(".csv") and (file := archive.extractfile(member)) is not None
            }
        found += [_pod(day, name, table) for name, table in tables.items() if name.endswith("_metric.csv")]
        found.append(_edges(day, tables))
    return pl.concat(found)


def _pod(day: str, name: str, table: pl.DataFrame) -> pl.DataFrame:
    service = Path(name).name.removesuffix("_metric.csv").rsplit("-", 2)[0]
    values = [name for name in table.columns if name not in ("Time", "TimeStamp", "PodName")]
    return (
        table.select(
            second=pl.col("TimeStamp").cast(pl.Int64),
            **{name: pl.col(name).cast(pl.Float64, strict=False) for name in values},
        )
        .unpivot(index="second", variable_name="signal", value_name="value")
        .select(
            pl.lit(day).alias("day"),
            "second",
            pl.lit(service).alias("agent"),
            pl.lit("").alias("caller"),
            "signal",
            "value",
        )
    )


def _edges(day: str, tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """What the caller waited for beyond what the callee took, in seconds; it belongs to the callee."""
    named = {Path(name).name: table for name, table in tables.items()}
    if not {"source_50.csv", "destination_50.csv"} <= set(named):
        return pl.DataFrame(
            schema={
                "day": pl.String,
                "second": pl.Int64,
                "agent": pl.String,
                "caller": pl.String,
                "signal": pl.String,
                "value": pl.Float64,
            }
        )
    seen, took = (
        named[name].unpivot(index=["time", "timestamp"], variable_name="signal", value_name="value").with_columns(
            minute=pl.int_range(pl.len()).over("signal"), value=pl.col("value").cast(pl.Float64, strict=False)
        )
        for name in ("source_50.csv", "destination_50.csv")
    )  # fmt: skip
    return seen.join(took.select("signal", "minute", took="value"), on=["signal", "minute"]).select(
        day=pl.lit(day),
        second=pl.col("timestamp").cast(pl.Int64),
        agent=pl.col("signal").str.split("_").list.last(),
        caller=pl.col("signal").str.split("_").list.first(),
        signal=pl.lit("wait"),
        value=(pl.col("value") - pl.col("took")).clip(lower_bound=0) + 0.001,
    )


def signals(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(measures, endings) of all days, each with `day, second, agent, signal`."""
    runs = own_time(spans(folder))
    caller = runs.select(parent_run_id="run_id", caller="agent", seen=_length())
    called = (
        runs.join(caller, on="parent_run_id")
        .filter(pl.col("caller") != pl.col("agent"))
        .with_columns(waited=(pl.col("seen") - _length()).clip(lower_bound=0) / 1e9 + 1e-3)
    )
    # a call to another service is a span of the caller with one of the callee inside: what is its own is the wait
    answered = called.group_by(run_id="parent_run_id").agg(callee=pl.col("agent").first())
    nobody = pl.lit("").alias("caller")
    at = ("day", "second")
    measures = (
        runs.join(answered, on="run_id", how="anti").select(
            *at, "agent", nobody, signal=pl.lit("own ") + pl.col("name"), value=pl.col("own_ns") / 1e9 + 1e-4
        ),
        called.select(*at, "agent", "caller", signal=pl.lit("wait ") + pl.col("name"), value="waited"),
        metrics(folder).filter(pl.col("signal").is_in(["wait", "CpuUsageRate(%)"])),
    )
    named = runs.join(answered, on="run_id", how="left").with_columns(agent=pl.coalesce("callee", "agent"))
    ended = endings(named).join(runs.select("run_id", *at), on="run_id")
    return pl.concat([measure.select(*at, "agent", "caller", "signal", "value") for measure in measures]), ended


def _length() -> pl.Expr:
    return (pl.col("ended_at") - pl.col("started_at")).dt.total_nanoseconds()


def culprits(measures: pl.DataFrame, ended: pl.DataFrame, fault: Fault) -> list[str]:
    """Services, the most changed first: three minutes from the fault against everything but the nine around it."""
    after = pl.col("second") - fault.at
    same = pl.col("day") == fault.day
    windowed = [
        frame.with_columns(current=same & after.is_between(0, 185))
        .filter(pl.col("current") | ~(same & after.is_between(-30, 540)))
        for frame in (measures, ended)
    ]  # fmt: skip
    bucketed = windowed[0].with_columns(bucket=pl.col("second") // 60)
    return changed_agents(bucketed, _ending_rates(windowed[1]))["agent"].to_list()


def _ending_rates(ended: pl.DataFrame) -> pl.DataFrame:
    kinds = ["name", "last_agent", "last_name"]
    trials = ended.group_by("name", "current").agg(trials=pl.len().cast(pl.Int64))
    hits = ended.group_by(*kinds, "current").agg(hits=pl.len().cast(pl.Int64))
    return (
        ended.select(kinds).unique(maintain_order=True)
        .join(trials, on="name")
        .join(hits, on=[*kinds, "current"], how="left")
        .select(
            "current", "trials", agent="last_agent", hits=pl.col("hits").fill_null(0),
            signal=pl.lit("ends ") + pl.col("name") + " after " + pl.col("last_name"),
        )
    )  # fmt: skip


def changed(folder: Path) -> Iterator[Row]:
    measures, ended = signals(folder)
    listed = faults(folder)
    ranked = [culprits(measures, ended, fault) for fault in listed]
    for first, what, bar in ((1, "", 42.9), (3, "", 55.4), (5, "", 71.4), (1, " against Nezha itself", 92.9)):
        hits = [fault.service in names[:first] for fault, names in zip(listed, ranked, strict=True)]
        yield share(CHANGED, "nezha", f"AS@{first}{what}", hits, ("above", bar))
    for kind in sorted({fault.kind for fault in listed}):
        mine = [f.service in names[:1] for f, names in zip(listed, ranked, strict=True) if f.kind == kind]
        yield share(CHANGED, "nezha", f"AS@1, {kind}", mine)


def degraded(folder: Path) -> Iterator[Row]:
    """Alarms on the CPU of every pod and the waiting on every call edge, within five minutes of a fault."""
    alarms = _alarms(folder)
    listed = faults(folder)
    near = [alarms.filter((pl.col("day") == f.day) & (pl.col("second") - f.at).is_between(1, 300)) for f in listed]
    bar = 26 if len(listed) == 56 else round(26 / 56 * len(listed))
    seen = [found.height > 0 for found in near]
    yield row(SURPRISE, "nezha", f"faults with an alarm within 5 min, of {len(seen)}", sum(seen), bar=("above", bar))
    right = sum(fault.service in found["agent"] for fault, found in zip(listed, near, strict=True))
    yield row(SURPRISE, "nezha", f"with an alarm on the right service, of {len(seen)}", right, bar=("above", bar))
    delays = [float(found["second"].min()) - f.at for f, found in zip(listed, near, strict=True) if found.height]  # type: ignore[arg-type]
    yield row(SURPRISE, "nezha", "median delay, s", float(np.median(delays)))
    for day in sorted({fault.day for fault in listed}):
        calm = pl.col("second") > max(fault.at for fault in listed if fault.day == day) + 900
        minutes = metrics(folder).filter((pl.col("day") == day) & calm)
        watched = minutes.group_by("agent", "caller", "signal").len()["len"].max()
        rung = alarms.filter((pl.col("day") == day) & calm).select((pl.col("second") // 60).n_unique()).item()
        yield row(
            SURPRISE,
            "nezha",
            f"alarm minutes a fault-free day, {day}",
            rung / int(watched or 1) * 1440,
            bar=("at most", 50),
        )  # type: ignore[call-overload]


def _alarms(folder: Path) -> pl.DataFrame:
    own = pl.col("signal").is_in(["CpuUsageRate(%)", "wait"]) & pl.col("value").is_finite()
    series = (
        metrics(folder).filter(own).sort("second").group_by("day", "agent", "caller", "signal", maintain_order=True)
    )
    rung = [
        table.filter(
            pl.Series(surprise(table["value"].to_numpy(), side="higher", sustained=5, warm_up=20) >= THRESHOLD)
        )
        for _, table in series
    ]
    return pl.concat(rung)


VALIDATIONS = (
    Validation(number=CHANGED, data="nezha", run=changed),
    Validation(number=SURPRISE, data="nezha", run=degraded),
)
