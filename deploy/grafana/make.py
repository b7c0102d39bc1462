"""Writes `dashboards/*.json`: what a panel shows is said here once, where it sits follows from the order.

python deploy/grafana/make.py [--check]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "dashboards"
PROMETHEUS = {"type": "prometheus", "uid": "${metrics}"}
CLICKHOUSE = {"type": "grafana-clickhouse-datasource", "uid": "${facts}"}
Panel = dict[str, Any]


# --- what the dashboards show ----------------------------------------------------------------------------------------

A = 'agent=~"$agent"'


def agents() -> dict[str, Any]:
    """From /metrics alone."""
    errors = f"sum by (agent) (rate(maslens_agent_runs_total{{{A}, status='error'}}[$__rate_interval]))"
    runs = f"sum by (agent) (rate(maslens_agent_runs_total{{{A}}}[$__rate_interval]))"
    tools = f"sum by (tool, status) (rate(maslens_agent_tool_calls_total{{{A}}}[$__rate_interval]))"
    cached = f"sum by (agent) (rate(maslens_agent_cached_tokens_total{{{A}}}[$__rate_interval]))"
    taken_in = f"sum by (agent) (rate(maslens_agent_tokens_total{{{A}, type='input'}}[$__rate_interval]))"
    led = "sum by (client, server) (rate(maslens_service_graph_request_total[$__rate_interval]))"
    led_to_failure = "sum by (client, server) (rate(maslens_service_graph_request_failed_total[$__rate_interval]))"
    led_le = "sum by (client, server, le) (rate(maslens_service_graph_request_server_seconds_bucket[$__rate_interval]))"
    between = "{{source}} → {{target}}"
    served = "{{client}} → {{server}}"
    duration = f"sum by (agent, le) (rate(maslens_agent_run_duration_seconds_bucket{{{A}}}[$__rate_interval]))"
    hour = "[1h]"
    ringing = "(maslens_degradation == 1)"
    return dashboard(
        "maslens-agents",
        "Agents",
        [
            row("Now"),
            stat("Agent runs / min", "sum(rate(maslens_agent_runs_total[5m])) * 60", "short"),
            stat(
                "Runs that fail",
                "sum(rate(maslens_agent_runs_total{status='error'}[15m])) / sum(rate(maslens_agent_runs_total[15m]))",
                "percentunit",
                steps=[(None, "green"), (0.05, "orange"), (0.15, "red")],
            ),
            stat("Handoffs / min", "sum(rate(maslens_handoffs_total[5m])) * 60", "short"),
            stat("Cost, last hour", f"sum(increase(maslens_agent_cost_usd_total{hour}))", "currencyUSD"),
            stat("Tokens, last hour", f"sum(increase(maslens_agent_tokens_total{hour}))", "short"),
            stat(
                "Calls without a price, last hour",
                f"sum(increase(maslens_agent_unpriced_calls_total{hour}))",
                "short",
                steps=[(None, "green"), (1, "orange")],
            ),
            row("Work"),
            lines("Runs by agent", [(runs, "{{agent}}")], "reqps"),
            lines("Share of runs that fail", [(f"{errors} / ({runs} > 0)", "{{agent}}")], "percentunit"),
            lines("p50 of a run", [(f"histogram_quantile(0.5, {duration})", "{{agent}}")], "s"),
            lines("p95 of a run", [(f"histogram_quantile(0.95, {duration})", "{{agent}}")], "s", exemplars=True),
            lines(
                "Errors by type",
                [
                    (
                        f"sum by (error_type) (rate(maslens_agent_errors_total{{{A}}}[$__rate_interval]))",
                        "{{error_type}}",
                    )
                ],
                "cps",
            ),
            lines("Tool calls", [(tools, "{{tool}} {{status}}")], "cps"),
            row("Handoffs"),
            lines(
                "Handoffs",
                [("sum by (source, target) (rate(maslens_handoffs_total[$__rate_interval]))", between)],
                "cps",
            ),
            lines("Handoffs whose run failed", [(f"{led_to_failure} / ({led} > 0)", served)], "percentunit"),
            lines(
                "How handoffs were seen",
                [("sum by (evidence) (rate(maslens_handoffs_total[$__rate_interval]))", "{{evidence}}")],
                "cps",
                stacked=True,
            ),
            lines("p95 of the runs handoffs led to", [(f"histogram_quantile(0.95, {led_le})", served)], "s"),
            row("Who got worse, who holds others up"),
            stat(
                "Degradations",
                "sum(maslens_degradation)",
                "short",
                steps=[(None, "green"), (1, "red")],
            ),
            lines(
                "Worse than before (Cliff's delta, or difference of rates)",
                [
                    (
                        f"maslens_degradation_effect{{{A}}} and on (agent, agent_version, metric, against) {ringing}",
                        "{{agent}} {{agent_version}} {{metric}} against {{against}}",
                    )
                ],
                "short",
            ),
            lines(
                "Critical path by agent: seconds per second",
                [
                    (
                        f"sum by (agent) (rate(maslens_agent_critical_path_seconds_total{{{A}}}[$__rate_interval]))",
                        "{{agent}}",
                    )
                ],
                "short",
                stacked=True,
            ),
            lines(
                "Waiting for an agent to begin: seconds per second",
                [
                    (
                        f"sum by (agent) (rate(maslens_agent_waiting_seconds_total{{{A}}}[$__rate_interval]))",
                        "{{agent}}",
                    )
                ],
                "short",
            ),
            row("Money"),
            lines(
                "Cost by agent, per hour",
                [(f"sum by (agent) (rate(maslens_agent_cost_usd_total{{{A}}}[$__rate_interval])) * 3600", "{{agent}}")],
                "currencyUSD",
                stacked=True,
            ),
            lines(
                "Cost by model, per hour",
                [(f"sum by (model) (rate(maslens_agent_cost_usd_total{{{A}}}[$__rate_interval])) * 3600", "{{model}}")],
                "currencyUSD",
                stacked=True,
            ),
            lines(
                "Tokens",
                [(f"sum by (type) (rate(maslens_agent_tokens_total{{{A}}}[$__rate_interval]))", "{{type}}")],
                "short",
                stacked=True,
            ),
            lines(
                "Share of input that came from a cache", [(f"{cached} / ({taken_in} > 0)", "{{agent}}")], "percentunit"
            ),
        ],
        variables=[source("metrics", "prometheus"), values("agent", "label_values(maslens_agent_runs_total, agent)")],
    )


def operations() -> dict[str, Any]:
    """Is maslens itself well? From /metrics."""
    inserts = "rate(maslens_loader_inserts_total[$__rate_interval])"
    insert_time = "rate(maslens_loader_insert_seconds_total[$__rate_interval])"
    return dashboard(
        "maslens-operations",
        "maslens itself",
        [
            row("Now"),
            stat(
                "Spans behind", "sum(maslens_sidecar_lag_spans)", "short", steps=[(None, "green"), (50_000, "orange")]
            ),
            stat(
                "Age of the newest facts",
                "max(maslens_sidecar_lag_seconds)",
                "s",
                steps=[(None, "green"), (2, "orange"), (30, "red")],
            ),
            stat("Journal", "sum(maslens_journal_disk_bytes)", "bytes"),
            stat(
                "Oldest request not stored",
                "max(maslens_journal_lag_seconds)",
                "s",
                steps=[(None, "green"), (10, "orange"), (60, "red")],
            ),
            stat("Dead letters", "sum(maslens_loader_dead_letter_files)", "short", steps=[(None, "green"), (1, "red")]),
            stat("Refusing", "max(maslens_receiver_refusing)", "short", steps=[(None, "green"), (1, "red")]),
            row("In"),
            lines(
                "Acknowledged",
                [("sum by (kind) (rate(maslens_receiver_items_total[$__rate_interval]))", "{{kind}}")],
                "cps",
            ),
            lines(
                "Refused requests",
                [("sum by (kind) (rate(maslens_receiver_refused_requests_total[$__rate_interval]))", "{{kind}}")],
                "cps",
            ),
            lines(
                "Rejected items",
                [("sum by (kind) (rate(maslens_receiver_rejected_items_total[$__rate_interval]))", "{{kind}}")],
                "cps",
            ),
            lines(
                "Journal and what waits in it",
                [("sum(maslens_journal_disk_bytes)", "on disk"), ("sum(maslens_journal_lag_bytes)", "not stored yet")],
                "bytes",
            ),
            row("Store"),
            lines(
                "Stored",
                [("sum by (kind) (rate(maslens_loader_loaded_items_total[$__rate_interval]))", "{{kind}}")],
                "cps",
            ),
            lines("Time an insert takes", [(f"{insert_time} / {inserts}", "insert")], "s"),
            lines("Retries", [("rate(maslens_loader_retries_total[$__rate_interval])", "retries")], "cps"),
            row("Facts"),
            lines(
                "Spans that facts were made of",
                [
                    ("rate(maslens_processed_spans_total[$__rate_interval])", "new"),
                    ("rate(maslens_sidecar_spans_computed_total[$__rate_interval])", "computed, again included"),
                ],
                "cps",
            ),
            lines(
                "Busy",
                [("rate(maslens_sidecar_step_seconds_total[$__rate_interval])", "share of the time")],
                "percentunit",
            ),
            lines(
                "Facts written",
                [("sum by (kind) (rate(maslens_sidecar_facts_written_total[$__rate_interval]))", "{{kind}}")],
                "cps",
            ),
            lines(
                "Late, repeated and moved",
                [
                    ("rate(maslens_late_spans_total[$__rate_interval])", "late spans"),
                    ("rate(maslens_duplicate_spans_total[$__rate_interval])", "repeated spans"),
                    ("sum(rate(maslens_corrections_total[$__rate_interval]))", "moved between series"),
                ],
                "cps",
            ),
            lines("Failures", [("rate(maslens_sidecar_failures_total[$__rate_interval])", "steps")], "cps"),
            lines("Memory", [("process_resident_memory_bytes", "{{instance}}")], "bytes"),
            lines("Processor", [("rate(process_cpu_seconds_total[$__rate_interval])", "{{instance}}")], "percentunit"),
        ],
        variables=[source("metrics", "prometheus")],
    )


STARTED, AT = "$__timeFilter(started_at)", "$__timeFilter(at)"


def sessions() -> dict[str, Any]:
    """From the fact tables, in ClickHouse or in the embedded store over its HTTP interface."""
    return dashboard(
        "maslens-sessions",
        "Sessions and handoffs",
        [
            row("Overview"),
            figure("Sessions", f"SELECT count() AS sessions FROM sessions WHERE {STARTED}", "short"),
            figure(
                "That failed",
                f"SELECT countIf(outcome = 'failure') / count() AS failed FROM sessions WHERE {STARTED}",
                "percentunit",
            ),
            figure("Cost", f"SELECT sum(cost_usd) AS cost FROM sessions WHERE {STARTED}", "currencyUSD"),
            figure(
                "Cost of a success",
                f"SELECT sum(cost_usd) / countIf(outcome = 'success') AS each FROM sessions WHERE {STARTED}",
                "currencyUSD",
            ),
            figure("Handoffs", f"SELECT count() AS handoffs FROM handoffs WHERE {AT}", "short"),
            figure(
                "Inferred",
                f"SELECT countIf(evidence != 'explicit') / count() AS inferred FROM handoffs WHERE {AT}",
                "percentunit",
            ),
            curve(
                "Sessions by outcome",
                f"""SELECT $__timeInterval(started_at) AS time, outcome, count() AS sessions
                FROM sessions WHERE {STARTED} GROUP BY time, outcome ORDER BY time""",
                "short",
            ),
            curve(
                "Cost by agent",
                f"""SELECT $__timeInterval(at) AS time, agent, sum(cost_usd) AS cost
                FROM llm_calls WHERE {AT} GROUP BY time, agent ORDER BY time""",
                "currencyUSD",
            ),
            node_graph(
                "Who works with whom",
                f"""SELECT agent AS id, agent AS title, count() AS mainstat,
                    countIf(status = 'error') / count() AS arc__failed, 1 - arc__failed AS arc__ok
                FROM agent_runs WHERE {STARTED} GROUP BY agent""",
                f"""SELECT concat(source, ' → ', target) AS id, source, target, count() AS mainstat,
                    round(avg(confidence), 2) AS secondarystat
                FROM handoffs WHERE {AT}
                    AND source IN (SELECT agent FROM agent_runs WHERE {STARTED})
                    AND target IN (SELECT agent FROM agent_runs WHERE {STARTED})
                GROUP BY source, target""",
            ),
            rows_of(
                "Agents",
                f"""SELECT agent, count() AS runs, countIf(status = 'error') AS errors,
                    quantile(0.5)(duration_ns) / 1e9 AS p50_s, quantile(0.95)(duration_ns) / 1e9 AS p95_s,
                    sum(a.input_tokens) AS input_tokens, sum(a.output_tokens) AS output_tokens,
                    sum(a.cost_usd) AS cost_usd
                FROM agent_runs AS a WHERE {STARTED} GROUP BY agent ORDER BY runs DESC""",
            ),
            rows_of(
                "Bottlenecks",
                f"""SELECT agent, sum(saves_ns) / 1e9 AS saves_s,
                    sum(saves_ns) / (SELECT sum(session_ns) FROM bottlenecks WHERE {STARTED} AND rank = 1)
                        AS saves_share,
                    sum(critical_ns) / 1e9 AS critical_s, sum(waiting_ns) / 1e9 AS waiting_s,
                    sum(queue_ns) / 1e9 AS queue_s, sum(b.retries) AS retries, count() AS sessions,
                    countIf(rank = 1) AS first_in
                FROM bottlenecks AS b WHERE {STARTED} GROUP BY agent ORDER BY saves_s DESC""",
            ),
            rows_of(
                "Degradations",
                """SELECT agent, agent_version, metric, against, reference, verdict, alarm, direction, effect,
                    effect_low, effect_high, q_value, onset_at, alarm_at, recovered_at, n_ref, n_now
                FROM degradations WHERE $__timeFilter(last_at) AND (alarm OR isNotNull(alarm_at))
                ORDER BY alarm DESC, alarm_at DESC LIMIT 200""",
            ),
            rows_of(
                "How agents work together",
                f"""SELECT pattern, count() AS sessions, avg(pattern_confidence) AS confidence,
                    sum(c.coordination_tokens) / sum(c.coordination_tokens + c.work_tokens) AS coordination_ratio,
                    avg(delegation_accuracy) AS delegation_accuracy, sum(c.bounced) AS bounced,
                    sum(c.redelegated) AS redelegated, avg(agreement) AS agreement, max(rounds_max) AS rounds
                FROM coordination AS c WHERE {STARTED} GROUP BY pattern ORDER BY sessions DESC""",
            ),
            rows_of(
                "Latest sessions",
                f"""SELECT started_at, session_id, outcome, root_agent, final_agent, duration_ns / 1e9 AS seconds,
                    agent_runs, handoffs, errors, cost_usd
                FROM sessions WHERE {STARTED} ORDER BY started_at DESC LIMIT 200""",
            ),
            rows_of(
                "Errors",
                f"""SELECT agent, error_type, count() AS errors, countIf(recovered) AS recovered,
                    argMax(message, at) AS last
                FROM agent_errors WHERE {AT} GROUP BY agent, error_type ORDER BY errors DESC LIMIT 100""",
            ),
            rows_of(
                "Models",
                f"""SELECT model, count() AS calls, sum(l.input_tokens) AS input_tokens,
                    sum(l.output_tokens) AS output_tokens, sum(l.cached_tokens) AS cached_tokens,
                    sum(l.cost_usd) AS cost_usd, countIf(isNull(l.cost_usd)) AS unpriced
                FROM llm_calls AS l WHERE {AT} GROUP BY model ORDER BY cost_usd DESC""",
            ),
        ],
        variables=[source("facts", "grafana-clickhouse-datasource")],
    )


DASHBOARDS = {"agents": agents, "sessions": sessions, "operations": operations}


# --- how Grafana writes it -------------------------------------------------------------------------------------------


def dashboard(uid: str, title: str, panels: Sequence[Panel], *, variables: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "uid": uid,
        "title": f"maslens: {title}" if title != "maslens itself" else title,
        "tags": ["maslens", "agents"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [
            {"type": "dashboards", "tags": ["maslens"], "title": "maslens", "asDropdown": False, "keepTime": True}
        ],
        "templating": {"list": list(variables)},
        "panels": list(_laid_out(panels)),
    }


def _laid_out(panels: Sequence[Panel]) -> Iterator[Panel]:
    """From left to right, in lines of 24 columns; a row begins a line."""
    x = y = tallest = 0
    for number, panel in enumerate(panels, 1):
        width, height = panel.pop("size")
        if x + width > 24 or panel["type"] == "row":
            x, y, tallest = 0, y + tallest, 0
        yield {"id": number, **panel, "gridPos": {"x": x, "y": y, "w": width, "h": height}}
        x, tallest = x + width, max(tallest, height)


def row(title: str) -> Panel:
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "size": (24, 1)}


def stat(title: str, expr: str, unit: str, *, steps: Sequence[tuple[float | None, str]] = ((None, "text"),)) -> Panel:
    return _figure(title, PROMETHEUS, {"expr": expr, "instant": True, "range": False}, unit, steps)


def figure(title: str, sql: str, unit: str) -> Panel:
    return _figure(title, CLICKHOUSE, _sql(sql), unit, ((None, "text"),))


def _figure(
    title: str, origin: dict[str, str], target: dict[str, Any], unit: str, steps: Sequence[tuple[float | None, str]]
) -> Panel:
    return {
        "type": "stat",
        "title": title,
        "datasource": origin,
        "targets": [{"refId": "A", "datasource": origin, **target}],
        "fieldConfig": {
            "defaults": {
                "unit": unit,
                "decimals": 2 if unit == "currencyUSD" else None,
                "thresholds": {
                    "mode": "absolute",
                    "steps": [{"value": value, "color": color} for value, color in steps],
                },
            },
            "overrides": [],
        },
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "none"},
        "size": (4, 4),
    }


def lines(
    title: str,
    queries: Sequence[tuple[str, str]],
    unit: str,
    *,
    stacked: bool = False,
    exemplars: bool = False,
) -> Panel:
    targets = [
        {"refId": chr(65 + i), "datasource": PROMETHEUS, "expr": expr, "legendFormat": legend, "exemplar": exemplars}
        for i, (expr, legend) in enumerate(queries)
    ]
    return _curves(title, PROMETHEUS, targets, unit, stacked)


def curve(title: str, sql: str, unit: str) -> Panel:
    return _curves(
        title, CLICKHOUSE, [{"refId": "A", "datasource": CLICKHOUSE, **_sql(sql, kind="timeseries")}], unit, True
    )


def _curves(title: str, origin: dict[str, str], targets: list[dict[str, Any]], unit: str, stacked: bool) -> Panel:
    return {
        "type": "timeseries",
        "title": title,
        "datasource": origin,
        "targets": targets,
        "fieldConfig": {
            "defaults": {
                "unit": unit,
                "min": 0,
                "custom": {
                    "lineWidth": 1,
                    "fillOpacity": 35 if stacked else 8,
                    "showPoints": "never",
                    "stacking": {"mode": "normal" if stacked else "none"},
                },
            },
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "size": (12, 8),
    }


def node_graph(title: str, nodes: str, edges: str) -> Panel:
    return {
        "type": "nodeGraph",
        "title": title,
        "datasource": CLICKHOUSE,
        "targets": [
            {"refId": "nodes", "datasource": CLICKHOUSE, **_sql(nodes)},
            {"refId": "edges", "datasource": CLICKHOUSE, **_sql(edges)},
        ],
        "options": {
            "nodes": {"arcs": [{"field": "arc__failed", "color": "red"}, {"field": "arc__ok", "color": "green"}]}
        },
        "size": (24, 13),
    }


def rows_of(title: str, sql: str) -> Panel:
    return {
        "type": "table",
        "title": title,
        "datasource": CLICKHOUSE,
        "targets": [{"refId": "A", "datasource": CLICKHOUSE, **_sql(sql)}],
        "fieldConfig": {
            "defaults": {"custom": {"filterable": True}},
            "overrides": [
                {
                    "matcher": {"id": "byName", "options": "cost_usd"},
                    "properties": [{"id": "unit", "value": "currencyUSD"}],
                },
                {
                    "matcher": {"id": "byRegexp", "options": "/_s$|seconds/"},
                    "properties": [{"id": "unit", "value": "s"}],
                },
            ],
        },
        "options": {"showHeader": True, "cellHeight": "sm"},
        "size": (12, 9),
    }


def _sql(text: str, *, kind: str = "table") -> dict[str, Any]:
    """format: 0 time series, 1 table, as the ClickHouse data source counts them."""
    return {
        "editorType": "sql",
        "queryType": kind,
        "format": 0 if kind == "timeseries" else 1,
        "rawSql": " ".join(text.split()),
        "pluginVersion": "4.20.0",
    }


def source(name: str, kind: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": "Source",
        "type": "datasource",
        "query": kind,
        "refresh": 1,
        "hide": 0,
        "current": {},
    }


def values(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": PROMETHEUS,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "sort": 1,
    }


def main() -> int:
    stale = []
    for name, make in DASHBOARDS.items():
        text = json.dumps(make(), indent=2, ensure_ascii=False) + "\n"
        path = FOLDER / f"{name}.json"
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
    if stale:
        print(f"run `python deploy/grafana/make.py`: {', '.join(stale)} would change", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
