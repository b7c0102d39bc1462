"""Which agent got worse, in what, since when: what the watch has seen."""

from __future__ import annotations

from collections.abc import Mapping

from maslens.analytics import reads
from maslens.analytics.degradation import DEGRADATION
from maslens.analytics.questions.question import Ask, Asked, Evidence, Question, Row
from maslens.analytics.reads import Read

_SHOWN = (
    "agent version metric verdict alarm direction effect effect_low effect_high q_value onset_at n_ref n_now against "
    "reference"
)
_RUNS = "(SELECT agent, agent_version, session_id, run_id, ended_at AS at, {} AS value FROM agent_runs)"
_VALUES: Mapping[str, str] = {
    "duration_ms": _RUNS.format("duration_ns / 1e6"),
    "error_rate": _RUNS.format("toFloat64(status = 'error')"),
    "tokens": _RUNS.format("if(llm_calls = 0, NULL, toFloat64(input_tokens + output_tokens))"),
    "cost_usd": _RUNS.format("if(llm_calls = 0, NULL, cost_usd)"),
    "success": """
(SELECT r.agent AS agent, r.agent_version AS agent_version, r.session_id AS session_id, r.run_id AS run_id,
    s.ended_at AS at, toFloat64(s.outcome = 'success') AS value
FROM (SELECT agent, agent_version, session_id, any(run_id) AS run_id FROM agent_runs GROUP BY 1, 2, 3) AS r
INNER JOIN (SELECT * FROM sessions WHERE outcome IN ('success', 'failure', 'partial')) AS s
ON s.session_id = r.session_id)""",
    "handoff_quality": """
(SELECT r.agent AS agent, r.agent_version AS agent_version, q.session_id AS session_id, q.source_run_id AS run_id,
    q.at AS at, q.score AS value
FROM handoff_quality AS q
INNER JOIN agent_runs AS r ON r.session_id = q.session_id AND r.run_id = q.source_run_id)""",
}
_EVALUATIONS = """
(SELECT r.agent AS agent, r.agent_version AS agent_version, e.session_id AS session_id, e.run_id AS run_id, e.at AS at,
    e.score AS value
FROM (SELECT * FROM evaluations WHERE concat('evaluation:', name) = {metric:String}) AS e
INNER JOIN (SELECT agent, session_id, anyLast(agent_version) AS agent_version FROM agent_runs GROUP BY 1, 2) AS r
ON r.session_id = e.session_id AND r.agent = e.agent)"""
BUCKETS = 20
LATEST = 5


def _read(asked: Asked) -> Read:
    """What is so now, or all that ever was an alarm."""
    filters = asked.filters
    tests: list[str] = []
    params: dict[str, object] = {}
    if asked.options.get("show", "now") == "history":
        tests.append("isNotNull(alarm_at)")
    else:
        tests.append("NOT closed")
    for name, value in (("agent", filters.agent), ("agent_version", filters.version)):
        if value is not None:
            tests.append(f"{name} = {{{name}:String}}")
            params[name] = value
    for sign, name, at in ((">=", "since", filters.since), ("<", "until", filters.until)):
        if at is not None:
            tests.append(f"last_at {sign} {{{name}:DateTime64(9, 'UTC')}}")
            params[name] = at
    columns = ", ".join("agent_version AS version" if name == "version" else name for name in DEGRADATION)
    return Read(
        sql=f"""
SELECT {columns} FROM degradations WHERE {" AND ".join(tests)}
ORDER BY alarm DESC, q_value NULLS LAST, alarm_at DESC NULLS LAST, agent, version, metric, against, epoch
{reads.paged(filters)}""",
        params=params,
    )


def _explain(row: Row, ask: Ask, _: Asked) -> list[Evidence]:
    """The values in order of time, twenty parts of them, the newest calls, and earlier alarms of the series."""
    history = Read(
        sql="""
SELECT epoch, reference, verdict, alarm, effect, p_value, q_value, onset_at, alarm_at, recovered_at, n_ref, n_now,
    closed
FROM degradations
WHERE agent = {agent:String} AND agent_version = {version:String} AND metric = {metric:String}
    AND against = {against:String} ORDER BY epoch""",
        params={name: row[name] for name in ("agent", "version", "metric", "against")},
    )
    found = [Evidence(title="epochs of the series", rows=ask(history)[0])]
    values = _VALUES.get(str(row["metric"]), _EVALUATIONS)
    if row["reference_from"] is None:
        return found
    versions = [row["version"], *([row["reference"]] if row["against"] == "version" else [])]
    params: dict[str, object] = {name: row[name] for name in ("agent", "metric")}
    params |= {"versions": versions, "first": row["reference_from"], "last": row["last_at"]}
    where = """
WHERE agent = {agent:String} AND agent_version IN {versions:Array(String)} AND isNotNull(value)
    AND at >= {first:DateTime64(9, 'UTC')} AND at <= addMicroseconds({last:DateTime64(9, 'UTC')}, 1)"""
    parts = Read(
        sql=f"""
SELECT min(at) AS from_at, max(at) AS to_at, any(agent_version) AS version, count() AS n, round(avg(value), 6) AS mean,
    round(quantileExactInclusive(0.5)(value), 6) AS median
FROM
(
    SELECT at, value, agent_version,
        intDiv((row_number() OVER (ORDER BY at) - 1) * {BUCKETS:d}, count() OVER ()) AS part
    FROM {values} {where}
)
GROUP BY part ORDER BY part""",
        params=params,
    )
    newest = Read(
        sql=f"""
SELECT at, value, session_id, run_id FROM {values} {where} ORDER BY at DESC LIMIT {LATEST:d}""",
        params=params,
    )
    titles = ("values over time", "newest values")
    return found + [Evidence(title=title, rows=rows) for title, rows in zip(titles, ask(parts, newest), strict=True)]


QUESTIONS: Mapping[str, Question] = {
    "degradations": Question(
        name="degradations",
        title="Degradations",
        schema=DEGRADATION,
        shown=_SHOWN.split(),
        read=_read,
        explain=_explain,
        definition="Each version is held against the one before it, and its newer calls against its older ones, by a "
        "betting martingale: an unchanged agent ever looks worse in at most 5 % of series, however often one looks; "
        "q_value corrects for their number. effect is the difference of rates, or the share of pairs in which the new "
        "call is higher minus the share in which it is lower. Fewer than 20 calls before or 5 after are too_few.",
    )
}
