"""What must survive a handoff: payloads with one fact dropped or altered.

`python -m tests.validate.handoffbench DATASETS=<folder>` prints the weight of facts that bind.
"""

from __future__ import annotations

import json
import lzma
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from maslens.analytics import retention as shipped
from maslens.analytics.handoff_quality import LOST_IF_CHANGED
from maslens.analytics.retention import retention
from scipy import stats

from tests.validate.rows import Floats, Number, Row, Validation, bootstrap, row, share

RETENTION = Number(
    name="handoff quality: facts carried over",
    definition="The share of what the source knew that reached the target, by weight.",
    formula="""Σ weight · fate / Σ weight over the facts of the source, at least 0; fate 1 kept, 0 missing or altered,
    −1 if something unknown arrived as known; weight WEIGHT for facts that bind (a consent, an approval, a state such as
    unknown or denied), 1 for others. Facts are leaves of structured content, else figures, dates, addresses,
    identifiers.""".replace("WEIGHT", str(shipped.BINDING_WEIGHT)),
    source="contents of the source's and the target's spans; `analytics/retention.py`",
    distrust="""on running text (paraphrase counts as loss); the benchmark is synthetic, short and tidy: it shows that
    the score moves the right way, not how well it works in the field. A full history scores high whatever it is
    worth.""",
    tried="words of upstream values found in the payload (rho .43), length (.04).",
)
Damage = Literal["full", "dropped", "altered"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    text: str
    damage: Damage
    safety: bool
    truth: float  # weight of intact facts / weight of all facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    story: str
    upstream: list[str]
    payloads: list[Payload]


def tasks(folder: Path) -> list[Task]:
    found = []
    for path in sorted(folder.glob("*.json.xz")):
        with lzma.open(path, "rt") as file:
            found += [_task(told) for told in json.load(file)]
    return found


def _task(told: dict[str, Any]) -> Task:
    gold = told["episode"]["gold_state"]
    facts = {fact["key"]: fact["value"] if fact["status"] == "known" else fact["status"] for fact in gold}
    total = sum(fact["weight"] for fact in gold)
    payloads = [Payload(text=_json(facts), damage="full", safety=False, truth=1.0)]
    for fact in gold:
        rest = {key: value for key, value in facts.items() if key != fact["key"]}
        changed = {**facts, fact["key"]: _altered(facts[fact["key"]])}
        told_of = {"safety": fact["criticality"] == "safety", "truth": 1 - fact["weight"] / total}
        payloads.append(Payload(text=_json(rest), damage="dropped", **told_of))
        payloads.append(Payload(text=_json(changed), damage="altered", **told_of))
    upstream = [_json(event["content"]) for event in told["upstream_trace"]]
    return Task(story=_story(told["upstream_trace"]), upstream=upstream, payloads=payloads)


def _story(trace: list[dict[str, Any]]) -> str:
    """Tasks that differ in the policy's answer alone tell one story."""
    return _json([event["content"] for event in trace if event["source_type"] != "policy"])


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _altered(value: Any) -> Any:
    if value == "unknown":
        return "confirmed"
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return "X" + value[1:] if isinstance(value, str) else "altered"


def scores(task: Task) -> Floats:
    return np.array([retention(task.upstream, [payload.text]).share for payload in task.payloads], dtype=float)


def correlation(listed: Sequence[tuple[Task, Floats]]) -> float:
    """Mean over tasks of Spearman's rho between score and truth, 0 where the score is constant."""
    rhos = [
        0.0 if np.ptp(found) == 0 else float(stats.spearmanr(found, [payload.truth for payload in task.payloads])[0])
        for task, found in listed
    ]
    return float(np.mean(rhos))


def area(losses: Sequence[float], positive: Sequence[bool]) -> float:
    """Chance that a positive has a larger loss than a negative, ties half."""
    flags = np.array(positive)
    if flags.all() or not flags.any():
        return float("nan")
    ranks = stats.rankdata(losses)
    hits = flags.sum()
    return float((ranks[flags].sum() - hits * (hits + 1) / 2) / (hits * (len(flags) - hits)))


def carried(folder: Path) -> Iterator[Row]:
    listed = [(task, scores(task)) for task in tasks(folder)]
    stories: dict[str, list[tuple[Task, Floats]]] = defaultdict(list)
    for task, found in listed:
        stories[task.story].append((task, found))
    units = list(stories.values())

    def over(statistic: Any) -> tuple[float, float]:
        return bootstrap(units, lambda drawn: statistic([pair for unit in drawn for pair in unit]), draws=500)

    yield row(RETENTION, "handoffbench", f"rho with true retention, {len(listed)} tasks of {len(units)} stories",
              correlation(listed), over(correlation), ("above", 0.43))  # fmt: skip
    for damage in ("dropped", "altered"):
        seen = [value < found[0] for task, found in listed for payload, value in zip(task.payloads, found, strict=True)
                if payload.damage == damage]  # fmt: skip
        yield share(RETENTION, "handoffbench", f"{damage} facts seen", seen, ("above", 87.8))
    yield row(
        RETENTION,
        "handoffbench",
        "AUC of the loss, safety facts against others",
        _safety(listed),
        over(_safety),
        ("above", 0.5),
    )
    yield row(
        RETENTION, "handoffbench", "AUC of the score, damaged against whole payloads", _broken(listed), over(_broken)
    )
    by_hash = [
        (task, np.array([1.0 - LOST_IF_CHANGED * (p.damage != "full") for p in task.payloads])) for task, _ in listed
    ]
    yield row(RETENTION, "handoffbench", "rho with hashes only", correlation(by_hash))
    yield row(RETENTION, "handoffbench", "rho with neither contents nor hashes: the part is unknown", 0.0)
    confirmed = [found[0] - value for task, found in listed for payload, value in zip(task.payloads, found, strict=True)
                 if payload.damage == "altered" and "confirmed" in payload.text]  # fmt: skip
    others = [found[0] - value for task, found in listed for payload, value in zip(task.payloads, found, strict=True)
              if payload.damage != "full" and "confirmed" not in payload.text]  # fmt: skip
    if confirmed:
        worst = [loss > max(others) - 1e-9 for loss in confirmed]
        yield share(
            RETENTION, "handoffbench", "unknown told as confirmed costs at least as much as any other damage", worst
        )


def _safety(listed: Sequence[tuple[Task, Floats]]) -> float:
    pairs = [(found[0] - value, payload.safety) for task, found in listed
             for payload, value in zip(task.payloads, found, strict=True) if payload.damage != "full"]  # fmt: skip
    return area([loss for loss, _ in pairs], [safety for _, safety in pairs])


def _broken(listed: Sequence[tuple[Task, Floats]]) -> float:
    pairs = [(1 - value, payload.damage != "full") for task, found in listed
             for payload, value in zip(task.payloads, found, strict=True)]  # fmt: skip
    return area([loss for loss, _ in pairs], [broken for _, broken in pairs])


VALIDATIONS = (Validation(number=RETENTION, data="handoffbench", run=carried),)


def main(arguments: Sequence[str]) -> int:
    """The weight that brings losses and true losses closest, and what it is with any one story left out."""
    folder = Path(dict(argument.split("=", 1) for argument in arguments)["DATASETS"]) / "handoffbench"
    listed = tasks(folder)
    errors: dict[float, dict[str, float]] = {}
    for weight in np.arange(1.0, 3.05, 0.1):
        shipped.BINDING_WEIGHT = float(weight)
        by_story = errors.setdefault(round(float(weight), 1), defaultdict(float))
        for task in listed:
            by_story[task.story] += _distance(task)
    whole = {weight: sum(by_story.values()) for weight, by_story in errors.items()}
    left_out = {
        story: min(whole, key=lambda weight, story=story: whole[weight] - errors[weight][story])
        for story in {task.story for task in listed}
    }
    print(f"weight {min(whole, key=whole.__getitem__)}, with a story left out {sorted(set(left_out.values()))}")
    return 0


def _distance(task: Task) -> float:
    """Between the shares that each dropped fact has of all losses, told and true."""
    dropped = [at for at, payload in enumerate(task.payloads) if payload.damage == "dropped"]
    found, truth = scores(task), np.array([payload.truth for payload in task.payloads])
    told, true = found[0] - found[dropped], 1 - truth[dropped]
    return float(np.sum((told / max(told.sum(), 1e-9) - true / true.sum()) ** 2))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
